"""What a decision is made on: a resource, a look at the cloud, the settings, the time.

``Situation`` answers the questions that several rules of ``plan`` ask, so that a
rule reads as the sentence it stands for. It is pure: durations are measured by
the caller and come in as ``Context.seen``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from zlib import crc32

from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    ConnectionState,
    Operation,
    Outcome,
    Reason,
    TairInstance,
)
from tair_operator.ports import (
    CloudError,
    Endpoint,
    ErrorClass,
    Instance,
    InstanceRef,
    Observation,
    Principal,
    PrincipalKind,
    Target,
)

NORMAL = "Normal"
DEAD = frozenset({"Released", "Inactive", "Error", "Unavailable"})
"""Values of InstanceStatus that no waiting ends. All others but Normal mean busy: the list is open."""
UNSETTLED = frozenset({Outcome.STARTED, Outcome.UNKNOWN, Outcome.ACCEPTED})
ABSENT_BEFORE = frozenset({ConnectionState.RELEASED, ConnectionState.ALLOCATING})
"""States that are written only after the absence was believed."""
NOTHING = timedelta(0)
RETRY_WITHOUT_RESYNC = timedelta(minutes=30)


class Verb(StrEnum):
    """What an access list can permit."""

    OBSERVE = "Observe"
    ALLOCATE = "Allocate"
    RELEASE = "Release"


class Presence(StrEnum):
    """Whether the direct connection exists, as far as one look shows."""

    PRESENT = "Present"
    ABSENT = "Absent"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the whole operator that decisions depend on."""

    settle: timedelta = timedelta(seconds=300)
    stall_grace: timedelta = timedelta(seconds=120)
    resync: timedelta = timedelta(seconds=600)
    release_budget: int = 10
    release_budget_window: timedelta = timedelta(seconds=600)


@dataclass(frozen=True, slots=True)
class Grant:
    """What the access list permits for one resource, and what to add to it where that is not enough."""

    verbs: frozenset[Verb] = frozenset()
    hint: str = ""
    are_releases_held: bool = False
    """Whether the fleet switch stands on Hold."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a decision depends on beside the resource and the cloud.

    ``seen`` says for how long the facts that the previous plan named in
    ``Plan.holds`` have been true in this process, on the monotonic clock.
    ``refusal`` is what the code of a rejected ``status.operation`` means.
    ``owner`` names an older resource that claims the same instance; right before
    a call it is asked for live. ``owned_for`` is how long this resource owns an
    instance that another one owned before it. ``stranger`` is a call of another
    resource on the same instance, with its age, while it may still take effect:
    of a deleted namesake, say. ``budget_wait`` is how long until another release
    fits into the budget. ``obstacle`` is what kept a call from being prepared.
    """

    policy: Policy = field(default_factory=Policy)
    grant: Grant = field(default_factory=Grant)
    seen: Mapping[str, timedelta] = field(default_factory=dict)
    refusal: tuple[ErrorClass, Reason] | None = None
    owner: str | None = None
    owned_for: timedelta | None = None
    budget_wait: timedelta | None = None
    obstacle: CloudError | None = None
    stranger: tuple[Operation, timedelta] | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """The arguments of one decision, with the questions that rules ask about them."""

    resource: TairInstance
    observed: Observation | CloudError | None
    context: Context
    now: datetime

    @property
    def name(self) -> str:
        """The instance id."""
        return self.resource.spec.instance_id

    @property
    def wanted(self) -> bool | None:
        """What the manifest says: allocated, released, or nothing."""
        return self.resource.spec.direct_connection

    @property
    def needed_action(self) -> Action:
        """The call that would make a difference go away."""
        return Action.ALLOCATE if self.wanted else Action.RELEASE

    @property
    def operation(self) -> Operation | None:
        """The last mutating call, settled or not."""
        return self.resource.status.operation

    @property
    def in_doubt(self) -> Operation | None:
        """The operation that has not settled."""
        return unsettled(self.resource)

    @property
    def previous_attempt(self) -> Operation | None:
        """The last operation, where the call to be made now would repeat it."""
        last = self.operation
        if last is None or last.action is not self.needed_action or last.outcome is Outcome.SUCCEEDED:
            return None
        return last

    @property
    def is_asked_anew(self) -> bool:
        """Whether a person edited the manifest since the last operation, or asked for another try."""
        last = self.operation
        return self.is_requested or last is None or last.generation != self.resource.metadata.generation

    @property
    def has_just_released(self) -> bool:
        """Whether this very pass saw the end of our own release."""
        last = self.operation
        return (
            last is not None
            and last.action is Action.RELEASE
            and last.outcome is Outcome.SUCCEEDED
            and last.finished_at is None
        )

    @property
    def observation(self) -> Observation:
        """The look that succeeded; rules that need none come first."""
        if isinstance(self.observed, Observation):
            return self.observed
        message = "asked for an observation where there is none"
        raise TypeError(message)

    @property
    def instance(self) -> Instance:
        """The instance that was seen; the rule for a missing one comes first."""
        if self.observation.instance is not None:
            return self.observation.instance
        message = "asked for an instance where there is none"
        raise TypeError(message)

    @property
    def has_seen_instance(self) -> bool:
        """Whether there is a look that shows this instance, in this region, and no other."""
        seen = self.observed.instance if isinstance(self.observed, Observation) else None
        spec = self.resource.spec
        return seen is not None and (seen.instance_id, seen.region_id) == (spec.instance_id, spec.region_id)

    @property
    def is_normal(self) -> bool:
        """Whether the instance is running and nothing is being changed."""
        return self.instance.status == NORMAL

    @property
    def endpoint(self) -> Endpoint | None:
        """The direct endpoint that was seen."""
        return direct_endpoint(self.observation)

    @property
    def presence(self) -> Presence:
        """Whether the direct connection exists, as far as this look shows."""
        known = self.resource.status.direct_connection
        return presence(self.observation, known.host if known else None)

    @property
    def last_state(self) -> ConnectionState:
        """The state that status showed before this pass."""
        known = self.resource.status.direct_connection
        return known.state if known else ConnectionState.UNKNOWN

    @property
    def seen_state(self) -> ConnectionState:
        """The state that this look shows, or the last one where it shows nothing."""
        if not self.has_seen_instance or self.presence is Presence.UNKNOWN:
            return self.last_state
        if self.presence is Presence.PRESENT:
            return ConnectionState.ALLOCATED
        is_believed = self.is_normal or self.last_state in ABSENT_BEFORE
        return ConnectionState.RELEASED if is_believed else self.last_state

    @property
    def is_drift(self) -> bool:
        """Whether a difference to the wanted value arose after that value had been reached."""
        # A call of our own that leaves the value forgets that it was reached, so whoever made this was somebody else.
        reached = self.resource.status.reached
        return reached is not None and reached.direct_connection is self.wanted

    @property
    def is_requested(self) -> bool:
        """Whether somebody asked for a pass by annotation since the last one."""
        token = self.resource.metadata.annotations.get(ANNOTATION_RECONCILE)
        return token is not None and token != self.resource.status.last_handled_reconcile_at

    @property
    def is_current(self) -> bool:
        """Whether status speaks of this very generation."""
        return self.resource.status.observed_generation == self.resource.metadata.generation

    def seen_for(self, fact: str) -> timedelta:
        """For how long a fact that the previous plan named has been true."""
        return self.context.seen.get(fact, NOTHING)

    @property
    def resync(self) -> timedelta:
        """How often to look for drift; 0 for never."""
        seconds = self.resource.spec.resync_seconds
        return self.context.policy.resync if seconds is None else timedelta(seconds=seconds)

    def next_resync(self) -> timedelta | None:
        """Time to the next look for drift; None for never."""
        return until_resync(self.resource.metadata.uid, self.resync, self.now)

    def next_try(self) -> timedelta:
        """Time to the next look at a trouble: nothing is terminal for ever, also where drift is not looked for."""
        return self.next_resync() or RETRY_WITHOUT_RESYNC


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


def unsettled(resource: TairInstance) -> Operation | None:
    """Return the operation of a resource that has not settled."""
    operation = resource.status.operation
    return operation if operation is not None and operation.outcome in UNSETTLED else None


def seniority(resource: TairInstance) -> tuple[str, str]:
    """Rank the resources that claim one instance: the oldest first, by uid where two are equally old."""
    return str(resource.metadata.creation_timestamp), resource.metadata.uid


def direct_endpoint(observation: Observation) -> Endpoint | None:
    """Return the direct endpoint that was seen."""
    return next((endpoint for endpoint in observation.endpoints if endpoint.direct), None)


def presence(observation: Observation, known_host: str | None) -> Presence:
    """Say whether the direct connection exists.

    A reply without any item, or without the flag on the host that is known as
    the direct one, shows nothing: reading it as "released" would be a lie.
    """
    if direct_endpoint(observation) is not None:
        return Presence.PRESENT
    if not observation.endpoints:
        return Presence.UNKNOWN
    if any(endpoint.direct is None and endpoint.host == known_host for endpoint in observation.endpoints):
        return Presence.UNKNOWN
    return Presence.ABSENT


def until_resync(uid: str, interval: timedelta, now: datetime) -> timedelta | None:
    """Return the time until the resource's own instant of the interval; None for an interval of 0.

    The instant depends on the uid alone, so restarts neither bunch nor postpone it.
    """
    if not interval:
        return None
    phase = timedelta(seconds=crc32(uid.encode()) % int(interval.total_seconds()))
    passed = (timedelta(seconds=now.timestamp()) - phase) % interval
    left = interval - passed
    # A timer that fires a moment early must not cause a second look at once.
    return left if left > interval / 10 else left + interval
