"""How the operator stands to a resource, and the plans that its rules are made of.

``plan`` says which rule applies; the functions here say what applying it means:
which conditions follow, which words explain it, and when to look again. Waiting
is geometric, each pause half again as long as the one before, so that a change
that ends soon is seen soon and one that does not costs little.
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from tair_operator.models import Action, ConnectionState, Operation, Outcome, PlanStatus, Reason
from tair_operator.ports import CloudError, Detail, ErrorClass, Place
from tair_operator.situation import DEAD, NOTHING, Presence, Situation, Verb
from tair_operator.subject import is_other_kind, kind_of

POLL_MIN, POLL_MAX = timedelta(seconds=1), timedelta(seconds=30)
BLOCKED_MIN, BLOCKED_MAX = timedelta(minutes=10), timedelta(hours=6)
GRACE_LOOK = timedelta(seconds=15)
READY_KEPT_MIN = timedelta(minutes=30)
PASSING_BY_ITSELF = frozenset(
    {
        Reason.CREDENTIALS_UNAVAILABLE,
        Reason.CREDENTIALS_INVALID,
        Reason.ACCESS_NOT_ALLOWED,
        Reason.ACCESS_DENIED,
        Reason.INSTANCE_NOT_FOUND,
        Reason.INSTANCE_ALREADY_MANAGED,
        Reason.PUBLISH_FAILED,
    }
)
"""Troubles that often pass by themselves on a first install: they stall only after a grace."""
RECHECK = {
    Reason.CREDENTIALS_UNAVAILABLE: timedelta(minutes=1),
    Reason.CREDENTIALS_INVALID: timedelta(minutes=1),
    Reason.INSTANCE_ALREADY_MANAGED: timedelta(minutes=1),
    Reason.PUBLISH_FAILED: timedelta(minutes=1),
}
"""Troubles that are cheap to look at again, and whose end nothing announces."""
_PASSING_WORDS = re.compile(
    r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d(?::|%3A|%253A)\d\d(?:(?::|%3A|%253A)\d\d(?:\.\d+)?)?Z?"
)


class Stance(StrEnum):
    """How the operator stands to a resource; each becomes one set of conditions."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"


class Publication(StrEnum):
    """What to do about the published endpoint."""

    KEEP = "Keep"
    """Leave it as it is: this pass does not know better."""
    PUBLISH = "Publish"
    WITHDRAW = "Withdraw"


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one decision.

    ``outcome`` is what has become of ``status.operation`` where that is new.
    ``reached`` says that the wanted value is reached and was seen. ``holds``
    names the facts whose duration the next decision will ask for.
    ``keeps_request`` says that a try that somebody asked for is still to come,
    ``is_taking_over`` that another resource manages the instance or did just now.
    ``planned`` is the call that waits, for status. ``drift`` is what somebody else
    made of the direct connection: True for allocated, None for nothing. ``asks`` names details without
    which nothing can be decided: ask for them and decide again. ``lets_go`` ends
    the hold on a resource that is being deleted.
    """

    stance: Stance
    reason: Reason
    message: str
    state: ConnectionState
    ready: Literal["True", "False", "Unknown"] = "False"
    action: Action | None = None
    corrects_drift: bool = False
    outcome: Outcome | None = None
    reached: bool = False
    requeue_after: timedelta | None = None
    holds: frozenset[str] = frozenset()
    keeps_request: bool = False
    is_taking_over: bool = False
    planned: PlanStatus | None = None
    drift: bool | None = None
    publication: Publication = Publication.KEEP
    asks: frozenset[Detail] = frozenset()
    lets_go: bool = False
    published: frozenset[Place] | None = None
    """Where the endpoint is published after ``publication`` was carried out; None before that."""

    @property
    def waits_to_release(self) -> bool:
        """Whether this is about a release that a guard holds up."""
        return self.planned is not None and self.planned.action is Action.RELEASE


def let_go(s: Situation, message: str) -> Plan:
    """End the hold on a resource that is being deleted."""
    return Plan(Stance.RECONCILING, Reason.PENDING, message, s.seen_state, lets_go=True)


def ineligible(s: Situation) -> list[str]:
    """Return each fact that rules the call out: the value seen, the value needed, the remedy.

    A fact that the cloud did not tell rules nothing out; the cloud refuses then.
    Sources: API page AllocateDirectConnection and the user guide on direct
    connections, Alibaba Cloud help centre.
    """
    seen, facts = s.instance, []
    if seen.architecture_type not in {None, "cluster"}:
        facts.append(
            f"ArchitectureType is {seen.architecture_type} and has to be cluster; only cluster instances have a "
            "direct connection that can be allocated or released"
        )
    if seen.computing_type not in {None, "Machine"}:
        facts.append(
            f"ComputingType is {seen.computing_type} and has to be Machine; a cloud-native instance has a direct "
            "connection by its connection mode or not at all, and never by a call"
        )
    if s.needed_action is not Action.ALLOCATE:
        return facts
    if seen.network_type not in {None, "VPC"}:
        facts.append(f"NetworkType is {seen.network_type} and has to be VPC; move the instance into a VPC")
    versions = s.context.policy.engine_versions
    if seen.engine_version is not None and seen.engine_version not in versions:
        needed = " or ".join(sorted(versions))
        facts.append(f"EngineVersion is {seen.engine_version} and has to be {needed}; upgrade or replace the instance")
    if s.observation.tls:
        facts.append("TLS is on (SSLEnabled) and has to be off; switch it off for the instance")
    return facts


def lasting(text: str | None) -> str:
    """Return text of the cloud without request ids and times, which would make each repetition look like news."""
    return _PASSING_WORDS.sub("…", text or "")


def doubt_about(operation: Operation) -> str:
    """Name the fact that an operation has not settled."""
    return f"in doubt: {operation.id}"


def unchanged_by(operation: Operation) -> str:
    """Name the fact that looks show nothing of what an operation asked for."""
    return f"unchanged: {operation.id}"


def refusal_of(operation: Operation) -> str:
    """Name the fact that an operation was refused, or not sent."""
    return f"refused: {operation.id}"


def poll(age: timedelta) -> timedelta:
    """Look again after half the time already waited: each pause is 1.5 times the one before."""
    return min(max(age / 2, POLL_MIN), POLL_MAX)


def backoff(first: timedelta, attempt: int, most: timedelta) -> timedelta:
    """Double with each attempt, up to a bound."""
    factor: int = 2 ** min(attempt - 1, 20)
    return min(first * factor, most)


def sooner(*times: timedelta | None) -> timedelta | None:
    """Return the shortest of the times that are known."""
    return min((time for time in times if time is not None), default=None)


def ready(s: Situation, reason: Reason, message: str) -> Plan:
    """Report that all is as wanted, and look again for drift."""
    return Plan(Stance.READY, reason, message, s.seen_state, ready="True", requeue_after=s.next_resync())


def wait(
    s: Situation, reason: Reason, message: str, *, fact: str | None = None, requeue_after: timedelta | None = None
) -> Plan:
    """Report that something is under way; ``fact`` names what its length depends on."""
    holds = frozenset() if fact is None else frozenset({fact})
    return Plan(Stance.RECONCILING, reason, message, s.seen_state, requeue_after=requeue_after, holds=holds)


def stall(s: Situation, reason: Reason, message: str) -> Plan:
    """Report that a person is needed, and look again now and then."""
    return Plan(Stance.STALLED, reason, message, s.seen_state, requeue_after=s.next_try())


def trouble(s: Situation, reason: Reason, message: str) -> Plan:
    """Stall; after a grace where the cause is one of those of a first install, which pass by themselves."""
    if reason not in PASSING_BY_ITSELF:
        return stall(s, reason, message)
    fact = f"trouble: {reason}"
    stalled = s.resource.status.condition("Stalled")
    is_known = stalled is not None and stalled.reason == reason
    age = s.seen_for(fact)
    left = s.context.policy.stall_grace - age
    if left <= NOTHING or is_known:
        plan = stall(s, reason, message)
        again = sooner(plan.requeue_after, RECHECK.get(reason))
        return replace(plan, requeue_after=again, holds=frozenset({fact}))
    return wait(s, reason, message, fact=fact, requeue_after=min(GRACE_LOOK, left))


def hindered(s: Situation, error: CloudError) -> Plan:
    """Wait out an error that passes by itself; ask for help with one that does not."""
    # Words of our own say all by themselves.
    is_ours = error.action == "Credentials"
    message = (
        lasting(error.message) if is_ours else f"{error.action} failed with {error.code}: {lasting(error.message)}"
    )
    if error.error_class in {ErrorClass.TRANSIENT, ErrorClass.BUSY}:
        fact = f"failing: {error.reason}"
        again = max(error.retry_after or NOTHING, poll(s.seen_for(fact)))
        return wait(s, error.reason, message, fact=fact, requeue_after=again)
    return trouble(s, error.reason, message)


def not_allowed(s: Situation, verb: Verb) -> Plan:
    """Say what the access list lacks."""
    key = f"{s.name} in {s.resource.spec.region_id} for namespace {s.resource.metadata.namespace}"
    return trouble(
        s, Reason.ACCESS_NOT_ALLOWED, f"The access list does not allow {verb} of {key}. {s.context.grant.hint}"
    )


def keep_ready(s: Situation, plan: Plan) -> Plan:
    """Keep a readiness that was true for this generation, for a while, when a look shows nothing."""
    known = s.resource.status.condition("Ready")
    if known is None or not s.is_current or known.status == "False" or known.reason not in set(Reason):
        return plan
    fact = "ready but not seen"
    holds = plan.holds | {fact}
    if known.status == "True" and s.seen_for(fact) < max(3 * s.resync, READY_KEPT_MIN):
        return replace(
            plan,
            stance=Stance.READY,
            ready="True",
            reason=Reason(known.reason),
            message=known.message,
            state=s.last_state,
            holds=holds,
        )
    plan = replace(plan, state=ConnectionState.UNKNOWN, holds=holds)
    return plan if plan.stance is Stance.STALLED else replace(plan, ready="Unknown")


def busy(s: Situation) -> Plan:
    """Wait until the instance is Normal, unless it never will be."""
    if s.instance.status in DEAD:
        fact = f"InstanceStatus is {s.instance.status}; the instance has to be Normal"
        return stall(s, Reason.INSTANCE_NOT_ELIGIBLE, f"{s.name} is not eligible: {fact}")
    fact = "busy"
    # Without the status itself: on its way to Normal it may take several values, and none is worth a write.
    message = f"{s.name} is being changed; waiting until its status is Normal"
    plan = wait(s, Reason.INSTANCE_BUSY, message, fact=fact, requeue_after=poll(s.seen_for(fact)))
    # The pause since a refusal goes on meanwhile.
    refused = frozenset() if s.previous_attempt is None else frozenset({refusal_of(s.previous_attempt)})
    return replace(plan, holds=plan.holds | refused)


def waiting(s: Situation, operation: Operation) -> Plan:
    """Wait for an operation to settle, and say which of its two uncertainties it is."""
    fact = doubt_about(operation)
    is_release = operation.action is Action.RELEASE
    if operation.outcome is Outcome.ACCEPTED:
        reason = Reason.RELEASING if is_release else Reason.ALLOCATING
        verb = "Releasing" if is_release else "Allocating"
        state = ConnectionState.RELEASING if is_release else ConnectionState.ALLOCATING
        message = f"{verb} the direct connection of {s.name}"
    else:
        reason, state = Reason.OUTCOME_UNKNOWN, ConnectionState.UNKNOWN
        what = (
            f"{operation.action} ended with {operation.code}"
            if operation.code
            else f"No answer to {operation.action} was recorded"
        )
        message = f"{what}, so it may or may not have taken effect; it is not sent again while the instance is watched"
    plan = wait(s, reason, message, fact=fact, requeue_after=poll(s.seen_for(fact)))
    wanted = Presence.ABSENT if is_release else Presence.PRESENT
    is_unchanged = s.has_seen_instance and s.is_normal and s.presence not in {wanted, Presence.UNKNOWN}
    unchanged = frozenset({unchanged_by(operation)}) if is_unchanged else frozenset()
    return replace(plan, state=state, holds=plan.holds | unchanged)


def pause(s: Situation, last: Operation, reason: Reason, message: str, pause: timedelta) -> Plan | None:
    """Wait until the pause since the refusal is over; the looks in between go on."""
    fact = refusal_of(last)
    age = s.seen_for(fact)
    if age >= pause:
        return None
    return wait(s, reason, message, fact=fact, requeue_after=min(pause - age, POLL_MAX))


def blocked(s: Situation, last: Operation, reason: Reason, message: str) -> Plan | None:
    """Call again when a fact has changed, else rarely; look at the resync interval."""
    has_changed = is_other_kind(last.instance, kind_of(s.instance))
    left = (last.finished_at or last.started_at) + backoff(BLOCKED_MIN, last.attempt, BLOCKED_MAX) - s.now
    if has_changed or left <= NOTHING:
        return None
    plan = trouble(s, reason, message)
    return replace(plan, requeue_after=sooner(plan.requeue_after, left))
