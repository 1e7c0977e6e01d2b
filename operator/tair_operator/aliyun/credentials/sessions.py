"""Temporary credentials: fetched before they expire, and derived again when what they rest on changes."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from tair_operator.aliyun.credentials.cache import Cache, Fetched
from tair_operator.aliyun.credentials.keys import Credentials, CredentialsProvider, trouble
from tair_operator.aliyun.credentials.static import CACHE_AGE
from tair_operator.aliyun.credentials.sts import Role, Sts
from tair_operator.aliyun.errors import CREDENTIALS_MALFORMED
from tair_operator.models import Reason
from tair_operator.ports import Clock, CloudError

T = TypeVar("T")

LEAD = timedelta(minutes=15)
"""How long before they expire credentials are fetched anew; a quarter of their life where that is less."""
SLACK = timedelta(seconds=30)
"""How long before they expire they are not used any more; a tenth of their life where that is less."""
YOUNG = timedelta(seconds=5)
"""The cloud's refusal is not about credentials that are younger than an answer takes."""


class SessionCredentials:
    """Credentials that ``fetch`` returns. They are fetched anew before they expire, and kept when that fails."""

    def __init__(self, fetch: Callable[[], Awaitable[Credentials]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._cache = Cache(self._fetch_and_time, clock.boottime, young=YOUNG)

    @property
    def expires_at(self) -> datetime | None:
        """When the present credentials expire; None without any."""
        return None if self._cache.known is None else self._cache.known.expires_at

    async def get(self) -> Credentials:
        """Return credentials that last for longer than a call."""
        return await self._cache.get()

    def invalidate(self) -> None:
        """Fetch anew next time."""
        self._cache.invalidate()

    async def _fetch_and_time(self) -> Fetched[Credentials]:
        credentials = await self._fetch()
        if credentials.expires_at is None:
            return Fetched(credentials, math.inf, math.inf)
        life = credentials.expires_at - self._clock.now()
        if life <= timedelta(0):
            message = "credentials were issued that have expired already: compare the clock of the node with the time"
            raise trouble(CREDENTIALS_MALFORMED, message)
        now = self._clock.boottime()
        due, end = life - min(LEAD, life / 4), life - min(SLACK, life / 10)
        return Fetched(credentials, now + due.total_seconds(), now + end.total_seconds())


class DerivedCredentials(Generic[T]):
    """Credentials that ``derive`` makes from what ``read`` returns.

    That is read once a minute. As soon as it says something else, what was
    derived from it before is not used any more: whoever withdraws a role wants it
    to end, and not to last for another hour.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        derive: Callable[[T], Awaitable[Credentials]],
        clock: Clock,
    ) -> None:
        self._read = read
        self._derive = derive
        self._clock = clock
        self._source = Cache(self._read_for_a_minute, clock.boottime)
        self._said: T | None = None
        self._session: SessionCredentials | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When the present credentials expire; None without any."""
        return None if self._session is None else self._session.expires_at

    async def get(self) -> Credentials:
        """Return credentials that rest on what was read less than a minute ago."""
        said = await self._source.get()
        if self._session is None or self._said != said:
            self._said, self._session = said, SessionCredentials(lambda: self._derive_from(said), self._clock)
        return await self._session.get()

    def invalidate(self) -> None:
        """Read and derive again next time."""
        self._source.invalidate()
        if self._session is not None:
            self._session.invalidate()

    async def _derive_from(self, said: T) -> Credentials:
        try:
            return await self._derive(said)
        except CloudError as error:
            if error.reason is Reason.CREDENTIALS_INVALID:
                self._source.invalidate()
            raise

    async def _read_for_a_minute(self) -> Fetched[T]:
        ends_at = self._clock.boottime() + CACHE_AGE.total_seconds()
        return Fetched(await self._read(), ends_at, ends_at)


def assuming(base: CredentialsProvider, role: Role, sts: Sts, clock: Clock) -> SessionCredentials:
    """Return the credentials of a role that ``base`` may assume."""

    async def assume() -> Credentials:
        try:
            return await sts.assume_role(await base.get(), role)
        except CloudError as error:
            if error.reason is Reason.CREDENTIALS_INVALID:
                base.invalidate()
            raise

    return SessionCredentials(assume, clock)
