"""What may be different in a world: settings, grants, and things that happen while no scenario expects them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

from tair_operator.models import ANNOTATION_APPROVE
from tair_operator.ports import Cloud, Key, PreparedCall
from tair_operator.situation import Grant, Verb
from tests.builders import EVERYTHING, ID, KEY
from tests.faults.scenarios import LATER, YOUNGER, manifest
from tests.faults.world import World

OLDER = Key("shop", "orders-cache-before")
ELSEWHERE, DESCRIBE = "cn-beijing", "DescribeInstances"


def holding_releases(world: World) -> None:
    world.grant = Grant(EVERYTHING, are_releases_held=True)


def only_allowing_looks(world: World) -> None:
    world.grant = Grant(frozenset({Verb.OBSERVE}), "Add this line.")


def only_observing(world: World) -> None:
    world.policy = replace(world.policy, is_observing_only=True)


def losing_the_lease_at_the_intent(world: World) -> None:
    def is_announced() -> bool:
        return any(write.name == "PATCH-intent" for write in world.kubernetes.writes)

    world.may_call = lambda: not is_announced()


def approving_another_plan(world: World) -> None:
    def approve() -> None:
        world.kubernetes.annotate(KEY, **{ANNOTATION_APPROVE: "0123456789ab"})

    asyncio.get_running_loop().call_later(5, approve)


def when_looked_at(world: World, happen: Callable[[], object]) -> None:
    """Let something happen once the endpoints of the instance were asked for, which is before any call."""
    waiting = [happen]

    def look() -> None:
        if ID in world.cloud.looked_at and waiting:
            waiting.pop()()

    world.seam.watchers.append(look)


def claimed_after_the_look(world: World) -> None:
    older = partial(manifest, world, OLDER, "2026-03-01T07:00:00Z", directConnection=True)
    when_looked_at(world, older)


def refused_after_the_look(world: World) -> None:
    when_looked_at(world, partial(only_allowing_looks, world))


def claimed_by_an_observer(world: World) -> None:
    asyncio.get_running_loop().call_later(30.04, partial(manifest, world, YOUNGER, LATER))


def suspended(world: World) -> None:
    asyncio.get_running_loop().call_soon(partial(world.kubernetes.edit, KEY, suspend=True))


def in_another_region(world: World) -> None:
    """One host serves several regions, and the mutating calls name none."""
    world.cloud.put(ID, regionId=ELSEWHERE)
    world.cloud.bend = lambda action, given: given | {"RegionId": ELSEWHERE} if action == DESCRIBE else given


def showing_too_early(world: World) -> None:
    world.cloud.put(ID, timing={"busySeconds": 6, "netInfoChanges": "BeforeNormal", "netInfoOffsetSeconds": 4})


def with_a_budget_of_one(world: World) -> None:
    world.policy = replace(world.policy, release_budget=1)


def asking_for_approvals(world: World) -> None:
    world.policy = replace(world.policy, needs_approval=True)


def asking_at_first_contact(world: World) -> None:
    world.policy = replace(world.policy, needs_approval_at_first_contact=True)


def asking_by_access_list(world: World) -> None:
    world.grant = Grant(EVERYTHING, requires_approval=True)


def only_allocating_on_drift(world: World) -> None:
    asyncio.get_running_loop().call_soon(partial(world.kubernetes.edit, KEY, driftPolicy="AllocateOnly"))


def without_the_field(world: World) -> None:
    asyncio.get_running_loop().call_soon(partial(world.kubernetes.edit, KEY, directConnection=None))


def busy_until_the_plan_lapses(world: World) -> None:
    world.policy = replace(world.policy, approval_ttl=timedelta(seconds=60))
    change = partial(world.cloud.put, ID, status="Changing", statusSeconds=120)
    asyncio.get_running_loop().call_later(10, change)


@dataclass
class SlowOnce:
    """A cloud whose first call takes a minute to prepare."""

    cloud: Cloud
    is_slow: bool = True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.cloud, name)

    async def prepare(self, *what: Any) -> PreparedCall:  # noqa: ANN401
        call = await self.cloud.prepare(*what)
        if self.is_slow:
            self.is_slow = False
            await asyncio.sleep(60)
        return call


def preparing_for_a_minute(world: World) -> None:
    world.wrap = lambda cloud: cast("Cloud", SlowOnce(cloud))
