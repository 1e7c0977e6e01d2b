"""All chance of a soak: what goes wrong at the cloud, in which order, and for which call."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from tests.cluster.tenants import ALLOCATE, RELEASE

Card = TypeVar("Card")
Fault = dict[str, Any]

READS: Final = ("DescribeInstances", "DescribeDBInstanceNetInfo")
CHANGES: Final = (ALLOCATE, RELEASE)
CODES: Final = (
    "InternalError",
    "ServiceUnavailable",
    "Throttling.Api",
    "Rejected.Throttling",
    "Unkown.Exception",
    "Forbidden.RAM",
)
"""Of any call. What says that an instance is not there is left out: nobody could tell such a lie from the truth."""
CHANGE_CODES: Final = (
    "ProxyError",
    "LockTimeout",
    "TaskHasExist",
    "InstanceStatus.NotSupport",
    "IncorrectDBInstanceState",
    "OperationDenied.DBInstanceStatus",
    "InvalidVPCParamGroup",
)
JITTERS: Final = ("NumbersAsText", "TextAsNumbers", "NoDirectConnection", "NoZeroDirectConnection", "NetInfoNull")


class Deck(Generic[Card]):
    """Cards in random order; each comes once before any comes again, so that a short run has them all."""

    def __init__(self, chance: random.Random, cards: Sequence[Card]) -> None:
        self._chance, self._cards = chance, list(cards)
        self._left: list[Card] = []

    def draw(self) -> Card:
        """Return the next card."""
        if not self._left:
            self._left = self._chance.sample(self._cards, len(self._cards))
        return self._left.pop()


class Trouble:
    """Draws faults of the simulated cloud; ``longest`` is how late a call may take effect, in seconds."""

    def __init__(self, chance: random.Random, longest: float) -> None:
        self._chance, self._longest = chance, longest
        self._kinds = Deck(chance, list(FIELDS))

    def draw(self) -> Fault:
        """Return the next fault."""
        kind = self._kinds.draw()
        is_change = kind in OF_CHANGES or self._chance.random() < 0.5
        action = self._chance.choice(CHANGES if is_change else READS)
        fault: Fault = {"kind": kind, "action": action} | FIELDS[kind](self._chance, self._longest)
        if kind == "error" and is_change:
            fault["code"] = self._chance.choice(CODES + CHANGE_CODES)
        if is_change and kind in LIARS:
            # An error although it was done, and a success although it was not.
            fault["apply"] = self._chance.random() < 0.5
        return fault


OF_CHANGES: Final = ("async-failure", "hold", "late")
"""Kinds that are about what a call does."""
LIARS: Final = (
    *("error", "throttle", "unavailable", "http502", "empty500"),
    *("empty200", "garbage", "truncated", "content-type", "no-request-id", "extra-fields", "lower-case"),
)
"""Kinds in which answer and effect may differ."""


def _nothing(_chance: random.Random, _longest: float) -> Fault:
    return {}


def _burst(chance: random.Random, _longest: float) -> Fault:
    return {"count": chance.randint(1, 8)}


def _seconds(chance: random.Random, longest: float) -> Fault:
    return {"seconds": round(chance.uniform(0.1, longest), 2)}


def _delay(chance: random.Random, longest: float) -> Fault:
    return _seconds(chance, longest) | {"when": chance.choice(("before", "after"))}


FIELDS: Final[dict[str, Callable[[random.Random, float], Fault]]] = {
    "async-failure": _nothing,
    "content-type": _nothing,
    "delay": _delay,
    "drip": lambda chance, _: {"bytesPerSecond": chance.randint(100, 2000)},
    "empty200": _nothing,
    "empty500": _nothing,
    "error": lambda chance, _: {"code": chance.choice(CODES)},
    "extra-fields": _nothing,
    "garbage": _nothing,
    "hold": lambda chance, _: {
        "point": chance.choice(("before", "after")),
        "id": f"soak-{chance.getrandbits(48):012x}",
    },
    "http502": _nothing,
    "huge": lambda chance, _: {"mebibytes": chance.randint(1, 8)},
    "late": _seconds,
    "lower-case": _nothing,
    "no-request-id": _nothing,
    "reset-after": _burst,
    "reset-before": _burst,
    "slow-headers": _seconds,
    "throttle": lambda chance, _: _burst(chance, 0) | {"retryAfterMs": chance.randint(0, 2000)},
    "truncated": _nothing,
    "type-jitter": lambda chance, _: {"jitter": [chance.choice(JITTERS)]},
    "unavailable": _burst,
}
"""What a fault of each kind says beside its action; the names are the simulator's."""
