"""What an instance needs for a direct connection: each condition of the API page, and the code when it is not met."""

import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError
from tair_simulator.operations import OPERATIONS
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

SEED = """
instances:
  r-standard: {regionId: cn-x, architectureType: standard}
  r-split: {regionId: cn-x, architectureType: rwsplit, directConnection: true}
  r-native: {regionId: cn-x, computingType: Ecs, directConnection: true, instanceType: Tair}
  r-preview: {regionId: cn-x, previewAccess: false}
  r-engine: {regionId: cn-x, engineVersion: '7.0'}
  r-tair: {regionId: cn-x, instanceType: Tair, engineVersion: '4.0'}
  r-community: {regionId: cn-x, engineVersion: '4.0'}
  r-minor: {regionId: cn-x, minorVersionOutdated: true}
  r-tls: {regionId: cn-x, sslEnabled: true}
  r-classic: {regionId: cn-x, networkType: CLASSIC}
  r-cramped: {regionId: cn-x, shardCount: 8, vSwitchIps: 8}
  r-crowded: {regionId: cn-x, vSwitchIps: 8, refusals: {noFreeIps: NotFound}}
  r-enough: {regionId: cn-x, shardCount: 8, vSwitchIps: 9}
  r-nothing:
    regionId: cn-x
    architectureType: rwsplit
    computingType: Ecs
    directConnection: true
    previewAccess: false
    engineVersion: '7.0'
    minorVersionOutdated: true
    sslEnabled: true
    networkType: CLASSIC
    vSwitchIps: 0
    refusals:
      notCluster: Forbidden.RAM
      cloudNative: ProxyError
      noPreviewAccess: NoPermission
      sslEnabled: LockTimeout
      classicNetwork: Unkown.Exception
      noFreeIps: NotFound
"""


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with one instance for each condition."""
    return Cloud(parse_seed(SEED), Time())


def code(cloud: Cloud, action: str, instance_id: str) -> str | None:
    """Return the code that a call is refused with, if it is."""
    try:
        OPERATIONS[action](cloud, {"InstanceId": instance_id}, None)
    except CloudError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("instance_id", "expected"),
    [
        ("r-standard", "InvalidConnType"),
        ("r-split", "InvalidConnType"),
        ("r-native", "InvalidConnType"),
        ("r-preview", "Forbidden"),
        ("r-engine", "UnsupportedEngineVersion"),
        ("r-tair", "UnsupportedEngineVersion"),
        ("r-minor", "IncorrectMinorVersion"),
        ("r-tls", "InvalidConnType"),
        ("r-classic", "InvalidVPCParamGroup"),
        ("r-cramped", "InvalidVPCParamGroup"),
        ("r-crowded", "NotFound"),
        ("r-community", None),
        ("r-enough", None),
    ],
)
def test_each_condition_of_an_allocation_has_a_code(cloud: Cloud, instance_id: str, expected: str | None) -> None:
    assert code(cloud, "AllocateDirectConnection", instance_id) == expected


def test_the_conditions_are_asked_in_one_order_with_the_codes_of_the_seed(cloud: Cloud) -> None:
    codes = [code(cloud, "AllocateDirectConnection", "r-nothing")]
    changes: list[dict[str, object]] = [
        {"architectureType": "cluster"},
        {"computingType": "Machine"},
        {"directConnection": False},
        {"previewAccess": True},
        {"engineVersion": "5.0"},
        {"minorVersionOutdated": False},
        {"sslEnabled": False},
        {"networkType": "VPC"},
        {"vSwitchIps": 9},
    ]
    for change in changes:
        cloud.put("r-nothing", change)
        codes.append(code(cloud, "AllocateDirectConnection", "r-nothing"))

    assert codes == [
        "Forbidden.RAM",
        "ProxyError",
        "NetTypeExists",
        "NoPermission",
        "UnsupportedEngineVersion",
        "IncorrectMinorVersion",
        "LockTimeout",
        "Unkown.Exception",
        "NotFound",
        None,
    ]


@pytest.mark.parametrize("instance_id", ["r-split", "r-native", "r-tls"])
def test_only_the_direct_endpoint_of_a_classic_cluster_is_released(cloud: Cloud, instance_id: str) -> None:
    assert code(cloud, "ReleaseDirectConnection", instance_id) == "NetTypeNotExists"


def test_what_only_an_allocation_needs_does_not_hinder_a_release(cloud: Cloud) -> None:
    cloud.put("r-tls", {"directConnection": True, "networkType": "CLASSIC", "engineVersion": "7.0"})

    assert code(cloud, "ReleaseDirectConnection", "r-tls") is None
