"""The operator dies again and again, and two calls go wrong: every crash loop, and pairs by chance.

``make test`` draws the same few pairs each time, ``make explore`` thousands that are fresh.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tair_operator.models import Action
from tests.faults.explore import Run, explore, failing, reference
from tests.faults.faults import Family, Fault, Kind, Plan, Point, Step, faults_at, single_plans
from tests.faults.scenarios import SCENARIOS
from tests.tracing import untraced

PAIRS = int(os.environ.get("FAULTS_PAIRS", "40"))
FRESH = "FAULTS_PAIRS" in os.environ
CRASHES_IN_A_ROW = 5
RELEASE = str(Action.RELEASE)

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_loop_at_any_write_repeats_no_release(scenario: str) -> None:
    steps = [step for step in reference(scenario).trace if step.family in {Family.KUBE_WRITE, Family.CLOUD_WRITE}]
    plans = [
        Plan(
            scenario,
            tuple(Fault(f"{step.name}.{step.ordinal + more}", point, Kind.CRASH) for more in range(CRASHES_IN_A_ROW)),
        )
        for step in steps
        for point in (Point.BEFORE, Point.AFTER_EFFECT)
    ]

    with untraced():
        runs = [explore(plan) for plan in plans]
    # Three releases that were announced, and never left, are enough for a person to have a look.
    bad = [run for run in runs if run.violations and not (gives_up(run) and all(map(is_end, run.violations)))]

    assert "\n".join(run.explain() for run in bad) == ""
    assert all(run.effects.count(RELEASE) <= reference(scenario).effects.count(RELEASE) for run in runs)


def gives_up(run: Run) -> bool:
    return "3 calls of ReleaseDirectConnection had no visible effect" in repr(run.essence)


def is_end(violation: str) -> bool:
    return violation.startswith(("the end is another one", "what was done to the instance differs"))


def pairs() -> st.SearchStrategy[Plan]:
    """Return plans with two faults; the second may be at a call that only the first one brings about."""

    def of(scenario: str) -> st.SearchStrategy[Plan]:
        trace = reference(scenario).trace
        again = [Step(step.name, step.ordinal + more, step.family) for step in trace for more in (1, 2)]
        first = st.sampled_from(trace).flatmap(lambda step: st.sampled_from(list(faults_at(step))))
        second = st.sampled_from([*trace, *again]).flatmap(lambda step: st.sampled_from(list(faults_at(step))))
        return st.tuples(first, second).map(lambda both: Plan(scenario, both))

    return st.sampled_from(sorted(SCENARIOS)).flatmap(of)


@settings(
    max_examples=PAIRS,
    deadline=None,
    derandomize=not FRESH,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(pairs())
def test_whatever_fails_twice_the_end_is_the_same_and_no_release_is_repeated(plan: Plan) -> None:
    assert failing([plan]) == ""


def test_a_plan_survives_its_text_form() -> None:
    plan = next(iter(single_plans("release", reference("release").trace)))

    assert Plan.parse(str(plan)) == plan
    assert Plan.parse("release/") == Plan("release")
    with pytest.raises(ValueError, match="names no call"):
        Plan.parse("release/17:before:crash")
