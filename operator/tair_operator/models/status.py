"""What the operator reports: what it did, when, with which RequestId, and what it waits for."""

from typing import Annotated, Literal

from pydantic import Field

from tair_operator.models.terms import Action, ConnectionState, Outcome
from tair_operator.models.wire import Model, Time


class Condition(Model):
    """One observation about the resource, as metav1.Condition defines it."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Ready, Reconciling, Stalled, Suspended or EndpointMatches; other controllers may add their own."""

    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""

    observed_generation: int | None = None
    """metadata.generation that this condition is about."""

    last_transition_time: Time
    """When status last changed."""

    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """One word of a closed list that says why; the reference page on conditions explains each."""

    message: Annotated[str, Field(max_length=32768)] = ""
    """The same for people."""


class DirectConnectionStatus(Model):
    """The direct connection as the cloud reported it."""

    state: ConnectionState = ConnectionState.UNKNOWN
    """Allocated, Allocating, Releasing, Released or Unknown."""

    host: str | None = None
    """Host name of the endpoint."""

    port: int | None = None
    """TCP port of the endpoint."""

    ip_address: str | None = None
    """Private address of the endpoint."""

    vpc_id: str | None = None
    """VPC that the endpoint is in."""

    v_switch_id: str | None = None
    """vSwitch that the endpoint is in."""

    vpc_instance_id: str | None = None
    """Id of the endpoint inside the VPC."""


class InstanceStatus(Model):
    """The instance as DescribeInstances reported it."""

    status: str | None = None
    """InstanceStatus in the cloud's own word: Normal when it is running and nothing is being changed."""

    name: str | None = None
    """InstanceName."""

    architecture_type: str | None = None
    """cluster, standard or rwsplit."""

    computing_type: str | None = None
    """Machine for classic instances, Ecs for cloud-native ones."""

    engine_version: str | None = None
    """Version of Redis that the instance is compatible with."""

    network_type: str | None = None
    """VPC or CLASSIC."""


class Operation(Model):
    """One mutating call and what became of it."""

    id: str
    """Random id that names this attempt."""

    action: Action
    """ReleaseDirectConnection or AllocateDirectConnection."""

    generation: int
    """metadata.generation of the spec that asked for it."""

    attempt: int
    """How many calls this one is for the same wanted value."""

    drift: bool | None = None
    """true when the call corrected a change made by somebody else."""

    instance: str | None = None
    """What the instance was then: ArchitectureType, ComputingType, EngineVersion and NetworkType. A refused call is
    repeated when one of them has changed."""

    started_at: Time
    """When the intent was stored; the call follows at once."""

    finished_at: Time | None = None
    """When the outcome was settled."""

    outcome: Outcome
    """Started, NotSent, Accepted, Rejected, Unknown, Succeeded or Failed."""

    request_id: str | None = None
    """RequestId of the answer. Absent when no answer arrived; it is never invented."""

    http_status: int | None = None
    """HTTP status of the answer."""

    code: str | None = None
    """Error code of the answer."""

    message: str | None = None
    """Error message of the answer, shortened and redacted."""


class ErrorStatus(Model):
    """What went wrong in the last pass."""

    action: str
    """The API call that failed."""

    code: str
    """Error code in the cloud's own word, or the operator's word for a call that got no answer."""

    message: str
    """Error message, shortened and redacted."""

    http_status: int | None = None
    """HTTP status of the answer."""

    request_id: str | None = None
    """RequestId of the answer."""

    time: Time
    """When this error was first met; a repetition does not move it."""


class ReachedStatus(Model):
    """The wanted value that was last reached. Drift is measured against it."""

    direct_connection: bool
    """The wanted value."""

    operation_id: str | None = None
    """Operation that reached it; absent when the instance already was as wanted."""

    endpoint_id: str | None = None
    """Short hash that names the endpoint which our allocation brought about."""

    left_by: str | None = None
    """Operation of ours that has left it since; a difference to it is no drift then."""

    time: Time
    """When it was reached."""


class PlanStatus(Model):
    """A call that is planned and waits."""

    id: str
    """Names this plan; an approval repeats it."""

    action: Action
    """The call that is planned."""

    reason: str
    """What it waits for, in the words of the conditions."""

    expires_at: Time | None = None
    """When the plan lapses, and an approval of it with it."""

    withdrawn_at: Time | None = None
    """When the published endpoint was withdrawn for it."""


class BindingStatus(Model):
    """Service Binding: the Secret that holds the endpoint."""

    name: str
    """Name of the Secret."""


class PublishedStatus(Model):
    """Where the endpoint is published at present."""

    secret_name: str | None = None
    """Name of the Secret."""

    config_map_name: str | None = None
    """Name of the ConfigMap."""


class DriftStatus(Model):
    """A difference that somebody else made after the wanted value had been reached."""

    direct_connection: bool
    """What is there instead: true for allocated, false for released."""

    since: Time
    """When it was first seen."""


class TairInstanceStatus(Model):
    """What the operator did, when, with which RequestId, and what it waits for."""

    observed_generation: int | None = None
    """metadata.generation that the operator last acted on."""

    conditions: Annotated[
        list[Condition],
        Field(
            max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = Field(default_factory=list)
    """Ready, and Reconciling, Stalled or Suspended while they are true."""

    direct_connection: DirectConnectionStatus | None = None
    """The direct connection as the cloud reported it."""

    reached: ReachedStatus | None = None
    """The wanted value that was last reached."""

    instance: InstanceStatus | None = None
    """The instance as the cloud reported it."""

    request_id: str | None = None
    """RequestId of the last mutating call that was answered."""

    operation: Operation | None = None
    """The last mutating call."""

    error: ErrorStatus | None = None
    """What went wrong in the last pass; absent when nothing did."""

    history: Annotated[list[Operation], Field(max_length=5)] = Field(default_factory=list)
    """Up to five finished operations, newest first. An identical rejection repeated counts in attempt instead."""

    plan: PlanStatus | None = None
    """The call that is planned and waits. It stays until the call that follows it has settled."""

    finished_releases: int | None = None
    """How many releases that may have had an effect are over. Part of status.plan.id: an approval is good for one."""

    drift: DriftStatus | None = None
    """What somebody else changed, while it lasts."""

    published: PublishedStatus | None = None
    """Where the endpoint is published; absent while it is withdrawn."""

    binding: BindingStatus | None = None
    """Service Binding: the Secret that holds the endpoint; absent while there is none."""

    taking_over: bool | None = None
    """true while another TairInstance manages the instance, or did so less than the settling time ago:
    nothing is called meanwhile."""

    last_handled_reconcile_at: str | None = None
    """Value of annotation tair.alibabacloud.com/reconcile-requested-at that was last acted on."""

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type, or None."""
        return next((condition for condition in self.conditions if condition.type == kind), None)
