"""STS and the metadata server over HTTP: from an access key, a token or an instance to a call of R-kvstore."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.rpc_signature import sign, string_to_sign
from tair_simulator.seed import parse_seed
from tests.integration.simulator_client import FORM, Answer, SimulatorClient, serving
from tests.unit.simulator.identity import PROVIDER, Token, jwk, provider
from tests.unit.simulator.moving_clock import Time

RELEASE = "ReleaseDirectConnection"
ROLE = "acs:ram::1234567890123456:role/tair"
READER = [{"effect": "Allow", "actions": ["kvstore:Describe*"]}]
ASSUME = {"RoleArn": ROLE, "RoleSessionName": "orders"}
STS = {"x-acs-version": "2015-04-01"}
CREDENTIALS = "/latest/meta-data/ram/security-credentials/"
SEED = f"""
accessKeys:
  demo: {{secret: demoSecret, policies: [{{effect: Allow, actions: ['sts:AssumeRole']}}]}}
roles:
  {ROLE}:
    policies: {json.dumps(READER)}
    trust:
      accessKeyIds: [demo]
      oidc: [{{provider: '{PROVIDER}', subjects: ['system:serviceaccount:shop:orders']}}]
oidcProviders:
  {PROVIDER}: {json.dumps(provider())}
ecs: {{role: tair}}
instances:
  r-on: {{regionId: cn-hangzhou, directConnection: true}}
"""


@pytest.fixture
def time() -> Time:
    """The clock of the cloud and of the client."""
    return Time()


@pytest.fixture
async def client(time: Time) -> AsyncIterator[SimulatorClient]:
    """A client of a simulator that runs in this process."""
    async with serving(Cloud(parse_seed(SEED), time)) as url, aiohttp.ClientSession() as session:
        yield SimulatorClient(session, url, time)


async def assume(client: SimulatorClient, **parameters: str) -> Answer:
    """Assume the role with the access key."""
    return await client.call("AssumeRole", method="POST", form=True, headers=STS, **{**ASSUME, **parameters})


async def with_credentials(
    client: SimulatorClient, credentials: dict[str, str], action: str, token: str | None = None
) -> Answer:
    """Call an operation about the instance with temporary credentials, or with another token than theirs."""
    sent = credentials["SecurityToken"] if token is None else token
    return await client.call(
        action,
        InstanceId="r-on",
        key=credentials["AccessKeyId"],
        signing_key=credentials["AccessKeySecret"],
        headers={"x-acs-security-token": sent} if sent else {},
    )


async def exchange(client: SimulatorClient, token: object, **parameters: str) -> Answer:
    """Exchange an identity token; nothing of it is signed."""
    query = {
        "Action": "AssumeRoleWithOIDC",
        "Version": "2015-04-01",
        **ASSUME,
        "OIDCProviderArn": PROVIDER,
        "OIDCToken": str(token),
        **parameters,
    }
    return await client.plain("GET", f"/?{urlencode(query)}")


async def ledger(client: SimulatorClient) -> list[tuple[Any, ...]]:
    """Return what the ledger says about each call."""
    names = ("action", "version", "accessKeyId", "httpStatus", "code")
    return [tuple(entry[name] for name in names) for entry in await client.control("GET", "ledger")]


async def test_an_access_key_becomes_a_role(client: SimulatorClient) -> None:
    reply = await assume(client)

    credentials = reply.json["Credentials"]
    seen = await with_credentials(client, credentials, "DescribeInstanceAttribute")
    denied = await with_credentials(client, credentials, RELEASE)

    session = credentials["AccessKeyId"]
    assert sorted(reply.json) == ["AssumedRoleUser", "Credentials", "RequestId"]
    assert reply.json["RequestId"] == reply.headers["x-acs-request-id"]
    assert (seen.status, denied.code) == (200, (403, "Forbidden.RAM"))
    assert denied.json["AccessDeniedDetail"]["AuthPrincipalType"] == "AssumedRoleUser"
    assert denied.json["AccessDeniedDetail"]["AuthPrincipalDisplayName"] == "tair:orders"
    assert await ledger(client) == [
        ("AssumeRole", "2015-04-01", "demo", 200, None),
        ("DescribeInstanceAttribute", "2015-01-01", session, 200, None),
        (RELEASE, "2015-01-01", session, 403, "Forbidden.RAM"),
    ]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_older_signature_is_understood_by_both_services(client: SimulatorClient, method: str) -> None:
    async def call(number: int, **parameters: str) -> Answer:
        common = {
            "AccessKeyId": "demo",
            "Format": "JSON",
            "SignatureMethod": "HMAC-SHA1",
            "SignatureNonce": f"{method}-{number}",
            "SignatureVersion": "1.0",
            "Timestamp": "2026-01-02T03:04:05Z",
            **parameters,
        }
        text = urlencode({**common, "Signature": sign("demoSecret", string_to_sign(method, common))})
        if method == "GET":
            return await client.plain("GET", f"/?{text}")
        return await client.plain("POST", "/", {"content-type": FORM}, text)

    assumed = await call(1, Action="AssumeRole", Version="2015-04-01", **ASSUME)
    denied = await call(2, Action=RELEASE, Version="2015-01-01", InstanceId="r-on")

    assert (assumed.status, denied.code) == (200, (403, "Forbidden.RAM"))
    assert [entry[:3] for entry in await ledger(client)] == [
        ("AssumeRole", "2015-04-01", "demo"),
        (RELEASE, "2015-01-01", "demo"),
    ]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_identity_token_becomes_a_role(client: SimulatorClient, time: Time, method: str) -> None:
    parameters = {**ASSUME, "OIDCProviderArn": PROVIDER, "OIDCToken": str(Token(time()))}
    text = urlencode({"Action": "AssumeRoleWithOIDC", "Version": "2015-04-01", **parameters})
    if method == "GET":
        reply = await client.plain("GET", f"/?{text}")
    else:
        reply = await client.plain("POST", "/", {"content-type": FORM}, text)

    seen = await with_credentials(client, reply.json["Credentials"], "DescribeInstanceSSL")

    assert (reply.status, seen.status) == (200, 200)
    assert reply.json["OIDCTokenInfo"]["Subject"] == "system:serviceaccount:shop:orders"
    assert (await ledger(client))[0] == ("AssumeRoleWithOIDC", "2015-04-01", None, 200, None)


async def test_the_headers_may_name_the_exchange_too(client: SimulatorClient, time: Time) -> None:
    headers = {"x-acs-action": "AssumeRoleWithOIDC", **STS}
    parameters = {**ASSUME, "OIDCProviderArn": PROVIDER, "OIDCToken": str(Token(time()))}

    assert (await client.plain("POST", f"/?{urlencode(parameters)}", headers)).status == 200


async def test_a_refusal_has_the_form_of_the_real_one(client: SimulatorClient, time: Time) -> None:
    answer = await exchange(client, Token(time(), claims={"aud": "somebody else"}))

    body = answer.json
    assert answer.code == (401, "AuthenticationFail.OIDCToken.AudienceNotMatch")
    assert sorted(body) == ["Code", "HostId", "Message", "Recommend", "RequestId"]
    assert "product=Sts" in body["Recommend"]


@pytest.mark.parametrize(
    ("action", "code"),
    [("AssumeRole", (400, "MissingParameter")), ("GetCallerIdentity", (400, "MissingParameter"))],
)
async def test_everything_else_has_to_be_signed(client: SimulatorClient, action: str, code: tuple[int, str]) -> None:
    answer = await client.plain("GET", f"/?{urlencode({'Action': action, 'Version': '2015-04-01', **ASSUME})}")

    assert answer.code == code


async def test_refuses_other_methods_and_other_actions(client: SimulatorClient) -> None:
    assert (await client.call("GetCallerIdentity", headers=STS)).code == (404, "InvalidAction.NotFound")
    assert (await client.call("AssumeRole", method="PUT", headers=STS)).code == (400, "UnsupportedHTTPMethod")
    assert (await client.call("AssumeRole")).code == (404, "InvalidAction.NotFound")


async def test_a_token_belongs_to_its_key_and_expires(client: SimulatorClient, time: Time) -> None:
    first = (await assume(client)).json["Credentials"]
    second = (await exchange(client, Token(time()))).json["Credentials"]
    codes = [
        (await with_credentials(client, first, "DescribeInstanceSSL", token)).code
        for token in (second["SecurityToken"], "nonsense", "")
    ]
    time.pass_by(3600)

    assert codes == [
        (400, "InvalidSecurityToken.MismatchWithAccessKey"),
        (400, "InvalidSecurityToken.Malformed"),
        (400, "MissingSecurityToken"),
    ]
    assert (await with_credentials(client, first, "DescribeInstanceSSL")).code == (400, "InvalidSecurityToken.Expired")


async def test_a_session_is_ended_by_hand(client: SimulatorClient) -> None:
    credentials = (await assume(client)).json["Credentials"]
    name = credentials["AccessKeyId"]
    shown = await client.control("GET", f"accessKeys/{name}")
    await client.control("PUT", f"accessKeys/{name}", {"expiration": "2026-01-02T03:04:05Z"})
    expired = await with_credentials(client, credentials, "DescribeInstanceSSL")
    await client.control("DELETE", f"accessKeys/{name}")

    assert (shown["role"], shown["displayName"], shown["principalType"]) == (ROLE, "tair:orders", "AssumedRoleUser")
    assert shown["tokens"] == [{"expiration": "2026-01-02T04:04:05+00:00", "expired": False}]
    assert expired.code == (400, "InvalidSecurityToken.Expired")
    assert (await with_credentials(client, credentials, "DescribeInstanceSSL")).code == (
        404,
        "InvalidAccessKeyId.NotFound",
    )


async def test_trust_and_keys_change_while_it_runs(client: SimulatorClient, time: Time) -> None:
    admin = Token(time(), subject="system:serviceaccount:shop:admin", key="second")
    before = await exchange(client, admin)
    keys = await client.control("PUT", f"oidcProviders/{PROVIDER}", {"jwks": {"keys": [jwk("first"), jwk("second")]}})
    between = await exchange(client, admin)
    trust = {"oidc": [{"provider": PROVIDER, "subjects": ["system:serviceaccount:shop:*"]}]}
    role = await client.control("PUT", f"roles/{ROLE}", {"trust": trust, "sessionSeconds": 5})
    after = await exchange(client, admin)

    assert before.code == (401, "AuthenticationFail.OIDCToken.PublicKeyFingerprintMismatch")
    assert between.code == (401, "AuthenticationFail.NoPermission")
    assert after.json["Credentials"]["Expiration"] == "2026-01-02T03:04:10Z"
    assert [key["kid"] for key in keys["jwks"]["keys"]] == ["first", "second"]
    assert role == {
        "arn": ROLE,
        "policies": [{**READER[0], "resources": ["*"], "policyType": "AccountLevelIdentityBasedPolicy"}],
        "deniedCode": "Forbidden.RAM",
        "maxSessionSeconds": 3600,
        "sessionSeconds": 5,
        "trust": {"accessKeyIds": [], "roles": [], **trust},
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("roles/acs:ram::42:role/new", {}),
        ("oidcProviders/acs:ram::42:oidc-provider/new", provider()),
    ],
)
async def test_roles_and_providers_are_created_changed_and_removed(
    client: SimulatorClient, path: str, body: dict[str, object]
) -> None:
    kind, _, arn = path.partition("/")
    answers = [
        await client.control_answer("GET", path),
        await client.control_answer("PUT", path, json.dumps(body)),
        await client.control_answer("PUT", path, "{}"),
        await client.control_answer("GET", f"{kind}/{quote(arn, safe='')}"),
    ]
    listed = await client.control("GET", kind)
    removed = [await client.control_answer("DELETE", path), await client.control_answer("DELETE", path)]

    assert [answer.status for answer in answers] == [404, 201, 200, 200]
    assert [answer.json["arn"] for answer in answers[1:]] == [arn] * 3
    assert [item["arn"] for item in listed][1:] == [arn]
    assert [answer.status for answer in removed] == [204, 404]


@pytest.mark.parametrize(
    ("method", "path", "body", "mistake"),
    [
        ("PUT", f"roles/{ROLE}", {"trusts": {}}, "trusts: unknown field; allowed here: deniedCode"),
        ("PUT", f"roles/{ROLE}", {"trust": {"oidc": [{}]}}, "trust.oidc.0.provider: is required"),
        ("PUT", "roles/tair", {}, "ARN in the path: must look like acs:ram::<account id>:role/<name>"),
        ("PUT", "oidcProviders/x", {}, "ARN in the path: must look like acs:ram::<account id>:oidc-provider/<name>"),
        ("PUT", f"oidcProviders/{PROVIDER}", {"issuer": 1}, "issuer: must be text; put it in quotes"),
        ("PUT", "ecs", {"role": "none"}, f"role: names no role that exists; known: {ROLE}"),
        ("PUT", "ecs", [], "(top level): must be a mapping with the fields role"),
    ],
)
async def test_bad_input_is_named_and_changes_nothing(
    client: SimulatorClient, method: str, path: str, body: object, mistake: str
) -> None:
    before = [await client.control("GET", listed) for listed in ("roles", "oidcProviders", "ecs")]

    answer = await client.control_answer(method, path, json.dumps(body))

    assert (answer.status, answer.json["mistakes"][0][: len(mistake)]) == (400, mistake)
    assert [await client.control("GET", listed) for listed in ("roles", "oidcProviders", "ecs")] == before


async def metadata_token(client: SimulatorClient, seconds: int = 60) -> dict[str, str]:
    """Return the header with a new token of the metadata server."""
    ttl = {"X-aliyun-ecs-metadata-token-ttl-seconds": str(seconds)}
    return {"X-aliyun-ecs-metadata-token": (await client.plain("PUT", "/latest/api/token", ttl)).text}


async def test_an_instance_becomes_its_role(client: SimulatorClient) -> None:
    headers = await metadata_token(client)
    role = await client.plain("GET", CREDENTIALS, headers)
    credentials = await client.plain("GET", f"{CREDENTIALS}{role.text}", headers)

    seen = await with_credentials(client, credentials.json, "DescribeInstanceAttribute")

    assert (role.text, credentials.json["Code"], seen.status) == ("tair", "Success", 200)
    assert role.headers["Content-Type"].startswith("text/plain")
    assert (await ledger(client))[:3] == [
        ("MetadataToken", "latest", None, 200, None),
        ("MetadataRole", "latest", None, 200, None),
        ("MetadataCredentials", "latest", None, 200, None),
    ]


async def test_an_instance_without_a_token_or_a_role_gets_nothing(client: SimulatorClient, time: Time) -> None:
    headers = await metadata_token(client, 10)
    refused = [await client.plain("GET", CREDENTIALS)]
    await client.control("PUT", "ecs", {"role": None})
    refused.append(await client.plain("GET", CREDENTIALS, headers))
    time.pass_by(10)
    refused.append(await client.plain("GET", CREDENTIALS, headers))
    refused.append(await client.plain("PUT", "/latest/api/token"))
    refused.append(await client.plain("GET", "/latest/api/token"))

    assert [answer.status for answer in refused] == [403, 404, 403, 400, 405]
    assert [entry[3:] for entry in await ledger(client)][1:] == [
        (403, "Forbidden"),
        (404, "NotFound"),
        (403, "Forbidden"),
        (400, "InvalidParameter"),
        (405, "UnsupportedHTTPMethod"),
    ]


async def test_faults_meet_these_calls_too(client: SimulatorClient, time: Time) -> None:
    for fault in (
        {"action": "AssumeRoleWithOIDC", "kind": "error", "code": "AuthenticationFail.OIDCToken.Expired"},
        {"action": "AssumeRoleWithOIDC", "kind": "unavailable"},
        {"action": "MetadataToken", "kind": "extra-fields"},
        {"action": "MetadataToken", "kind": "empty500"},
    ):
        await client.control("POST", "faults", fault)

    answers = [await exchange(client, Token(time())) for _ in range(3)]
    tokens = [await metadata_token(client) for _ in range(2)]

    assert [answer.status for answer in answers] == [401, 503, 200]
    assert answers[0].json["Message"] == "This JsonWebToken is expired."
    assert [bool(text) for token in tokens for text in token.values()] == [True, False]


@pytest.mark.parametrize("action", ["AssumeRoleWithOIDC", "AssumeRole"])
async def test_who_is_refused_uses_up_no_fault(client: SimulatorClient, time: Time, action: str) -> None:
    await client.control("POST", "faults", {"action": "*", "kind": "empty500"})
    if action == "AssumeRole":
        await assume(client, DurationSeconds="1")
    else:
        await exchange(client, Token(time(), subject="somebody else"))

    assert [fault["count"] for fault in await client.control("GET", "faults")] == [1]


async def test_nothing_secret_is_ever_shown(client: SimulatorClient, time: Time) -> None:
    token = str(Token(time()))
    headers = await metadata_token(client)
    secrets = [token, *headers.values()]
    for reply in (await exchange(client, token), await client.plain("GET", f"{CREDENTIALS}tair", headers)):
        credentials = reply.json.get("Credentials", reply.json)
        secrets += [credentials["AccessKeySecret"], credentials["SecurityToken"]]
        await with_credentials(client, credentials, RELEASE)

    for path in ("ledger", "accessKeys", "roles", "oidcProviders", "ecs", "faults", "holds"):
        text = (await client.control_answer("GET", path)).text
        assert not [secret for secret in secrets if secret in text], path


async def test_reset_covers_all_of_it(client: SimulatorClient) -> None:
    before = [await client.control("GET", listed) for listed in ("roles", "oidcProviders", "ecs", "accessKeys")]
    headers = await metadata_token(client)
    credentials = (await assume(client)).json["Credentials"]
    await client.control("PUT", "ecs", {})
    await client.control("DELETE", f"roles/{ROLE}")
    await client.control("DELETE", f"oidcProviders/{PROVIDER}")

    await client.control("POST", "reset")

    assert [await client.control("GET", listed) for listed in ("roles", "oidcProviders", "ecs", "accessKeys")] == before
    assert (await client.plain("GET", CREDENTIALS, headers)).status == 403
    assert (await with_credentials(client, credentials, RELEASE)).code == (404, "InvalidAccessKeyId.NotFound")
