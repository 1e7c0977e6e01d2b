"""The specification of a deletion: what is let go at once, what is released first, and what holds it with a way out."""

# ruff: noqa: ANN401 - what is not named goes on to a builder

from datetime import time
from typing import Any

import pytest

from tair_operator.models import (
    ANNOTATION_APPROVE,
    FINALIZER,
    Action,
    DriftPolicy,
    Outcome,
    PublishSpec,
    ReachedStatus,
    Reason,
    ReleaseSpec,
    TairInstance,
)
from tair_operator.plan import decide
from tair_operator.ports import ErrorClass, Observation, Window
from tair_operator.situation import Policy, Situation, Verb, endpoint_id
from tair_operator.stance import Plan, Publication
from tests.builders import (
    ALLOCATED,
    ALLOCATING,
    BUSY,
    CHANGING,
    GONE,
    HINT,
    NOW,
    PLAN_ID,
    RELEASED,
    RELEASING,
    RESYNC,
    SECOND_LOOK,
    SUSPENDED,
    THERE,
    UNDER_WAY,
    Case,
    ago,
    altered,
    cloud_error,
    context,
    denied,
    endpoint,
    minutes,
    observation,
    only,
    operation,
    planned,
    planned_with_drain,
    reconciling,
    release,
    resource,
    seconds,
    stalled,
    status,
    table,
)

WAY_OUT = "The deletion waits for the release; set spec.deletionPolicy to Retain to end it without one"
LEFT = "the direct connection is left as it is"
OUR_ENDPOINT = endpoint_id(endpoint())


def reached(direct_connection: bool = True, *, ours: bool = True) -> ReachedStatus:  # noqa: FBT001, FBT002
    known = OUR_ENDPOINT if ours else None
    return ReachedStatus(direct_connection=direct_connection, endpoint_id=known, time=ago(3600))


def deleted(
    wanted: bool | None = True,  # noqa: FBT001, FBT002
    *,
    known: ReachedStatus | None = None,
    state: Any = ALLOCATED,
    policy: Any = "Release",
    finalizers: list[str] | None = None,
    annotations: dict[str, str] | None = None,
    spec: dict[str, Any] | None = None,
    **more: Any,
) -> TairInstance:
    """Return a resource that somebody deleted, that allocated its endpoint, and that is to release it first."""
    kept = status(state, **more).model_copy(update={"reached": known or reached()})
    return resource(
        wanted,
        deleted=NOW,
        deletion_policy=policy,
        finalizers=[FINALIZER] if finalizers is None else finalizers,
        annotations=annotations,
        status=kept,
        **(spec or {}),
    )


def held(plan: Plan, **more: object) -> Plan:
    """Return the plan of a deletion that waits: it says what to do about it."""
    return altered(plan, {"message": f"{plan.message.rstrip('.')}. {WAY_OUT}"} | more)


def let_go(message: str, state: Any = ALLOCATED, **more: object) -> Plan:
    return reconciling(Reason.PENDING, message, state, None, lets_go=True, **more)


LEFT_ALONE = let_go(f"The resource is being deleted; {LEFT}")
NOT_ASKED_TO = {
    "Retain leaves the direct connection as it is": Case(deleted(policy="Retain"), LEFT_ALONE),
    "a deletion policy that is absent is Retain": Case(deleted(policy=None), LEFT_ALONE),
    "Release that was set after the deletion comes too late": Case(
        deleted(finalizers=["somebody.else/waits"]), LEFT_ALONE
    ),
    "Release has nothing to release where nothing was ever wanted": Case(deleted(None), LEFT_ALONE),
    "Retain lets go also while the deletion was waiting for an approval": Case(
        deleted(policy="Retain", plan=planned(Reason.APPROVAL_REQUIRED)), LEFT_ALONE
    ),
}

NOT_OURS = "the resource is being deleted and its endpoint was not allocated for it"


def needs_approval(why: str) -> Plan:
    message = (
        f"ReleaseDirectConnection of r-bp1 waits for an approval, because {why}. Approve with: kubectl -n shop "
        f"annotate --overwrite tairinstance orders-cache tair.alibabacloud.com/approve-release={PLAN_ID}"
    )
    return held(stalled(Reason.APPROVAL_REQUIRED, message, ALLOCATED, planned=planned(Reason.APPROVAL_REQUIRED)))


APPROVED: dict[str, Any] = {"annotations": {ANNOTATION_APPROVE: PLAN_ID}, "plan": planned(Reason.APPROVAL_REQUIRED)}
ALLOCATION = operation(Action.ALLOCATE)
LEFT_BY_ALLOCATION = reached(False, ours=False).model_copy(update={"left_by": ALLOCATION.id})
ONLY_REPORTED = {"drift_policy": DriftPolicy.REPORT}
ALLOCATES = reconciling(
    Reason.ALLOCATING, "Allocating the direct connection of r-bp1", ALLOCATING, seconds(1), "in doubt: op-1"
)

RELEASED_FIRST = {
    "an endpoint that we allocated is released": Case(deleted(), held(release())),
    "an endpoint that was there before needs an approval": Case(
        deleted(known=reached(ours=False)), needs_approval(NOT_OURS)
    ),
    "an endpoint that is there instead of ours needs an approval": Case(
        deleted(known=ReachedStatus(direct_connection=True, endpoint_id="of another", time=NOW)),
        needs_approval(NOT_OURS),
    ),
    "an endpoint that somebody allocated against the manifest needs an approval": Case(
        deleted(False, known=reached(False, ours=False), state=RELEASED),
        altered(needs_approval(NOT_OURS), {"drift": True}),
    ),
    "an endpoint that somebody allocated is not only reported to a deletion": Case(
        deleted(
            False,
            known=reached(False, ours=False),
            state=RELEASED,
            spec={"drift_policy": DriftPolicy.REPORT},
            **APPROVED,
        ),
        held(release(planned=planned(Reason.APPROVAL_REQUIRED), corrects_drift=True, drift=True)),
    ),
    "an endpoint whose release was approved is released": Case(
        deleted(known=reached(ours=False), **APPROVED),
        held(release(planned=planned(Reason.APPROVAL_REQUIRED))),
    ),
    "an approval that the spec asks for is asked for as well": Case(
        deleted(spec={"release": ReleaseSpec(approval="Required")}),
        needs_approval("spec.release.approval is Required"),
    ),
    "what is released lets go": Case(
        deleted(state=RELEASING, operation=operation()),
        let_go("The direct connection is released", RELEASED, outcome=Outcome.SUCCEEDED),
        GONE,
    ),
    "what was released by somebody else lets go at the second look": Case(
        deleted(), let_go("The direct connection is released", RELEASED), GONE, context(seen={"absent and Normal": 5})
    ),
    "what was released by somebody else is looked at a second time": Case(
        deleted(), held(SECOND_LOOK, state=ALLOCATED), GONE
    ),
    "what is released already lets go": Case(
        deleted(False, known=reached(False), state=RELEASED),
        let_go("The direct connection is released", RELEASED),
        GONE,
    ),
    "an allocation that is under way is followed to its end": Case(
        deleted(state=ALLOCATING, operation=ALLOCATION), held(ALLOCATES), CHANGING
    ),
    "what an allocation brought about that ended after the deletion is ours": Case(
        deleted(known=LEFT_BY_ALLOCATION, state=ALLOCATING, operation=ALLOCATION),
        held(release(outcome=Outcome.SUCCEEDED)),
    ),
    "a release that is under way is followed to its end": Case(
        deleted(state=RELEASING, operation=operation()),
        held(reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(1), "in doubt: op-1")),
        CHANGING,
    ),
    "a busy instance is waited for": Case(
        deleted(), held(reconciling(Reason.INSTANCE_BUSY, BUSY, ALLOCATED, seconds(1), "busy")), CHANGING
    ),
    "absence on a busy instance proves nothing": Case(
        deleted(),
        held(reconciling(Reason.INSTANCE_BUSY, BUSY, ALLOCATED, seconds(1), "busy")),
        observation(False, "Changing"),
    ),
}

HELD = "Releases are held for the whole fleet (releases: Hold in the operator's access list)"
SPENT = (
    "The budget of 10 releases in 10 minutes is taken, by releases and by drains under way; this one follows when "
    "there is room"
)
OBSERVES = (
    "The operator runs in mode Observe: it would call ReleaseDirectConnection of r-bp1, and calls nothing. "
    "Set TAIR_OPERATOR_MODE to Act to let it"
)
DRAINS = "The endpoint of r-bp1 is withdrawn; it is released after a drain of 60 s"
LATER = Window(time(13), time(14))


def guard(reason: Reason, message: str, again: Any, **more: Any) -> Plan:
    return held(reconciling(reason, message, ALLOCATED, again, **({"planned": planned(reason)} | more)))


GUARDED = {
    "the fleet switch holds a deletion": Case(
        deleted(), guard(Reason.RELEASES_HELD, HELD, minutes(1)), context=context(held=True)
    ),
    "a deletion needs room in the budget": Case(
        deleted(), guard(Reason.RELEASE_BUDGET, SPENT, seconds(30)), context=context(budget_wait=seconds(30))
    ),
    "a deletion waits for the window": Case(
        deleted(spec={"release": ReleaseSpec(window="Maintenance")}),
        guard(
            Reason.WAITING_FOR_WINDOW,
            "The release waits for the maintenance window of r-bp1, 13:00-14:00 UTC",
            RESYNC,
        ),
        observation(window=LATER),
    ),
    "a deletion withdraws what is published and drains": Case(
        deleted(spec={"release": ReleaseSpec(drain_seconds=60), "publish": PublishSpec(secret_name="orders")}),
        guard(
            Reason.DRAINING,
            DRAINS,
            minutes(1),
            holds=frozenset({f"draining: {planned_with_drain(Reason.DRAINING, 60).id}"}),
            planned=planned_with_drain(Reason.DRAINING, 60, withdrawn_at=NOW),
            publication=Publication.WITHDRAW,
        ),
    ),
    "mode Observe holds a deletion": Case(
        deleted(), guard(Reason.PENDING, OBSERVES, RESYNC), context=context(policy=Policy(is_observing_only=True))
    ),
}

MISSING = observation(missing=True)
GONE_MESSAGE = "r-bp1 is not there any more, so there is nothing to release"
NO_CREDENTIALS = cloud_error(
    "NoCredentials",
    message="There are none.",
    error_class=ErrorClass.BLOCKED,
    reason=Reason.CREDENTIALS_UNAVAILABLE,
    sent=False,
)
INVALID_KEY = cloud_error(
    "InvalidAccessKeyId.NotFound", error_class=ErrorClass.BLOCKED, reason=Reason.CREDENTIALS_INVALID
)
FORBIDDEN = cloud_error("Forbidden.RAM", error_class=ErrorClass.BLOCKED, reason=Reason.ACCESS_DENIED)
WITH_NAMESPACE = f"The namespace is being deleted and the credentials are gone; {LEFT}"
TERMINATING = context(is_namespace_terminating=True)
FAILED = "DescribeInstances failed with"
CLAIMED = f"TairInstance team/first claims r-bp1 as well; {LEFT}"
STRANGE = (
    "AllocateDirectConnection was called for another TairInstance of r-bp1 and may still take effect; "
    "nothing is called before that has settled"
)


def troubled(reason: Reason, message: str, **more: Any) -> Plan:
    return held(reconciling(reason, message, ALLOCATED, seconds(15), f"trouble: {reason}", **more))


TROUBLE = {
    "an instance that another live resource claims is let go": Case(
        deleted(), let_go(CLAIMED, is_taking_over=True), context=context(owner="team/first")
    ),
    "an operation is followed to its end before another claim lets go": Case(
        deleted(state=RELEASING, operation=operation()),
        held(
            reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(1), "in doubt: op-1", is_taking_over=True),
        ),
        CHANGING,
        context(owner="team/first"),
    ),
    "a call for another resource is waited for": Case(
        deleted(),
        held(reconciling(Reason.OUTCOME_UNKNOWN, STRANGE, RELEASED, seconds(4.5), is_taking_over=True)),
        GONE,
        context(stranger=(operation(Action.ALLOCATE, id="strange"), seconds(9))),
    ),
    "a suspended deletion holds and says so": Case(
        deleted(spec={"suspend": True}), held(SUSPENDED, state=ALLOCATED), None
    ),
    "an instance that is gone is looked at a second time": Case(
        deleted(),
        held(reconciling(Reason.INSTANCE_NOT_FOUND, GONE_MESSAGE, ALLOCATED, seconds(5), "instance gone")),
        MISSING,
    ),
    "an instance that is gone for less than five seconds is not gone": Case(
        deleted(),
        held(reconciling(Reason.INSTANCE_NOT_FOUND, GONE_MESSAGE, ALLOCATED, seconds(5), "instance gone")),
        MISSING,
        context(seen={"instance gone": 4.9}),
    ),
    "an instance that is gone at the second look is let go": Case(
        deleted(), let_go(GONE_MESSAGE), MISSING, context(seen={"instance gone": 5})
    ),
    "an instance that is gone takes its operation with it": Case(
        deleted(state=RELEASING, operation=operation()),
        let_go(GONE_MESSAGE, RELEASING),
        MISSING,
        context(seen={"instance gone": 5}),
    ),
    "credentials that are gone hold": Case(
        deleted(),
        troubled(Reason.CREDENTIALS_UNAVAILABLE, f"{FAILED} NoCredentials: There are none"),
        NO_CREDENTIALS,
    ),
    "credentials that are gone with their namespace let go": Case(
        deleted(), let_go(WITH_NAMESPACE), NO_CREDENTIALS, TERMINATING
    ),
    "credentials that were disabled let go in a namespace that is being deleted": Case(
        deleted(), let_go(WITH_NAMESPACE), INVALID_KEY, TERMINATING
    ),
    "a release that is in doubt does not hold a namespace whose credentials are gone": Case(
        deleted(state=RELEASING, operation=operation()),
        let_go(WITH_NAMESPACE, RELEASING),
        NO_CREDENTIALS,
        TERMINATING,
    ),
    "a permission that is missing holds also in a namespace that is being deleted": Case(
        deleted(),
        troubled(Reason.ACCESS_DENIED, f"{FAILED} Forbidden.RAM: Come back later"),
        FORBIDDEN,
        TERMINATING,
    ),
    "a cloud that is away holds also in a namespace that is being deleted": Case(
        deleted(),
        held(
            reconciling(
                Reason.CLOUD_UNREACHABLE,
                f"{FAILED} ServiceUnavailable: Come back later.",
                ALLOCATED,
                seconds(1),
                "failing: CloudUnreachable",
            )
        ),
        cloud_error(),
        TERMINATING,
    ),
    "an endpoint is released also in a namespace that is being deleted": Case(
        deleted(), held(release()), context=TERMINATING
    ),
    "an access list that serves it no longer holds": Case(
        deleted(),
        held(stalled(Reason.ACCESS_NOT_ALLOWED, denied(Verb.OBSERVE), ALLOCATED, "trouble: AccessNotAllowed")),
        None,
        only(),
    ),
    "an access list that permits to look alone holds": Case(
        deleted(),
        held(stalled(Reason.ACCESS_NOT_ALLOWED, denied(Verb.RELEASE), ALLOCATED, "trouble: AccessNotAllowed")),
        context=only(Verb.OBSERVE, Verb.ALLOCATE),
    ),
    "an instance that is not eligible any more holds": Case(
        deleted(),
        held(
            stalled(
                Reason.INSTANCE_NOT_ELIGIBLE,
                "r-bp1 is not eligible: ComputingType is Ecs and has to be Machine; a cloud-native instance has a "
                "direct connection by its connection mode or not at all, and never by a call",
                ALLOCATED,
            )
        ),
        observation(computing_type="Ecs"),
    ),
    "a look that shows nothing holds": Case(
        deleted(),
        held(
            reconciling(
                Reason.PENDING,
                "DescribeDBInstanceNetInfo did not say whether there is a direct connection; looking again",
                ALLOCATED,
                seconds(1),
                "presence unknown",
            )
        ),
        observation(None),
    ),
    "what could not be withdrawn holds": Case(
        deleted(spec={"publish": PublishSpec(secret_name="orders")}),
        troubled(Reason.PUBLISH_FAILED, "Secret orders may not be written"),
        context=context(unpublished="Secret orders may not be written"),
    ),
    "what could not be withdrawn does not hold a namespace that is being deleted": Case(
        deleted(
            spec={"publish": PublishSpec(secret_name="orders")}, plan=planned(Reason.DRAINING, withdrawn_at=ago(1))
        ),
        held(release(planned=planned(Reason.DRAINING, withdrawn_at=ago(1)), publication=Publication.WITHDRAW)),
        context=context(unpublished="Secret orders may not be written", is_namespace_terminating=True),
    ),
    "a finalizer that may not be written is a trouble before any deletion": Case(
        resource(True, deletion_policy="Release"),
        reconciling(
            Reason.ACCESS_DENIED, "The finalizer may not be written", ALLOCATED, seconds(15), "trouble: AccessDenied"
        ),
        context=context(unheld="The finalizer may not be written"),
    ),
}

CASES = table(NOT_ASKED_TO, RELEASED_FIRST, GUARDED, TROUBLE)


@pytest.mark.parametrize("sentence", CASES)
def test_decides(sentence: str) -> None:
    case = CASES[sentence]

    assert decide(case.resource, case.observed, case.context, NOW) == case.plan


@pytest.mark.parametrize("sentence", CASES)
def test_a_deletion_that_waits_says_how_to_end_the_wait(sentence: str) -> None:
    plan = CASES[sentence].plan
    is_deletion = CASES[sentence].resource.metadata.deletion_timestamp is not None

    assert plan.message.endswith(WAY_OUT) is (is_deletion and not plan.lets_go)


def test_the_words_of_the_cloud_and_the_way_out_are_two_sentences() -> None:
    plan = decide(deleted(), None, only(), NOW)

    assert plan.message.endswith(f"{HINT} {WAY_OUT}")


@pytest.mark.parametrize(
    ("seen", "ours"),
    [(THERE, True), (GONE, False), (observation(endpoints=(endpoint(ip_address="10.0.0.9"),)), False)],
)
def test_an_endpoint_is_ours_when_it_is_the_very_one_that_we_allocated(seen: Observation, ours: bool) -> None:  # noqa: FBT001
    assert Situation(deleted(), seen, context(), NOW).is_our_endpoint is ours
