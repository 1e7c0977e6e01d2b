"""Whole passes through the guards of a release: what is asked, what is written, and what a release waits for."""

from datetime import time, timedelta

import pytest

from tair_operator.models import ANNOTATION_APPROVE, ANNOTATION_RECONCILE, Action, PublishSpec, Reason, ReleaseSpec
from tair_operator.ports import Detail, Key, Place, Window
from tair_operator.situation import Policy
from tests.builders import HOST, ID, KEY, NOW, PORT, cloud_error, resource, seconds
from tests.fakes import Scripted, absent, fail, present, rejection, world

MAINTENANCE = ReleaseSpec(window="Maintenance")
SECRET = Place("Secret", "orders")
ORDERS = PublishSpec(secret_name="orders")
THROTTLED = cloud_error("Throttling", action="DescribeInstanceAttribute", reason=Reason.THROTTLED)


def outcomes(journal: list[str]) -> list[str]:
    return [entry for entry in journal if entry != "look"]


async def test_a_release_waits_for_the_window_and_asks_for_it_only_then() -> None:
    w = world(present(), resource(True, release=MAINTENANCE))
    w.cloud.instances[ID].window = Window(time(13), time(14))
    await w.run(30)
    asked_at_rest = list(w.cloud.asked)
    w.cluster.edit(KEY, direct_connection=False)
    await w.run((NOW + seconds(3590) - w.clock.now()).total_seconds())
    before = (w.calls(), w.ready())
    await w.run(120)

    assert asked_at_rest == []
    assert set(w.cloud.asked) == {Detail.WINDOW}
    assert before == ([], ("False", "WaitingForWindow"))
    assert w.calls() == [(Action.RELEASE, True)]
    assert outcomes(w.cluster.journal) == [
        "status Allocated",
        "status WaitingForWindow",
        "intent",
        "call ReleaseDirectConnection",
        "answer",
        "status Released",
    ]


async def test_a_window_that_cannot_be_asked_for_is_waited_out_and_the_error_shown() -> None:
    w = world(present(), resource(False, release=MAINTENANCE))
    w.cloud.instances[ID].window = Window(time(11), time(14))
    w.cloud.at["look_closer"] = fail(THROTTLED)
    pause = await w.one_pass()
    error = w.seen().status.error
    during = (w.calls(), w.ready())
    await w.run(60)

    assert pause == seconds(1)
    assert error is not None
    assert (error.action, error.code) == ("DescribeInstanceAttribute", "Throttling")
    assert during == ([], ("False", "Throttled"))
    assert w.calls() == [(Action.RELEASE, True)]


async def test_an_approval_outlives_a_window_that_could_not_be_asked_for() -> None:
    spec = ReleaseSpec(window="Maintenance", approval="Required")
    w = world(present(), resource(False, release=spec))
    w.cloud.instances[ID].window = Window(time(11), time(14))
    await w.run(30)
    plan = w.seen().status.plan
    assert plan is not None
    w.cluster.touch(KEY, annotations={ANNOTATION_APPROVE: plan.id})
    w.cloud.at["look_closer"] = fail(THROTTLED)
    await w.one_pass()
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]


async def test_tls_is_asked_for_when_an_allocation_depends_on_it() -> None:
    w = world(absent(), resource(True))
    w.cloud.instances[ID].tls = True
    await w.run(60)
    refused = (w.calls(), w.ready())
    w.cloud.instances[ID].tls = False
    await w.run(1200)

    assert refused == ([], ("False", "InstanceNotEligible"))
    assert set(w.cloud.asked) == {Detail.TLS}
    assert w.calls() == [(Action.ALLOCATE, True)]


async def test_tls_that_the_cloud_does_not_tell_rules_nothing_out() -> None:
    w = world(absent(), resource(True))
    w.cloud.instances[ID].tls = None
    await w.run(60)

    assert w.calls() == [(Action.ALLOCATE, True)]


async def test_mode_observe_shows_the_plan_and_then_writes_nothing() -> None:
    w = world(present(), resource(False), Policy(is_observing_only=True))
    await w.run(60)
    writes, plan = len(w.cluster.writes), w.seen().status.plan
    await w.run(3 * 86400)

    assert plan is not None
    assert (plan.action, plan.reason) == (Action.RELEASE, "Pending")
    assert (writes, len(w.cluster.writes)) == (1, 1)
    assert w.calls() == []


async def test_a_fleet_that_is_held_while_it_drains_publishes_again_and_drains_anew() -> None:
    w = world(present(), resource(True, publish=ORDERS, release=ReleaseSpec(drain_seconds=60)))
    await w.run(30)
    w.cluster.edit(KEY, direct_connection=False)
    await w.run(40)
    w.is_held = True
    await w.run(120)
    during = (w.calls(), w.ready(), w.cluster.published.copy())
    w.is_held = False
    begun = w.clock.now()
    await w.run(180)
    operation = w.seen().status.operation

    assert during == ([], ("False", "ReleasesHeld"), {SECRET: (HOST, PORT)})
    assert operation is not None
    assert operation.started_at - begun >= seconds(60)
    assert [what for what, _ in w.cluster.publications] == ["publish", "withdraw", "publish", "withdraw"]
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_fleet_that_is_held_right_before_the_call_is_not_released() -> None:
    w = world(present(), resource(False))

    def hold() -> None:
        w.is_held = True

    w.cloud.at["prepare"] = hold
    await w.one_pass()

    assert w.calls() == []
    assert w.ready() == ("False", "ReleasesHeld")


async def test_an_approval_that_the_access_list_asks_for_right_before_the_call_is_waited_for() -> None:
    w = world(present(), resource(False))

    def ask() -> None:
        w.requires_approval = True

    w.cloud.at["prepare"] = ask
    await w.one_pass()

    assert w.calls() == []
    assert w.ready() == ("False", "ApprovalRequired")


async def test_an_approval_that_is_taken_back_while_it_drains_publishes_again() -> None:
    spec = ReleaseSpec(drain_seconds=60, approval="Required")
    w = world(present(), resource(False, publish=ORDERS, release=spec))
    await w.run(30)
    plan = w.seen().status.plan
    assert plan is not None
    w.cluster.touch(KEY, annotations={ANNOTATION_APPROVE: plan.id})
    await w.run(30)
    draining = (w.ready(), w.cluster.published.copy())
    w.cluster.touch(KEY, annotations={})
    # First status forgets the drain, then the endpoint is published again.
    await w.one_pass()
    await w.one_pass()
    back = (w.ready(), w.cluster.published.copy())
    w.cluster.touch(KEY, annotations={ANNOTATION_APPROVE: plan.id})
    await w.run(120)

    assert draining == (("False", "Draining"), {})
    assert back == (("False", "ApprovalRequired"), {SECRET: (HOST, PORT)})
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_release_that_stays_refused_is_given_up_after_a_day_and_tried_again_when_asked_for() -> None:
    w = world(present(), resource(False))
    w.cloud.script.extend([Scripted(rejection("Forbidden.RAM"))] * 100)
    await w.run(86400 + 7 * 3600)
    tried = len(w.cloud.ledger)
    await w.run(7 * 86400)
    tried_later, given_up, conditions = len(w.cloud.ledger), w.ready(), w.seen().status.conditions
    w.cloud.script.clear()
    w.cluster.touch(KEY, annotations={ANNOTATION_RECONCILE: "granted now"})
    await w.run(60)

    assert tried_later == tried <= 10
    assert given_up == ("False", "AccessDenied")
    assert "Its plan has lapsed" in conditions[0].message
    assert w.ready() == ("True", "Released")


async def test_an_allocation_that_stays_refused_is_tried_for_ever() -> None:
    w = world(absent(), resource(True))
    w.cloud.script.extend([Scripted(rejection("Forbidden.RAM", Action.ALLOCATE))] * 100)
    await w.run(2 * 86400)
    tried = len(w.cloud.ledger)
    await w.run(86400)

    assert len(w.cloud.ledger) - tried == 4


async def test_a_refused_release_publishes_while_it_pauses_for_long() -> None:
    w = world(present(), resource(False, publish=ORDERS))
    w.cloud.script.append(Scripted(rejection("Forbidden.RAM")))
    await w.run(300)
    during = w.cluster.published.copy()
    await w.run(600)

    assert during == {SECRET: (HOST, PORT)}
    assert w.cluster.published == {}
    assert w.calls() == [(Action.RELEASE, False), (Action.RELEASE, True)]


async def test_the_budget_gives_its_places_one_after_the_other() -> None:
    w = world(present(), resource(False, release=ReleaseSpec(drain_seconds=60)), Policy(release_budget=1))
    second = Key("shop", "second")
    w.cluster.create(resource(False, key=second, uid="uid-2", instance_id="r-2", release=ReleaseSpec(drain_seconds=60)))
    w.cloud.instances["r-2"] = present()
    await w.one_pass()
    await w.one_pass(second)
    during = (w.ready(), w.ready(second))
    await w.run(120)
    await w.run(900, second)

    assert during == (("False", "Draining"), ("False", "ReleaseBudget"))
    first, other = (w.seen(key).status.operation for key in (KEY, second))
    assert first is not None
    assert other is not None
    assert other.started_at - first.started_at >= timedelta(minutes=10)


@pytest.mark.parametrize("back", [seconds(60), seconds(3600)])
async def test_a_clock_that_is_set_back_while_it_drains_never_releases_early(back: timedelta) -> None:
    w = world(present(), resource(False, release=ReleaseSpec(drain_seconds=60)))
    await w.one_pass()
    w.clock.wall -= back
    begun = w.clock.monotonic()
    while not w.calls():
        pause = await w.one_pass()
        assert pause is not None
        w.clock.advance(max(pause, seconds(1)))

    assert w.clock.monotonic() - begun >= 60
    assert NOW is not None
