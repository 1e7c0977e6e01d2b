"""The operator's own sources: the role of the node, the role of the pod, and what is assumed on top."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tair_operator.__main__ import build_keyring
from tair_operator.aliyun.credentials import (
    Credentials,
    CredentialsProvider,
    EcsRole,
    EnvironmentCredentials,
    FileCredentials,
    Keyring,
)
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Reason
from tair_operator.ports import CloudError, ErrorClass
from tair_operator.settings import Settings
from tests.fakes import FakeClock
from tests.integration.credentials_server import (
    SECRET,
    TOKEN,
    CredentialsServer,
    FakeIdentities,
    Reply,
    Script,
    credentials_server,
    form,
    issued,
    issuing,
    refusal,
)
from tests.meters import Meter
from tests.recorder import RecordedRequest

ROLES = "/latest/meta-data/ram/security-credentials/"
ARN = "acs:ram::1234567890123456:role/tair"
PROVIDER = "acs:ram::1234567890123456:oidc-provider/cluster"
HOUR = timedelta(hours=1)
CLAIMS = "eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6dGFpci1zeXN0ZW06dGFpci1vcGVyYXRvciJ9"
JWT = f"eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.c2lnbmF0dXJl"
KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIown", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "ownSecret"}


async def failed(provider: CredentialsProvider | EcsRole) -> CloudError:
    """Return what a source raises."""
    with pytest.raises(CloudError) as caught:
        await (provider.fetch() if isinstance(provider, EcsRole) else provider.get())
    assert not caught.value.sent
    return caught.value


@asynccontextmanager
async def own_of(
    script: Script,
    environ: Mapping[str, str],
    clock: FakeClock | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[Keyring, CredentialsServer]]:
    """Yield a keyring as ``__main__`` builds it, and the server that is STS and metadata service to it."""
    async with credentials_server(script) as server, open_session(None) as session:
        chosen = Settings(sts_endpoint=server.url, ecs_metadata_endpoint=server.url, allow_http=True, **settings)
        yield build_keyring(chosen, environ, FakeIdentities(), session, clock or FakeClock()), server


# --- The role of the node ---


def node(clock: FakeClock, role: str = "node-role") -> Script:
    """Return a metadata service to which this role is attached."""
    good = {
        "/latest/api/token": Reply(200, b"metadata-token\n"),
        ROLES: Reply(200, role.encode()),
        ROLES + role: Reply(200, json.dumps({"Code": "Success", **issued(1, clock.wall + HOUR)}).encode()),
    }
    return lambda request: good.get(request.target, Reply(404))


@asynccontextmanager
async def metadata(script: Script, name: str | None = None) -> AsyncIterator[tuple[EcsRole, CredentialsServer]]:
    """Yield a client of the metadata service and the service."""
    async with credentials_server(script) as server, open_session(None) as session:
        yield EcsRole(session, server.url, name), server


async def test_the_role_of_the_node_is_asked_for_with_a_token() -> None:
    clock = FakeClock()
    async with metadata(node(clock)) as (role, server):
        credentials = await role.fetch()

    assert credentials == Credentials("STS.number1", SECRET, TOKEN, clock.wall + HOUR)
    assert [(request.method, request.target) for request in server.requests] == [
        ("PUT", "/latest/api/token"),
        ("GET", ROLES),
        ("GET", ROLES + "node-role"),
    ]
    ask, *rest = [request.by_name for request in server.requests]
    assert ask["x-aliyun-ecs-metadata-token-ttl-seconds"] == "60"
    assert [headers["x-aliyun-ecs-metadata-token"] for headers in rest] == ["metadata-token"] * 2


async def test_a_role_that_is_named_is_not_asked_for() -> None:
    async with metadata(node(FakeClock()), "node-role") as (role, server):
        await role.fetch()

    assert [request.target for request in server.requests] == ["/latest/api/token", ROLES + "node-role"]


def only(path: str, reply: Reply) -> Script:
    """Return a metadata service that answers one path differently."""
    good = node(FakeClock())
    return lambda request: reply if request.target == path else good(request)


async def test_a_node_without_a_role_is_told_so() -> None:
    async with metadata(only(ROLES, Reply(404, b"<html>"))) as (role, _):
        error = await failed(role)

    assert (error.action, error.code, error.http_status) == ("MetadataRole", "CredentialsMissing", 404)
    assert error.message == (
        "no RAM role is attached to this ECS instance: attach one, or choose another CREDENTIALS_SOURCE"
    )


async def test_a_node_with_another_role_is_told_so() -> None:
    async with metadata(node(FakeClock()), "other-role") as (role, _):
        error = await failed(role)

    assert (error.action, error.code, error.http_status) == ("MetadataCredentials", "CredentialsMissing", 404)
    assert error.message == (
        "the role other-role is not attached to this ECS instance: attach it, or correct ECS_ROLE_NAME"
    )


@pytest.mark.parametrize(
    ("action", "path", "status", "body"),
    [
        ("MetadataToken", "/latest/api/token", 403, b"no"),
        ("MetadataToken", "/latest/api/token", 200, b"two words"),
        ("MetadataRole", ROLES, 500, b"trouble"),
        ("MetadataRole", ROLES, 200, b"../../elsewhere"),
        ("MetadataCredentials", ROLES + "node-role", 200, b'{"Code": "Failed"}'),
        ("MetadataCredentials", ROLES + "node-role", 200, b'{"Code": "Success"}'),
        ("MetadataCredentials", ROLES + "node-role", 200, b"no JSON"),
        ("MetadataCredentials", ROLES + "node-role", 500, b"{}"),
    ],
)
async def test_an_answer_of_the_metadata_service_that_cannot_be_right_is_none(
    action: str, path: str, status: int, body: bytes
) -> None:
    async with metadata(only(path, Reply(status, body))) as (role, _):
        error = await failed(role)

    assert (error.action, error.code, error.error_class) == (action, "UnreadableAnswer", ErrorClass.TRANSIENT)
    assert error.message == f"the metadata service gave no usable answer (HTTP status {status})"


async def test_each_question_to_the_metadata_service_counts_as_a_request_to_the_cloud() -> None:
    requests = Meter("tair_operator_cloud_requests_total")
    async with metadata(node(FakeClock())) as (role, _):
        await role.fetch()
    async with metadata(only(ROLES, Reply(404, b"<html>"))) as (role, _):
        await failed(role)
    async with open_session(None) as session:
        await failed(EcsRole(session, "http://127.0.0.1:9"))

    assert requests.gained() == {
        ("MetadataToken", "OK", "answered"): 2,
        ("MetadataRole", "OK", "answered"): 1,
        ("MetadataCredentials", "OK", "answered"): 1,
        ("MetadataRole", "Other", "rejected"): 1,
        ("MetadataToken", "ConnectionFailed", "not_sent"): 1,
    }


async def test_without_a_metadata_service_the_message_says_where_there_is_one() -> None:
    async with open_session(None) as session:
        error = await failed(EcsRole(session, "http://127.0.0.1:9"))

    assert (error.code, error.error_class) == ("ConnectionFailed", ErrorClass.TRANSIENT)
    assert error.message.startswith("http://127.0.0.1:9: no connection: ")
    assert error.message.endswith("; only an ECS instance can reach the metadata service")


# --- The role of the pod ---


def pod(tmp_path: Path, token: str = f"{JWT}\n", **changes: str) -> dict[str, str]:
    """Return the variables that the pod identity webhook sets."""
    (tmp_path / "token").write_text(token, encoding="utf-8")
    return {
        "ALIBABA_CLOUD_ROLE_ARN": ARN,
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": PROVIDER,
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(tmp_path / "token"),
    } | changes


async def test_the_token_of_the_pod_is_read_for_each_exchange_and_stripped(tmp_path: Path) -> None:
    clock, environ = FakeClock(), pod(tmp_path)
    async with own_of(issuing(clock.wall), environ, clock, credentials_source="RRSA") as (keyring, server):
        own = keyring.provider_of(None)
        first = await own.get()
        (tmp_path / "token").write_text(f"new.{CLAIMS}.token\n\n", encoding="utf-8")
        clock.advance(timedelta(minutes=46))
        second = await own.get()

    assert (first.access_key_id, second.access_key_id) == ("STS.number1", "STS.number2")
    assert [form(request)["OIDCToken"] for request in server.requests] == [JWT, f"new.{CLAIMS}.token"]
    assert form(server.requests[0]) == {
        "DurationSeconds": "3600",
        "OIDCProviderArn": PROVIDER,
        "OIDCToken": JWT,
        "RoleArn": ARN,
        "RoleSessionName": "tair-operator",
    }


async def test_a_refusal_names_the_subject_that_the_token_is_about(tmp_path: Path) -> None:
    script: Script = lambda _: refusal(401, "AuthenticationFail.NoPermission")  # noqa: E731
    async with own_of(script, pod(tmp_path), credentials_source="RRSA") as (keyring, _):
        error = await failed(keyring.provider_of(None))

    assert error.reason is Reason.ACCESS_DENIED
    assert "with oidc:sub system:serviceaccount:tair-system:tair-operator and" in error.message


async def test_a_token_that_says_nothing_is_exchanged_all_the_same(tmp_path: Path) -> None:
    script: Script = lambda _: refusal(401, "AuthenticationFail.NoPermission")  # noqa: E731
    async with own_of(script, pod(tmp_path, "a.!.c"), credentials_source="RRSA") as (keyring, _):
        error = await failed(keyring.provider_of(None))

    assert "with oidc:sub system:serviceaccount:<namespace>:<name> of the operator and" in error.message


@pytest.mark.parametrize(
    ("changes", "token", "code", "message"),
    [
        (
            {"ALIBABA_CLOUD_ROLE_ARN": ""},
            JWT,
            "CredentialsMissing",
            "environment variable ALIBABA_CLOUD_ROLE_ARN is missing or empty: label the namespace for ",
        ),
        (
            {"ALIBABA_CLOUD_ROLE_ARN": "tair"},
            JWT,
            "CredentialsMalformed",
            "environment variable ALIBABA_CLOUD_ROLE_ARN is no ARN: write acs:ram::<account id>:role/<name>",
        ),
        (
            {"ALIBABA_CLOUD_OIDC_PROVIDER_ARN": ARN},
            JWT,
            "CredentialsMalformed",
            "environment variable ALIBABA_CLOUD_OIDC_PROVIDER_ARN is no ARN: write acs:ram::<account id>:oidc-provider",
        ),
        (
            {"ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/nowhere"},
            JWT,
            "CredentialsMissing",
            "the token file that ALIBABA_CLOUD_OIDC_TOKEN_FILE names cannot be read: No such file or directory",
        ),
        (
            {},
            " \n",
            "CredentialsMissing",
            "the token file that ALIBABA_CLOUD_OIDC_TOKEN_FILE names is empty",
        ),
        (
            {},
            "no token",
            "CredentialsMalformed",
            "the token file that ALIBABA_CLOUD_OIDC_TOKEN_FILE names holds no token",
        ),
    ],
)
async def test_what_is_said_when_the_pod_is_not_set_up(
    tmp_path: Path, changes: dict[str, str], token: str, code: str, message: str
) -> None:
    environ = pod(tmp_path, token, **changes)
    async with own_of(issuing(FakeClock().wall), environ, credentials_source="RRSA") as (keyring, server):
        error = await failed(keyring.provider_of(None))

    assert (error.action, error.code) == ("Credentials", code)
    assert error.message.startswith(message)
    assert server.requests == []


async def test_a_pod_without_any_of_the_variables_is_told_all_three() -> None:
    async with own_of(issuing(FakeClock().wall), {}, credentials_source="RRSA") as (keyring, _):
        error = await failed(keyring.provider_of(None))

    assert error.message == (
        "environment variable ALIBABA_CLOUD_ROLE_ARN and environment variable ALIBABA_CLOUD_OIDC_PROVIDER_ARN and "
        "environment variable ALIBABA_CLOUD_OIDC_TOKEN_FILE are missing or empty: label the namespace for ACK's pod "
        "identity webhook, annotate the operator's ServiceAccount, and start the pod again"
    )


async def test_the_identity_provider_of_the_settings_comes_before_that_of_the_webhook(tmp_path: Path) -> None:
    clock, other = FakeClock(), PROVIDER.replace("cluster", "other")
    script = issuing(clock.wall)
    async with own_of(script, pod(tmp_path), clock, credentials_source="RRSA", oidc_provider_arn=other) as (
        keyring,
        server,
    ):
        await keyring.provider_of(None).get()

    assert form(server.requests[0])["OIDCProviderArn"] == other


# --- Exactly one source, and a role on top of it ---


async def test_each_source_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    script = node(FakeClock())
    async with own_of(script, KEYS) as (keyring, _):
        environment = keyring.provider_of(None)
    async with own_of(script, KEYS, credentials_directory=tmp_path) as (keyring, _):
        files = keyring.provider_of(None)
        nothing_there = await failed(files)
    async with own_of(script, KEYS, credentials_source="ECSRAMRole") as (keyring, _):
        of_the_node = await keyring.provider_of(None).get()

    assert isinstance(environment, EnvironmentCredentials)
    assert await environment.get() == Credentials("LTAIown", "ownSecret")
    assert isinstance(files, FileCredentials)
    # The variables and the node have some, and are not asked.
    assert nothing_there.reason is Reason.CREDENTIALS_UNAVAILABLE
    assert of_the_node.access_key_id == "STS.number1"


async def test_a_role_is_assumed_on_top_with_all_that_was_set() -> None:
    clock = FakeClock()
    settings = {
        "assume_role_arn": ARN,
        "assume_role_external_id": "ours",
        "role_session_name": "blue",
        "role_session_seconds": 900,
    }
    async with own_of(issuing(clock.wall), KEYS, clock, **settings) as (keyring, server):
        credentials = await keyring.provider_of(None).get()

    assert credentials.access_key_id == "STS.number1"
    assert "Credential=LTAIown," in server.requests[0].by_name["authorization"]
    assert form(server.requests[0]) == {
        "DurationSeconds": "900",
        "ExternalId": "ours",
        "RoleArn": ARN,
        "RoleSessionName": "blue",
    }


async def test_the_role_of_the_node_may_assume_another() -> None:
    clock = FakeClock()
    metadata_service, sts = node(clock), issuing(clock.wall)

    def both(request: RecordedRequest) -> Reply:
        return sts(request) if request.method == "POST" else metadata_service(request)

    settings = {"credentials_source": "ECSRAMRole", "assume_role_arn": ARN}
    async with own_of(both, {}, clock, **settings) as (keyring, server):
        await keyring.provider_of(None).get()

    assert server.requests[-1].by_name["x-acs-security-token"] == TOKEN


async def test_keys_that_sts_refused_are_read_again(tmp_path: Path) -> None:
    clock = FakeClock()
    good = issuing(clock.wall)

    def script(request: RecordedRequest) -> Reply:
        is_old = "Credential=LTAIold," in request.by_name["authorization"]
        return refusal(404, "InvalidAccessKeyId.NotFound") if is_old else good(request)

    (tmp_path / "accessKeyId").write_text("LTAIold", encoding="utf-8")
    (tmp_path / "accessKeySecret").write_text("secret", encoding="utf-8")
    settings = {"credentials_directory": tmp_path, "assume_role_arn": ARN}
    async with own_of(script, {}, clock, **settings) as (keyring, _):
        own = keyring.provider_of(None)
        error = await failed(own)
        (tmp_path / "accessKeyId").write_text("LTAInew", encoding="utf-8")
        clock.advance(5)
        credentials = await own.get()

    assert (error.action, error.code) == ("AssumeRole", "InvalidAccessKeyId.NotFound")
    assert credentials.access_key_id == "STS.number1"


async def test_a_throttled_role_on_top_leaves_the_keys_alone() -> None:
    clock = FakeClock()
    async with own_of(lambda _: refusal(400, "Throttling.User"), KEYS, clock, assume_role_arn=ARN) as (keyring, _):
        error = await failed(keyring.provider_of(None))

    assert (error.reason, error.error_class) == (Reason.THROTTLED, ErrorClass.TRANSIENT)


async def test_the_earliest_expiry_is_known() -> None:
    clock = FakeClock()
    async with own_of(issuing(clock.wall), KEYS, clock, assume_role_arn=ARN) as (keyring, _):
        before = keyring.earliest_expiry
        await keyring.provider_of(None).get()

        assert (before, keyring.earliest_expiry) == (None, clock.wall + HOUR)


def test_credentials_print_without_what_is_secret() -> None:
    credentials = Credentials("STS.number1", SECRET, TOKEN, FakeClock().wall)

    assert repr(credentials) == str(replace(credentials)) == "Credentials(STS.***)"
