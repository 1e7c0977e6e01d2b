"""Whole passes in company of others: who acts at the same time, who allocated again, who died in between."""

import asyncio
from datetime import timedelta

import pytest

from tair_operator.models import Action, CredentialsSpec, PublishSpec, ReleaseSpec, TairInstance
from tair_operator.ports import Address, ConflictError, Endpoint, ForbiddenError, Key, Observation, Place, Target
from tair_operator.subject import target_of
from tests.builders import HOST, ID, KEY, NOW, PORT, PROXY, endpoint, resource
from tests.fakes import CrashError, FakeCall, FakeClock, FakeCloud, FakeCluster, World, absent, crash, present, world

ORDERS = PublishSpec(secret_name="orders")
SECRET = Place("Secret", "orders")
DRAIN = ReleaseSpec(drain_seconds=60)
OTHER = Key("team-b", "orders")


class SlowCloud(FakeCloud):
    """Lets others run while it looks and prepares."""

    async def observe(self, target: Target) -> Observation:
        await asyncio.sleep(0)
        seen = await super().observe(target)
        await asyncio.sleep(0)
        return seen

    async def prepare(self, action: Action, target: Target, address: Address = Address()) -> FakeCall:  # noqa: B008
        call = await super().prepare(action, target, address)
        await asyncio.sleep(0)
        return call


def crowded(*made: TairInstance) -> World:
    clock = FakeClock()
    w = World(clock, FakeCluster(), SlowCloud(clock=clock, instances={ID: present()}))
    for one in made:
        w.cluster.create(one)
    return w


async def test_of_two_new_resources_with_credentials_of_their_own_one_calls() -> None:
    own = CredentialsSpec(secret_name="keys")
    w = crowded(
        resource(False, credentials=own),
        resource(False, key=OTHER, uid="uid-2", created=NOW + timedelta(seconds=1), credentials=own),
    )
    await asyncio.gather(w.one_pass(KEY), w.one_pass(OTHER), return_exceptions=True)

    assert w.calls() == [(Action.RELEASE, True)]


async def test_of_two_that_are_deleted_together_one_releases() -> None:
    w = crowded(
        resource(True, deletion_policy="Release", release=ReleaseSpec(approval="Automatic")),
        resource(True, key=OTHER, uid="uid-2", created=NOW + timedelta(seconds=1)),
    )
    await w.run(20, KEY)
    w.cluster.delete(KEY)
    await asyncio.gather(w.one_pass(KEY), w.one_pass(OTHER), return_exceptions=True)

    assert [action for action, _ in w.calls()].count(Action.RELEASE) <= 1


async def test_who_claims_the_instance_while_a_call_is_prepared_counts() -> None:
    w = world(absent(), resource(True, deletion_policy="Release"))
    await w.run(60)
    w.cluster.delete(KEY)
    claim = resource(True, key=OTHER, uid="uid-2", created=NOW + timedelta(seconds=30))

    def claim_it() -> None:
        w.cluster.create(claim)

    w.cloud.at["prepare"] = claim_it
    await w.run(5)

    assert w.cloud.effective_releases == []
    assert KEY not in w.cluster.stored


@pytest.mark.parametrize("is_crash", [True, False])
async def test_nothing_is_released_while_it_is_published_again(is_crash: bool) -> None:  # noqa: FBT001
    w = world(present(), resource(True, publish=ORDERS, release=DRAIN))
    await w.run(30)
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    w.clock.advance(59)
    w.is_held = True
    w.cluster.at["write_status"] = crash if is_crash else lambda: w.cluster.touch(KEY, annotations={"some": "edit"})
    with pytest.raises((CrashError, ConflictError)):
        await w.one_pass()
    w.restart()
    w.is_held = False
    for _ in range(200):
        w.clock.advance(1)
        await w.one_pass()
        if w.calls():
            break

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.cluster.published == {}


async def test_a_place_that_status_never_knew_is_taken_back() -> None:
    w = world(present(), resource(True, publish=PublishSpec(secret_name="typo")))
    w.cluster.at["write_status"] = lambda: w.cluster.edit(KEY, publish=ORDERS)
    with pytest.raises(ConflictError):
        await w.one_pass()
    await w.run(30)

    assert list(w.cluster.published) == [SECRET]


async def test_what_a_release_in_flight_ends_is_not_published_for_the_sake_of_retain() -> None:
    w = world(absent(), resource(True, deletion_policy="Release", publish=ORDERS))
    await w.run(60)
    w.cluster.delete(KEY)
    while not w.cloud.effective_releases:
        w.clock.advance(1)
        await w.one_pass()
    w.cluster.edit(KEY, deletion_policy="Retain")
    await w.run(30)

    assert w.cluster.published == {}


async def test_a_finalizer_that_is_refused_for_an_instance_that_is_gone_ends_in_words() -> None:
    w = world(absent(), resource(True, deletion_policy="Release"))
    await w.run(60)
    w.cluster.delete(KEY)
    del w.cloud.instances[ID]
    refusals = 0

    def refuse() -> None:
        nonlocal refusals
        refusals += 1
        w.cluster.at["write_finalizer"] = refuse
        raise ForbiddenError("an admission policy says no")

    w.cluster.at["write_finalizer"] = refuse
    for _ in range(4):
        w.clock.advance(10)
        await w.one_pass()

    assert 1 <= refusals <= 4


async def test_another_endpoint_that_somebody_allocated_before_the_next_look_is_drift() -> None:
    w = world(present(), resource(True))
    w.cloud.instances[ID].endpoint = endpoint(vpc_instance_id="ours")
    await w.run(30)
    w.cluster.edit(KEY, direct_connection=False)
    await w.one_pass()
    w.clock.advance(20)
    found = w.cloud.instances[ID]
    found.endpoint, found.status, found.busy_until = Endpoint(HOST, PORT, direct=True, vpc_instance_id="x"), "Normal", 0
    await w.run(3600)

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("False", "DriftDetected")
    assert w.seen().status.drift is not None


async def test_a_look_whose_two_answers_disagree_does_not_repeat_a_release() -> None:
    w = world(present(), resource(False))
    await w.one_pass()
    w.clock.advance(10)
    torn = Observation(w.clock.now(), (await w.cloud.observe(Target(ID, "cn-hangzhou"))).instance, (PROXY, endpoint()))
    real, looks = w.cloud.observe, 0

    async def observe(target: Target) -> Observation:
        nonlocal looks
        looks += 1
        return torn if looks == 1 else await real(target)

    w.clock.advance(400)
    w.cloud.observe = observe  # type: ignore[method-assign]
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


async def test_an_endpoint_is_the_same_though_the_cloud_leaves_its_ids_out_now_and_then() -> None:
    w = world(present(), resource(False, release=ReleaseSpec(approval="Required")))
    w.cloud.instances[ID].endpoint = endpoint(vpc_instance_id="x")
    await w.one_pass()
    plan, writes = w.seen().status.plan, len(w.cluster.writes)
    for number in range(6):
        w.clock.advance(600)
        w.cloud.instances[ID].endpoint = endpoint(vpc_instance_id="x" if number % 2 else None)
        await w.one_pass()

    assert w.seen().status.plan == plan
    assert len(w.cluster.writes) == writes


async def test_a_look_from_before_the_call_of_another_resource_is_not_acted_on() -> None:
    w = crowded(
        resource(True, deletion_policy="Release"),
        resource(True, key=OTHER, uid="uid-2", created=NOW + timedelta(seconds=1), deletion_policy="Release"),
    )
    w.cloud.instances[ID].endpoint = None
    await w.run(60, KEY)
    w.cluster.delete(KEY)
    w.cluster.delete(OTHER)
    looked = w.clock.monotonic()
    while not w.cloud.effective_releases:
        w.clock.advance(1)
        await w.one_pass(KEY)
    await w.run(60, KEY)

    memory = w.operator._memory
    assert memory.called_since(target_of(resource()).ref, "uid-2", looked) is True
    assert memory.called_since(target_of(resource()).ref, "uid-2", w.clock.monotonic()) is False


async def test_retain_in_the_middle_of_a_drain_and_release_again_drains_again() -> None:
    made = resource(True, publish=ORDERS, release=ReleaseSpec(drain_seconds=600), deletion_policy="Release")
    w = world(absent(), made)
    await w.run(60)
    w.cluster.delete(KEY)
    await w.one_pass()
    w.clock.advance(599)
    w.cluster.edit(KEY, deletion_policy="Retain")
    w.cluster.at["write_finalizer"] = lambda: w.cluster.edit(KEY, deletion_policy="Release")
    with pytest.raises(ConflictError):
        await w.one_pass()
    w.clock.advance(2)
    await w.one_pass()

    assert w.cloud.effective_releases == []
    assert w.seen().status.plan is not None
    assert w.cluster.published == {}


async def test_a_deletion_that_lets_go_in_the_middle_of_a_drain_leaves_the_secret_behind() -> None:
    made = resource(True, publish=ORDERS, release=ReleaseSpec(drain_seconds=600), deletion_policy="Release")
    w = world(absent(), made)
    await w.run(60)
    w.cluster.delete(KEY)
    await w.one_pass()
    w.cluster.create(resource(True, key=OTHER, uid="uid-2", created=NOW + timedelta(seconds=99)))
    await w.one_pass(OTHER)
    for _ in range(3):
        w.clock.advance(1)
        await w.one_pass()

    assert KEY not in w.cluster.stored
    assert list(w.cluster.published) == [SECRET]
    assert w.cloud.effective_releases == []
