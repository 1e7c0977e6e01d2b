"""Measures how late the event loop is: a task that wants to run once a second, and by how much it was too late."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

BEAT_SECONDS = 1.0
BEATS_KEPT = 60
LAG_MAX_SECONDS = 5.0
"""With more than this nothing keeps its deadlines any more."""


class Heartbeat:
    """The beat and its delays; ``clock`` returns seconds at the pace of the event loop's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare it; nothing is late before ``beat`` runs."""
        self._clock = clock
        self._due: float | None = None
        self._lags: deque[float] = deque([0.0], maxlen=BEATS_KEPT)

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            self._due = self._clock() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._lags.append(self._overdue())

    def lag(self) -> float:
        """Return the longest delay of the last minute, in seconds."""
        return max(self._overdue(), *self._lags)

    def is_late(self) -> str | None:
        """Answer /livez: whether the last beat was much too late, or the next one is.

        A loop that is blocked for good cannot even say so: then the probe has no answer in time, which kubelet counts
        as a failure. This tells of one that barely turns, and of a beat that has stopped.
        """
        lag = max(self._overdue(), self._lags[-1])
        return f"the event loop is {lag:.1f} s late" if lag > LAG_MAX_SECONDS else None

    def _overdue(self) -> float:
        return 0.0 if self._due is None else max(0.0, self._clock() - self._due)
