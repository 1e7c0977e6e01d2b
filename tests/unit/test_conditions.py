"""Conditions follow from a plan alone, and move their times only when a status moves."""

from dataclasses import replace
from typing import Literal

import pytest

from tair_operator.conditions import differences, next_conditions
from tair_operator.models import Condition, ConnectionState, DirectConnectionStatus, EndpointSpec, Reason
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


# --- EndpointMatches ---

MATCHES = "The live endpoint is as spec.endpoint asks"
LIVE = DirectConnectionStatus(state=ConnectionState.ALLOCATED, host="ordersdirect.redis.rds.aliyuncs.com", port=6379)


def altered(**update: object) -> DirectConnectionStatus:
    return LIVE.model_copy(update=update)


@pytest.mark.parametrize(
    ("wanted", "live", "found"),
    [
        pytest.param(None, LIVE, None, id="nothing is asked for"),
        pytest.param(EndpointSpec(), LIVE, [], id="anything is good"),
        pytest.param(EndpointSpec(prefix="ordersdirect", port=6379), LIVE, [], id="as it is asked for"),
        pytest.param(
            EndpointSpec(prefix="elsewhere"), LIVE, ["its prefix is ordersdirect and not elsewhere"], id="the prefix"
        ),
        pytest.param(EndpointSpec(port=7000), LIVE, ["its port is 6379 and not 7000"], id="the port"),
        pytest.param(
            EndpointSpec(prefix="elsewhere", port=7000),
            LIVE,
            ["its prefix is ordersdirect and not elsewhere", "its port is 6379 and not 7000"],
            id="both",
        ),
        pytest.param(EndpointSpec(prefix="ordersdi"), LIVE, ["its prefix is ordersdirect and not ordersdi"], id="half"),
        pytest.param(EndpointSpec(port=7000), altered(port=None), ["its port is None and not 7000"], id="no port"),
        pytest.param(EndpointSpec(port=7000), altered(host=None), None, id="no host is known"),
        pytest.param(EndpointSpec(port=7000), altered(state=ConnectionState.RELEASED), None, id="released"),
        pytest.param(EndpointSpec(port=7000), altered(state=ConnectionState.ALLOCATING), None, id="on its way"),
        pytest.param(EndpointSpec(port=7000), altered(state=ConnectionState.RELEASING), None, id="on its way out"),
        pytest.param(EndpointSpec(port=7000), altered(state=ConnectionState.UNKNOWN), None, id="not known"),
    ],
)
def test_a_live_endpoint_is_compared_with_what_is_asked_for(
    wanted: EndpointSpec | None, live: DirectConnectionStatus, found: list[str] | None
) -> None:
    assert differences(wanted, live) == found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, []),
        ([], [condition("EndpointMatches", "True", Reason.ENDPOINT_MATCHES, MATCHES, generation=2)]),
        (
            ["its port is 1 and not 2", "its prefix is a and not b"],
            [
                condition(
                    "EndpointMatches",
                    "False",
                    Reason.ENDPOINT_DIFFERS,
                    "The live endpoint is not as spec.endpoint asks: its port is 1 and not 2 and its prefix is a and "
                    "not b. It is not moved; only the next allocation takes spec.endpoint into account",
                    generation=2,
                )
            ],
        ),
    ],
)
def test_the_comparison_becomes_a_condition(found: list[str] | None, expected: list[Condition]) -> None:
    before = [condition("EndpointMatches", "Unknown", since=ago(60))]

    assert next_conditions(before, RELEASED, 2, NOW, found) == [made("Ready", "True", RELEASED), *expected]


def test_a_comparison_that_ends_alike_does_not_move_the_time_of_the_transition() -> None:
    before = [condition("EndpointMatches", "False", since=ago(60))]

    same, other = (next_conditions(before, RELEASED, 2, NOW, found)[1] for found in (["it differs"], []))

    assert (same.status, same.last_transition_time) == ("False", ago(60))
    assert (other.status, other.last_transition_time) == ("True", NOW)
