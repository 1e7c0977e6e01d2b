"""The published endpoint: complete while it can be used, absent before it ends."""

from tair_operator.models import Action, ConnectionState, Reason
from tair_operator.situation import Presence, Situation
from tair_operator.stance import Plan, Publication, Stance, trouble
from tair_operator.subject import is_draining


def publishing_failed(s: Situation) -> Plan | None:
    """What is to be published is, or status says why not; and nothing is released that could not be withdrawn."""
    # In a namespace that is being deleted the objects go by themselves.
    if s.context.unpublished is None or s.context.is_namespace_terminating:
        return None
    return trouble(s, Reason.PUBLISH_FAILED, s.context.unpublished)


def publication(s: Situation, plan: Plan) -> Publication:
    """Say what to do about the published endpoint after a plan."""
    if not s.publishes:
        return Publication.KEEP
    if plan.publication is not Publication.KEEP:
        return plan.publication
    if is_draining(plan.planned):
        return Publication.WITHDRAW
    if s.in_doubt is not None or _is_released_by_another(s):
        return Publication.KEEP
    if plan.stance is Stance.SUSPENDED:
        known = s.resource.status.direct_connection
        is_complete = known is not None and known.host is not None and known.port is not None
        return Publication.PUBLISH if is_draining(s.resource.status.plan) and is_complete else Publication.KEEP
    if plan.action is Action.RELEASE or not s.has_seen_instance or s.context.unpublished:
        return Publication.KEEP
    if s.presence is Presence.PRESENT:
        # Whoever does not manage the instance will not know in time of a release.
        is_unwanted = (s.is_drift and s.wanted is False) or (s.context.owner is not None and not plan.lets_go)
        is_usable = s.is_normal or s.last_state is ConnectionState.ALLOCATED
        is_complete = s.endpoint is not None and bool(s.endpoint.host) and s.endpoint.port is not None
        return Publication.PUBLISH if is_usable and is_complete and not is_unwanted else Publication.KEEP
    is_gone = s.presence is Presence.ABSENT and s.is_absence_believed
    return Publication.WITHDRAW if is_gone else Publication.KEEP


def _is_released_by_another(s: Situation) -> bool:
    """Whether a release that was called for another resource, a deleted one perhaps, may still take effect."""
    if s.context.stranger is None:
        return False
    operation, age = s.context.stranger
    is_seen = s.has_seen_instance and s.presence is Presence.ABSENT
    return operation.action is Action.RELEASE and age < s.context.policy.settle and not is_seen
