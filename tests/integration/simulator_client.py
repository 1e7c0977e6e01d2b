"""A small signing client for tests of the simulator.

It signs with the simulator's own code, which is fair because that code is checked against Alibaba's vectors and SDK.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from tair_simulator.cloud import Cloud
from tair_simulator.server import create_app
from tair_simulator.signature import SignedRequest, body_hash, canonical_request, sign, string_to_sign
from tests.unit.simulator.moving_clock import Time

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """What came back from the API."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON, or the untyped SDK
        """The body, parsed."""
        return json.loads(self.text)

    @property
    def code(self) -> tuple[int, str]:
        """The HTTP status and the error code."""
        return self.status, self.json["Code"]


@asynccontextmanager
async def serving(cloud: Cloud) -> AsyncIterator[str]:
    """Serve a cloud from this process; yield its URL.

    Not aiohttp's TestServer: that one cancels a call when its client goes away, which the real command does not.
    """
    runner = web.AppRunner(create_app(cloud), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class SimulatorClient:
    """Calls the API with signed requests, and the control API."""

    def __init__(self, session: aiohttp.ClientSession, url: str, clock: Time) -> None:
        self._session = session
        self._url = url
        self._clock = clock
        self._numbers = count(1)

    async def call(
        self,
        action: str,
        *,
        method: str = "POST",
        form: bool = False,
        headers: dict[str, str] | None = None,
        signing_key: str = "demoSecret",
        key: str = "demo",
        **parameters: str,
    ) -> Answer:
        """Call an operation; ``headers`` are signed with the rest and may replace them."""
        text = urlencode(parameters)
        body = text.encode() if form else b""
        request = SignedRequest(method, "/", "" if form else text, self._headers(action, body, headers), body)
        return await self.send(signed(request, signing_key, key))

    async def send(self, request: SignedRequest) -> Answer:
        """Send a request as it is."""
        url = URL(f"{self._url}{request.path}{'?' if request.query else ''}{request.query}", encoded=True)
        async with self._session.request(
            request.method, url, data=request.body, headers=request.headers, skip_auto_headers=["Content-Type"]
        ) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def plain(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> Answer:
        """Send a request that nobody signed."""
        own = {"host": self._url.removeprefix("http://"), **(headers or {})}
        path, _, query = path.partition("?")
        return await self.send(SignedRequest(method, path, query, own, body.encode()))

    async def control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON, or the untyped SDK
        """Use the control API; return what it answers, parsed."""
        answer = await self.control_answer(method, path, None if body is None else json.dumps(body))
        return answer.json if answer.text else None

    async def control_answer(self, method: str, path: str, text: str | None = None) -> Answer:
        """Use the control API; return the whole answer."""
        async with self._session.request(method, f"{self._url}/_simulator/{path}", data=text) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    def _headers(self, action: str, body: bytes, more: dict[str, str] | None) -> dict[str, str]:
        return {
            "host": self._url.removeprefix("http://"),
            "x-acs-action": action,
            "x-acs-content-sha256": body_hash(body),
            "x-acs-date": self._clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": f"nonce-{next(self._numbers)}",
            "x-acs-version": "2015-01-01",
            **({"content-type": FORM} if body else {}),
            **(more or {}),
        }


def signed(request: SignedRequest, signing_key: str, key: str = "demo") -> SignedRequest:
    """Return the request with an Authorization header over all its headers."""
    names = tuple(sorted(request.headers))
    signature = sign(signing_key, string_to_sign(canonical_request(request, names)))
    value = f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={';'.join(names)},Signature={signature}"
    return replace(request, headers={**request.headers, "authorization": value})
