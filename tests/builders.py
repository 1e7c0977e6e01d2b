"""Builders of what the core reads: resources, their status, and looks at the cloud.

Each has a default for everything, so that a test names only what it is about. The default resource is new, wants
nothing, and names the instance that the default look shows.
"""

# ruff: noqa: ANN401 - what is not named here goes on to a model, which checks it

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from tair_operator.models import (
    Action,
    Condition,
    ConnectionState,
    DirectConnectionStatus,
    InstanceStatus,
    Metadata,
    Operation,
    Outcome,
    PlanStatus,
    ReachedStatus,
    Reason,
    TairInstance,
    TairInstanceSpec,
    TairInstanceStatus,
)
from tair_operator.ports import CloudError, Detail, Effect, Endpoint, ErrorClass, Instance, Key, Observation, Window
from tair_operator.situation import Context, Grant, Policy, Verb, endpoint_id
from tair_operator.stance import Plan, Stance

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = Key("shop", "orders-cache")
ID = "r-bp1"
REGION = "cn-hangzhou"
HOST = "r-bp1-direct.redis.rds.aliyuncs.com"
PORT = 6379
HINT = "Add this line."
EVERYTHING = frozenset(Verb)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def ago(number: float) -> datetime:
    """Return the time that many seconds before NOW."""
    return NOW - timedelta(seconds=number)


async def pages(*resources: TairInstance) -> AsyncIterator[list[TairInstance]]:
    """Yield a LIST with one resource to each page."""
    for each in resources:
        yield [each]


def resource(
    direct_connection: bool | None = None,  # noqa: FBT001
    *,
    status: TairInstanceStatus | None = None,
    generation: int = 1,
    key: Key = KEY,
    uid: str = "uid-1",
    resource_version: str = "1",
    created: datetime = NOW,
    deleted: datetime | None = None,
    annotations: dict[str, str] | None = None,
    finalizers: list[str] | None = None,
    instance_id: str = ID,
    region_id: str = REGION,
    **spec: Any,
) -> TairInstance:
    return TairInstance(
        metadata=Metadata(
            name=key.name,
            namespace=key.namespace,
            uid=uid,
            resource_version=resource_version,
            generation=generation,
            creation_timestamp=created,
            deletion_timestamp=deleted,
            annotations=annotations or {},
            finalizers=finalizers or [],
        ),
        spec=TairInstanceSpec(
            instance_id=instance_id, region_id=region_id, direct_connection=direct_connection, **spec
        ),
        status=status or TairInstanceStatus(),
    )


def condition(
    kind: str,
    status: Literal["True", "False", "Unknown"] = "True",
    reason: Reason | str = Reason.PENDING,
    message: str = "",
    *,
    generation: int = 1,
    since: datetime = NOW,
) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason=str(reason),
        message=message,
        observed_generation=generation,
        last_transition_time=since,
    )


def status(
    state: ConnectionState | None = None,
    *,
    reached: bool | None = None,
    reached_at: datetime = NOW - timedelta(hours=1),
    operation: Operation | None = None,
    history: list[Operation] | None = None,
    conditions: list[Condition] | None = None,
    generation: int | None = 1,
    **more: Any,
) -> TairInstanceStatus:
    """Return a status; a state other than Released or Allocating comes with the address of the endpoint."""
    connection = None
    if state is not None:
        has_address = state not in {ConnectionState.RELEASED, ConnectionState.ALLOCATING}
        connection = DirectConnectionStatus(
            state=state, host=HOST if has_address else None, port=PORT if has_address else None
        )
    return TairInstanceStatus(
        observed_generation=generation,
        conditions=conditions or [],
        direct_connection=connection,
        reached=None if reached is None else ReachedStatus(direct_connection=reached, time=reached_at),
        instance=more.pop("instance", None) or instance_status(),
        operation=operation,
        history=history or [],
        **more,
    )


def ready_status(direct_connection: bool | None, *, generation: int = 1, **more: Any) -> TairInstanceStatus:  # noqa: FBT001
    """Return the status of a resource whose wanted value is reached, or that only observes an endpoint."""
    if direct_connection is None:
        state, reason, message = ConnectionState.ALLOCATED, Reason.OBSERVED, "There is one"
    elif direct_connection:
        state, reason, message = ConnectionState.ALLOCATED, Reason.ALLOCATED, f"The direct connection is {HOST}:{PORT}"
    else:
        state, reason, message = ConnectionState.RELEASED, Reason.RELEASED, "The direct connection is released"
    conditions = [condition("Ready", "True", reason, message, generation=generation)]
    return status(state, reached=direct_connection, conditions=conditions, generation=generation, **more)


def instance_status(**fields: Any) -> InstanceStatus:
    """Return what status shows of the default instance."""
    defaults = {
        "status": "Normal",
        "name": "orders",
        "architecture_type": "cluster",
        "computing_type": "Machine",
        "engine_version": "5.0",
        "network_type": "VPC",
    }
    return InstanceStatus(**(defaults | fields))


def operation(
    action: Action = Action.RELEASE,
    outcome: Outcome = Outcome.ACCEPTED,
    *,
    id: str = "op-1",  # noqa: A002 - the name of the field
    **fields: Any,
) -> Operation:
    """Return an operation that started ten seconds ago, and ended a second later where its outcome is an end."""
    is_over = outcome not in {Outcome.STARTED, Outcome.ACCEPTED, Outcome.UNKNOWN}
    defaults: dict[str, Any] = {
        "generation": 1,
        "attempt": 1,
        "started_at": ago(10),
        "finished_at": ago(9) if is_over else None,
    }
    return Operation(id=id, action=action, outcome=outcome, **(defaults | fields))


def refused(code: str, action: Action = Action.RELEASE, **fields: Any) -> Operation:
    """Return an operation that the cloud refused."""
    defaults: dict[str, Any] = {"code": code, "message": f"Because of {code}.", "http_status": 400, "request_id": "R-1"}
    return operation(action, Outcome.REJECTED, **(defaults | fields))


def endpoint(host: str = HOST, *, direct: bool | None = True, port: int | None = PORT, **fields: Any) -> Endpoint:
    return Endpoint(host=host, port=port, direct=direct, **fields)


PROXY = endpoint("r-bp1.redis.rds.aliyuncs.com", direct=False)


def instance(**fields: Any) -> Instance:
    defaults = {"instance_id": ID, "region_id": REGION} | dict(instance_status())
    return Instance(**(defaults | fields))


def observation(
    direct: bool | None = True,  # noqa: FBT001, FBT002
    state: str = "Normal",
    *,
    missing: bool = False,
    sent_at: datetime = NOW,
    endpoints: tuple[Endpoint, ...] | None = None,
    asked: frozenset[Detail] = frozenset(Detail),
    tls: bool | None = False,
    window: Window | None = None,
    **fields: Any,
) -> Observation:
    """Return a look that shows the endpoint (True), shows that there is none (False), or does not say (None)."""
    if endpoints is None:
        endpoints = {True: (PROXY, endpoint()), False: (PROXY,), None: ()}[direct]
    seen = None if missing else instance(status=state, **fields)
    return Observation(sent_at, seen, endpoints, asked=asked, tls=tls, window=window)


def context(
    *,
    verbs: frozenset[Verb] = EVERYTHING,
    seen: dict[str, float] | None = None,
    policy: Policy | None = None,
    held: bool = False,
    requires_approval: bool = False,
    **more: Any,
) -> Context:
    """Return a context that permits everything; ``seen`` is in seconds."""
    return Context(
        policy=policy or Policy(),
        grant=Grant(verbs, HINT, are_releases_held=held, requires_approval=requires_approval),
        seen={fact: timedelta(seconds=age) for fact, age in (seen or {}).items()},
        **more,
    )


def cloud_error(
    code: str = "ServiceUnavailable",
    *,
    action: str = "DescribeInstances",
    message: str = "Come back later.",
    error_class: ErrorClass = ErrorClass.TRANSIENT,
    effect: Effect = Effect.NONE,
    reason: Reason = Reason.CLOUD_UNREACHABLE,
    **more: Any,
) -> CloudError:
    return CloudError(
        action=action, code=code, message=message, error_class=error_class, effect=effect, reason=reason, **more
    )


# --- Plans, and the situations that they follow ---

ALLOCATED, ALLOCATING = ConnectionState.ALLOCATED, ConnectionState.ALLOCATING
RELEASED, RELEASING, UNKNOWN = ConnectionState.RELEASED, ConnectionState.RELEASING, ConnectionState.UNKNOWN
RESYNC = seconds(610)
"""The default resource's own instant is 10 s away, which is too soon to count."""
CHANGING = observation(state="Changing")


@dataclass(frozen=True)
class Case:
    """A situation, and the plan that has to follow."""

    resource: TairInstance
    plan: Plan
    observed: Observation | CloudError | None = field(default_factory=observation)
    context: Context = field(default_factory=context)


def table(*groups: dict[str, Case]) -> dict[str, Case]:
    """Put groups of cases together; no sentence may hide another."""
    cases = {sentence: case for group in groups for sentence, case in group.items()}

    assert len(cases) == sum(len(group) for group in groups)
    return cases


def reconciling(
    reason: Reason, message: str, state: ConnectionState, again: timedelta | None, *facts: str, **more: object
) -> Plan:
    plan = Plan(Stance.RECONCILING, reason, message, state, requeue_after=again, holds=frozenset(facts))
    return altered(plan, more)


def stalled(reason: Reason, message: str, state: ConnectionState, *facts: str, **more: object) -> Plan:
    plan = Plan(Stance.STALLED, reason, message, state, requeue_after=RESYNC, holds=frozenset(facts))
    return altered(plan, more)


def settled(reason: Reason, message: str, state: ConnectionState, *facts: str, **more: object) -> Plan:
    plan = Plan(
        Stance.READY,
        reason,
        message,
        state,
        ready="True",
        requeue_after=RESYNC,
        reached=reason is not Reason.OBSERVED,
        holds=frozenset(facts),
    )
    return altered(plan, more)


def altered(plan: Plan, more: dict[str, object]) -> Plan:
    return Plan(**({name: getattr(plan, name) for name in Plan.__slots__} | more))


def release(**more: object) -> Plan:
    return reconciling(
        Reason.RELEASING, "Releasing the direct connection of r-bp1", RELEASING, None, action=Action.RELEASE, **more
    )


def allocate(**more: object) -> Plan:
    return reconciling(
        Reason.ALLOCATING, "Allocating the direct connection of r-bp1", ALLOCATING, None, action=Action.ALLOCATE, **more
    )


PLAN_ID = "4d1c2e1dec56"
"""Of a release of the default resource's endpoint that was planned at NOW."""


def planned(reason: Reason, **more: Any) -> PlanStatus:
    """Return the plan of a release that waits for ``reason``, made at NOW unless the caller says otherwise."""
    fields: dict[str, Any] = {"id": PLAN_ID, "action": Action.RELEASE, "expires_at": NOW + timedelta(hours=24)} | more
    return PlanStatus(reason=reason, **fields)


def plan_id(
    action: Action = Action.RELEASE,
    *,
    uid: str = "uid-1",
    host: str | None = HOST,
    ip: str | None = None,
    vpc: str | None = None,
    finished: int = 0,
    expires: datetime | None = NOW + timedelta(hours=24),
) -> str:
    """Return the id of a plan as the reference page describes it; ``host`` is None where there is no endpoint."""
    seen = None if host is None else endpoint_id(endpoint(host, ip_address=ip, vpc_instance_id=vpc))
    parts = uid, action, action is Action.ALLOCATE, seen, finished, expires and expires.isoformat()
    return sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:12]


def planned_with_drain(reason: Reason, drain: float, **more: Any) -> PlanStatus:
    """Return the plan of a release whose drain of so many seconds is still to come: that comes on top of its time."""
    expires = NOW + timedelta(hours=24, seconds=drain)
    fields: dict[str, Any] = {"id": plan_id(expires=expires), "expires_at": expires} | more
    return planned(reason, **fields)


IS_ALLOCATED = settled(Reason.ALLOCATED, f"The direct connection is {HOST}:6379", ALLOCATED)
IS_RELEASED = settled(Reason.RELEASED, "The direct connection is released", RELEASED)
SECOND_LOOK = reconciling(
    Reason.PENDING,
    "No direct connection is listed; a second look follows to be sure",
    UNKNOWN,
    seconds(5),
    "absent and Normal",
)
BUSY = "r-bp1 is being changed; waiting until its status is Normal"
SUSPENDED = Plan(
    Stance.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true: nothing is looked at and nothing is called", UNKNOWN
)
NO_SUCH_INSTANCE = (
    "r-bp1 is not in cn-hangzhou: DescribeInstances lists no such instance. Check spec.instanceId and spec.regionId, "
    "and that the operator's account owns the instance"
)
UNDER_WAY = "Releasing the direct connection of r-bp1"
IN_DOUBT = "so it may or may not have taken effect; it is not sent again while the instance is watched"
NO_ANSWER = f"No answer to ReleaseDirectConnection was recorded, {IN_DOUBT}"
GONE, THERE = observation(False), observation(True)


def denied(verb: Verb) -> str:
    return f"The access list does not allow {verb} of r-bp1 in cn-hangzhou for namespace shop. {HINT}"


def only(*verbs: Verb) -> Context:
    return context(verbs=frozenset(verbs), seen={"trouble: AccessNotAllowed": 120})
