"""Whole passes that publish and withdraw: in which order, and what a write that is refused keeps back."""

import pytest

from tair_operator.models import Action, BindingStatus, PublishedStatus, PublishSpec, ReleaseSpec
from tair_operator.ports import ForbiddenError, Place
from tair_operator.situation import Policy
from tests.builders import HOST, ID, KEY, NOW, PORT, cloud_error, resource, seconds
from tests.fakes import CrashError as Crash
from tests.fakes import World, absent, crash, fail, present, world

SECRET, CONFIG_MAP = Place("Secret", "orders"), Place("ConfigMap", "orders-config")
ORDERS = PublishSpec(secret_name="orders")
BOTH = PublishSpec(secret_name="orders", config_map_name="orders-config")
LIVE = (HOST, PORT)
MINUTE = ReleaseSpec(drain_seconds=60)


async def published(spec: PublishSpec = ORDERS, *, release: ReleaseSpec | None = None) -> World:
    """Return a world in which the endpoint is published, with nothing in its journal yet."""
    w = world(present(), resource(True, publish=spec, release=release))
    await w.run(30)

    assert w.ready() == ("True", "Allocated")
    w.cluster.journal.clear()
    return w


def shown(w: World) -> tuple[PublishedStatus | None, BindingStatus | None]:
    return w.seen().status.published, w.seen().status.binding


async def test_the_endpoint_is_published_before_status_says_so() -> None:
    w = world(present(), resource(True, publish=BOTH))
    await w.one_pass()

    assert w.cluster.published == {SECRET: LIVE, CONFIG_MAP: LIVE}
    assert w.cluster.journal == [
        "look",
        "publish ConfigMap orders-config",
        "publish Secret orders",
        "status Allocated",
    ]
    assert shown(w) == (
        PublishedStatus(secret_name="orders", config_map_name="orders-config"),
        BindingStatus(name="orders"),
    )


async def test_an_endpoint_is_published_when_it_is_complete() -> None:
    w = world(absent(), resource(True, publish=ORDERS))
    await w.run(60)

    assert w.cluster.published == {SECRET: LIVE}
    assert w.cluster.journal.index("publish Secret orders") > w.cluster.journal.index("answer")
    assert w.cluster.publications == [("publish", SECRET)]


async def test_at_rest_nothing_is_written() -> None:
    w = await published()
    writes = len(w.cluster.writes)
    await w.run(6 * 3600)

    assert set(w.cluster.journal) == {"look"}
    assert len(w.cluster.writes) == writes
    assert w.cluster.publications == [("publish", SECRET)]


async def test_it_is_withdrawn_and_drained_and_looked_at_again_before_its_release() -> None:
    w = await published(release=MINUTE)
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    begun, clients_told = w.clock.now(), w.cluster.published
    during = (w.calls(), w.ready(), shown(w))
    w.clock.advance(59)
    early = await w.one_pass()
    calls_early = w.calls()
    w.clock.advance(1)
    await w.run(60)
    operation = w.seen().status.operation

    assert clients_told == {}
    assert during == ([], ("False", "Draining"), (None, None))
    assert (early, calls_early) == (seconds(2), [])
    assert operation is not None
    assert operation.started_at - begun == seconds(61)
    assert w.ready() == ("True", "Released")
    assert [entry for entry in w.cluster.journal if entry != "look"] == [
        "withdraw Secret orders",
        "status Draining",
        "intent",
        "call ReleaseDirectConnection",
        "answer",
        "status Released",
    ]
    assert w.cluster.journal[:3] == ["look", "withdraw Secret orders", "status Draining"]
    assert w.cluster.journal[w.cluster.journal.index("intent") - 1] == "look"


async def test_what_is_published_is_withdrawn_first_also_without_a_drain() -> None:
    w = await published()
    w.cluster.edit(KEY, direct_connection=False)
    await w.run(60)

    assert w.cluster.journal[:7] == [
        "look",
        "withdraw Secret orders",
        "status Draining",
        "look",
        "intent",
        "call ReleaseDirectConnection",
        "answer",
    ]


async def test_the_time_that_withdrawing_takes_is_not_part_of_the_drain() -> None:
    w = await published(release=MINUTE)
    w.cluster.edit(KEY, direct_connection=False)
    w.cluster.at["withdraw"] = lambda: w.clock.advance(20.5)
    await w.one_pass()
    plan, told = w.seen().status.plan, w.clock.now()
    await w.run(120)
    operation = w.seen().status.operation

    assert plan is not None
    assert plan.withdrawn_at == told + seconds(0.5)
    assert operation is not None
    assert operation.started_at - told >= seconds(60)


async def test_a_crash_between_withdrawing_and_status_withdraws_again() -> None:
    w = await published(release=MINUTE)
    w.cluster.edit(KEY, direct_connection=False)
    w.cluster.at["write_status"] = crash
    with pytest.raises(Crash):
        await w.one_pass()
    w.restart()
    begun = w.clock.now()
    await w.run(120)
    operation = w.seen().status.operation

    assert operation is not None
    assert operation.started_at - begun >= seconds(60)
    assert w.cluster.published == {}
    assert w.calls() == [(Action.RELEASE, True)]


async def test_a_resource_that_is_suspended_while_it_drains_publishes_again() -> None:
    w = await published(release=MINUTE)
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    w.cluster.edit(KEY, suspend=True)
    pause = await w.one_pass()

    assert pause is None
    assert w.cluster.published == {SECRET: LIVE}
    assert shown(w)[0] == PublishedStatus(secret_name="orders")
    assert w.seen().status.plan is None
    assert w.ready() == ("False", "Suspended")


async def test_a_resource_that_is_suspended_during_its_release_does_not_publish_again() -> None:
    w = await published()
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    w.cloud.at["sent"] = lambda: w.cluster.edit(KEY, suspend=True)
    await w.one_pass()
    await w.one_pass()

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.cluster.published == {}
    assert w.ready() == ("False", "Suspended")


async def test_a_wish_that_is_taken_back_while_it_drains_publishes_again() -> None:
    w = await published(release=MINUTE)
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    w.cluster.edit(KEY, direct_connection=True)
    await w.run(120)

    assert w.calls() == []
    assert w.cluster.published == {SECRET: LIVE}
    assert w.ready() == ("True", "Allocated")
    assert w.seen().status.plan is None


async def test_nothing_is_withdrawn_before_absence_is_sure() -> None:
    w = await published()
    w.cloud.instances[ID].endpoint = None
    await w.one_pass()
    after_one_look = w.cluster.published.copy()
    w.clock.advance(5)
    await w.one_pass()

    assert after_one_look == {SECRET: LIVE}
    assert w.cluster.published == {}


async def test_nothing_is_withdrawn_while_looks_fail_or_the_instance_is_not_listed() -> None:
    w = await published()
    w.cloud.at["observe"] = fail(cloud_error())
    await w.one_pass()
    w.cloud.instances.clear()
    await w.run(1000)

    assert w.ready() == ("False", "InstanceNotFound")
    assert w.cluster.published == {SECRET: LIVE}


async def test_a_new_place_is_written_before_the_old_one_goes() -> None:
    w = await published()
    w.cluster.edit(KEY, publish=PublishSpec(secret_name="renamed"))
    await w.one_pass()

    assert w.cluster.published == {Place("Secret", "renamed"): LIVE}
    assert w.cluster.journal == [
        "look",
        "publish Secret renamed",
        "withdraw Secret orders",
        "status Allocated",
    ]
    assert shown(w) == (PublishedStatus(secret_name="renamed"), BindingStatus(name="renamed"))


async def test_a_new_place_that_is_taken_leaves_the_old_one_as_it_is() -> None:
    w = await published()
    w.cluster.foreign.add(Place("Secret", "taken"))
    w.cluster.edit(KEY, publish=PublishSpec(secret_name="taken"))
    await w.one_pass()

    assert w.cluster.published == {SECRET: LIVE}
    assert shown(w) == (PublishedStatus(secret_name="orders"), BindingStatus(name="orders"))
    assert w.ready() == ("False", "PublishFailed")


async def test_a_place_that_the_spec_names_no_longer_is_withdrawn() -> None:
    w = await published(BOTH)
    w.cluster.edit(KEY, publish=PublishSpec(config_map_name="orders-config"))
    await w.one_pass()
    one = w.cluster.published.copy()
    w.cluster.edit(KEY, publish=None)
    await w.one_pass()

    assert one == {CONFIG_MAP: LIVE}
    assert w.cluster.published == {}
    assert shown(w) == (None, None)


async def test_an_object_of_somebody_else_is_left_alone_and_said() -> None:
    w = world(present(), resource(True, publish=ORDERS))
    w.cluster.foreign.add(SECRET)
    await w.one_pass()
    at_first = {found.type for found in w.seen().status.conditions}
    await w.run(200)
    later = {found.type for found in w.seen().status.conditions}
    w.cluster.foreign.clear()
    await w.run(60)

    assert at_first == {"Ready", "Reconciling"}
    assert later == {"Ready", "Stalled"}
    assert w.cluster.published == {SECRET: LIVE}
    assert w.ready() == ("True", "Allocated")


async def test_an_object_of_somebody_else_does_not_hide_the_plan_of_a_release() -> None:
    w = world(present(), resource(False, release=ReleaseSpec(approval="Required"), publish=ORDERS))
    w.cluster.foreign.add(SECRET)
    await w.run(1000)

    assert w.calls() == []
    assert w.ready() == ("False", "ApprovalRequired")
    assert shown(w) == (None, None)


async def test_what_was_published_before_a_place_that_is_taken_is_known_and_taken_back() -> None:
    w = world(present(), resource(True, publish=PublishSpec(secret_name="orders", config_map_name="taken")))
    w.cluster.foreign.add(Place("ConfigMap", "taken"))
    await w.run(200)
    during = (shown(w), w.ready())
    w.cluster.edit(KEY, publish=None)
    await w.run(10)

    assert during == (
        (PublishedStatus(secret_name="orders"), BindingStatus(name="orders")),
        ("False", "PublishFailed"),
    )
    assert w.cluster.published == {}
    assert w.ready() == ("True", "Allocated")


async def test_changing_back_to_retain_in_the_middle_of_a_drain_publishes_again() -> None:
    made = resource(True, publish=ORDERS, release=ReleaseSpec(drain_seconds=600), deletion_policy="Release")
    w = world(absent(), made)
    await w.run(60)
    w.cluster.delete(KEY)
    await w.one_pass()
    during = dict(w.cluster.published)
    w.cluster.edit(KEY, deletion_policy="Retain")
    await w.one_pass()

    assert during == {}
    assert list(w.cluster.published) == [SECRET]
    assert KEY not in w.cluster.stored
    assert [action for action, _ in w.calls()] == [Action.ALLOCATE]


async def test_a_finalizer_that_may_not_be_removed_is_said_and_not_hammered() -> None:
    w = world(present(), resource(True, deletion_policy="Release"))
    await w.run(10)
    w.cluster.edit(KEY, deletion_policy="Retain")
    w.cluster.delete(KEY)

    def forbidden() -> None:
        raise ForbiddenError("grant patch on tairinstances")

    for _ in range(3):
        w.cluster.at["write_finalizer"] = forbidden
        await w.one_pass()

    assert w.ready() == ("False", "AccessDenied")
    await w.one_pass()
    assert KEY not in w.cluster.stored


async def test_what_may_not_be_withdrawn_is_not_released() -> None:
    w = await published(release=MINUTE)
    w.cluster.forbidden.add(SECRET)
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    at_first = {found.type for found in w.seen().status.conditions}
    await w.run(1000)
    during = (w.calls(), w.ready(), shown(w)[0], w.seen().status.plan)
    w.cluster.forbidden.clear()
    await w.run(200)

    assert at_first == {"Ready", "Reconciling"}
    assert during == ([], ("False", "PublishFailed"), PublishedStatus(secret_name="orders"), None)
    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_an_endpoint_that_was_allocated_while_publishing_failed_is_ours_all_the_same() -> None:
    w = world(absent(), resource(True, publish=ORDERS))
    w.cluster.foreign.add(SECRET)
    await w.run(60)
    reached = w.seen().status.reached

    assert w.ready() == ("False", "PublishFailed")
    assert reached is not None
    assert (reached.direct_connection, reached.operation_id) == (True, "op-0")
    assert reached.endpoint_id is not None


async def test_places_in_the_budget_are_given_before_anybody_is_told_to_go() -> None:
    """All are decided on while the last place is free; one drains, and the clients of the others stay."""
    policy = Policy(release_budget=1)
    w = world(present(), resource(False, publish=ORDERS, release=MINUTE), policy)
    other_key = KEY._replace(name="other")
    other = resource(
        False, key=other_key, uid="uid-2", instance_id="r-2", publish=PublishSpec(secret_name="other"), release=MINUTE
    )
    w.cluster.create(other)
    w.cloud.instances["r-2"] = present()
    w.cluster.published[Place("Secret", "other")] = LIVE
    operator, view = w.operator, w.cloud.observe

    async def look_while_another_pass_runs(target: object) -> object:
        w.cloud.observe = view  # type: ignore[method-assign]
        seen = await view(target)  # type: ignore[arg-type]
        await operator.reconcile(KEY)
        return seen

    w.cloud.observe = look_while_another_pass_runs  # type: ignore[method-assign, assignment]
    await operator.reconcile(other_key)

    assert w.ready(KEY) == ("False", "Draining")
    assert w.ready(other_key) == ("False", "ReleaseBudget")
    assert w.cluster.published[Place("Secret", "other")] == LIVE
    assert w.clock.now() == NOW
