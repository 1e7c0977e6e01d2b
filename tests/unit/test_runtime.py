"""The running operator: it lists before it works, follows its access list, ends in order, and never alive and blind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tair_operator import runtime
from tair_operator.access import AccessFile
from tair_operator.models import TairInstance
from tair_operator.ports import ClusterUnavailableError, Observation, Target
from tair_operator.queue import WorkQueue
from tair_operator.runtime import Operator, WatchEndedError
from tests.builders import KEY, NOW, resource
from tests.fakes import FakeClock, World, fail, present, world
from tests.meters import value

DOWN = ClusterUnavailableError("the API server is down")


async def until_stopped(is_watching: asyncio.Event, stop: asyncio.Event) -> None:
    is_watching.set()
    await stop.wait()


async def ending_at_once(is_watching: asyncio.Event, _: asyncio.Event) -> None:
    is_watching.set()
    message = "the stream broke"
    raise ConnectionError(message)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(runtime, "ACCESS_SECONDS", 0.0)


def operator_on(w: World, access: AccessFile | None = None, queue: WorkQueue | None = None) -> Operator:
    return Operator(
        queue=queue or WorkQueue(jitter=lambda: 0.0),
        cluster=w.cluster,
        reconciler=w.operator,
        access=access,
        clock=FakeClock(),
    )


async def run(operator: Operator, watch: runtime.Watch = until_stopped) -> None:
    await operator.run(watch, workers=2, grace=timedelta(seconds=1), on_watching=lambda: None)


class Idle:
    """What is called when no pass is under way and none will be."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.writes_when_called: list[int] = []

    async def __call__(self) -> None:
        self.writes_when_called.append(len(self.w.cluster.writes))

    async def run(self, operator: Operator, grace: float = 1, watch: runtime.Watch = until_stopped) -> None:
        await operator.run(watch, workers=2, grace=timedelta(seconds=grace), on_watching=lambda: None, on_idle=self)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the operator run until something is so; pytest's own limit ends what never is."""
    while not is_so():  # noqa: ASYNC110 - nobody sets an event for what a test is curious about
        await asyncio.sleep(0.001)


async def wait_until_ready(operator: Operator) -> None:
    await until(lambda: operator.is_unready() is None)


async def test_what_is_there_at_the_start_gets_its_pass_and_the_end_is_in_order() -> None:
    w = world(present(), resource(True))
    operator = operator_on(w)
    running = asyncio.create_task(run(operator))
    await wait_until_ready(operator)
    await until(lambda: bool(w.cluster.writes))
    operator.stopping.set()
    await running

    assert w.ready() == ("True", "Allocated")
    assert operator.is_unready() == "stopping"
    assert operator.is_stuck() is None


async def test_nothing_is_worked_on_before_the_first_list() -> None:
    w = world(present(), resource(True))
    reads_at_failures: list[int] = []

    def fail_three_times() -> None:
        reads_at_failures.append(w.cluster.reads)
        if len(reads_at_failures) < 3:
            w.cluster.at["list_all"] = fail_three_times
        raise DOWN

    async def telling_of_an_event(is_watching: asyncio.Event, stop: asyncio.Event) -> None:
        queue.add(KEY)
        await until_stopped(is_watching, stop)

    w.cluster.at["list_all"] = fail_three_times
    queue = WorkQueue(jitter=lambda: 0.0)
    operator = operator_on(w, queue=queue)
    running = asyncio.create_task(run(operator, telling_of_an_event))
    await until(lambda: w.cluster.reads > 0)
    operator.stopping.set()
    await running

    assert reads_at_failures == [0, 0, 0]


async def test_a_list_that_breaks_after_its_first_page_starts_no_pass_and_forgets_nothing() -> None:
    w = world(present(), resource(True))
    operator = operator_on(w)
    seen: list[tuple[int, bool]] = []

    def break_off() -> None:
        seen.append((w.cluster.reads, operator.is_unready() is None))
        raise DOWN

    w.cluster.at["after a page"] = break_off
    running = asyncio.create_task(run(operator))
    await wait_until_ready(operator)
    await until(lambda: bool(w.cluster.writes))
    operator.stopping.set()
    await running
    known = dict(operator._reconciler.fleet.groups())
    w.cluster.stored.clear()
    w.cluster.at["after a page"] = fail(DOWN)
    with pytest.raises(ClusterUnavailableError):
        await operator._reconciler.learn(w.cluster.list_all())

    assert seen == [(0, False)]
    assert known
    assert dict(operator._reconciler.fleet.groups()) == known


async def test_a_missing_crd_is_waited_for() -> None:
    w = world(present(), resource(True))
    w.cluster.is_installed = False
    operator = operator_on(w)
    running = asyncio.create_task(run(operator))
    await until(lambda: "crds/tairinstances.yaml" in (operator.is_unready() or ""))
    w.cluster.is_installed = True
    await wait_until_ready(operator)
    operator.stopping.set()

    await running


async def test_an_api_server_that_is_down_at_the_start_is_waited_for() -> None:
    w = world(present(), resource(True))
    w.cluster.at["is_served"] = fail(DOWN)
    operator = operator_on(w)
    running = asyncio.create_task(run(operator))
    await wait_until_ready(operator)
    operator.stopping.set()

    await running


async def test_the_end_of_the_watch_is_the_end_of_the_operator() -> None:
    w = world(present(), resource(True))

    with pytest.raises(WatchEndedError) as caught:
        await run(operator_on(w), ending_at_once)

    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_a_changed_access_list_leads_to_a_pass_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text("rules: []")
    w = world(present(), resource(True))
    operator = operator_on(w, AccessFile.open(path))
    running = asyncio.create_task(run(operator))
    await until(lambda: bool(w.cluster.writes))
    reads = w.cluster.reads
    w.cluster.at["list_all"] = fail(DOWN)
    path.write_text("rules: [{namespaces: [a], regions: [b], instanceIds: [c], actions: [Observe]}]")
    await until(lambda: w.cluster.reads > reads)
    operator.stopping.set()
    await running

    assert w.seen(KEY).status.observed_generation == 1


async def test_a_pass_that_outran_its_deadline_is_reported_by_the_liveness_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "PASS_DEADLINE", timedelta(seconds=-1))
    w = world(present(), resource(True))
    operator = operator_on(w)
    answers: list[str | None] = []
    w.cloud.at["observe"] = lambda: answers.append(operator.is_stuck())
    running = asyncio.create_task(run(operator))
    await until(lambda: bool(answers))
    operator.stopping.set()
    await running

    assert answers == ["a pass has been at work for 0 s"]


def look_slowly(w: World, monkeypatch: pytest.MonkeyPatch, seconds: float) -> asyncio.Event:
    """Let each look at the cloud take its time; the event says that one has begun."""
    begun, observe = asyncio.Event(), w.cloud.observe

    async def observe_slowly(target: Target) -> Observation:
        begun.set()
        await asyncio.sleep(seconds)
        return await observe(target)

    monkeypatch.setattr(w.cloud, "observe", observe_slowly)
    return begun


async def test_it_is_idle_once_the_passes_under_way_have_written_what_they_had_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = world(present(), resource(True))
    operator, idle = operator_on(w), Idle(w)
    begun = look_slowly(w, monkeypatch, 0.1)
    running = asyncio.create_task(idle.run(operator))
    await begun.wait()
    operator.stopping.set()
    await running

    assert idle.writes_when_called == [1]


async def test_with_a_pass_that_was_cut_off_it_is_never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(present(), resource(True))
    operator, idle = operator_on(w), Idle(w)
    begun = look_slowly(w, monkeypatch, 60)
    running = asyncio.create_task(idle.run(operator, grace=0.01))
    await begun.wait()
    operator.stopping.set()
    await running

    assert idle.writes_when_called == []


async def test_it_is_idle_when_it_is_stopped_before_the_crd_is_there() -> None:
    w = world(present(), resource(True))
    w.cluster.is_installed = False
    operator, idle = operator_on(w), Idle(w)
    running = asyncio.create_task(idle.run(operator))
    await until(lambda: "crds/tairinstances.yaml" in (operator.is_unready() or ""))
    operator.stopping.set()
    await running

    assert idle.writes_when_called == [0]


async def test_it_is_idle_when_the_watch_has_ended() -> None:
    w = world(present(), resource(True))
    idle = Idle(w)
    with pytest.raises(WatchEndedError):
        await idle.run(operator_on(w), watch=ending_at_once)

    assert len(idle.writes_when_called) == 1


# --- What the probes ask ---


def wrong_with(operator: Operator) -> dict[str, str]:
    return {name: wrong for name, check in operator.checks.items() if (wrong := check()) is not None}


async def test_nothing_is_wrong_with_an_operator_before_during_and_after_its_work() -> None:
    w = world(present(), resource(True))
    operator = operator_on(w)
    found = [wrong_with(operator)]
    running = asyncio.create_task(run(operator))
    await wait_until_ready(operator)
    found.append(wrong_with(operator))
    operator.stopping.set()
    await running
    found.append(wrong_with(operator))

    assert found == [{}, {}, {}]
    assert set(operator.checks) == {"passes", "queue", "watch", "list"}


async def test_a_watch_that_ended_is_told_while_the_passes_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(present(), resource(True))
    operator = operator_on(w)
    begun, ending = look_slowly(w, monkeypatch, 0.1), asyncio.Event()

    async def ending_later(is_watching: asyncio.Event, _: asyncio.Event) -> None:
        is_watching.set()
        await ending.wait()

    running = asyncio.create_task(run(operator, ending_later))
    await begun.wait()
    before = wrong_with(operator)
    ending.set()
    await until(operator.stopping.is_set)
    during = wrong_with(operator)
    with pytest.raises(WatchEndedError):
        await running

    assert (before, during) == ({}, {"watch": "the watch of the Kubernetes API, or what feeds the queue, ended"})


async def test_a_resource_that_waits_while_a_worker_is_free_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    w, queue = world(present(), resource(True)), WorkQueue(jitter=lambda: 0.0)
    operator = operator_on(w, queue=queue)
    monkeypatch.setattr(WorkQueue, "longest_wait", lambda _: 31.0)
    before = wrong_with(operator)
    begun = look_slowly(w, monkeypatch, 0.2)
    running = asyncio.create_task(run(operator))
    await begun.wait()
    during = wrong_with(operator)
    # One pass is under way, and there are two workers.
    monkeypatch.setattr(operator, "_workers", 1)
    all_busy = wrong_with(operator)
    operator.stopping.set()
    at_the_end = wrong_with(operator)
    await running

    assert during == {"queue": "a resource has waited for 31 s, and 1 of 2 workers have something to do"}
    assert (before, all_busy, at_the_end) == ({}, {}, {})


async def test_a_list_that_nobody_tries_any_more_is_told_and_one_that_fails_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = world(present(), resource(True))
    hanging = asyncio.Event()
    list_all = w.cluster.list_all

    async def hang() -> AsyncIterator[list[TairInstance]]:
        await hanging.wait()
        async for page in list_all():
            yield page

    monkeypatch.setattr(w.cluster, "list_all", hang)
    operator = operator_on(w)
    running = asyncio.create_task(run(operator))
    await until(lambda: operator._workers > 0)
    monkeypatch.setattr(runtime, "SILENCE_SECONDS", 0.0)
    hung = wrong_with(operator)
    monkeypatch.setattr(runtime, "SILENCE_SECONDS", 1800.0)
    w.cluster.at["list_all"] = fail(DOWN)
    hanging.set()
    await until(lambda: "list_all" not in w.cluster.at)
    failed = wrong_with(operator)
    operator.stopping.set()
    monkeypatch.setattr(runtime, "SILENCE_SECONDS", 0.0)
    at_the_end = wrong_with(operator)
    await running

    assert hung == {"list": "no LIST has ended for 0 s"}
    assert (failed, at_the_end) == ({}, {})


async def test_it_is_not_ready_any_more_when_every_list_has_failed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LIST_SECONDS", 0.0)
    w = world(present(), resource(True))
    operator = operator_on(w)
    running = asyncio.create_task(run(operator))
    await wait_until_ready(operator)
    failures: list[str | None] = []

    def fail_for_long() -> None:
        failures.append(operator.is_unready())
        if len(failures) < 20:
            w.cluster.at["list_all"] = fail_for_long
        # The first failure is forgiven, and so is what comes in the minute after it.
        if len(failures) == 10:
            monkeypatch.setattr(runtime, "UNLISTED_SECONDS", 0.0)
        raise DOWN

    w.cluster.at["list_all"] = fail_for_long
    await until(lambda: len(failures) == 20)
    await wait_until_ready(operator)
    operator.stopping.set()
    await running

    assert failures[:10] == [None] * 10
    assert failures[-1] == "the resources cannot be listed: the API server is down"


async def test_the_last_complete_list_and_the_workers_are_shown() -> None:
    w = world(present(), resource(True))
    operator = operator_on(w)
    running = asyncio.create_task(run(operator))
    await wait_until_ready(operator)
    operator.stopping.set()
    await running

    assert value("tair_operator_last_list_timestamp_seconds") == NOW.timestamp()
    assert value("controller_runtime_max_concurrent_reconciles", controller="tairinstance") == 2
