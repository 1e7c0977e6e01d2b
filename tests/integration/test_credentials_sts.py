"""The STS client on the wire: what it sends, and what it makes of each answer."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from tair_operator.aliyun import signing
from tair_operator.aliyun.credentials import Credentials, Role, Sts, sts_endpoint
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Reason
from tair_operator.ports import CloudError, Effect, ErrorClass
from tests.fakes import FakeClock
from tests.integration.credentials_server import (
    REQUEST_ID,
    SECRET,
    TOKEN,
    CredentialsServer,
    Reply,
    Script,
    credentials_server,
    form,
    issued,
    issuing,
    refusal,
)
from tests.meters import Meter

ARN, OTHER_ARN = "acs:ram::1234567890123456:role/tair", "acs:ram::6543210987654321:role/tair"
PROVIDER = "acs:ram::1234567890123456:oidc-provider/cluster"
SUBJECT = "system:serviceaccount:shop:orders"
ROLE = Role(ARN, "tair-operator")
KEYS = Credentials("LTAIuser", "userSecretUserSecretUserSecret")
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6c2hvcDpvcmRlcnMifQ.c2lnbmF0dXJlLW9mLXRva2Vu"


STS_KEY = ConnectionKey(
    "sts.aliyuncs.com", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)


def certificate_error() -> Exception:
    """Return what aiohttp raises for a certificate that is not trusted."""
    return aiohttp.ClientConnectorCertificateError(STS_KEY, ValueError(JWT))


def dns_error() -> Exception:
    """Return what aiohttp raises for a name that cannot be resolved."""
    return aiohttp.ClientConnectorDNSError(STS_KEY, OSError(-2, JWT))


@asynccontextmanager
async def sts_of(script: Script, clock: FakeClock | None = None) -> AsyncIterator[tuple[Sts, CredentialsServer]]:
    """Yield a client and the server that it calls."""
    numbers = count(1)
    async with credentials_server(script) as server, open_session(None) as session:
        endpoint = sts_endpoint(override=server.url)
        yield Sts(session, endpoint, clock or FakeClock(), lambda: f"nonce-{next(numbers)}"), server


async def refused(sts: Sts, role: Role = ROLE, *, with_token: bool = False) -> CloudError:
    """Return what an exchange ends with."""
    asking = sts.assume_role_with_oidc(JWT, PROVIDER, role, SUBJECT) if with_token else sts.assume_role(KEYS, role)
    with pytest.raises(CloudError) as caught:
        await asking
    return caught.value


async def test_keys_are_exchanged_by_a_signed_call() -> None:
    clock = FakeClock()
    async with sts_of(issuing(clock.wall), clock) as (sts, server):
        credentials = await sts.assume_role(KEYS, Role(ARN, "tair-operator", "ex/ternal"))

    (request,) = server.requests
    assert credentials == Credentials("STS.number1", SECRET, TOKEN, clock.wall + timedelta(hours=1))
    assert (request.method, request.target) == ("POST", "/")
    assert form(request) == {
        "DurationSeconds": "3600",
        "ExternalId": "ex/ternal",
        "RoleArn": ARN,
        "RoleSessionName": "tair-operator",
    }
    names = "content-type;host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
    headers = {name: request.by_name[name] for name in names.split(";")}
    body_hash = hashlib.sha256(request.body).hexdigest()
    canonical = signing.canonical_request("POST", "/", "", headers, body_hash)
    signature = signing.signature("userSecretUserSecretUserSecret", signing.string_to_sign(canonical))
    assert (headers["x-acs-action"], headers["x-acs-version"]) == ("AssumeRole", "2015-04-01")
    assert headers["x-acs-content-sha256"] == body_hash
    assert request.by_name["authorization"] == signing.authorization("LTAIuser", names, signature)


async def test_keys_that_are_temporary_themselves_are_signed_with_their_token() -> None:
    clock = FakeClock()
    async with sts_of(issuing(clock.wall), clock) as (sts, server):
        await sts.assume_role(Credentials("STS.base", "secret", "base+token"), ROLE)

    sent = server.requests[0].by_name
    assert (sent["x-acs-accesskey-id"], sent["x-acs-security-token"]) == ("STS.base", "base+token")
    assert "SignedHeaders=content-type;host;x-acs-accesskey-id;" in sent["authorization"]
    assert ";x-acs-security-token;" in sent["authorization"]


async def test_a_token_is_exchanged_by_an_unsigned_call_and_is_in_no_url() -> None:
    clock = FakeClock()
    async with sts_of(issuing(clock.wall), clock) as (sts, server):
        credentials = await sts.assume_role_with_oidc(JWT, PROVIDER, ROLE, SUBJECT)

    (request,) = server.requests
    assert credentials.access_key_id == "STS.number1"
    assert (request.method, request.path) == ("POST", "/")
    assert request.query == (
        f"Action=AssumeRoleWithOIDC&Format=JSON&Timestamp={clock.wall:%Y-%m-%dT%H%%3A%M%%3A%SZ}&Version=2015-04-01"
    )
    assert form(request) == {
        "DurationSeconds": "3600",
        "OIDCProviderArn": PROVIDER,
        "OIDCToken": JWT,
        "RoleArn": ARN,
        "RoleSessionName": "tair-operator",
    }
    assert "authorization" not in request.by_name


@pytest.mark.parametrize(
    ("region", "vpc", "expected"),
    [
        (None, False, "https://sts.aliyuncs.com"),
        (None, True, "https://sts.aliyuncs.com"),
        ("cn-hangzhou", False, "https://sts.cn-hangzhou.aliyuncs.com"),
        ("cn-hangzhou", True, "https://sts-vpc.cn-hangzhou.aliyuncs.com"),
    ],
)
def test_where_sts_answers(region: str | None, vpc: bool, expected: str) -> None:  # noqa: FBT001 - a table
    assert str(sts_endpoint(region=region, vpc=vpc)) == expected
    assert str(sts_endpoint(region=region, vpc=vpc, override="https://Other:443/")) == "https://other"


async def test_a_trust_policy_that_does_not_allow_the_service_account_is_named_with_what_it_needs() -> None:
    async with sts_of(lambda _: refusal(401, "AuthenticationFail.NoPermission", "No permission.")) as (sts, _):
        error = await refused(sts, with_token=True)

    assert vars(error) == {
        "action": "AssumeRoleWithOIDC",
        "code": "AuthenticationFail.NoPermission",
        "message": (
            f"No permission. (the trust policy of {ARN} has to allow sts:AssumeRole to the identity provider {PROVIDER}"
            ", with oidc:sub system:serviceaccount:shop:orders and oidc:aud sts.aliyuncs.com)"
        ),
        "error_class": ErrorClass.BLOCKED,
        "effect": Effect.NONE,
        "reason": Reason.ACCESS_DENIED,
        "http_status": 401,
        "request_id": REQUEST_ID,
        "sent": False,
        "retry_after": None,
    }


async def test_keys_that_may_not_assume_the_role_are_told_what_they_need() -> None:
    async with sts_of(lambda _: refusal(403, "NoPermission", "Not authorized.")) as (sts, _):
        error = await refused(sts)

    assert (error.reason, error.error_class) == (Reason.ACCESS_DENIED, ErrorClass.BLOCKED)
    assert error.message == (
        f"Not authorized. (the RAM user needs sts:AssumeRole on {ARN}, and the trust policy of that role has to name "
        "the user, or the role that the operator has already)"
    )


@pytest.mark.parametrize(
    ("status", "code", "reason", "advice"),
    [
        (404, "EntityNotExist.Role", Reason.CREDENTIALS_INVALID, "create the RAM role, or correct its ARN"),
        (401, "AuthenticationFail.OIDCToken.Expired", Reason.CREDENTIALS_INVALID, "compare the clock of the node"),
        (401, "AuthenticationFail.OIDCToken.AudienceNotMatch", Reason.CREDENTIALS_INVALID, "compare the identity"),
        (401, "AuthenticationFail.OIDCToken.IssuerNotMatch", Reason.CREDENTIALS_INVALID, "compare the identity"),
        (401, "AuthenticationFail.OIDCToken.Invalid", Reason.CREDENTIALS_INVALID, "compare the identity provider"),
        (400, "InvalidParameter.DurationSeconds", Reason.INVALID_REQUEST, "set TAIR_OPERATOR_ROLE_SESSION_SECONDS"),
        (404, "InvalidAccessKeyId.NotFound", Reason.CREDENTIALS_INVALID, "check that the AccessKey exists"),
        (400, "SignatureDoesNotMatch", Reason.CREDENTIALS_INVALID, "check the AccessKey secret"),
        (503, "ServiceUnavailable", Reason.CLOUD_UNREACHABLE, ""),
        (400, "NeverHeardOf", Reason.INVALID_REQUEST, ""),
    ],
)
async def test_a_refusal_is_shown_with_its_code_request_id_and_advice(
    status: int, code: str, reason: Reason, advice: str
) -> None:
    async with sts_of(lambda _: refusal(status, code)) as (sts, _):
        error = await refused(sts, with_token=True)

    assert (error.code, error.reason, error.http_status, error.request_id) == (code, reason, status, REQUEST_ID)
    assert (error.action, error.sent, error.effect) == ("AssumeRoleWithOIDC", False, Effect.NONE)
    assert error.message.startswith(f"Because. ({advice}" if advice else "Because.")


@pytest.mark.parametrize("with_token", [True, False])
async def test_nothing_secret_comes_back_in_a_message(caplog: pytest.LogCaptureFixture, with_token: bool) -> None:  # noqa: FBT001
    caplog.set_level("DEBUG")
    echo = f"bad token {JWT} or {JWT.split('.')[1]} or {KEYS.access_key_secret} in server string to sign is: x"
    async with sts_of(lambda _: refusal(400, "SignatureDoesNotMatch", echo)) as (sts, _):
        error = await refused(sts, with_token=with_token)

    shown = repr([error, error.message, [vars(record) for record in caplog.records]])
    own = [JWT, *JWT.split(".")[1:]] if with_token else [KEYS.access_key_secret]
    assert [secret for secret in own if secret in shown] == []
    assert "[the quoted request was removed]" in error.message


async def test_what_was_issued_is_neither_logged_nor_printed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    clock = FakeClock()
    async with sts_of(issuing(clock.wall), clock) as (sts, _):
        credentials = await sts.assume_role_with_oidc(JWT, PROVIDER, ROLE, SUBJECT)

    everything = repr([credentials, [vars(record) for record in caplog.records if record.name.startswith("tair")]])
    assert [secret for secret in (SECRET, TOKEN, JWT, "STS.number1") if secret in everything] == []
    assert "AssumeRoleWithOIDC at 127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (Reply(302, b"", "Location: http://elsewhere/\r\n"), "Redirected", "HTTP status 302 points elsewhere"),
        (Reply(200, b""), "UnreadableAnswer", "the answer is empty (HTTP status 200)"),
        (Reply(502, b"<html>"), "UnreadableAnswer", "the answer is not JSON (HTTP status 502)"),
        (Reply(500, b"{}"), "UnreadableAnswer", "an error without a usable code (HTTP status 500)"),
        (Reply(400, b'{"Code": "<b>"}'), "UnreadableAnswer", "an error without a usable code (HTTP status 400)"),
        (Reply(200, b"{}"), "UnreadableAnswer", "the answer has no complete credentials in it"),
        (Reply(200, b'{"Credentials": []}'), "UnreadableAnswer", "the answer has no complete credentials in it"),
        (Reply(200, b"x" * 70_000), "NoAnswer", "the answer is longer than 65536 bytes"),
    ],
)
async def test_an_answer_that_cannot_be_right_is_no_answer(reply: Reply, code: str, message: str) -> None:
    async with sts_of(lambda _: reply) as (sts, _):
        error = await refused(sts)

    assert (error.code, error.error_class, error.reason) == (code, ErrorClass.TRANSIENT, Reason.CLOUD_UNREACHABLE)
    assert message in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AccessKeyId", None),
        ("AccessKeySecret", ""),
        ("AccessKeySecret", 3),
        ("SecurityToken", "two words"),
        ("SecurityToken", "line\r\nx-injected: 1"),
        ("Expiration", "tomorrow"),
        ("Expiration", "2026-11-24T10:00:00"),
        ("Expiration", None),
    ],
)
async def test_incomplete_credentials_are_none(name: str, value: object) -> None:
    body = {"Credentials": issued(1, FakeClock().wall) | {name: value}}
    async with sts_of(lambda _: Reply(200, json.dumps(body).encode())) as (sts, _):
        error = await refused(sts)

    assert error.message == "the answer has no complete credentials in it"


async def test_an_sts_that_cannot_be_reached_is_named() -> None:
    async with open_session(None) as session:
        sts = Sts(session, sts_endpoint(override="http://127.0.0.1:9"), FakeClock(), lambda: "nonce")
        error = await refused(sts)

    assert (error.action, error.code, error.reason) == ("AssumeRole", "ConnectionFailed", Reason.CLOUD_UNREACHABLE)
    assert error.message.startswith("127.0.0.1:9: no connection: ")


async def test_an_sts_that_hangs_is_waited_for_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from tair_operator.aliyun.credentials import sts as module  # noqa: PLC0415 - to shorten the wait

    deadline = module.LIMITS.total
    monkeypatch.setattr(module, "LIMITS", replace(module.LIMITS, total=timedelta(seconds=0.1)))
    async with sts_of(lambda _: Reply(200, b"{", "Content-Length: 9\r\n")) as (sts, _):
        error = await refused(sts)

    assert deadline == timedelta(seconds=5)
    assert (error.code, error.reason) == ("NoAnswer", Reason.CLOUD_UNREACHABLE)


@pytest.mark.parametrize(("header", "pause"), [("x-acs-retry-after: 3000\r\n", 3.0), ("", 1.0)])
async def test_throttling_stops_the_calls_for_that_account_and_for_no_other(header: str, pause: float) -> None:
    clock, throttling = FakeClock(), refusal(400, "Throttling.User", headers=header)
    async with sts_of(lambda _: throttling, clock) as (sts, server):
        first = await refused(sts)
        clock.advance(pause - 0.5)
        second = await refused(sts)
        other = await refused(sts, Role(OTHER_ARN, "tair-operator"))
        clock.advance(0.5)
        third = await refused(sts)

    assert [error.code for error in (first, second, other, third)] == [
        "Throttling.User",
        "Paused",
        "Throttling.User",
        "Throttling.User",
    ]
    assert (second.reason, second.retry_after) == (Reason.THROTTLED, timedelta(seconds=0.5))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("0", None), ("soon", None), ("1500", 1.5), ("9" * 5000, 60.0)]
)
async def test_a_pause_is_read_and_bounded(text: str, expected: float | None) -> None:
    async with sts_of(lambda _: refusal(400, "Throttling", headers=f"x-acs-retry-after: {text}\r\n")) as (sts, _):
        error = await refused(sts)

    assert error.retry_after == (None if expected is None else timedelta(seconds=expected))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (certificate_error(), "ConnectionFailed", "the certificate is not trusted: ValueError"),
        (dns_error(), "ConnectionFailed", "the host name cannot be resolved: ***"),
        (aiohttp.ServerDisconnectedError(JWT), "NoAnswer", "the connection was closed without an answer"),
    ],
    ids=["certificate", "name", "broken"],
)
async def test_a_failure_is_told_without_what_the_error_carries(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, message: str
) -> None:
    def fail(*_: object, trace_request_ctx: SimpleNamespace, **__: object) -> None:
        # As aiohttp does, which tells its tracer when a request begins, and when its headers leave.
        trace_request_ctx.begin()
        if code == "NoAnswer":
            trace_request_ctx.send()
        raise error

    async with sts_of(issuing(FakeClock().wall)) as (sts, _):
        monkeypatch.setattr(aiohttp.ClientSession, "request", fail)
        failure = await refused(sts, with_token=True)

    assert (failure.code, failure.message.partition(": ")[2]) == (code, message)
    assert failure.__cause__ is not None
    assert failure.__cause__.__cause__ is None


@pytest.mark.parametrize(
    ("reply", "code", "outcome"),
    [
        (None, "OK", "answered"),
        (refusal(404, "EntityNotExist.Role"), "EntityNotExist.Role", "rejected"),
        (refusal(400, "NeverHeardOf"), "Other", "rejected"),
        (refusal(503, "ServiceUnavailable"), "ServiceUnavailable", "rejected"),
        (Reply(200, b"{}"), "UnreadableAnswer", "unknown"),
        (Reply(200, b"{", "Content-Length: 9\r\n"), "NoAnswer", "unknown"),
    ],
)
async def test_an_exchange_counts_once_as_a_request_to_the_cloud(
    monkeypatch: pytest.MonkeyPatch, reply: Reply | None, code: str, outcome: str
) -> None:
    from tair_operator.aliyun.credentials import sts as module  # noqa: PLC0415 - to shorten the wait

    monkeypatch.setattr(module, "LIMITS", replace(module.LIMITS, total=timedelta(seconds=0.3)))
    requests = Meter("tair_operator_cloud_requests_total")
    good = issuing(FakeClock().wall)
    async with sts_of((lambda _: reply) if reply is not None else good) as (sts, _):
        with suppress(CloudError):
            await sts.assume_role_with_oidc(JWT, PROVIDER, ROLE, SUBJECT)

    assert requests.gained() == {("AssumeRoleWithOIDC", code, outcome): 1}


async def test_an_exchange_that_did_not_leave_counts_as_that_and_a_pause_as_nothing() -> None:
    requests = Meter("tair_operator_cloud_requests_total")
    async with open_session(None) as session:
        await refused(Sts(session, sts_endpoint(override="http://127.0.0.1:9"), FakeClock(), lambda: "nonce"))
    async with sts_of(lambda _: refusal(400, "Throttling.User")) as (sts, _):
        for _number in range(2):
            await refused(sts)

    assert requests.gained() == {
        ("AssumeRole", "ConnectionFailed", "not_sent"): 1,
        ("AssumeRole", "Throttling.User", "rejected"): 1,
    }
