"""Each row of the failure modes holds, and what it names, there is."""

import re
from pathlib import Path

import pytest

from tair_operator.models import Outcome, Reason
from tests.faults.explore import explore
from tests.faults.faults import Plan
from tests.faults.rows import ROWS, SECTIONS

ROOT = Path(__file__).parents[2]
PLANS = [(row, text) for row, content in ROWS.items() for text in content.plans]


@pytest.mark.parametrize(("row", "text"), PLANS)
def test_a_row_ends_well(row: str, text: str) -> None:
    run = explore(Plan.parse(text))

    assert run.violations == (), run.explain()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_proved_or_says_why_not(row: str) -> None:
    content = ROWS[row]

    assert content.plans or content.tests or content.gap
    for test in content.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"def {name}\(", (ROOT / path).read_text(encoding="utf-8")), test


@pytest.mark.parametrize("row", [row for row, content in ROWS.items() if content.plans and not content.tests])
def test_what_the_user_sees_was_seen(row: str) -> None:
    named = set(re.findall(r"`([A-Z]\w+)`", ROWS[row].seen))
    seen = frozenset[str]().union(*(explore(Plan.parse(text)).seen for text in ROWS[row].plans))

    assert named <= seen


@pytest.mark.parametrize("row", ROWS)
def test_what_the_user_sees_has_the_names_that_are_used(row: str) -> None:
    named = set(re.findall(r"`([A-Z]\w+)`", ROWS[row].seen))

    assert named <= {*Reason, *Outcome}


def test_no_row_is_missing() -> None:
    counts = {"A": 9, "B": 9, "C": 14, "D": 17, "E": 6}

    assert list(ROWS) == [f"{letter}{number + 1}" for letter in SECTIONS for number in range(counts[letter])]
