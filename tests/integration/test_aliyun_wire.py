"""Requests on the wire: sent once, bounded, and with the certainty whether they left.

The server here speaks bytes, so that it can do what no web framework lets it do.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import Credentials, CredentialsProvider, EnvironmentCredentials
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import Limits, WireError, open_session, post
from tair_operator.models import Action, Reason
from tair_operator.ports import Answer, CloudError, Effect, ErrorClass, Target
from tests.meters import Meter
from tests.recorder import RecordedRequest, read_request

REF = Target("r-bp1zxszhcgatnx0001", "cn-hangzhou")
KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "testAccessKeyId", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "testAccessKeySecret"}
REQUEST_ID = "5D622714-AEDD-4609-9167-F5DDD3D1AAAA"
ACCEPTED = f'{{"RequestId":"{REQUEST_ID}"}}'.encode()
NET_INFO = b'{"RequestId":"1","NetInfoItems":{"InstanceNetInfo":[{"ConnectionString":"h","DirectConnection":1}]}}'
LISTED = (
    b'{"RequestId":"1","Instances":{"KVStoreInstance":'
    b'[{"InstanceId":"r-bp1zxszhcgatnx0001","RegionId":"cn-hangzhou"}]}}'
)
QUICK = Limits(connect=timedelta(seconds=5), total=timedelta(seconds=5), body=1000)

Serve = Callable[[RecordedRequest, asyncio.StreamWriter], Awaitable[None]]


class Clock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic()

    boottime = monotonic


def http(body: bytes, status: int = 200, **headers: str) -> bytes:
    """Return a reply as bytes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def replying(reply: bytes) -> Serve:
    """Return what answers everything with these bytes."""

    async def serve(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    return serve


async def looks_work(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
    """Answer the two describing operations."""
    is_listing = request.by_name["x-acs-action"] == "DescribeInstances"
    writer.write(http(LISTED if is_listing else NET_INFO))


def mutating(serve: Serve) -> Serve:
    """Answer the describing operations well, and the others with ``serve``."""

    async def both(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        is_look = request.by_name["x-acs-action"].startswith("Describe")
        await (looks_work if is_look else serve)(request, writer)

    return both


@dataclass
class Server:
    """A server on the loopback interface: its address, and what it received."""

    url: str
    requests: list[RecordedRequest] = field(default_factory=list)
    connections: int = 0

    def count(self, action: str) -> int:
        """Return how many requests of an action arrived."""
        return sum(request.by_name.get("x-acs-action") == action for request in self.requests)


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on keep-alive connections; ``serve`` may close its writer."""
    server = Server("")
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            while not writer.is_closing():
                server.requests.append(await read_request(reader))
                await serve(server.requests[-1], writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def new_client(
    server: Server, session: aiohttp.ClientSession, source: CredentialsProvider | None = None, *, deadline: float = 5
) -> AliyunClient:
    """Return the operator's client for a server."""
    numbers = count()
    return AliyunClient(
        session=session,
        credentials=lambda _: source or EnvironmentCredentials(KEY),
        limiter=Limiter(clock=time.monotonic, rate=1000, burst=1000),
        clock=Clock(),
        new_nonce=lambda: f"nonce-{next(numbers)}",
        endpoint=server.url,
        read_deadline=timedelta(seconds=deadline),
        call_deadline=timedelta(seconds=deadline),
    )


@asynccontextmanager
async def client_of(server: Server, *, token: str = "", deadline: float = 5) -> AsyncIterator[AliyunClient]:
    """Yield the operator's client for a server, with a session of its own."""
    source = EnvironmentCredentials({**KEY, "ALIBABA_CLOUD_SECURITY_TOKEN": token})
    async with open_session(None) as session:
        yield new_client(server, session, source, deadline=deadline)


async def release(client: AliyunClient) -> Answer:
    """Prepare and send a release."""
    return await (await client.prepare(Action.RELEASE, REF)).send()


async def failed(call: Awaitable[object]) -> CloudError:
    """Return the error that a call ends with."""
    with pytest.raises(CloudError) as caught:
        await call
    return caught.value


async def refusal_of(reply: bytes | Serve, *, deadline: float = 5) -> tuple[CloudError, Server]:
    """Return what becomes of a release that is answered like this."""
    serve = replying(reply) if isinstance(reply, bytes) else reply
    async with serving(mutating(serve)) as server, client_of(server, deadline=deadline) as client:
        return await failed(release(client)), server


async def test_an_acknowledged_call_returns_its_request_id() -> None:
    async with serving(mutating(replying(http(ACCEPTED)))) as server, client_of(server) as client:
        assert await release(client) == Answer(REQUEST_ID, 200)

    assert server.count("ReleaseDirectConnection") == 1


async def test_the_request_is_a_post_without_a_body_with_just_the_headers_that_belong_there() -> None:
    async with (
        serving(mutating(replying(http(ACCEPTED)))) as server,
        client_of(server, token="testSecurityToken+/==") as client,
    ):
        await release(client)

    request = server.requests[-1]
    names = [name.lower() for name, _ in request.headers]
    assert (request.method, request.target, request.body) == ("POST", f"/?InstanceId={REF.instance_id}", b"")
    assert len(names) == len(set(names))
    assert sorted(names) == [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "host",
        "user-agent",
        "x-acs-accesskey-id",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-security-token",
        "x-acs-signature-nonce",
        "x-acs-version",
    ]
    assert request.by_name["host"] == server.url.removeprefix("http://")
    assert request.by_name["user-agent"].startswith("tair-operator/")


async def test_calls_share_connections_and_a_release_leaves_on_one_that_is_open() -> None:
    async with serving(mutating(replying(http(ACCEPTED)))) as server, client_of(server) as client:
        await client.observe(REF)
        opened = server.connections
        await release(client)

    assert opened <= 2
    assert server.connections == opened
    assert server.count("DescribeDBInstanceNetInfo") == 1


async def test_without_a_look_before_preparing_opens_the_connection_by_one() -> None:
    async with serving(mutating(replying(http(ACCEPTED)))) as server, client_of(server) as client:
        call = await client.prepare(Action.RELEASE, REF)
        opened = server.connections
        await call.send()

    assert opened == server.connections == 1
    assert server.count("DescribeDBInstanceNetInfo") == 1


async def test_a_call_is_sent_once_and_refuses_to_be_sent_again() -> None:
    async with serving(mutating(replying(http(ACCEPTED)))) as server, client_of(server) as client:
        call = await client.prepare(Action.RELEASE, REF)
        await call.send()
        with pytest.raises(RuntimeError, match="ReleaseDirectConnection was sent before"):
            await call.send()

    assert server.count("ReleaseDirectConnection") == 1


async def test_a_connection_that_ends_without_an_answer_is_not_tried_again() -> None:
    async def hang_up(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.close()

    error, server = await refusal_of(hang_up)

    assert server.count("ReleaseDirectConnection") == 1
    assert (error.code, error.sent, error.effect) == ("NoAnswer", True, Effect.POSSIBLE)
    assert (error.error_class, error.reason) == (ErrorClass.TRANSIENT, Reason.CLOUD_UNREACHABLE)
    assert error.message.endswith("the connection was closed without an answer")
    assert (error.http_status, error.request_id) == (None, None)


async def test_a_connection_that_is_reset_may_have_had_an_effect() -> None:
    async def reset(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    error, server = await refusal_of(reset)

    assert server.count("ReleaseDirectConnection") == 1
    assert (error.code, error.sent, error.effect) == ("NoAnswer", True, Effect.POSSIBLE)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 X\r\n",
        b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n",
        b'HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{"RequestId":',
    ],
    ids=["nothing", "half a head", "no body", "half a body"],
)
async def test_an_answer_that_does_not_come_in_time_may_have_had_an_effect(reply: bytes) -> None:
    started = time.monotonic()

    error, server = await refusal_of(reply, deadline=0.3)

    assert time.monotonic() - started < 2
    assert server.count("ReleaseDirectConnection") == 1
    assert (error.sent, error.effect, error.reason) == (True, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE)
    assert error.message.endswith("in time")


async def test_an_answer_that_drips_is_cut_off_by_the_deadline() -> None:
    async def drip(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
        for _byte in range(1000):
            writer.write(b" ")
            await asyncio.sleep(0.02)

    error, _ = await refusal_of(drip, deadline=0.3)

    assert (error.code, error.http_status, error.effect) == ("UnreadableAnswer", 200, Effect.POSSIBLE)


NO_ANSWERS = {
    "empty": (http(b""), 200, "the answer is empty (HTTP status 200)"),
    "an empty 500": (http(b"", 500), 500, "the answer is empty (HTTP status 500)"),
    "a page of a gateway": (http(b"<html>502</html>", 502), 502, "the answer is not JSON (HTTP status 502)"),
    "a page of a firewall": (http(b"<html>no</html>", 403), 403, "the answer is not JSON (HTTP status 403)"),
    "half of the JSON": (http(ACCEPTED[:-2]), 200, "the answer is not JSON (HTTP status 200)"),
    "a list": (http(b"[]"), 200, "the answer is not a JSON object (HTTP status 200)"),
    "no RequestId": (http(b"{}"), 200, "an acknowledgement without a RequestId"),
    "a list for a RequestId": (http(b'{"RequestId":["x"]}'), 200, "an acknowledgement without a RequestId"),
    "two words for a RequestId": (http(b'{"RequestId":"a b"}'), 200, "an acknowledgement without a RequestId"),
    "a 500 without a code": (http(b"{}", 500), 500, "an error without a usable code (HTTP status 500)"),
    "markup for a code": (http(b'{"Code":"<b>"}', 400), 400, "an error without a usable code (HTTP status 400)"),
    "too long": (http(ACCEPTED + b" " * 70_000), 200, "the answer is longer than 65536 bytes"),
    "a redirect": (http(b"", 307, Location="http://127.0.0.1:1/"), 307, "HTTP status 307 points elsewhere"),
}


@pytest.mark.parametrize(("reply", "http_status", "message"), NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_an_answer_that_is_none_may_hide_an_effect(reply: bytes, http_status: int, message: str) -> None:
    error, server = await refusal_of(reply)

    assert server.count("ReleaseDirectConnection") == 1
    assert message in error.message
    assert error.code in {"UnreadableAnswer", "Redirected"}
    assert (error.http_status, error.sent, error.effect) == (http_status, True, Effect.POSSIBLE)
    assert (error.error_class, error.reason) == (ErrorClass.TRANSIENT, Reason.CLOUD_UNREACHABLE)


async def test_an_answer_that_breaks_off_may_hide_an_effect() -> None:
    async def half(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(http(ACCEPTED)[:-10])
        writer.close()

    error, server = await refusal_of(half)

    assert server.count("ReleaseDirectConnection") == 1
    assert (error.code, error.http_status, error.effect) == ("UnreadableAnswer", 200, Effect.POSSIBLE)
    assert error.message.endswith("the answer broke off")


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        (LISTED, b'{"RequestId":"A","NetInfoItems":{"InstanceNetInfo":[{}]}}'),
        (b'{"RequestId":"A"}', NET_INFO),
    ],
    ids=["net info", "listing"],
)
async def test_a_look_that_cannot_be_read_shows_nothing(listed: bytes, shown: bytes) -> None:
    async def serve(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        is_listing = request.by_name["x-acs-action"] == "DescribeInstances"
        writer.write(http(listed if is_listing else shown))

    async with serving(serve) as server, client_of(server) as client:
        error = await failed(client.observe(REF))

    assert (error.code, error.http_status, error.request_id) == ("UnreadableAnswer", 200, "A")
    assert (error.error_class, error.reason) == (ErrorClass.TRANSIENT, Reason.CLOUD_UNREACHABLE)


async def test_a_traceback_of_a_failed_call_shows_no_header_of_it() -> None:
    reply = b"SSH-2.0-OpenSSH_9.9\r\n\r\n"
    async with serving(replying(reply)) as server, client_of(server, token="testSecurityToken+/==") as client:
        error = await failed(client.observe(REF))

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    assert len(causes) > 1
    for hidden in ("testSecurityToken", "ACS3-HMAC-SHA256", REF.instance_id):
        assert hidden not in repr(causes)


async def test_what_comes_back_and_is_not_http_may_hide_an_effect() -> None:
    error, _ = await refusal_of(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    assert (error.code, error.sent, error.effect) == ("NoAnswer", True, Effect.POSSIBLE)
    assert error.message.endswith("what came back is not HTTP")


async def test_the_request_id_of_an_unreadable_answer_is_taken_from_its_header() -> None:
    error, _ = await refusal_of(http(b"oops", 500, x_acs_request_id=REQUEST_ID))

    assert error.request_id == REQUEST_ID


async def test_a_code_inside_a_200_is_a_refusal() -> None:
    error, _ = await refusal_of(http(b'{"RequestId":"1","Code":"InstanceStatus.NotSupport","Message":"busy"}'))

    assert (error.code, error.error_class, error.effect) == ("InstanceStatus.NotSupport", ErrorClass.BUSY, Effect.NONE)
    assert (error.http_status, error.request_id, error.message) == (200, "1", "busy")


async def test_a_refusal_without_a_message_says_so() -> None:
    error, _ = await refusal_of(http(b'{"RequestId":"1","Code":"Surprise"}', 400))

    assert (error.message, error.effect) == ("the cloud gave no reason", Effect.POSSIBLE)


async def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    async with serving(looks_work) as server:
        pass
    async with client_of(server) as client:
        look = await failed(client.observe(REF))
        prepare = await failed(client.prepare(Action.RELEASE, REF))

    for error in (look, prepare):
        assert (error.code, error.sent, error.effect) == ("ConnectionFailed", False, Effect.NONE)
        assert (error.error_class, error.reason) == (ErrorClass.TRANSIENT, Reason.CLOUD_UNREACHABLE)
        assert server.url.removeprefix("http://") in error.message


async def test_a_host_that_went_away_after_preparing_means_that_nothing_was_sent() -> None:
    async def once(request: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(http(NET_INFO, Connection="close"))

    async with open_session(None) as session:
        async with serving(once) as server:
            client = new_client(server, session)
            call = await client.prepare(Action.RELEASE, REF)
        error = await failed(call.send())

    assert server.count("ReleaseDirectConnection") == 0
    assert (error.code, error.sent, error.effect) == ("ConnectionFailed", False, Effect.NONE)


async def test_a_look_that_fails_while_preparing_means_that_the_call_was_not_sent() -> None:
    reply = http(b'{"Code":"InternalError","Message":"x"}', 500)
    async with serving(replying(reply)) as server, client_of(server) as client:
        error = await failed(client.prepare(Action.RELEASE, REF))

    assert (error.code, error.http_status, error.sent, error.effect) == ("InternalError", 500, False, Effect.NONE)


async def test_a_pause_that_the_cloud_asks_for_is_kept() -> None:
    reply = http(b'{"Code":"Throttling.User","Message":"slow down"}', 400, X_Acs_Retry_After="30000")
    async with serving(replying(reply)) as server, client_of(server) as client:
        first = await failed(client.observe(REF))
        arrived = len(server.requests)
        second = await failed(client.observe(REF))
        third = await failed(client.prepare(Action.RELEASE, REF))

    assert (first.code, first.reason, first.retry_after) == ("Throttling.User", Reason.THROTTLED, timedelta(seconds=30))
    assert len(server.requests) == arrived
    for error in (second, third):
        assert (error.code, error.reason, error.sent) == ("Paused", Reason.THROTTLED, False)
        assert error.retry_after is not None
        assert timedelta(seconds=25) < error.retry_after <= timedelta(seconds=30)


async def test_credentials_that_the_cloud_refuses_are_asked_for_again() -> None:
    source = Source()
    reply = http(b'{"Code":"InvalidSecurityToken.Expired"}', 400)
    async with serving(replying(reply)) as server, open_session(None) as session:
        error = await failed(new_client(server, session, source).observe(REF))

    assert error.reason is Reason.CREDENTIALS_INVALID
    assert source.invalidated == 2


async def test_without_credentials_nothing_is_sent() -> None:
    async with serving(looks_work) as server, open_session(None) as session:
        client = new_client(server, session, EnvironmentCredentials({}))
        look = await failed(client.observe(REF))
        call = await failed(client.prepare(Action.RELEASE, REF))

    assert server.connections == 0
    for error in (look, call):
        assert (error.action, error.reason, error.sent) == ("Credentials", Reason.CREDENTIALS_UNAVAILABLE, False)


async def test_a_log_line_names_the_call_and_its_outcome_and_holds_nothing_that_was_signed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with (
        serving(mutating(replying(http(ACCEPTED)))) as server,
        client_of(server, token="testSecurityToken+/==") as client,
    ):
        await release(client)

    record = next(record for record in caplog.records if "Release" in record.getMessage())
    host = server.url.removeprefix("http://")
    assert record.getMessage() == f"ReleaseDirectConnection at {host}: OK"
    assert {name: vars(record)[name] for name in ("action", "host", "code", "http_status", "request_id")} == {
        "action": "ReleaseDirectConnection",
        "host": host,
        "code": "OK",
        "http_status": 200,
        "request_id": REQUEST_ID,
    }
    everything = repr([vars(record) for record in caplog.records])
    signature = server.requests[-1].by_name["authorization"].rpartition("=")[2]
    for secret in ("testAccessKeySecret", "testSecurityToken", REF.instance_id, signature, "nonce-"):
        assert secret not in everything


async def test_the_event_loop_is_never_blocked() -> None:
    async with serving(mutating(replying(http(ACCEPTED)))) as server, client_of(server) as client:
        with blockbuster_ctx("tair_operator"):
            await client.observe(REF)
            await release(client)


async def test_many_calls_at_once_all_get_their_own_answer() -> None:
    async with serving(mutating(replying(http(ACCEPTED)))) as server, client_of(server) as client:
        answers = await asyncio.gather(*(release(client) for _ in range(60)))

    assert answers == [Answer(REQUEST_ID, 200)] * 60
    nonces = [request.by_name["x-acs-signature-nonce"] for request in server.requests]
    assert len(set(nonces)) == len(nonces)


async def test_a_handshake_that_hangs_ends_by_the_bound_on_connecting_and_nothing_was_sent() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    limits = Limits(connect=timedelta(seconds=0.2), total=timedelta(seconds=30), body=1000)
    async with listener, open_session(None) as session:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(WireError, match="no connection in time") as caught:
            await post(session, f"https://127.0.0.1:{port}/", {}, limits)
        for writer in writers:
            writer.close()

    assert not caught.value.sent


async def test_the_bound_on_connecting_does_not_shorten_the_wait_for_the_answer() -> None:
    async def slow(_: RecordedRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        writer.write(http(b"{}"))

    limits = Limits(connect=timedelta(seconds=0.2), total=timedelta(seconds=30), body=1000)
    async with serving(slow) as server, open_session(None) as session:
        reply = await post(session, server.url, {}, limits)

    assert (reply.http_status, reply.body) == (200, b"{}")


async def test_a_name_that_cannot_be_resolved_means_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with open_session(None) as session:
        with pytest.raises(WireError, match=r"cannot be resolved: .*Name or service not known") as caught:
            await post(session, "http://nowhere.invalid/", {}, QUICK)

    assert not caught.value.sent


async def test_a_session_without_our_tracer_never_claims_that_nothing_was_sent() -> None:
    async with serving(looks_work) as server:
        pass
    async with aiohttp.ClientSession() as session:
        with pytest.raises(WireError) as caught:
            await post(session, server.url, {}, QUICK)

    assert caught.value.sent


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async with serving(replying(http(b"{}"))) as server, open_session(None) as session:
        assert (await post(session, server.url, {}, QUICK)).http_status == 200


async def test_cookies_are_not_kept() -> None:
    async with serving(replying(http(b"{}", Set_Cookie="a=b"))) as server, open_session(None) as session:
        await post(session, server.url, {}, QUICK)
        await post(session, server.url, {}, QUICK)

    assert "cookie" not in server.requests[-1].by_name


async def test_a_certificate_of_an_unknown_authority_ends_the_call_before_it_is_sent(tmp_path: Path) -> None:
    async with serving(looks_work, certificate_in(tmp_path)) as server, open_session(None) as session:
        with pytest.raises(WireError, match="the certificate is not trusted: self-signed certificate") as caught:
            await post(session, server.url, {}, QUICK)

    assert not caught.value.sent
    assert server.requests == []


async def test_an_authority_of_ones_own_is_trusted_when_it_is_named(tmp_path: Path) -> None:
    context = certificate_in(tmp_path)
    async with serving(replying(http(b"{}")), context) as server, open_session(tmp_path / "cert.pem") as session:
        reply = await post(session, server.url, {}, QUICK)

    assert reply.http_status == 200


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    context = certificate_in(tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(looks_work, context) as server, open_session(tmp_path / "cert.pem") as session:
        with pytest.raises(WireError, match="no connection") as caught:
            await post(session, server.url, {}, QUICK)

    assert not caught.value.sent


def test_a_file_without_certificates_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        open_session(tmp_path / "missing.pem")


class Source:
    """Credentials that count how often they were refused."""

    invalidated = 0

    async def get(self) -> Credentials:
        """Return the same as ever."""
        return Credentials("testAccessKeyId", "testAccessKeySecret")

    def invalidate(self) -> None:
        """Count."""
        self.invalidated += 1


def certificate_in(folder: Path) -> ssl.SSLContext:
    """Write a self-signed certificate for 127.0.0.1 and return a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloud")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, private)
    return context


@pytest.mark.parametrize(
    ("reply", "code", "outcome"),
    [
        (http(ACCEPTED), "OK", "answered"),
        (http(b'{"RequestId":"1","Code":"throttling.USER"}', 400), "Throttling.User", "rejected"),
        (http(b'{"RequestId":"1","Code":"Surprise"}', 400), "Other", "unknown"),
        (http(b"<html>", 502), "UnreadableAnswer", "unknown"),
        (b"", "NoAnswer", "unknown"),
    ],
)
async def test_a_call_counts_once_by_its_code_and_what_became_of_it(reply: bytes, code: str, outcome: str) -> None:
    requests = Meter("tair_operator_cloud_requests_total")
    lengths = Meter("tair_operator_cloud_request_duration_seconds_count")
    async with serving(mutating(replying(reply))) as server, client_of(server, deadline=0.3) as client:
        with suppress(CloudError):
            await release(client)

    look = "DescribeDBInstanceNetInfo"
    assert requests.gained() == {(look, "OK", "answered"): 1, ("ReleaseDirectConnection", code, outcome): 1}
    assert lengths.gained() == {(look,): 1, ("ReleaseDirectConnection",): 1}


async def test_a_call_that_did_not_leave_counts_as_that_and_has_no_length() -> None:
    requests = Meter("tair_operator_cloud_requests_total")
    lengths = Meter("tair_operator_cloud_request_duration_seconds_count")
    async with serving(looks_work) as server:
        pass
    async with client_of(server) as client:
        await failed(client.prepare(Action.RELEASE, REF))

    assert requests.gained() == {("DescribeDBInstanceNetInfo", "ConnectionFailed", "not_sent"): 1}
    assert lengths.gained() == {}


async def test_a_call_that_is_cut_off_is_one_of_unknown_outcome() -> None:
    requests, arrived = Meter("tair_operator_cloud_requests_total"), asyncio.Event()

    async def say_nothing(_: RecordedRequest, __: asyncio.StreamWriter) -> None:
        arrived.set()

    async with serving(mutating(say_nothing)) as server, client_of(server) as client:
        releasing = asyncio.create_task(release(client))
        await arrived.wait()
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing

    assert requests.gained()[("ReleaseDirectConnection", "Other", "unknown")] == 1
