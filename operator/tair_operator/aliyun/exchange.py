"""One call of the API: sign it, send it once, judge the answer.

Everything that can become of a call is either a ``Reply``, which is a 2xx
answer without an error in it, or a ``CloudError`` that says whether the call
was sent, whether it may have taken effect, and what to do next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

import aiohttp

from tair_operator.aliyun import errors, signing
from tair_operator.aliyun.counts import OK, counted
from tair_operator.aliyun.credentials import Credentials
from tair_operator.aliyun.endpoints import Endpoint, endpoint_of
from tair_operator.aliyun.limiter import retry_after
from tair_operator.aliyun.redaction import redact
from tair_operator.aliyun.replies import Fields, UnreadableError, failure_in, is_code, parse, request_id_in
from tair_operator.aliyun.wire import KEEP_ALIVE, Limits, RawReply, WireError, post
from tair_operator.models import Action
from tair_operator.ports import Clock, CloudError

API_VERSION = "2015-01-01"

# A connection that has been idle for longer may be closed at any moment.
_WARM_SECONDS = KEEP_ALIVE.total_seconds() / 2
_SUCCESS, _REDIRECT, _REFUSAL = 200, 300, 400


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer without an error in it. ``sent_at`` is the time just before the request was sent."""

    sent_at: datetime
    http_status: int
    request_id: str | None
    fields: Fields


@dataclass(frozen=True, slots=True)
class Call:
    """What to ask of which region, on whose account."""

    action: str
    parameters: Mapping[str, str]
    region_id: str
    credentials: Credentials

    @property
    def is_mutating(self) -> bool:
        """Whether the call changes the instance."""
        return self.action in set(Action)


class Exchange:
    """Sends calls through one session. ``new_nonce`` returns a word that is never the same twice."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        clock: Clock,
        new_nonce: Callable[[], str],
        *,
        endpoint: str | None,
        vpc: bool,
    ) -> None:
        self._session = session
        self._clock = clock
        self._new_nonce = new_nonce
        self._override = endpoint
        self._vpc = vpc
        self._user_agent = f"tair-operator/{version('tair-operator')}"
        self._warm_until: dict[Endpoint, float] = {}

    def is_warm(self, region_id: str) -> bool:
        """Whether a connection to the region's host was in use a moment ago, so that the pool most likely has it."""
        return self._clock.monotonic() < self._warm_until.get(self._endpoint(region_id), 0.0)

    async def send(self, call: Call, limits: Limits) -> Reply:
        """Send the call once. Nothing is waited for before the request itself.

        Raises:
            CloudError: it was refused, failed, or got no usable answer.

        """
        endpoint = self._endpoint(call.region_id)
        sent_at = self._clock.now()
        query = signing.canonical_query(call.parameters)
        headers = self._headers(call, endpoint, query, sent_at)
        with counted(call.action, endpoint.host, self._clock.monotonic) as request:
            try:
                raw = await post(self._session, f"{endpoint}/?{query}", headers, limits)
            except WireError as error:
                self._warm_until.pop(endpoint, None)
                raise _broken(call, endpoint, error) from error
            self._note_connection(endpoint, raw)
            reply = _judge(call, raw, sent_at)
            request.code, request.http_status, request.request_id = OK, reply.http_status, reply.request_id
        return reply

    def _endpoint(self, region_id: str) -> Endpoint:
        return endpoint_of(region_id, vpc=self._vpc, override=self._override)

    def _headers(self, call: Call, endpoint: Endpoint, query: str, timestamp: datetime) -> dict[str, str]:
        headers = signing.common_headers(
            host=endpoint.host,
            action=call.action,
            version=API_VERSION,
            timestamp=timestamp,
            nonce=self._new_nonce(),
        )
        signed = signing.sign(
            headers,
            query=query,
            access_key_id=call.credentials.access_key_id,
            access_key_secret=call.credentials.access_key_secret,
            security_token=call.credentials.security_token,
        )
        return signed | {
            # Not signed: a proxy on the way may rewrite these, and they change nothing about the call.
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": self._user_agent,
        }

    def _note_connection(self, endpoint: Endpoint, raw: RawReply) -> None:
        is_kept = raw.headers.get("connection", "").lower() != "close"
        self._warm_until[endpoint] = self._clock.monotonic() + _WARM_SECONDS if is_kept else 0.0


def unreadable(call: Call, error: UnreadableError, reply: Reply) -> CloudError:
    """Return the error for a 2xx answer that cannot be what it should be."""
    return errors.failure(
        call.action, errors.UNREADABLE_ANSWER, str(error), http_status=reply.http_status, request_id=reply.request_id
    )


def throttled(call: Call, left: timedelta) -> CloudError:
    """Return the error for a call that is not sent, because the cloud asked for a pause."""
    message = "the cloud asked for a pause, which is not over yet"
    return errors.failure(call.action, errors.PAUSED, message, sent=False, retry_after=left)


def _judge(call: Call, raw: RawReply, sent_at: datetime) -> Reply:
    request_id = request_id_in(raw.headers)
    if _REDIRECT <= raw.http_status < _REFUSAL:
        message = f"HTTP status {raw.http_status} points elsewhere; check the endpoint setting"
        raise errors.failure(
            call.action, errors.REDIRECTED, message, http_status=raw.http_status, request_id=request_id
        )
    try:
        fields = parse(raw.body)
    except UnreadableError as error:
        raise _bent(call, f"{error} (HTTP status {raw.http_status})", raw, request_id) from None
    request_id = request_id_in(raw.headers, fields)
    is_success = _SUCCESS <= raw.http_status < _REDIRECT
    failure = failure_in(fields)
    if failure is not None and is_code(failure.code) and not errors.is_own(failure.code):
        raise _refused(call, failure.code, failure.message, raw, request_id)
    if failure is not None or not is_success:
        message = f"an error without a usable code (HTTP status {raw.http_status})"
    elif call.is_mutating and request_id_in({}, fields) is None:
        message = "an acknowledgement without a RequestId"
    else:
        return Reply(sent_at, raw.http_status, request_id, fields)
    raise _bent(call, message, raw, request_id)


def _bent(call: Call, message: str, raw: RawReply, request_id: str | None) -> CloudError:
    return errors.failure(
        call.action,
        errors.UNREADABLE_ANSWER,
        message,
        http_status=raw.http_status,
        request_id=request_id,
        retry_after=_retry_after(raw),
    )


def _refused(call: Call, code: str, message: str, raw: RawReply, request_id: str | None) -> CloudError:
    row = errors.classify(code, raw.http_status)
    text = redact(message, call.credentials.secrets) or "the cloud gave no reason"
    return errors.failure(
        call.action,
        code,
        f"{text} ({row.advice})" if row.advice else text,
        http_status=raw.http_status,
        request_id=request_id,
        retry_after=_retry_after(raw),
    )


def _broken(call: Call, endpoint: Endpoint, error: WireError) -> CloudError:
    if not error.sent:
        code = errors.CONNECTION_FAILED
    elif error.http_status is None:
        code = errors.NO_ANSWER
    else:
        code = errors.UNREADABLE_ANSWER
    message = redact(f"{endpoint.host}: {error}", call.credentials.secrets)
    return errors.failure(call.action, code, message, sent=error.sent, http_status=error.http_status)


def _retry_after(raw: RawReply) -> timedelta | None:
    return retry_after(raw.headers) if raw.http_status >= _REFUSAL else None
