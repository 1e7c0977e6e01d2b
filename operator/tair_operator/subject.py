"""What can be said of a resource by itself: what it names, what it holds, how it ranks."""

from typing import TypeGuard

from tair_operator.models import (
    FINALIZER,
    Action,
    Operation,
    Outcome,
    PlanStatus,
    PublishedStatus,
    PublishSpec,
    Reason,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.ports import ANYWHERE, Address, Instance, InstanceRef, Key, Place, Principal, PrincipalKind, Target

UNSETTLED = frozenset({Outcome.STARTED, Outcome.UNKNOWN, Outcome.ACCEPTED})


BLIND = frozenset(
    {
        Reason.ACCESS_DENIED,
        Reason.CREDENTIALS_INVALID,
        Reason.CREDENTIALS_UNAVAILABLE,
        Reason.INSTANCE_NOT_FOUND,
    }
)
"""What is said of a resource whose own credentials do not reach the instance, or do not any more."""


def holds_deletion(resource: TairInstance) -> bool:
    """Whether our finalizer belongs on the resource. A deletion that has begun takes no new one."""
    spec, metadata = resource.spec, resource.metadata
    is_wanted = spec.deletion_policy == "Release"
    if metadata.deletion_timestamp is None:
        return is_wanted
    return is_wanted and FINALIZER in metadata.finalizers and spec.direct_connection is not None


def is_held_as_wanted(resource: TairInstance) -> bool:
    """Whether our finalizer is on the resource just if it belongs there: others may have taken it away."""
    return holds_deletion(resource) is (FINALIZER in resource.metadata.finalizers)


def key_of(resource: TairInstance) -> Key:
    """Return namespace and name of a resource."""
    return Key(resource.metadata.namespace, resource.metadata.name)


def ref_of(resource: TairInstance) -> InstanceRef:
    """Return the instance that a resource names."""
    return InstanceRef(resource.spec.instance_id, resource.spec.region_id)


def target_of(resource: TairInstance) -> Target:
    """Return the instance that a resource names, and whose credentials reach it."""
    own, principal = resource.spec.credentials, None
    if own is not None and own.secret_name is not None:
        principal = Principal(resource.metadata.namespace, PrincipalKind.SECRET, own.secret_name)
    elif own is not None and own.service_account_name is not None:
        principal = Principal(resource.metadata.namespace, PrincipalKind.SERVICE_ACCOUNT, own.service_account_name)
    return Target(*ref_of(resource), principal)


def places_of(published: PublishSpec | PublishedStatus | None) -> frozenset[Place]:
    """Return the objects that a spec or a status names."""
    found = set()
    if published is not None and published.secret_name is not None:
        found.add(Place("Secret", published.secret_name))
    if published is not None and published.config_map_name is not None:
        found.add(Place("ConfigMap", published.config_map_name))
    return frozenset(found)


def competes(resource: TairInstance) -> bool:
    """Whether a resource, if it is served, counts among those that claim its instance.

    One with credentials of its own has to have seen the instance with them: naming somebody else's is not enough.
    """
    ready = resource.status.condition("Ready")
    is_blind = resource.status.instance is None or (ready is not None and ready.reason in BLIND)
    return target_of(resource).principal is None or not is_blind


def unsettled(resource: TairInstance) -> Operation | None:
    """Return the operation of a resource that has not settled."""
    operation = resource.status.operation
    return operation if operation is not None and operation.outcome in UNSETTLED else None


def has_worked(resource: TairInstance) -> bool:
    """Whether an operator ever called or reached anything for a resource, and so took it for the owner."""
    return resource.status.operation is not None or resource.status.reached is not None


def is_draining(plan: PlanStatus | None) -> TypeGuard[PlanStatus]:
    """Whether the endpoint is withdrawn for a release that is planned."""
    return plan is not None and plan.action is Action.RELEASE and plan.withdrawn_at is not None


def finished_releases(status: TairInstanceStatus, outcome: Outcome | None) -> int | None:
    """Count a release that is over and may have had an effect: an approval is good for one of these."""
    is_release = status.operation is not None and status.operation.action is Action.RELEASE
    if is_release and outcome in {Outcome.SUCCEEDED, Outcome.FAILED}:
        return (status.finished_releases or 0) + 1
    return status.finished_releases


def seniority(resource: TairInstance) -> tuple[str, str]:
    """Rank the resources that claim one instance: the oldest first, by uid where two are equally old."""
    return str(resource.metadata.creation_timestamp), resource.metadata.uid


def kind_of(instance: Instance) -> str:
    """Return in one line what the refusal of a call may depend on; a dash for what the cloud did not tell."""
    facts = (instance.architecture_type, instance.computing_type, instance.engine_version, instance.network_type)
    return " ".join("-" if fact is None else fact.replace(" ", "") or "-" for fact in facts)


def is_other_kind(before: str | None, now: str) -> bool:
    """Whether one of the facts has changed; what was not told once is no change."""
    pairs = zip((before or "").split(" "), now.split(" "), strict=False)
    return any(old != new and "-" not in {old, new} for old, new in pairs if before)


def address_of(resource: TairInstance) -> Address:
    """Return what an allocation is to ask for."""
    endpoint = resource.spec.endpoint
    return Address(endpoint.prefix, endpoint.port) if endpoint is not None else ANYWHERE
