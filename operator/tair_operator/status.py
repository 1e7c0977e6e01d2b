"""Composes the status that a pass leaves behind, and says whether it is worth a write.

Everything here is pure: the plan and the observation go in, the next status
comes out. Times and request ids of a repeated error, and an intermediate
instance status on its own, are not worth a write: at rest there are none.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tair_operator.conditions import differences, next_conditions
from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    BindingStatus,
    ConnectionState,
    DirectConnectionStatus,
    DriftStatus,
    ErrorStatus,
    InstanceStatus,
    Operation,
    Outcome,
    PublishedStatus,
    ReachedStatus,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.operations import remembered, settled
from tair_operator.ports import Clock, CloudError, Observation
from tair_operator.situation import NORMAL, direct_endpoint, endpoint_id, known_better
from tair_operator.stance import Plan, Stance, lasting
from tair_operator.subject import finished_releases, places_of

LONG_AGO = 1e9


@dataclass(frozen=True, slots=True)
class Look:
    """What a pass learnt from the cloud: an observation, and the error that it met, if any."""

    observation: Observation | None = None
    error: CloudError | None = None
    began: tuple[float, float] = (float("-inf"), float("-inf"))
    """When it was begun, on the monotonic and on the boot-time clock."""

    def age(self, clock: Clock) -> timedelta:
        """Return how old it is, a sleep of the machine included. Nobody sets these two clocks."""
        monotonic, boottime = self.began
        return timedelta(seconds=min(max(clock.monotonic() - monotonic, clock.boottime() - boottime), LONG_AGO))


def next_status(
    resource: TairInstance,
    plan: Plan,
    look: Look,
    now: datetime,
    *,
    intent: Operation | None = None,
) -> TairInstanceStatus:
    """Return the whole status after a plan; ``intent`` is the operation that is about to start."""
    status, observation = resource.status, look.observation
    last = settled(status.operation, plan.outcome, now)
    connection = _connection(status.direct_connection, plan.state, observation)
    compared = differences(resource.spec.endpoint, connection)
    published = _published(resource, plan)
    # A clock that was set back tells of a time before the resource was there.
    transition = max(now, resource.metadata.creation_timestamp or now)
    return status.model_copy(
        update={
            "observed_generation": resource.metadata.generation,
            "conditions": next_conditions(status.conditions, plan, resource.metadata.generation, transition, compared),
            "direct_connection": connection,
            "reached": _reached(resource, plan, look, last, now) if intent is None else _left(status.reached, intent),
            "instance": _instance(observation) or status.instance,
            "operation": intent or last,
            "error": None if intent else _error(status.error, plan, look.error, last, now),
            "history": remembered(status.history, last),
            "plan": plan.planned,
            "finished_releases": finished_releases(status, plan.outcome),
            "drift": _drift(status.drift, plan, observation, now),
            "published": published,
            "binding": BindingStatus(name=published.secret_name) if published and published.secret_name else None,
            "taking_over": True if plan.is_taking_over else None,
            "last_handled_reconcile_at": _handled_request(resource, plan),
        }
    )


def endpoint_to_publish(resource: TairInstance, look: Look) -> tuple[str, int]:
    """Return host and port of the live endpoint: of this look, or of the last one where there was none."""
    seen = direct_endpoint(look.observation) if look.observation is not None else resource.status.direct_connection
    return (seen.host or "", seen.port or 0) if seen is not None else ("", 0)


def _handled_request(resource: TairInstance, plan: Plan) -> str | None:
    handled = resource.status.last_handled_reconcile_at
    return handled if plan.keeps_request else resource.metadata.annotations.get(ANNOTATION_RECONCILE, handled)


def is_worth_writing(before: TairInstanceStatus, after: TairInstanceStatus) -> bool:
    """Whether anything differs but what may lag behind."""
    return _essence(before) != _essence(after) or _is_normal_again(before.instance, after.instance)


def is_transition(before: TairInstanceStatus, after: TairInstanceStatus) -> bool:
    """Whether a user would want to be told: the reason of Ready is another one."""
    old, new = before.condition("Ready"), after.condition("Ready")
    return (old and (old.status, old.reason)) != (new and (new.status, new.reason))


def _essence(status: TairInstanceStatus) -> TairInstanceStatus:
    error = status.error and status.error.model_copy(
        update={"time": None, "request_id": None, "message": lasting(status.error.message)}
    )
    instance = status.instance and status.instance.model_copy(update={"status": None})
    return status.model_copy(update={"error": error, "instance": instance})


def _is_normal_again(before: InstanceStatus | None, after: InstanceStatus | None) -> bool:
    """Whether an intermediate status was written, with something else, that would now stay for ever."""
    return before is not None and after is not None and before.status != NORMAL and after.status == NORMAL


def _connection(
    before: DirectConnectionStatus | None, state: ConnectionState, observation: Observation | None
) -> DirectConnectionStatus:
    endpoint = known_better(direct_endpoint(observation), before) if observation else None
    # While it is being allocated it cannot be used yet; it is shown once, with its end. While one is being released
    # its address stays, so that another one can be told from it.
    is_leaving = state in {ConnectionState.RELEASING, ConnectionState.UNKNOWN}
    is_kept = is_leaving and before is not None and before.host is not None
    if endpoint is not None and state is not ConnectionState.ALLOCATING and not is_kept:
        return DirectConnectionStatus(
            state=state,
            host=endpoint.host,
            port=endpoint.port,
            ip_address=endpoint.ip_address,
            vpc_id=endpoint.vpc_id,
            v_switch_id=endpoint.v_switch_id,
            vpc_instance_id=endpoint.vpc_instance_id,
        )
    if before is None or state in {ConnectionState.RELEASED, ConnectionState.ALLOCATING}:
        return DirectConnectionStatus(state=state)
    return before.model_copy(update={"state": state})


def _instance(observation: Observation | None) -> InstanceStatus | None:
    seen = observation.instance if observation else None
    if seen is None:
        return None
    return InstanceStatus(
        status=seen.status,
        name=seen.name,
        architecture_type=seen.architecture_type,
        computing_type=seen.computing_type,
        engine_version=seen.engine_version,
        network_type=seen.network_type,
    )


def _published(resource: TairInstance, plan: Plan) -> PublishedStatus | None:
    if plan.published is None:
        return resource.status.published
    names = {
        place.kind: place.name for place in sorted(plan.published, key=places_of(resource.spec.publish).__contains__)
    }
    if not names:
        return None
    return PublishedStatus(secret_name=names.get("Secret"), config_map_name=names.get("ConfigMap"))


def _drift(
    before: DriftStatus | None, plan: Plan, observation: Observation | None, now: datetime
) -> DriftStatus | None:
    if observation is None:
        return before
    if plan.drift is None or (before is not None and before.direct_connection is plan.drift):
        return None if plan.drift is None else before
    return DriftStatus(direct_connection=plan.drift, since=now)


def _reached(
    resource: TairInstance, plan: Plan, look: Look, last: Operation | None, now: datetime
) -> ReachedStatus | None:
    wanted, before = resource.spec.direct_connection, resource.status.reached
    if wanted is None:
        # Nothing is wanted, so nothing can drift: a value that is set later is a new wish.
        return None
    by_us = last is not None and last.outcome is Outcome.SUCCEEDED and plan.outcome is Outcome.SUCCEEDED
    if by_us and last is not None and last.action is Action.RELEASE and plan.drift and wanted is False:
        # Reached for a moment, and left by somebody else before anybody looked.
        return ReachedStatus(direct_connection=False, operation_id=last.id, time=now)
    # Whatever else the pass has to say, a deletion for example: the endpoint is there, and it is ours.
    is_allocated = by_us and last is not None and last.action is Action.ALLOCATE and wanted
    if not plan.reached and not is_allocated:
        return before
    if before is not None and before.direct_connection is wanted and before.left_by is None and not by_us:
        return before
    endpoint = direct_endpoint(look.observation) if look.observation is not None and by_us else None
    return ReachedStatus(
        direct_connection=wanted,
        operation_id=last.id if last and by_us else None,
        endpoint_id=None if endpoint is None else endpoint_id(endpoint),
        time=now,
    )


def _left(before: ReachedStatus | None, intent: Operation) -> ReachedStatus | None:
    """Mark a value that our own call is about to leave: what differs from it afterwards is no drift."""
    if before is None or before.direct_connection is (intent.action is Action.ALLOCATE):
        return before
    return before.model_copy(update={"left_by": intent.id})


def _error(
    before: ErrorStatus | None,
    plan: Plan,
    failure: CloudError | None,
    last: Operation | None,
    now: datetime,
) -> ErrorStatus | None:
    error: ErrorStatus | None = None
    if failure is not None:
        error = ErrorStatus(
            action=failure.action,
            code=failure.code,
            message=failure.message,
            http_status=failure.http_status,
            request_id=failure.request_id,
            time=now,
        )
    elif (
        last is not None
        and last.code is not None
        and last.outcome is not Outcome.SUCCEEDED
        and plan.stance in {Stance.RECONCILING, Stance.STALLED}
    ):
        error = ErrorStatus(
            action=last.action,
            code=last.code,
            message=last.message or "",
            http_status=last.http_status,
            request_id=last.request_id,
            time=last.finished_at or now,
        )
    if error is None or before is None:
        return error
    is_same = (error.action, error.code, lasting(error.message), error.http_status) == (
        before.action,
        before.code,
        lasting(before.message),
        before.http_status,
    )
    return error.model_copy(update={"time": before.time}) if is_same else error
