"""Two operators, each with its own shard of one cluster: who owns an instance, and what a resource takes along."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from tair_operator.models import FINALIZER, Action, Outcome, PublishSpec, ReleaseSpec, TairInstance
from tair_operator.ports import Cluster, ClusterUnavailableError, ConflictError, Key, Place
from tair_operator.reconcile import Reconciler
from tair_operator.situation import Grant, Policy, Verb
from tests.builders import ID, KEY, NOW, ago, operation, pages, resource, status
from tests.fakes import FakeCluster, World, absent, fail, granting, present, silence, world

OTHER = Key("team", "first")
SHARD = "shard"
"""An annotation that stands for the label, which the fake cluster has not: an edit of either makes a new version."""
SECRET = Place("Secret", "orders-endpoint")


class View:
    """What an operator sees of the cluster through its label selector."""

    def __init__(self, cluster: FakeCluster, shard: str) -> None:
        self.cluster, self.shard = cluster, shard

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.cluster, name)

    def is_mine(self, found: TairInstance) -> bool:
        return found.metadata.annotations.get(SHARD) == self.shard

    async def get(self, key: Key) -> TairInstance | None:
        found = await self.cluster.get(key)
        return found if found is not None and self.is_mine(found) else None

    async def list_all(self) -> AsyncIterator[list[TairInstance]]:
        async for page in self.cluster.list_all():
            yield [found for found in page if self.is_mine(found)]


@dataclass
class Fleet:
    """Two shards, a and b, of one cluster and one cloud."""

    w: World
    operators: dict[str, Reconciler] = field(default_factory=dict)
    serves: Callable[[str, TairInstance], bool] = lambda *_: True

    def __post_init__(self) -> None:
        for shard in ("a", "b"):
            self.start(shard)

    def start(self, shard: str) -> None:
        """Start the operator of a shard, or start it again."""

        def grant(found: TairInstance) -> Grant:
            return Grant(frozenset(Verb)) if self.serves(shard, found) else Grant(frozenset(), "Add this line.")

        self.operators[shard] = Reconciler(
            cluster=cast("Cluster", View(self.w.cluster, shard)),
            cloud=self.w.cloud,
            clock=self.w.clock,
            policy=self.w.policy,
            grant=granting(grant),
            new_id=lambda: f"op-{next(self.w.ids)}",
            is_shard=True,
        )

    def move(self, shard: str, key: Key = KEY) -> None:
        """Label a resource anew."""
        self.w.cluster.touch(key, annotations={SHARD: shard})

    async def one_pass(self, shard: str, key: Key = KEY) -> timedelta | None:
        try:
            return await self.operators[shard].reconcile(key)
        except (ConflictError, ClusterUnavailableError):
            return timedelta(0)

    async def run(self, seconds: float) -> None:
        """Let both shards work on all that they see, turn about, for a time."""
        end = self.w.clock.monotonic() + seconds
        while self.w.clock.monotonic() < end:
            pauses = [
                await self.one_pass(shard, key) for shard in self.operators for key in list(self.w.cluster.stored)
            ]
            pause = min((pause for pause in pauses if pause is not None), default=timedelta(seconds=seconds))
            self.w.clock.advance(max(pause, timedelta(seconds=0.5)))


def labelled(made: TairInstance, shard: str) -> TairInstance:
    metadata = made.metadata.model_copy(update={"annotations": {SHARD: shard}})
    return made.model_copy(update={"metadata": metadata})


def fleet(made: TairInstance, *others: TairInstance, policy: Policy | None = None, is_there: bool = True) -> Fleet:
    w = world(present() if is_there else absent(), made, policy)
    for other in others:
        w.cluster.create(other)
    return Fleet(w)


def older(wanted: bool | None = True, shard: str = "b", **fields: Any) -> TairInstance:  # noqa: ANN401, FBT001, FBT002
    return labelled(resource(wanted, key=OTHER, uid="older", created=ago(60), **fields), shard)


def younger(wanted: bool | None = False, shard: str = "a", **fields: Any) -> TairInstance:  # noqa: ANN401, FBT001, FBT002
    return labelled(resource(wanted, **fields), shard)


# --- who owns an instance ---


@pytest.mark.parametrize("wanted", [True, False, None])
async def test_the_older_owns_an_instance_whichever_shard_serves_it(wanted: bool | None) -> None:  # noqa: FBT001
    f = fleet(younger(wanted), older())
    await f.run(60)

    assert f.w.ready(OTHER) == ("True", "Allocated")
    assert f.w.ready() == ("False", "InstanceAlreadyManaged")
    assert f.w.calls() == []


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_two_shards_whose_access_lists_differ_never_both_act(order: str) -> None:
    f = fleet(younger(), older(wanted=False))
    f.serves = lambda shard, found: found.metadata.annotations[SHARD] == shard
    f.operators = {shard: f.operators[shard] for shard in order}
    await f.run(60)

    assert f.w.calls() == [(Action.RELEASE, True)]
    assert f.w.ready(OTHER) == ("True", "Released")
    assert f.w.ready() == ("False", "InstanceAlreadyManaged")


async def test_one_that_its_own_shard_refuses_does_not_compete() -> None:
    f = fleet(younger(), older())
    f.serves = lambda _, found: found.metadata.uid != "older"
    await f.run(60)
    before = f.w.ready()
    await f.run(400)

    assert before == ("False", "Pending")
    assert f.w.ready(OTHER) == ("False", "AccessNotAllowed")
    assert f.w.ready() == ("True", "Released")
    assert f.w.calls() == [(Action.RELEASE, True)]


async def test_one_that_no_shard_selects_competes_until_somebody_deletes_it() -> None:
    f = fleet(younger(), older(shard="nobody's"))
    await f.run(120)
    before = f.w.ready()
    f.w.cluster.delete(OTHER)
    await f.run(290)
    calls_before_the_settling_time = f.w.calls()
    await f.run(180)

    assert before == ("False", "InstanceAlreadyManaged")
    assert calls_before_the_settling_time == []
    assert f.w.calls() == [(Action.RELEASE, True)]


async def test_who_takes_over_from_another_shard_waits_even_if_the_list_came_in_between() -> None:
    f = fleet(younger(), older())
    await f.run(60)
    await f.operators["a"].learn(pages(f.w.seen()))
    await f.run(600)
    f.w.cluster.delete(OTHER)
    await f.run(290)
    before = f.w.calls()
    await f.run(120)

    assert before == []
    assert f.w.calls() == [(Action.RELEASE, True)]


async def test_the_younger_that_acted_while_the_older_was_refused_is_given_time_before_the_older_acts() -> None:
    f = fleet(younger(), older(), is_there=True)
    f.serves = lambda _, found: found.metadata.uid != "older"
    await f.run(500)
    released = f.w.calls()
    f.serves = lambda *_: True
    await f.one_pass("b", OTHER)
    at_first = f.w.ready(OTHER)
    await f.run(290)
    before = f.w.calls()
    await f.run(120)

    assert (released, before) == ([(Action.RELEASE, True)], [(Action.RELEASE, True)])
    assert at_first == ("False", "Pending")
    assert f.w.calls() == [(Action.RELEASE, True), (Action.ALLOCATE, True)]
    assert f.w.ready(OTHER) == ("True", "Allocated")


async def test_the_call_of_another_shard_blocks_like_one_of_our_own() -> None:
    f = fleet(younger(), older(shard="nobody's"))
    in_flight = operation(outcome=Outcome.STARTED, started_at=NOW)
    f.w.cluster.stored[OTHER] = older(shard="nobody's", status=status(operation=in_flight), deleted=NOW)
    await f.one_pass("a")

    assert f.w.calls() == []
    assert f.w.ready() == ("False", "OutcomeUnknown")


async def test_who_is_at_rest_asks_nobody() -> None:
    f = fleet(younger())
    await f.run(60)
    asked: list[str] = []
    f.w.cluster.at["claims"] = lambda: asked.append("claims")
    await f.run(3600)

    assert f.w.ready() == ("True", "Released")
    assert asked == []


async def test_without_an_answer_about_other_shards_nothing_is_said_or_called() -> None:
    f = fleet(younger())
    f.w.cluster.at["claims"] = fail(ClusterUnavailableError("no answer"))
    await f.one_pass("a")

    assert f.w.cluster.writes == []
    assert f.w.calls() == []


async def test_only_a_shard_asks_before_it_has_something_to_call() -> None:
    w = world(absent(), resource(False))
    w.cluster.at["claims"] = fail(AssertionError("nobody had to be asked"))
    await w.run(60)

    assert w.ready() == ("True", "Released")


# --- a resource that moves ---

MOMENTS = [
    "get",
    "observe",
    "prepare",
    "claims",
    "write_status",
    "status_written",
    "send",
    "write_answer",
    "answer_written",
]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_resource_that_moves_in_the_middle_of_a_release_is_released_once(moment: str) -> None:
    f = fleet(younger())
    points = f.w.cloud.at if moment in {"observe", "prepare", "send"} else f.w.cluster.at
    points[moment] = lambda: f.move("b")
    await f.one_pass("a")
    passes_of_a = len(f.w.cluster.writes)
    await f.run(60)

    found = f.w.seen().status.operation
    assert found is not None
    assert found.outcome is Outcome.SUCCEEDED
    assert f.w.calls() == [(Action.RELEASE, True)]
    assert f.w.ready() == ("True", "Released")
    # Whatever came after the intent is the other's to tell, but for the answer.
    assert passes_of_a <= 2


async def test_a_lost_answer_is_settled_by_the_shard_that_takes_over() -> None:
    f = fleet(younger(), is_there=True)
    f.w.cloud.at["send"] = fail(silence())
    f.w.cluster.at["write_answer"] = lambda: f.move("b")
    await f.one_pass("a")
    await f.run(290)
    before, ready = f.w.calls(), f.w.ready()
    await f.run(120)

    assert (before, ready) == ([], ("False", "OutcomeUnknown"))
    assert f.w.calls() == [(Action.RELEASE, True)]
    assert f.w.ready() == ("True", "Released")


async def test_a_drain_goes_on_where_the_resource_moves_to_and_is_never_shorter() -> None:
    publish = PublishSpec(secret_name=SECRET.name)
    f = fleet(younger(True, publish=publish, release=ReleaseSpec(drain_seconds=120)))
    await f.run(30)
    published = dict(f.w.cluster.published)
    f.w.cluster.edit(KEY, direct_connection=False)
    await f.one_pass("a")
    ready, withdrawn = f.w.ready(), dict(f.w.cluster.published)
    f.w.clock.advance(100)
    f.move("b")
    await f.run(19)
    before = f.w.calls()
    await f.run(60)

    assert list(published) == [SECRET]
    assert (ready, withdrawn) == (("False", "Draining"), {})
    assert before == []
    assert f.w.calls() == [(Action.RELEASE, True)]
    assert f.w.ready() == ("True", "Released")


async def test_a_deletion_that_is_held_is_finished_where_the_resource_moves_to() -> None:
    f = fleet(younger(True, deletion_policy="Release"), is_there=False)
    await f.run(30)
    held = f.w.seen().metadata.finalizers
    f.w.cluster.edit(KEY, direct_connection=False)
    f.w.cluster.delete(KEY)
    f.w.cluster.at["status_written"] = lambda: f.move("b")
    await f.one_pass("a")
    await f.run(60)

    assert held == [FINALIZER]
    assert f.w.calls() == [(Action.ALLOCATE, True), (Action.RELEASE, True)]
    assert KEY not in f.w.cluster.stored


async def test_a_resource_that_leaves_a_shard_is_not_touched_by_it_any_more() -> None:
    f = fleet(younger())
    f.move("b")
    answer = await f.one_pass("a")

    assert answer is None
    assert f.w.calls() == []
    assert f.w.cluster.writes == []


async def test_a_resource_that_comes_back_finds_nothing_that_was_seen_before_it_left() -> None:
    f = fleet(younger(True), is_there=True)
    await f.run(30)
    f.w.cloud.instances[ID].endpoint = None
    await f.one_pass("a")
    first_look = f.w.ready()
    f.move("b")
    await f.one_pass("a")
    f.w.clock.advance(60)
    f.move("a")
    await f.one_pass("a")

    # Absence counts after two looks, and the first of them was made before somebody else had the resource.
    assert first_look == f.w.ready()
    assert f.w.calls() == []


async def test_two_that_select_the_same_resource_by_mistake_still_release_it_once() -> None:
    f = fleet(younger())
    f.operators["b"] = f.operators["a"]
    f.start("a")
    await f.run(60)

    assert f.w.calls() == [(Action.RELEASE, True)]
    assert f.w.ready() == ("True", "Released")
