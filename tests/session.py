"""In place of ``aiohttp.ClientSession``: each request of the client goes to a function, not to the network."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from yarl import URL


class Answer(NamedTuple):
    """An answer, as much of it as the client reads."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[URL, Mapping[str, str], Any], Awaitable[Answer]]
"""Answers a request of a URL with these headers; the third tells the client how far the request has got."""


@dataclass(frozen=True, slots=True)
class Session:
    """Takes the place of the session."""

    answer: Answering

    def request(
        self,
        _method: str,
        url: URL,
        *,
        headers: dict[str, str],
        trace_request_ctx: Any,  # noqa: ANN401
        **_: object,
    ) -> "_Request":
        """Return what aiohttp would: something that is sent by entering it."""
        return _Request(lambda: self.answer(url, headers, trace_request_ctx))


@dataclass(slots=True)
class _Request:
    """Takes the place of one request, and of the answer to it."""

    send: Callable[[], Awaitable[Answer]]
    status: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""

    async def __aenter__(self) -> Self:
        self.status, self.headers, self.body = await self.send()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def content(self) -> Self:
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self.body
