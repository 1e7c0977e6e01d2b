"""The oracle that judges the operator's status is judged first."""

from typing import Any

import pytest

from tests.kstatus import Verdict, broken_rules, is_observed, verdict

ALL_RULES = {f"FAIL{number:04}" for number in (*range(1, 10), 11)}


def resource(
    *conditions: tuple[str, str] | tuple[str, str, int],
    generation: int | None = 2,
    observed: int | None = 2,
    deleted: bool = False,
) -> dict[str, Any]:
    listed = []
    for kind, value, *of in conditions:
        listed.append({"type": kind, "status": value, "observedGeneration": of[0] if of else observed})
    metadata = {"generation": generation, "deletionTimestamp": "2026-11-24T00:00:00Z" if deleted else None}
    status = {"observedGeneration": observed, "conditions": listed}
    return {
        "metadata": {name: value for name, value in metadata.items() if value is not None},
        "status": {name: value for name, value in status.items() if value is not None},
    }


READY = ("Ready", "True")
NOT_READY = ("Ready", "False")
RECONCILING = ("Reconciling", "True")
STALLED = ("Stalled", "True")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (resource(READY), Verdict.CURRENT),
        (resource(NOT_READY), Verdict.IN_PROGRESS),
        (resource(("Ready", "Unknown")), Verdict.IN_PROGRESS),
        (resource(NOT_READY, RECONCILING), Verdict.IN_PROGRESS),
        (resource(NOT_READY, STALLED), Verdict.FAILED),
        (resource(READY, RECONCILING), Verdict.IN_PROGRESS),
        (resource(READY, STALLED), Verdict.FAILED),
        (resource(READY, ("Reconciling", "False"), ("Stalled", "Unknown")), Verdict.CURRENT),
    ],
)
def test_the_verdict_follows_the_conditions(seen: dict[str, Any], expected: Verdict) -> None:
    assert verdict(seen) is expected


def test_of_reconciling_and_stalled_the_one_listed_first_wins() -> None:
    assert verdict(resource(NOT_READY, RECONCILING, STALLED)) is Verdict.IN_PROGRESS
    assert verdict(resource(NOT_READY, STALLED, RECONCILING)) is Verdict.FAILED


def test_a_deletion_comes_before_everything_else() -> None:
    assert verdict(resource(NOT_READY, STALLED, observed=1, deleted=True)) is Verdict.TERMINATING


def test_an_older_generation_comes_before_the_conditions() -> None:
    assert verdict(resource(NOT_READY, STALLED, observed=1)) is Verdict.IN_PROGRESS
    assert verdict(resource(READY, observed=-1)) is Verdict.IN_PROGRESS


@pytest.mark.parametrize(("generation", "observed"), [(None, 1), (2, None)])
def test_a_generation_that_is_missing_is_not_compared(generation: int | None, observed: int | None) -> None:
    assert verdict(resource(READY, generation=generation, observed=observed)) is Verdict.CURRENT


def test_whoever_says_nothing_is_believed_to_be_current() -> None:
    assert verdict({"metadata": {"generation": 1}}) is Verdict.CURRENT
    assert verdict(resource(("EndpointMatches", "False"))) is Verdict.CURRENT


def test_the_generation_of_a_single_condition_is_not_looked_at() -> None:
    assert verdict(resource(("Ready", "True", 1))) is Verdict.CURRENT


@pytest.mark.parametrize(
    "seen",
    [
        resource(READY),
        resource(READY, ("Suspended", "True")),
        resource(NOT_READY, ("Suspended", "True")),
        resource(NOT_READY, RECONCILING),
        resource(NOT_READY, STALLED),
        resource(("Ready", "Unknown"), RECONCILING),
        resource(NOT_READY, observed=1),
        resource(("Ready", "Unknown", 0), observed=-1),
    ],
)
def test_a_sound_status_breaks_no_rule(seen: dict[str, Any]) -> None:
    assert broken_rules(seen) == []


BROKEN = {
    "FAIL0001": [resource(READY, STALLED), resource(READY, RECONCILING)],
    "FAIL0002": [resource(), resource(RECONCILING)],
    "FAIL0003": [resource(READY, RECONCILING)],
    "FAIL0004": [resource(READY, STALLED), resource(("Ready", "Unknown"), STALLED)],
    "FAIL0005": [resource(NOT_READY, RECONCILING, STALLED), resource(READY, ("Stalled", "False"), RECONCILING)],
    "FAIL0006": [resource(NOT_READY, observed=3)],
    "FAIL0007": [resource(READY, observed=1)],
    "FAIL0008": [resource(("Ready", "True", 1)), resource(READY, ("EndpointMatches", "True", 1))],
    "FAIL0009": [resource(("Ready", "True", 3)), resource(READY, ("EndpointMatches", "True", 1))],
    "FAIL0011": [resource(("Ready", "Unknown"))],
}


def test_each_rule_is_broken_by_one_of_these() -> None:
    assert set(BROKEN) == ALL_RULES


@pytest.mark.parametrize(("rule", "seen"), [(rule, seen) for rule, all_seen in BROKEN.items() for seen in all_seen])
def test_a_broken_rule_is_named(rule: str, seen: dict[str, Any]) -> None:
    assert rule in broken_rules(seen)


def test_a_condition_without_a_generation_counts_as_an_old_one() -> None:
    seen = resource(READY)
    del seen["status"]["conditions"][0]["observedGeneration"]

    assert broken_rules(seen) == ["FAIL0008", "FAIL0009"]


def test_a_status_is_about_its_spec_when_the_generations_are_the_same() -> None:
    assert is_observed(resource(READY))
    assert not is_observed(resource(READY, observed=1))
    assert not is_observed({"metadata": {"generation": 1}})
