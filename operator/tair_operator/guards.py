"""What a call has to pass although it is wanted and possible. All but the first stand before releases only.

Rules of ``plan.RULES``, asked when everything else has said yes: allocating cuts
nobody off, releasing does.
"""

from datetime import timedelta

from tair_operator.models import Action, Reason
from tair_operator.situation import Situation
from tair_operator.stance import Plan, wait

HELD_LOOK = timedelta(minutes=1)


def taken_over(s: Situation) -> Plan | None:
    """Who owns an instance because another resource went away watches it for the settling time first."""
    owned_for, settle = s.context.owned_for, s.context.policy.settle
    if owned_for is None or owned_for >= settle:
        return None
    message = (
        f"Another TairInstance managed {s.name} until now; before anything is called, "
        f"the instance is watched for {settle.total_seconds():g} s"
    )
    return wait(s, Reason.PENDING, message, requeue_after=min(settle - owned_for, HELD_LOOK))


def releases_held(s: Situation) -> Plan | None:
    """The fleet switch stops every release; allocations go on."""
    if s.needed_action is not Action.RELEASE or not s.context.grant.are_releases_held:
        return None
    message = "Releases are held for the whole fleet (releases: Hold in the operator's access list)"
    return wait(s, Reason.RELEASES_HELD, message, requeue_after=HELD_LOOK)


def release_budget_spent(s: Situation) -> Plan | None:
    """A mistake in a template must not cut off a whole fleet before somebody sees it."""
    if s.needed_action is not Action.RELEASE or s.context.budget_wait is None:
        return None
    policy = s.context.policy
    message = (
        f"The budget of {policy.release_budget} releases in {policy.release_budget_window.total_seconds() / 60:g} "
        "minutes is spent; this one follows when there is room"
    )
    return wait(s, Reason.RELEASE_BUDGET, message, requeue_after=min(s.context.budget_wait, HELD_LOOK))
