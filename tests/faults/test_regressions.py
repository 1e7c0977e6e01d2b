"""Plans that once failed, or that stand for a row of the failure modes: one file each, replayed for ever."""

from pathlib import Path

import pytest

from tests.faults.explore import explore
from tests.faults.faults import Plan

FILES = sorted((Path(__file__).parent / "regressions").glob("*.txt"))


def plans_in(file: Path) -> list[str]:
    """Return the plans of a file; lines that begin with # say what they are about."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(("file", "text"), [(file.stem, text) for file in FILES for text in plans_in(file)])
def test_a_plan_that_once_failed_ends_well(file: str, text: str) -> None:
    run = explore(Plan.parse(text))

    assert run.violations == (), run.explain()
