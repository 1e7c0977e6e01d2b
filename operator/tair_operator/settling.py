"""What has become of the operation that a resource shows, as far as a look tells."""

from dataclasses import replace

from tair_operator.models import Action, Outcome
from tair_operator.situation import Presence, Situation
from tair_operator.stance import doubt_about
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
        if s.presence is target:
            return Outcome.SUCCEEDED
        if s.presence is not Presence.UNKNOWN and s.seen_for(doubt_about(operation)) >= s.context.policy.settle:
            return Outcome.FAILED
    # Found at the beginning of a pass: whoever started it did not live to record the answer.
    return Outcome.UNKNOWN if operation.outcome is Outcome.STARTED else None


def settle(s: Situation, outcome: Outcome) -> Situation:
    """Return the situation with the new outcome of its operation."""
    operation = s.operation and s.operation.model_copy(update={"outcome": outcome})
    # A plan that was approved for the release that is over must not pass for the next one.
    finished = finished_releases(s.resource.status, outcome)
    status = s.resource.status.model_copy(update={"operation": operation, "finished_releases": finished})
    return replace(s, resource=s.resource.model_copy(update={"status": status}))
