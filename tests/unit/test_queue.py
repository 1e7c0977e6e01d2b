"""The work queue: nothing is lost, nothing runs twice at once, and one bad key harms nobody but itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tair_operator.ports import ClusterUnavailableError, ConflictError, Key
from tair_operator.queue import CLOCK_EVERY, Priority, WorkQueue, current_errand, work
from tests.builders import minutes, seconds
from tests.virtual_time import now, virtually

A, B, C = Key("shop", "a"), Key("shop", "b"), Key("shop", "c")


def queue_without_jitter() -> WorkQueue:
    return WorkQueue(jitter=lambda: 0.0)


async def drain(queue: WorkQueue) -> list[Key]:
    """Return the keys that can be had at once, in their order."""
    keys = []
    while queue.depth():
        keys.append(await queue.get())
        queue.done(keys[-1])
    return keys


# --- Order and coalescing ---


async def test_a_key_that_waits_is_not_added_again() -> None:
    queue = queue_without_jitter()
    for key in (A, B, A, A):
        queue.add(key)

    assert queue.depth() == 2
    assert await drain(queue) == [A, B]


async def test_a_key_that_is_worked_on_runs_once_more_afterwards() -> None:
    queue = queue_without_jitter()
    queue.add(A)
    working = await queue.get()
    queue.add(A)
    queue.add(A)
    queue.add(B)

    assert await queue.get() == B

    queue.done(working)

    assert await queue.get() == A
    assert queue.depth() == 0


async def test_a_key_that_is_worked_on_is_given_to_nobody_else() -> None:
    queue = queue_without_jitter()
    queue.add(A)
    await queue.get()
    queue.add(A)
    other = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    assert not other.done()
    assert queue.is_waiting(A)

    queue.done(A)

    assert await other == A


async def test_users_come_before_the_clock() -> None:
    queue = queue_without_jitter()
    queue.add(A, Priority.CLOCK)
    queue.add(B, Priority.CLOCK)
    queue.add(C, Priority.USER)

    assert await drain(queue) == [C, A, B]


async def test_a_user_raises_a_key_that_the_clock_added() -> None:
    queue = queue_without_jitter()
    queue.add(A, Priority.CLOCK)
    queue.add(B, Priority.CLOCK)
    queue.add(B, Priority.USER)
    queue.add(B, Priority.CLOCK)

    assert await drain(queue) == [B, A]


async def test_a_key_that_was_raised_runs_once() -> None:
    queue = queue_without_jitter()
    queue.add(A, Priority.CLOCK)
    queue.add(A, Priority.USER)
    first = await queue.get()
    queue.done(first)
    other = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    assert not other.done()

    queue.add(B)

    assert await other == B


async def test_one_run_in_ten_is_the_clocks_while_one_waits() -> None:
    queue = queue_without_jitter()
    users = [Key("users", f"{number:02}") for number in range(25)]
    for key in (*users[:2], A, B, C, *users[2:]):
        queue.add(key, Priority.CLOCK if key in {A, B, C} else Priority.USER)
    order = await drain(queue)

    assert CLOCK_EVERY == 10
    assert order == [*users[:9], A, *users[9:18], B, *users[18:], C]


async def test_the_clock_has_no_turn_to_catch_up_on_when_it_did_not_wait() -> None:
    queue = queue_without_jitter()
    users = [Key("users", f"{number:02}") for number in range(25)]
    for key in users:
        queue.add(key)
    before = [await queue.get() for _ in range(20)]
    queue.add(A, Priority.CLOCK)
    for key in before:
        queue.done(key)

    assert await drain(queue) == [*users[20:], A]


async def test_it_knows_what_it_knows() -> None:
    queue = queue_without_jitter()
    idle = queue.is_idle()
    queue.add(A)
    queue.add_after(B, seconds(60))
    await queue.get()

    assert idle
    assert not queue.is_idle()
    assert [queue.is_known(key) for key in (A, B, C)] == [True, True, False]

    queue.cancel_timers()

    assert not queue.is_known(B)


# --- Delays ---


@virtually
async def test_a_delay_ends_at_its_time() -> None:
    queue = queue_without_jitter()
    queue.add_after(A, seconds(30))

    assert await queue.get() == A
    assert now() == 30


@virtually
async def test_jitter_stretches_a_delay_by_up_to_a_tenth() -> None:
    queue = WorkQueue(jitter=lambda: 1.0)
    queue.add_after(A, seconds(30))
    await queue.get()

    assert now() == 33


@virtually
async def test_a_later_delay_replaces_an_earlier_one() -> None:
    queue = queue_without_jitter()
    queue.add_after(A, seconds(10))
    queue.add_after(A, seconds(60))
    await queue.get()

    assert now() == 60
    assert not queue.is_known(B)


@virtually
async def test_a_change_does_not_wait_for_the_delay_and_replaces_it() -> None:
    queue = queue_without_jitter()
    queue.add_after(A, seconds(60))
    queue.add(A)
    key = await queue.get()
    queue.done(key)

    assert now() == 0
    assert not queue.is_known(A)


@virtually
async def test_failures_in_a_row_double_the_pause_up_to_five_minutes() -> None:
    queue = queue_without_jitter()
    pauses = [queue.retry(A).total_seconds() for _ in range(13)]
    queue.cancel_timers()

    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 300, 300]
    assert queue.retry(B) == timedelta(seconds=0.2)

    queue.forget(A)

    assert queue.retry(A) == timedelta(seconds=0.2)
    queue.cancel_timers()


@virtually
async def test_what_follows_from_an_edit_is_the_users_for_five_minutes() -> None:
    async def order_after(pause: float) -> list[Key]:
        queue = queue_without_jitter()
        queue.add(A)
        queue.done(await queue.get())
        queue.add_after(A, seconds(pause))
        queue.add_after(B, seconds(pause - 1))
        await asyncio.sleep(pause + 1)
        return await drain(queue)

    assert await order_after(299) == [A, B]
    assert await order_after(300) == [B, A]


@virtually
async def test_a_run_that_waits_for_an_event_ends_what_follows_from_an_edit() -> None:
    queue = queue_without_jitter()
    queue.add(A)
    queue.done(await queue.get())
    queue.rest(A)
    queue.add(B, Priority.CLOCK)
    queue.add(A, Priority.CLOCK)

    assert await drain(queue) == [B, A]


# --- Workers ---


class Script:
    """Passes by script: what each key's runs return or raise, and when they ran."""

    def __init__(self, **runs: list[timedelta | BaseException | None]) -> None:
        self.runs = runs
        self.ran: list[tuple[float, str]] = []
        self.stopping = asyncio.Event()

    async def reconcile(self, key: Key) -> timedelta | None:
        self.ran.append((now(), key.name))
        result = self.runs[key.name].pop(0)
        if not any(self.runs.values()):
            self.stopping.set()
        if isinstance(result, BaseException):
            raise result
        return result


async def finish(queue: WorkQueue, script: Script, workers: int = 1) -> None:
    await asyncio.gather(*(work(queue, script.reconcile, script.stopping) for _ in range(workers)))
    queue.cancel_timers()


@virtually
async def test_a_pass_says_when_the_next_one_is() -> None:
    queue, script = queue_without_jitter(), Script(a=[seconds(5), seconds(7), None])
    queue.add(A)
    await finish(queue, script)

    assert script.ran == [(0, "a"), (5, "a"), (12, "a")]


@virtually
async def test_a_pass_that_waits_for_an_event_has_no_timer() -> None:
    queue, script = queue_without_jitter(), Script(a=[None])
    queue.add(A)
    await finish(queue, script)

    assert not queue.is_known(A)


@pytest.mark.parametrize("error", [ConflictError("stale"), ClusterUnavailableError("gone"), RuntimeError("a bug")])
def test_one_poisoned_key_does_not_stop_the_others(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    @virtually
    async def run() -> None:
        queue, script = queue_without_jitter(), Script(a=[error, error, None], b=[seconds(0.1)] * 5 + [None])
        queue.add(A)
        queue.add(B)
        await finish(queue, script)

        assert [at for at, name in script.ran if name == "a"] == [0, 0.2, 0.6]
        assert [at for at, name in script.ran if name == "b"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])

    with caplog.at_level(logging.WARNING):
        run()

    assert [record.levelname for record in caplog.records] == {
        ConflictError: [],
        ClusterUnavailableError: ["WARNING"] * 2,
        RuntimeError: ["ERROR"] * 2,
    }[type(error)]


@virtually
async def test_a_change_during_a_pass_overrides_the_pause_that_the_pass_asks_for() -> None:
    queue, script = queue_without_jitter(), Script(a=[seconds(60), None])
    original: Callable[[Key], Awaitable[timedelta | None]] = script.reconcile

    async def edited_meanwhile(key: Key) -> timedelta | None:
        if not script.ran:
            queue.add(A)
        return await original(key)

    script.reconcile = edited_meanwhile  # type: ignore[method-assign]
    queue.add(A)
    await finish(queue, script)

    assert script.ran == [(0, "a"), (0, "a")]


@virtually
async def test_a_cancelled_pass_takes_its_worker_with_it_and_frees_the_key() -> None:
    queue, script = queue_without_jitter(), Script(a=[asyncio.CancelledError()], b=[None])
    queue.add(A)

    with pytest.raises(asyncio.CancelledError):
        await work(queue, script.reconcile, script.stopping)

    assert queue.is_idle()
    assert not queue.is_known(A)


@virtually
async def test_a_worker_that_is_cancelled_while_it_waits_takes_no_key() -> None:
    queue, script = queue_without_jitter(), Script(a=[None])
    worker = asyncio.create_task(work(queue, script.reconcile, script.stopping))
    await asyncio.sleep(0.1)
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    queue.add(A)
    await asyncio.sleep(0.1)

    assert queue.is_idle()
    assert queue.is_waiting(A)


@virtually
async def test_workers_stop_when_told_and_leave_what_has_not_begun() -> None:
    queue, script = queue_without_jitter(), Script(a=[None])
    worker = asyncio.create_task(work(queue, script.reconcile, script.stopping))
    await asyncio.sleep(1)
    script.stopping.set()
    await worker
    queue.add(A)

    assert script.ran == []
    assert queue.is_waiting(A)


@virtually
async def test_several_workers_share_the_keys_and_run_none_twice_at_once() -> None:
    queue = queue_without_jitter()
    running: set[Key] = set()
    most, stopping, left = 0, asyncio.Event(), 30

    async def reconcile(key: Key) -> timedelta | None:
        nonlocal most, left
        assert key not in running
        running.add(key)
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.remove(key)
        left -= 1
        if left == 0:
            stopping.set()
        return seconds(0.5)

    for key in (A, B, C):
        queue.add(key)
    await asyncio.gather(*(work(queue, reconcile, stopping) for _ in range(2)))
    queue.cancel_timers()

    assert most == 2


class Lanes:
    """Passes that note for whom they run, before and after they wait."""

    def __init__(self, passes: int) -> None:
        self.left = passes
        self.seen: list[tuple[str, Priority | None, Priority | None]] = []
        self.stopping = asyncio.Event()

    async def reconcile(self, key: Key) -> timedelta | None:
        errand = current_errand()
        assert errand is not None
        before = errand.priority
        await asyncio.sleep(1)
        # Tasks that the pass starts belong to it.
        inner = await asyncio.create_task(_errand_priority())
        self.seen.append((key.name, before, inner))
        self.left -= 1
        if not self.left:
            self.stopping.set()
        return None


async def _errand_priority() -> Priority | None:
    errand = current_errand()
    return errand.priority if errand else None


@virtually
async def test_a_pass_knows_for_whom_it_runs_and_learns_of_an_edit_meanwhile() -> None:
    queue, lanes = queue_without_jitter(), Lanes(4)
    queue.add(A, Priority.CLOCK)
    queue.add(B, Priority.CLOCK)
    queue.add(C)
    asyncio.get_running_loop().call_later(1.5, queue.add, A)
    asyncio.get_running_loop().call_later(1.6, queue.add, A, Priority.CLOCK)
    await work(queue, lanes.reconcile, lanes.stopping)
    queue.cancel_timers()

    user, clock = Priority.USER, Priority.CLOCK
    assert lanes.seen == [("c", user, user), ("a", clock, user), ("a", user, user), ("b", clock, clock)]
    assert current_errand() is None


@virtually
async def test_a_pass_that_waits_for_an_event_is_no_more_the_users() -> None:
    queue, lanes = queue_without_jitter(), Lanes(2)
    queue.add(A)
    asyncio.get_running_loop().call_later(60, queue.add, A, Priority.CLOCK)
    await work(queue, lanes.reconcile, lanes.stopping)

    assert [before for _, before, _ in lanes.seen] == [Priority.USER, Priority.CLOCK]


@virtually
async def test_an_edit_is_looked_at_within_seconds_though_ten_thousand_resyncs_wait() -> None:
    queue, stopping = queue_without_jitter(), asyncio.Event()
    waits: list[float] = []
    served = 0

    async def reconcile(key: Key) -> timedelta | None:
        nonlocal served
        served += 1
        await asyncio.sleep(1.6)
        if key.namespace == "edited":
            waits.append(now() - float(key.name))
        if len(waits) == 20:
            stopping.set()
        return minutes(10)

    for number in range(10_000):
        queue.add(Key("resynced", str(number)), Priority.CLOCK)
    for second in range(10, 210, 10):
        asyncio.get_running_loop().call_later(second, queue.add, Key("edited", str(second)))
    await asyncio.gather(*(work(queue, reconcile, stopping) for _ in range(16)))
    queue.cancel_timers()

    assert served < 3000
    assert max(waits) < 4
