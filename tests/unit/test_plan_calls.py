"""The specification of what the operator calls: one sentence for each situation, and the whole plan that follows.

It goes on where ``test_plan.py`` ends: what was seen differs from what is wanted. A release has every guard on it and
an allocation has not, so where the two differ both stand here.
"""

# ruff: noqa: ANN401 - what is not named goes on to a builder

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    ConnectionState,
    DriftPolicy,
    Operation,
    Outcome,
    Reason,
    ReleaseSpec,
    TairInstance,
)
from tair_operator.plan import decide
from tair_operator.ports import ErrorClass
from tair_operator.situation import Grant
from tair_operator.stance import Plan
from tests.builders import (
    ALLOCATED,
    ALLOCATING,
    BUSY,
    CHANGING,
    EVERYTHING,
    GONE,
    IS_ALLOCATED,
    IS_RELEASED,
    NOW,
    RELEASED,
    RELEASING,
    Case,
    ago,
    allocate,
    altered,
    cloud_error,
    context,
    minutes,
    observation,
    operation,
    planned,
    ready_status,
    reconciling,
    refused,
    release,
    resource,
    seconds,
    stalled,
    status,
    table,
)

BY_RELEASE = operation(outcome=Outcome.SUCCEEDED, drift=True)
AFTER_FIRST = {"started_at": ago(100), "finished_at": ago(90)}
REMEDY = "Set spec.driftPolicy to Correct to change it back, or spec.directConnection to what is there"


def drifted(wanted: bool, policy: DriftPolicy | None = None, **more: Any) -> TairInstance:  # noqa: FBT001
    return resource(wanted, drift_policy=policy, status=ready_status(wanted, **more))


def drift(verb: str, policy: str, state: ConnectionState) -> Plan:
    message = f"Somebody else {verb} the direct connection, and driftPolicy {policy} only reports that. {REMEDY}"
    return stalled(Reason.DRIFT_DETECTED, message, state, drift=verb == "allocated")


CONTESTED = stalled(
    Reason.CONTESTED,
    "Somebody else allocated the direct connection again after a release that corrected the same. "
    "Find out who, then set spec.directConnection to true and back to false",
    ALLOCATED,
    drift=True,
)
TWICE_GONE = context(seen={"absent and Normal": 5})

REACHED_AND_DRIFT = {
    "an endpoint on a busy instance is not reached yet": Case(
        resource(True), reconciling(Reason.INSTANCE_BUSY, BUSY, ALLOCATED, seconds(1), "busy"), CHANGING
    ),
    "an instance that is busy later stays Ready": Case(
        resource(True, status=ready_status(True)), IS_ALLOCATED, CHANGING
    ),
    "a released one that is busy later stays Ready": Case(
        resource(False, status=ready_status(False)), IS_RELEASED, observation(False, "Changing")
    ),
    "an endpoint that somebody allocated is only reported": Case(
        drifted(False), drift("allocated", "AllocateOnly", ALLOCATED)
    ),
    "an endpoint that somebody allocated is only reported with AllocateOnly": Case(
        drifted(False, DriftPolicy.ALLOCATE_ONLY), drift("allocated", "AllocateOnly", ALLOCATED)
    ),
    "an endpoint that somebody allocated is only reported with Report": Case(
        drifted(False, DriftPolicy.REPORT), drift("allocated", "Report", ALLOCATED)
    ),
    "an endpoint that somebody allocated is released with Correct": Case(
        drifted(False, DriftPolicy.CORRECT), release(corrects_drift=True, drift=True)
    ),
    "an endpoint that somebody allocated again is released only once": Case(
        drifted(False, DriftPolicy.CORRECT, operation=BY_RELEASE), CONTESTED
    ),
    "a release that was no correction does not count as one": Case(
        drifted(False, DriftPolicy.CORRECT, operation=operation(outcome=Outcome.SUCCEEDED), reached_at=ago(9)),
        release(corrects_drift=True, drift=True),
    ),
    "an endpoint that somebody released is allocated again": Case(
        drifted(True), allocate(corrects_drift=True, drift=False), GONE, TWICE_GONE
    ),
    "an endpoint that somebody released is allocated again with Correct": Case(
        drifted(True, DriftPolicy.CORRECT), allocate(corrects_drift=True, drift=False), GONE, TWICE_GONE
    ),
    "an endpoint that somebody released is only reported with Report": Case(
        drifted(True, DriftPolicy.REPORT), drift("released", "Report", RELEASED), GONE, TWICE_GONE
    ),
    "an endpoint that somebody released is allocated again and again": Case(
        drifted(True, operation=operation(Action.ALLOCATE, Outcome.SUCCEEDED, drift=True), reached_at=ago(9)),
        allocate(corrects_drift=True, drift=False),
        GONE,
        TWICE_GONE,
    ),
    "a changed wish is no drift": Case(resource(False, generation=2, status=ready_status(True)), release()),
    "what our own call left behind when the wish changed and changed back is no drift": Case(
        resource(False, status=status(ALLOCATING, operation=operation(Action.ALLOCATE))),
        release(outcome=Outcome.SUCCEEDED),
    ),
    "what was reached after our last call and changed since is drift": Case(
        drifted(False, operation=operation(Action.ALLOCATE, Outcome.SUCCEEDED)),
        drift("allocated", "AllocateOnly", ALLOCATED),
    ),
}


def ineligible(fact: str) -> Plan:
    return stalled(Reason.INSTANCE_NOT_ELIGIBLE, f"r-bp1 is not eligible: {fact}", ALLOCATED)


MACHINE = (
    "ComputingType is Ecs and has to be Machine; a cloud-native instance has a direct connection by its connection "
    "mode or not at all, and never by a call"
)
CLUSTER = (
    "ArchitectureType is standard and has to be cluster; only cluster instances have a direct connection that can be "
    "allocated or released"
)

ELIGIBILITY = {
    "a cloud-native instance is not eligible": Case(
        resource(False), ineligible(MACHINE), observation(computing_type="Ecs")
    ),
    "an instance that is no cluster is not eligible": Case(
        resource(False), ineligible(CLUSTER), observation(architecture_type="standard")
    ),
    "an instance of which the cloud tells no types may be eligible": Case(
        resource(False), release(), observation(computing_type=None, architecture_type=None)
    ),
    "nothing is released on a busy instance": Case(
        resource(False), reconciling(Reason.INSTANCE_BUSY, BUSY, ALLOCATED, seconds(1), "busy"), CHANGING
    ),
    "nothing is allocated on a busy instance": Case(
        resource(True, status=ready_status(False)),
        reconciling(Reason.INSTANCE_BUSY, BUSY, RELEASED, seconds(3), "busy"),
        observation(False, "Changing"),
        context(seen={"busy": 6}),
    ),
    "an instance that will never be Normal is not waited for": Case(
        resource(False),
        ineligible("InstanceStatus is Inactive; the instance has to be Normal"),
        observation(state="Inactive"),
    ),
}

TRANSIENT = (ErrorClass.TRANSIENT, Reason.THROTTLED)
BUSY_CODE = (ErrorClass.BUSY, Reason.INSTANCE_BUSY)
BLOCKED = (ErrorClass.BLOCKED, Reason.ACCESS_DENIED)
INVALID = (ErrorClass.INVALID, Reason.INVALID_REQUEST)
CONFIRM = (ErrorClass.CONFIRM, Reason.OUTCOME_UNKNOWN)


def after(operation: Operation, **more: Any) -> TairInstance:
    """Return a resource that wants a release, after an operation of it."""
    return resource(False, status=status(ALLOCATED, operation=operation, **more))


def refusal(code: str, reason: Reason, again: timedelta) -> Plan:
    message = f"ReleaseDirectConnection was refused with {code}: Because of {code}."
    return reconciling(reason, message, ALLOCATED, again, "refused: op-1")


def repeated(code: str, meaning: tuple[ErrorClass, Reason], age: float, plan: Plan, attempt: int = 1) -> Case:
    asked = context(refusal=meaning, seen={"refused: op-1": age})
    return Case(after(refused(code, attempt=attempt)), plan, context=asked)


NOT_SENT = operation(outcome=Outcome.NOT_SENT, code="ConnectionFailed", message="No route.")
DENIED = "ReleaseDirectConnection was refused with Forbidden.RAM: Because of Forbidden.RAM."
INVALID_MESSAGE = "ReleaseDirectConnection was refused with InvalidPort: Because of InvalidPort."
DENIED_LONG_AGO = refused("Forbidden.RAM", finished_at=NOW - minutes(10))
ASKED = {ANNOTATION_RECONCILE: "1"}

REFUSALS = {
    "a call that was not sent is repeated after a second": Case(
        after(NOT_SENT),
        reconciling(
            Reason.CLOUD_UNREACHABLE,
            "ReleaseDirectConnection was not sent: No route.",
            ALLOCATED,
            seconds(1),
            "refused: op-1",
        ),
        context=context(refusal=TRANSIENT),
    ),
    "a call that Kubernetes was too slow for does not blame the cloud": Case(
        after(NOT_SENT.model_copy(update={"code": None})),
        reconciling(
            Reason.PENDING, "ReleaseDirectConnection was not sent: No route.", ALLOCATED, seconds(1), "refused: op-1"
        ),
    ),
    "a call that was not sent is sent when the second is over": Case(
        after(NOT_SENT), release(), context=context(seen={"refused: op-1": 1})
    ),
    "a call that is not sent again and again waits up to a minute": Case(
        after(NOT_SENT.model_copy(update={"attempt": 30})),
        reconciling(
            Reason.CLOUD_UNREACHABLE,
            "ReleaseDirectConnection was not sent: No route.",
            ALLOCATED,
            seconds(20),
            "refused: op-1",
        ),
        context=context(seen={"refused: op-1": 40}),
    ),
    "a throttled call pauses": repeated(
        "Throttling.User", TRANSIENT, 0, refusal("Throttling.User", Reason.THROTTLED, seconds(5))
    ),
    "a throttled call goes on after its pause": repeated("Throttling.User", TRANSIENT, 5, release()),
    "a call that is throttled again pauses twice as long": repeated(
        "Throttling.User", TRANSIENT, 5, refusal("Throttling.User", Reason.THROTTLED, seconds(5)), 2
    ),
    "a long pause is spent looking": repeated(
        "Throttling.User", TRANSIENT, 0, refusal("Throttling.User", Reason.THROTTLED, seconds(30)), 9
    ),
    "the pause of a throttled call ends at ten minutes": repeated("Throttling.User", TRANSIENT, 600, release(), 99),
    "a call on a busy instance is not repeated within five seconds": repeated(
        "TaskHasExist", BUSY_CODE, 4, refusal("TaskHasExist", Reason.INSTANCE_BUSY, seconds(1))
    ),
    "a call on a busy instance is repeated then": repeated("TaskHasExist", BUSY_CODE, 5, release()),
    "the pause of a call on a busy instance ends at five minutes": repeated(
        "TaskHasExist", BUSY_CODE, 300, release(), 99
    ),
    "a release that the cloud calls done while the endpoint is there is looked at for the settling time": repeated(
        "NetTypeNotExists",
        CONFIRM,
        299,
        reconciling(
            Reason.OUTCOME_UNKNOWN,
            "ReleaseDirectConnection was answered with NetTypeNotExists, but a look shows otherwise; looking again",
            ALLOCATED,
            seconds(1),
            "refused: op-1",
        ),
    ),
    "a release that the cloud calls done is made again after the settling time": repeated(
        "NetTypeNotExists", CONFIRM, 300, release()
    ),
    "a release that the cloud calls done is believed at the second look": Case(
        resource(False, status=status(RELEASING, operation=refused("NetTypeNotExists"))),
        IS_RELEASED,
        GONE,
        context(refusal=CONFIRM, seen={"absent and Normal": 5}),
    ),
    "a denied call waits out the grace": repeated(
        "Forbidden.RAM",
        BLOCKED,
        0,
        reconciling(
            Reason.ACCESS_DENIED,
            DENIED,
            ALLOCATED,
            seconds(15),
            "trouble: AccessDenied",
            "refused: op-1",
            planned=planned(Reason.ACCESS_DENIED),
        ),
    ),
    "a denied call stalls after the grace": Case(
        after(refused("Forbidden.RAM")),
        stalled(
            Reason.ACCESS_DENIED,
            DENIED,
            ALLOCATED,
            "trouble: AccessDenied",
            requeue_after=minutes(10) - seconds(9),
            planned=planned(Reason.ACCESS_DENIED),
        ),
        context=context(refusal=BLOCKED, seen={"trouble: AccessDenied": 120}),
    ),
    "an invalid call stalls at once": Case(
        after(refused("InvalidPort")),
        stalled(
            Reason.INVALID_REQUEST,
            INVALID_MESSAGE,
            ALLOCATED,
            requeue_after=minutes(10) - seconds(9),
            planned=planned(Reason.INVALID_REQUEST),
        ),
        context=context(refusal=INVALID),
    ),
    "a denied call is made again after ten minutes": Case(
        after(DENIED_LONG_AGO), release(), context=context(refusal=BLOCKED)
    ),
    "a call that is denied again waits twice as long": Case(
        after(refused("InvalidPort", finished_at=NOW - minutes(10), attempt=2)),
        stalled(
            Reason.INVALID_REQUEST,
            INVALID_MESSAGE,
            ALLOCATED,
            requeue_after=minutes(10),
            planned=planned(Reason.INVALID_REQUEST),
        ),
        context=context(refusal=INVALID),
    ),
    "a call that is denied for ever is made every six hours": Case(
        after(refused("Forbidden.RAM", finished_at=NOW - timedelta(hours=6), attempt=50)),
        release(),
        context=context(refusal=BLOCKED),
    ),
    "a refusal without an end counts from its start": Case(
        after(refused("Forbidden.RAM", started_at=NOW - minutes(10), finished_at=None)),
        release(),
        context=context(refusal=BLOCKED),
    ),
    "a denied call is made again when the instance has changed": Case(
        after(refused("Forbidden.RAM", instance="cluster Machine 4.0 VPC")),
        release(),
        context=context(refusal=BLOCKED),
    ),
    "a fact that the cloud did not tell once is no change of the instance": Case(
        after(refused("Forbidden.RAM", instance="cluster Machine - VPC")),
        stalled(
            Reason.ACCESS_DENIED,
            DENIED,
            ALLOCATED,
            "trouble: AccessDenied",
            requeue_after=minutes(10) - seconds(9),
            planned=planned(Reason.ACCESS_DENIED),
        ),
        context=context(refusal=BLOCKED, seen={"trouble: AccessDenied": 120}),
    ),
    "a call that was refused for its credentials is repeated as soon as a look is let in": repeated(
        "InvalidAccessKeyId.NotFound", (ErrorClass.BLOCKED, Reason.CREDENTIALS_INVALID), 5, release()
    ),
    "a denied call is made again when the spec has changed": Case(
        resource(False, generation=2, status=status(ALLOCATED, operation=refused("Forbidden.RAM"))),
        release(),
        context=context(refusal=BLOCKED, seen={"refused: op-1": 5}),
    ),
    "a denied call is made again when somebody asks for it": Case(
        resource(False, annotations=ASKED, status=status(ALLOCATED, operation=refused("Forbidden.RAM"))),
        release(),
        context=context(refusal=BLOCKED, seen={"refused: op-1": 5}),
    ),
    "a denied call is not repeated faster by editing faster": Case(
        resource(False, generation=2, status=status(ALLOCATED, operation=refused("Forbidden.RAM"))),
        refusal("Forbidden.RAM", Reason.ACCESS_DENIED, seconds(5)),
        context=context(refusal=BLOCKED),
    ),
    "a call with an unknown code that had no effect is denied like any other": Case(
        after(operation(outcome=Outcome.FAILED, code="New.Code", message="Because of New.Code.", finished_at=ago(9))),
        stalled(
            Reason.INVALID_REQUEST,
            "ReleaseDirectConnection was refused with New.Code: Because of New.Code.",
            ALLOCATED,
            requeue_after=minutes(10) - seconds(9),
            planned=planned(Reason.INVALID_REQUEST),
        ),
        context=context(refusal=INVALID),
    ),
    "a call whose answer was lost and that had no effect is made again": Case(
        after(operation(outcome=Outcome.FAILED, code="NoAnswer", finished_at=ago(9))),
        release(),
        context=context(refusal=TRANSIENT),
    ),
    "an edit does not end the five seconds after a refusal": Case(
        resource(False, generation=2, status=status(ALLOCATED, operation=refused("Throttling.User", attempt=9))),
        refusal("Throttling.User", Reason.THROTTLED, seconds(1)),
        context=context(refusal=TRANSIENT, seen={"refused: op-1": 4}),
    ),
    "an edit ends a longer pause": Case(
        resource(False, generation=2, status=status(ALLOCATED, operation=refused("Throttling.User", attempt=9))),
        release(),
        context=context(refusal=TRANSIENT, seen={"refused: op-1": 5}),
    ),
    "a request does not end the five seconds after a refusal, and waits for their end": Case(
        resource(False, annotations=ASKED, status=status(ALLOCATED, operation=refused("TaskHasExist"))),
        altered(refusal("TaskHasExist", Reason.INSTANCE_BUSY, seconds(5)), {"keeps_request": True}),
        context=context(refusal=BUSY_CODE),
    ),
    "what was asked for once is not asked for again": Case(
        resource(
            False,
            annotations=ASKED,
            status=status(ALLOCATED, operation=refused("InvalidPort"), last_handled_reconcile_at="1"),
        ),
        stalled(
            Reason.INVALID_REQUEST,
            INVALID_MESSAGE,
            ALLOCATED,
            requeue_after=minutes(10) - seconds(9),
            planned=planned(Reason.INVALID_REQUEST),
        ),
        context=context(refusal=INVALID),
    ),
    "a refused allocation says nothing about a release": Case(
        after(refused("Forbidden.RAM", Action.ALLOCATE)), release(), context=context(refusal=BLOCKED)
    ),
    "an operation that succeeded before is no attempt of this one": Case(
        after(operation(outcome=Outcome.SUCCEEDED)), release()
    ),
}

FAILURES = [operation(outcome=Outcome.FAILED, id=f"op-{number}") for number in (1, 2, 3)]
OLDER = FAILURES[2].model_copy(update={"generation": 0})
NO_EFFECT = stalled(
    Reason.OUTCOME_UNKNOWN,
    "3 calls of ReleaseDirectConnection had no visible effect. Look at the instance in the console, then set "
    "annotation tair.alibabacloud.com/reconcile-requested-at to a new value to try again",
    ALLOCATED,
)
MANAGED = (
    "The older TairInstance team/first manages r-bp1 already. Delete one of the two; until then this one calls nothing"
)
STRANGE = operation(id="strange")
STRANGE_ALLOCATION = operation(Action.ALLOCATE, id="strange")


def stranger_waits(action: str) -> Plan:
    message = (
        f"{action} was called for another TairInstance of r-bp1 and may still take effect; "
        "nothing is called before that has settled"
    )
    return reconciling(Reason.OUTCOME_UNKNOWN, message, ALLOCATED, seconds(4.5), is_taking_over=True)


NO_CREDENTIALS = cloud_error(
    "NoCredentials",
    action="ReleaseDirectConnection",
    message="There are none.",
    error_class=ErrorClass.BLOCKED,
    reason=Reason.CREDENTIALS_UNAVAILABLE,
    sent=False,
)

LAST_CHECKS = {
    "a release without effect is made a third time": Case(after(FAILURES[0], history=FAILURES[:2]), release()),
    "after three releases without effect a person has to look": Case(after(FAILURES[0], history=FAILURES), NO_EFFECT),
    "the third release without effect counts in the pass that settles it": Case(
        after(operation(id="op-0"), history=FAILURES[:2]),
        altered(NO_EFFECT, {"outcome": Outcome.FAILED}),
        context=context(seen={"in doubt: op-0": 300, "unchanged: op-0": 5}),
    ),
    "releases without effect stay counted when a later one is not sent": Case(
        after(NOT_SENT.model_copy(update={"id": "op-0"}), history=FAILURES),
        altered(NO_EFFECT, {"holds": frozenset({"refused: op-0"})}),
        context=context(seen={"refused: op-0": 60}),
    ),
    "releases without effect for an older spec do not count": Case(
        after(FAILURES[0], history=[*FAILURES[:2], OLDER]), release()
    ),
    "after three releases without effect somebody may ask for another": Case(
        resource(False, annotations=ASKED, status=status(ALLOCATED, operation=FAILURES[0], history=FAILURES)),
        release(),
    ),
    "allocations without effect are never given up": Case(
        resource(
            True,
            status=status(
                ALLOCATING,
                operation=operation(Action.ALLOCATE, Outcome.FAILED, id="op-4"),
                history=[operation(Action.ALLOCATE, Outcome.FAILED, id=f"op-{number}") for number in range(5)],
            ),
        ),
        allocate(),
        GONE,
    ),
    "a release is held while the fleet switch says so": Case(
        resource(False),
        reconciling(
            Reason.RELEASES_HELD,
            "Releases are held for the whole fleet (releases: Hold in the operator's access list)",
            ALLOCATED,
            minutes(1),
            planned=planned(Reason.RELEASES_HELD),
        ),
        context=replace(context(), grant=Grant(EVERYTHING, are_releases_held=True)),
    ),
    "an allocation is not held by the fleet switch": Case(
        resource(True, status=status(RELEASED)),
        allocate(),
        GONE,
        replace(context(), grant=Grant(EVERYTHING, are_releases_held=True)),
    ),
    "a call for another resource that may still take effect blocks a release": Case(
        resource(False), stranger_waits("ReleaseDirectConnection"), context=context(stranger=(STRANGE, seconds(9)))
    ),
    "it also keeps what is there from being called ready": Case(
        resource(True), stranger_waits("ReleaseDirectConnection"), context=context(stranger=(STRANGE, seconds(9)))
    ),
    "a call for another resource blocks no longer than the settling time": Case(
        resource(False), release(), context=context(stranger=(STRANGE, seconds(300)))
    ),
    "a call for another resource whose effect is seen blocks nothing": Case(
        resource(False), release(), context=context(stranger=(STRANGE_ALLOCATION, seconds(9)))
    ),
    "a resource that is being deleted calls nothing": Case(
        resource(False, deleted=NOW),
        reconciling(
            Reason.PENDING,
            "The resource is being deleted; the direct connection is left as it is",
            ALLOCATED,
            None,
            lets_go=True,
        ),
    ),
    "an instance that an older resource manages is not called for": Case(
        resource(False),
        reconciling(
            Reason.INSTANCE_ALREADY_MANAGED,
            MANAGED,
            ALLOCATED,
            seconds(15),
            "trouble: InstanceAlreadyManaged",
            is_taking_over=True,
        ),
        context=context(owner="team/first"),
    ),
    "an instance that an older resource manages stalls after the grace": Case(
        resource(False),
        stalled(
            Reason.INSTANCE_ALREADY_MANAGED,
            MANAGED,
            ALLOCATED,
            "trouble: InstanceAlreadyManaged",
            requeue_after=minutes(1),
            is_taking_over=True,
        ),
        context=context(owner="team/first", seen={"trouble: InstanceAlreadyManaged": 120}),
    ),
    "a call that could not be prepared is not made": Case(
        resource(False),
        reconciling(
            Reason.CREDENTIALS_UNAVAILABLE,
            "ReleaseDirectConnection failed with NoCredentials: There are none.",
            ALLOCATED,
            seconds(15),
            "trouble: CredentialsUnavailable",
        ),
        context=context(obstacle=NO_CREDENTIALS),
    ),
}

CASES = table(REACHED_AND_DRIFT, ELIGIBILITY, REFUSALS, LAST_CHECKS)


@pytest.mark.parametrize("sentence", CASES)
def test_decides(sentence: str) -> None:
    case = CASES[sentence]

    assert decide(case.resource, case.observed, case.context, NOW) == case.plan


def test_a_try_that_somebody_asked_for_outlives_the_wait_for_an_approval() -> None:
    kept = status(ALLOCATED, operation=refused("Forbidden.RAM"))
    asked = resource(False, annotations=ASKED, release=ReleaseSpec(approval="Required"), status=kept)
    plan = decide(asked, observation(), context(refusal=BLOCKED, seen={"refused: op-1": 5}), NOW)

    assert plan.reason is Reason.APPROVAL_REQUIRED
    assert plan.keeps_request is True


def test_a_plan_is_kept_while_its_call_is_in_doubt_whatever_is_seen() -> None:
    shown = planned(Reason.DRAINING, id="of-an-endpoint-that-is-going")
    asked = resource(False, status=status(RELEASING, operation=operation(), plan=shown))
    plan = decide(asked, observation(state="Changing"), context(), NOW)

    assert plan.planned == shown
