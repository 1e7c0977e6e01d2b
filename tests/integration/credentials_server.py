"""A scripted STS and metadata service: it keeps every request as it came off the wire, and answers as a test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from tair_operator.ports import ClusterUnavailableError, ForbiddenError, IssuedToken
from tests.recorder import RecordedRequest, read_request

REQUEST_ID = "6894B13B-6D71-4EF5-88FA-F32781734A7F"
SECRET, TOKEN = "issuedSecretIssuedSecretIssued", "CAISissuedToken+/=="


@dataclass(frozen=True)
class Reply:
    """What to answer."""

    status: int = 200
    body: bytes = b""
    headers: str = ""


Script = Callable[[RecordedRequest], Reply]


def issued(number: int, expires_at: datetime) -> dict[str, str]:
    """Return credentials as STS and the metadata service spell them."""
    return {
        "AccessKeyId": f"STS.number{number}",
        "AccessKeySecret": SECRET,
        "SecurityToken": TOKEN,
        "Expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def refusal(status: int, code: str, message: str = "Because.", headers: str = "") -> Reply:
    """Return an error as STS spells it."""
    body = {"RequestId": REQUEST_ID, "HostId": "sts.aliyuncs.com", "Code": code, "Message": message}
    return Reply(status, json.dumps(body).encode(), headers)


def form(request: RecordedRequest) -> dict[str, str]:
    """Return the parameters in the body."""
    return dict(parse_qsl(request.body.decode(), strict_parsing=True))


@dataclass
class CredentialsServer:
    """The requests so far, and the script."""

    script: Script
    url: str = ""
    requests: list[RecordedRequest] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection."""
        request = await read_request(reader)
        self.requests.append(request)
        reply = self.script(request)
        head = f"HTTP/1.1 {reply.status} Whatever\r\nContent-Length: {len(reply.body)}\r\nConnection: close\r\n"
        writer.write(f"{head}{reply.headers}\r\n".encode() + reply.body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def issuing(now: datetime, life: timedelta = timedelta(hours=1)) -> Script:
    """Return a script that issues new credentials for each request."""
    count = 0

    def script(_: RecordedRequest) -> Reply:
        nonlocal count
        count += 1
        body = {"RequestId": REQUEST_ID, "Credentials": issued(count, now + life)}
        return Reply(200, json.dumps(body).encode())

    return script


@asynccontextmanager
async def credentials_server(script: Script) -> AsyncIterator[CredentialsServer]:
    """Run the server on a free loopback port."""
    scripted = CredentialsServer(script)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield scripted


@dataclass
class FakeIdentities:
    """Implements the keyring's ``Identities`` in memory; ``asked`` has each question in order."""

    secrets: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    accounts: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    token: str = "eyJoZWFkZXIi.eyJwYXlsb2FkIi.c2lnbmF0dXJl"
    failure: ForbiddenError | ClusterUnavailableError | None = None
    asked: list[tuple[str | int, ...]] = field(default_factory=list)

    async def read_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Read a Secret."""
        self._ask("secret", namespace, name)
        data = self.secrets.get((namespace, name))
        return None if data is None else {key: value.encode() for key, value in data.items()}

    async def read_service_account_annotations(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read a ServiceAccount."""
        self._ask("account", namespace, name)
        return self.accounts.get((namespace, name))

    async def request_token(self, namespace: str, name: str, audience: str, seconds: int) -> IssuedToken | None:
        """Issue a token."""
        self._ask("token", namespace, name, audience, seconds)
        return IssuedToken(self.token, None) if (namespace, name) in self.accounts else None

    def _ask(self, *question: str | int) -> None:
        self.asked.append(question)
        if self.failure is not None:
            raise self.failure
