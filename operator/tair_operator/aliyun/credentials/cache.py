"""Keeps what was fetched while it lasts, and lets one caller at a time fetch it again.

Passes begin together, at the start and whenever something expires. Of all that
ask at once the first one fetches; while what is kept still serves, the others do
not even wait. A failure is remembered for a moment, so that whoever waited for
it gets the same answer and not a turn of its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Generic, TypeVar

from tair_operator.ports import CloudError

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAILURE_PAUSE = timedelta(seconds=5)
"""How long a failure is the answer to everybody who asks, where nothing else is left."""
REFRESH_PAUSE = timedelta(minutes=1)
"""How long after a failure the next attempt waits, while what is kept still serves."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """A value, which is fetched anew after ``due_at`` and unusable after ``ends_at``, by the clock of the cache."""

    value: T
    due_at: float
    ends_at: float


class Cache(Generic[T]):
    """Holds one value. ``clock`` returns seconds that never go back.

    A value that is younger than ``young`` is not dropped by ``invalidate``: the
    cloud refused its predecessor, in an answer that was on its way meanwhile.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Fetched[T]]],
        clock: Callable[[], float],
        *,
        young: timedelta = timedelta(0),
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._young = young.total_seconds()
        self._kept: Fetched[T] | None = None
        self._fetched_at = 0.0
        self._failure: CloudError | None = None
        self._failed_at = 0.0
        self._turn = asyncio.Lock()

    @property
    def known(self) -> T | None:
        """What is kept; None before the first success and after ``invalidate``."""
        return None if self._kept is None else self._kept.value

    def invalidate(self) -> None:
        """Drop what is kept, unless it was fetched only just now."""
        if self._clock() - self._fetched_at >= self._young:
            self._kept = None

    async def get(self) -> T:
        """Return what is kept, or fetch it.

        Raises:
            CloudError: it cannot be fetched, or could not a moment ago.

        """
        kept = self._usable()
        if kept is not None and (self._turn.locked() or not self._is_due(kept)):
            return kept.value
        async with self._turn:
            # Whoever waited finds here what the one before has fetched, or has failed with.
            kept = self._usable()
            if kept is not None and not self._is_due(kept):
                return kept.value
            if kept is None and self._failure is not None and self._is_pausing(self._failure):
                raise replace(self._failure)
            return await self._refresh()

    async def _refresh(self) -> T:
        try:
            fetched = await self._fetch()
        except CloudError as error:
            # A copy: the traceback of the error itself would keep alive what its frames hold, secrets among it.
            self._failure, self._failed_at = replace(error), self._clock()
            spare = self._usable()
            if spare is None:
                raise
            left = spare.ends_at - self._clock()
            logger.warning("Not refreshed; what is there serves for another %.0f s: %s", left, error)
            return spare.value
        self._kept, self._fetched_at, self._failure = fetched, self._clock(), None
        return fetched.value

    def _usable(self) -> Fetched[T] | None:
        return self._kept if self._kept is not None and self._clock() <= self._kept.ends_at else None

    def _is_due(self, kept: Fetched[T]) -> bool:
        if self._clock() <= kept.due_at:
            return False
        return self._failure is None or self._clock() - self._failed_at >= REFRESH_PAUSE.total_seconds()

    def _is_pausing(self, failure: CloudError) -> bool:
        pause = max(FAILURE_PAUSE, failure.retry_after or FAILURE_PAUSE)
        return self._clock() - self._failed_at < pause.total_seconds()
