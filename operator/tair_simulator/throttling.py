"""Flow control: token buckets per caller and per API, off unless a seed or a test turns them on.

Pure but for the levels of the buckets: the moment is an argument. No limits of the real API are published, which is
why a test chooses them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Annotated, Literal

from pydantic import Field

from tair_simulator.errors import refusal
from tair_simulator.mistakes import Strict

ANY_API = "*"
# A call that comes exactly when its token does must not fail for a rounding error.
ALMOST_ONE = 1 - 1e-9

Action = Annotated[str, Field(pattern=r"^(\*|[A-Z][A-Za-z]{2,63})$")]


class Limit(Strict):
    """A token bucket: ``burst`` calls at once, and then so many per second."""

    calls_per_second: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    retry_after: bool = False


class UserLimit(Limit):
    """A limit for one access key, or for all keys of an account together."""

    per: Literal["accessKey", "account"] = "accessKey"


class Throttling(Strict):
    """All limits; ``*`` among the APIs is the limit of each one that is not named."""

    user: UserLimit | None = None
    apis: dict[Action, Limit] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Level:
    """How many calls a bucket had left at a moment."""

    tokens: float
    at: datetime


Bucket = tuple[str, str, str]


class Throttle:
    """Decides whether a call comes too soon; what is refused costs nothing."""

    def __init__(self, limits: Throttling) -> None:
        self.limits = limits
        self._levels: dict[Bucket, Level] = {}

    def take(self, access_key_id: str, account_id: str, action: str, now: datetime) -> None:
        """Count a call; raise ``Throttling.User`` or ``Throttling.Api``, with ``x-acs-retry-after`` if asked for."""
        taken: dict[Bucket, Level] = {}
        for code, bucket, limit in self._buckets(access_key_id, account_id, action):
            tokens = self._tokens(bucket, limit, now)
            if tokens < ALMOST_ONE:
                wait = ceil((1 - tokens) / limit.calls_per_second * 1000)
                raise refusal(code, retry_after_ms=wait if limit.retry_after else None)
            taken[bucket] = Level(max(0.0, tokens - 1), now)
        self._levels.update(taken)

    def _buckets(self, access_key_id: str, account_id: str, action: str) -> Iterator[tuple[str, Bucket, Limit]]:
        user = self.limits.user
        if user is not None:
            name = account_id if user.per == "account" else access_key_id
            yield "Throttling.User", ("user", user.per, name), user
        api = self.limits.apis.get(action) or self.limits.apis.get(ANY_API)
        if api is not None:
            yield "Throttling.Api", ("api", account_id, action), api

    def _tokens(self, bucket: Bucket, limit: Limit, now: datetime) -> float:
        level = self._levels.get(bucket)
        if level is None:
            return float(limit.burst)
        gained = (now - level.at).total_seconds() * limit.calls_per_second
        return min(float(limit.burst), level.tokens + max(0.0, gained))
