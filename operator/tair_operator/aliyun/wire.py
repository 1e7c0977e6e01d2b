"""One HTTP request and its answer, with the certainty whether anything was sent.

A mutating call must never be sent twice, and whoever records what became of it
has to know whether it left at all. So there is one pooled session, one attempt
per request, a deadline over all of it, and a tracer that tells the moments
before the first byte from those after it.

Facts about aiohttp 3.14.5 that this rests on: a lost keep-alive connection is
retried silently for idempotent methods only, and every call of the API is a POST;
``on_request_headers_sent`` fires right before the first byte is written, with
nothing to wait for in between.
"""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import aiohttp
from yarl import URL

CONNECTIONS_MAX = 100
"""More than the limiter lets out during one deadline, so no request waits for a free connection."""
KEEP_ALIVE = timedelta(seconds=15)
"""Shorter than what gateways grant: a connection that they close in the very moment is an outcome nobody knows."""


@dataclass(frozen=True, slots=True)
class RawReply:
    """An answer, whatever it is worth."""

    http_status: int
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes


class WireError(Exception):
    """There is no complete answer. ``sent`` is False only if not one byte of the request left."""

    def __init__(self, message: str, *, sent: bool, http_status: int | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request.

    ``connect`` bounds the time before the first byte, ``total`` all of it until
    the last byte of the answer, which has at most ``body`` bytes.
    """

    connect: timedelta
    total: timedelta
    body: int


def open_session(ca_file: Path | None) -> aiohttp.ClientSession:
    """Return the one session for all cloud calls; use it as an asynchronous context manager.

    ``ca_file`` is a PEM file with the authorities to trust instead of the
    system's. Certificates are always verified. Proxies and .netrc of the
    environment are ignored: a signed request goes to the cloud and nowhere else.

    Raises:
        OSError: the file cannot be read, or holds no certificate.

    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    connector = aiohttp.TCPConnector(
        ssl=context, limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_ALIVE.total_seconds(), ttl_dns_cache=30
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        # Ours alone count; aiohttp's round up to whole seconds.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trust_env=False,
        trace_configs=[_tracer()],
    )


async def post(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], limits: Limits, body: bytes | None = None
) -> RawReply:
    """Send one POST, once, and read the answer. ``url`` is sent exactly as it is.

    Raises:
        WireError: no complete answer within the limits.

    """
    return await request(session, "POST", url, headers, limits, body)


async def request(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: dict[str, str],
    limits: Limits,
    body: bytes | None = None,
) -> RawReply:
    """Send one request of any method; those that aiohttp knows as idempotent may be sent twice.

    Raises:
        WireError: no complete answer within the limits.

    """
    progress = _Progress(asyncio.get_running_loop().time() + limits.total.total_seconds())
    try:
        async with asyncio.timeout(min(limits.connect, limits.total).total_seconds()) as progress.deadline:
            async with session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                # aiohttp would add one to an empty body, unsigned.
                skip_auto_headers=["Content-Type"],
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                progress.http_status = response.status
                answer = await _read(response, limits.body)
                names = {name.lower(): value for name, value in response.headers.items()}
                return RawReply(response.status, names, answer)
    except TimeoutError:
        failure = progress.failed(progress.late())
    except (aiohttp.ClientError, OSError) as error:
        failure = progress.failed(_why(error))
    except _TooLongError:
        failure = progress.failed(f"the answer is longer than {limits.body} bytes")
    # Not chained: aiohttp's errors carry the request, and its headers are secret.
    raise failure


class _TooLongError(Exception):
    pass


class _Progress:
    """How far a request got. It counts as sent until the tracer has proved that it looks at it."""

    deadline: asyncio.Timeout
    """Bounds the connecting, and after it the rest."""

    def __init__(self, end: float) -> None:
        self.sent = True
        self.http_status: int | None = None
        self._end = end

    def begin(self) -> None:
        self.sent = False

    def send(self) -> None:
        self.sent = True
        self.deadline.reschedule(self._end)

    def late(self) -> str:
        if not self.sent:
            return "no connection in time"
        return "no answer in time" if self.http_status is None else "the answer did not end in time"

    def failed(self, message: str) -> WireError:
        return WireError(message, sent=self.sent, http_status=self.http_status)


def _tracer() -> aiohttp.TraceConfig:
    tracer = aiohttp.TraceConfig()

    async def begin(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.begin()

    async def send(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.send()

    tracer.on_request_start.append(begin)
    tracer.on_request_headers_sent.append(send)
    return tracer


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise _TooLongError
    return bytes(body)


def _why(error: Exception) -> str:
    """Say what failed, without the URL, which the texts of aiohttp contain."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate is not trusted: {_reason(error.certificate_error)}"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name cannot be resolved: {_reason(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"no connection: {_reason(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case aiohttp.ClientResponseError():
            return "what came back is not HTTP"
        case _:
            return f"the connection broke: {_reason(error)}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
