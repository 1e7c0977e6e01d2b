"""What a process knows by heart: whose call is in flight, who claims what, how many were released."""

from datetime import timedelta

import pytest

from tair_operator.listing import Listed
from tair_operator.memory import LAST_CALL_KEPT, Memory, ReleaseBudget, ReleaseBudgets
from tair_operator.models import (
    Action,
    ConnectionState,
    CredentialsSpec,
    Outcome,
    Reason,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.ports import InstanceRef, Key
from tair_operator.reconcile import LOOK_MAX
from tests.builders import ID, KEY, NOW, REGION, ago, operation, planned, resource, seconds, status

REF = InstanceRef(ID, REGION)
OTHER = Key("team", "first")
SETTLE = timedelta(seconds=300)


def test_a_call_in_flight_concerns_everybody_but_its_own_resource() -> None:
    memory = Memory(SETTLE)
    call = operation()
    memory.call_made(REF, "uid-1", call, 100)

    assert memory.call_of_another(REF, "uid-1", 110) is None
    assert memory.call_of_another(REF, "uid-2", 110) == (call, seconds(10))


def test_a_call_in_flight_is_forgotten_when_it_is_over_or_old() -> None:
    memory = Memory(SETTLE)
    memory.call_made(REF, "uid-1", operation(), 100)
    memory.call_over(REF, "uid-2")
    still_there = memory.call_of_another(REF, "uid-2", 110)
    at_the_end = memory.call_of_another(REF, "uid-2", 400)
    memory.call_made(REF, "uid-1", operation(), 400)
    memory.call_over(REF, "uid-1")

    assert still_there is not None
    assert at_the_end is None
    assert memory.call_of_another(REF, "uid-2", 401) is None


def test_a_call_of_an_earlier_process_is_learnt_from_the_status() -> None:
    memory = Memory(SETTLE)
    call = operation(outcome=Outcome.STARTED)
    memory.note(resource(False, status=status(operation=call)), 100, is_served=True)

    assert memory.call_of_another(REF, "uid-2", 101) == (call, seconds(1))


def test_the_oldest_that_is_served_owns_the_instance() -> None:
    memory = Memory(SETTLE)
    young, old = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    memory.note(young, 0, is_served=True)
    alone = memory.older_claim(young)
    memory.note(old, 0, is_served=True)
    second = memory.older_claim(young)
    memory.note(old, 0, is_served=False)

    assert alone is None
    assert second == OTHER
    assert memory.older_claim(young) is None


@pytest.mark.parametrize("how", ["gone", "not listed", "being deleted"])
def test_a_resource_that_is_gone_or_being_deleted_claims_nothing(how: str) -> None:
    memory = Memory(SETTLE)
    young, old = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    memory.note(old, 0, is_served=True)
    memory.note(young, 0, is_served=True)
    before = memory.older_claim(young)
    if how == "gone":
        memory.gone(OTHER)
    elif how == "not listed":
        memory.forget_all_but([Listed.of(young, NOW)], 0)
    else:
        memory.note(resource(True, key=OTHER, uid="uid-2", created=ago(60), deleted=NOW), 0, is_served=True)

    assert before == OTHER
    assert memory.older_claim(young) is None


def test_who_takes_over_is_told_since_when() -> None:
    memory = Memory(SETTLE)
    young, old = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    memory.note(old, 0, is_served=True)
    memory.note(young, 0, is_served=True)
    first_owner = memory.owned_for(old, 50)
    memory.gone(OTHER)
    memory.note(young, 100, is_served=True)

    assert first_owner is None
    assert memory.owned_for(young, 130) == seconds(30)
    assert memory.owned_for(old, 130) is None


def test_the_last_call_is_remembered_for_longer_than_a_look_is_good_for_and_not_for_ever() -> None:
    """Of a call that is over: another resource that looked before it must not act on what it saw."""
    memory = Memory(SETTLE)
    memory.call_made(REF, "uid-1", operation(), 100)
    memory.call_over(REF, "uid-1")
    memory.forget_all_but([], 100 + LAST_CALL_KEPT)
    kept = memory.called_since(REF, "uid-2", 99)
    memory.forget_all_but([], 101 + LAST_CALL_KEPT)

    assert kept
    assert not memory.called_since(REF, "uid-2", 99)
    assert 10 * LOOK_MAX.total_seconds() < LAST_CALL_KEPT


def test_the_last_owner_is_remembered_for_ever() -> None:
    """It may have gone to another shard, and act there until a moment before somebody else comes here."""
    memory = Memory(SETTLE)
    memory.note(resource(True), 0, is_served=True)
    memory.gone(KEY)
    memory.forget_all_but([], 1e6)
    young = resource(True, key=OTHER, uid="uid-2")
    memory.note(young, 1e6, is_served=True)

    assert memory.owned_for(young, 1e6) == seconds(0)


def test_facts_are_timed_from_when_they_were_first_named() -> None:
    memory = Memory(SETTLE)
    memory.keep("uid-1", frozenset({"busy"}), 10)
    memory.keep("uid-1", frozenset({"busy", "late"}), 15)
    ages = memory.ages("uid-1", 20)
    memory.forget_all_but([], 20)

    assert ages == {"busy": seconds(10), "late": seconds(5)}
    assert memory.ages("uid-1", 20) == {}


def test_the_budget_slides() -> None:
    budget = ReleaseBudget(2, timedelta(seconds=600))
    for number, age in ((1, 500), (2, 100)):
        budget.count(operation(outcome=Outcome.SUCCEEDED, id=f"op-{number}", started_at=ago(age)))

    assert budget.wait(NOW, "uid-9") == seconds(100)
    assert budget.wait(NOW + seconds(100), "uid-9") is None


def test_the_budget_counts_what_a_resource_tells_once_and_only_releases_that_may_have_had_an_effect() -> None:
    budget = ReleaseBudget(2, timedelta(seconds=600))
    release = operation(outcome=Outcome.SUCCEEDED, started_at=ago(10))
    refused = operation(outcome=Outcome.REJECTED, id="op-2", started_at=ago(10))
    allocation = operation(Action.ALLOCATE, id="op-3", started_at=ago(10))
    for _ in range(3):
        budget.note(resource(False, key=KEY, status=status(operation=release, history=[release, refused, allocation])))

    assert budget.wait(NOW, "uid-9") is None
    budget.count(operation(id="op-4", started_at=ago(5)))
    assert budget.wait(NOW, "uid-9") == seconds(590)


def test_a_budget_of_zero_is_no_limit() -> None:
    budget = ReleaseBudget(0, timedelta(seconds=600))
    budget.count(operation(started_at=NOW))

    assert budget.wait(NOW, "uid-9") is None


def draining(uid: str) -> TairInstance:
    withdrawn = planned(Reason.DRAINING, withdrawn_at=ago(10))
    return resource(False, uid=uid, status=status(ConnectionState.ALLOCATED, plan=withdrawn))


def test_whoever_drains_has_a_place_in_the_budget() -> None:
    budget = ReleaseBudget(2, timedelta(seconds=600))
    budget.count(operation(outcome=Outcome.SUCCEEDED, started_at=ago(500)))
    budget.note(draining("uid-1"))

    assert budget.wait(NOW, "uid-2") == seconds(100)
    assert budget.wait(NOW, "uid-1") is None


def test_a_place_is_free_when_the_drain_is_over_or_the_resource_gone() -> None:
    budget = ReleaseBudget(1, timedelta(seconds=600))
    budget.note(draining("uid-1"))
    assert budget.wait(NOW, "uid-2") == seconds(600)
    budget.note(resource(False, uid="uid-1"))
    assert budget.wait(NOW, "uid-2") is None

    budget.note(draining("uid-1"))
    budget.forget_all_but([Listed.of(resource(False, uid="uid-2"), NOW)])

    assert budget.wait(NOW, "uid-2") is None


def test_a_place_is_counted_once_while_the_release_is_under_way() -> None:
    budget = ReleaseBudget(2, timedelta(seconds=600))
    withdrawn = planned(Reason.DRAINING, withdrawn_at=ago(10))
    budget.note(resource(False, uid="uid-1", status=status(plan=withdrawn, operation=operation())))

    assert budget.wait(NOW, "uid-2") is None


def test_a_place_that_is_held_is_given_back_when_status_does_not_drain() -> None:
    budget = ReleaseBudget(1, timedelta(seconds=600))
    budget.hold_place("uid-1")
    taken = budget.wait(NOW, "uid-2")
    budget.note(resource(False, uid="uid-1"))

    assert taken == seconds(600)
    assert budget.wait(NOW, "uid-2") is None


def test_a_plan_in_status_that_waits_or_allocates_takes_no_place() -> None:
    budget = ReleaseBudget(1, timedelta(seconds=600))
    waits = planned(Reason.WAITING_FOR_WINDOW)
    allocates = planned(Reason.PENDING, action=Action.ALLOCATE, withdrawn_at=NOW)
    for uid, plan in (("uid-1", waits), ("uid-2", allocates)):
        budget.note(resource(False, uid=uid, status=status(plan=plan)))

    assert budget.wait(NOW, "uid-9") is None


def test_a_start_in_the_future_counts_as_now() -> None:
    budget = ReleaseBudget(1, timedelta(seconds=600))
    budget.count(operation(started_at=NOW + seconds(3600)))

    assert budget.wait(NOW, "uid-9") == seconds(600)


def test_each_account_has_a_budget_of_its_own() -> None:
    budgets = ReleaseBudgets(1, timedelta(seconds=600))
    released = status(operation=operation(outcome=Outcome.SUCCEEDED, started_at=ago(10)))
    own = CredentialsSpec(secret_name="aliyun")
    budgets.note(resource(False, status=released))

    assert budgets.of(resource(False, uid="uid-2")).wait(NOW, "uid-2") == seconds(590)
    assert budgets.of(resource(False, uid="uid-3", credentials=own)).wait(NOW, "uid-3") is None


def test_a_place_goes_with_the_credentials() -> None:
    budgets = ReleaseBudgets(1, timedelta(seconds=600))
    drains = status(ConnectionState.ALLOCATED, plan=planned(Reason.DRAINING, withdrawn_at=ago(10)))
    budgets.note(resource(False, status=drains))
    taken = budgets.of(resource()).wait(NOW, "uid-2")
    budgets.note(resource(False, status=drains, credentials=CredentialsSpec(secret_name="aliyun")))

    assert taken == seconds(600)
    assert budgets.of(resource()).wait(NOW, "uid-2") is None
    budgets.forget_all_but([])
    assert budgets.of(resource(credentials=CredentialsSpec(secret_name="aliyun"))).wait(NOW, "uid-2") is None


# --- what other shards claim ---


def test_a_claim_of_another_shard_counts_until_the_next_answer() -> None:
    memory = Memory(SETTLE)
    mine, theirs = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    memory.note(mine, 0, is_served=True)
    memory.note_others(mine, [theirs], 0)
    second = memory.older_claim(mine)
    memory.forget_all_but([Listed.of(mine, NOW)], 0)
    after_a_list = memory.older_claim(mine)
    memory.note_others(mine, [], 50)

    assert (second, after_a_list) == (OTHER, OTHER)
    assert memory.older_claim(mine) is None
    assert memory.owned_for(mine, 60) == seconds(10)


def test_what_is_known_of_other_shards_is_forgotten_with_the_last_resource_that_names_the_instance() -> None:
    memory = Memory(SETTLE)
    mine, theirs = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    memory.note(mine, 0, is_served=True)
    memory.note_others(mine, [theirs], 0)
    memory.forget_all_but([], 20)

    assert memory.older_claim(mine) is None


@pytest.mark.parametrize(
    ("sentence", "theirs", "owned_for"),
    [
        ("a younger one that did nothing is no reason to wait", status(), None),
        ("one that called was taken for the owner", status(operation=operation(outcome=Outcome.SUCCEEDED)), 10),
        ("one that reached something was too", status(reached=True), 10),
    ],
)
def test_who_worked_in_another_shard_is_waited_for(
    sentence: str, theirs: TairInstanceStatus, owned_for: float | None
) -> None:
    memory = Memory(SETTLE)
    mine, other = resource(True, created=ago(60)), resource(True, key=OTHER, uid="uid-2", status=theirs)
    memory.note(mine, 0, is_served=True)
    memory.note_others(mine, [other], 0)
    memory.note_others(mine, [other], 5)

    assert memory.owned_for(mine, 10) == (None if owned_for is None else seconds(owned_for)), sentence


def test_what_was_seen_of_a_resource_that_left_is_forgotten() -> None:
    memory = Memory(SETTLE)
    memory.note(resource(True), 0, is_served=False)
    memory.keep("uid-1", frozenset({"absent"}), 0)
    memory.gone(Key("shop", "somebody-else"))
    before = memory.ages("uid-1", 10)
    memory.gone(KEY)

    assert before == {"absent": seconds(10)}
    assert memory.ages("uid-1", 10) == {}


# --- a LIST ---


def test_who_is_older_and_comes_later_in_a_list_has_taken_nothing_over() -> None:
    memory = Memory(SETTLE)
    young, old = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    for each in (young, old):
        memory.note(each, 0, is_served=True, is_listed=True)
    memory.forget_all_but([Listed.of(young, NOW), Listed.of(old, NOW)], 0)

    assert memory.older_claim(young) == OTHER
    assert memory.owned_for(old, 50) is None


def test_who_is_the_oldest_that_is_left_in_a_list_has_taken_over() -> None:
    memory = Memory(SETTLE)
    young, old = resource(True), resource(True, key=OTHER, uid="uid-2", created=ago(60))
    for each in (old, young):
        memory.note(each, 0, is_served=True)
    memory.note(young, 100, is_served=True, is_listed=True)
    memory.forget_all_but([Listed.of(young, NOW)], 100)

    assert memory.owned_for(young, 130) == seconds(30)
