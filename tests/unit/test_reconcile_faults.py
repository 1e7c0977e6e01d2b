"""Whole passes against fakes of the ports: a crash, a conflict or a lost answer never releases twice."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    ConnectionState,
    DirectConnectionStatus,
    Outcome,
)
from tair_operator.ports import ClusterUnavailableError, ConflictError
from tests.builders import ID, KEY, cloud_error, resource, seconds
from tests.fakes import (
    CrashError,
    FakeClock,
    Scripted,
    World,
    cancel,
    crash,
    fail,
    present,
    silence,
    world,
)

UNAVAILABLE = ClusterUnavailableError("the Kubernetes API did not answer")


# --- The intent, and what may go wrong around it ---


async def test_a_call_does_not_rest_on_a_look_that_grew_old_while_it_was_prepared() -> None:
    w = world(present(), resource(False))
    w.cloud.at["prepare"] = lambda: w.clock.advance(31)

    again = await w.one_pass()
    calls_before, writes_before = w.calls(), list(w.cluster.writes)
    w.cloud.at.pop("prepare", None)
    await w.run(60)

    assert again == seconds(0)
    assert (calls_before, writes_before) == ([], [])
    assert w.ready() == ("True", "Released")


async def test_a_conflict_on_the_intent_means_no_call() -> None:
    w = world(present(), resource(False))
    w.cluster.at["write_status"] = lambda: w.cluster.edit(KEY, direct_connection=True)

    with pytest.raises(ConflictError):
        await w.one_pass()
    await w.run(60)

    assert w.calls() == []
    assert w.ready() == ("True", "Allocated")


async def test_a_stale_view_means_no_call() -> None:
    w = world(present(), resource(False))
    w.cluster.stale[KEY] = w.seen()
    w.cluster.edit(KEY, direct_connection=True)

    with pytest.raises(ConflictError):
        await w.one_pass()

    assert w.calls() == []
    assert w.cluster.writes == []


async def test_a_namesake_that_was_created_again_means_no_call() -> None:
    w = world(present(), resource(False))
    w.cloud.at["prepare"] = lambda: w.cluster.stored.update({KEY: resource(False, uid="uid-2")})

    with pytest.raises(ConflictError):
        await w.one_pass()

    assert w.calls() == []
    assert w.seen().status.operation is None


async def test_an_intent_that_made_no_new_version_means_no_call() -> None:
    w = world(present(), resource(False))
    w.cluster.ignores_status = True

    with pytest.raises(ConflictError, match="changed nothing"):
        await w.one_pass()

    assert w.calls() == []


@pytest.mark.parametrize("point", ["write_status", "status_written"])
@pytest.mark.parametrize("jump", [FakeClock.advance, FakeClock.sleep_machine])
async def test_a_call_is_not_sent_more_than_a_second_after_its_intent(
    point: str, jump: Callable[[FakeClock, float], None]
) -> None:
    w = world(present(), resource(False))
    w.cluster.at[point] = partial(jump, w.clock, 1.5)

    await w.one_pass()
    operation = w.seen().status.operation

    assert w.calls() == []
    assert operation is not None
    assert operation.outcome is Outcome.NOT_SENT

    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]


@pytest.mark.parametrize("point", ["write_status", "status_written"])
async def test_an_intent_that_was_not_confirmed_is_called_off(point: str) -> None:
    """The write may or may not have been stored; both have to end without a call and without doubt."""
    w = world(present(), resource(False))
    w.cluster.at[point] = fail(UNAVAILABLE)

    with pytest.raises(ClusterUnavailableError):
        await w.one_pass()
    operation = w.seen().status.operation

    assert w.calls() == []
    assert operation is None or operation.outcome is Outcome.NOT_SENT

    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_a_call_that_never_left_is_recorded_as_not_sent_and_made_again() -> None:
    w = world(present(), resource(False))
    unreachable = cloud_error("ConnectFailed", action="ReleaseDirectConnection", message="No route.", sent=False)
    w.cloud.at["send"] = fail(unreachable)

    await w.one_pass()
    operation = w.seen().status.operation
    pause = await w.one_pass()
    during = w.ready()
    await w.run(60)

    assert operation is not None
    assert (operation.outcome, operation.code) == (Outcome.NOT_SENT, "ConnectFailed")
    assert pause == seconds(1)
    assert during == ("False", "CloudUnreachable")
    assert w.calls() == [(Action.RELEASE, True)]
    assert str(unreachable) == "ReleaseDirectConnection: ConnectFailed: No route."


async def test_an_edit_during_the_call_does_not_lose_its_request_id() -> None:
    w = world(present(), resource(False))
    w.cloud.at["sent"] = lambda: w.cluster.edit(KEY, resync_seconds=3600)

    await w.one_pass()
    operation = w.seen().status.operation

    assert operation is not None
    assert operation.request_id == w.cloud.ledger[0].request_id
    assert w.seen().status.request_id == operation.request_id


async def test_an_answer_for_a_resource_that_was_deleted_meanwhile_is_dropped() -> None:
    w = world(present(), resource(False))
    w.cloud.at["sent"] = w.cluster.stored.clear

    await w.one_pass()

    assert w.cluster.stored == {}
    assert await w.one_pass() is None


# --- Crashes ---

DEATHS = pytest.mark.parametrize("death", [crash, cancel, fail(RuntimeError("a bug"))])


POINTS = [
    ("cluster", "get"),
    ("cloud", "observe"),
    ("cluster", "claims"),
    ("cloud", "prepare"),
    ("cluster", "write_status"),
    ("cluster", "status_written"),
    ("cloud", "send"),
    ("cloud", "sent"),
    ("cluster", "write_answer"),
    ("cluster", "answer_written"),
]


@DEATHS
@pytest.mark.parametrize(("part", "point"), POINTS)
@pytest.mark.parametrize("lag", [0.0, 7.0])
async def test_a_crash_anywhere_leads_to_one_effective_release_and_a_truthful_status(
    death: Callable[[], None], part: str, point: str, lag: float
) -> None:
    w = world(present(), resource(False))
    w.cloud.change_seconds = lag
    getattr(w, part).at[point] = death

    with pytest.raises((CrashError, asyncio.CancelledError, RuntimeError)):
        await w.one_pass()
    w.restart()
    await w.run(1000)
    status = w.seen().status

    assert len(w.cloud.effective_releases) == 1
    assert w.ready() == ("True", "Released")
    assert status.operation is not None
    assert status.operation.outcome is Outcome.SUCCEEDED
    # The id of the answer that was recorded, or none at all; never one that was made up.
    assert status.operation.request_id in {None, w.cloud.effective_releases[0]}


@pytest.mark.parametrize(("point", "part"), [("status_written", "cluster"), ("send", "cloud")])
async def test_a_call_that_never_left_is_made_after_the_settling_time_and_not_before(point: str, part: str) -> None:
    w = world(present(), resource(False))
    getattr(w, part).at[point] = crash
    with pytest.raises(CrashError):
        await w.one_pass()
    w.restart()

    await w.run(270)
    before = (w.calls(), w.ready())
    await w.run(120)

    assert before == ([], ("False", "OutcomeUnknown"))
    assert w.calls() == [(Action.RELEASE, True)]
    assert [operation.outcome for operation in w.seen().status.history] == [Outcome.SUCCEEDED, Outcome.FAILED]


async def test_a_release_without_an_answer_is_watched_and_never_sent_again() -> None:
    w = world(present(), resource(False))
    w.cloud.script.append(Scripted(silence(), effective=True))

    await w.one_pass()
    after_the_call = w.seen().status.operation
    await w.run(1000)
    status = w.seen().status

    assert after_the_call is not None
    assert (after_the_call.outcome, after_the_call.request_id) == (Outcome.UNKNOWN, None)
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")
    assert status.operation is not None
    assert status.operation.message == "No answer was recorded; its effect was seen"
    assert status.error is None


async def test_three_releases_without_effect_need_a_person_and_a_new_annotation() -> None:
    w = world(present(), resource(False))
    w.cloud.script.extend([Scripted(silence())] * 4)

    await w.run(4000)
    after_three = (len(w.cloud.ledger), w.ready())
    w.cluster.touch(KEY, annotations={ANNOTATION_RECONCILE: "1"})
    await w.run(4000)

    assert after_three == (3, ("False", "OutcomeUnknown"))
    assert len(w.cloud.ledger) == 4
    assert w.ready() == ("False", "OutcomeUnknown")


async def test_a_crash_loop_at_the_same_point_releases_once() -> None:
    w = world(present(), resource(False))
    for _ in range(5):
        w.cloud.at["sent"] = crash
        try:
            await w.run(400)
        except CrashError:
            w.restart()

    w.cloud.at.clear()
    await w.run(400)

    assert len(w.cloud.effective_releases) == 1
    assert w.seen().status.direct_connection == DirectConnectionStatus(state=ConnectionState.RELEASED)


async def test_a_second_replica_with_the_same_view_makes_no_second_call() -> None:
    w = world(present(), resource(False))
    other = World(w.clock, w.cluster, w.cloud)
    view = w.seen()
    await w.one_pass()
    w.cluster.stale[KEY] = view
    w.cloud.instances[ID] = present()

    with pytest.raises(ConflictError):
        await other.one_pass()

    assert w.calls() == [(Action.RELEASE, True)]
