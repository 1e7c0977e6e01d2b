"""How a reply reaches the client: at once, slowly, or not at all.

The slow ways exist to show that a client limits the whole of a call and not only the wait for the next byte.
"""

import asyncio
import socket
import struct
from http import HTTPStatus

from aiohttp import web

from tair_simulator.replies import Pace, Reply

DROPS_PER_SECOND = 4


async def deliver(request: web.Request, reply: Reply | None, request_id: str, pace: Pace) -> web.StreamResponse:
    """Send a reply at this pace; without one, break the connection."""
    if reply is None:
        return hang_up(request)
    headers = _headers(reply, request_id)
    if pace.header_seconds:
        return await _with_slow_headers(request, reply, headers, pace.header_seconds)
    if pace.bytes_per_second is not None:
        return await _drop_by_drop(request, reply, headers, pace.bytes_per_second)
    return web.Response(status=reply.http_status, body=reply.body, headers=headers)


def hang_up(request: web.Request) -> web.Response:
    """Break the connection so that the client sees a reset, not an orderly end."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


def _headers(reply: Reply, request_id: str) -> dict[str, str]:
    own = {"Content-Type": reply.content_type, **reply.headers}
    return own if reply.anonymous else {**own, "x-acs-request-id": request_id}


async def _drop_by_drop(
    request: web.Request, reply: Reply, headers: dict[str, str], bytes_per_second: int
) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.http_status, headers=headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    size = max(1, bytes_per_second // DROPS_PER_SECOND)
    try:
        for start in range(0, len(reply.body), size):
            drop = reply.body[start : start + size]
            await response.write(drop)
            await asyncio.sleep(len(drop) / bytes_per_second)
        await response.write_eof()
    except ConnectionError:  # the client had enough
        return hang_up(request)
    return response


async def _with_slow_headers(
    request: web.Request, reply: Reply, headers: dict[str, str], seconds: float
) -> web.StreamResponse:
    """Write the reply by hand, since a web framework sends all headers in one piece; then close the connection."""
    status = f"HTTP/1.1 {reply.http_status} {HTTPStatus(reply.http_status).phrase}"
    more = {**headers, "Content-Length": str(len(reply.body)), "Connection": "close"}
    for line in [status, *(f"{name}: {value}" for name, value in more.items())]:
        if not _write(request, f"{line}\r\n".encode()):
            return web.Response(status=500)
        await asyncio.sleep(seconds / (len(more) + 1))
    _write(request, b"\r\n" + reply.body, last=True)
    # The connection is closed, so nobody receives this one.
    return web.Response(status=500)


def _write(request: web.Request, data: bytes, *, last: bool = False) -> bool:
    transport = request.transport
    if transport is None or transport.is_closing():
        return False
    transport.write(data)
    if last:
        transport.close()
    return True
