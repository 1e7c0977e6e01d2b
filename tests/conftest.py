"""What all tests share: how hypothesis tries its examples, which files begin, and what one process runs."""

from typing import Final

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

LONGEST: Final = (
    "test_explorer.py",
    "test_combinations.py",
    "test_outage.py",
    "test_kills.py",
    "test_overlap.py",
    "test_failures.py",
)
"""Files that take minutes. They begin, or the last of them would run alone at the end."""
DIVISIBLE: Final = ("test_explorer.py", "test_plan_properties.py")
"""Files whose tests share nothing, so that several processes may run them."""

# How long an example takes tells how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin; the order of all others stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """As ``--dist loadfile``: a file belongs to one process, but for those that can be divided."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return nodeid if file.endswith(DIVISIBLE) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling | None:
    """Schedule whole files where that is asked for; `make explore` lets every process take what comes next."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
