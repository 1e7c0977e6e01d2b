"""A work queue that never runs one key twice at once and never loses a change.

As in client-go: a key that is added while it waits is not added again, and one
that is added while it is worked on is run once more afterwards. Work that a
user caused comes before work that the clock caused. Failures back off per key,
so a poisoned resource slows nobody but itself.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from tair_operator.ports import ClusterUnavailableError, ConflictError, Key

logger = logging.getLogger(__name__)

BACKOFF_MIN, BACKOFF_MAX = timedelta(milliseconds=200), timedelta(minutes=5)


class Priority(IntEnum):
    """Whose wish a piece of work is; the lower comes first."""

    USER = 0
    CLOCK = 1


@dataclass(slots=True)
class WorkQueue:
    """Keys to be worked on, now or later. Lives on one event loop and is not thread-safe.

    ``jitter`` returns a number from 0 to 1; a delay is stretched by up to a tenth of itself.
    """

    jitter: Callable[[], float]
    _lanes: tuple[deque[Key], deque[Key]] = field(default_factory=lambda: (deque(), deque()))
    _waiting: dict[Key, Priority] = field(default_factory=dict)
    _processing: set[Key] = field(default_factory=set)
    _timers: dict[Key, asyncio.TimerHandle] = field(default_factory=dict)
    _failures: dict[Key, int] = field(default_factory=dict)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key, priority: Priority = Priority.USER) -> None:
        """Ask for a run of the key as soon as it is its turn."""
        self._cancel_timer(key)
        known = self._waiting.get(key)
        if known is not None and known <= priority:
            return
        self._waiting[key] = priority
        if key not in self._processing:
            self._lanes[priority].append(key)
            self._ready.set()

    def add_after(self, key: Key, delay: timedelta) -> None:
        """Ask for a run after a delay; it replaces an earlier wish of that kind."""
        self._cancel_timer(key)
        seconds = delay.total_seconds() * (1 + self.jitter() / 10)
        loop = asyncio.get_running_loop()
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

    async def get(self) -> Key:
        """Wait for the next key and mark it as being worked on; ``done`` must follow."""
        while True:
            for priority, lane in enumerate(self._lanes):
                while lane:
                    key = lane.popleft()
                    # A key that was raised to another lane is run from there.
                    if self._waiting.get(key) == priority and key not in self._processing:
                        del self._waiting[key]
                        self._processing.add(key)
                        return key
            self._ready.clear()
            await self._ready.wait()

    def done(self, key: Key) -> None:
        """Say that the run is over; a wish that came meanwhile takes its turn."""
        self._processing.discard(key)
        if (priority := self._waiting.get(key)) is not None:
            self._lanes[priority].append(key)
            self._ready.set()

    def depth(self) -> int:
        """Return how many keys wait for their turn, delayed ones not counted."""
        return len(self._waiting)

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
    try:
        requeue_after = await reconcile(key)
    except ConflictError:
        # Somebody changed the resource meanwhile: the view was stale, nothing is wrong.
        queue.retry(key)
    except ClusterUnavailableError as error:
        delay = queue.retry(key)
        logger.warning("%s; trying again in %.1f s", error, delay.total_seconds(), extra={"resource": str(key)})
    # The one place that catches everything: one bad resource must not stop the rest.
    except Exception:
        delay = queue.retry(key)
        message = "A pass failed in a way nobody foresaw; trying again in %.1f s"
        logger.exception(message, delay.total_seconds(), extra={"resource": str(key)})
    else:
        queue.forget(key)
        if requeue_after is not None and not queue.is_waiting(key):
            queue.add_after(key, requeue_after)
    finally:
        queue.done(key)
