"""Deleting a resource: what its finalizer waits for, and when it lets go.

The finalizer exists only with ``deletionPolicy: Release``. A deletion then is a
wish for a release, through all guards; and it is never stuck without a way out in
its message.
"""

from dataclasses import replace

from tair_operator.models import Reason
from tair_operator.situation import SECOND_LOOK, Situation
from tair_operator.stance import Plan, Publication, let_go, trouble, wait

LEFT = "the direct connection is left as it is"


def being_deleted(s: Situation) -> Plan | None:
    """A resource that is being deleted leaves the direct connection as it is, unless deletionPolicy says otherwise."""
    if not s.is_being_deleted or s.is_releasing_on_deletion:
        return None
    return let_go(s, f"The resource is being deleted; {LEFT}")


def not_held(s: Situation) -> Plan | None:
    """A deletion that cannot be held would not release what it promises to."""
    return None if s.context.unheld is None else trouble(s, Reason.ACCESS_DENIED, s.context.unheld)


def gone_for_good(s: Situation) -> Plan:
    """Let go of an instance that is not there any more, after a second look."""
    fact, message = "instance gone", f"{s.name} is not there any more, so there is nothing to release"
    if s.seen_for(fact) >= SECOND_LOOK:
        return replace(let_go(s, message), publication=Publication.WITHDRAW)
    return wait(s, Reason.INSTANCE_NOT_FOUND, message, fact=fact, requeue_after=SECOND_LOOK)


def with_way_out(s: Situation, plan: Plan) -> str:
    """Tell whoever deleted the resource what it waits for and how to end the wait."""
    if not s.is_releasing_on_deletion or plan.lets_go:
        return plan.message
    way_out = "The deletion waits for the release; set spec.deletionPolicy to Retain to end it without one"
    return f"{plan.message.rstrip('.')}. {way_out}"
