"""What the queue tells: the metrics of client-go's work queue, with its meaning."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tair_operator import metrics
from tair_operator.ports import ClusterUnavailableError, ConflictError, Key
from tair_operator.queue import Priority, WorkQueue, work
from tests.builders import seconds
from tests.meters import Meter, value
from tests.virtual_time import run_virtually, virtually

A, B, C = Key("shop", "a"), Key("shop", "b"), Key("shop", "c")
LABELS = {"name": "tairinstance", "controller": "tairinstance"}
ONE = ("tairinstance", "tairinstance")


@pytest.fixture(autouse=True)
def show_nothing_afterwards() -> Iterator[None]:
    yield
    metrics.controller.show_queue(lambda: 0, list)


def shown_queue() -> WorkQueue:
    queue = WorkQueue(jitter=lambda: 0.0)
    metrics.controller.show_queue(queue.depth, queue.runs)
    return queue


@virtually
async def test_a_key_is_added_once_for_each_run_however_often_it_is_asked_for() -> None:
    queue, adds = shown_queue(), Meter("workqueue_adds_total")
    queue.add(A, Priority.CLOCK)
    queue.add(A, Priority.USER)
    queue.add(B)
    before = value("workqueue_depth", **LABELS)
    working = await queue.get()
    queue.add(working)
    queue.add(working)
    waiting = value("workqueue_depth", **LABELS)
    queue.done(working)

    assert adds.gained() == {ONE: 3}
    assert (before, waiting) == (2, 2)


@virtually
async def test_the_wait_counts_from_the_first_wish_to_the_start() -> None:
    queue = shown_queue()
    waits, count = Meter("workqueue_queue_duration_seconds_sum"), Meter("workqueue_queue_duration_seconds_count")
    queue.add(A, Priority.CLOCK)
    await asyncio.sleep(3)
    # Raised, and still the same wish.
    queue.add(A, Priority.USER)
    await asyncio.sleep(4)
    working = await queue.get()
    # Asked for during the run: the wait begins now.
    queue.add(A)
    await asyncio.sleep(10)
    queue.done(working)
    await queue.get()

    assert waits.gained() == {ONE: pytest.approx(7 + 10)}
    assert count.gained() == {ONE: 2}


@virtually
async def test_work_counts_from_the_start_to_the_end() -> None:
    queue, work_seconds = shown_queue(), Meter("workqueue_work_duration_seconds_sum")
    queue.add(A)
    queue.add(B)
    first = await queue.get()
    await asyncio.sleep(5)
    second = await queue.get()
    await asyncio.sleep(2)
    during = {name: value(name, **LABELS) for name in UNFINISHED}
    active = value("controller_runtime_active_workers", controller="tairinstance")
    queue.done(first)
    queue.done(second)

    assert during == dict(zip(UNFINISHED, (9, 7), strict=True))
    assert active == 2
    assert work_seconds.gained() == {ONE: pytest.approx(9)}
    assert [value(name, **LABELS) for name in UNFINISHED] == [0, 0]


UNFINISHED = ("workqueue_unfinished_work_seconds", "workqueue_longest_running_processor_seconds")


@virtually
async def test_a_retry_is_every_run_that_was_asked_for_with_a_delay() -> None:
    queue, retries, adds = shown_queue(), Meter("workqueue_retries_total"), Meter("workqueue_adds_total")
    queue.retry(A)
    queue.add_after(B, seconds(60))
    queue.add(C)
    await asyncio.sleep(1)
    queue.cancel_timers()

    assert retries.gained() == {ONE: 2}
    assert adds.gained() == {ONE: 2}


@pytest.mark.parametrize(
    ("outcome", "result", "errors"),
    [
        (None, "success", 0),
        (seconds(5), "requeue_after", 0),
        (ConflictError("stale"), "requeue", 0),
        (ClusterUnavailableError("down"), "error", 1),
        (RuntimeError("a bug"), "error", 1),
    ],
)
def test_a_pass_counts_by_what_it_ended_with(outcome: timedelta | Exception | None, result: str, errors: float) -> None:
    names = ("total", "errors_total", "time_seconds_sum", "time_seconds_count")
    meters = [Meter(f"controller_runtime_reconcile_{name}") for name in names]

    async def one_pass() -> None:
        queue, stopping = shown_queue(), asyncio.Event()

        async def reconcile(_: Key) -> timedelta | None:
            await asyncio.sleep(2)
            stopping.set()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        queue.add(A)
        await work(queue, reconcile, stopping)
        queue.cancel_timers()

    run_virtually(one_pass())

    assert [meter.gained() for meter in meters] == [
        {("tairinstance", result): 1},
        {("tairinstance",): errors} if errors else {},
        {("tairinstance",): pytest.approx(2)},
        {("tairinstance",): 1},
    ]


@virtually
async def test_a_pass_that_is_cut_off_at_the_end_counts_as_nothing() -> None:
    queue, passes = shown_queue(), Meter("controller_runtime_reconcile_total")

    async def reconcile(_: Key) -> timedelta | None:
        await asyncio.sleep(60)
        return None

    queue.add(A)
    worker = asyncio.create_task(work(queue, reconcile, asyncio.Event()))
    await asyncio.sleep(1)
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker

    assert passes.gained() == {}
    assert value("controller_runtime_active_workers", controller="tairinstance") == 0


@virtually
async def test_the_longest_wait_is_of_a_key_whose_turn_it_could_be() -> None:
    queue = shown_queue()
    nothing = queue.longest_wait()
    queue.add(A)
    working = await queue.get()
    queue.add(working)
    await asyncio.sleep(9)
    queue.add(B)
    await asyncio.sleep(4)

    assert (nothing, queue.longest_wait()) == (0, 4)

    queue.done(working)

    assert queue.longest_wait() == 13
