"""Conditions follow from a plan alone, and move their times only when a status moves."""

from dataclasses import replace
from typing import Literal

import pytest

from tair_operator.conditions import next_conditions
from tair_operator.models import Condition, ConnectionState, Reason
from tair_operator.stance import Plan, Stance
from tests.builders import NOW, ago, condition

RELEASING = Plan(Stance.RECONCILING, Reason.RELEASING, "Releasing", ConnectionState.RELEASING)
RELEASED = Plan(Stance.READY, Reason.RELEASED, "Released", ConnectionState.RELEASED, ready="True")


def made(kind: str, status: Literal["True", "False", "Unknown"], plan: Plan) -> Condition:
    return condition(kind, status, plan.reason, plan.message, generation=2)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (RELEASED, [("Ready", "True")]),
        (RELEASING, [("Ready", "False"), ("Reconciling", "True")]),
        (replace(RELEASING, ready="Unknown"), [("Ready", "Unknown"), ("Reconciling", "True")]),
        (replace(RELEASING, stance=Stance.STALLED), [("Ready", "False"), ("Stalled", "True")]),
        (replace(RELEASING, stance=Stance.SUSPENDED), [("Ready", "False"), ("Suspended", "True")]),
        (replace(RELEASED, stance=Stance.SUSPENDED), [("Ready", "True"), ("Suspended", "True")]),
    ],
)
def test_each_stance_has_one_set_of_conditions(
    plan: Plan, expected: list[tuple[str, Literal["True", "False", "Unknown"]]]
) -> None:
    assert next_conditions([], plan, 2, NOW) == [made(kind, status, plan) for kind, status in expected]


def test_what_is_no_longer_true_is_removed() -> None:
    before = [condition("Ready", "False"), condition("Reconciling"), condition("Stalled"), condition("Suspended")]

    assert next_conditions(before, RELEASED, 2, NOW) == [made("Ready", "True", RELEASED)]


def test_a_new_reason_does_not_move_the_time_of_the_transition() -> None:
    before = [condition("Ready", "False", since=ago(60)), condition("Reconciling", since=ago(50))]

    after = next_conditions(before, RELEASING, 2, NOW)

    assert [found.last_transition_time for found in after] == [ago(60), ago(50)]
    assert [found.reason for found in after] == ["Releasing", "Releasing"]


def test_a_new_status_moves_the_time_of_the_transition() -> None:
    before = [condition("Ready", "False", since=ago(60))]

    assert next_conditions(before, RELEASED, 2, NOW)[0].last_transition_time == NOW


def test_a_suspended_resource_is_ready_for_the_reason_that_made_it_ready() -> None:
    before = [made("Ready", "True", RELEASED)]
    suspended = replace(RELEASED, stance=Stance.SUSPENDED, reason=Reason.SUSPENDED, message="Nothing is looked at")

    ready, other = next_conditions(before, suspended, 3, NOW)
    assert (ready.status, ready.reason, ready.message) == ("True", RELEASED.reason, RELEASED.message)
    assert ready.observed_generation == 3
    assert (other.type, other.reason) == ("Suspended", "Suspended")


def test_the_conditions_of_others_are_kept_as_they_are() -> None:
    foreign = Condition.model_validate(
        {"type": "Audited", "status": "False", "reason": "R", "lastTransitionTime": ago(60), "extra": 1}
    )

    assert next_conditions([foreign], RELEASED, 2, NOW) == [made("Ready", "True", RELEASED), foreign]
