"""A wire between two real programs that can be cut, or can swallow what is sent, at a moment of one's choice.

It carries bytes and looks into none of them, so TLS stays between the two ends.
A cut wire resets what is open and turns away what is new. One that swallows keeps
its connections open and delivers nothing, as a firewall does that has forgotten
them: neither end is told.
"""

import asyncio
import contextlib
import socket
import struct
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from tests.cluster.between import Between
from tests.cluster.tenants import PATIENCE

CHUNK: Final = 65_536
# Closing without an answer to what was sent: the other end sees a reset.
RESET: Final = struct.pack("ii", 1, 0)


class Direction(StrEnum):
    """Where bytes go."""

    THERE = "there"
    BACK = "back"


BOTH: Final = frozenset(Direction)
NONE: Final = frozenset[Direction]()


class _Link:
    """One connection through the wire."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, swallows: frozenset[Direction]) -> None:
        self.writers = {Direction.BACK: near, Direction.THERE: far}
        self.swallows = swallows
        self.is_torn = False
        """Whether bytes have been lost, so that nobody could make sense of what follows."""

    async def carry(self, reader: asyncio.StreamReader, direction: Direction) -> None:
        writer = self.writers[direction]
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if direction in self.swallows or self.is_torn:
                    self.is_torn = True
                    continue
                writer.write(data)
                await writer.drain()
            if direction in self.swallows:
                self.is_torn = True  # the other end does not hear of the end either
                return
        writer.close()

    def reset(self) -> None:
        for writer in self.writers.values():
            peer: socket.socket | None = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                if peer is not None:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Wire(Between):
    """Listens on a port of its own and passes everything on to ``url``."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._host, self._port = urlsplit(url).hostname or "", urlsplit(url).port or 0
        self._scheme = urlsplit(url).scheme
        self._links: set[_Link] = set()
        self._is_cut = False
        self._swallows: frozenset[Direction] = frozenset()

    def _cluster(self, known: dict[str, Any]) -> dict[str, Any]:
        # It still verifies who is at the other end.
        return known | {"server": self.url}

    def cut(self) -> None:
        """Reset every connection and turn new ones away, until ``heal``."""
        self._be(is_cut=True)

    def swallow(self, directions: frozenset[Direction] = BOTH, *, only_present: bool = False) -> None:
        """Deliver nothing of these directions any more, until ``heal``; new connections work if ``only_present``."""
        self._be(present=directions, new=NONE if only_present else directions)

    def heal(self) -> None:
        """Be a good wire again. A connection that has lost bytes cannot go on, and is reset."""
        self._be()

    def _be(
        self, *, is_cut: bool = False, present: frozenset[Direction] = NONE, new: frozenset[Direction] = NONE
    ) -> None:
        async def change() -> None:
            self._is_cut, self._swallows = is_cut, new
            for link in self._links:
                link.swallows = present
                if is_cut or (link.is_torn and not present):
                    link.reset()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(PATIENCE)

    async def _serve_until(self, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._serves(f"{self._scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await stop.wait()
        server.close()
        for link in list(self._links):
            link.reset()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, far, self._swallows)
        self._links.add(link)
        try:
            await asyncio.gather(link.carry(reader, Direction.THERE), link.carry(far_reader, Direction.BACK))
            if link.is_torn:
                await self._stop.wait()
        finally:
            self._links.discard(link)
            link.reset()
