"""Reply bodies: an instance and what the cloud shows of it, as the real API writes them.

Field names and types follow the samples on the API pages DescribeDBInstanceNetInfo and DescribeInstances (R-kvstore
2015-01-01). The surprising fact: a number is sometimes text there, ``Port`` for one, and here as well.
"""

from tair_simulator.instances import MACHINE, VPC, Endpoint, Instance
from tair_simulator.transitions import Record, View


def net_info(record: Record, view: View) -> dict[str, object]:
    """Return the body of DescribeDBInstanceNetInfo: the proxy's endpoint, and the direct one if there is one."""
    items = [_proxy_item(record)]
    if view.endpoint is not None:
        items.append(_direct_item(record, view.endpoint))
    return {
        "InstanceNetworkType": record.instance.network_type,
        "NetInfoItems": {"InstanceNetInfo": items},
    }


def instance_item(record: Record, view: View) -> dict[str, object]:
    """Return one item of DescribeInstances; nothing in it tells whether there is a direct connection."""
    instance = record.instance
    item: dict[str, object] = {
        "InstanceId": record.instance_id,
        "InstanceName": instance.name,
        "InstanceStatus": view.status,
        "InstanceType": instance.instance_type,
        "InstanceClass": instance.instance_class,
        "RegionId": instance.region_id,
        "ZoneId": instance.zone_id,
        "ArchitectureType": instance.architecture_type,
        "ComputingType": instance.computing_type,
        "EditionType": "Enterprise" if instance.instance_type == "Tair" else "Community",
        "EngineVersion": instance.engine_version,
        "NodeType": "double",
        "Capacity": instance.capacity,
        "NetworkType": instance.network_type,
        "VpcId": instance.vpc_id,
        "VSwitchId": instance.v_switch_id,
        "ConnectionDomain": _proxy_host(record),
        # An old notion of RDS; no page says that it reflects a direct endpoint, so it does not.
        "ConnectionMode": "Standard",
        "PrivateIp": str(instance.private_ip),
        "Port": instance.port,
        "ChargeType": instance.charge_type,
        "CreateTime": instance.create_time,
        "ResourceGroupId": "rg-acfmyiu4ekp0001",
        "Tags": {"Tag": [{"Key": key, "Value": value} for key, value in instance.tags.items()]},
    }
    # The page documents ShardCount for cloud-native instances only.
    return item if instance.computing_type == MACHINE else {**item, "ShardCount": instance.shard_count}


def _proxy_item(record: Record) -> dict[str, object]:
    instance = record.instance
    item = {
        "ConnectionString": _proxy_host(record),
        "DirectConnection": 0,
        "IPAddress": str(instance.private_ip),
        "Port": str(instance.port),
        "VPCInstanceId": record.instance_id,
    }
    if instance.network_type == VPC:
        return {**item, **_vpc(instance)}
    return {**item, "DBInstanceNetType": "1", "IPType": "Inner", "VPCId": "", "VSwitchId": "", "VPCInstanceId": ""}


def _direct_item(record: Record, endpoint: Endpoint) -> dict[str, object]:
    return {
        "ConnectionString": endpoint.host,
        "DirectConnection": 1,
        "IPAddress": str(endpoint.ip_address),
        "Port": str(endpoint.port),
        # A guess: no real sample of a direct endpoint was found.
        "VPCInstanceId": f"{record.instance_id}-direct",
        **_vpc(record.instance),
    }


def _vpc(instance: Instance) -> dict[str, object]:
    return {
        "DBInstanceNetType": "2",
        "IPType": "Private",
        "VPCId": instance.vpc_id,
        "VSwitchId": instance.v_switch_id,
        "Upgradeable": "Disabled",
    }


def _proxy_host(record: Record) -> str:
    return f"{record.instance_id}.redis.rds.aliyuncs.com"
