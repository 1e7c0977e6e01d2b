"""Alibaba Cloud R-kvstore as the core sees it: look at an instance, change its direct connection.

Implements ``ports.Cloud``. A call goes through the limiter with the credentials
of the moment, and ``exchange`` sends it. Nothing is retried here: whether to
call again is a decision, and decisions are made in ``plan``.

What has to be waited for is waited for in ``prepare``. It also sees to it that
the connection pool has a connection that was in use a moment ago. As a rule the
look of the same pass left one; where it did not, one more look opens it. So
``send`` signs and writes, and waits only for the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import aiohttp

from tair_operator.aliyun import errors
from tair_operator.aliyun.credentials import CredentialsProvider
from tair_operator.aliyun.exchange import Call, Exchange, Reply, throttled, unreadable
from tair_operator.aliyun.limiter import Account, Limiter
from tair_operator.aliyun.replies import Fields, UnreadableError, endpoints_in, instance_in
from tair_operator.aliyun.wire import Limits
from tair_operator.models import Action, Reason
from tair_operator.ports import (
    Answer,
    Clock,
    CloudError,
    Effect,
    Endpoint,
    ErrorClass,
    Instance,
    InstanceRef,
    Observation,
)

T = TypeVar("T")

READ_DEADLINE = timedelta(seconds=10)
CALL_DEADLINE = timedelta(seconds=5)
CONNECT_DEADLINE = timedelta(seconds=1)
"""A mutating call that found no connection by then is not sent: its intent has grown stale."""
READ_BYTES, CALL_BYTES = 1024 * 1024, 64 * 1024
PATIENCE = timedelta(seconds=5)
"""A longer pause is handed back to the queue, rather than waited for by a worker."""


class AliyunClient:
    """Calls the API with one account's credentials.

    ``session`` comes from ``wire.open_session``. ``new_nonce`` returns a word that is never the same twice.
    ``endpoint`` is an origin, http(s)://host[:port], that serves all regions; ``vpc`` picks the endpoints inside a VPC.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        credentials: CredentialsProvider,
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
        self._read_limits = Limits(connect=read_deadline, total=read_deadline, body=READ_BYTES)
        self._call_limits = Limits(connect=CONNECT_DEADLINE, total=call_deadline, body=CALL_BYTES)

    async def observe(self, ref: InstanceRef) -> Observation:
        """Look at the instance: DescribeInstances and DescribeDBInstanceNetInfo, at the same time.

        An instance that the region does not list has no net info either, and the
        error that says so is none.

        Raises:
            CloudError: one of the two did not succeed.

        """
        async with asyncio.TaskGroup() as group:
            listing = group.create_task(_settled(self._describe_instance(ref)))
            showing = group.create_task(_settled(self._describe_endpoints(ref)))
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

    def classify(self, code: str | None, http_status: int | None) -> tuple[ErrorClass, Reason]:
        """Say what a stored error code means; None is a failure without any answer."""
        row = errors.classify(code, http_status)
        return row.error_class, row.reason

    async def prepare(self, action: Action, ref: InstanceRef) -> "SignedCall":
        """Wait for the limiter, the credentials and a connection.

        Raises:
            CloudError: with ``sent`` False; nothing was sent.

        """
        try:
            call = await self._admit(action, {"InstanceId": ref.instance_id}, ref, urgent=True)
            if not self._exchange.is_warm(ref.region_id):
                await self._describe_endpoints(ref)
        except CloudError as error:
            raise replace(error, sent=False, effect=Effect.NONE) from error
        return SignedCall(self._send, call, self._call_limits)

    async def _describe_instance(self, ref: InstanceRef) -> tuple[datetime, Instance | None]:
        parameters = {"RegionId": ref.region_id, "InstanceIds": ref.instance_id, "PageNumber": "1", "PageSize": "30"}
        return await self._read(
            "DescribeInstances", parameters, ref, lambda fields: instance_in(fields, ref.instance_id)
        )

    async def _describe_endpoints(self, ref: InstanceRef) -> tuple[datetime, tuple[Endpoint, ...]]:
        return await self._read("DescribeDBInstanceNetInfo", {"InstanceId": ref.instance_id}, ref, endpoints_in)

    async def _read(
        self, action: str, parameters: dict[str, str], ref: InstanceRef, understand: Callable[[Fields], T]
    ) -> tuple[datetime, T]:
        call = await self._admit(action, parameters, ref)
        reply = await self._send(call, self._read_limits)
        try:
            return reply.sent_at, understand(reply.fields)
        except UnreadableError as error:
            raise unreadable(call, error, reply) from None

    async def _admit(self, action: str, parameters: dict[str, str], ref: InstanceRef, *, urgent: bool = False) -> Call:
        call = Call(action, parameters, ref.region_id, await self._credentials.get())
        left = self._limiter.pause_left(_account(call))
        if left > PATIENCE:
            raise throttled(call, left)
        await self._limiter.acquire(_account(call), urgent=urgent)
        return call

    async def _send(self, call: Call, limits: Limits) -> Reply:
        try:
            return await self._exchange.send(call, limits)
        except CloudError as error:
            if error.retry_after is not None:
                self._limiter.pause(_account(call), error.retry_after)
            if error.reason is Reason.CREDENTIALS_INVALID:
                self._credentials.invalidate()
            raise


class SignedCall:
    """Implements ``ports.PreparedCall``: one call that may leave at once, once."""

    def __init__(self, send: Callable[[Call, Limits], Awaitable[Reply]], call: Call, limits: Limits) -> None:
        self._send = send
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
        reply = await self._send(self._call, self._limits)
        # An acknowledgement without a RequestId did not come this far.
        return Answer(request_id=reply.request_id or "", http_status=reply.http_status)


def _account(call: Call) -> Account:
    return Account(call.credentials.access_key_id, call.region_id)


async def _settled(call: Awaitable[T]) -> T | CloudError:
    """Return the error instead of raising it: a task group would cancel the other call, whose answer may explain it."""
    try:
        return await call
    except CloudError as error:
        return error
