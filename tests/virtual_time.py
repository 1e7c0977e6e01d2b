"""An event loop whose time is not the machine's: hours pass in no time, and always in the same way.

For tests of what waits and is woken, without a network: an answer that comes from elsewhere would be overtaken by time.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tests.builders import NOW

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A real event loop whose time jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._jumped = 0.0

    def time(self) -> float:
        return self._jumped

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():  # type: ignore[attr-defined]
            # As the loop itself does, only now, since the first one says where to jump.
            timer = heapq.heappop(self._scheduled)  # type: ignore[attr-defined]
            timer._scheduled = False
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
        if self._scheduled and not self._ready:  # type: ignore[attr-defined]
            self._jumped = max(self._jumped, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class VirtualClock:
    """Implements ``ports.Clock`` on the time of the loop."""

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    boottime = monotonic


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop with virtual time."""

    def run() -> None:
        run_virtually(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def run_virtually(test: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test)


def now() -> float:
    """Return the time of the loop, in seconds since its start."""
    return round(asyncio.get_running_loop().time(), 6)
