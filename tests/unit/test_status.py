"""The status that a pass leaves behind, and what is worth a write."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    Condition,
    ConnectionState,
    DirectConnectionStatus,
    DriftStatus,
    ErrorStatus,
    Operation,
    Outcome,
    ReachedStatus,
    Reason,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.plan import decide
from tair_operator.ports import Observation
from tair_operator.situation import endpoint_id
from tair_operator.stance import Plan, Stance
from tair_operator.status import Look, is_worth_writing, next_status
from tests.builders import (
    HOST,
    NOW,
    ago,
    cloud_error,
    condition,
    context,
    endpoint,
    instance_status,
    observation,
    operation,
    ready_status,
    refused,
    resource,
    seconds,
    status,
)

BUSY = Plan(Stance.RECONCILING, Reason.INSTANCE_BUSY, "Busy", ConnectionState.ALLOCATED)
RELEASING = Plan(Stance.RECONCILING, Reason.RELEASING, "Releasing", ConnectionState.RELEASING)
RELEASED = Plan(Stance.READY, Reason.RELEASED, "Released", ConnectionState.RELEASED, ready="True", reached=True)
ALLOCATED = Plan(Stance.READY, Reason.ALLOCATED, "Allocated", ConnectionState.ALLOCATED, ready="True", reached=True)
DONE = Plan(
    Stance.READY,
    Reason.RELEASED,
    "Released",
    ConnectionState.RELEASED,
    ready="True",
    reached=True,
    outcome=Outcome.SUCCEEDED,
)


def after(plan: Plan, made: TairInstance, seen: Observation | None = None, now: datetime = NOW) -> TairInstanceStatus:
    return next_status(made, plan, Look(seen or observation()), now)


# --- What is worth a write ---


def changed(**update: object) -> TairInstanceStatus:
    return FULL.model_copy(update=update)


ERROR = ErrorStatus(action="DescribeInstances", code="ServiceUnavailable", message="Come back.", time=ago(60))
FULL = ready_status(True, error=ERROR)


@pytest.mark.parametrize(
    "same",
    [
        FULL,
        changed(error=ERROR.model_copy(update={"time": NOW})),
        changed(error=ERROR.model_copy(update={"request_id": "R-2"})),
        changed(instance=instance_status(status="Changing")),
    ],
)
def test_what_may_lag_behind_is_not_worth_a_write(same: TairInstanceStatus) -> None:
    assert not is_worth_writing(FULL, same)


@pytest.mark.parametrize(
    "other",
    [
        changed(observed_generation=2),
        changed(error=None),
        changed(error=ERROR.model_copy(update={"code": "Throttling"})),
        changed(error=ERROR.model_copy(update={"message": "Another."})),
        changed(instance=instance_status(name="renamed")),
        changed(direct_connection=None),
        changed(reached=None),
        changed(operation=operation()),
        changed(last_handled_reconcile_at="1"),
        changed(conditions=[]),
    ],
)
def test_everything_else_is_worth_a_write(other: TairInstanceStatus) -> None:
    assert is_worth_writing(FULL, other)


def test_an_error_whose_words_differ_only_by_an_id_or_a_time_is_not_worth_a_write() -> None:
    one, two = (
        changed(error=ERROR.model_copy(update={"message": f"5D622714-AEDD-4609-9167-F5DDD3D1{tail} at {at}"}))
        for tail, at in (("AAAA", "2026-03-02T12:00:01Z"), ("BBBB", "2026-03-02T12:00:02Z"))
    )

    assert not is_worth_writing(one, two)


def test_an_instance_that_was_written_as_busy_is_written_as_normal() -> None:
    """Else the intermediate status, written along with something else, would stay for ever."""
    assert is_worth_writing(changed(instance=instance_status(status="Changing")), FULL)


def test_the_first_sight_of_the_instance_is_worth_a_write() -> None:
    assert is_worth_writing(changed(instance=None), FULL)


# --- What is composed ---


def test_a_look_becomes_a_status() -> None:
    seen = observation(endpoints=(endpoint(ip_address="10.0.0.1", vpc_id="vpc-1", v_switch_id="v-1"),))
    made = resource(True, generation=3, annotations={ANNOTATION_RECONCILE: "1"})

    assert after(ALLOCATED, made, seen) == TairInstanceStatus(
        observed_generation=3,
        conditions=[condition("Ready", "True", Reason.ALLOCATED, "Allocated", generation=3)],
        direct_connection=DirectConnectionStatus(
            state=ConnectionState.ALLOCATED,
            host=HOST,
            port=6379,
            ip_address="10.0.0.1",
            vpc_id="vpc-1",
            v_switch_id="v-1",
        ),
        reached=ReachedStatus(direct_connection=True, time=NOW),
        instance=instance_status(),
        last_handled_reconcile_at="1",
    )


@pytest.mark.parametrize("state", [ConnectionState.RELEASED, ConnectionState.ALLOCATING])
def test_the_address_goes_with_the_endpoint(state: ConnectionState) -> None:
    plan = Plan(Stance.RECONCILING, Reason.PENDING, "", state)
    made = resource(True, status=status(ConnectionState.ALLOCATED))

    assert after(plan, made, observation(False)).direct_connection == DirectConnectionStatus(state=state)


def test_the_address_stays_while_nothing_is_known() -> None:
    plan = Plan(Stance.RECONCILING, Reason.PENDING, "", ConnectionState.UNKNOWN)
    known = after(plan, resource(True, status=status(ConnectionState.ALLOCATED)), observation(None)).direct_connection

    assert known == DirectConnectionStatus(state=ConnectionState.UNKNOWN, host=HOST, port=6379)


def test_the_address_of_an_endpoint_that_is_being_allocated_is_not_shown_yet() -> None:
    plan = Plan(Stance.RECONCILING, Reason.ALLOCATING, "", ConnectionState.ALLOCATING)
    known = after(plan, resource(True, status=status(ConnectionState.ALLOCATING))).direct_connection

    assert known == DirectConnectionStatus(state=ConnectionState.ALLOCATING)


def test_a_pass_without_a_look_keeps_what_is_known_of_the_instance() -> None:
    made = resource(suspend=True, status=ready_status(True))
    plan = Plan(Stance.SUSPENDED, Reason.SUSPENDED, "", ConnectionState.ALLOCATED)

    assert next_status(made, plan, Look(), NOW).instance == instance_status()


def test_an_intent_takes_the_place_of_the_operation_and_of_the_error() -> None:
    intent = operation(outcome=Outcome.STARTED, id="op-2")
    made = resource(False, status=status(ConnectionState.ALLOCATED, operation=refused("Throttling"), error=ERROR))
    following = next_status(made, RELEASING, Look(observation()), NOW, intent=intent)

    assert following.operation == intent
    assert following.error is None
    assert following.history == [refused("Throttling")]


def test_unknown_fields_of_a_newer_version_survive() -> None:
    stored = TairInstanceStatus.model_validate({"observedGeneration": 1, "fromTheFuture": {"deep": [1]}})
    wire = after(RELEASED, resource(False, status=stored), observation(False)).model_dump(by_alias=True)

    assert wire["fromTheFuture"] == {"deep": [1]}


def test_the_conditions_of_others_survive() -> None:
    foreign = Condition(type="Audited", status="True", reason="R", last_transition_time=ago(9))
    made = resource(False, status=status(conditions=[foreign]))

    assert after(RELEASED, made, observation(False)).conditions[-1] == foreign


@pytest.mark.parametrize(("created", "shown"), [(ago(60), NOW), (ago(-60), ago(-60))])
def test_no_transition_is_dated_before_the_resource_was_there(created: datetime, shown: datetime) -> None:
    made = resource(False, created=created)

    assert {each.last_transition_time for each in after(RELEASED, made).conditions} == {shown}


def test_a_request_for_a_pass_stays_handled_when_its_annotation_is_gone() -> None:
    made = resource(False, status=status(last_handled_reconcile_at="1"))

    assert after(RELEASED, made, observation(False)).last_handled_reconcile_at == "1"


# --- What becomes of an operation ---


@pytest.mark.parametrize(
    ("before", "outcome", "update"),
    [
        (operation(request_id="R", http_status=200), Outcome.SUCCEEDED, {"finished_at": NOW}),
        (operation(request_id="R", http_status=200), Outcome.FAILED, {"finished_at": NOW}),
        (
            operation(outcome=Outcome.STARTED),
            Outcome.SUCCEEDED,
            {"finished_at": NOW, "message": "No answer was recorded; its effect was seen"},
        ),
        (
            operation(outcome=Outcome.UNKNOWN),
            Outcome.FAILED,
            {"finished_at": NOW, "message": "No answer was recorded; no effect was seen"},
        ),
        (operation(outcome=Outcome.UNKNOWN, http_status=502, message="Bad"), Outcome.FAILED, {"finished_at": NOW}),
        (operation(outcome=Outcome.STARTED), Outcome.UNKNOWN, {}),
    ],
)
def test_an_operation_ends_with_its_outcome(before: Operation, outcome: Outcome, update: dict[str, Any]) -> None:
    plan = Plan(Stance.RECONCILING, Reason.PENDING, "", ConnectionState.UNKNOWN, outcome=outcome)
    following = after(plan, resource(False, status=status(operation=before)))

    assert following.operation == before.model_copy(update={"outcome": outcome} | update)


def test_an_operation_that_goes_on_is_not_history() -> None:
    assert after(RELEASING, resource(False, status=status(operation=operation()))).history == []


def test_history_keeps_five_finished_operations_newest_first() -> None:
    history = [operation(outcome=Outcome.FAILED, id=f"old-{number}") for number in range(5)]
    made = resource(False, status=status(operation=operation(request_id="R"), history=history))
    following = after(DONE, made, observation(False))

    assert [found.id for found in following.history] == ["op-1", "old-0", "old-1", "old-2", "old-3"]
    assert following.history[0] == following.operation


def test_an_operation_enters_history_once() -> None:
    made = resource(False, status=status(operation=operation(), history=[]))
    once = after(DONE, made, observation(False))

    assert after(RELEASED, resource(False, status=once), observation(False)).history == once.history


@pytest.mark.parametrize(
    ("new", "ids"),
    [
        (refused("Throttling", id="op-2", attempt=2), ["op-2"]),
        (refused("Other", id="op-2"), ["op-2", "op-1"]),
        (refused("Throttling", id="op-2", generation=2), ["op-2", "op-1"]),
        (refused("Throttling", Action.ALLOCATE, id="op-2"), ["op-2", "op-1"]),
        (operation(outcome=Outcome.FAILED, id="op-2"), ["op-2", "op-1"]),
    ],
)
def test_only_an_identical_rejection_takes_the_place_of_the_one_before(new: Operation, ids: list[str]) -> None:
    made = resource(False, status=status(operation=new, history=[refused("Throttling")]))

    assert [found.id for found in after(BUSY, made).history] == ids


def test_calls_that_were_not_sent_do_not_push_out_what_happened() -> None:
    failed = operation(outcome=Outcome.FAILED, id="failed")
    again = operation(outcome=Outcome.NOT_SENT, id="op-2", finished_at=NOW)
    made = resource(False, status=status(operation=again, history=[again.model_copy(update={"id": "op-1"}), failed]))

    assert [found.id for found in after(BUSY, made).history] == ["op-2", "failed"]


# --- What was reached ---


def test_a_value_that_was_reached_by_a_call_names_the_call() -> None:
    made = resource(False, status=status(operation=operation()))

    assert after(DONE, made, observation(False)).reached == ReachedStatus(
        direct_connection=False, operation_id="op-1", time=NOW
    )


def test_a_value_that_is_seen_again_was_reached_before() -> None:
    made = resource(False, status=ready_status(False))

    assert after(RELEASED, made, observation(False)).reached == made.status.reached


def test_a_value_that_our_own_call_leaves_is_marked() -> None:
    made = resource(True, status=ready_status(False))
    intent = operation(Action.ALLOCATE, Outcome.STARTED)

    reached = next_status(made, BUSY, Look(observation(False)), NOW, intent=intent).reached

    assert made.status.reached is not None
    assert reached == made.status.reached.model_copy(update={"left_by": "op-1"})


def test_a_value_that_our_own_call_brings_back_is_kept() -> None:
    made = resource(True, status=ready_status(True))
    intent = operation(Action.ALLOCATE, Outcome.STARTED, drift=True)

    assert next_status(made, BUSY, Look(observation(False)), NOW, intent=intent).reached == made.status.reached


def test_another_value_is_reached_anew() -> None:
    made = resource(False, status=ready_status(True))

    assert after(RELEASED, made, observation(False)).reached == ReachedStatus(direct_connection=False, time=NOW)


def test_what_was_reached_stays_while_something_else_is_wanted() -> None:
    made = resource(False, status=ready_status(True))

    assert after(BUSY, made).reached == made.status.reached


def test_nothing_is_reached_where_nothing_is_wanted() -> None:
    plan = Plan(Stance.READY, Reason.OBSERVED, "", ConnectionState.ALLOCATED, ready="True")

    assert after(plan, resource(status=ready_status(True))).reached is None


def test_a_value_that_our_allocation_brought_about_names_the_endpoint() -> None:
    made = resource(True, status=status(operation=operation(Action.ALLOCATE)))
    plan = replace(ALLOCATED, outcome=Outcome.SUCCEEDED)

    assert after(plan, made).reached == ReachedStatus(
        direct_connection=True, operation_id="op-1", endpoint_id=endpoint_id(endpoint()), time=NOW
    )


def test_an_endpoint_that_was_there_before_is_nobodys() -> None:
    assert after(ALLOCATED, resource(True)).reached == ReachedStatus(direct_connection=True, time=NOW)


def test_our_endpoint_stays_ours_while_it_is_seen_again() -> None:
    once = after(
        replace(ALLOCATED, outcome=Outcome.SUCCEEDED),
        resource(True, status=status(operation=operation(Action.ALLOCATE))),
    )
    other = observation(endpoints=(endpoint(vpc_instance_id="of-somebody-else"),))

    assert after(ALLOCATED, resource(True, status=once), other, NOW + seconds(60)).reached == once.reached


def test_an_allocation_that_ended_is_reached_whatever_else_the_pass_has_to_say() -> None:
    made = resource(True, status=status(operation=operation(Action.ALLOCATE)))
    reached = after(replace(BUSY, outcome=Outcome.SUCCEEDED), made).reached

    assert reached is not None
    assert (reached.operation_id, reached.endpoint_id) == ("op-1", endpoint_id(endpoint()))


def test_an_allocation_that_the_manifest_wants_no_more_is_not_reached() -> None:
    made = resource(False, status=status(operation=operation(Action.ALLOCATE)))

    assert after(replace(BUSY, outcome=Outcome.SUCCEEDED), made).reached is None


def test_a_value_that_was_left_is_reached_anew() -> None:
    left = ReachedStatus(direct_connection=True, left_by="op-1", time=ago(60))
    made = resource(True, status=status().model_copy(update={"reached": left}))

    assert after(ALLOCATED, made).reached == ReachedStatus(direct_connection=True, time=NOW)


# --- How many releases are over ---


@pytest.mark.parametrize(
    ("action", "outcome", "before", "count"),
    [
        (Action.RELEASE, Outcome.SUCCEEDED, None, 1),
        (Action.RELEASE, Outcome.FAILED, 1, 2),
        (Action.RELEASE, Outcome.UNKNOWN, 1, 1),
        (Action.RELEASE, None, None, None),
        (Action.ALLOCATE, Outcome.SUCCEEDED, None, None),
        (Action.ALLOCATE, Outcome.FAILED, 3, 3),
    ],
)
def test_a_release_that_may_have_had_an_effect_is_counted_when_it_is_over(
    action: Action, outcome: Outcome | None, before: int | None, count: int | None
) -> None:
    made = resource(False, status=status(operation=operation(action), finished_releases=before))

    assert after(replace(BUSY, outcome=outcome), made).finished_releases == count


def test_a_look_without_any_operation_counts_nothing() -> None:
    assert after(BUSY, resource(False)).finished_releases is None


# --- Drift ---

SINCE = DriftStatus(direct_connection=True, since=ago(60))


@pytest.mark.parametrize(
    ("before", "drift", "expected"),
    [
        pytest.param(None, None, None, id="none"),
        pytest.param(None, True, DriftStatus(direct_connection=True, since=NOW), id="new"),
        pytest.param(SINCE, True, SINCE, id="the same"),
        pytest.param(SINCE, False, DriftStatus(direct_connection=False, since=NOW), id="another"),
        pytest.param(SINCE, None, None, id="gone"),
    ],
)
def test_a_drift_is_shown_since_it_was_first_seen(
    before: DriftStatus | None,
    drift: bool | None,  # noqa: FBT001 - a column of the table
    expected: DriftStatus | None,
) -> None:
    assert after(replace(BUSY, drift=drift), resource(False, status=status(drift=before))).drift == expected


def test_a_drift_is_kept_while_nothing_is_seen() -> None:
    made = resource(False, status=status(drift=SINCE))

    assert next_status(made, replace(BUSY, drift=None), Look(), NOW).drift == SINCE


@pytest.mark.parametrize(
    ("seen", "drift"),
    [
        pytest.param(observation(None), True, id="a reply that says nothing"),
        pytest.param(observation(missing=True), True, id="an instance that is not listed"),
        pytest.param(observation(False, "Changing"), True, id="absence on a busy instance"),
        pytest.param(observation(False), None, id="absence after a release"),
        pytest.param(observation(), True, id="presence"),
    ],
)
def test_a_drift_outlives_a_look_that_shows_nothing(seen: Observation, drift: bool | None) -> None:  # noqa: FBT001
    state = ConnectionState.ALLOCATED if drift else ConnectionState.RELEASED
    made = resource(False, status=status(state, reached=False, drift=SINCE))

    assert decide(made, seen, context(), NOW).drift is drift


# --- Errors ---

FAILURE = cloud_error(http_status=503, request_id="R-1")
FAILURE_STATUS = ErrorStatus(
    action="DescribeInstances",
    code="ServiceUnavailable",
    message="Come back later.",
    http_status=503,
    request_id="R-1",
    time=NOW,
)


def test_the_error_of_a_look_is_shown_with_the_time_when_it_was_first_met() -> None:
    once = next_status(resource(), BUSY, Look(error=FAILURE), NOW)
    repeated = cloud_error(http_status=503, request_id="R-2")
    again = next_status(resource(status=once), BUSY, Look(error=repeated), NOW + seconds(60))

    assert once.error == FAILURE_STATUS
    assert again.error == FAILURE_STATUS.model_copy(update={"request_id": "R-2"})


def test_another_error_has_a_time_of_its_own() -> None:
    made = resource(status=status(error=ERROR))

    assert next_status(made, BUSY, Look(error=FAILURE), NOW).error == FAILURE_STATUS


def test_an_error_goes_when_nothing_fails() -> None:
    assert after(RELEASED, resource(False, status=status(error=ERROR)), observation(False)).error is None


def test_the_error_of_a_refused_call_is_shown_while_it_matters() -> None:
    made = resource(False, status=status(operation=refused("Throttling")))

    assert after(BUSY, made).error == ErrorStatus(
        action="ReleaseDirectConnection",
        code="Throttling",
        message="Because of Throttling.",
        http_status=400,
        request_id="R-1",
        time=ago(9),
    )


def test_the_error_of_an_unknown_outcome_has_the_time_of_the_pass_that_met_it() -> None:
    unknown = operation(outcome=Outcome.UNKNOWN, code="ReadTimeout")

    assert after(RELEASING, resource(False, status=status(operation=unknown))).error == ErrorStatus(
        action="ReleaseDirectConnection", code="ReadTimeout", message="", time=NOW
    )


def test_a_call_that_succeeded_after_all_is_no_error_later() -> None:
    succeeded = operation(outcome=Outcome.SUCCEEDED, code="ReadTimeout")

    assert after(BUSY, resource(True, status=status(operation=succeeded))).error is None


def test_the_error_of_a_refused_call_goes_when_the_wanted_value_is_there() -> None:
    made = resource(False, status=status(operation=refused("NetTypeNotExists")))

    assert after(RELEASED, made, observation(False)).error is None
