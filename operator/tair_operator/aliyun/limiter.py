"""Limits the calls per account and region, so that the cloud does not have to.

The cloud counts calls per account, publishes no number for R-kvstore, and takes
its time to forgive. Each (AccessKey id, region) has a bucket of its own; whoever
comes first leaves first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

from tair_operator.stopwatch import waiting

CALLS_PER_SECOND = 5.0
BURST = 5
PAUSE_MAX = timedelta(minutes=1)
"""A longer pause than this is not believed: one odd header must not silence the operator."""

# Less than this is no wait; it also keeps rounding from asking for sleeps that do not move the clock.
_RESOLUTION = 0.001


class Account(NamedTuple):
    """What the cloud counts by."""

    access_key_id: str
    region_id: str


class Limiter:
    """One bucket per account: ``burst`` calls at once, ``rate`` of them per second in the long run.

    ``clock`` returns seconds that never go back; ``sleep`` waits for some of them.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rate: float = CALLS_PER_SECOND,
        burst: int = BURST,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._interval = 1 / rate
        self._credit = (burst - 1) * self._interval
        self._buckets: dict[Account, _Bucket] = {}

    async def acquire(self, account: Account, *, urgent: bool = False) -> None:
        """Wait until one more call may be sent; an urgent one goes before all that are not.

        A changing call is urgent: it rests on a look, and a look that is overtaken by others grows old.
        """
        bucket = self._bucket(account)
        bucket.urgent += urgent
        try:
            # An asyncio.Lock wakes its waiters in the order in which they came.
            with waiting():
                async with bucket.fast_lane if urgent else bucket.turn:
                    # Asked again after each sleep: a pause may have begun meanwhile, or somebody more urgent come.
                    while (left := self._left(bucket, urgent=urgent)) > _RESOLUTION:
                        await self._sleep(left)
                    bucket.full_at = max(bucket.full_at, self._clock()) + self._interval
        finally:
            bucket.urgent -= urgent

    def _left(self, bucket: "_Bucket", *, urgent: bool) -> float:
        left = bucket.full_at - self._credit - self._clock()
        return max(left, self._interval) if bucket.urgent and not urgent else left

    def pause(self, account: Account, length: timedelta) -> None:
        """Let no call through for a while, at most ``PAUSE_MAX``; there is no burst after it."""
        bucket = self._bucket(account)
        bucket.paused_until = max(bucket.paused_until, self._clock() + min(length, PAUSE_MAX).total_seconds())
        bucket.full_at = max(bucket.full_at, bucket.paused_until + self._credit)

    def pause_left(self, account: Account) -> timedelta:
        """Return how long the pause that the cloud asked for still lasts; 0 without one."""
        return timedelta(seconds=max(0.0, self._bucket(account).paused_until - self._clock()))

    def _bucket(self, account: Account) -> "_Bucket":
        return self._buckets.setdefault(account, _Bucket(self._clock()))


class _Bucket:
    def __init__(self, now: float) -> None:
        self.full_at = now
        """When the whole burst is available again."""
        self.paused_until = now
        self.turn, self.fast_lane = asyncio.Lock(), asyncio.Lock()
        self.urgent = 0
        """How many urgent calls wait."""
