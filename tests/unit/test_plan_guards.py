"""The specification of what stands between a release and its call: each guard, their order, and what ends a drain.

An allocation cuts nobody off and passes all of them but two: mode Observe, and the watch of who takes over.
"""

# ruff: noqa: ANN401 - what is not named goes on to a builder

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest

from tair_operator.guards import opening
from tair_operator.listing import Listed
from tair_operator.models import ANNOTATION_APPROVE, Action, PublishSpec, Reason, ReleaseSpec, TairInstance
from tair_operator.plan import decide
from tair_operator.ports import Detail, ErrorClass, Window
from tair_operator.situation import Policy
from tair_operator.stance import Plan, Publication
from tests.builders import (
    ALLOCATED,
    BUSY,
    CHANGING,
    GONE,
    IS_ALLOCATED,
    NOW,
    PLAN_ID,
    PROXY,
    RELEASED,
    RESYNC,
    SUSPENDED,
    Case,
    ago,
    allocate,
    altered,
    cloud_error,
    condition,
    context,
    endpoint,
    minutes,
    observation,
    plan_id,
    planned,
    planned_with_drain,
    reconciling,
    refused,
    release,
    resource,
    seconds,
    stalled,
    status,
    table,
)

DAY = timedelta(days=1)
TWENTY_SECONDS_AGO = ago(20)
PUBLISH = PublishSpec(secret_name="orders")
APPROVED = {ANNOTATION_APPROVE: PLAN_ID}
WITHDRAWN: dict[str, Any] = {"publication": Publication.WITHDRAW}
PUBLISHED_AGAIN: dict[str, Any] = {"publication": Publication.PUBLISH}
EARLIER_HALF, LATER_HALF = Window(time(11), time(13)), Window(time(13), time(14))


def guarded(*, annotations: dict[str, str] | None = None, known: Any = None, **release_spec: Any) -> TairInstance:
    """Return a resource that wants a release with these guards; ``known`` is the plan that its status shows."""
    return resource(
        False,
        annotations=annotations,
        release=ReleaseSpec(**release_spec),
        status=None if known is None else status(ALLOCATED, plan=known),
    )


def waiting(reason: Reason, message: str, again: timedelta, **more: Any) -> Plan:
    return reconciling(reason, message, ALLOCATED, again, planned=planned(reason), **more)


def observes(action: Action) -> str:
    return (
        f"The operator runs in mode Observe: it would call {action} of r-bp1, and calls nothing. "
        "Set TAIR_OPERATOR_MODE to Act to let it"
    )


OBSERVING = context(policy=Policy(is_observing_only=True))
ONLY_PLANNED = waiting(Reason.PENDING, observes(Action.RELEASE), RESYNC)
HELD = waiting(
    Reason.RELEASES_HELD,
    "Releases are held for the whole fleet (releases: Hold in the operator's access list)",
    minutes(1),
)
SPENT = (
    "The budget of 10 releases in 10 minutes is taken, by releases and by drains under way; this one follows when "
    "there is room"
)
OUT_OF_BUDGET = waiting(Reason.RELEASE_BUDGET, SPENT, seconds(30))
WATCHED = reconciling(
    Reason.PENDING,
    "Another TairInstance managed r-bp1 until now; before anything is called, the instance is watched for 300 s",
    ALLOCATED,
    minutes(1),
    is_taking_over=True,
)

FLEET = {
    "in mode Observe a release is shown and not made": Case(resource(False), ONLY_PLANNED, context=OBSERVING),
    "in mode Observe an allocation is shown and not made": Case(
        resource(True, status=status(RELEASED)),
        reconciling(
            Reason.PENDING,
            observes(Action.ALLOCATE),
            RELEASED,
            RESYNC,
            planned=planned(Reason.PENDING, action=Action.ALLOCATE, id=plan_id(Action.ALLOCATE, host=None)),
        ),
        GONE,
        OBSERVING,
    ),
    "in mode Observe what is as wanted is ready": Case(resource(True), IS_ALLOCATED, context=OBSERVING),
    "in mode Observe a plan is looked at again where drift is not looked for": Case(
        resource(False, resync_seconds=0), altered(ONLY_PLANNED, {"requeue_after": minutes(30)}), context=OBSERVING
    ),
    "in mode Observe a plan keeps its id also when its time is over": Case(
        resource(
            False, status=status(ALLOCATED, plan=planned(Reason.PENDING, expires_at=NOW, id=plan_id(expires=NOW)))
        ),
        altered(ONLY_PLANNED, {"planned": planned(Reason.PENDING, expires_at=NOW, id=plan_id(expires=NOW))}),
        context=OBSERVING,
    ),
    "a release is held by the fleet switch": Case(resource(False), HELD, context=context(held=True)),
    "an allocation is not held by the fleet switch": Case(
        resource(True, status=status(RELEASED)), allocate(), GONE, context(held=True)
    ),
    "a release waits for room in the budget": Case(
        resource(False), OUT_OF_BUDGET, context=context(budget_wait=seconds(30))
    ),
    "a release looks every minute for room in the budget, which others may give back": Case(
        resource(False),
        altered(OUT_OF_BUDGET, {"requeue_after": minutes(1)}),
        context=context(budget_wait=minutes(9)),
    ),
    "an allocation needs no room in the budget": Case(
        resource(True, status=status(RELEASED)), allocate(), GONE, context(budget_wait=seconds(30))
    ),
    "who takes over watches the instance before a release": Case(
        resource(False), WATCHED, context=context(owned_for=seconds(0))
    ),
    "who takes over watches the instance before an allocation": Case(
        resource(True, status=status(RELEASED)),
        altered(WATCHED, {"state": RELEASED, "requeue_after": seconds(10)}),
        GONE,
        context(owned_for=seconds(290)),
    ),
    "who has watched for the settling time releases": Case(
        resource(False), release(), context=context(owned_for=seconds(300))
    ),
}


def asked_by(who: str, *, stale: str = "", plan: str = PLAN_ID, **more: Any) -> Plan:
    message = (
        f"ReleaseDirectConnection of r-bp1 waits for an approval, because {who}. {stale}Approve with: kubectl -n shop "
        f"annotate --overwrite tairinstance orders-cache tair.alibabacloud.com/approve-release={plan}"
    )
    fields = {"planned": planned(Reason.APPROVAL_REQUIRED)} | more
    return stalled(Reason.APPROVAL_REQUIRED, message, ALLOCATED, **fields)


SPEC_ASKS, SETTINGS_ASK = "spec.release.approval is Required", "the operator's settings ask for one"
LIST_ASKS, FIRST_ASKS = (
    "the operator's access list asks for one",
    "the operator meets this endpoint for the first time",
)
STALE = "The approval on the resource is for another plan, or came too late. "
A_DAY_AND_A_DRAIN = NOW + timedelta(hours=24, seconds=60)
FIRST_CONTACT = context(policy=Policy(needs_approval_at_first_contact=True))
SHOWN = planned(Reason.APPROVAL_REQUIRED)
LAPSED = planned(Reason.APPROVAL_REQUIRED, expires_at=NOW, id=plan_id(expires=NOW))
LAPSING = planned(Reason.APPROVAL_REQUIRED, expires_at=NOW + minutes(1), id=plan_id(expires=NOW + minutes(1)))

ENDLESS = planned(Reason.APPROVAL_REQUIRED, expires_at=None, id=plan_id(expires=None))

APPROVAL = {
    "the spec asks for an approval": Case(guarded(approval="Required"), asked_by(SPEC_ASKS)),
    "the settings ask for an approval": Case(
        resource(False), asked_by(SETTINGS_ASK), context=context(policy=Policy(needs_approval=True))
    ),
    "the access list asks for an approval": Case(
        resource(False), asked_by(LIST_ASKS), context=context(requires_approval=True)
    ),
    "the first contact asks for an approval": Case(resource(False), asked_by(FIRST_ASKS), context=FIRST_CONTACT),
    "what was reached once is no first contact": Case(
        resource(False, generation=2, status=status(ALLOCATED, reached=True)), release(), context=FIRST_CONTACT
    ),
    "an approval that the settings ask for cannot be waived by the spec": Case(
        guarded(approval="Automatic"), asked_by(SETTINGS_ASK), context=context(policy=Policy(needs_approval=True))
    ),
    "an approval that the access list asks for cannot be waived by the spec": Case(
        guarded(approval="Automatic"), asked_by(LIST_ASKS), context=context(requires_approval=True)
    ),
    "an approval that the spec asks for cannot be waived by the settings": Case(
        guarded(approval="Required"), asked_by(SPEC_ASKS), context=context(policy=Policy(needs_approval=False))
    ),
    "an approval that nobody asks for is not waited for": Case(guarded(approval="Automatic"), release()),
    "an allocation needs no approval": Case(
        resource(True, release=ReleaseSpec(approval="Required"), status=status(RELEASED)),
        allocate(),
        GONE,
        context(requires_approval=True, policy=Policy(needs_approval=True)),
    ),
    "an approval of the plan that status shows lets it go": Case(
        guarded(approval="Required", annotations=APPROVED, known=SHOWN), release(planned=SHOWN)
    ),
    "an approval that was given before the plan was shown counts for nothing": Case(
        guarded(approval="Required", annotations=APPROVED), asked_by(SPEC_ASKS)
    ),
    "an approval of another plan counts for nothing": Case(
        guarded(approval="Required", annotations={ANNOTATION_APPROVE: "0" * 12}, known=SHOWN),
        asked_by(SPEC_ASKS, stale=STALE),
    ),
    "an empty approval counts for nothing": Case(
        guarded(approval="Required", annotations={ANNOTATION_APPROVE: ""}, known=SHOWN),
        asked_by(SPEC_ASKS, stale=STALE),
    ),
    "an approval lapses with its plan, and a new plan is shown": Case(
        guarded(approval="Required", annotations={ANNOTATION_APPROVE: LAPSED.id}, known=LAPSED),
        asked_by(SPEC_ASKS, stale=STALE),
    ),
    "a plan that lapses soon is looked at when it does": Case(
        guarded(approval="Required", known=LAPSING),
        asked_by(SPEC_ASKS, plan=LAPSING.id, planned=LAPSING, requeue_after=minutes(1)),
    ),
    "a plan without an end never lapses": Case(
        guarded(
            approval="Required",
            known=ENDLESS,
        ),
        asked_by(
            SPEC_ASKS,
            plan=ENDLESS.id,
            planned=ENDLESS,
        ),
    ),
    "an approval names one allocation of the endpoint": Case(
        guarded(approval="Required", annotations=APPROVED, known=SHOWN),
        asked_by(
            SPEC_ASKS,
            stale=STALE,
            plan=plan_id(vpc="another"),
            planned=planned(Reason.APPROVAL_REQUIRED, id=plan_id(vpc="another")),
        ),
        observation(endpoints=(PROXY, endpoint(vpc_instance_id="another"))),
    ),
}


def for_window(window: str, again: timedelta) -> Plan:
    message = f"The release waits for the maintenance window of r-bp1, {window} UTC"
    return waiting(Reason.WAITING_FOR_WINDOW, message, again)


def in_window(start: time, end: time, plan: Plan, **release_spec: Any) -> Case:
    spec = {"window": "Maintenance"} | release_spec
    return Case(guarded(**spec), plan, observation(window=Window(start, end)))


NOT_KNOWN = waiting(
    Reason.WAITING_FOR_WINDOW,
    "The maintenance window of r-bp1 is not known, which counts as closed: DescribeInstanceAttribute did not tell it. "
    "Set one in the console, or spec.release.window to Anytime",
    RESYNC,
)
ASKS_FOR_WINDOW = reconciling(
    Reason.PENDING,
    "Asking DescribeInstanceAttribute about r-bp1",
    ALLOCATED,
    seconds(0),
    asks=frozenset({Detail.WINDOW}),
)
SLOW_DOWN = cloud_error("Throttling", action="DescribeInstanceAttribute", reason=Reason.THROTTLED)
NOT_ASKED = reconciling(
    Reason.THROTTLED,
    "DescribeInstanceAttribute failed with Throttling: Come back later.",
    ALLOCATED,
    seconds(1),
    "failing: Throttled",
)
TOO_SHORT = stalled(
    Reason.INVALID_REQUEST,
    "A drain of 3600 s is too long for the maintenance window of r-bp1, 11:30-12:30 UTC: the drain and the call have "
    "to fit into it. Shorten spec.release.drainSeconds, or the least drain that the operator's settings ask for",
    ALLOCATED,
    planned=planned_with_drain(Reason.INVALID_REQUEST, 3600),
)
MAINTENANCE = guarded(window="Maintenance")

WINDOW = {
    "a release in the open window is made": in_window(time(11), time(13), release()),
    "a release before the window waits for it": in_window(time(12, 5), time(13), for_window("12:05-13:00", minutes(5))),
    "a release long before the window looks again at its own instant": in_window(
        time(20), time(21), for_window("20:00-21:00", RESYNC)
    ),
    "a release is made exactly when the window opens": in_window(time(12), time(13), release()),
    "a release is not made when the window ends": in_window(time(11), time(12), for_window("11:00-12:00", RESYNC)),
    "a release needs the deadline of its call and five seconds of the window": in_window(
        time(11), time(12, 0, 9), for_window("11:00-12:00", RESYNC)
    ),
    "a release is made in the last ten seconds that suffice": in_window(time(11), time(12, 0, 10), release()),
    "the drain has to fit into what is left of the window": in_window(
        time(11),
        time(12, 1, 9),
        altered(for_window("11:00-12:01", RESYNC), {"planned": planned_with_drain(Reason.WAITING_FOR_WINDOW, 60)}),
        drain_seconds=60,
    ),
    "a window across midnight is open in the morning": in_window(time(22), time(13), release()),
    "a window across midnight is open in the evening": in_window(time(11), time(2), release()),
    "a window across midnight is closed between its ends": in_window(
        time(12, 5), time(11, 55), for_window("12:05-11:55", minutes(5))
    ),
    "a window that is not known counts as closed": Case(MAINTENANCE, NOT_KNOWN),
    "a window that cannot hold the drain is an invalid request": in_window(
        time(11, 30), time(12, 30), TOO_SHORT, drain_seconds=3600
    ),
    "the window is asked for when a release depends on it": Case(
        MAINTENANCE, ASKS_FOR_WINDOW, observation(asked=frozenset())
    ),
    "a window that could not be asked for is asked for again": Case(
        MAINTENANCE, NOT_ASKED, observation(asked=frozenset()), context(obstacle=SLOW_DOWN)
    ),
    "a plan outlives that its window could not be asked for": Case(
        guarded(window="Maintenance", approval="Required", annotations=APPROVED, known=SHOWN),
        altered(NOT_ASKED, {"planned": SHOWN}),
        observation(asked=frozenset()),
        context(obstacle=SLOW_DOWN),
    ),
    "the settings may ask for the window": Case(
        resource(False),
        for_window("13:00-14:00", RESYNC),
        observation(window=LATER_HALF),
        context(policy=Policy(needs_window=True)),
    ),
    "the window that the settings ask for cannot be waived by the spec": Case(
        guarded(window="Anytime"),
        for_window("13:00-14:00", RESYNC),
        observation(window=LATER_HALF),
        context(policy=Policy(needs_window=True)),
    ),
    "without that nobody asks for the window": Case(
        guarded(window="Anytime"), release(), observation(asked=frozenset())
    ),
    "an allocation needs no window": Case(
        resource(True, release=ReleaseSpec(window="Maintenance"), status=status(RELEASED)),
        allocate(),
        observation(False, window=LATER_HALF),
    ),
}


def drains(length: float, left: float | None = None, since: datetime = NOW, **more: Any) -> Plan:
    message = f"Clients of r-bp1 have {length:g} s to leave before its endpoint is released"
    if more.get("publication") is Publication.WITHDRAW:
        message = f"The endpoint of r-bp1 is withdrawn; it is released after a drain of {length:g} s"
    again = seconds(length if left is None else left)
    made = planned(Reason.DRAINING, withdrawn_at=since)
    if left is None:
        made = planned_with_drain(Reason.DRAINING, length, withdrawn_at=since)
    fields = {"planned": made} | more
    # Whoever begins a drain goes on timing it.
    facts = [f"draining: {fields['planned'].id}"] if left is None else []
    return reconciling(Reason.DRAINING, message, ALLOCATED, again, *facts, **fields)


def midway(
    since: datetime = TWENTY_SECONDS_AGO, *, wanted: bool | None = False, suspend: bool | None = None, **more: Any
) -> TairInstance:
    """Return a resource in the middle of a drain of a minute."""
    spec = {"release": ReleaseSpec(drain_seconds=60), "publish": PUBLISH} | more.pop("spec", {})
    known = planned(Reason.DRAINING, withdrawn_at=since)
    annotations = more.pop("annotations", None)
    kept = status(ALLOCATED, plan=known, **more)
    return resource(wanted, suspend=suspend, annotations=annotations, status=kept, **spec)


DRAINING = f"draining: {PLAN_ID}"
DRAINED = planned(Reason.DRAINING, withdrawn_at=ago(60))

DRAIN = {
    "what is published is withdrawn before a release": Case(resource(False, publish=PUBLISH), drains(0, **WITHDRAWN)),
    "what is published no longer by the spec is withdrawn before a release as well": Case(
        resource(False, status=status(ALLOCATED, published={"secretName": "orders"})), drains(0, **WITHDRAWN)
    ),
    "what is withdrawn is released at the next look where no drain is asked for": Case(
        midway(NOW, spec={"release": None}), release(planned=planned(Reason.DRAINING, withdrawn_at=NOW), **WITHDRAWN)
    ),
    "clients get the drain that the spec asks for": Case(
        resource(False, publish=PUBLISH, release=ReleaseSpec(drain_seconds=60)), drains(60, **WITHDRAWN)
    ),
    "a drain without anything published is waited for as well": Case(guarded(drain_seconds=60), drains(60)),
    "the drain that the settings ask for is the least": Case(
        guarded(drain_seconds=60), drains(90), context=context(policy=Policy(drain=seconds(90)))
    ),
    "the drain that the spec asks for may be longer": Case(
        guarded(drain_seconds=60), drains(60), context=context(policy=Policy(drain=seconds(30)))
    ),
    "whoever began a drain measures it by a clock that nobody sets": Case(
        midway(ago(3600)),
        drains(60, 50, ago(3600), holds=frozenset({DRAINING}), **WITHDRAWN),
        context=context(seen={DRAINING: 11}),
    ),
    "a clock that was set back does not make a drain longer for whoever began it": Case(
        midway(NOW + minutes(60)),
        release(
            planned=planned(Reason.DRAINING, withdrawn_at=NOW + minutes(60)), holds=frozenset({DRAINING}), **WITHDRAWN
        ),
        context=context(seen={DRAINING: 61}),
    ),
    "a drain takes its time": Case(midway(), drains(60, 40, ago(20), **WITHDRAWN)),
    "a release follows when the drain is over": Case(midway(ago(60)), release(planned=DRAINED, **WITHDRAWN)),
    "a clock that was set back does not make the look later than the drain is long": Case(
        midway(NOW + minutes(60)), drains(60, 60, NOW + minutes(60), **WITHDRAWN)
    ),
    "a drain for another endpoint does not count": Case(
        midway(ago(60)),
        drains(
            60,
            **WITHDRAWN,
            planned=planned_with_drain(
                Reason.DRAINING,
                60,
                id=plan_id(vpc="x", expires=NOW + timedelta(hours=24, seconds=60)),
                withdrawn_at=NOW,
            ),
        ),
        observation(endpoints=(PROXY, endpoint(vpc_instance_id="x"))),
    ),
    "the window has to have room for what is left of the drain and no more": Case(
        midway(spec={"release": ReleaseSpec(drain_seconds=60, window="Maintenance")}),
        drains(60, 40, ago(20), **WITHDRAWN),
        observation(window=Window(time(11), time(12, 0, 50))),
    ),
    "an allocation does not drain": Case(
        resource(True, release=ReleaseSpec(drain_seconds=60), publish=PUBLISH, status=status(RELEASED)),
        allocate(**WITHDRAWN),
        GONE,
    ),
}

LOOK_FAILED = reconciling(
    Reason.CLOUD_UNREACHABLE,
    "DescribeInstances failed with ServiceUnavailable: Come back later.",
    ALLOCATED,
    seconds(1),
    "failing: CloudUnreachable",
)
NOT_SAID = reconciling(
    Reason.PENDING,
    "DescribeDBInstanceNetInfo did not say whether there is a direct connection; looking again",
    ALLOCATED,
    seconds(1),
    "presence unknown",
)
NO_CREDENTIALS = reconciling(
    Reason.CREDENTIALS_UNAVAILABLE,
    "ReleaseDirectConnection failed with NoCredentials: Come back later.",
    ALLOCATED,
    seconds(15),
    "trouble: CredentialsUnavailable",
)
UNPREPARED = cloud_error(
    "NoCredentials",
    action="ReleaseDirectConnection",
    error_class=ErrorClass.BLOCKED,
    reason=Reason.CREDENTIALS_UNAVAILABLE,
    sent=False,
)
KEPT: dict[str, Any] = {"planned": planned(Reason.DRAINING, withdrawn_at=ago(20))} | WITHDRAWN

INTERRUPTED = {
    "a fleet that is held has its endpoint back": Case(
        midway(), altered(HELD, PUBLISHED_AGAIN), context=context(held=True)
    ),
    "a budget that was spent meanwhile gives the endpoint back": Case(
        midway(), altered(OUT_OF_BUDGET, PUBLISHED_AGAIN), context=context(budget_wait=seconds(30))
    ),
    "an approval that was taken back gives the endpoint back": Case(
        midway(spec={"release": ReleaseSpec(drain_seconds=60, approval="Required")}),
        asked_by(SPEC_ASKS, **PUBLISHED_AGAIN),
    ),
    "an approval that lapsed gives the endpoint back": Case(
        resource(
            False,
            annotations={ANNOTATION_APPROVE: LAPSED.id},
            publish=PUBLISH,
            release=ReleaseSpec(drain_seconds=60, approval="Required"),
            status=status(ALLOCATED, plan=LAPSED.model_copy(update={"withdrawn_at": ago(20)})),
        ),
        asked_by(
            SPEC_ASKS,
            stale=STALE,
            plan=plan_id(expires=A_DAY_AND_A_DRAIN),
            planned=planned_with_drain(Reason.APPROVAL_REQUIRED, 60),
            **PUBLISHED_AGAIN,
        ),
    ),
    "an approval that would lapse before the drain is over starts none": Case(
        resource(
            False,
            annotations={ANNOTATION_APPROVE: plan_id(expires=NOW + seconds(60))},
            publish=PUBLISH,
            release=ReleaseSpec(drain_seconds=60, approval="Required"),
            status=status(
                ALLOCATED,
                plan=planned(
                    Reason.APPROVAL_REQUIRED, id=plan_id(expires=NOW + seconds(60)), expires_at=NOW + seconds(60)
                ),
            ),
        ),
        asked_by(
            SPEC_ASKS,
            stale=STALE,
            plan=plan_id(expires=A_DAY_AND_A_DRAIN),
            planned=planned_with_drain(Reason.APPROVAL_REQUIRED, 60),
            **PUBLISHED_AGAIN,
        ),
    ),
    "an approval that stands lets the drain go on": Case(
        midway(spec={"release": ReleaseSpec(drain_seconds=60, approval="Required")}, annotations=APPROVED),
        drains(60, 40, ago(20), **WITHDRAWN),
    ),
    "a window that closed gives the endpoint back": Case(
        midway(spec={"release": ReleaseSpec(drain_seconds=60, window="Maintenance")}),
        altered(for_window("13:00-14:00", RESYNC), PUBLISHED_AGAIN),
        observation(window=LATER_HALF),
    ),
    "a window that is no longer known gives the endpoint back": Case(
        midway(spec={"release": ReleaseSpec(drain_seconds=60, window="Maintenance")}),
        altered(NOT_KNOWN, PUBLISHED_AGAIN),
    ),
    "mode Observe gives the endpoint back": Case(midway(), altered(ONLY_PLANNED, PUBLISHED_AGAIN), context=OBSERVING),
    "a value that is wanted again gives the endpoint back": Case(
        midway(wanted=True), altered(IS_ALLOCATED, PUBLISHED_AGAIN)
    ),
    "a value that is no longer wanted gives the endpoint back": Case(
        midway(wanted=None),
        altered(
            IS_ALLOCATED,
            {
                "reason": Reason.OBSERVED,
                "message": "There is a direct connection; spec.directConnection is absent, so it is only observed",
                "reached": False,
            }
            | PUBLISHED_AGAIN,
        ),
    ),
    "a resource that is suspended gives the endpoint back": Case(
        midway(suspend=True), altered(SUSPENDED, {"state": ALLOCATED} | PUBLISHED_AGAIN), None
    ),
    "a busy instance takes nothing back": Case(
        midway(), reconciling(Reason.INSTANCE_BUSY, BUSY, ALLOCATED, seconds(1), "busy", **KEPT), CHANGING
    ),
    "a look that failed takes nothing back": Case(midway(), altered(LOOK_FAILED, KEPT), cloud_error()),
    "a look that shows nothing takes nothing back": Case(midway(), altered(NOT_SAID, KEPT), observation(None)),
    "a call that could not be prepared takes nothing back": Case(
        midway(ago(60)),
        altered(NO_CREDENTIALS, WITHDRAWN | {"planned": DRAINED}),
        context=context(obstacle=UNPREPARED),
    ),
    "a window that could not be asked for takes nothing back": Case(
        midway(spec={"release": ReleaseSpec(drain_seconds=60, window="Maintenance")}),
        altered(NOT_ASKED, KEPT),
        observation(asked=frozenset()),
        context(obstacle=SLOW_DOWN),
    ),
    "a busy refusal takes nothing back": Case(
        midway(operation=refused("IncorrectDBInstanceState")),
        reconciling(
            Reason.INSTANCE_BUSY,
            "ReleaseDirectConnection was refused with IncorrectDBInstanceState: Because of IncorrectDBInstanceState.",
            ALLOCATED,
            seconds(5),
            "refused: op-1",
            **KEPT,
        ),
        context=context(refusal=(ErrorClass.BUSY, Reason.INSTANCE_BUSY)),
    ),
    "a refusal that somebody has to mend gives the endpoint back": Case(
        midway(operation=refused("InvalidPort")),
        stalled(
            Reason.INVALID_REQUEST,
            "ReleaseDirectConnection was refused with InvalidPort: Because of InvalidPort.",
            ALLOCATED,
            requeue_after=minutes(10) - seconds(9),
            planned=planned(Reason.INVALID_REQUEST),
            **PUBLISHED_AGAIN,
        ),
        context=context(refusal=(ErrorClass.INVALID, Reason.INVALID_REQUEST)),
    ),
}

MENDED_BY = (
    "Its plan has lapsed; set annotation tair.alibabacloud.com/reconcile-requested-at to a new value to try again"
)
REFUSED_WORDS = "ReleaseDirectConnection was refused with InvalidPort: Because of InvalidPort"
INVALID = context(refusal=(ErrorClass.INVALID, Reason.INVALID_REQUEST))
LAPSED_BLOCKED = planned(Reason.INVALID_REQUEST, expires_at=NOW, id=plan_id(expires=NOW))
LONG_AGO = refused("InvalidPort", started_at=ago(90000), finished_at=ago(86400), attempt=50)
GIVEN_UP = stalled(Reason.INVALID_REQUEST, f"{REFUSED_WORDS}. {MENDED_BY}", ALLOCATED, planned=LAPSED_BLOCKED)


def refused_for_a_day(**more: Any) -> TairInstance:
    return resource(False, status=status(ALLOCATED, operation=LONG_AGO, plan=LAPSED_BLOCKED), **more)


BLOCKED = {
    "a release that stays refused is repeated while its plan lasts": Case(
        resource(False, status=status(ALLOCATED, operation=LONG_AGO, plan=planned(Reason.INVALID_REQUEST))),
        release(planned=planned(Reason.INVALID_REQUEST)),
        context=INVALID,
    ),
    "a release that stays refused is given up when its plan lapses": Case(
        refused_for_a_day(), GIVEN_UP, context=INVALID
    ),
    "a release whose plan lapsed is given up also before its next turn": Case(
        resource(
            False,
            status=status(ALLOCATED, operation=refused("InvalidPort"), plan=LAPSED_BLOCKED),
        ),
        GIVEN_UP,
        context=INVALID,
    ),
    "a release that was given up is tried again when somebody asks for it": Case(
        refused_for_a_day(annotations={"tair.alibabacloud.com/reconcile-requested-at": "1"}),
        release(),
        context=replace(INVALID, seen={"refused: op-1": seconds(5)}),
    ),
    "a release that was given up is tried again when the manifest changes": Case(
        refused_for_a_day(generation=2),
        release(),
        context=replace(INVALID, seen={"refused: op-1": seconds(5)}),
    ),
    "an allocation that stays refused is repeated for ever": Case(
        resource(
            True,
            status=status(
                RELEASED,
                operation=LONG_AGO.model_copy(update={"action": Action.ALLOCATE}),
                plan=LAPSED_BLOCKED.model_copy(update={"action": Action.ALLOCATE}),
            ),
        ),
        allocate(),
        GONE,
        INVALID,
    ),
    "an allocation that was refused pauses without a plan": Case(
        resource(True, status=status(RELEASED, operation=refused("InvalidPort", Action.ALLOCATE))),
        stalled(
            Reason.INVALID_REQUEST,
            "AllocateDirectConnection was refused with InvalidPort: Because of InvalidPort.",
            RELEASED,
            requeue_after=minutes(10) - seconds(9),
        ),
        GONE,
        INVALID,
    ),
}


def facts(*words: str) -> Plan:
    return stalled(Reason.INSTANCE_NOT_ELIGIBLE, f"r-bp1 is not eligible: {'; '.join(words)}", RELEASED)


CLUSTER = (
    "ArchitectureType is standard and has to be cluster; only cluster instances have a direct connection that can be "
    "allocated or released"
)
MACHINE = (
    "ComputingType is Ecs and has to be Machine; a cloud-native instance has a direct connection by its connection "
    "mode or not at all, and never by a call"
)
VPC = "NetworkType is CLASSIC and has to be VPC; move the instance into a VPC"
ENGINE = "EngineVersion is 2.8 and has to be 4.0 or 5.0; upgrade or replace the instance"
TLS = "TLS is on (SSLEnabled) and has to be off; switch it off for the instance"
WANTED = resource(True, status=status(RELEASED))
NOTHING_ASKED: frozenset[Detail] = frozenset()
SSL_ERROR = cloud_error(action="DescribeInstanceSSL")

ELIGIBILITY = {
    "an allocation needs a cluster": Case(WANTED, facts(CLUSTER), observation(False, architecture_type="standard")),
    "an allocation needs a classic instance": Case(WANTED, facts(MACHINE), observation(False, computing_type="Ecs")),
    "an allocation needs a VPC": Case(WANTED, facts(VPC), observation(False, network_type="CLASSIC")),
    "an allocation needs a version that has it": Case(WANTED, facts(ENGINE), observation(False, engine_version="2.8")),
    "the settings say which versions have it": Case(
        WANTED,
        allocate(),
        observation(False, engine_version="7.0"),
        context(policy=Policy(engine_versions=frozenset({"7.0"}))),
    ),
    "an allocation needs TLS to be off": Case(WANTED, facts(TLS), observation(False, tls=True)),
    "an allocation is told all that it needs at once": Case(
        WANTED,
        facts(CLUSTER, MACHINE, VPC, ENGINE, TLS),
        observation(
            False,
            architecture_type="standard",
            computing_type="Ecs",
            network_type="CLASSIC",
            engine_version="2.8",
            tls=True,
        ),
    ),
    "what the cloud does not tell rules out no allocation": Case(
        WANTED,
        allocate(),
        observation(
            False, architecture_type=None, computing_type=None, network_type=None, engine_version=None, tls=None
        ),
    ),
    "what rules out an allocation alone rules out no release": Case(
        resource(False), release(), observation(network_type="CLASSIC", engine_version="2.8", tls=True)
    ),
    "TLS is asked for when an allocation depends on it": Case(
        WANTED,
        reconciling(
            Reason.PENDING,
            "Asking DescribeInstanceSSL about r-bp1",
            RELEASED,
            seconds(0),
            asks=frozenset({Detail.TLS}),
        ),
        observation(False, asked=NOTHING_ASKED),
    ),
    "TLS is not asked for on an instance that is ruled out anyway": Case(
        WANTED, facts(MACHINE), observation(False, asked=NOTHING_ASKED, computing_type="Ecs")
    ),
    "TLS is not asked for while the instance is busy": Case(
        WANTED,
        reconciling(Reason.INSTANCE_BUSY, BUSY, RELEASED, seconds(1), "busy"),
        observation(False, "Changing", asked=NOTHING_ASKED),
    ),
    "TLS is not asked for by a release": Case(resource(False), release(), observation(asked=NOTHING_ASKED)),
    "TLS is not asked for where all is as wanted": Case(resource(True), IS_ALLOCATED, observation(asked=NOTHING_ASKED)),
    "TLS that could not be asked for is asked for again": Case(
        WANTED,
        reconciling(
            Reason.CLOUD_UNREACHABLE,
            "DescribeInstanceSSL failed with ServiceUnavailable: Come back later.",
            RELEASED,
            seconds(1),
            "failing: CloudUnreachable",
        ),
        observation(False, asked=NOTHING_ASKED),
        context(obstacle=SSL_ERROR),
    ),
}

CASES = table(FLEET, APPROVAL, WINDOW, DRAIN, INTERRUPTED, BLOCKED, ELIGIBILITY)


@pytest.mark.parametrize("sentence", CASES)
def test_decides(sentence: str) -> None:
    case = CASES[sentence]

    assert decide(case.resource, case.observed, case.context, NOW) == case.plan


EVERY_GUARD = {
    "owned_for": (seconds(0), None),
    "policy": (Policy(is_observing_only=True), Policy()),
    "held": (True, False),
    "budget_wait": (seconds(30), None),
}


def test_the_guards_are_asked_in_the_order_of_the_rules() -> None:
    asked, seen = dict.fromkeys(EVERY_GUARD), []
    spec: dict[str, Any] = {"approval": "Required", "window": "Maintenance", "drain_seconds": 60}
    shut: dict[str, Any] = {name: closed for name, (closed, _) in EVERY_GUARD.items()}
    for name in EVERY_GUARD:
        plan = decide(guarded(**spec), observation(window=LATER_HALF), context(**shut), NOW)
        seen.append((plan.action, plan.reason, plan.message.partition(" ")[0]))
        shut[name] = EVERY_GUARD[name][1]
    for waits, window in (
        (guarded(**spec), LATER_HALF),
        (guarded(**spec, annotations=APPROVED, known=SHOWN), LATER_HALF),
        (guarded(**spec, annotations=APPROVED, known=SHOWN), EARLIER_HALF),
        (guarded(**spec, annotations=APPROVED, known=DRAINED), EARLIER_HALF),
    ):
        plan = decide(waits, observation(window=window), context(**shut), NOW)
        seen.append((plan.action, plan.reason, plan.message.partition(" ")[0]))

    assert asked.keys() == EVERY_GUARD.keys()
    assert seen == [
        (None, Reason.PENDING, "Another"),
        (None, Reason.PENDING, "The"),
        (None, Reason.RELEASES_HELD, "Releases"),
        (None, Reason.RELEASE_BUDGET, "The"),
        (None, Reason.APPROVAL_REQUIRED, "ReleaseDirectConnection"),
        (None, Reason.WAITING_FOR_WINDOW, "The"),
        (None, Reason.DRAINING, "Clients"),
        (Action.RELEASE, Reason.RELEASING, "Releasing"),
    ]


@pytest.mark.parametrize(
    ("start", "end", "clock", "room", "opens_in"),
    [
        pytest.param(time(2), time(6), time(2), 10, None, id="exactly at the start"),
        pytest.param(time(2), time(6), time(1, 59, 59), 10, seconds(1), id="a second before the start"),
        pytest.param(time(2), time(6), time(5, 59, 50), 10, None, id="just enough room"),
        pytest.param(time(2), time(6), time(5, 59, 51), 10, timedelta(hours=20, seconds=9), id="too little room"),
        pytest.param(time(2), time(6), time(6), 10, timedelta(hours=20), id="exactly at the end"),
        pytest.param(time(2), time(6), time(6), 0, timedelta(hours=20), id="exactly at the end, without any room"),
        pytest.param(time(23), time(3), time(23), 10, None, id="across midnight, at the start"),
        pytest.param(time(23), time(3), time(0), 10, None, id="across midnight, at midnight"),
        pytest.param(time(23), time(3), time(2, 59), 10, None, id="across midnight, before the end"),
        pytest.param(time(23), time(3), time(3), 10, timedelta(hours=20), id="across midnight, at the end"),
        pytest.param(time(23), time(3), time(23), 5 * 3600, DAY, id="never enough room: tomorrow again"),
        pytest.param(time(18), time(0), time(23, 59), 10, None, id="until midnight"),
        pytest.param(time(18), time(0), time(0), 10, timedelta(hours=18), id="until midnight, at midnight"),
        pytest.param(time(0), time(0), time(0), 10, DAY, id="empty"),
        pytest.param(time(2), time(6), time(5, 59, 49, 999999), 10, None, id="fractions of a second count"),
    ],
)
def test_the_window_opens_in(
    start: time,
    end: time,
    clock: time,
    room: float,
    opens_in: timedelta | None,
) -> None:
    now = datetime.combine(NOW.date(), clock, NOW.tzinfo)

    assert opening(Window(start, end), now, seconds(room)) == opens_in


def test_the_window_is_in_utc_whatever_the_zone_of_the_clock() -> None:
    elsewhere = NOW.astimezone(datetime.strptime("+0800", "%z").tzinfo)
    plan = decide(guarded(window="Maintenance"), observation(window=EARLIER_HALF), context(), elsewhere)

    assert plan.action is Action.RELEASE


def test_a_drain_is_not_shortened_by_storing_its_beginning_to_the_second() -> None:
    plan = decide(guarded(drain_seconds=60), observation(), context(), NOW + timedelta(microseconds=1))

    assert plan.planned is not None
    assert plan.planned.withdrawn_at == NOW + seconds(1)


STALLED = [
    condition("Ready", "False", Reason.APPROVAL_REQUIRED),
    condition("Stalled", "True", Reason.APPROVAL_REQUIRED),
]


@pytest.mark.parametrize(
    ("annotations", "due"),
    [({}, RESYNC), ({ANNOTATION_APPROVE: "another"}, RESYNC), (APPROVED, seconds(0))],
)
def test_an_approval_that_came_while_nobody_watched_is_due_at_once(annotations: dict[str, str], due: timedelta) -> None:
    listed = resource(False, annotations=annotations, status=status(ALLOCATED, plan=SHOWN, conditions=STALLED))

    assert Listed.of(listed, NOW).until_due(Policy(), NOW) == due


def test_who_has_no_plan_cannot_have_approved_it() -> None:
    listed = resource(False, annotations=APPROVED, status=status(ALLOCATED, conditions=STALLED))

    assert Listed.of(listed, NOW).until_due(Policy(), NOW) == RESYNC
