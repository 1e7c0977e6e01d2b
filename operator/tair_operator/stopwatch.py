"""Measures how long a pass has been at work, leaving out what it merely waits for.

A pass may wait for the limiter or for an API server that is down for as long as
that takes; killing the operator then would lose what it holds. Adapters say so
with ``waiting``, and the liveness probe judges only the rest.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stopwatch:
    """Runs from its start, and stands still while at least one part of the pass waits."""

    def __init__(self) -> None:
        self._worked = 0.0
        self._since: float | None = time.monotonic()
        self._waits = 0

    def seconds(self) -> float:
        """Return the seconds of work so far."""
        return self._worked + (0.0 if self._since is None else time.monotonic() - self._since)

    def pause(self) -> None:
        """Stand still from now on."""
        self._waits += 1
        if self._since is not None:
            self._worked += time.monotonic() - self._since
            self._since = None

    def go_on(self) -> None:
        """Run again, unless another part still waits."""
        self._waits -= 1
        if self._waits == 0:
            self._since = time.monotonic()


_CURRENT: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextmanager
def timing() -> Iterator[Stopwatch]:
    """Time what is done inside, also in the tasks that it starts."""
    stopwatch = Stopwatch()
    token = _CURRENT.set(stopwatch)
    try:
        yield stopwatch
    finally:
        _CURRENT.reset(token)


@contextmanager
def waiting() -> Iterator[None]:
    """Say that what is done inside is waiting and may take as long as it takes."""
    stopwatch = _CURRENT.get()
    if stopwatch is None:
        yield
        return
    stopwatch.pause()
    try:
        yield
    finally:
        stopwatch.go_on()
