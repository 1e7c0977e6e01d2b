"""Every call of every scenario goes wrong in every way, one at a time."""

import pytest

from tests.faults.explore import failing, reference
from tests.faults.faults import single_plans
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_a_fault_a_scenario_ends_well(scenario: str) -> None:
    run = reference(scenario)

    assert run.violations == ()
    # Beyond the intent, the answer and the result, a write for each guard that waits and object that is published.
    assert 0 < run.writes <= 3 * max(1, len(run.effects)) + 8


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_fails_once_the_end_is_the_same_and_no_release_is_repeated(scenario: str) -> None:
    plans = list(single_plans(scenario, reference(scenario).trace))

    assert failing(plans) == ""
