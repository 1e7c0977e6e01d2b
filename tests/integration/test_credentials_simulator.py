"""Every way to credentials, from end to end: our client and the simulated cloud, STS and metadata service."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
from alibabacloud_credentials.provider import (
    EcsRamRoleCredentialsProvider,
    OIDCRoleArnCredentialsProvider,
    RamRoleArnCredentialsProvider,
)
from blockbuster import blockbuster_ctx

from tair_operator.__main__ import SystemClock, build_keyring
from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import Keyring
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Action, Reason
from tair_operator.ports import CloudError, Principal, PrincipalKind, Target
from tair_operator.settings import CredentialsSource, Settings
from tair_simulator.cloud import Cloud
from tair_simulator.seed import parse_seed
from tests.integration.credentials_server import FakeIdentities, form
from tests.integration.simulator_client import serving
from tests.recorder import recording
from tests.unit.simulator.identity import PROVIDER, SUBJECT, Token, provider

ACCOUNT = "acs:ram::1234567890123456"
ROLE, POD_ROLE, NODE_ROLE = f"{ACCOUNT}:role/tair", f"{ACCOUNT}:role/pod", f"{ACCOUNT}:role/node"
ORDERS = "r-bp1zxszhcgatnx0001"
ALL = [{"effect": "Allow", "actions": ["kvstore:*"]}]
SEED: dict[str, Any] = {
    "accessKeys": {
        "userKeyId": {"secret": "userSecret", "policies": [{"effect": "Allow", "actions": ["sts:AssumeRole"]}]},
        "firstKeyId": {"secret": "firstSecret"},
        "secondKeyId": {"secret": "secondSecret"},
        "rootKeyId": {"secret": "rootSecret"},
    },
    "roles": {
        ROLE: {
            "policies": ALL,
            "trust": {"accessKeyIds": ["userKeyId"], "oidc": [{"provider": PROVIDER, "subjects": [SUBJECT]}]},
        },
        POD_ROLE: {"policies": ALL, "trust": {"oidc": [{"provider": PROVIDER, "subjects": ["system:*:operator"]}]}},
        NODE_ROLE: {"policies": ALL},
    },
    "oidcProviders": {PROVIDER: provider()},
    "ecs": {"role": "node"},
    "instances": {ORDERS: {"regionId": "cn-hangzhou", "directConnection": True}},
}
SECRET = Principal("shop", PrincipalKind.SECRET, "keys")
SERVICE_ACCOUNT = Principal("shop", PrincipalKind.SERVICE_ACCOUNT, "orders")


def own_keys(name: str) -> dict[str, str]:
    """Return the variables that make an AccessKey of the seed the operator's own."""
    return {"ALIBABA_CLOUD_ACCESS_KEY_ID": f"{name}KeyId", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": f"{name}Secret"}


def pod(tmp_path: Path, subject: str = "system:serviceaccount:operator") -> dict[str, str]:
    """Return what the pod identity webhook sets up, with a genuine token."""
    (tmp_path / "token").write_text(f"{Token(datetime.now(UTC), subject)}\n", encoding="utf-8")
    return {
        "ALIBABA_CLOUD_ROLE_ARN": POD_ROLE,
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": PROVIDER,
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(tmp_path / "token"),
    }


@dataclass
class World:
    """The cloud, an operator's client, and the cluster that it looks into."""

    url: str
    cloud: Cloud
    client: AliyunClient
    keyring: Keyring
    kubernetes: FakeIdentities
    clock: "ShiftedClock"
    control: aiohttp.ClientSession

    async def look_and_release(self, principal: Principal | None) -> None:
        target = Target(ORDERS, "cn-hangzhou", principal)
        seen = await self.client.observe(target)
        assert seen.instance is not None
        answer = await (await self.client.prepare(Action.RELEASE, target)).send()
        assert answer.http_status == 200

    async def look(self, principal: Principal | None) -> None:
        await self.client.observe(Target(ORDERS, "cn-hangzhou", principal))

    async def unseen(self, principal: Principal | None) -> CloudError:
        with pytest.raises(CloudError) as caught:
            await self.look(principal)
        return caught.value

    async def put(self, path: str, body: object) -> None:
        async with self.control.put(f"{self.url}/_simulator/{path}", json=body) as response:
            assert response.ok, await response.text()

    def calls(self) -> Counter[str]:
        return Counter(entry.action for entry in self.cloud.ledger.entries())

    def callers(self, action: str) -> list[str | None]:
        return [entry.access_key_id for entry in self.cloud.ledger.entries(action)]


@dataclass
class ShiftedClock(SystemClock):
    """The machine's clocks; since the start, more time may have passed than did."""

    shift: float = field(default=0.0)

    def boottime(self) -> float:
        """Return seconds."""
        return super().boottime() + self.shift


_numbers = count()


@asynccontextmanager
async def world(
    environ: Mapping[str, str] | None = None,
    *,
    seed: dict[str, Any] | None = None,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[World]:
    """Yield an operator's client, built as ``__main__`` builds it, and the cloud that it calls."""
    cloud, kubernetes, clock = Cloud(parse_seed(json.dumps(seed or SEED))), FakeIdentities(), ShiftedClock()
    async with serving(cloud) as url, open_session(None) as session, aiohttp.ClientSession() as control:
        chosen = Settings(endpoint=url, sts_endpoint=url, ecs_metadata_endpoint=url, allow_http=True, **settings)
        keyring = build_keyring(chosen, environ or {}, kubernetes, session, clock)
        client = AliyunClient(
            session=session,
            credentials=keyring.provider_of,
            limiter=Limiter(clock=time.monotonic, rate=1000, burst=1000),
            clock=clock,
            new_nonce=lambda: f"{time.time_ns()}-{next(_numbers)}",
            endpoint=url,
        )
        yield World(url, cloud, client, keyring, kubernetes, clock, control)


# --- From credentials to a release ---


async def test_a_role_that_keys_assume_looks_and_releases() -> None:
    async with world(own_keys("user"), assume_role_arn=ROLE) as w:
        await w.look_and_release(None)

        assert w.callers("AssumeRole") == ["userKeyId"]
        assert {str(caller)[:4] for caller in w.callers("ReleaseDirectConnection")} == {"STS."}


async def test_the_role_of_the_pod_looks_and_releases(tmp_path: Path) -> None:
    async with world(pod(tmp_path), credentials_source="RRSA") as w:
        await w.look_and_release(None)

        assert w.calls()["AssumeRoleWithOIDC"] == 1


async def test_the_role_of_the_node_looks_and_releases() -> None:
    async with world(credentials_source="ECSRAMRole") as w:
        await w.look_and_release(None)

        assert [w.calls()[f"Metadata{part}"] for part in ("Token", "Role", "Credentials")] == [1, 1, 1]


async def test_the_keys_of_a_secret_look_and_release() -> None:
    async with world(own_keys("root")) as w:
        w.kubernetes.secrets["shop", "keys"] = {"accessKeyId": "firstKeyId", "accessKeySecret": "firstSecret"}
        await w.look_and_release(SECRET)

        assert w.callers("ReleaseDirectConnection") == ["firstKeyId"]


async def test_the_role_of_a_secret_looks_and_releases() -> None:
    async with world(own_keys("root")) as w:
        keys = {"accessKeyId": "userKeyId", "accessKeySecret": "userSecret", "roleArn": ROLE}
        w.kubernetes.secrets["shop", "keys"] = keys
        await w.look_and_release(SECRET)

        assert w.callers("AssumeRole") == ["userKeyId"]


async def test_the_role_of_a_service_account_looks_and_releases() -> None:
    async with world(own_keys("root"), oidc_provider_arn=PROVIDER) as w:
        w.kubernetes.accounts["shop", "orders"] = {"tair.alibabacloud.com/role-arn": ROLE}
        w.kubernetes.token = str(Token(datetime.now(UTC), SUBJECT))
        await w.look_and_release(SERVICE_ACCOUNT)

        assert w.calls()["AssumeRoleWithOIDC"] == 1


async def test_fifty_looks_at_once_cause_one_exchange_and_never_block_the_loop(tmp_path: Path) -> None:
    async with world(pod(tmp_path), credentials_source="RRSA", assume_role_arn=ROLE) as w:
        await w.put(f"roles/{POD_ROLE}", {"policies": [{"effect": "Allow", "actions": ["*"]}]})
        await w.put(f"roles/{ROLE}", {"trust": {"roles": [POD_ROLE]}, "policies": ALL})
        with blockbuster_ctx("tair_operator"):
            await asyncio.gather(*(w.look(None) for _ in range(50)))

        assert (w.calls()["AssumeRoleWithOIDC"], w.calls()["AssumeRole"]) == (1, 1)


# --- What ends, and what changes ---


async def test_an_expired_token_is_refreshed_once(tmp_path: Path) -> None:
    async with world(pod(tmp_path), credentials_source="RRSA") as w:
        await w.look(None)
        (session,) = set(w.callers("DescribeInstances"))
        await w.put(f"accessKeys/{session}", {"expiration": "2020-01-01T00:00:00Z"})
        w.clock.shift = 60
        results = await asyncio.gather(*(w.look(None) for _ in range(20)), return_exceptions=True)
        await w.look(None)

    codes = {result.code for result in results if isinstance(result, CloudError)}
    assert codes == {"InvalidSecurityToken.Expired"}
    assert w.calls()["AssumeRoleWithOIDC"] == 2


async def test_a_session_is_renewed_before_it_ends() -> None:
    async with world(own_keys("user"), assume_role_arn=ROLE) as w:
        for minutes in (0, 44, 46, 60, 90, 92):
            w.clock.shift = minutes * 60
            await w.look(None)

        assert w.calls()["AssumeRole"] == 3


async def test_while_sts_is_away_a_valid_session_goes_on() -> None:
    async with world(own_keys("user"), assume_role_arn=ROLE) as w:
        await w.look(None)
        fault = {"kind": "error", "action": "AssumeRole", "code": "ServiceUnavailable", "httpStatus": 503, "count": 100}
        async with w.control.post(f"{w.url}/_simulator/faults", json=fault) as response:
            assert response.status == 201, await response.text()
        w.clock.shift = 46 * 60
        for _ in range(10):
            await w.look(None)

        assert w.calls()["AssumeRole"] == 2
        assert len(set(w.callers("DescribeInstances"))) == 1


async def test_a_rotated_secret_takes_effect_after_the_old_key_was_refused() -> None:
    async with world(own_keys("root")) as w:
        w.kubernetes.secrets["shop", "keys"] = {"accessKeyId": "firstKeyId", "accessKeySecret": "firstSecret"}
        await w.look(SECRET)
        w.kubernetes.secrets["shop", "keys"] = {"accessKeyId": "secondKeyId", "accessKeySecret": "secondSecret"}
        async with w.control.delete(f"{w.url}/_simulator/accessKeys/firstKeyId") as response:
            assert response.ok
        w.clock.shift = 10
        refused = await w.unseen(SECRET)
        await w.look(SECRET)

        assert (refused.code, refused.reason) == ("InvalidAccessKeyId.NotFound", Reason.CREDENTIALS_INVALID)
        assert set(w.callers("DescribeInstances")) >= {"firstKeyId", "secondKeyId"}


# --- What STS refuses ---


async def refused_by_sts(
    role: str = ROLE, subject: str = SUBJECT, claims: dict[str, object] | None = None
) -> CloudError:
    """Return what a look ends with whose ServiceAccount presents this token."""
    async with world(own_keys("root"), oidc_provider_arn=PROVIDER) as w:
        w.kubernetes.accounts["shop", "orders"] = {"tair.alibabacloud.com/role-arn": role}
        w.kubernetes.token = str(Token(datetime.now(UTC), subject, claims=claims or {}))
        return await w.unseen(SERVICE_ACCOUNT)


async def test_a_role_that_trusts_another_namespace_is_refused() -> None:
    error = await refused_by_sts(subject="system:serviceaccount:elsewhere:orders")

    assert (error.action, error.code, error.http_status) == (
        "AssumeRoleWithOIDC",
        "AuthenticationFail.NoPermission",
        401,
    )
    assert (error.reason, error.request_id is not None) == (Reason.ACCESS_DENIED, True)
    assert "oidc:sub system:serviceaccount:shop:orders" in error.message


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1_600_000_000}, "AuthenticationFail.OIDCToken.Expired"),
        ({"aud": ["elsewhere"]}, "AuthenticationFail.OIDCToken.AudienceNotMatch"),
        ({"iss": "https://elsewhere"}, "AuthenticationFail.OIDCToken.IssuerNotMatch"),
    ],
)
async def test_a_token_that_sts_does_not_take_makes_the_credentials_invalid(
    claims: dict[str, object], code: str
) -> None:
    error = await refused_by_sts(claims=claims)

    assert (error.code, error.reason, error.sent) == (code, Reason.CREDENTIALS_INVALID, False)


async def test_a_role_that_does_not_exist_is_invalid() -> None:
    error = await refused_by_sts(role=f"{ACCOUNT}:role/nobody")

    assert (error.code, error.reason) == ("EntityNotExist.Role", Reason.CREDENTIALS_INVALID)
    assert error.message.endswith("(create the RAM role, or correct its ARN)")


async def test_the_keys_of_the_account_itself_may_assume_no_role() -> None:
    async with world(own_keys("root"), assume_role_arn=ROLE) as w:
        error = await w.unseen(None)

    assert (error.action, error.code, error.reason) == ("AssumeRole", "NoPermission", Reason.ACCESS_DENIED)
    assert error.message.startswith("Roles may not be assumed by root accounts. (the RAM user needs sts:AssumeRole on ")


async def test_a_node_without_a_role_has_no_credentials() -> None:
    async with world(credentials_source="ECSRAMRole") as w:
        await w.put("ecs", {"role": None})
        error = await w.unseen(None)

    assert (error.action, error.reason) == ("MetadataRole", Reason.CREDENTIALS_UNAVAILABLE)


# --- Alibaba's own credentials package as oracle ---

Shape = tuple[str, bool, bool, bool]


def shape(key_id: str, secret: str, token: str | None, expires_at: float) -> Shape:
    """Return what two sessions that were issued one after the other have in common."""
    return key_id[:4], len(secret) > 20, bool(token), abs(expires_at - time.time() - 3600) < 60


async def ours(w: World) -> Shape:
    got = await w.keyring.provider_of(None).get()
    assert got.expires_at is not None
    return shape(got.access_key_id, got.access_key_secret, got.security_token, got.expires_at.timestamp())


def theirs(provider: Any) -> Shape:  # noqa: ANN401 - the package has no types
    got = provider.get_credentials()
    return shape(got.get_access_key_id(), got.get_access_key_secret(), got.get_security_token(), got._expiration)


def alibabas_oidc(url: str, token_file: str) -> Any:  # noqa: ANN401 - the package has no types
    return OIDCRoleArnCredentialsProvider(
        role_arn=POD_ROLE,
        oidc_provider_arn=PROVIDER,
        oidc_token_file_path=token_file,
        role_session_name="tair-operator",
        sts_endpoint=url,
    )


def alibabas_role(url: str) -> Any:  # noqa: ANN401 - the package has no types
    return RamRoleArnCredentialsProvider(
        access_key_id="userKeyId",
        access_key_secret="userSecret",
        role_arn=ROLE,
        role_session_name="tair-operator",
        external_id="ours",
        sts_endpoint=url,
    )


def alibabas_node(url: str) -> Any:  # noqa: ANN401 - the package has no types
    provider = EcsRamRoleCredentialsProvider(disable_imds_v1=True, async_update_enabled=False)
    provider._EcsRamRoleCredentialsProvider__metadata_service_host = url
    return provider


async def test_the_package_and_we_get_the_same_for_a_pod(tmp_path: Path) -> None:
    environ = pod(tmp_path)
    async with world(environ, credentials_source="RRSA") as w:
        mine = await ours(w)
        (tmp_path / "token").write_text((tmp_path / "token").read_text().strip(), encoding="utf-8")
        other = await asyncio.to_thread(theirs, alibabas_oidc(w.url, str(tmp_path / "token")))

    assert mine == other == ("STS.", True, True, True)


async def test_the_package_and_we_get_the_same_for_keys_with_a_role() -> None:
    async with world(own_keys("user"), assume_role_arn=ROLE) as w:
        mine, other = await ours(w), await asyncio.to_thread(theirs, alibabas_role(w.url))

    assert mine == other == ("STS.", True, True, True)


async def test_the_package_and_we_get_the_same_for_a_node() -> None:
    async with world(credentials_source="ECSRAMRole") as w:
        w.cloud.directory.roles[NODE_ROLE] = w.cloud.directory.roles[NODE_ROLE].model_copy(
            update={"session_seconds": 3600}
        )
        mine, other = await ours(w), await asyncio.to_thread(theirs, alibabas_node(w.url))

    assert mine == other == ("STS.", True, True, True)


SIGNING = {"AccessKeyId", "Signature", "SignatureMethod", "SignatureNonce", "SignatureVersion", "Timestamp"}
COMMON = {"Action", "Format", "Version"}


def without_signature(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name not in SIGNING | COMMON}


async def recorded(provider: Any) -> dict[str, str]:  # noqa: ANN401 - the package has no types
    """Return the parameters that Alibaba's package sends."""
    async with recording() as recorder:
        with pytest.raises(Exception, match="error retrieving credentials"):
            await asyncio.to_thread(provider(f"http://{recorder.endpoint}").get_credentials)
    return dict(parse_qsl(recorder.requests[0].query, strict_parsing=True))


async def test_the_package_and_we_send_the_same_parameters_for_a_pod(tmp_path: Path) -> None:
    environ = pod(tmp_path)
    (tmp_path / "token").write_text((tmp_path / "token").read_text().strip(), encoding="utf-8")
    sent = await recorded(lambda url: alibabas_oidc(url, str(tmp_path / "token")))
    async with recording() as recorder, open_session(None) as session:
        chosen = Settings(
            sts_endpoint=f"http://{recorder.endpoint}", allow_http=True, credentials_source=CredentialsSource.RRSA
        )
        keyring = build_keyring(chosen, environ, FakeIdentities(), session, SystemClock())
        with pytest.raises(CloudError, match="no complete credentials"):
            await keyring.provider_of(None).get()
    (request,) = recorder.requests

    assert form(request) == without_signature(sent)
    query = dict(parse_qsl(request.query, strict_parsing=True))
    assert {name: query[name] for name in COMMON} == {name: sent[name] for name in COMMON}


async def test_the_package_and_we_send_the_same_parameters_for_keys_with_a_role() -> None:
    sent = await recorded(alibabas_role)
    async with recording() as recorder, open_session(None) as session:
        chosen = Settings(
            sts_endpoint=f"http://{recorder.endpoint}",
            allow_http=True,
            assume_role_arn=ROLE,
            assume_role_external_id="ours",
        )
        keyring = build_keyring(chosen, own_keys("user"), FakeIdentities(), session, SystemClock())
        with pytest.raises(CloudError, match="no complete credentials"):
            await keyring.provider_of(None).get()
    (request,) = recorder.requests

    assert form(request) == without_signature(sent)
    assert (request.by_name["x-acs-action"], request.by_name["x-acs-version"]) == (sent["Action"], sent["Version"])


async def test_the_package_and_we_ask_the_metadata_service_for_the_same() -> None:
    async with world(credentials_source="ECSRAMRole") as w:
        await ours(w)
        mine = [entry.action for entry in w.cloud.ledger.entries()]
        await asyncio.to_thread(theirs, alibabas_node(w.url))
        other = [entry.action for entry in w.cloud.ledger.entries()][len(mine) :]

    # The package asks for a token twice.
    assert sorted(set(mine)) == sorted(set(other)) == ["MetadataCredentials", "MetadataRole", "MetadataToken"]
