"""A work queue that never runs one key twice at once and never loses a change.

As in client-go: a key that is added while it waits is not added again, and one
that is added while it is worked on is run once more afterwards. Work that a
user caused comes before work that the clock caused. Failures back off per key,
so a poisoned resource slows nobody but itself.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from tair_operator import metrics
from tair_operator.metrics.controller import Result
from tair_operator.ports import ClusterUnavailableError, ConflictError, Key

logger = logging.getLogger(__name__)

CONFLICTS_ODD = timedelta(seconds=3)
"""A back-off as long as that is after five conflicts in a row."""
BACKOFF_MIN, BACKOFF_MAX = timedelta(milliseconds=200), timedelta(minutes=5)
WISH_AGE = timedelta(minutes=5)
"""How long after an edit the runs of its key are the user's, whatever caused them."""
CLOCK_EVERY = 10
"""One run in so many is the clock's while one waits, so that no stream of edits ends the resync."""


class Priority(IntEnum):
    """Whose wish a piece of work is; the lower comes first."""

    USER = 0
    CLOCK = 1


@dataclass(slots=True, eq=False)
class Errand:
    """A run under way. It becomes the user's when the user adds its key meanwhile, who then waits for its end."""

    priority: Priority
    began: float
    """When, by the clock of the event loop."""


_CURRENT: ContextVar[Errand | None] = ContextVar("errand", default=None)


def current_errand() -> Errand | None:
    """Return the run that this is part of, also in the tasks that it starts; None outside of one."""
    return _CURRENT.get()


@dataclass(slots=True)
class WorkQueue:
    """Keys to be worked on, now or later. Lives on one event loop and is not thread-safe.

    ``jitter`` returns a number from 0 to 1; a delay is stretched by up to a tenth of itself.
    """

    jitter: Callable[[], float]
    _lanes: tuple[deque[Key], deque[Key]] = field(default_factory=lambda: (deque(), deque()))
    _waiting: dict[Key, Priority] = field(default_factory=dict)
    _added: dict[Key, float] = field(default_factory=dict)
    """Since when each waits."""
    _processing: dict[Key, Errand] = field(default_factory=dict)
    _timers: dict[Key, asyncio.TimerHandle] = field(default_factory=dict)
    _failures: dict[Key, int] = field(default_factory=dict)
    _wishes: dict[Key, float] = field(default_factory=dict)
    _passed_over: int = 0
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key, priority: Priority = Priority.USER) -> None:
        """Ask for a run of the key as soon as it is its turn."""
        self._cancel_timer(key)
        if priority is Priority.USER:
            self._wishes[key] = asyncio.get_running_loop().time()
        elif self._is_wished(key):
            priority = Priority.USER
        errand = self._processing.get(key)
        if errand is not None:
            errand.priority = min(errand.priority, priority)
        known = self._waiting.get(key)
        if known is not None and known <= priority:
            return
        self._waiting[key] = priority
        if known is None:
            self._added[key] = asyncio.get_running_loop().time()
            metrics.controller.queue_adds.inc()
        if key not in self._processing:
            self._lanes[priority].append(key)
            self._ready.set()

    def add_after(self, key: Key, delay: timedelta) -> None:
        """Ask for a run after a delay; it replaces an earlier wish of that kind."""
        self._cancel_timer(key)
        seconds = delay.total_seconds() * (1 + self.jitter() / 10)
        loop = asyncio.get_running_loop()
        metrics.controller.queue_retries.inc()
        self._timers[key] = loop.call_later(seconds, self.add, key, Priority.CLOCK)

    def retry(self, key: Key) -> timedelta:
        """Ask for a run after this key's back-off, which doubles with each failure in a row."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        factor: int = 2 ** min(failures - 1, 20)
        delay = min(BACKOFF_MIN * factor, BACKOFF_MAX)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """Drop the back-off of a key: its last run went well, or it is gone."""
        self._failures.pop(key, None)

    def rest(self, key: Key) -> None:
        """Say that nothing follows from the user's last wish: what comes next is a new one, or the clock's."""
        self._wishes.pop(key, None)

    async def get(self) -> Key:
        """Wait for the next key and mark it as being worked on; ``done`` must follow."""
        while True:
            is_clocks_turn = self._passed_over >= CLOCK_EVERY - 1
            for priority in sorted(Priority, reverse=is_clocks_turn):
                if (key := self._take(priority)) is not None:
                    is_passed_over = priority is Priority.USER and bool(self._lanes[Priority.CLOCK])
                    self._passed_over = self._passed_over + 1 if is_passed_over else 0
                    return key
            self._ready.clear()
            await self._ready.wait()

    def errand(self, key: Key) -> Errand:
        """Return the run of a key that is being worked on."""
        return self._processing[key]

    def done(self, key: Key) -> None:
        """Say that the run is over; a wish that came meanwhile takes its turn."""
        began = self._processing.pop(key).began
        metrics.controller.work_seconds.observe(asyncio.get_running_loop().time() - began)
        if (priority := self._waiting.get(key)) is not None:
            self._lanes[priority].append(key)
            self._ready.set()

    def depth(self) -> int:
        """Return how many keys wait for their turn, delayed ones not counted."""
        return len(self._waiting)

    def runs(self) -> Collection[float]:
        """Return for how many seconds each key has been worked on."""
        now = asyncio.get_running_loop().time()
        return [now - errand.began for errand in self._processing.values()]

    def longest_wait(self) -> float:
        """Return for how many seconds a key has waited whose turn it could be; 0 without one."""
        added = [since for key, since in self._added.items() if key not in self._processing]
        return asyncio.get_running_loop().time() - min(added) if added else 0.0

    def is_waiting(self, key: Key) -> bool:
        """Whether a run of the key was asked for and has not begun."""
        return key in self._waiting

    def is_known(self, key: Key) -> bool:
        """Whether the key waits, is being worked on, or has a timer."""
        return key in self._waiting or key in self._processing or key in self._timers

    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return not self._processing

    def cancel_timers(self) -> None:
        """Drop all delayed wishes; used when the process ends."""
        for key in list(self._timers):
            self._cancel_timer(key)

    def _take(self, priority: Priority) -> Key | None:
        lane = self._lanes[priority]
        while lane:
            key = lane.popleft()
            # A key that was raised to another lane is run from there.
            if self._waiting.get(key) == priority and key not in self._processing:
                del self._waiting[key]
                now = asyncio.get_running_loop().time()
                metrics.controller.queue_seconds.observe(now - self._added.pop(key))
                self._processing[key] = Errand(priority, now)
                return key
        return None

    def _is_wished(self, key: Key) -> bool:
        wished_at = self._wishes.get(key)
        if wished_at is None:
            return False
        if asyncio.get_running_loop().time() - wished_at < WISH_AGE.total_seconds():
            return True
        del self._wishes[key]
        return False

    def _cancel_timer(self, key: Key) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()


async def work(
    queue: WorkQueue, reconcile: Callable[[Key], Awaitable[timedelta | None]], stopping: asyncio.Event
) -> None:
    """Run passes one after another until told to stop; several workers share a queue."""
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while not stopping.is_set():
            turn = asyncio.ensure_future(queue.get())
            try:
                await asyncio.wait({turn, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # One left behind would take a key that nobody works on.
                is_mine = turn.done() or not turn.cancel()
            if not is_mine:
                return
            await _run(queue, turn.result(), reconcile)
    finally:
        stop.cancel()


async def _run(queue: WorkQueue, key: Key, reconcile: Callable[[Key], Awaitable[timedelta | None]]) -> None:
    errand, result = queue.errand(key), None
    token = _CURRENT.set(errand)
    try:
        requeue_after = await reconcile(key)
    except ConflictError as error:
        # Somebody changed the resource meanwhile: the view was stale, nothing is wrong, unless it goes on like that.
        result, delay = Result.REQUEUE, queue.retry(key)
        if delay >= CONFLICTS_ODD:
            logger.warning("%s, again and again", error, extra={"resource": str(key)})
    except ClusterUnavailableError as error:
        result, delay = Result.ERROR, queue.retry(key)
        logger.warning("%s; trying again in %.1f s", error, delay.total_seconds(), extra={"resource": str(key)})
    # The one place that catches everything: one bad resource must not stop the rest.
    except Exception:
        result, delay = Result.ERROR, queue.retry(key)
        message = "A pass failed in a way nobody foresaw; trying again in %.1f s"
        logger.exception(message, delay.total_seconds(), extra={"resource": str(key)})
    else:
        result = Result.SUCCESS if requeue_after is None else Result.REQUEUE_AFTER
        queue.forget(key)
        if not queue.is_waiting(key):
            _follow_up(queue, key, requeue_after)
    finally:
        _CURRENT.reset(token)
        # Not one that was cut off: it ended with nothing.
        if result is not None:
            metrics.controller.count_pass(result, asyncio.get_running_loop().time() - errand.began)
        queue.done(key)


def _follow_up(queue: WorkQueue, key: Key, requeue_after: timedelta | None) -> None:
    if requeue_after is None:
        queue.rest(key)
    else:
        queue.add_after(key, requeue_after)
