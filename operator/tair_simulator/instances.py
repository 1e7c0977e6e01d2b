"""What an instance of the simulated cloud is made of: the fields that a seed or the control API may set.

These are plain descriptions without behaviour. How an instance changes after an accepted call is in ``transitions``;
how it looks in an API reply is in ``operations``.
"""

from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from tair_simulator.errors import KNOWN
from tair_simulator.jitter import Flavours
from tair_simulator.mistakes import Strict

NORMAL = "Normal"
CLUSTER: Final = "cluster"
MACHINE: Final = "Machine"
VPC: Final = "VPC"

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Status = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,39}$")]
InstanceId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
# 8 to 40 characters: API page AllocateDirectConnection. An endpoint that the cloud named itself has hyphens.
Prefix = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,79}$")]
Address = Annotated[IPv4Address, Field(strict=False)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]Z$")]
Port = Annotated[int, Field(ge=1024, le=65_535)]


def _known(code: str) -> str:
    if code not in KNOWN:
        raise ValueError("must be a code that the simulator knows; docs/reference/simulator.md lists them")
    return code


KnownCode = Annotated[str, AfterValidator(_known)]


def default_prefix(instance_id: str) -> str:
    """Return the prefix of an endpoint that nobody named.

    Alibaba's SDK documents "<instance id>-direct", the console guide the instance id alone.
    """
    return f"{instance_id}-direct"


class NetInfoChanges(StrEnum):
    """When NetInfo shows a change, seen from the moment the status is Normal again."""

    BEFORE_NORMAL = "BeforeNormal"
    WITH_NORMAL = "WithNormal"
    AFTER_NORMAL = "AfterNormal"


class Timing(Strict):
    """How long a change takes, in seconds; the real durations are not documented, so tests choose them.

    With ``fails`` a change is accepted, keeps the instance busy, and leaves everything as it was.
    """

    lag_seconds: Seconds = 0.5
    busy_seconds: Seconds = 2.0
    busy_status: Status | None = "NetworkModifying"
    net_info_changes: Annotated[NetInfoChanges, Field(strict=False)] = NetInfoChanges.WITH_NORMAL
    net_info_offset_seconds: Seconds = 0.0
    fails: bool = False

    @field_validator("busy_status")
    @classmethod
    def _busy_is_not_normal(cls, status: str | None) -> str | None:
        if status == NORMAL:
            raise ValueError("must not be Normal; write null for no busy status at all")
        return status

    @field_validator("net_info_offset_seconds")
    @classmethod
    def _offset_has_a_direction(cls, seconds: float, others: ValidationInfo) -> float:
        if seconds and others.data.get("net_info_changes") is NetInfoChanges.WITH_NORMAL:
            raise ValueError("needs netInfoChanges: BeforeNormal or AfterNormal")
        return seconds


class Refusals(Strict):
    """Which code answers an Allocate, where the API page lists several or none.

    The first two are choices among documented codes. For each of the others the page names the condition but not the
    code, so each default is a guess.
    """

    allocate_existing: Literal["NetTypeExists", "DirectConnectionAlreadyExists"] = "NetTypeExists"
    allocate_while_allocating: Literal[
        "InstanceStatus.NotSupport", "TaskHasExist", "NetTypeExists", "DirectConnectionAlreadyExists"
    ] = "InstanceStatus.NotSupport"
    not_cluster: KnownCode = "InvalidConnType"
    cloud_native: KnownCode = "InvalidConnType"
    classic_network: KnownCode = "InvalidVPCParamGroup"
    ssl_enabled: KnownCode = "InvalidConnType"
    no_preview_access: KnownCode = "Forbidden"
    no_free_ips: KnownCode = "InvalidVPCParamGroup"


class MaintenanceWindow(Strict):
    """When the cloud may maintain an instance, each day in UTC; one that ends before it starts crosses midnight."""

    start: TimeOfDay = "18:00Z"
    end: TimeOfDay = "22:00Z"


class Endpoint(Strict):
    """A direct endpoint; what is left out, the cloud chooses."""

    prefix: Prefix | None = None
    port: Port = 6379
    ip_address: Address | None = None

    @property
    def host(self) -> str:
        """The name that clients connect to."""
        return f"{self.prefix}.redis.rds.aliyuncs.com"


class Instance(Strict):
    """One instance as it was described; field names follow the API page DescribeInstances in camelCase."""

    region_id: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z0-9]+)+$")]
    name: Annotated[str, Field(max_length=128)] = ""
    status: Status = NORMAL
    status_seconds: Seconds | None = None
    direct_connection: bool = False
    endpoint: Endpoint | None = None
    architecture_type: Literal["cluster", "standard", "rwsplit"] = CLUSTER
    computing_type: Literal["Machine", "Ecs"] = MACHINE
    network_type: Literal["VPC", "CLASSIC"] = VPC
    instance_type: Literal["Tair", "Redis"] = "Redis"
    engine_version: str = "5.0"
    minor_version_outdated: bool = False
    ssl_enabled: bool = False
    preview_access: bool = True
    instance_class: str = "redis.logic.sharding.2g.8db.0rodb.8proxy.default"
    capacity: Annotated[int, Field(ge=1)] = 16_384
    shard_count: Annotated[int, Field(ge=1, le=256)] = 8
    zone_id: str | None = None
    vpc_id: str = "vpc-bp1nme44gek34slfc0001"
    v_switch_id: str = "vsw-bp1e7clcw529l773d0001"
    v_switch_ips: Annotated[int, Field(ge=0)] = 250
    private_ip: Address | None = None
    port: Port = 6379
    charge_type: Literal["PrePaid", "PostPaid"] = "PostPaid"
    create_time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")] = "2024-01-02T03:04:05Z"
    maintenance_window: MaintenanceWindow | None = MaintenanceWindow()
    tags: dict[str, str] = Field(default_factory=dict)
    timing: Timing = Timing()
    refusals: Refusals = Refusals()
    jitter: Flavours = Field(default_factory=list)

    @field_validator("endpoint")
    @classmethod
    def _endpoint_belongs_to_a_direct_connection(
        cls, endpoint: Endpoint | None, others: ValidationInfo
    ) -> Endpoint | None:
        if endpoint is not None and others.data.get("direct_connection") is False:
            raise ValueError("needs directConnection: true")
        return endpoint

    @property
    def direct_ips(self) -> int:
        """How many addresses of the vSwitch a direct endpoint takes; user guide "Enable the direct connection mode"."""
        return self.shard_count + 1
