"""What has become of the operation that a resource shows, as far as a look tells."""

from dataclasses import replace

from tair_operator.models import Action, Operation, Outcome, ReachedStatus
from tair_operator.situation import SECOND_LOOK, Presence, Situation
from tair_operator.stance import doubt_about, unchanged_by
from tair_operator.subject import finished_releases


def settled_outcome(s: Situation) -> Outcome | None:
    """Say what has become of the operation, where its outcome is new.

    Success is seen, never assumed. Absence of an effect is believed only after
    the settling time, on an instance that is Normal: until then the cloud may
    still be about to do what it was asked.
    """
    operation = s.in_doubt
    if operation is None:
        return None
    if s.has_seen_instance and s.is_normal:
        target = Presence.PRESENT if operation.action is Action.ALLOCATE else Presence.ABSENT
        if s.presence is target or is_replaced(s, operation):
            return Outcome.SUCCEEDED
        # One look may be torn: its two answers were not given in the same instant.
        is_seen_twice = s.seen_for(unchanged_by(operation)) >= SECOND_LOOK
        if is_seen_twice and s.seen_for(doubt_about(operation)) >= s.context.policy.settle:
            return Outcome.FAILED
    # Found at the beginning of a pass: whoever started it did not live to record the answer.
    return Outcome.UNKNOWN if operation.outcome is Outcome.STARTED else None


def is_replaced(s: Situation, operation: Operation) -> bool:
    """Whether a release took effect, and somebody allocated another endpoint before anybody looked."""
    known, seen = s.resource.status.direct_connection, s.endpoint
    if operation.action is not Action.RELEASE or known is None or seen is None:
        return False
    pairs = (
        (known.host, seen.host),
        (known.ip_address, seen.ip_address),
        (known.vpc_instance_id, seen.vpc_instance_id),
    )
    return any(before is not None and now is not None and before != now for before, now in pairs)


def settle(s: Situation, outcome: Outcome) -> Situation:
    """Return the situation with the new outcome of its operation."""
    reached, last = s.resource.status.reached, s.operation
    if last is not None and outcome is Outcome.SUCCEEDED and s.wanted is False and is_replaced(s, last):
        # It was reached, for a moment: what is there now is the work of somebody else.
        reached = ReachedStatus(direct_connection=False, operation_id=last.id, time=s.now)
    operation = s.operation and s.operation.model_copy(update={"outcome": outcome})
    # A plan that was approved for the release that is over must not pass for the next one.
    finished = finished_releases(s.resource.status, outcome)
    update = {"operation": operation, "finished_releases": finished, "reached": reached}
    status = s.resource.status.model_copy(update=update)
    return replace(s, resource=s.resource.model_copy(update={"status": status}))
