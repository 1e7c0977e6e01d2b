"""Reply bodies: an instance and what the cloud shows of it, as the real API writes them.

Field names and types follow the samples on the API pages DescribeDBInstanceNetInfo, DescribeInstances,
DescribeInstanceAttribute and DescribeInstanceSSL (R-kvstore 2015-01-01). The surprising fact: a number is sometimes
text there, ``Port`` for one, and here as well.
"""

from tair_simulator.instances import CLUSTER, MACHINE, VPC, Endpoint, Instance
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
        **_common(record, view),
        "EditionType": "Enterprise" if instance.instance_type == "Tair" else "Community",
        # An old notion of RDS; no page says that it reflects a direct endpoint, so it does not.
        "ConnectionMode": "Standard",
        "PrivateIp": str(instance.private_ip),
    }
    # The page documents ShardCount for cloud-native instances only.
    return item if instance.computing_type == MACHINE else {**item, "ShardCount": instance.shard_count}


def instance_attribute(record: Record, view: View) -> dict[str, object]:
    """Return the item of DescribeInstanceAttribute; it has no ConnectionMode, and its maintenance window is in UTC."""
    instance = record.instance
    is_cluster = instance.architecture_type == CLUSTER
    item: dict[str, object] = {
        **_common(record, view),
        "AvailabilityValue": "100.0%",
        "Bandwidth": 768,
        "Config": "{}",
        "Connections": 80_000,
        "EndTime": "",
        "Engine": instance.instance_type,
        "HasRenewChangeOrder": "false",
        "InstanceReleaseProtection": False,
        "IsOrderCompleted": True,
        "IsRds": True,
        "PackageType": "standard",
        "QPS": 800_000,
        "RealInstanceClass": instance.instance_class,
        "ReplicationMode": "cluster" if is_cluster else "master-slave",
        "SecurityIPList": "127.0.0.1",
        "StorageType": "LOCAL_SSD" if instance.computing_type == MACHINE else "essd_pl1",
        "VpcAuthMode": "Open",
    }
    if instance.network_type == VPC:
        item |= {"PrivateIp": str(instance.private_ip), "VpcCloudInstanceId": record.instance_id}
    if is_cluster:
        item |= {"ShardCount": instance.shard_count}
    if instance.maintenance_window is not None:
        window = instance.maintenance_window
        item |= {"MaintainStartTime": window.start, "MaintainEndTime": window.end}
    return item


def instance_ssl(record: Record) -> dict[str, object]:
    """Return the body of DescribeInstanceSSL; that the certificate is described only while TLS is on is a guess."""
    if not record.instance.ssl_enabled:
        return {"InstanceId": record.instance_id, "SSLEnabled": "Disable"}
    return {
        "InstanceId": record.instance_id,
        "SSLEnabled": "Enable",
        "SSLExpiredTime": "2099-01-02T03:04:05Z",
        "CertCommonName": _proxy_host(record),
        "CertDownloadURL": "https://simulated.example/ApsaraDB-CA-Chain.zip",
    }


def _common(record: Record, view: View) -> dict[str, object]:
    instance = record.instance
    return {
        "InstanceId": record.instance_id,
        "InstanceName": instance.name,
        "InstanceStatus": view.status,
        "InstanceType": instance.instance_type,
        "InstanceClass": instance.instance_class,
        "RegionId": instance.region_id,
        "ZoneId": instance.zone_id,
        "ArchitectureType": instance.architecture_type,
        "ComputingType": instance.computing_type,
        "EngineVersion": instance.engine_version,
        "NodeType": "double",
        "Capacity": instance.capacity,
        "NetworkType": instance.network_type,
        "VpcId": instance.vpc_id,
        "VSwitchId": instance.v_switch_id,
        "ConnectionDomain": _proxy_host(record),
        "Port": instance.port,
        "ChargeType": instance.charge_type,
        "CreateTime": instance.create_time,
        "ResourceGroupId": "rg-acfmyiu4ekp0001",
        "Tags": {"Tag": [{"Key": key, "Value": value} for key, value in instance.tags.items()]},
    }


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
