"""The two operations about details of one instance: its attributes, and whether TLS is on."""

from typing import Any

import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError
from tair_simulator.mistakes import InputError
from tair_simulator.operations import OPERATIONS
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

SEED = """
instances:
  r-1: {regionId: cn-hangzhou, name: sessions, tags: {team: shop}}
  r-tls: {regionId: cn-hangzhou, sslEnabled: true}
  r-night: {regionId: cn-hangzhou, maintenanceWindow: {start: '22:30Z', end: '02:30Z'}}
  r-unknown: {regionId: cn-hangzhou, maintenanceWindow: null, timing: {busyStatus: null}}
  r-standard: {regionId: cn-hangzhou, architectureType: standard, networkType: CLASSIC, computingType: Ecs}
  r-jitter: {regionId: cn-hangzhou, jitter: [NumbersAsText]}
"""


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with instances that differ in their details."""
    return Cloud(parse_seed(SEED), Time())


def attribute(cloud: Cloud, instance_id: str) -> dict[str, Any]:
    """Return the one item of DescribeInstanceAttribute."""
    fields: Any = OPERATIONS["DescribeInstanceAttribute"](cloud, {"InstanceId": instance_id}, None).fields
    (item,) = fields["Instances"]["DBInstanceAttribute"]
    return dict(item)


def ssl(cloud: Cloud, instance_id: str) -> dict[str, object]:
    """Return the body of DescribeInstanceSSL."""
    return OPERATIONS["DescribeInstanceSSL"](cloud, {"InstanceId": instance_id}, None).fields


def window(cloud: Cloud, instance_id: str) -> tuple[object, object]:
    """Return the maintenance window in the reply."""
    item = attribute(cloud, instance_id)
    return item.get("MaintainStartTime"), item.get("MaintainEndTime")


def test_describes_all_details_of_an_instance(cloud: Cloud) -> None:
    assert attribute(cloud, "r-1") == {
        "InstanceId": "r-1",
        "InstanceName": "sessions",
        "InstanceStatus": "Normal",
        "InstanceType": "Redis",
        "InstanceClass": "redis.logic.sharding.2g.8db.0rodb.8proxy.default",
        "RegionId": "cn-hangzhou",
        "ZoneId": "cn-hangzhou-h",
        "ArchitectureType": "cluster",
        "ComputingType": "Machine",
        "EngineVersion": "5.0",
        "NodeType": "double",
        "Capacity": 16384,
        "NetworkType": "VPC",
        "VpcId": "vpc-bp1nme44gek34slfc0001",
        "VSwitchId": "vsw-bp1e7clcw529l773d0001",
        "ConnectionDomain": "r-1.redis.rds.aliyuncs.com",
        "Port": 6379,
        "ChargeType": "PostPaid",
        "CreateTime": "2024-01-02T03:04:05Z",
        "ResourceGroupId": "rg-acfmyiu4ekp0001",
        "Tags": {"Tag": [{"Key": "team", "Value": "shop"}]},
        "AvailabilityValue": "100.0%",
        "Bandwidth": 768,
        "Config": "{}",
        "Connections": 80_000,
        "EndTime": "",
        "Engine": "Redis",
        "HasRenewChangeOrder": "false",
        "InstanceReleaseProtection": False,
        "IsOrderCompleted": True,
        "IsRds": True,
        "PackageType": "standard",
        "QPS": 800_000,
        "RealInstanceClass": "redis.logic.sharding.2g.8db.0rodb.8proxy.default",
        "ReplicationMode": "cluster",
        "SecurityIPList": "127.0.0.1",
        "StorageType": "LOCAL_SSD",
        "VpcAuthMode": "Open",
        "PrivateIp": "10.0.0.10",
        "VpcCloudInstanceId": "r-1",
        "ShardCount": 8,
        "MaintainStartTime": "18:00Z",
        "MaintainEndTime": "22:00Z",
    }


def test_what_does_not_apply_is_left_out(cloud: Cloud) -> None:
    item = attribute(cloud, "r-standard")

    assert not {"PrivateIp", "VpcCloudInstanceId", "ShardCount"} & set(item)
    assert (item["ReplicationMode"], item["StorageType"]) == ("master-slave", "essd_pl1")


def test_a_maintenance_window_may_cross_midnight_or_be_unknown(cloud: Cloud) -> None:
    assert window(cloud, "r-night") == ("22:30Z", "02:30Z")
    assert window(cloud, "r-unknown") == (None, None)


def test_a_maintenance_window_is_moved_while_it_runs(cloud: Cloud) -> None:
    cloud.put("r-1", {"maintenanceWindow": {"start": "01:00Z"}})
    moved = window(cloud, "r-1")
    cloud.put("r-1", {"maintenanceWindow": None})

    assert (moved, window(cloud, "r-1")) == (("01:00Z", "22:00Z"), (None, None))


def test_null_outlives_a_change_of_something_else(cloud: Cloud) -> None:
    record = cloud.put("r-unknown", {"status": "Changing"})

    assert (record.instance.maintenance_window, record.instance.timing.busy_status) == (None, None)


@pytest.mark.parametrize("time", ["24:00Z", "18:60Z", "18:00", "6:00Z"])
def test_a_time_of_day_has_one_form(time: str) -> None:
    with pytest.raises(InputError, match=r"instances\.r-1\.maintenanceWindow\.start: String should match pattern"):
        parse_seed(f"instances: {{r-1: {{regionId: cn-x, maintenanceWindow: {{start: '{time}'}}}}}}")


def test_tells_whether_tls_is_on(cloud: Cloud) -> None:
    assert ssl(cloud, "r-1") == {"InstanceId": "r-1", "SSLEnabled": "Disable"}
    assert ssl(cloud, "r-tls") == {
        "InstanceId": "r-tls",
        "SSLEnabled": "Enable",
        "SSLExpiredTime": "2099-01-02T03:04:05Z",
        "CertCommonName": "r-tls.redis.rds.aliyuncs.com",
        "CertDownloadURL": "https://simulated.example/ApsaraDB-CA-Chain.zip",
    }


def test_types_may_differ_here_too(cloud: Cloud) -> None:
    assert attribute(cloud, "r-jitter")["Port"] == "6379"


@pytest.mark.parametrize("action", ["DescribeInstanceAttribute", "DescribeInstanceSSL"])
@pytest.mark.parametrize(
    ("parameters", "region_id", "code"),
    [
        ({}, None, "MissingInstanceId"),
        ({"InstanceId": "r-none"}, None, "InvalidInstanceId.NotFound"),
        ({"InstanceId": "r-1"}, "cn-beijing", "InvalidInstanceId.NotFound"),
    ],
)
def test_an_instance_that_is_not_there_is_not_found(
    cloud: Cloud, action: str, parameters: dict[str, str], region_id: str | None, code: str
) -> None:
    with pytest.raises(CloudError) as caught:
        OPERATIONS[action](cloud, parameters, region_id)

    assert caught.value.code == code
