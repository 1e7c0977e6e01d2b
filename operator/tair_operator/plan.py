"""Every decision the operator makes, as one pure function.

Two rules. Everything that affects what is called or reported is decided in this
file; and nothing in this file performs I/O, waits, reads a clock or logs.

``decide`` takes the resource, what a look at the cloud showed, and the time, and
returns one ``Plan``: at most one call, the words that explain it, and when to
look again. ``RULES`` is the specification: the rules are asked in that order and
the first that has something to say decides. Releasing cuts clients off and
allocating does not, so wherever the two differ, release is the careful one.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from tair_operator.deletion import LEFT, being_deleted, gone_for_good, not_held, with_way_out
from tair_operator.guards import (
    approval_required,
    draining,
    missing,
    only_planned,
    release_budget_spent,
    releases_held,
    taken_over,
    window_closed,
)
from tair_operator.models import (
    Action,
    ConnectionState,
    DriftPolicy,
    Outcome,
    PlanStatus,
    Reason,
    TairInstance,
)
from tair_operator.ports import CloudError, Detail, Observation
from tair_operator.proposal import drain_of, is_lapsed, known_plan
from tair_operator.publication import publication, publishing_failed
from tair_operator.retries import call_refused_before, releases_without_effect
from tair_operator.settling import settle, settled_outcome
from tair_operator.situation import ABSENT_AND_NORMAL, SECOND_LOOK, Context, Presence, Situation, Verb
from tair_operator.stance import (
    Plan,
    Stance,
    busy,
    hindered,
    ineligible,
    keep_ready,
    let_go,
    not_allowed,
    poll,
    ready,
    refusal_of,
    stall,
    trouble,
    wait,
    waiting,
)
from tair_operator.subject import is_draining, seniority, unsettled


def needs_look(resource: TairInstance, context: Context) -> bool:
    """Whether the cloud may be asked about this resource at all. Our own call is followed to its end in any case."""
    is_allowed = Verb.OBSERVE in context.grant.verbs or unsettled(resource) is not None
    return is_allowed and not resource.spec.suspend


def decide(resource: TairInstance, observed: Observation | CloudError | None, context: Context, now: datetime) -> Plan:
    """Return the single next step for a resource.

    ``observed`` is None exactly when ``needs_look`` said no. It must come from
    requests sent after ``resource`` was read, so that it shows all that the
    operation in its status had done by then.
    """
    s = Situation(resource, observed, context, now)
    outcome = settled_outcome(s)
    if outcome is not None:
        s = settle(s, outcome)
    rule, plan = next((rule, plan) for rule in RULES if (plan := rule(s)) is not None)
    # The pause after a refusal, or a busy instance, must not use up the wish for another try.
    is_held_up = plan.stance is Stance.RECONCILING or plan.reason is Reason.APPROVAL_REQUIRED
    is_only_waiting = is_held_up and plan.action is None
    keeps_request = s.is_requested and s.previous_attempt is not None and is_only_waiting
    plan = replace(
        plan,
        outcome=outcome,
        keeps_request=keeps_request,
        is_taking_over=_is_taking_over(s),
        planned=plan.planned or (_kept_plan(s) if rule in KEEP_PLAN else None),
        drift=_drift(s),
        message=with_way_out(s, plan),
    )
    return replace(plan, publication=publication(s, plan), holds=plan.holds | _under_way(s, plan))


def _kept_plan(s: Situation) -> PlanStatus | None:
    """Return the plan in status; without a look that shows something, nothing says that it no longer fits."""
    is_shown = s.has_seen_instance and s.presence is not Presence.UNKNOWN and s.in_doubt is None
    return known_plan(s) if is_shown else s.resource.status.plan


def _drift(s: Situation) -> bool | None:
    """Say what somebody else made of the direct connection, as last seen; None where it is as it was reached."""
    if not s.is_drift:
        return None
    known = s.resource.status.drift
    if not s.has_seen_instance or s.presence is Presence.UNKNOWN or absence_unconfirmed(s) is not None:
        return None if known is None else known.direct_connection
    seen = s.presence is Presence.PRESENT
    return None if seen is s.wanted else seen


def _is_taking_over(s: Situation) -> bool:
    """Whether another resource manages the instance, or its calls may still take effect."""
    context = s.context
    if context.owner is not None or (context.owned_for is not None and context.owned_for < context.policy.settle):
        return True
    return context.stranger is not None and (not s.has_seen_instance or stranger_unsettled(s) is not None)


def _under_way(s: Situation, plan: Plan) -> frozenset[str]:
    """Go on timing the pause since a refusal, and a drain, also through looks that show nothing."""
    facts = set() if s.previous_attempt is None or plan.action is not None else {refusal_of(s.previous_attempt)}
    if is_draining(plan.planned):
        facts.add(drain_of(plan.planned))
    return frozenset(facts & s.context.seen.keys())


def owner_of(claims: Iterable[TairInstance]) -> TairInstance | None:
    """Of the resources that claim one instance and stay, return the most senior."""
    return min((claim for claim in claims if claim.metadata.deletion_timestamp is None), key=seniority, default=None)


# --- The rules, in order --------------------------------------------------------------------------


def suspended(s: Situation) -> Plan | None:
    """A suspended resource is neither looked at nor called for."""
    if not s.resource.spec.suspend:
        return None
    wanted = {True: ConnectionState.ALLOCATED, False: ConnectionState.RELEASED}
    known = s.resource.status.condition("Ready")
    was_satisfied = known is not None and known.status == "True" and s.in_doubt is None
    is_satisfied = was_satisfied and (s.wanted is None or s.last_state is wanted[s.wanted])
    return Plan(
        Stance.SUSPENDED,
        Reason.SUSPENDED,
        "spec.suspend is true: nothing is looked at and nothing is called",
        s.last_state,
        ready="True" if is_satisfied else "False",
    )


def observing_not_allowed(s: Situation) -> Plan | None:
    """The operator's credentials serve only what the access list names."""
    is_allowed = Verb.OBSERVE in s.context.grant.verbs or s.in_doubt is not None
    return None if is_allowed else not_allowed(s, Verb.OBSERVE)


def look_failed(s: Situation) -> Plan | None:
    """One failed look changes nothing that was known; many do."""
    if not isinstance(s.observed, CloudError):
        return None
    is_without_credentials = s.observed.reason in {Reason.CREDENTIALS_UNAVAILABLE, Reason.CREDENTIALS_INVALID}
    if s.is_releasing_on_deletion and s.context.is_namespace_terminating and is_without_credentials:
        # They went with the namespace. Holding it for ever would help nobody.
        return let_go(s, f"The namespace is being deleted and the credentials are gone; {LEFT}")
    if s.in_doubt is not None:
        return waiting(s, s.in_doubt)
    return keep_ready(s, hindered(s, s.observed))


def instance_missing(s: Situation) -> Plan | None:
    """Without the instance in its region there is nothing to act on, and acting would hit another one."""
    if s.has_seen_instance:
        return None
    if s.is_releasing_on_deletion:
        return gone_for_good(s)
    message = (
        f"{s.name} is not in {s.resource.spec.region_id}: DescribeInstances lists no such instance. "
        "Check spec.instanceId and spec.regionId, and that the operator's account owns the instance"
    )
    return replace(trouble(s, Reason.INSTANCE_NOT_FOUND, message), state=ConnectionState.UNKNOWN)


def operation_unsettled(s: Situation) -> Plan | None:
    """An operation that has not settled blocks everything else, whatever the spec says."""
    return None if s.in_doubt is None else waiting(s, s.in_doubt)


def stranger_unsettled(s: Situation) -> Plan | None:
    """A call made for another resource on this instance, since deleted perhaps, blocks like one of our own."""
    if s.context.stranger is None:
        return None
    operation, age = s.context.stranger
    target = Presence.PRESENT if operation.action is Action.ALLOCATE else Presence.ABSENT
    if age >= s.context.policy.settle or (s.is_normal and s.presence is target):
        return None
    message = (
        f"{operation.action} was called for another TairInstance of {s.name} and may still take effect; "
        "nothing is called before that has settled"
    )
    return wait(s, Reason.OUTCOME_UNKNOWN, message, requeue_after=poll(age))


def presence_unknown(s: Situation) -> Plan | None:
    """Nothing succeeds, and nothing is withdrawn, on an answer that does not say."""
    if s.presence is not Presence.UNKNOWN:
        return None
    fact = "presence unknown"
    message = "DescribeDBInstanceNetInfo did not say whether there is a direct connection; looking again"
    again = poll(s.seen_for(fact))
    return keep_ready(s, wait(s, Reason.PENDING, message, fact=fact, requeue_after=again))


def absence_unconfirmed(s: Situation) -> Plan | None:
    """Absence that is not the end of our own release is believed after a second look."""
    if s.presence is not Presence.ABSENT or s.is_absence_believed:
        return None
    if not s.is_normal:
        return keep_ready(s, busy(s))
    message = "No direct connection is listed; a second look follows to be sure"
    plan = wait(s, Reason.PENDING, message, fact=ABSENT_AND_NORMAL, requeue_after=SECOND_LOOK)
    return keep_ready(s, replace(plan, state=s.last_state))


def only_observing(s: Situation) -> Plan | None:
    """Without spec.directConnection nothing is ever called."""
    if s.wanted is not None:
        return None
    there = "is a direct connection" if s.presence is Presence.PRESENT else "is no direct connection"
    message = f"There {there}; spec.directConnection is absent, so it is only observed"
    return ready(s, Reason.OBSERVED, message)


def wanted_value_seen(s: Situation) -> Plan | None:
    """The wanted value is reached when it is seen on an instance that is Normal."""
    if s.wanted is not (s.presence is Presence.PRESENT):
        return None
    reached = s.resource.status.reached
    if not s.is_normal and (reached is None or reached.direct_connection is not s.wanted):
        return busy(s)
    if s.is_releasing_on_deletion:
        return let_go(s, "The direct connection is released")
    if s.endpoint is not None:
        address = s.endpoint.host if s.endpoint.port is None else f"{s.endpoint.host}:{s.endpoint.port}"
        return replace(ready(s, Reason.ALLOCATED, f"The direct connection is {address}"), reached=True)
    return replace(ready(s, Reason.RELEASED, "The direct connection is released"), reached=True)


def drift_only_reported(s: Situation) -> Plan | None:
    """A change that somebody else made is corrected only as far as spec.driftPolicy says."""
    if not s.is_drift or s.is_releasing_on_deletion:
        return None
    policy = s.resource.spec.drift_policy or DriftPolicy.ALLOCATE_ONLY
    needs_release = s.wanted is False
    if policy is DriftPolicy.REPORT or (policy is DriftPolicy.ALLOCATE_ONLY and needs_release):
        seen = "allocated" if needs_release else "released"
        remedy = "Set spec.driftPolicy to Correct to change it back, or spec.directConnection to what is there"
        message = f"Somebody else {seen} the direct connection, and driftPolicy {policy} only reports that. {remedy}"
        return stall(s, Reason.DRIFT_DETECTED, message)
    last = s.operation
    if needs_release and last is not None and last.drift and last.outcome is Outcome.SUCCEEDED:
        message = (
            "Somebody else allocated the direct connection again after a release that corrected the same. "
            "Find out who, then set spec.directConnection to true and back to false"
        )
        return stall(s, Reason.CONTESTED, message)
    return None


def acting_not_allowed(s: Situation) -> Plan | None:
    """To be looked at is not to be changed."""
    verb = Verb.ALLOCATE if s.wanted else Verb.RELEASE
    return None if verb in s.context.grant.verbs else not_allowed(s, verb)


def instance_not_eligible(s: Situation) -> Plan | None:
    """Only classic cluster instances have a direct connection that can be allocated or released."""
    facts = ineligible(s)
    if not facts:
        return None
    return stall(s, Reason.INSTANCE_NOT_ELIGIBLE, f"{s.name} is not eligible: {'; '.join(facts)}")


def tls_unknown(s: Situation) -> Plan | None:
    """An allocation needs TLS to be off, which only a call of its own tells."""
    is_known = s.needed_action is not Action.ALLOCATE or Detail.TLS in s.observation.asked
    return None if is_known else missing(s, Detail.TLS)


def instance_busy(s: Situation) -> Plan | None:
    """Nothing is called while the instance is being changed."""
    return None if s.is_normal else busy(s)


def claimed_by_another(s: Situation) -> Plan | None:
    """Of several resources that name one instance, the oldest acts and the others say so."""
    if s.context.owner is None:
        return None
    if s.is_releasing_on_deletion:
        return let_go(s, f"TairInstance {s.context.owner} claims {s.name} as well; {LEFT}")
    message = (
        f"The older TairInstance {s.context.owner} manages {s.name} already. Delete one of the two; "
        "until then this one calls nothing"
    )
    return trouble(s, Reason.INSTANCE_ALREADY_MANAGED, message)


def call_not_prepared(s: Situation) -> Plan | None:
    """A call that could not be prepared is not announced."""
    return None if s.context.obstacle is None else hindered(s, s.context.obstacle)


def act(s: Situation) -> Plan:
    """Make the one call that closes the difference."""
    if s.wanted:
        plan = wait(s, Reason.ALLOCATING, f"Allocating the direct connection of {s.name}")
        return replace(plan, action=Action.ALLOCATE, state=ConnectionState.ALLOCATING, corrects_drift=s.is_drift)
    plan = wait(s, Reason.RELEASING, f"Releasing the direct connection of {s.name}")
    known = known_plan(s)
    return replace(
        plan,
        action=Action.RELEASE,
        state=ConnectionState.RELEASING,
        corrects_drift=s.is_drift,
        # A refusal may follow, and the plan is still the same then.
        planned=None if known is None or is_lapsed(s, known) else known,
    )


RULES: tuple[Callable[[Situation], Plan | None], ...] = (
    suspended,
    observing_not_allowed,
    look_failed,
    instance_missing,
    operation_unsettled,
    not_held,
    being_deleted,
    claimed_by_another,
    stranger_unsettled,
    presence_unknown,
    absence_unconfirmed,
    publishing_failed,
    only_observing,
    wanted_value_seen,
    drift_only_reported,
    acting_not_allowed,
    instance_not_eligible,
    instance_busy,
    call_refused_before,
    releases_without_effect,
    taken_over,
    tls_unknown,
    only_planned,
    releases_held,
    release_budget_spent,
    approval_required,
    window_closed,
    draining,
    call_not_prepared,
    act,
)

KEEP_PLAN = frozenset(
    {
        look_failed,
        operation_unsettled,
        presence_unknown,
        not_held,
        publishing_failed,
        instance_busy,
        call_refused_before,
        tls_unknown,
        window_closed,
        call_not_prepared,
    }
)
"""Rules that can wait without taking anything back: a plan in status outlives that, and so does its drain."""
