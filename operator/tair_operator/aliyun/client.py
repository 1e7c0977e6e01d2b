"""Alibaba Cloud R-kvstore as the core sees it: look at an instance, change its direct connection.

Implements ``ports.Cloud``. A call goes through the limiter with the credentials
of the moment, and ``exchange`` sends it. Looks at several instances share one
DescribeInstances, see ``batches``. Nothing is retried here: whether to call again
is a decision, and decisions are made in ``plan``.

What has to be waited for is waited for in ``prepare``. It also sees to it that
the connection pool has a connection that was in use a moment ago. As a rule the
look of the same pass left one; where it did not, one more look opens it. So
``send`` signs and writes, and waits only for the answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import aiohttp

from tair_operator.aliyun import errors
from tair_operator.aliyun.batches import SIZE_MAX, Batches, Close, Look, Looks
from tair_operator.aliyun.credentials import CredentialsProvider
from tair_operator.aliyun.exchange import Call, Exchange, Reply, throttled, unreadable
from tair_operator.aliyun.limiter import Account, Limiter, Urgency
from tair_operator.aliyun.replies import Fields, UnreadableError, endpoints_in, instance_in, tls_in, window_in
from tair_operator.aliyun.wire import Limits
from tair_operator.models import Action, Reason
from tair_operator.ports import (
    ANYWHERE,
    Address,
    Answer,
    Clock,
    CloudError,
    Detail,
    Effect,
    Endpoint,
    ErrorClass,
    Observation,
    Principal,
    Target,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

READ_DEADLINE = timedelta(seconds=10)
CALL_DEADLINE = timedelta(seconds=5)
CONNECT_DEADLINE = timedelta(seconds=1)
"""A mutating call that found no connection by then is not sent: its intent has grown stale."""
READ_BYTES, CALL_BYTES = 1024 * 1024, 64 * 1024
PATIENCE = timedelta(seconds=5)
"""A longer pause is handed back to the queue, rather than waited for by a worker."""


class AliyunClient:
    """Calls the API. ``credentials`` returns the source for a principal, for None the operator's own.

    ``session`` comes from ``wire.open_session``. ``new_nonce`` returns a word that is never the same twice.
    ``endpoint`` is an origin, http(s)://host[:port], that serves all regions; ``vpc`` picks the endpoints inside a VPC.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        credentials: Callable[[Principal | None], CredentialsProvider],
        limiter: Limiter,
        clock: Clock,
        new_nonce: Callable[[], str],
        endpoint: str | None = None,
        vpc: bool = False,
        read_deadline: timedelta = READ_DEADLINE,
        call_deadline: timedelta = CALL_DEADLINE,
    ) -> None:
        self._credentials = credentials
        self._limiter = limiter
        self._exchange = Exchange(session, clock, new_nonce, endpoint=endpoint, vpc=vpc)
        self._batches = Batches(limiter.acquire, self._describe_instances, clock.monotonic)
        self._read_limits = Limits(connect=read_deadline, total=read_deadline, body=READ_BYTES)
        self._call_limits = Limits(connect=CONNECT_DEADLINE, total=call_deadline, body=CALL_BYTES)

    async def observe(self, target: Target) -> Observation:
        """Look at the instance: DescribeInstances and DescribeDBInstanceNetInfo, at the same time.

        An instance that the region does not list has no net info either, and the
        error that says so is none.

        Raises:
            CloudError: one of the two did not succeed.

        """
        async with asyncio.TaskGroup() as group:
            listing = group.create_task(_settled(self._describe_instance(target)))
            showing = group.create_task(_settled(self._describe_endpoints(target)))
        listed, shown = listing.result(), showing.result()
        if isinstance(listed, CloudError):
            raise listed
        listed_at, instance = listed
        if not isinstance(shown, CloudError):
            shown_at, endpoints = shown
            return Observation(sent_at=min(listed_at, shown_at), instance=instance, endpoints=endpoints)
        if instance is None and shown.reason is Reason.INSTANCE_NOT_FOUND:
            return Observation(sent_at=listed_at, instance=None)
        raise shown

    async def look_closer(self, target: Target, observation: Observation, details: frozenset[Detail]) -> Observation:
        """Add details to a look. One that the cloud will not tell stays None.

        Raises:
            CloudError: of the classes Transient and Busy only: asking again may help.

        """
        if Detail.TLS in details:
            observation = replace(observation, tls=await self._detail(Detail.TLS, target, tls_in))
        if Detail.WINDOW in details:
            observation = replace(observation, window=await self._detail(Detail.WINDOW, target, window_in))
        return replace(observation, asked=observation.asked | details)

    def classify(self, code: str | None, http_status: int | None) -> tuple[ErrorClass, Reason]:
        """Say what a stored error code means; None is a failure without any answer."""
        row = errors.classify(code, http_status)
        return row.error_class, row.reason

    async def prepare(self, action: Action, target: Target, address: Address = ANYWHERE) -> "SignedCall":
        """Wait for the limiter, the credentials and a connection. ``address`` is what an allocation asks for.

        Raises:
            CloudError: with ``sent`` False; nothing was sent.

        """
        try:
            call = await self._admit(action, _parameters(action, target, address), target, urgent=True)
            if not self._exchange.is_warm(target.region_id):
                await self._describe_endpoints(target, urgent=True)
        except CloudError as error:
            raise replace(error, sent=False, effect=Effect.NONE) from error
        return SignedCall(self._send, call, self._call_limits, target.principal)

    async def _describe_instance(self, target: Target) -> Look:
        # What is wrong with the credentials, or a pause, is said to each on its own; the batch asks once more.
        await self._call("DescribeInstances", {}, target)
        return await self._batches.look(Account(target.principal, target.region_id), target.instance_id)

    async def _describe_instances(self, account: Account, close: Close) -> Looks:
        """Send the call that a batch was admitted for, about all who are in it when it leaves."""
        credentials = await self._credentials(account.principal).get()
        # From here on nobody joins, and nothing is waited for before the request is sent.
        ids = close()
        parameters = {
            "RegionId": account.region_id,
            "InstanceIds": ",".join(ids),
            "PageNumber": "1",
            "PageSize": str(SIZE_MAX),
        }
        call = Call("DescribeInstances", parameters, account.region_id, credentials)
        reply = await self._send(call, self._read_limits, account.principal)
        return {instance_id: _look(call, reply, instance_id) for instance_id in ids}

    async def _describe_endpoints(
        self, target: Target, *, urgent: bool = False
    ) -> tuple[datetime, tuple[Endpoint, ...]]:
        parameters = {"InstanceId": target.instance_id}
        return await self._read("DescribeDBInstanceNetInfo", parameters, target, endpoints_in, urgent=urgent)

    async def _detail(self, detail: Detail, target: Target, understand: Callable[[Fields], T]) -> T | None:
        try:
            _, answer = await self._read(detail, {"InstanceId": target.instance_id}, target, understand)
        except CloudError as error:
            if error.error_class in {ErrorClass.TRANSIENT, ErrorClass.BUSY}:
                raise
            logger.warning("%s does not tell: %s", detail, error, extra={"instance_id": target.instance_id})
            return None
        return answer

    async def _read(
        self,
        action: str,
        parameters: dict[str, str],
        target: Target,
        understand: Callable[[Fields], T],
        *,
        urgent: bool = False,
    ) -> tuple[datetime, T]:
        call = await self._admit(action, parameters, target, urgent=urgent)
        reply = await self._send(call, self._read_limits, target.principal)
        try:
            return reply.sent_at, understand(reply.fields)
        except UnreadableError as error:
            raise unreadable(call, error, reply) from None

    async def _admit(self, action: str, parameters: dict[str, str], target: Target, *, urgent: bool = False) -> Call:
        call = await self._call(action, parameters, target)
        # Without an urgency of its own, a call has that of the pass.
        urgency = (lambda: Urgency.CHANGE) if urgent else None
        await self._limiter.acquire(Account(target.principal, target.region_id), urgency)
        return call

    async def _call(self, action: str, parameters: dict[str, str], target: Target) -> Call:
        """Return the call, unless the cloud has asked for a pause that is too long to wait for."""
        call = Call(action, parameters, target.region_id, await self._credentials(target.principal).get())
        left = self._limiter.pause_left(Account(target.principal, target.region_id))
        if left > PATIENCE:
            raise throttled(call, left)
        return call

    async def _send(self, call: Call, limits: Limits, principal: Principal | None) -> Reply:
        account = Account(principal, call.region_id)
        try:
            return await self._exchange.send(call, limits)
        except CloudError as error:
            if error.reason is Reason.THROTTLED:
                self._limiter.throttled(account, error.retry_after)
            elif error.retry_after is not None:
                self._limiter.pause(account, error.retry_after)
            if error.reason is Reason.CREDENTIALS_INVALID:
                self._credentials(principal).invalidate()
            raise


class SignedCall:
    """Implements ``ports.PreparedCall``: one call that may leave at once, once."""

    def __init__(
        self,
        send: Callable[[Call, Limits, Principal | None], Awaitable[Reply]],
        call: Call,
        limits: Limits,
        principal: Principal | None,
    ) -> None:
        self._send = send
        self._principal = principal
        self._call = call
        self._limits = limits
        self._is_used = False

    async def send(self) -> Answer:
        """Sign the one request and send it, without any retry.

        Raises:
            CloudError: the call was refused, failed, or got no usable answer.
            RuntimeError: it was sent before.

        """
        if self._is_used:
            message = f"{self._call.action} was sent before"
            raise RuntimeError(message)
        self._is_used = True
        reply = await self._send(self._call, self._limits, self._principal)
        # An acknowledgement without a RequestId did not come this far.
        return Answer(request_id=reply.request_id or "", http_status=reply.http_status)


def _parameters(action: Action, target: Target, address: Address = ANYWHERE) -> dict[str, str]:
    parameters = {"InstanceId": target.instance_id}
    if action is Action.ALLOCATE and address.prefix is not None:
        # In spite of its name not a host but the first label of one.
        parameters["ConnectionString"] = address.prefix
    if action is Action.ALLOCATE and address.port is not None:
        parameters["Port"] = str(address.port)
    return parameters


def _look(call: Call, reply: Reply, instance_id: str) -> Look | CloudError:
    """Return what the reply shows of one instance: one that cannot be read says nothing about the others."""
    try:
        return reply.sent_at, instance_in(reply.fields, instance_id)
    except UnreadableError as error:
        return unreadable(call, error, reply)


async def _settled(call: Awaitable[T]) -> T | CloudError:
    """Return the error instead of raising it: a task group would cancel the other call, whose answer may explain it."""
    try:
        return await call
    except CloudError as error:
        return error
