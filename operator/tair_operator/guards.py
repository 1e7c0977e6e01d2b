"""What a call has to pass although it is wanted and possible. All but the first two stand before releases only.

Rules of ``plan.RULES``, asked in this order when everything else has said yes:
allocating cuts nobody off, releasing does. Each shows the plan that waits in
``status.plan``, and one that is not passed has the endpoint published again.
"""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from tair_operator.models import ANNOTATION_APPROVE, Action, Reason
from tair_operator.ports import Detail, Window
from tair_operator.proposal import (
    approval_of,
    drain_left,
    drain_of,
    holding,
    is_approved,
    known_plan,
    proposed,
    withdrawn,
)
from tair_operator.situation import NOTHING, Situation
from tair_operator.stance import Plan, Publication, hindered, sooner, stall, wait
from tair_operator.subject import is_draining

HELD_LOOK = timedelta(minutes=1)
ROOM = timedelta(seconds=5)
"""What has to be left of the window beyond the drain and the deadline of the call."""
DAY = timedelta(days=1)


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


def only_planned(s: Situation) -> Plan | None:
    """In mode Observe every plan is shown and no call is made: the first install of every team."""
    if not s.context.policy.is_observing_only:
        return None
    message = (
        f"The operator runs in mode Observe: it would call {s.needed_action} of {s.name}, and calls nothing. "
        "Set TAIR_OPERATOR_MODE to Act to let it"
    )
    return holding(s, wait(s, Reason.PENDING, message, requeue_after=s.next_try()))


def releases_held(s: Situation) -> Plan | None:
    """The fleet switch stops every release; allocations go on."""
    if s.needed_action is not Action.RELEASE or not s.context.grant.are_releases_held:
        return None
    message = "Releases are held for the whole fleet (releases: Hold in the operator's access list)"
    return holding(s, wait(s, Reason.RELEASES_HELD, message, requeue_after=HELD_LOOK))


def release_budget_spent(s: Situation) -> Plan | None:
    """A mistake in a template must not cut off a whole fleet before somebody sees it."""
    if s.needed_action is not Action.RELEASE or s.context.budget_wait is None:
        return None
    policy = s.context.policy
    message = (
        f"The budget of {policy.release_budget} releases in {_length(policy.release_budget_window)} is taken, by "
        "releases and by drains under way; this one follows when there is room"
    )
    again = min(s.context.budget_wait, HELD_LOOK)
    return holding(s, wait(s, Reason.RELEASE_BUDGET, message, requeue_after=again))


def approval_required(s: Situation) -> Plan | None:
    """A person approves the very plan that status shows."""
    if s.needed_action is not Action.RELEASE or not s.needs_approval or is_approved(s):
        return None
    plan = holding(s, stall(s, Reason.APPROVAL_REQUIRED, ""))
    planned = proposed(s, Reason.APPROVAL_REQUIRED)
    metadata = s.resource.metadata
    stale = (
        ""
        if approval_of(s) in {None, planned.id}
        else "The approval on the resource is for another plan, or came too late. "
    )
    message = (
        f"{planned.action} of {s.name} waits for an approval, because {_who_asks(s)}. {stale}"
        f"Approve with: kubectl -n {metadata.namespace} annotate --overwrite tairinstance {metadata.name} "
        f"{ANNOTATION_APPROVE}={planned.id}"
    )
    lapses = None if planned.expires_at is None else planned.expires_at - s.now
    return replace(plan, message=message, requeue_after=sooner(plan.requeue_after, lapses))


def window_closed(s: Situation) -> Plan | None:
    """A release that asked for the maintenance window starts in it and ends in it."""
    if s.needed_action is not Action.RELEASE or not s.needs_window:
        return None
    if Detail.WINDOW not in s.observation.asked:
        return missing(s, Detail.WINDOW)
    window, room = s.observation.window, drain_left(s) + s.context.policy.call_deadline + ROOM
    if window is None:
        message = (
            f"The maintenance window of {s.name} is not known, which counts as closed: DescribeInstanceAttribute did "
            "not tell it. Set one in the console, or spec.release.window to Anytime"
        )
        return holding(s, wait(s, Reason.WAITING_FOR_WINDOW, message, requeue_after=s.next_try()))
    name = f"{window.start:%H:%M}-{window.end:%H:%M} UTC"
    length = _until(window.end, window.start)
    if s.drain + s.context.policy.call_deadline + ROOM > length:
        message = (
            f"A drain of {s.drain.total_seconds():g} s is too long for the maintenance window of {s.name}, {name}: the "
            "drain and the call have to fit into it. Shorten spec.release.drainSeconds, or the least drain that the "
            "operator's settings ask for"
        )
        return holding(s, stall(s, Reason.INVALID_REQUEST, message))
    opens_in = opening(window, s.now.astimezone(UTC), room)
    if opens_in is None:
        return None
    message = f"The release waits for the maintenance window of {s.name}, {name}"
    return holding(s, wait(s, Reason.WAITING_FOR_WINDOW, message, requeue_after=min(opens_in, s.next_try())))


def draining(s: Situation) -> Plan | None:
    """Withdraw what is published, and give clients the time that was asked for."""
    if s.needed_action is not Action.RELEASE or not (s.drain or s.publishes):
        return None
    known, length = known_plan(s), f"{s.drain.total_seconds():g} s"
    message = f"Clients of {s.name} have {length} to leave before its endpoint is released"
    if s.publishes:
        message = f"The endpoint of {s.name} is withdrawn; it is released after a drain of {length}"
    planned = proposed(s, Reason.DRAINING)
    if not is_draining(known):
        planned = withdrawn(planned, s.now)
        plan = wait(s, Reason.DRAINING, message, fact=drain_of(planned), requeue_after=s.drain)
        return replace(plan, planned=planned, publication=Publication.WITHDRAW)
    left = drain_left(s)
    if left <= NOTHING:
        return None
    return replace(wait(s, Reason.DRAINING, message, requeue_after=left), planned=planned)


def _length(time: timedelta) -> str:
    seconds = time.total_seconds()
    return f"{seconds / 60:g} minutes" if seconds % 60 == 0 else f"{seconds:g} s"


def missing(s: Situation, detail: Detail) -> Plan:
    """Ask for a detail; wait where asking failed."""
    if s.context.obstacle is not None:
        return hindered(s, s.context.obstacle)
    plan = wait(s, Reason.PENDING, f"Asking {detail} about {s.name}", requeue_after=NOTHING)
    return replace(plan, asks=frozenset({detail}))


def opening(window: Window, now: datetime, room: timedelta) -> timedelta | None:
    """Return how long until the window opens; None while it is open and has that much room left."""
    clock = now.time().replace(tzinfo=None)
    is_open = _until(clock, window.start) < _until(window.end, window.start)
    if is_open and _until(window.end, clock) >= room:
        return None
    return _until(window.start, clock) or DAY


def _until(end: time, start: time) -> timedelta:
    """Return the time from one time of the day to the next occurrence of another; 0 where they are the same."""
    return (_since_midnight(end) - _since_midnight(start)) % DAY


def _since_midnight(clock: time) -> timedelta:
    return timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second, microseconds=clock.microsecond)


def _who_asks(s: Situation) -> str:
    policy, release = s.context.policy, s.resource.spec.release
    if release is not None and release.approval == "Required":
        return "spec.release.approval is Required"
    if policy.needs_approval:
        return "the operator's settings ask for one"
    if s.context.grant.requires_approval:
        return "the operator's access list asks for one"
    if s.is_releasing_on_deletion and not s.is_our_endpoint:
        return "the resource is being deleted and its endpoint was not allocated for it"
    return "the operator meets this endpoint for the first time"
