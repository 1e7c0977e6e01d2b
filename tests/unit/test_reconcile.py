"""Whole passes against fakes of the ports, in virtual time: what is called, and what is written."""

from datetime import timedelta

import pytest

from tair_operator.models import Action, Outcome, Reason
from tair_operator.ports import ErrorClass, Key
from tair_operator.situation import Grant
from tests.builders import EVERYTHING, KEY, NOW, cloud_error, pages, ready_status, resource
from tests.fakes import (
    FakeInstance,
    Scripted,
    absent,
    fail,
    granting,
    present,
    rejection,
    world,
)

YOUNGER = Key("shop", "a-second-one")


async def test_a_release_takes_three_status_writes_and_then_none() -> None:
    w = world(present(), resource(False))

    await w.run(60)
    writes = [(write.kind, write.outcome) for write in w.cluster.writes]
    for _ in range(10):
        await w.run(600)

    assert writes == [("status", Outcome.STARTED), ("answer", Outcome.ACCEPTED), ("status", Outcome.SUCCEEDED)]
    assert len(w.cluster.writes) == 3
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_release_ends_with_a_status_that_tells_its_whole_story() -> None:
    w = world(present(), resource(False))

    await w.run(60)
    status = w.seen().status.model_dump(mode="json", by_alias=True, exclude_none=True)
    request_id = w.cloud.ledger[0].request_id

    assert w.ready() == ("True", "Released")
    assert status["directConnection"] == {"state": "Released"}
    assert status["requestId"] == request_id
    assert status["operation"] == {
        "id": "op-0",
        "action": "ReleaseDirectConnection",
        "generation": 1,
        "attempt": 1,
        "instance": "cluster Machine - -",
        "startedAt": "2026-03-02T12:00:00Z",
        "finishedAt": status["operation"]["finishedAt"],
        "outcome": "Succeeded",
        "requestId": request_id,
        "httpStatus": 200,
    }
    assert status["history"] == [status["operation"]]
    assert status["reached"] == {
        "directConnection": False,
        "operationId": "op-0",
        "time": status["operation"]["finishedAt"],
    }
    assert "error" not in status


async def test_an_allocation_waits_for_a_second_look_and_then_takes_one_call() -> None:
    w = world(absent(), resource(True))

    pause = await w.one_pass()
    calls_after_the_first_look = w.calls()
    await w.run(60)

    assert pause == timedelta(seconds=5)
    assert calls_after_the_first_look == []
    assert w.calls() == [(Action.ALLOCATE, True)]
    assert w.ready() == ("True", "Allocated")


@pytest.mark.parametrize(("found", "wanted"), [(present(), True), (absent(), False)])
async def test_an_instance_that_is_as_wanted_is_adopted_without_a_call(found: FakeInstance, wanted: bool) -> None:  # noqa: FBT001
    w = world(found, resource(wanted))

    await w.run(3600)

    assert w.calls() == []
    assert w.ready() == ("True", "Allocated" if wanted else "Released")


async def test_without_direct_connection_it_only_observes() -> None:
    w = world(present(), resource(None))

    await w.run(3600)

    assert w.calls() == []
    assert w.ready() == ("True", "Observed")
    assert len(w.cluster.writes) == 1


async def test_a_resource_that_is_gone_or_being_deleted_is_left_alone() -> None:
    w = world(present(), resource(False, deleted=NOW))

    assert await w.one_pass() is None
    assert await w.one_pass(Key("shop", "gone")) is None
    assert (w.cloud.looks, w.cluster.writes) == (0, [])


async def test_a_suspended_resource_is_not_even_looked_at() -> None:
    w = world(present(), resource(False, suspend=True))

    assert await w.one_pass() is None
    assert (w.cloud.looks, w.calls()) == (0, [])
    assert w.ready() == ("False", "Suspended")


async def test_a_change_of_mind_during_an_allocation_ends_it_first_and_then_releases() -> None:
    w = world(absent(), resource(True, status=ready_status(False)))
    w.cloud.at["sent"] = lambda: w.cluster.edit(KEY, direct_connection=False)

    await w.run(120)

    assert w.calls() == [(Action.ALLOCATE, True), (Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_a_busy_instance_is_waited_for() -> None:
    w = world(
        FakeInstance(present().endpoint, "Changing", busy_until=1060.0, after=present().endpoint), resource(False)
    )

    await w.run(55)
    while_busy = (w.calls(), w.ready())
    await w.run(120)

    assert while_busy == ([], ("False", "InstanceBusy"))
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_a_release_that_the_cloud_says_is_done_already_is_believed_after_two_looks() -> None:
    found = present()
    w = world(found, resource(False))

    def somebody_else_releases() -> None:
        found.endpoint = None

    w.cloud.at["prepare"] = somebody_else_releases
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, False)]
    assert w.ready() == ("True", "Released")
    assert w.seen().status.request_id == w.cloud.ledger[0].request_id


async def test_an_instance_that_vanishes_is_reported_and_stalls_after_the_grace() -> None:
    w = world(present(), resource(True))
    await w.run(60)
    w.cloud.instances.clear()

    await w.one_pass()
    at_first = {found.type for found in w.seen().status.conditions}
    await w.run(200)

    assert at_first == {"Ready", "Reconciling"}
    assert w.ready() == ("False", "InstanceNotFound")
    assert {found.type for found in w.seen().status.conditions} == {"Ready", "Stalled"}


async def test_an_instance_of_another_region_is_never_called_for() -> None:
    w = world(FakeInstance(present().endpoint, region_id="cn-beijing"), resource(False))

    await w.run(600)

    assert w.calls() == []
    assert w.ready() == ("False", "InstanceNotFound")


async def test_a_refused_call_is_reported_with_its_request_id_and_repeated_after_its_pause() -> None:
    w = world(present(), resource(False))
    w.cloud.script.append(Scripted(rejection("Throttling.User")))

    await w.one_pass()
    await w.one_pass()
    error = w.seen().status.error
    message = w.ready()
    await w.run(60)

    assert error is not None
    assert (error.code, error.request_id) == ("Throttling.User", w.cloud.ledger[0].request_id)
    assert message == ("False", "Throttled")
    assert w.calls() == [(Action.RELEASE, False), (Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")
    assert w.seen().status.error is None


async def test_a_call_that_could_not_be_prepared_is_reported_and_not_announced() -> None:
    w = world(present(), resource(False))
    missing = cloud_error(
        "NoCredentials",
        action="ReleaseDirectConnection",
        error_class=ErrorClass.BLOCKED,
        reason=Reason.CREDENTIALS_UNAVAILABLE,
        sent=False,
    )
    w.cloud.at["prepare"] = fail(missing)

    await w.one_pass()
    status = w.seen().status

    assert w.calls() == []
    assert status.operation is None
    assert w.ready() == ("False", "CredentialsUnavailable")
    assert status.error is not None
    assert status.error.code == "NoCredentials"


async def test_a_failed_look_keeps_ready_and_says_what_failed() -> None:
    w = world(present(), resource(True))
    await w.run(60)
    w.cloud.at["observe"] = fail(cloud_error("ServiceUnavailable", http_status=503))

    pause = await w.one_pass()
    during = (w.ready(), w.seen().status.error)
    await w.one_pass()

    assert pause == timedelta(seconds=1)
    assert during[0] == ("True", "Allocated")
    assert during[1] is not None
    assert during[1].code == "ServiceUnavailable"
    assert w.seen().status.error is None


async def test_of_two_resources_for_one_instance_the_younger_calls_nothing() -> None:
    w = world(present(), resource(True))
    w.cluster.create(resource(False, key=YOUNGER, uid="uid-2", created=NOW + timedelta(seconds=1)))

    await w.run(600, YOUNGER)

    assert w.calls() == []
    assert w.ready(YOUNGER) == ("False", "InstanceAlreadyManaged")


async def test_a_resource_that_the_access_list_does_not_serve_does_not_compete() -> None:
    w = world(present(), resource(True))
    w.cluster.create(resource(False, key=YOUNGER, uid="uid-2", created=NOW + timedelta(seconds=1)))
    w.operator.grant = granting(lambda found: Grant(EVERYTHING if found.metadata.uid == "uid-2" else frozenset()))

    await w.run(60, YOUNGER)

    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_resource_that_the_access_list_does_not_serve_is_not_looked_up() -> None:
    w = world(present(), resource(False))
    w.verbs = frozenset()

    await w.run(600)

    assert (w.cloud.looks, w.calls()) == (0, [])
    assert w.ready() == ("False", "AccessNotAllowed")


async def test_what_is_remembered_of_a_deleted_resource_is_dropped() -> None:
    w = world(FakeInstance(present().endpoint, "Changing"), resource(False))
    await w.run(20)
    grown = await w.one_pass()

    await w.operator.learn(pages(w.seen()))
    kept = await w.one_pass()
    await w.operator.learn(pages())

    assert grown is not None
    assert kept == grown
    assert await w.one_pass() == timedelta(seconds=1)


async def test_a_restart_writes_nothing_for_a_stalled_resource() -> None:
    w = world(None, resource(False))
    await w.run(300)
    before = len(w.cluster.writes)

    w.restart()
    await w.run(1200)

    assert {found.type for found in w.seen().status.conditions} == {"Ready", "Stalled"}
    assert len(w.cluster.writes) == before
