"""One HTTP request for credentials.

A sibling of ``wire.post``, for requests that may be sent twice without harm: it
sends a body and other methods, and does not care which byte left when.
"""

import asyncio
from datetime import timedelta

import aiohttp
from yarl import URL

from tair_operator.aliyun.wire import RawReply, WireError

BODY_MAX = 64 * 1024


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: dict[str, str],
    deadline: timedelta,
    body: bytes | None = None,
) -> RawReply:
    """Send a request and read the answer. ``url`` is sent exactly as it is; redirects are not followed.

    Raises:
        WireError: no complete answer in time.

    """
    try:
        async with (
            asyncio.timeout(deadline.total_seconds()),
            session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                skip_auto_headers=["Content-Type"],
                allow_redirects=False,
                trace_request_ctx=_Unwatched(),
            ) as response,
        ):
            answer = await response.content.read(BODY_MAX + 1)
            while len(answer) <= BODY_MAX and (chunk := await response.content.read(BODY_MAX)):
                answer += chunk
            names = {name.lower(): value for name, value in response.headers.items()}
    except TimeoutError:
        failure = WireError("no answer in time", sent=True)
    except (aiohttp.ClientError, OSError) as error:
        failure = WireError(_why(error), sent=not isinstance(error, aiohttp.ClientConnectorError))
    else:
        if len(answer) <= BODY_MAX:
            return RawReply(response.status, names, answer)
        failure = WireError(f"the answer is longer than {BODY_MAX} bytes", sent=True)
    # Not chained: aiohttp's errors carry the request, which may hold a token.
    raise failure


class _Unwatched:
    """Stands in for what the tracer of the session tells about progress."""

    def begin(self) -> None:
        pass

    def send(self) -> None:
        pass


def _why(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "the certificate is not trusted"
        case aiohttp.ClientConnectorDNSError():
            return "the host name cannot be resolved"
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
        case _:
            return f"the connection broke: {type(error).__name__}"
