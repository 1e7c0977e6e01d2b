"""RAM: which policies permit what, and what a denial says."""

import pytest

from tair_simulator.access_keys import AccessKey
from tair_simulator.authorization import permit, principal_of
from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError
from tair_simulator.mistakes import parse
from tair_simulator.ram import Denial, Statement, find_denial, resource_name
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

RELEASE = "kvstore:ReleaseDirectConnection"
ORDERS = resource_name("cn-hangzhou", "1234567890123456", "r-1")
SEED = """
accessKeys:
  account: {secret: s}
  nobody: {secret: s, policies: []}
  auditor: {secret: s, policies: [{effect: Allow, actions: ['kvstore:Describe*']}]}
  one:
    secret: s
    accountId: '42'
    policies: [{effect: Allow, actions: ['*'], resources: ['acs:kvstore:cn-hangzhou:42:instance/r-1']}]
  denied:
    secret: s
    deniedCode: NoPermission
    displayName: role:session
    principalType: FederatedSSO
    policies:
      - {effect: Allow, actions: ['*']}
      - {effect: Deny, actions: ['kvstore:Release*'], policyType: ControlPolicy}
instances:
  r-1: {regionId: cn-hangzhou}
  r-2: {regionId: cn-beijing}
"""


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with callers of all kinds."""
    return Cloud(parse_seed(SEED), Time())


def statement(effect: str, action: str, resource: str = "*") -> Statement:
    """Return one statement."""
    return parse(Statement, {"effect": effect, "actions": [action], "resources": [resource]})


@pytest.mark.parametrize(
    ("statements", "permitted"),
    [
        ([], False),
        ([statement("Allow", "*")], True),
        ([statement("Allow", "kvstore:*")], True),
        ([statement("Allow", "kvstore:Release*")], True),
        ([statement("Allow", "KVSTORE:releaseDIRECTconnection")], True),
        ([statement("Allow", "kvstore:Describe*")], False),
        ([statement("Allow", "r-kvstore:*")], False),
        ([statement("Allow", RELEASE, "acs:kvstore:cn-hangzhou:*:instance/r-?")], True),
        ([statement("Allow", RELEASE, "acs:kvstore:cn-hangzhou:*:instance/R-?")], False),
        ([statement("Allow", RELEASE, "acs:kvstore:cn-beijing:*:instance/*")], False),
        ([statement("Allow", "*"), statement("Deny", RELEASE)], False),
        ([statement("Deny", RELEASE), statement("Allow", "*")], False),
        ([statement("Deny", RELEASE, "acs:kvstore:*:*:instance/r-2"), statement("Allow", "*")], True),
    ],
)
def test_an_explicit_deny_wins_and_what_nothing_allows_is_denied(
    statements: list[Statement], *, permitted: bool
) -> None:
    assert (find_denial(statements, RELEASE, ORDERS) is None) == permitted


def test_a_denial_knows_whether_it_is_explicit() -> None:
    implicit = find_denial([], RELEASE, ORDERS)
    explicit = find_denial([statement("Deny", "*")], RELEASE, ORDERS)

    assert implicit == Denial(explicit=False, policy_type="AccountLevelIdentityBasedPolicy")
    assert explicit == Denial(explicit=True, policy_type="AccountLevelIdentityBasedPolicy")


def may(cloud: Cloud, key: str, action: str, region_id: str | None = None, **parameters: str) -> bool:
    """Return whether a call is permitted."""
    try:
        permit(cloud, key, action, parameters, region_id)
    except CloudError:
        return False
    return True


def test_the_account_may_everything_and_a_user_without_statements_nothing(cloud: Cloud) -> None:
    assert may(cloud, "account", "ReleaseDirectConnection", InstanceId="r-1")
    assert not may(cloud, "nobody", "DescribeInstances", RegionId="cn-x")


def test_a_user_may_look_and_not_release(cloud: Cloud) -> None:
    assert may(cloud, "auditor", "DescribeDBInstanceNetInfo", InstanceId="r-1")
    assert not may(cloud, "auditor", "ReleaseDirectConnection", InstanceId="r-1")


def test_a_resource_is_named_by_region_account_and_each_instance(cloud: Cloud) -> None:
    assert may(cloud, "one", "ReleaseDirectConnection", InstanceId="r-1")
    assert may(cloud, "one", "ReleaseDirectConnection", "cn-hangzhou", InstanceId="r-1")
    assert not may(cloud, "one", "ReleaseDirectConnection", "cn-beijing", InstanceId="r-1")
    assert not may(cloud, "one", "ReleaseDirectConnection", InstanceId="r-2")
    assert not may(cloud, "one", "ReleaseDirectConnection", InstanceId="r-unknown")
    assert may(cloud, "one", "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-1")
    assert not may(cloud, "one", "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-1,r-2")
    assert not may(cloud, "one", "DescribeInstances", RegionId="cn-hangzhou")


def test_a_denial_says_who_what_and_why(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match="403 NoPermission: You are not authorized") as caught:
        permit(cloud, "denied", "ReleaseDirectConnection", {"InstanceId": "r-1"}, None)

    detail = dict(caught.value.access_denied_detail or {})
    assert detail.pop("EncodedDiagnosticMessage")
    assert detail == {
        "AuthAction": "kvstore:ReleaseDirectConnection",
        "AuthPrincipalType": "FederatedSSO",
        "AuthPrincipalOwnerId": "1234567890123456",
        "AuthPrincipalDisplayName": "role:session",
        "NoPermissionType": "ExplicitDeny",
        "PolicyType": "ControlPolicy",
    }


@pytest.mark.parametrize(
    ("fields", "kind"), [({}, "SubUser"), ({"securityToken": "t"}, "AssumedRoleUser"), ({"tokens": []}, "SubUser")]
)
def test_who_has_tokens_is_a_role(fields: dict[str, object], kind: str) -> None:
    assert principal_of(parse(AccessKey, {"secret": "s", **fields})).kind == kind
