"""What all tests share: how hypothesis tries its examples, and which files begin."""

from typing import Final

import pytest
from hypothesis import settings

LONGEST: Final = (
    "test_outage.py",
    "test_kills.py",
    "test_overlap.py",
    "test_explorer.py",
    "test_combinations.py",
    "test_failures.py",
)
"""Files that take minutes. They begin, or the last of them would run alone at the end."""

# How long an example takes tells how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin; the order of all others stays."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
