"""STS, called directly: who gets credentials for a role, and what they are good for."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from tair_simulator.authorization import permit
from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError
from tair_simulator.mistakes import InputError
from tair_simulator.seed import parse_seed
from tair_simulator.sessions import LIMIT, open_session
from tair_simulator.sts import SIGNED, UNSIGNED, give
from tests.unit.simulator.identity import ISSUER, PROVIDER, SUBJECT, Token, provider
from tests.unit.simulator.moving_clock import Time

READER = "acs:ram::1234567890123456:role/reader"
OTHER = "acs:ram::42:role/other"
SHORT = "acs:ram::42:role/short"
LEFT = "acs:ram::42:role/left"
SEED = f"""
accessKeys:
  account: {{secret: s}}
  user: {{secret: s, policies: [{{effect: Allow, actions: ['sts:AssumeRole']}}]}}
  stranger: {{secret: s, policies: [{{effect: Allow, actions: ['*']}}]}}
  limited: {{secret: s, policies: [{{effect: Allow, actions: ['sts:*'], resources: ['{OTHER}']}}]}}
  hand-made: {{secret: s, securityToken: t, role: '{READER}'}}
roles:
  {READER}:
    policies:
      - {{effect: Allow, actions: ['kvstore:Describe*', 'sts:AssumeRole']}}
    trust:
      accessKeyIds: ['us?r', limited, account]
      oidc: [{{provider: '{PROVIDER}', subjects: ['system:serviceaccount:shop:*']}}]
  {OTHER}: {{maxSessionSeconds: 7200, deniedCode: NoPermission, trust: {{accessKeyIds: '*', roles: ['{READER}']}}}}
  {SHORT}: {{sessionSeconds: 5, trust: {{accessKeyIds: '*'}}}}
  {LEFT}: {{}}
oidcProviders:
  {PROVIDER}: {json.dumps(provider())}
instances:
  r-1: {{regionId: cn-hangzhou}}
"""


@pytest.fixture
def time() -> Time:
    """The clock of the cloud."""
    return Time()


@pytest.fixture
def cloud(time: Time) -> Cloud:
    """A cloud with roles that trust in several ways."""
    return Cloud(parse_seed(SEED), time)


def assume(cloud: Cloud, key: str = "user", role: str = READER, **parameters: str) -> dict[str, Any]:
    """Assume a role with an access key; return the fields of the reply."""
    asked = {"RoleArn": role, "RoleSessionName": "session", **parameters}
    return cast("dict[str, Any]", give(cloud, SIGNED["AssumeRole"](cloud, asked, key)))


def assume_with(cloud: Cloud, token: object, role: str = READER, **parameters: str) -> dict[str, Any]:
    """Assume a role with an identity token; return the fields of the reply."""
    asked = {
        "RoleArn": role,
        "RoleSessionName": "session",
        "OIDCProviderArn": PROVIDER,
        "OIDCToken": str(token),
        **parameters,
    }
    return cast("dict[str, Any]", give(cloud, UNSIGNED["AssumeRoleWithOIDC"](cloud, asked, "")))


def refused(cloud: Cloud, call: Callable[[], object]) -> tuple[int, str]:
    """Return the HTTP status and the code of a refusal, which changes nothing."""
    before = dict(cloud.keys)
    with pytest.raises(CloudError) as caught:
        call()
    assert cloud.keys == before
    return caught.value.http_status, caught.value.code


def may(cloud: Cloud, key: str, action: str) -> bool:
    """Return whether a key may do this to the instance."""
    try:
        permit(cloud, key, action, {"InstanceId": "r-1"}, None)
    except CloudError:
        return False
    return True


def test_an_access_key_gets_temporary_credentials(cloud: Cloud) -> None:
    reply = assume(cloud)

    credentials = reply["Credentials"]
    key = cloud.keys[credentials["AccessKeyId"]]
    assert reply["AssumedRoleUser"]["Arn"] == f"{READER}/session"
    assert reply["AssumedRoleUser"]["AssumedRoleId"].endswith(":session")
    assert sorted(credentials) == ["AccessKeyId", "AccessKeySecret", "Expiration", "SecurityToken"]
    assert credentials["AccessKeyId"].startswith("STS.")
    assert credentials["Expiration"] == "2026-01-02T04:04:05Z"
    assert key.secret.get_secret_value() == credentials["AccessKeySecret"]
    assert [token.token.get_secret_value() for token in key.all_tokens()] == [credentials["SecurityToken"]]


def test_the_holder_of_a_token_gets_them_too(cloud: Cloud, time: Time) -> None:
    reply = assume_with(cloud, Token(time()), DurationSeconds="900")

    assert reply["Credentials"]["Expiration"] == "2026-01-02T03:19:05Z"
    assert reply["OIDCTokenInfo"] == {
        "Subject": SUBJECT,
        "Issuer": ISSUER,
        "ClientIds": "sts.aliyuncs.com",
        "ExpirationTime": "2026-01-02T04:04:05Z",
        "IssuanceTime": "2026-01-02T03:04:05Z",
        "VerificationInfo": "Success",
    }


def test_each_session_has_credentials_of_its_own(cloud: Cloud) -> None:
    first, second = (assume(cloud)["Credentials"] for _ in range(2))

    assert not set(first.values()) & set(second.values()) - {first["Expiration"]}


def test_a_session_may_what_its_role_may_now(cloud: Cloud) -> None:
    session = assume(cloud)["Credentials"]["AccessKeyId"]
    before = may(cloud, session, "DescribeInstanceAttribute"), may(cloud, session, "ReleaseDirectConnection")
    cloud.directory.put_role(READER, {"policies": [{"effect": "Allow", "actions": ["kvstore:Release*"]}]})
    after = may(cloud, session, "DescribeInstanceAttribute"), may(cloud, session, "ReleaseDirectConnection")
    del cloud.directory.roles[READER]

    assert (before, after) == ((True, False), (False, True))
    assert not may(cloud, session, "ReleaseDirectConnection")


def test_a_denial_names_the_role_and_its_session(cloud: Cloud) -> None:
    session = assume(cloud, role=OTHER, RoleSessionName="i@home")["Credentials"]["AccessKeyId"]

    with pytest.raises(CloudError, match="403 NoPermission") as caught:
        permit(cloud, session, "ReleaseDirectConnection", {"InstanceId": "r-1"}, None)

    detail = dict(caught.value.access_denied_detail or {})
    assert detail.pop("EncodedDiagnosticMessage")
    assert detail == {
        "AuthAction": "kvstore:ReleaseDirectConnection",
        "AuthPrincipalType": "AssumedRoleUser",
        "AuthPrincipalOwnerId": "42",
        "AuthPrincipalDisplayName": "other:i@home",
        "NoPermissionType": "ImplicitDeny",
        "PolicyType": "AccountLevelIdentityBasedPolicy",
    }


def test_a_role_may_assume_another_that_trusts_it(cloud: Cloud) -> None:
    for key in (assume(cloud)["Credentials"]["AccessKeyId"], "hand-made"):
        assert assume(cloud, key, OTHER)["AssumedRoleUser"]["Arn"] == f"{OTHER}/session"
        assert refused(cloud, lambda key=key: assume(cloud, key, SHORT)) == (403, "NoPermission")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "role", "kind", "policy_type"),
    [
        ("stranger", READER, "ImplicitDeny", "AssumeRolePolicy"),
        ("user", LEFT, "ImplicitDeny", "AssumeRolePolicy"),
        ("limited", READER, "ImplicitDeny", "AccountLevelIdentityBasedPolicy"),
    ],
)
def test_who_is_not_trusted_or_not_permitted_gets_nothing(
    cloud: Cloud, key: str, role: str, kind: str, policy_type: str
) -> None:
    with pytest.raises(CloudError, match="403 NoPermission: No permission perform sts:AssumeRole") as caught:
        assume(cloud, key, role)

    detail = caught.value.access_denied_detail or {}
    assert (detail["AuthAction"], detail["NoPermissionType"], detail["PolicyType"]) == (
        "sts:AssumeRole",
        kind,
        policy_type,
    )


def test_the_account_itself_may_assume_no_role(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match=r"403 NoPermission: Roles may not be assumed by root accounts\."):
        assume(cloud, "account")


def test_a_subject_that_is_not_trusted_gets_nothing(cloud: Cloud, time: Time) -> None:
    other = Token(time(), subject="system:serviceaccount:bank:orders")

    denied = refused(cloud, lambda: assume_with(cloud, other))
    cloud.directory.put_role(READER, {"trust": {"oidc": [{"provider": PROVIDER, "subjects": [other.subject]}]}})

    assert denied == (401, "AuthenticationFail.NoPermission")
    assert assume_with(cloud, other)
    assert refused(cloud, lambda: assume_with(cloud, Token(time()))) == denied
    assert refused(cloud, lambda: assume_with(cloud, other, LEFT)) == denied


def test_a_key_that_the_provider_replaced_is_known_no_longer(cloud: Cloud, time: Time) -> None:
    cloud.directory.put_oidc_provider(PROVIDER, {"jwks": provider("second")["jwks"]})

    assert assume_with(cloud, Token(time(), key="second"))
    assert refused(cloud, lambda: assume_with(cloud, Token(time()))) == (
        401,
        "AuthenticationFail.OIDCToken.PublicKeyFingerprintMismatch",
    )


def test_a_token_expires(cloud: Cloud, time: Time) -> None:
    token = str(Token(time()))
    time.pass_by(3600)

    assert refused(cloud, lambda: assume_with(cloud, token)) == (401, "AuthenticationFail.OIDCToken.Expired")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"RoleArn": ""}, (400, "MissingParameter")),
        ({"RoleSessionName": ""}, (400, "MissingParameter")),
        ({"RoleArn": "reader"}, (400, "InvalidParameter.RoleArn")),
        ({"RoleArn": "acs:ram::42:role/none"}, (404, "EntityNotExist.Role")),
        ({"RoleSessionName": "x"}, (400, "InvalidParameter.RoleSessionName")),
        ({"RoleSessionName": "x" * 65}, (400, "InvalidParameter.RoleSessionName")),
        ({"RoleSessionName": "a b"}, (400, "InvalidParameter.RoleSessionName")),
        ({"DurationSeconds": "899"}, (400, "InvalidParameter.DurationSeconds")),
        ({"DurationSeconds": "3601"}, (400, "InvalidParameter.DurationSeconds")),
        ({"DurationSeconds": "1h"}, (400, "InvalidParameter.DurationSeconds")),
        ({"Policy": "{}"}, (400, "InvalidParameter.PolicyGrammar")),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    cloud: Cloud, time: Time, parameters: dict[str, str], expected: tuple[int, str]
) -> None:
    asked = {"RoleArn": READER, **parameters}

    assert refused(cloud, lambda: assume(cloud, role=asked["RoleArn"], **parameters_but_role(asked))) == expected
    token = Token(time())
    assert refused(cloud, lambda: assume_with(cloud, token, asked["RoleArn"], **parameters_but_role(asked))) == expected


def parameters_but_role(asked: dict[str, str]) -> dict[str, str]:
    """Return the parameters that are not given by position."""
    return {name: value for name, value in asked.items() if name != "RoleArn"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"OIDCProviderArn": ""}, (400, "MissingParameter")),
        ({"OIDCToken": ""}, (400, "MissingParameter")),
        ({"OIDCProviderArn": "acs:ram::42:oidc-provider/none"}, (401, "AuthenticationFail.NoPermission")),
        ({"OIDCToken": "a.b.c"}, (401, "AuthenticationFail.OIDCToken.Invalid")),
    ],
)
def test_what_an_exchange_of_tokens_needs_is_asked_for(
    cloud: Cloud, time: Time, parameters: dict[str, str], expected: tuple[int, str]
) -> None:
    assert refused(cloud, lambda: assume_with(cloud, Token(time()), **parameters)) == expected


def test_a_longer_session_needs_a_role_that_permits_it(cloud: Cloud) -> None:
    assert assume(cloud, role=OTHER, DurationSeconds="7200")["Credentials"]["Expiration"] == "2026-01-02T05:04:05Z"


def test_a_role_may_make_all_its_sessions_short(cloud: Cloud) -> None:
    reply = assume(cloud, role=SHORT, DurationSeconds="3600")

    assert reply["Credentials"]["Expiration"] == "2026-01-02T03:04:10Z"


def test_the_oldest_sessions_are_forgotten_when_there_are_too_many(cloud: Cloud, time: Time) -> None:
    first = open_session(cloud, SHORT, "first", 900)
    template = cloud.keys[first.access_key_id]
    for number in range(LIMIT - 1):
        cloud.keys[f"STS.{number}"] = template
    last = open_session(cloud, SHORT, "last", 900)

    assert (first.access_key_id in cloud.keys, last.access_key_id in cloud.keys) == (False, True)
    assert {"account", "hand-made"} <= set(cloud.keys)
    assert last.expires_at == time() + timedelta(seconds=5)


def test_reset_goes_back_to_the_seed(cloud: Cloud) -> None:
    assume(cloud)
    cloud.directory.put_role(OTHER, {"maxSessionSeconds": 900})
    del cloud.directory.roles[READER]
    del cloud.directory.oidc_providers[PROVIDER]
    cloud.directory.put_ecs({"role": "other"})

    cloud.reset()

    assert list(cloud.keys) == ["account", "user", "stranger", "limited", "hand-made"]
    assert list(cloud.directory.roles) == [READER, OTHER, SHORT, LEFT]
    assert cloud.directory.roles[OTHER].max_session_seconds == 7200
    assert list(cloud.directory.oidc_providers) == [PROVIDER]
    assert cloud.directory.ecs_role() is None


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (
            {"trust": {"oidc": [{"provider": "acs:ram::42:oidc-provider/none", "subjects": ["*"]}]}},
            f"trust.oidc.0.provider: names no OIDC provider that exists; known: {PROVIDER}",
        ),
        ({"maxSessionSeconds": 899}, "maxSessionSeconds: Input should be greater than or equal to 900"),
        ([], "(top level): must be a JSON object"),
    ],
)
def test_a_mistake_in_a_role_changes_nothing(cloud: Cloud, written: object, line: str) -> None:
    before = dict(cloud.directory.roles)
    with pytest.raises(InputError) as caught:
        cloud.directory.put_role(READER, written)

    assert (caught.value.lines, cloud.directory.roles) == ([line], before)


def test_the_role_of_the_ecs_instance_goes_by_its_name_or_its_arn(cloud: Cloud) -> None:
    known = ", ".join(cloud.directory.roles)
    for written, expected in (("reader", READER), (OTHER, OTHER), (None, None)):
        cloud.directory.put_ecs({"role": written})
        assert cloud.directory.ecs_role() == expected
    with pytest.raises(InputError, match=f"role: names no role that exists; known: {known}"):
        cloud.directory.put_ecs({"role": "none"})
    cloud.directory.put_role("acs:ram::7:role/reader", {})
    with pytest.raises(InputError, match="role: is the name of several roles; write the ARN of one"):
        cloud.directory.put_ecs({"role": "reader"})


def test_a_key_can_be_made_a_session_of_a_role_that_exists(cloud: Cloud) -> None:
    key = cloud.put_key("mine", {"secret": "s", "securityToken": "t", "role": READER})

    assert key.role == READER
    assert may(cloud, "mine", "DescribeInstanceSSL")
    with pytest.raises(InputError, match="role: names no role that exists"):
        cloud.put_key("mine", {"role": "acs:ram::42:role/none"})
    with pytest.raises(InputError, match="role: brings its own policies; leave out either of them"):
        cloud.put_key("mine", {"policies": []})


def test_a_token_that_was_changed_on_the_way_gets_nothing(cloud: Cloud, time: Time) -> None:
    header, claims, signature = str(Token(time())).split(".")
    other = str(replace(Token(time()), subject="system:serviceaccount:shop:admin")).split(".")[1]

    assert claims != other
    assert refused(cloud, lambda: assume_with(cloud, f"{header}.{other}.{signature}")) == (
        401,
        "AuthenticationFail.OIDCToken.InvalidSignature",
    )
