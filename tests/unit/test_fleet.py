"""What the leader counts: resources by state, and each change once, whatever is read when and how often."""

from datetime import timedelta
from typing import Any

import pytest

from tair_operator import metrics
from tair_operator.fleet import Fleet
from tair_operator.listing import Listed
from tair_operator.models import (
    Action,
    ConnectionState,
    DriftStatus,
    Operation,
    Outcome,
    Reason,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.ports import Key
from tests.builders import KEY, NOW, ago, condition, operation, ready_status, resource, status
from tests.meters import Meter

RELEASE, ALLOCATE = "ReleaseDirectConnection", "AllocateDirectConnection"


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(lambda: NOW)


@pytest.fixture
def changes() -> Meter:
    return Meter("tair_operator_direct_connection_changes_total")


@pytest.fixture
def unknown() -> Meter:
    return Meter("tair_operator_unknown_outcomes_total")


@pytest.fixture
def drifts() -> Meter:
    return Meter("tair_operator_drift_detected_total")


def version(number: int | str, now: Operation | None = None, *past: Operation, **more: Any) -> TairInstance:  # noqa: ANN401
    """Return a version of the resource that tells of these operations."""
    told = status(ConnectionState.RELEASING, operation=now, history=list(past), **more)
    return resource(False, resource_version=str(number), status=told)


def outcome(name: Outcome, id_: str = "op-1", **fields: Any) -> Operation:  # noqa: ANN401
    return operation(Action.RELEASE, name, id=id_, **fields)


# --- Outcomes ---


@pytest.mark.parametrize("end", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_an_end_that_is_seen_counts_once(fleet: Fleet, changes: Meter, end: Outcome) -> None:
    fleet.note(version(1, outcome(Outcome.ACCEPTED)))
    for _ in range(3):
        fleet.note(version(2, outcome(end)))
    fleet.note(version(3, outcome(end), generation=2))

    assert changes.gained() == {(RELEASE, end): 1}


def test_what_a_resource_tells_at_first_sight_is_history(
    fleet: Fleet, changes: Meter, unknown: Meter, drifts: Meter
) -> None:
    drift = DriftStatus(direct_connection=True, since=ago(60))
    for number, name in enumerate(Outcome):
        told = status(operation=outcome(name), history=[outcome(Outcome.SUCCEEDED, "op-0")], drift=drift)
        fleet.note(resource(False, key=Key("shop", name), uid=f"uid-{number}", status=told))

    assert (changes.gained(), unknown.gained(), drifts.gained()) == ({}, {}, {})


def test_a_namesake_with_another_uid_is_seen_for_the_first_time(fleet: Fleet, changes: Meter) -> None:
    fleet.note(version(1, outcome(Outcome.ACCEPTED)))
    told = status(operation=outcome(Outcome.SUCCEEDED))
    fleet.note(resource(False, uid="uid-2", resource_version="9", status=told))

    assert changes.gained() == {}


def test_an_end_counts_that_is_in_the_history_by_now(fleet: Fleet, changes: Meter) -> None:
    fleet.note(version(1, outcome(Outcome.UNKNOWN)))
    fleet.note(version(2, outcome(Outcome.STARTED, "op-2"), outcome(Outcome.FAILED)))

    assert changes.gained() == {(RELEASE, "Failed"): 1}


def test_an_end_counts_that_is_stored_together_with_the_next_intent(fleet: Fleet, changes: Meter) -> None:
    before = version(1, outcome(Outcome.UNKNOWN))
    fleet.note(before)
    fleet.answered(before, outcome(Outcome.REJECTED, "op-2"))
    fleet.note(version(3, outcome(Outcome.REJECTED, "op-2"), outcome(Outcome.FAILED)))
    fleet.note(version(4, outcome(Outcome.REJECTED, "op-2"), outcome(Outcome.FAILED)))

    assert changes.gained() == {(RELEASE, "Failed"): 1, (RELEASE, "Rejected"): 1}


def test_an_answer_that_a_list_told_first_counts_once(fleet: Fleet, changes: Meter) -> None:
    intent = version(1, outcome(Outcome.STARTED))
    fleet.note(intent)
    fleet.note(version(2, outcome(Outcome.REJECTED)))
    fleet.answered(intent, outcome(Outcome.REJECTED))

    assert changes.gained() == {(RELEASE, "Rejected"): 1}


def test_an_answer_for_a_namesake_counts(fleet: Fleet, changes: Meter) -> None:
    fleet.note(version(1, outcome(Outcome.REJECTED)))
    fleet.answered(resource(False, uid="uid-2"), outcome(Outcome.REJECTED))

    assert changes.gained() == {(RELEASE, "Rejected"): 1}


def test_an_older_version_that_a_list_brings_late_changes_nothing(fleet: Fleet, changes: Meter) -> None:
    fleet.note(version(9, outcome(Outcome.ACCEPTED)))
    fleet.note(version(10, outcome(Outcome.SUCCEEDED)))
    fleet.note(version(9, outcome(Outcome.ACCEPTED)))
    fleet.note(version(11, outcome(Outcome.SUCCEEDED)))

    assert changes.gained() == {(RELEASE, "Succeeded"): 1}


def test_versions_that_are_no_numbers_are_taken_as_they_come(fleet: Fleet, changes: Meter) -> None:
    fleet.note(version("b", outcome(Outcome.ACCEPTED)))
    fleet.note(version("a", outcome(Outcome.SUCCEEDED)))
    fleet.note(version("a", outcome(Outcome.SUCCEEDED)))

    assert changes.gained() == {(RELEASE, "Succeeded"): 1}


@pytest.mark.parametrize(
    ("answer", "counted", "not_known"),
    [
        (Outcome.REJECTED, {(RELEASE, "Rejected"): 1.0}, {}),
        (Outcome.NOT_SENT, {(RELEASE, "NotSent"): 1.0}, {}),
        (Outcome.UNKNOWN, {}, {(RELEASE,): 1.0}),
        (Outcome.ACCEPTED, {}, {}),
    ],
)
def test_an_answer_counts_once_whatever_is_read_afterwards(
    fleet: Fleet,
    changes: Meter,
    unknown: Meter,
    answer: Outcome,
    counted: dict[tuple[str, ...], float],
    not_known: dict[tuple[str, ...], float],
) -> None:
    # The version before the intent, that with it, read late, and those after the answer.
    before = version(1, outcome(Outcome.FAILED, "op-0"))
    fleet.note(before)
    fleet.answered(before, outcome(answer))
    fleet.note(before)
    fleet.note(version(2, outcome(Outcome.STARTED), outcome(Outcome.FAILED, "op-0")))
    fleet.note(version(3, outcome(answer), outcome(Outcome.FAILED, "op-0")))
    fleet.note(version(4, outcome(answer), outcome(Outcome.FAILED, "op-0")))

    assert (changes.gained(), unknown.gained()) == (counted, not_known)


def test_an_answer_for_a_resource_that_is_gone_counts_as_well(fleet: Fleet, unknown: Meter) -> None:
    fleet.note(version(1))
    fleet.gone(KEY)
    fleet.answered(version(1), outcome(Outcome.UNKNOWN))

    assert unknown.gained() == {(RELEASE,): 1}
    assert fleet.groups() == {}


def test_an_intent_that_nobody_lived_to_answer_is_an_unknown_outcome(fleet: Fleet, unknown: Meter) -> None:
    fleet.note(version(1, outcome(Outcome.STARTED)))
    fleet.note(version(2, outcome(Outcome.UNKNOWN)))
    fleet.note(version(3, outcome(Outcome.UNKNOWN), generation=2))

    assert unknown.gained() == {(RELEASE,): 1}


def test_the_length_of_a_change_is_from_the_intent_to_its_observed_end(fleet: Fleet) -> None:
    total = Meter("tair_operator_direct_connection_change_duration_seconds_sum")
    count = Meter("tair_operator_direct_connection_change_duration_seconds_count")
    fleet.note(version(1, outcome(Outcome.ACCEPTED)))
    fleet.note(version(2, outcome(Outcome.SUCCEEDED, started_at=ago(45), finished_at=ago(3))))
    fleet.note(version(3, outcome(Outcome.FAILED, "op-2", started_at=ago(45), finished_at=ago(3))))

    assert (total.gained(), count.gained()) == ({(RELEASE,): 42}, {(RELEASE,): 1})


def test_a_clock_that_was_set_back_makes_no_negative_length(fleet: Fleet) -> None:
    total = Meter("tair_operator_direct_connection_change_duration_seconds_sum")
    fleet.note(version(1, outcome(Outcome.ACCEPTED)))
    fleet.note(version(2, outcome(Outcome.SUCCEEDED, started_at=ago(3), finished_at=ago(45))))

    assert total.gained() == {}


# --- Drift ---


def test_drift_counts_when_it_is_first_seen_and_again_when_it_came_back(fleet: Fleet, drifts: Meter) -> None:
    first, second = (DriftStatus(direct_connection=True, since=ago(age)) for age in (60, 10))
    shown = []
    for number, drift in enumerate((None, first, first, None, second)):
        fleet.note(version(number, drift=drift))
        shown.append(fleet.drifted())

    assert drifts.gained() == {(): 2}
    assert shown == [0, 1, 1, 0, 1]


# --- Resources ---


def test_resources_are_counted_by_state_and_ready(fleet: Fleet) -> None:
    fleet.note(resource(True, key=Key("shop", "a"), status=ready_status(True)))
    fleet.note(resource(True, key=Key("shop", "b"), status=ready_status(True)))
    fleet.note(resource(False, key=Key("shop", "c")))
    waiting = [condition("Ready", "False", Reason.RELEASING), condition("Reconciling")]
    told = status(ConnectionState.RELEASING, conditions=waiting)
    fleet.note(resource(False, key=Key("shop", "d"), status=told))

    assert fleet.groups() == {
        ("Allocated", "True", "Allocated"): 2,
        ("Unknown", "Unknown", "Pending"): 1,
        ("Releasing", "False", "Releasing"): 1,
    }


def test_a_resource_that_is_gone_is_not_counted(fleet: Fleet) -> None:
    kept, left, deleted = (resource(True, key=Key("shop", name)) for name in "abc")
    for one in (kept, left, deleted):
        fleet.note(one)
    fleet.gone(Key("shop", "c"))
    fleet.forget_all_but([Listed.of(kept, NOW)])

    assert sum(fleet.groups().values()) == 1


def test_thousands_of_resources_with_reasons_of_their_own_are_one_series(fleet: Fleet) -> None:
    for number in range(3000):
        told = status(ConnectionState.ALLOCATED, conditions=[condition("Ready", "False", f"Reason{number}")])
        fleet.note(resource(True, key=Key("shop", f"r{number}"), uid=f"uid-{number}", status=told))
    metrics.own.resources.show(fleet.groups)
    text = metrics.expose("")[0].decode()

    assert [line for line in text.splitlines() if line.startswith("tair_operator_resources{")] == [
        'tair_operator_resources{ready="False",reason="Other",state="Allocated"} 3000.0'
    ]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (TairInstanceStatus(), 100),
        (status(conditions=[condition("Ready", "Unknown", since=ago(10**9))]), 100),
        (status(conditions=[condition("Ready", "False", since=ago(60)), condition("Reconciling")]), 60),
        (status(conditions=[condition("Ready", "False", since=ago(60)), condition("Stalled")]), 0),
        (status(conditions=[condition("Ready", "False", since=ago(60)), condition("Suspended")]), 0),
        (status(conditions=[condition("Ready", "True", since=ago(60))]), 0),
        (status(conditions=[condition("Ready", "False", since=ago(-60)), condition("Reconciling")]), 0),
    ],
)
def test_the_oldest_that_waits_is_as_old_as_its_ready_condition(
    fleet: Fleet, told: TairInstanceStatus, expected: float
) -> None:
    fleet.note(resource(True, status=told, created=ago(100)))
    fleet.note(resource(True, key=Key("shop", "fine"), uid="uid-2", status=ready_status(True)))

    assert fleet.oldest_unready() == expected


def waiting(number: int, reason: Reason, state: ConnectionState = ConnectionState.ALLOCATED) -> TairInstance:
    """Return a version of a resource that has not been ready for five hours."""
    told = [condition("Ready", "False", reason, since=ago(18_000)), condition("Reconciling")]
    return resource(False, resource_version=str(number), created=ago(20_000), status=status(state, conditions=told))


@pytest.mark.parametrize(
    "reason", ["WaitingForWindow", "Draining", "ReleaseBudget", "ReleasesHeld", "Pending"], ids=lambda reason: reason
)
def test_a_resource_that_waits_because_somebody_wants_it_to_is_not_slow_and_begins_afterwards(reason: str) -> None:
    times = [NOW]
    fleet, shown = Fleet(lambda: times[-1]), []
    for number, now in enumerate([reason, Reason.RELEASING, Reason.INSTANCE_BUSY]):
        fleet.note(waiting(number, Reason(now)))
        shown.append(fleet.oldest_unready())
        times.append(NOW + timedelta(minutes=1 + number))

    # Releasing for a minute, from NOW + 1.
    assert shown == [0, 0, 60]


def test_a_resource_that_was_not_looked_at_yet_is_slow(fleet: Fleet) -> None:
    fleet.note(waiting(1, Reason.PENDING, ConnectionState.UNKNOWN))

    assert fleet.oldest_unready() == 18_000


def test_without_any_resource_none_waits(fleet: Fleet) -> None:
    assert (fleet.oldest_unready(), fleet.drifted(), fleet.groups()) == (0, 0, {})
