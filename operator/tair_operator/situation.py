"""What a decision is made on: a resource, a look at the cloud, the settings, the time.

``Situation`` answers the questions that several rules of ``plan`` ask, so that a
rule reads as the sentence it stands for. It is pure: durations are measured by
the caller and come in as ``Context.seen``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from zlib import crc32

from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    ConnectionState,
    DirectConnectionStatus,
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
    Observation,
)
from tair_operator.subject import holds_deletion, unsettled

NORMAL = "Normal"
DEAD = frozenset({"Released", "Inactive", "Error", "Unavailable"})
"""Values of InstanceStatus that no waiting ends. All others but Normal mean busy: the list is open."""
ABSENT_BEFORE = frozenset({ConnectionState.RELEASED, ConnectionState.ALLOCATING})
"""States that are written only after the absence was believed."""
NOTHING = timedelta(0)
ABSENT_AND_NORMAL = "absent and Normal"
"""The fact whose age tells how long an absence is known."""
SECOND_LOOK = timedelta(seconds=5)
"""Absence is believed after two looks this far apart."""
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
    resync_floor: timedelta = NOTHING
    """No resource is looked at for drift more often than this: the limiter has to have room for all of them."""
    release_budget: int = 10
    release_budget_window: timedelta = timedelta(seconds=600)
    is_observing_only: bool = False
    """Mode Observe: plans are shown and nothing is called."""
    needs_approval: bool = False
    needs_approval_at_first_contact: bool = False
    needs_window: bool = False
    drain: timedelta = NOTHING
    """The least time between withdrawing the published endpoint and a release."""
    approval_ttl: timedelta = timedelta(hours=24)
    call_deadline: timedelta = timedelta(seconds=5)
    engine_versions: frozenset[str] = frozenset({"4.0", "5.0"})
    """Versions of Redis that can have a direct connection allocated."""

    def resync_of(self, seconds: int | None) -> timedelta:
        """Return how often to look for drift where a spec says so many seconds; 0 for never."""
        interval = self.resync if seconds is None else timedelta(seconds=seconds)
        return max(interval, self.resync_floor) if interval else interval


@dataclass(frozen=True, slots=True)
class Grant:
    """What the access list permits for one resource, and what to add to it where that is not enough."""

    verbs: frozenset[Verb] = frozenset()
    hint: str = ""
    are_releases_held: bool = False
    """Whether the fleet switch stands on Hold."""
    requires_approval: bool = False
    """Whether a rule of the access list asks for an approval of each release."""


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
    fits into the budget. ``obstacle`` is what kept a call from being prepared, or a
    detail from being asked. ``unpublished`` is what kept the endpoint from being
    published or withdrawn, ``unheld`` what kept the finalizer from being written.
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
    unpublished: str | None = None
    unheld: str | None = None
    is_namespace_terminating: bool = False


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
        """What the manifest says: allocated, released, or nothing. A deletion with Release asks for a release."""
        return False if self.is_releasing_on_deletion else self.resource.spec.direct_connection

    @property
    def is_being_deleted(self) -> bool:
        """Whether somebody deleted the resource, and a finalizer holds it."""
        return self.resource.metadata.deletion_timestamp is not None

    @property
    def is_releasing_on_deletion(self) -> bool:
        """Whether the deletion is to release what the manifest keeps: it has to keep something at all."""
        return self.is_being_deleted and holds_deletion(self.resource)

    @property
    def drain(self) -> timedelta:
        """The time between withdrawing the published endpoint and a release."""
        release = self.resource.spec.release
        own = timedelta(seconds=(release.drain_seconds if release else None) or 0)
        return max(own, self.context.policy.drain)

    @property
    def needs_window(self) -> bool:
        """Whether a release waits for the maintenance window."""
        release = self.resource.spec.release
        return self.context.policy.needs_window or (release is not None and release.window == "Maintenance")

    @property
    def is_first_contact(self) -> bool:
        """Whether nothing was ever reached here: the first thing that the operator would do is a release."""
        return self.resource.status.reached is None

    @property
    def needs_approval(self) -> bool:
        """Whether a release waits for a person. The strictest of all who have a say in it wins."""
        policy, release = self.context.policy, self.resource.spec.release
        return (
            policy.needs_approval
            or self.context.grant.requires_approval
            or (release is not None and release.approval == "Required")
            or (policy.needs_approval_at_first_contact and self.is_first_contact)
            or (self.is_releasing_on_deletion and not self.is_our_endpoint)
        )

    @property
    def is_our_endpoint(self) -> bool:
        """Whether the endpoint that is there is the one that our own allocation brought about."""
        reached, endpoint = self.resource.status.reached, self.endpoint
        if endpoint is None:
            return False
        return self.has_just_allocated or (reached is not None and reached.endpoint_id == endpoint_id(endpoint))

    @property
    def publishes(self) -> bool:
        """Whether the endpoint is published somewhere, or is to be."""
        return self.resource.spec.publish is not None or self.resource.status.published is not None

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
        return self._has_just_ended(Action.RELEASE)

    @property
    def has_just_allocated(self) -> bool:
        """Whether this very pass saw the end of our own allocation."""
        return self._has_just_ended(Action.ALLOCATE)

    def _has_just_ended(self, action: Action) -> bool:
        last = self.operation
        is_success = last is not None and last.action is action and last.outcome is Outcome.SUCCEEDED
        return last is not None and is_success and last.finished_at is None

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
        return known_better(direct_endpoint(self.observation), self.resource.status.direct_connection)

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
    def is_absence_believed(self) -> bool:
        """Whether an absence is more than what one look shows: after our own release, or at the second look."""
        is_seen_twice = self.is_normal and self.seen_for(ABSENT_AND_NORMAL) >= SECOND_LOOK
        return self.last_state in ABSENT_BEFORE or self.has_just_released or is_seen_twice

    @property
    def is_drift(self) -> bool:
        """Whether a difference to the wanted value arose after that value had been reached."""
        # A call of our own that leaves the value forgets that it was reached, so whoever made this was somebody else.
        reached = self.resource.status.reached
        return reached is not None and reached.direct_connection is self.wanted and reached.left_by is None

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
        return self.context.policy.resync_of(self.resource.spec.resync_seconds)

    def next_resync(self) -> timedelta | None:
        """Time to the next look for drift; None for never."""
        return until_resync(self.resource.metadata.uid, self.resync, self.now)

    def next_try(self) -> timedelta:
        """Time to the next look at a trouble: nothing is terminal for ever, also where drift is not looked for."""
        return self.next_resync() or RETRY_WITHOUT_RESYNC


def direct_endpoint(observation: Observation) -> Endpoint | None:
    """Return the direct endpoint that was seen."""
    return next((endpoint for endpoint in observation.endpoints if endpoint.direct), None)


def known_better(seen: Endpoint | None, known: DirectConnectionStatus | None) -> Endpoint | None:
    """Fill what the cloud left out this once from what it told of the same endpoint before."""
    if seen is None or known is None or known.host != seen.host:
        return seen
    return replace(
        seen,
        ip_address=seen.ip_address or known.ip_address,
        vpc_id=seen.vpc_id or known.vpc_id,
        v_switch_id=seen.v_switch_id or known.v_switch_id,
        vpc_instance_id=seen.vpc_instance_id or known.vpc_instance_id,
    )


def endpoint_id(endpoint: Endpoint) -> str:
    """Return a short hash that names one allocation: the next one has another address or another VPCInstanceId."""
    identity = "\n".join(str(part) for part in (endpoint.host, endpoint.ip_address, endpoint.vpc_instance_id))
    return sha256(identity.encode()).hexdigest()[:12]


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
