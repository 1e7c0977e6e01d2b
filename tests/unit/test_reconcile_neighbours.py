"""Whole passes in which somebody else moves: a namesake, an access list, a person who changes their mind."""

import logging

import pytest

from tair_operator.models import Action, Outcome
from tair_operator.situation import Verb
from tests.builders import KEY, NOW, resource
from tests.fakes import World, absent, fail, present, silence, world


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
    await w.run(30)

    assert at_first == ("False", "OutcomeUnknown")
    assert len(w.cloud.effective_releases) == 1
    assert w.calls() == [(Action.RELEASE, True)] + [(Action.ALLOCATE, True)] * wanted
    assert w.ready() == ("True", "Allocated" if wanted else "Released")


async def test_a_namesake_waits_no_longer_than_the_settling_time() -> None:
    w = world(present(), resource(False))
    w.cloud.at["send"] = fail(silence())
    await w.one_pass()
    recreate(w, wanted=False)
    await w.run(299)
    before = w.calls()
    await w.run(60)

    assert before == []
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_a_namesake_need_not_wait_for_a_call_that_has_settled() -> None:
    w = world(present(), resource(False))
    await w.run(30)
    recreate(w, wanted=True)
    await w.run(30)

    assert [action for action, _ in w.calls()] == [Action.RELEASE, Action.ALLOCATE]


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

    [line] = [record for record in caplog.records if record.message.startswith("ReleaseDirectConnection")]
    assert line.__dict__["request_id"] == w.cloud.ledger[0].request_id
