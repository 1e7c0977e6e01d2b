"""The operations of R-kvstore over the simulated cloud: what they accept, what happens, and what the reply says.

Parameters, reply fields and refusals are those of the API pages of the same names (R-kvstore 2015-01-01, Alibaba
Cloud help centre). Where a page leaves something open, the choice is marked as a guess.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tair_simulator.cloud import Cloud
from tair_simulator.errors import refusal
from tair_simulator.instances import CLUSTER, MACHINE, VPC, Endpoint
from tair_simulator.jitter import jittered
from tair_simulator.shapes import instance_attribute, instance_item, instance_ssl, net_info
from tair_simulator.transitions import Kind, Record, View, look

VERSION = "2015-01-01"
MAX_INSTANCE_IDS = 30
DEFAULT_PAGE_SIZE = 30
MAX_PAGE_SIZE = 50
MAX_TAGS = 5
# User guide "Enable the direct connection mode": Redis 5.0, in older copies community edition 4.0 or 5.0 and Tair 5.0.
# That it goes by these fields, and that a cluster of a later version is refused, are guesses.
ENGINE_VERSIONS = {"Redis": ("4.0", "5.0"), "Tair": ("5.0",)}
FILTERS = (
    "ArchitectureType",
    "ChargeType",
    "EngineVersion",
    "InstanceStatus",
    "InstanceType",
    "NetworkType",
    "VSwitchId",
    "VpcId",
    "ZoneId",
)
_PREFIX = re.compile(r"[a-z][a-z0-9]{7,39}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation did: the fields of its reply, and whether it changed an instance."""

    fields: dict[str, object]
    effective: bool = False


Parameters = Mapping[str, str]
Operation = Callable[[Cloud, Parameters, str | None], Outcome]


def release_direct_connection(cloud: Cloud, parameters: Parameters, region_id: str | None) -> Outcome:
    """Start the release of the direct endpoint; the reply holds nothing, the result has to be observed."""
    record = _instance(cloud, parameters, region_id, "InvalidDbInstanceId.NotFound")
    view = look(record, cloud.clock())
    if view.busy:
        raise refusal("InstanceStatus.NotSupport")
    # The page wants a classic cluster but names no code for another one. A guess: what looks like a direct endpoint of
    # that (a cloud-native instance in direct mode has one) is not one that can be released.
    is_classic_cluster = (record.instance.computing_type, record.instance.architecture_type) == (MACHINE, CLUSTER)
    if view.endpoint is None or not is_classic_cluster:
        raise refusal("NetTypeNotExists")
    cloud.start_release(record)
    return Outcome({}, effective=True)


def allocate_direct_connection(cloud: Cloud, parameters: Parameters, region_id: str | None) -> Outcome:
    """Start the allocation of a direct endpoint; the reply holds nothing, the result has to be observed."""
    record = _instance(cloud, parameters, region_id, "InvalidDbInstanceId.NotFound")
    endpoint = _wished_endpoint(parameters)
    view = look(record, cloud.clock())
    _check_idle(record, view)
    _check_eligible(record, view)
    if endpoint.prefix and cloud.prefix_taken(endpoint.prefix):
        raise refusal("ConnectionStringAlreadyExists")
    cloud.start_allocate(record, endpoint)
    return Outcome({}, effective=True)


def describe_db_instance_net_info(cloud: Cloud, parameters: Parameters, region_id: str | None) -> Outcome:
    """Return the endpoints of an instance; the only operation that shows a direct connection."""
    # A guess: the page lists no code for an unknown instance; Terraform's provider expects this one.
    record = _instance(cloud, parameters, region_id, "InvalidInstanceId.NotFound")
    return Outcome(jittered(net_info(record, look(record, cloud.clock())), record.instance.jitter))


def describe_instance_attribute(cloud: Cloud, parameters: Parameters, region_id: str | None) -> Outcome:
    """Return the details of one instance, such as its maintenance window."""
    # Not on the page: Terraform's provider expects this code, and not the one of the mutating operations.
    record = _instance(cloud, parameters, region_id, "InvalidInstanceId.NotFound")
    item = instance_attribute(record, look(record, cloud.clock()))
    return Outcome(jittered({"Instances": {"DBInstanceAttribute": [item]}}, record.instance.jitter))


def describe_instance_ssl(cloud: Cloud, parameters: Parameters, region_id: str | None) -> Outcome:
    """Return whether TLS is on; the code for an unknown instance is that of the page."""
    record = _instance(cloud, parameters, region_id, "InvalidInstanceId.NotFound")
    return Outcome(jittered(instance_ssl(record), record.instance.jitter))


def describe_instances(cloud: Cloud, parameters: Parameters, region_id: str | None) -> Outcome:
    """Return one page of the instances of ``RegionId``; an unknown id is left out without an error."""
    region = parameters.get("RegionId")
    if not region:
        raise refusal("MissingRegionId")
    ids = {part for part in parameters.get("InstanceIds", "").split(",") if part}
    if len(ids) > MAX_INSTANCE_IDS:
        raise refusal("InvalidInstanceIds")
    number = _whole_number(parameters, "PageNumber", 1, at_most=1_000_000)
    size = _whole_number(parameters, "PageSize", DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE)
    found = _matching(cloud, parameters, ids, region) if region_id in {None, region} else []
    return Outcome(
        {
            "PageNumber": number,
            "PageSize": size,
            "TotalCount": len(found),
            "Instances": {"KVStoreInstance": found[(number - 1) * size : number * size]},
        }
    )


OPERATIONS: dict[str, Operation] = {
    "AllocateDirectConnection": allocate_direct_connection,
    "DescribeDBInstanceNetInfo": describe_db_instance_net_info,
    "DescribeInstanceAttribute": describe_instance_attribute,
    "DescribeInstanceSSL": describe_instance_ssl,
    "DescribeInstances": describe_instances,
    "ReleaseDirectConnection": release_direct_connection,
}


def find_operation(action: str, version: str) -> Operation:
    """Return the operation of this name; raise ``InvalidVersion`` or ``InvalidAction.NotFound``."""
    if version != VERSION:
        raise refusal("InvalidVersion")
    operation = OPERATIONS.get(action)
    if operation is None:
        raise refusal("InvalidAction.NotFound")
    return operation


def _instance(cloud: Cloud, parameters: Parameters, region_id: str | None, not_found: str) -> Record:
    instance_id = parameters.get("InstanceId")
    if not instance_id:
        raise refusal("MissingInstanceId")
    record = cloud.find(instance_id, region_id)
    if record is None:
        raise refusal(not_found)
    return record


def _wished_endpoint(parameters: Parameters) -> Endpoint:
    port = _whole_number(parameters, "Port", 6379, at_least=1024, at_most=65_535)
    # A guess: an empty ConnectionString is the same as none.
    prefix = parameters.get("ConnectionString") or None
    if prefix is not None and re.fullmatch(r"\w+", prefix, re.ASCII) is None:
        raise refusal("InvalidConnectionString")
    if prefix is not None and _PREFIX.fullmatch(prefix) is None:
        raise refusal("InvalidConnectionString.Format")
    return Endpoint(prefix=prefix, port=port)


def _check_idle(record: Record, view: View) -> None:
    if view.change is not None and view.change.kind is Kind.ALLOCATE:
        raise refusal(record.instance.refusals.allocate_while_allocating)
    if view.busy:
        raise refusal("InstanceStatus.NotSupport")


def _check_eligible(record: Record, view: View) -> None:
    # The page names the conditions but not which code belongs to which. Only "exists" and the two about the engine say
    # so themselves; the other codes and the order are guesses, and a seed may choose others.
    instance = record.instance
    refusals = instance.refusals
    if instance.architecture_type != CLUSTER:
        raise refusal(refusals.not_cluster)
    if instance.computing_type != MACHINE:
        raise refusal(refusals.cloud_native)
    if view.endpoint is not None:
        raise refusal(refusals.allocate_existing)
    if not instance.preview_access:
        raise refusal(refusals.no_preview_access)
    if instance.engine_version not in ENGINE_VERSIONS[instance.instance_type]:
        raise refusal("UnsupportedEngineVersion")
    if instance.minor_version_outdated:
        raise refusal("IncorrectMinorVersion")
    if instance.ssl_enabled:
        raise refusal(refusals.ssl_enabled)
    if instance.network_type != VPC:
        raise refusal(refusals.classic_network)
    if view.free_ips < instance.direct_ips:
        raise refusal(refusals.no_free_ips)


def _matching(cloud: Cloud, parameters: Parameters, ids: set[str], region_id: str) -> list[dict[str, object]]:
    now = cloud.clock()
    wanted = {name: parameters[name] for name in FILTERS if parameters.get(name)}
    matching = []
    for record in cloud.records():
        if record.instance.region_id != region_id or (ids and record.instance_id not in ids):
            continue
        item = instance_item(record, look(record, now))
        if all(item[name] == value for name, value in wanted.items()) and _is_searched(record, parameters):
            matching.append(jittered(item, record.instance.jitter))
    return matching


def _is_searched(record: Record, parameters: Parameters) -> bool:
    # That SearchKey is part of the id or of the name is a guess: the page says "fuzzy search".
    text = parameters.get("SearchKey", "")
    if text not in record.instance_id and text not in record.instance.name:
        return False
    tags = record.instance.tags
    for number in range(1, MAX_TAGS + 1):
        key, value = parameters.get(f"Tag.{number}.Key"), parameters.get(f"Tag.{number}.Value")
        if key and (key not in tags or value not in {None, "", tags[key]}):
            return False
    return True


def _whole_number(parameters: Parameters, name: str, default: int, *, at_least: int = 1, at_most: int) -> int:
    text = parameters.get(name) or str(default)
    if re.fullmatch(r"[0-9]{1,7}", text) is None or not at_least <= int(text) <= at_most:
        raise refusal(f"Invalid{name}")
    return int(text)
