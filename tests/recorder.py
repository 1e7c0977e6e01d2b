"""A server that keeps every request exactly as it came off the wire, and answers each with the same reply.

For looking at what a client really sends: Alibaba's SDK above all, whose raw requests are the oracle for signatures. It
reads HTTP/1.1 by hand, because a web framework would already have decoded what a signature is about.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RecordedRequest:
    """One request: the target as it was sent, and the headers in their order and case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        """The target up to the question mark, still encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target after the question mark, still encoded."""
        return self.target.partition("?")[2]

    @property
    def by_name(self) -> dict[str, str]:
        """The headers with names in lower case."""
        return {name.lower(): value for name, value in self.headers}


@dataclass
class Recorder:
    """The requests so far, and where to send more: ``endpoint`` is ``host:port`` for plain HTTP."""

    reply: bytes = b'{"RequestId":"5D622714-AEDD-4609-9167-F5DDD3D1AAAA"}'
    endpoint: str = ""
    requests: list[RecordedRequest] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Record one request, answer it, and close the connection."""
        self.requests.append(await read_request(reader))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(self.reply)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + self.reply)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> RecordedRequest:
    """Read one HTTP/1.1 request with a Content-Length body, or none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = tuple((name, value.strip()) for name, _, value in pairs)
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return RecordedRequest(method, target, headers, await reader.readexactly(length))


@asynccontextmanager
async def recording(reply: bytes | None = None) -> AsyncIterator[Recorder]:
    """Run a recorder on a free loopback port."""
    recorder = Recorder() if reply is None else Recorder(reply)
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    recorder.endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield recorder
