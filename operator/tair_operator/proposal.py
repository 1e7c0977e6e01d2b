"""The call that is planned and waits, as ``status.plan`` shows it, and the approval that names it.

The id of a plan is a short hash of all that an approval is about: the resource
itself, the call, the wanted value, the very endpoint that is there, how many
releases are over, and when the plan lapses. So an approval cannot be replayed by
a revert in Git, a copy, a re-creation or a later drift: each makes another id.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

from tair_operator.models import ANNOTATION_APPROVE, Action, PlanStatus, Reason, TairInstance
from tair_operator.situation import Presence, Situation, endpoint_id
from tair_operator.stance import Plan

ID_LENGTH = 12
ROUNDING = timedelta(seconds=1)


def known_plan(s: Situation) -> PlanStatus | None:
    """Return the plan in status if the call to be made now is the one that it was made for."""
    plan = s.resource.status.plan
    return plan if plan is not None and plan.action is s.needed_action and plan.id == _id_of(s, plan) else None


def is_lapsed(s: Situation, plan: PlanStatus) -> bool:
    """Whether the time of a plan is over."""
    return plan.expires_at is not None and s.now >= plan.expires_at


def is_too_late(s: Situation, plan: PlanStatus) -> bool:
    """Whether a plan would lapse before its drain is over: clients would be sent away for nothing."""
    return plan.expires_at is not None and s.now + drain_left(s) >= plan.expires_at


def proposed(s: Situation, reason: Reason) -> PlanStatus:
    """Return the plan for the call to be made: the known one, or a new one where an approval of that comes too late."""
    known = known_plan(s)
    if known is not None and not (s.needs_approval and is_too_late(s, known)):
        return known.model_copy(update={"reason": reason})
    # The drain comes on top, or the longest one would leave no time to approve.
    expires_at = (s.now + s.context.policy.approval_ttl + s.drain).replace(microsecond=0)
    plan = PlanStatus(id="", action=s.needed_action, reason=reason, expires_at=expires_at)
    return plan.model_copy(update={"id": _id_of(s, plan)})


def is_approved(s: Situation) -> bool:
    """Whether a person approved the very plan that status shows, in its time."""
    known = known_plan(s)
    return known is not None and approval_of(s) == known.id and not is_too_late(s, known)


def approval_of(s: Situation) -> str | None:
    """Return the plan id that the approval on the resource names, if there is one."""
    return s.resource.metadata.annotations.get(ANNOTATION_APPROVE)


def names_plan(resource: TairInstance) -> bool:
    """Whether the approval on a resource names the plan in its status, which may not be the one to be made now.

    An approval makes no new generation, so this is all that shows one that came while nobody watched.
    """
    plan = resource.status.plan
    return plan is not None and resource.metadata.annotations.get(ANNOTATION_APPROVE) == plan.id


def withdrawn(plan: PlanStatus, now: datetime) -> PlanStatus:
    """Return the plan with the beginning of its drain."""
    # Times are stored to the second, and rounding this one down would make the drain shorter than it is.
    since = now.replace(microsecond=0) + timedelta(seconds=bool(now.microsecond))
    return plan.model_copy(update={"withdrawn_at": since})


def drain_of(plan: PlanStatus) -> str:
    """Name the fact that clients were told to go."""
    return f"draining: {plan.id}"


def drain_left(s: Situation) -> timedelta:
    """Return how much of the drain is still to come.

    Whoever began it measures it on the monotonic clock, which nobody sets. After
    a restart there is only the wall clock; set back, it cannot make it longer
    than the drain is from then on.
    """
    known = known_plan(s)
    if known is None or known.withdrawn_at is None:
        return s.drain
    fact = drain_of(known)
    # Status tells times to the second, and whoever subtracts them must not find the drain too short.
    passed = s.seen_for(fact) - ROUNDING if fact in s.context.seen else s.now - known.withdrawn_at
    return min(max(s.drain - passed, timedelta(0)), s.drain)


def holding(s: Situation, plan: Plan) -> Plan:
    """Return a plan that shows in status which call waits. A guard that is not passed ends the drain."""
    planned = proposed(s, plan.reason).model_copy(update={"withdrawn_at": None})
    return replace(plan, planned=planned)


def _id_of(s: Situation, plan: PlanStatus) -> str:
    endpoint = s.endpoint if s.presence is Presence.PRESENT else None
    parts = (
        s.resource.metadata.uid,
        plan.action,
        plan.action is Action.ALLOCATE,
        endpoint_id(endpoint) if endpoint is not None else None,
        s.resource.status.finished_releases or 0,
        plan.expires_at.isoformat() if plan.expires_at else None,
    )
    return sha256("\n".join(str(part) for part in parts).encode()).hexdigest()[:ID_LENGTH]
