"""All targets, by their names: those of the folders in ``corpus``."""

from typing import Final

from tests.fuzz import configuration, histories, replies, resources, signatures, simulator
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        replies.TARGET,
        signatures.TARGET,
        resources.TARGET,
        histories.HISTORIES,
        histories.RETURNS,
        configuration.SETTINGS,
        configuration.ACCESS_LIST,
        configuration.KEYS,
        simulator.SEED,
        simulator.CONTROL,
    )
}
