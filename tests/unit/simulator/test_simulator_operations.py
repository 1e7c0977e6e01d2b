"""The operations of R-kvstore, called directly: what they accept, what they refuse, what they show."""

from typing import Any, cast

import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.errors import DOCUMENTED, CloudError
from tair_simulator.operations import OPERATIONS, find_operation
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

SEED = """
instances:
  r-on: {regionId: cn-hangzhou, directConnection: true, endpoint: {prefix: ordersdirect, ipAddress: 10.9.9.9}}
  r-off: {regionId: cn-hangzhou, name: sessions, tags: {team: shop}}
  r-native: {regionId: cn-hangzhou, computingType: Ecs, directConnection: true, instanceType: Tair}
  r-standard: {regionId: cn-hangzhou, architectureType: standard}
  r-classic: {regionId: cn-hangzhou, networkType: CLASSIC}
  r-busy: {regionId: cn-hangzhou, directConnection: true, status: Changing, statusSeconds: 20}
  r-variant:
    regionId: cn-hangzhou
    refusals: {allocateExisting: DirectConnectionAlreadyExists, allocateWhileAllocating: TaskHasExist}
  r-north: {regionId: cn-beijing, directConnection: true}
  r-tls: {regionId: cn-far, sslEnabled: true}
  r-fails: {regionId: cn-far, directConnection: true, timing: {fails: true}}
  r-jitter: {regionId: cn-far, directConnection: true, jitter: [NumbersAsText, TextAsNumbers]}
"""


@pytest.fixture
def time() -> Time:
    """The clock of the cloud."""
    return Time()


@pytest.fixture
def cloud(time: Time) -> Cloud:
    """A cloud with one instance of each kind."""
    return Cloud(parse_seed(SEED), time)


def call(cloud: Cloud, action: str, region_id: str | None = None, **parameters: str) -> dict[str, Any]:
    """Call an operation; return the fields of its reply."""
    return OPERATIONS[action](cloud, parameters, region_id).fields


def refused(cloud: Cloud, action: str, region_id: str | None = None, **parameters: str) -> str:
    """Call an operation that says no; return its code."""
    before = cloud.records()
    with pytest.raises(CloudError) as caught:
        call(cloud, action, region_id, **parameters)
    assert cloud.records() == before
    return caught.value.code


def endpoints(cloud: Cloud, instance_id: str) -> list[dict[str, Any]]:
    """Return the items of DescribeDBInstanceNetInfo."""
    reply = call(cloud, "DescribeDBInstanceNetInfo", InstanceId=instance_id)
    return cast("list[dict[str, Any]]", reply["NetInfoItems"]["InstanceNetInfo"])


def test_net_info_shows_the_proxy_and_the_direct_endpoint(cloud: Cloud) -> None:
    vpc = {
        "DBInstanceNetType": "2",
        "IPType": "Private",
        "VPCId": "vpc-bp1nme44gek34slfc0001",
        "VSwitchId": "vsw-bp1e7clcw529l773d0001",
        "Upgradeable": "Disabled",
    }

    reply = call(cloud, "DescribeDBInstanceNetInfo", InstanceId="r-on")

    assert reply == {
        "InstanceNetworkType": "VPC",
        "NetInfoItems": {
            "InstanceNetInfo": [
                {
                    "ConnectionString": "r-on.redis.rds.aliyuncs.com",
                    "DirectConnection": 0,
                    "IPAddress": "10.0.0.10",
                    "Port": "6379",
                    "VPCInstanceId": "r-on",
                    **vpc,
                },
                {
                    "ConnectionString": "ordersdirect.redis.rds.aliyuncs.com",
                    "DirectConnection": 1,
                    "IPAddress": "10.9.9.9",
                    "Port": "6379",
                    "VPCInstanceId": "r-on-direct",
                    **vpc,
                },
            ]
        },
    }


def test_net_info_of_a_released_instance_has_the_proxy_only(cloud: Cloud) -> None:
    assert [item["DirectConnection"] for item in endpoints(cloud, "r-off")] == [0]


def test_net_info_of_the_classic_network_has_no_vpc(cloud: Cloud) -> None:
    (item,) = endpoints(cloud, "r-classic")

    assert (item["DBInstanceNetType"], item["IPType"], item["VPCId"]) == ("1", "Inner", "")


def test_a_release_runs_its_course(cloud: Cloud, time: Time) -> None:
    outcome = OPERATIONS["ReleaseDirectConnection"](cloud, {"InstanceId": "r-on"}, None)
    at_once = endpoints(cloud, "r-on")
    time.pass_by(2.5)

    assert (outcome.fields, outcome.effective) == ({}, True)
    assert [len(at_once), len(endpoints(cloud, "r-on"))] == [2, 1]


def test_an_allocation_gives_the_prefix_and_the_port_that_were_asked_for(cloud: Cloud, time: Time) -> None:
    call(cloud, "AllocateDirectConnection", InstanceId="r-off", ConnectionString="redisdirect123", Port="6380")
    time.pass_by(2.5)

    _, direct = endpoints(cloud, "r-off")
    assert (direct["ConnectionString"], direct["Port"]) == ("redisdirect123.redis.rds.aliyuncs.com", "6380")


def test_an_allocation_without_a_prefix_gets_one_and_a_new_address_every_time(cloud: Cloud, time: Time) -> None:
    call(cloud, "ReleaseDirectConnection", InstanceId="r-on")
    time.pass_by(2.5)
    call(cloud, "AllocateDirectConnection", InstanceId="r-on", ConnectionString="")
    time.pass_by(2.5)

    _, direct = endpoints(cloud, "r-on")
    assert direct["ConnectionString"] == "r-on-direct.redis.rds.aliyuncs.com"
    assert direct["IPAddress"] != "10.9.9.9"
    assert direct["Port"] == "6379"


@pytest.mark.parametrize("seconds", [0, 0.4, 0.6, 2.4])
@pytest.mark.parametrize("action", ["ReleaseDirectConnection", "AllocateDirectConnection"])
def test_during_a_release_everything_is_refused(cloud: Cloud, time: Time, action: str, seconds: float) -> None:
    call(cloud, "ReleaseDirectConnection", InstanceId="r-on")
    time.pass_by(seconds)

    assert refused(cloud, action, InstanceId="r-on") == "InstanceStatus.NotSupport"


def test_after_a_release_another_finds_nothing(cloud: Cloud, time: Time) -> None:
    call(cloud, "ReleaseDirectConnection", InstanceId="r-on")
    time.pass_by(2.5)

    assert refused(cloud, "ReleaseDirectConnection", InstanceId="r-on") == "NetTypeNotExists"


@pytest.mark.parametrize(
    ("instance_id", "during", "afterwards"),
    [
        ("r-off", "InstanceStatus.NotSupport", "NetTypeExists"),
        ("r-variant", "TaskHasExist", "DirectConnectionAlreadyExists"),
    ],
)
def test_a_second_allocation_is_refused(
    cloud: Cloud, time: Time, instance_id: str, during: str, afterwards: str
) -> None:
    call(cloud, "AllocateDirectConnection", InstanceId=instance_id)

    assert refused(cloud, "AllocateDirectConnection", InstanceId=instance_id) == during
    time.pass_by(2.5)
    assert refused(cloud, "AllocateDirectConnection", InstanceId=instance_id) == afterwards


def test_a_release_during_an_allocation_is_refused(cloud: Cloud) -> None:
    call(cloud, "AllocateDirectConnection", InstanceId="r-variant")

    assert refused(cloud, "ReleaseDirectConnection", InstanceId="r-variant") == "InstanceStatus.NotSupport"


def test_an_instance_that_is_busy_with_something_else_refuses_for_a_while(cloud: Cloud, time: Time) -> None:
    assert refused(cloud, "ReleaseDirectConnection", InstanceId="r-busy") == "InstanceStatus.NotSupport"
    time.pass_by(20)
    assert call(cloud, "ReleaseDirectConnection", InstanceId="r-busy") == {}


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "MissingInstanceId"),
        ({"InstanceId": "r-none"}, "InvalidDbInstanceId.NotFound"),
        ({"InstanceId": "r-off", "ConnectionString": "has-hyphens"}, "InvalidConnectionString"),
        ({"InstanceId": "r-off", "ConnectionString": "short12"}, "InvalidConnectionString.Format"),
        ({"InstanceId": "r-off", "ConnectionString": "a" * 41}, "InvalidConnectionString.Format"),
        ({"InstanceId": "r-off", "ConnectionString": "1redisdirect"}, "InvalidConnectionString.Format"),
        ({"InstanceId": "r-off", "ConnectionString": "RedisDirect"}, "InvalidConnectionString.Format"),
        ({"InstanceId": "r-off", "ConnectionString": "ordersdirect"}, "ConnectionStringAlreadyExists"),
        ({"InstanceId": "r-off", "Port": "1023"}, "InvalidPort"),
        ({"InstanceId": "r-off", "Port": "65536"}, "InvalidPort"),
        ({"InstanceId": "r-off", "Port": "6379x"}, "InvalidPort"),
    ],
)
def test_an_allocation_is_refused(cloud: Cloud, parameters: dict[str, str], code: str) -> None:
    assert refused(cloud, "AllocateDirectConnection", **parameters) == code


def test_a_prefix_is_taken_from_the_moment_an_allocation_is_accepted(cloud: Cloud) -> None:
    call(cloud, "AllocateDirectConnection", InstanceId="r-off", ConnectionString="a" * 40)

    again = refused(cloud, "AllocateDirectConnection", InstanceId="r-variant", ConnectionString="a" * 40)

    assert again == "ConnectionStringAlreadyExists"


@pytest.mark.parametrize(
    ("instance_id", "code"),
    [
        ("r-none", "InvalidDbInstanceId.NotFound"),
        ("r-off", "NetTypeNotExists"),
    ],
)
def test_a_release_is_refused(cloud: Cloud, instance_id: str, code: str) -> None:
    assert refused(cloud, "ReleaseDirectConnection", InstanceId=instance_id) == code


def test_at_a_regional_host_only_that_region_exists(cloud: Cloud) -> None:
    assert refused(cloud, "ReleaseDirectConnection", "cn-beijing", InstanceId="r-on") == "InvalidDbInstanceId.NotFound"
    assert refused(cloud, "DescribeDBInstanceNetInfo", "cn-beijing", InstanceId="r-on") == "InvalidInstanceId.NotFound"
    assert call(cloud, "DescribeInstances", "cn-beijing", RegionId="cn-hangzhou")["TotalCount"] == 0
    assert call(cloud, "ReleaseDirectConnection", "cn-beijing", InstanceId="r-north") == {}


def test_describes_an_instance(cloud: Cloud) -> None:
    reply = call(cloud, "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-off")

    assert reply == {
        "PageNumber": 1,
        "PageSize": 30,
        "TotalCount": 1,
        "Instances": {
            "KVStoreInstance": [
                {
                    "InstanceId": "r-off",
                    "InstanceName": "sessions",
                    "InstanceStatus": "Normal",
                    "InstanceType": "Redis",
                    "InstanceClass": "redis.logic.sharding.2g.8db.0rodb.8proxy.default",
                    "RegionId": "cn-hangzhou",
                    "ZoneId": "cn-hangzhou-h",
                    "ArchitectureType": "cluster",
                    "ComputingType": "Machine",
                    "EditionType": "Community",
                    "EngineVersion": "5.0",
                    "NodeType": "double",
                    "Capacity": 16384,
                    "NetworkType": "VPC",
                    "VpcId": "vpc-bp1nme44gek34slfc0001",
                    "VSwitchId": "vsw-bp1e7clcw529l773d0001",
                    "ConnectionDomain": "r-off.redis.rds.aliyuncs.com",
                    "ConnectionMode": "Standard",
                    "PrivateIp": "10.0.0.11",
                    "Port": 6379,
                    "ChargeType": "PostPaid",
                    "CreateTime": "2024-01-02T03:04:05Z",
                    "ResourceGroupId": "rg-acfmyiu4ekp0001",
                    "Tags": {"Tag": [{"Key": "team", "Value": "shop"}]},
                }
            ]
        },
    }


def names(reply: dict[str, Any]) -> list[str]:
    """Return the ids of the instances in a reply."""
    return [item["InstanceId"] for item in reply["Instances"]["KVStoreInstance"]]


def test_only_a_cloud_native_instance_tells_its_shards(cloud: Cloud) -> None:
    reply = call(cloud, "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-native")

    (item,) = reply["Instances"]["KVStoreInstance"]
    assert (item["ShardCount"], item["ComputingType"], item["EditionType"]) == (8, "Ecs", "Enterprise")


def test_an_unknown_id_and_one_of_another_region_are_left_out(cloud: Cloud) -> None:
    reply = call(cloud, "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-none,r-north,r-on")

    assert (names(reply), reply["TotalCount"]) == (["r-on"], 1)


def test_pages(cloud: Cloud) -> None:
    def page(number: str) -> list[str]:
        return names(call(cloud, "DescribeInstances", RegionId="cn-hangzhou", PageSize="3", PageNumber=number))

    assert [len(page("1")), len(page("2")), len(page("3")), page("4")] == [3, 3, 1, []]


def test_filters(cloud: Cloud) -> None:
    reply = call(cloud, "DescribeInstances", RegionId="cn-hangzhou", ArchitectureType="standard")

    assert names(reply) == ["r-standard"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"SearchKey": "sess"}, ["r-off"]),
        ({"SearchKey": "r-o"}, ["r-on", "r-off"]),
        ({"SearchKey": "nothing"}, []),
        ({"Tag.1.Key": "team"}, ["r-off"]),
        ({"Tag.1.Key": "team", "Tag.1.Value": "shop"}, ["r-off"]),
        ({"Tag.1.Key": "team", "Tag.1.Value": "other"}, []),
        ({"Tag.1.Key": "team", "Tag.2.Key": "env"}, []),
    ],
)
def test_searches_by_name_and_by_tags(cloud: Cloud, parameters: dict[str, str], expected: list[str]) -> None:
    assert names(call(cloud, "DescribeInstances", RegionId="cn-hangzhou", **parameters)) == expected


def test_types_may_differ_for_one_instance(cloud: Cloud) -> None:
    reply = call(cloud, "DescribeInstances", RegionId="cn-far", InstanceIds="r-jitter,r-tls")
    ports = [item["Port"] for item in endpoints(cloud, "r-jitter")]
    directions = [item["DirectConnection"] for item in endpoints(cloud, "r-jitter")]

    assert [item["Capacity"] for item in reply["Instances"]["KVStoreInstance"]] == [16384, "16384"]
    assert (ports, directions) == ([6379, 6379], ["0", "1"])


def test_a_change_that_fails_is_accepted_and_can_be_tried_again(cloud: Cloud, time: Time) -> None:
    call(cloud, "ReleaseDirectConnection", InstanceId="r-fails")
    during = refused(cloud, "ReleaseDirectConnection", InstanceId="r-fails")
    time.pass_by(2.5)
    left = len(endpoints(cloud, "r-fails"))

    assert (during, left) == ("InstanceStatus.NotSupport", 2)
    assert call(cloud, "ReleaseDirectConnection", InstanceId="r-fails") == {}


def test_the_prefix_of_an_allocation_that_failed_is_free(cloud: Cloud, time: Time) -> None:
    call(cloud, "AllocateDirectConnection", InstanceId="r-off", ConnectionString="redisdirect123")
    cloud.fail_change("r-off")
    time.pass_by(2.5)

    assert call(cloud, "AllocateDirectConnection", InstanceId="r-variant", ConnectionString="redisdirect123") == {}


def test_of_an_instance_that_somebody_deleted_nothing_is_left(cloud: Cloud) -> None:
    call(cloud, "ReleaseDirectConnection", InstanceId="r-on")
    cloud.delete("r-on")

    assert refused(cloud, "ReleaseDirectConnection", InstanceId="r-on") == "InvalidDbInstanceId.NotFound"
    assert refused(cloud, "AllocateDirectConnection", InstanceId="r-on") == "InvalidDbInstanceId.NotFound"
    assert refused(cloud, "DescribeDBInstanceNetInfo", InstanceId="r-on") == "InvalidInstanceId.NotFound"
    assert call(cloud, "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-on")["TotalCount"] == 0


@pytest.mark.parametrize("status", ["Inactive", "Released"])
def test_an_instance_that_is_over_is_shown_and_refuses(cloud: Cloud, status: str) -> None:
    cloud.put("r-on", {"status": status})

    (item,) = call(cloud, "DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-on")["Instances"][
        "KVStoreInstance"
    ]
    assert item["InstanceStatus"] == status
    assert refused(cloud, "ReleaseDirectConnection", InstanceId="r-on") == "InstanceStatus.NotSupport"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "MissingRegionId"),
        ({"RegionId": "cn-x", "InstanceIds": ",".join(f"r-{n}" for n in range(31))}, "InvalidInstanceIds"),
        ({"RegionId": "cn-x", "PageSize": "51"}, "InvalidPageSize"),
        ({"RegionId": "cn-x", "PageSize": "0"}, "InvalidPageSize"),
        ({"RegionId": "cn-x", "PageNumber": "0"}, "InvalidPageNumber"),
        ({"RegionId": "cn-x", "PageNumber": "-1"}, "InvalidPageNumber"),
    ],
)
def test_describe_instances_is_refused(cloud: Cloud, parameters: dict[str, str], code: str) -> None:
    assert refused(cloud, "DescribeInstances", **parameters) == code


def test_thirty_ids_and_fifty_a_page_are_allowed(cloud: Cloud) -> None:
    ids = ",".join(f"r-{n}" for n in range(30))

    assert call(cloud, "DescribeInstances", RegionId="cn-x", InstanceIds=ids, PageSize="50")["TotalCount"] == 0


def test_unknown_actions_and_versions_are_not_found() -> None:
    with pytest.raises(CloudError, match=r"404 InvalidAction\.NotFound"):
        find_operation("DescribeNothing", "2015-01-01")
    with pytest.raises(CloudError, match="404 InvalidVersion"):
        find_operation("DescribeInstances", "2014-01-01")


def test_every_documented_code_has_a_status_of_a_refusal_and_a_text() -> None:
    assert all(400 <= status < 600 and message for status, message in DOCUMENTED.values())
