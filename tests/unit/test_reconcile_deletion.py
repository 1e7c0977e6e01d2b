"""Whole passes around a deletion: when the finalizer comes and goes, and what is called in between."""

from typing import Any

import pytest

from tair_operator.models import ANNOTATION_APPROVE, FINALIZER, Action, PublishSpec, Reason, ReleaseSpec
from tair_operator.ports import ErrorClass, ForbiddenError, Key, Namespace, Place
from tair_operator.situation import Policy, Verb
from tests.builders import HOST, KEY, NOW, PORT, ago, cloud_error, resource
from tests.fakes import World, absent, fail, present, world

OTHER = Key("team", "other")
SECRET = Place("Secret", "orders")
ORDERS = PublishSpec(secret_name="orders")
NO_CREDENTIALS = cloud_error(
    "NoCredentials", error_class=ErrorClass.BLOCKED, reason=Reason.CREDENTIALS_UNAVAILABLE, sent=False
)
WAY_OUT = "set spec.deletionPolicy to Retain to end it without one"


async def allocated(policy: Policy | None = None, **spec: Any) -> World:  # noqa: ANN401 - goes on to a builder
    """Return a world in which the operator allocated the endpoint of a resource that is to release it at its end."""
    w = world(absent(), resource(True, deletion_policy="Release", **spec), policy)
    await w.run(60)

    assert w.ready() == ("True", "Allocated")
    assert w.calls() == [(Action.ALLOCATE, True)]
    w.cluster.journal.clear()
    w.cloud.ledger.clear()
    return w


def is_gone(w: World, key: Key = KEY) -> bool:
    return key not in w.cluster.stored


def message(w: World) -> str:
    ready = w.seen().status.condition("Ready")

    assert ready is not None
    return ready.message


async def test_the_finalizer_comes_with_release_before_anything_is_called() -> None:
    w = world(absent(), resource(True, deletion_policy="Release"))
    await w.run(60)

    assert w.seen().metadata.finalizers == [FINALIZER]
    assert w.cluster.journal[0] == "hold"
    assert w.cluster.finalizer_writes == 1


@pytest.mark.parametrize("policy", [None, "Retain"])
async def test_without_release_there_is_no_finalizer(policy: Any) -> None:  # noqa: ANN401 - one of the literals
    w = world(present(), resource(True, deletion_policy=policy))
    await w.run(60)

    assert (w.seen().metadata.finalizers, w.cluster.finalizer_writes) == ([], 0)


async def test_the_finalizer_goes_when_the_policy_does() -> None:
    w = await allocated()
    w.cluster.edit(KEY, deletion_policy="Retain")
    await w.run(60)

    assert w.seen().metadata.finalizers == []
    assert w.cluster.finalizer_writes == 2


async def test_the_finalizers_of_others_are_theirs() -> None:
    w = world(present(), resource(True, deletion_policy="Release", finalizers=["somebody.else/waits"]))
    await w.run(30)
    held = w.seen().metadata.finalizers
    w.cluster.edit(KEY, deletion_policy="Retain")
    await w.run(30)

    assert held == ["somebody.else/waits", FINALIZER]
    assert w.seen().metadata.finalizers == ["somebody.else/waits"]


async def test_an_endpoint_that_we_allocated_is_released_and_then_let_go() -> None:
    w = await allocated()
    w.cluster.delete(KEY)
    await w.run(60)

    assert is_gone(w)
    assert w.calls() == [(Action.RELEASE, True)]
    assert [entry for entry in w.cluster.journal if entry != "look"] == [
        "intent",
        "call ReleaseDirectConnection",
        "answer",
        "status Pending",
        "let go",
    ]


async def test_what_is_published_is_withdrawn_before_the_deletion_releases() -> None:
    w = await allocated(publish=ORDERS, release=ReleaseSpec(drain_seconds=60))
    w.cluster.delete(KEY)
    await w.one_pass()
    during = (w.cluster.published, w.calls(), w.ready())
    await w.run(120)

    assert during == ({}, [], ("False", "Draining"))
    assert is_gone(w)
    assert [entry for entry in w.cluster.journal if entry != "look"][:4] == [
        "withdraw Secret orders",
        "status Draining",
        "intent",
        "call ReleaseDirectConnection",
    ]


async def test_retain_leaves_the_endpoint_and_what_is_published() -> None:
    w = world(present(), resource(True, publish=ORDERS))
    await w.run(30)
    w.cluster.touch(KEY, deletion_timestamp=NOW, finalizers=["somebody.else/waits"])
    pause = await w.one_pass()

    assert pause is None
    assert w.calls() == []
    assert w.cluster.published == {SECRET: (HOST, PORT)}


async def test_retain_that_is_set_while_the_deletion_waits_lets_go_at_once() -> None:
    w = await allocated(release=ReleaseSpec(window="Maintenance"))
    w.cluster.delete(KEY)
    await w.run(60)
    waits = (w.ready(), message(w))
    w.cluster.edit(KEY, deletion_policy="Retain")
    await w.one_pass()

    assert waits[0] == ("False", "WaitingForWindow")
    assert waits[1].endswith(WAY_OUT)
    assert is_gone(w)
    assert w.calls() == []


async def test_retain_that_is_set_during_the_release_lets_go_and_the_next_namesake_waits_for_it() -> None:
    w = await allocated()
    w.cluster.delete(KEY)
    await w.one_pass()
    w.cluster.edit(KEY, deletion_policy="Retain")
    await w.one_pass()
    gone = is_gone(w)
    w.cluster.create(resource(True, uid="uid-2"))
    await w.one_pass()
    during = w.ready()
    await w.run(400)

    assert gone
    assert during == ("False", "OutcomeUnknown")
    assert w.calls() == [(Action.RELEASE, True), (Action.ALLOCATE, True)]


async def test_an_endpoint_that_was_there_before_waits_for_an_approval() -> None:
    w = world(present(), resource(True, deletion_policy="Release"))
    await w.run(30)
    w.cluster.delete(KEY)
    await w.run(600)
    waits, plan = (w.calls(), w.ready(), message(w)), w.seen().status.plan
    assert plan is not None
    w.cluster.touch(KEY, annotations={ANNOTATION_APPROVE: plan.id})
    await w.run(60)

    assert waits[:2] == ([], ("False", "ApprovalRequired"))
    assert f"{ANNOTATION_APPROVE}={plan.id}" in waits[2]
    assert waits[2].endswith(WAY_OUT)
    assert is_gone(w)
    assert w.calls() == [(Action.RELEASE, True)]


async def test_an_allocation_that_ends_after_the_deletion_is_ours_to_release() -> None:
    w = world(absent(), resource(True, deletion_policy="Release"))
    await w.one_pass()
    w.clock.advance(5)
    await w.one_pass()
    w.cluster.delete(KEY)
    await w.run(120)

    assert w.calls() == [(Action.ALLOCATE, True), (Action.RELEASE, True)]
    assert is_gone(w)


async def test_an_allocation_that_ends_after_the_deletion_stays_ours_while_the_release_waits() -> None:
    w = world(absent(), resource(True, deletion_policy="Release"))
    await w.one_pass()
    w.clock.advance(5)
    await w.one_pass()
    w.cluster.delete(KEY)
    w.is_held = True
    await w.run(120)
    held = (w.calls(), w.ready())
    w.is_held = False
    await w.run(120)

    assert held == ([(Action.ALLOCATE, True)], ("False", "ReleasesHeld"))
    assert w.calls() == [(Action.ALLOCATE, True), (Action.RELEASE, True)]
    assert is_gone(w)


async def test_another_live_resource_on_the_instance_ends_the_deletion_without_a_call() -> None:
    w = await allocated()
    w.cluster.create(resource(True, key=OTHER, uid="younger"))
    w.cluster.delete(KEY)
    await w.run(60)

    assert is_gone(w)
    assert w.calls() == []


async def test_a_claim_that_is_older_ends_the_deletion_without_a_call() -> None:
    w = await allocated()
    w.cluster.create(resource(True, key=OTHER, uid="older", created=ago(60)))
    w.cluster.delete(KEY)
    await w.run(60)

    assert is_gone(w)
    assert w.calls() == []


async def test_two_deletions_of_one_instance_release_once() -> None:
    w = await allocated()
    w.cluster.create(resource(True, key=OTHER, uid="younger", deletion_policy="Release", created=NOW))
    await w.one_pass(OTHER)
    w.cluster.delete(KEY)
    w.cluster.delete(OTHER)
    await w.run(400, OTHER)
    await w.run(400)

    assert w.calls() == [(Action.RELEASE, True)]
    assert (is_gone(w), is_gone(w, OTHER)) == (True, True)


async def test_a_resource_that_wants_nothing_is_not_held() -> None:
    w = world(present(), resource(None, deletion_policy="Release"))
    await w.run(30)
    w.cluster.delete(KEY)
    await w.one_pass()

    assert is_gone(w)
    assert w.calls() == []


async def test_a_suspended_deletion_holds_until_it_is_suspended_no_more() -> None:
    w = await allocated()
    w.cluster.edit(KEY, suspend=True)
    w.cluster.delete(KEY)
    looks = w.cloud.looks
    assert await w.one_pass() is None
    during = (w.cloud.looks - looks, w.calls(), w.ready(), message(w))
    w.cluster.edit(KEY, suspend=None)
    await w.run(60)

    assert during[:3] == (0, [], ("False", "Suspended"))
    assert during[3].endswith(WAY_OUT)
    assert is_gone(w)


async def test_an_instance_that_is_gone_is_let_go_after_two_looks() -> None:
    w = await allocated()
    w.cloud.instances.clear()
    w.cluster.delete(KEY)
    await w.one_pass()
    after_one = is_gone(w)
    w.clock.advance(5)
    await w.one_pass()

    assert not after_one
    assert is_gone(w)


async def test_an_instance_that_was_missing_for_one_look_is_released() -> None:
    w = await allocated()
    w.cluster.delete(KEY)
    found = dict(w.cloud.instances)
    w.cloud.instances.clear()
    await w.one_pass()
    w.cloud.instances.update(found)
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]
    assert is_gone(w)


@pytest.mark.parametrize(
    ("namespace", "goes"), [(Namespace({}), False), (Namespace({}, is_terminating=True), True), (None, True)]
)
async def test_without_credentials_only_a_namespace_that_ends_lets_go(namespace: Namespace | None, goes: bool) -> None:  # noqa: FBT001
    w = await allocated()
    w.cluster.namespaces["shop"] = namespace
    w.cluster.delete(KEY)
    w.cloud.at["observe"] = fail(NO_CREDENTIALS)
    await w.one_pass()

    assert is_gone(w) is goes
    assert w.calls() == []
    assert goes or message(w).endswith(WAY_OUT)


async def test_a_namespace_that_may_not_be_read_counts_as_one_that_stays(caplog: pytest.LogCaptureFixture) -> None:
    w = await allocated()
    w.cluster.delete(KEY)
    w.cluster.at["read_namespace"] = fail(ForbiddenError("namespaces may not be read"))
    w.cloud.at["observe"] = fail(NO_CREDENTIALS)
    await w.one_pass()

    assert not is_gone(w)
    assert "namespaces may not be read" in caplog.text


async def test_namespaces_are_read_only_while_a_deletion_is_held() -> None:
    w = await allocated()
    w.cluster.at["read_namespace"] = fail(AssertionError("nobody needs to know"))
    await w.run(3600)

    assert "read_namespace" in w.cluster.at


async def test_an_access_list_that_lost_the_resource_holds_it_with_a_way_out() -> None:
    w = await allocated()
    w.verbs = frozenset()
    w.cluster.delete(KEY)
    await w.run(300)
    during = (w.calls(), w.ready(), message(w))
    w.verbs = frozenset(Verb)
    await w.run(1200)

    assert during[:2] == ([], ("False", "AccessNotAllowed"))
    assert during[2].endswith(WAY_OUT)
    assert is_gone(w)


async def test_mode_observe_holds_a_deletion_and_says_what_it_would_call() -> None:
    w = await allocated()
    w.policy = Policy(is_observing_only=True)
    w.restart()
    w.cluster.delete(KEY)
    await w.run(600)
    plan = w.seen().status.plan

    assert w.calls() == []
    assert plan is not None
    assert plan.action is Action.RELEASE
    assert message(w).endswith(WAY_OUT)


async def test_a_finalizer_that_may_not_be_written_is_said_and_nothing_is_called() -> None:
    w = world(absent(), resource(True, deletion_policy="Release"))
    for _ in range(3):
        w.cluster.at["write_finalizer"] = fail(ForbiddenError("tairinstances may not be patched"))
        await w.one_pass()
        w.clock.advance(10)

    assert w.calls() == []
    assert w.ready() == ("False", "AccessDenied")
