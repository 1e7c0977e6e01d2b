"""Limits the calls per account and region, so that the cloud does not have to.

The cloud counts calls per account, publishes no number for R-kvstore, and takes
its time to forgive. So each account has a bucket whose rate is learned: it
starts low, a throttled call halves it, and calls that pass raise it again, by a
tenth of a call per second for each second in which it is used up.

Three kinds of calls wait in a line. A changing call goes before every look, since
the look that it rests on grows old. Then come the looks of passes that a user
caused, then those that the clock caused; within a kind, whoever comes first leaves
first. One look in ten is the clock's while one waits, so users can slow the
resync down and not stop it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import NamedTuple

from tair_operator.metrics import OTHER
from tair_operator.ports import Principal
from tair_operator.queue import Priority, current_errand
from tair_operator.stopwatch import waiting

CALLS_PER_SECOND = 5.0
"""What a bucket starts with; well below the 10 per second that the API portal shows for a sister product."""
CEILING, FLOOR = 10.0, 0.5
"""Where the rate stops: above, the other tools of the account would be throttled; below, nothing would be learned."""
BURST = 5
PAUSE_MAX = timedelta(minutes=1)
"""A longer pause than this is not believed: one odd header must not silence the operator."""
IDLE_MAX = timedelta(minutes=10)
"""A bucket that was not used for longer is forgotten, with its rate: tenants come and go."""
CLOCK_EVERY = 10
"""One look in so many is the clock's while one waits."""

REGIONS_MAX = 50
"""More than the cloud has. Users name regions, and each would be a series of a metric."""

_FACTOR = 0.5
_GAIN = 0.1
# Calls in flight are all refused by one and the same event.
_EVENT_SECONDS = 1.0
_QUIET_SECONDS = 5.0
# Less than this is no wait; it also keeps rounding from asking for timers that do not move the clock.
_RESOLUTION = 1e-6


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Return the pause that a refusal asks for, at most ``PAUSE_MAX``; None where it asks for none.

    Source: alibabacloud-tea-openapi 0.4.6, which reads the header, in milliseconds, from every reply of 400 and above.
    """
    text = headers.get("x-acs-retry-after", "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    # The digits are counted first: Python refuses to read thousands of them.
    milliseconds = int(text) if len(text) < 10 else PAUSE_MAX // timedelta(milliseconds=1)  # noqa: PLR2004 - 11 days
    return min(timedelta(milliseconds=milliseconds), PAUSE_MAX) or None


class Account(NamedTuple):
    """What the cloud counts by, as far as it can be told.

    Not the AccessKey id: the id of temporary credentials is a new one every hour. Two
    principals may lead to one account; then each learns its share of the limit.
    """

    principal: Principal | None
    """None is the operator's own."""
    region_id: str


class Urgency(IntEnum):
    """Which kind of call it is; the lower comes first."""

    CHANGE = 0
    USER = 1
    CLOCK = 2


def urgency_of_pass() -> Callable[[], Urgency]:
    """Return what tells how urgent the looks of the running pass are: it may change while they wait."""
    errand = current_errand()
    return lambda: Urgency.CLOCK if errand is not None and errand.priority is Priority.CLOCK else Urgency.USER


class Limiter:
    """One bucket per account: ``burst`` calls at once, and in the long run as many per second as its rate says.

    The rate starts with ``rate`` and stays between ``floor`` and ``ceiling``, in calls per second. ``clock`` returns
    seconds that never go back, at the pace of the event loop's.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        rate: float = CALLS_PER_SECOND,
        burst: int = BURST,
        ceiling: float | None = None,
        floor: float | None = None,
    ) -> None:
        self._clock = clock
        self._burst = float(burst)
        self._ceiling = max(CEILING, rate) if ceiling is None else ceiling
        self._start = min(rate, self._ceiling)
        self._floor = min(FLOOR if floor is None else floor, self._start)
        self._buckets: dict[Account, _Bucket] = {}

    async def acquire(self, account: Account, urgency: Callable[[], Urgency] | None = None) -> None:
        """Wait until one more call may be sent. Without ``urgency``, it is that of the pass which runs."""
        bucket = self._bucket(account)
        turn = _Turn(urgency or urgency_of_pass(), asyncio.get_running_loop().create_future())
        bucket.line.append(turn)
        self._dispatch(bucket)
        try:
            with waiting():
                await turn.granted
        except asyncio.CancelledError:
            bucket.give_back(turn)
            self._dispatch(bucket)
            raise

    def throttled(self, account: Account, retry_after: timedelta | None = None) -> None:
        """Take in that the cloud refused a call because there were too many."""
        bucket, now = self._bucket(account), self._clock()
        bucket.fill(now)
        bucket.tokens = min(bucket.tokens, 0.0)
        bucket.throttled_at = now
        if now - bucket.lowered_at >= _EVENT_SECONDS:
            bucket.lowered_at = now
            bucket.rate = max(self._floor, bucket.rate * _FACTOR)
        if retry_after is not None:
            self.pause(account, retry_after)

    def pause(self, account: Account, length: timedelta) -> None:
        """Let no call through for a while, at most ``PAUSE_MAX``; there is no burst after it."""
        bucket, now = self._bucket(account), self._clock()
        bucket.paused_until = max(bucket.paused_until, now + min(length, PAUSE_MAX).total_seconds())
        bucket.fill(bucket.paused_until)
        bucket.tokens = min(bucket.tokens, 1.0)

    def pause_left(self, account: Account) -> timedelta:
        """Return how long the pause that the cloud asked for still lasts; 0 without one."""
        bucket = self._buckets.get(account)
        return timedelta(seconds=max(0.0, bucket.paused_until - self._clock()) if bucket else 0.0)

    def rate(self, account: Account) -> float:
        """Return how many calls per second the account is allowed now."""
        bucket = self._buckets.get(account)
        return bucket.rate if bucket else self._start

    def rates(self) -> Mapping[Account, float]:
        """Return the rates of all accounts that were called of late."""
        return {account: bucket.rate for account, bucket in self._buckets.items()}

    def regions(self) -> Mapping[str, tuple[float, int]]:
        """Return the lowest rate and the number of waiting calls of each region that was called of late."""
        found: dict[str, tuple[float, int]] = {}
        for account, bucket in self._buckets.items():
            is_named = account.region_id in found or len(found) < REGIONS_MAX
            region = account.region_id if is_named else OTHER
            rate, waiting = found.get(region, (float("inf"), 0))
            found[region] = min(rate, bucket.rate), waiting + len(bucket.line)
        return found

    def slowest(self) -> float:
        """Return the lowest of these rates; without any, what an account starts with."""
        return min((bucket.rate for bucket in self._buckets.values()), default=self._start)

    def _bucket(self, account: Account) -> "_Bucket":
        now = self._clock()
        if account not in self._buckets:
            idle_since = now - IDLE_MAX.total_seconds()
            self._buckets = {known: b for known, b in self._buckets.items() if b.line or b.used_at > idle_since}
            self._buckets[account] = _Bucket(now, self._start, self._burst)
        bucket = self._buckets[account]
        bucket.used_at = now
        return bucket

    def _dispatch(self, bucket: "_Bucket") -> None:
        """Let go who may go, and come back when the next one may."""
        if bucket.timer is not None:
            bucket.timer.cancel()
            bucket.timer = None
        while bucket.line:
            now = self._clock()
            bucket.fill(now)
            left = bucket.left(now)
            if left > _RESOLUTION:
                # A pause or a throttled call may come before: then nobody is let go, and this is asked again.
                bucket.timer = asyncio.get_running_loop().call_later(left, self._dispatch, bucket)
                return
            bucket.next().granted.set_result(None)
            bucket.tokens -= 1
            bucket.used_at = now
            if now - bucket.throttled_at >= _QUIET_SECONDS:
                # Where a call stands for many seconds, one alone does not prove that much.
                gain = min(_GAIN / bucket.rate, bucket.rate / 2)
                bucket.rate = min(self._ceiling, bucket.rate + gain)


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    urgency: Callable[[], Urgency]
    granted: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Bucket:
    filled_at: float
    """When ``tokens`` was right; later than now during a pause."""
    rate: float
    burst: float
    tokens: float = field(init=False)
    used_at: float = field(init=False)
    paused_until: float = field(init=False)
    lowered_at: float = float("-inf")
    throttled_at: float = float("-inf")
    line: list[_Turn] = field(default_factory=list)
    """Who waits, in the order in which they came; as many as there are workers, give or take."""
    timer: asyncio.TimerHandle | None = None
    passed_over: int = 0
    """How many looks of users have left since a look of the clock did, or since one began to wait."""

    def __post_init__(self) -> None:
        self.tokens = self.burst
        self.used_at = self.paused_until = self.filled_at

    def fill(self, now: float) -> None:
        if now > self.filled_at:
            self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
            self.filled_at = now

    def left(self, now: float) -> float:
        return max(0.0, self.filled_at - now) + max(0.0, 1 - self.tokens) / self.rate

    def next(self) -> _Turn:
        """Take out whose turn it is."""
        first: dict[Urgency, _Turn] = {}
        # Asked anew each time: an edit may have made a waiting look more urgent.
        for turn in self.line:
            first.setdefault(turn.urgency(), turn)
        chosen = min(first)
        if chosen is Urgency.USER and Urgency.CLOCK in first and self.passed_over >= CLOCK_EVERY - 1:
            chosen = Urgency.CLOCK
        if chosen is not Urgency.CHANGE:
            is_passed_over = chosen is Urgency.USER and Urgency.CLOCK in first
            self.passed_over = self.passed_over + 1 if is_passed_over else 0
        self.line.remove(first[chosen])
        return first[chosen]

    def give_back(self, turn: _Turn) -> None:
        """Free the place of somebody who gave up, or the call that was granted in the same moment."""
        if turn in self.line:
            self.line.remove(turn)
        else:
            self.tokens = min(self.burst, self.tokens + 1)
