"""Whole passes in which somebody else moves: a namesake, an access list, a person who changes their mind."""

import logging

import pytest

from tair_operator.models import ANNOTATION_RECONCILE, Action, Outcome
from tair_operator.ports import Key
from tair_operator.situation import Policy, Verb
from tests.builders import KEY, NOW, ago, cloud_error, operation, pages, resource, status
from tests.fakes import World, absent, fail, present, rejection, silence, world

OLDER = Key("team", "first")


def recreate(w: World, wanted: bool) -> None:  # noqa: FBT001
    w.cluster.stored[KEY] = resource(wanted, uid="uid-2", resource_version="100")


async def test_a_permission_that_is_withdrawn_during_the_pass_stops_the_call() -> None:
    w = world(present(), resource(False))

    def withdraw() -> None:
        w.verbs = frozenset()

    w.cloud.at["prepare"] = withdraw
    await w.one_pass()

    assert w.calls() == []
    assert w.ready() == ("False", "AccessNotAllowed")


async def test_a_call_is_followed_to_its_end_after_the_permission_was_withdrawn() -> None:
    w = world(present(), resource(False))
    await w.one_pass()
    w.verbs = frozenset({Verb.RELEASE}) - {Verb.RELEASE}
    await w.run(30)

    operation = w.seen().status.operation
    assert operation is not None
    assert operation.outcome is Outcome.SUCCEEDED
    assert w.ready() == ("False", "AccessNotAllowed")


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_namesake_waits_for_the_call_of_the_one_before(wanted: bool) -> None:  # noqa: FBT001
    w = world(present(), resource(False))
    await w.one_pass()
    recreate(w, wanted)
    await w.one_pass()
    at_first = w.ready()
    await w.run(400)

    assert at_first == ("False", "OutcomeUnknown")
    assert len(w.cloud.effective_releases) == 1
    assert w.calls() == [(Action.RELEASE, True)] + [(Action.ALLOCATE, True)] * wanted
    assert w.ready() == ("True", "Allocated" if wanted else "Released")


async def test_who_takes_over_watches_the_instance_for_the_settling_time_first() -> None:
    w = world(present(), resource(True))
    await w.run(30)
    recreate(w, wanted=False)
    await w.run(290)
    before, ready_before = w.calls(), w.ready()
    await w.run(60)

    assert (before, ready_before) == ([], ("False", "Pending"))
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_the_wait_of_who_takes_over_is_not_lost_by_a_restart() -> None:
    w = world(present(), resource(True, key=OLDER, uid="older", created=ago(60)))
    w.cluster.create(resource(False))
    await w.one_pass(OLDER)
    await w.one_pass()
    second = w.ready()
    w.restart()
    del w.cluster.stored[OLDER]
    await w.run(290)
    before = w.calls()
    await w.run(60)

    assert second == ("False", "InstanceAlreadyManaged")
    assert before == []
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_younger_resource_is_never_ready_even_if_it_wants_the_same() -> None:
    w = world(present(), resource(True, key=OLDER, uid="older", created=ago(60)))
    w.cluster.create(resource(True))
    await w.one_pass(OLDER)
    await w.run(200)

    assert w.ready(OLDER) == ("True", "Allocated")
    assert w.ready() == ("False", "InstanceAlreadyManaged")


async def test_releases_wait_for_room_in_the_budget() -> None:
    w = world(present(), resource(False))
    w.policy = Policy(release_budget=1)
    w.restart()
    spent = operation(outcome=Outcome.SUCCEEDED, id="spent", started_at=ago(500))
    other = resource(False, key=OLDER, uid="older", instance_id="r-other", status=status(operation=spent))
    await w.operator.learn(pages(other))
    await w.run(90)
    before, ready_before = w.calls(), w.ready()
    await w.run(60)

    assert (before, ready_before) == ([], ("False", "ReleaseBudget"))
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_release_that_was_not_sent_gives_its_room_back() -> None:
    w = world(present(), resource(False))
    w.policy = Policy(release_budget=1)
    w.restart()
    w.cloud.at["send"] = fail(cloud_error("ConnectionFailed", action="ReleaseDirectConnection", sent=False))
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_allocations_need_no_budget() -> None:
    w = world(absent(), resource(True))
    w.policy = Policy(release_budget=1)
    w.restart()
    spent = operation(outcome=Outcome.SUCCEEDED, id="spent", started_at=NOW)
    await w.operator.learn(
        pages(resource(False, key=OLDER, uid="o", instance_id="r-other", status=status(operation=spent)))
    )
    await w.run(60)

    assert w.calls() == [(Action.ALLOCATE, True)]


async def test_transitions_and_calls_become_events_and_a_quiet_pass_none() -> None:
    w = world(present(), resource(False))
    await w.run(30)
    told = [(event.kind, event.reason) for event in w.cluster.events]
    texts = " ".join(event.message for event in w.cluster.events)
    await w.run(3600)

    assert told == [("Normal", "ReleaseDirectConnection"), ("Normal", "Released")]
    assert f"RequestId {w.cloud.ledger[0].request_id}" in texts
    assert len(w.cluster.events) == 2


async def test_a_refused_call_becomes_a_warning_with_its_code() -> None:
    w = world(present(), resource(False))
    w.cloud.at["send"] = fail(rejection("Forbidden.RAM"))
    await w.one_pass()

    [event] = w.cluster.events
    assert (event.kind, event.reason) == ("Warning", "ReleaseDirectConnection")
    assert "Rejected" in event.message
    assert "Forbidden.RAM" in event.message


async def test_a_resource_that_is_being_deleted_shows_the_end_of_its_call() -> None:
    w = world(present(), resource(False))
    await w.one_pass()
    w.cluster.touch(KEY, deletion_timestamp=NOW)
    await w.run(30)

    operation = w.seen().status.operation
    assert operation is not None
    assert operation.outcome is Outcome.SUCCEEDED
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_mind_that_is_changed_twice_in_a_second_is_no_drift() -> None:
    w = world(absent(), resource(False))
    await w.run(30)
    w.cluster.edit(KEY, direct_connection=True)
    await w.one_pass()
    w.cluster.edit(KEY, direct_connection=False)
    await w.run(60)

    assert [action for action, _ in w.calls()] == [Action.ALLOCATE, Action.RELEASE]
    assert w.ready() == ("True", "Released")


async def test_the_answer_is_in_the_log_even_if_it_never_reaches_the_status(caplog: pytest.LogCaptureFixture) -> None:
    w = world(present(), resource(False))
    w.cluster.at["write_answer"] = fail(KeyboardInterrupt())
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        await w.one_pass()

    lines = [record for record in caplog.records if record.name == "tair_operator.audit"]
    assert [line.message for line in lines] == [
        "ReleaseDirectConnection: Started",
        "ReleaseDirectConnection: Accepted",
    ]
    assert lines[-1].__dict__["request_id"] == w.cloud.ledger[0].request_id


async def test_another_try_that_somebody_asks_for_is_made_after_the_pause() -> None:
    w = world(present(), resource(False))
    w.cloud.at["send"] = fail(rejection("Forbidden.RAM"))
    await w.one_pass()
    await w.one_pass()
    w.cluster.touch(KEY, annotations={ANNOTATION_RECONCILE: "granted"})
    await w.one_pass()
    handled_in_the_pause = w.seen().status.last_handled_reconcile_at
    await w.run(60)

    assert handled_in_the_pause is None
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.seen().status.last_handled_reconcile_at == "granted"
    assert w.ready() == ("True", "Released")


@pytest.mark.parametrize("seconds_before", [0, 20])
async def test_a_restart_during_the_watch_begins_it_again(seconds_before: int) -> None:
    w = world(present(), resource(True, key=OLDER, uid="older", created=ago(60)))
    w.cluster.create(resource(False))
    await w.one_pass(OLDER)
    await w.one_pass()
    w.cloud.at["observe"] = fail(cloud_error("ServiceUnavailable"))
    await w.one_pass()
    del w.cluster.stored[OLDER]
    await w.operator.learn(pages(w.seen()))
    await w.run(seconds_before)
    w.restart()
    await w.operator.learn(pages(w.seen()))
    await w.run(290)
    before = w.calls()
    await w.run(60)

    assert before == []
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.seen().status.taking_over is None


async def test_a_namesake_that_was_looked_at_waits_for_the_call_before_also_after_a_restart() -> None:
    w = world(present(), resource(False))
    w.cloud.at["send"] = fail(silence())
    await w.one_pass()
    recreate(w, wanted=False)
    await w.one_pass()
    w.restart()
    await w.operator.learn(pages(w.seen()))
    await w.run(290)

    assert w.calls() == []


async def test_the_owner_that_always_was_one_does_not_wait_after_a_restart() -> None:
    w = world(present(), resource(False, created=ago(60)))
    younger = resource(True, key=Key("a", "younger"), uid="younger", created=NOW)
    w.cluster.create(younger)
    await w.operator.learn(pages(younger, w.seen()))
    await w.run(30)

    assert w.calls() == [(Action.RELEASE, True)]
