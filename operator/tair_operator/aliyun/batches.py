"""Looks that share a call, since DescribeInstances tells of up to 30 instances at once.

A batch gathers the ids of all passes that look at the same time, of one region
and with one principal. It gathers while it waits for the limiter and no longer:
once it is sent nobody joins it, so what it shows is never older than the wish to
see it. Nothing else is waited for. It is as urgent as the most urgent of its passes.

One id must not spoil the looks of others. The cloud refuses the whole call where
RAM denies one instance of it, so whoever was refused together asks again alone. An
id whose last look failed or took long stays alone until a look of its own went well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from tair_operator.aliyun.limiter import Account, Urgency, urgency_of_pass
from tair_operator.models import Reason
from tair_operator.ports import CloudError, Instance
from tair_operator.stopwatch import waiting

SIZE_MAX = 30
"""Source: API page DescribeInstances, Alibaba Cloud help centre, for InstanceIds."""
SLOW = timedelta(seconds=2)
"""An answer that took longer is suspected to be slow for the sake of one of its ids."""
APART_MAX = 1000
"""How many ids may be kept apart; who is forgotten shares a call again, and no harm is done."""

Look = tuple[datetime, Instance | None]
"""When the call was sent, and the instance; None where it is not listed."""
Looks = Mapping[str, Look | CloudError]
Close = Callable[[], tuple[str, ...]]
"""Ends the gathering and returns the ids, in the order in which they came."""


class Batches:
    """Answers one id each, by as few calls as possible.

    ``acquire`` waits for the limiter. ``send`` makes the call: right before the request leaves, with nothing to wait
    for in between, it asks for the ids. It returns a look or an error for each, or raises an error that is everybody's.
    ``clock`` returns seconds that never go back.
    """

    def __init__(
        self,
        acquire: Callable[[Account, Callable[[], Urgency]], Awaitable[None]],
        send: Callable[[Account, Close], Awaitable[Looks]],
        clock: Callable[[], float],
    ) -> None:
        self._acquire = acquire
        self._send = send
        self._clock = clock
        self._gathering: dict[_Lot, _Batch] = {}
        self._apart: dict[tuple[Account, str], None] = {}

    async def look(self, account: Account, instance_id: str) -> Look:
        """Look at one instance.

        Raises:
            CloudError: the look did not succeed; the error is nobody else's.

        """
        result = await self._take_part(account, instance_id)
        if result.is_shared and isinstance(result.look, CloudError) and _may_be_about_another(result.look):
            result = await self._take_part(account, instance_id)
        if isinstance(result.look, CloudError):
            # A copy: an exception carries the traceback of the one task that raised it.
            raise replace(result.look) from result.look
        return result.look

    async def _take_part(self, account: Account, instance_id: str) -> "_Result":
        batch = self._join(_Lot(account, instance_id if (account, instance_id) in self._apart else None), instance_id)
        asker = batch.enter(instance_id, urgency_of_pass())
        try:
            with waiting():
                await batch.is_admitted.wait()
            await asyncio.wait({batch.task})
        finally:
            batch.leave(instance_id, asker)
        result = batch.result(instance_id)
        self._judge(account, instance_id, result)
        return result

    def _join(self, lot: "_Lot", instance_id: str) -> "_Batch":
        batch = self._gathering.get(lot)
        if batch is None or not batch.has_room_for(instance_id):
            batch = self._gathering[lot] = _Batch()
            # In a context of its own: the pass that came first may be gone long before the others.
            task = asyncio.create_task(self._run(lot, batch), context=Context())
            batch.begin(task)
        return batch

    async def _run(self, lot: "_Lot", batch: "_Batch") -> Looks | CloudError:
        def close() -> tuple[str, ...]:
            batch.close()
            self._forget(lot, batch)
            return batch.ids

        try:
            await self._acquire(lot.account, batch.urgency)
            batch.is_admitted.set()
            batch.started = self._clock()
            return await self._send(lot.account, close)
        except CloudError as error:
            return error
        finally:
            batch.ended = self._clock()
            self._forget(lot, batch)

    def _forget(self, lot: "_Lot", batch: "_Batch") -> None:
        if self._gathering.get(lot) is batch:
            del self._gathering[lot]

    def _judge(self, account: Account, instance_id: str, result: "_Result") -> None:
        """Remember who has to ask alone next time."""
        is_failed = isinstance(result.look, CloudError)
        if result.is_slow or (isinstance(result.look, CloudError) and _may_be_its_own_fault(result.look)):
            self._apart.pop((account, instance_id), None)
            self._apart[account, instance_id] = None
            if len(self._apart) > APART_MAX:
                del self._apart[next(iter(self._apart))]
        elif not is_failed:
            self._apart.pop((account, instance_id), None)


def _may_be_its_own_fault(error: CloudError) -> bool:
    """Whether the error can have to do with the instance; those that leave no doubt are about the account."""
    return error.sent and error.reason not in {Reason.THROTTLED, Reason.CREDENTIALS_INVALID}


def _may_be_about_another(error: CloudError) -> bool:
    """Whether asking again alone may be answered better: somebody has answered, and not about the account."""
    return error.http_status is not None and _may_be_its_own_fault(error)


class _Lot(NamedTuple):
    """Whose looks may share a call. ``alone`` is the id of one that shares with none but its like."""

    account: Account
    alone: str | None


@dataclass(frozen=True, slots=True)
class _Result:
    look: Look | CloudError
    is_shared: bool
    is_slow: bool


@dataclass(slots=True, eq=False)
class _Asker:
    urgency: Callable[[], Urgency]


@dataclass(slots=True, eq=False)
class _Batch:
    """One call: first it gathers, then it is on its way, then it has an answer."""

    is_admitted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the limiter has let it go, or it ended before that."""
    started: float = 0.0
    ended: float = 0.0
    task: asyncio.Task[Looks | CloudError] = field(init=False)
    _askers: dict[str, set[_Asker]] = field(default_factory=dict)
    _sent: tuple[str, ...] | None = None

    def begin(self, task: asyncio.Task[Looks | CloudError]) -> None:
        self.task = task
        # Not in the task itself: one that is cancelled before its first step does nothing at all.
        task.add_done_callback(lambda _: self.is_admitted.set())

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._askers) if self._sent is None else self._sent

    def has_room_for(self, instance_id: str) -> bool:
        # One that is for nobody any more is about to be cancelled.
        return bool(self._askers) and (len(self._askers) < SIZE_MAX or instance_id in self._askers)

    def urgency(self) -> Urgency:
        return min((asker.urgency() for askers in self._askers.values() for asker in askers), default=Urgency.CLOCK)

    def close(self) -> None:
        self._sent = self.ids

    def enter(self, instance_id: str, urgency: Callable[[], Urgency]) -> _Asker:
        asker = _Asker(urgency)
        self._askers.setdefault(instance_id, set()).add(asker)
        return asker

    def leave(self, instance_id: str, asker: _Asker) -> None:
        """Drop who asked, then an id that nobody asks for, then the call that is for nobody."""
        self._askers[instance_id].discard(asker)
        if not self._askers[instance_id]:
            del self._askers[instance_id]
        if not self._askers:
            self.task.cancel()

    def result(self, instance_id: str) -> _Result:
        failure = self.task.exception()
        if failure is not None:
            # Not the exception itself, which is everybody's.
            raise RuntimeError("a look that several passes share failed in a way nobody foresaw") from failure
        outcome = self.task.result()
        return _Result(
            look=outcome if isinstance(outcome, CloudError) else outcome[instance_id],
            is_shared=len(self.ids) > 1,
            is_slow=self.ended - self.started > SLOW.total_seconds(),
        )
