"""Every target for a moment, the same cases each time, and every case that was ever worth keeping."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import corpus
from tests.fuzz.target import Case
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("file", corpus.files(), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_case_that_was_kept_shows_no_mistake(file: Path) -> None:
    TARGETS[file.parent.name].check(corpus.read(file))


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_understood_or_refused_in_so_many_words(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=target.examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def holds(case: Case) -> None:
        target.check(case)

    holds()


@pytest.mark.parametrize("name", TARGETS)
def test_something_is_kept_of_every_target(name: str) -> None:
    assert any(file.parent.name == name for file in corpus.files())
