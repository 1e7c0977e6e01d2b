"""The specification of what the operator does: one sentence for each situation, and the whole plan that follows.

The groups stand in the order of the rules. Here: to look or not to look, what a look shows, and what has become of the
last call. ``test_plan_calls.py`` goes on with the calls.
"""

import pytest

from tair_operator.models import (
    Action,
    Outcome,
    Reason,
)
from tair_operator.plan import decide
from tair_operator.ports import ErrorClass
from tair_operator.situation import Policy, Verb
from tests.builders import (
    ALLOCATED,
    ALLOCATING,
    BUSY,
    CHANGING,
    GONE,
    HOST,
    IN_DOUBT,
    IS_ALLOCATED,
    IS_RELEASED,
    NO_ANSWER,
    NO_SUCH_INSTANCE,
    NOW,
    PROXY,
    RELEASED,
    RELEASING,
    RESYNC,
    SECOND_LOOK,
    SUSPENDED,
    THERE,
    UNDER_WAY,
    UNKNOWN,
    Case,
    allocate,
    altered,
    cloud_error,
    condition,
    context,
    denied,
    endpoint,
    minutes,
    observation,
    only,
    operation,
    ready_status,
    reconciling,
    release,
    resource,
    seconds,
    settled,
    stalled,
    status,
    table,
)

FIRST_CONTACT = {
    "releases what is there and is not wanted": Case(resource(False), release()),
    "does not believe in absence at the first look": Case(resource(True), SECOND_LOOK, GONE),
    "looks a second time when woken before the five seconds are over": Case(
        resource(True), SECOND_LOOK, GONE, context(seen={"absent and Normal": 4.9})
    ),
    "allocates what is absent at the second look": Case(
        resource(True), allocate(), GONE, context(seen={"absent and Normal": 5})
    ),
    "adopts a direct connection that is wanted": Case(resource(True), IS_ALLOCATED),
    "adopts an absence that is wanted, at the second look": Case(
        resource(False), IS_RELEASED, GONE, context(seen={"absent and Normal": 5})
    ),
    "says the host alone where the cloud tells no port": Case(
        resource(True),
        settled(Reason.ALLOCATED, f"The direct connection is {HOST}", ALLOCATED),
        observation(endpoints=(endpoint(port=None),)),
    ),
    "calls nothing when direct_connection is absent and one is there": Case(
        resource(),
        settled(
            Reason.OBSERVED,
            "There is a direct connection; spec.directConnection is absent, so it is only observed",
            ALLOCATED,
        ),
    ),
    "calls nothing when direct_connection is absent and none is there": Case(
        resource(status=ready_status(False)),
        settled(
            Reason.OBSERVED,
            "There is no direct connection; spec.directConnection is absent, so it is only observed",
            RELEASED,
        ),
        GONE,
    ),
    "observes a busy instance as it is": Case(
        resource(),
        settled(
            Reason.OBSERVED,
            "There is a direct connection; spec.directConnection is absent, so it is only observed",
            ALLOCATED,
        ),
        CHANGING,
    ),
    "waits for an event alone where resyncSeconds is 0": Case(
        resource(True, resync_seconds=0), altered(IS_ALLOCATED, {"requeue_after": None})
    ),
    "looks again at the resource's own instant of its own interval": Case(
        resource(True, resync_seconds=60), altered(IS_ALLOCATED, {"requeue_after": seconds(10)})
    ),
}

SUSPENSION_AND_ACCESS = {
    "a suspended resource waits for an event": Case(resource(False, suspend=True), SUSPENDED, None),
    "a suspended resource stays ready where the last look satisfies its spec": Case(
        resource(True, suspend=True, status=ready_status(True)),
        altered(SUSPENDED, {"state": ALLOCATED, "ready": "True"}),
        None,
    ),
    "a suspended resource is not ready where the last look does not satisfy its spec": Case(
        resource(False, suspend=True, status=ready_status(True)), altered(SUSPENDED, {"state": ALLOCATED}), None
    ),
    "a suspended resource that only observes stays ready once it was read": Case(
        resource(suspend=True, status=ready_status(None)),
        altered(SUSPENDED, {"state": ALLOCATED, "ready": "True"}),
        None,
    ),
    "a suspended resource that was never read is not ready": Case(resource(suspend=True), SUSPENDED, None),
    "a suspended resource is not ready while an operation is in doubt": Case(
        resource(True, suspend=True, status=ready_status(True, operation=operation(Action.ALLOCATE, Outcome.STARTED))),
        altered(SUSPENDED, {"state": ALLOCATED, "outcome": Outcome.UNKNOWN}),
        None,
    ),
    "a resource that nobody permitted waits out the grace": Case(
        resource(False),
        reconciling(Reason.ACCESS_NOT_ALLOWED, denied(Verb.OBSERVE), UNKNOWN, seconds(15), "trouble: AccessNotAllowed"),
        None,
        context(verbs=frozenset()),
    ),
    "a resource that nobody permitted looks again when the grace ends": Case(
        resource(False),
        reconciling(Reason.ACCESS_NOT_ALLOWED, denied(Verb.OBSERVE), UNKNOWN, seconds(5), "trouble: AccessNotAllowed"),
        None,
        context(verbs=frozenset(), seen={"trouble: AccessNotAllowed": 115}),
    ),
    "a resource that nobody permitted stalls after the grace": Case(
        resource(False),
        stalled(Reason.ACCESS_NOT_ALLOWED, denied(Verb.OBSERVE), UNKNOWN, "trouble: AccessNotAllowed"),
        None,
        only(),
    ),
    "a resource that is stalled already does not get a second grace from a restart": Case(
        resource(False, status=status(conditions=[condition("Stalled", "True", Reason.ACCESS_NOT_ALLOWED)])),
        stalled(Reason.ACCESS_NOT_ALLOWED, denied(Verb.OBSERVE), UNKNOWN, "trouble: AccessNotAllowed"),
        None,
        context(verbs=frozenset()),
    ),
    "a trouble is looked at again even where drift is not looked for": Case(
        resource(False, resync_seconds=0),
        stalled(
            Reason.ACCESS_NOT_ALLOWED,
            denied(Verb.OBSERVE),
            UNKNOWN,
            "trouble: AccessNotAllowed",
            requeue_after=minutes(30),
        ),
        None,
        only(),
    ),
    "a permission to look is none to release": Case(
        resource(False),
        stalled(Reason.ACCESS_NOT_ALLOWED, denied(Verb.RELEASE), ALLOCATED, "trouble: AccessNotAllowed"),
        context=only(Verb.OBSERVE, Verb.ALLOCATE),
    ),
    "a permission to release is none to allocate": Case(
        resource(True, status=ready_status(False)),
        stalled(Reason.ACCESS_NOT_ALLOWED, denied(Verb.ALLOCATE), RELEASED, "trouble: AccessNotAllowed"),
        GONE,
        only(Verb.OBSERVE, Verb.RELEASE),
    ),
    "what is as wanted needs no permission but to look": Case(resource(True), IS_ALLOCATED, context=only(Verb.OBSERVE)),
}

KEPT = settled(
    Reason.ALLOCATED,
    f"The direct connection is {HOST}:6379",
    ALLOCATED,
    "failing: CloudUnreachable",
    "ready but not seen",
    reached=False,
    requeue_after=seconds(1),
)
FAILED_LOOK = "DescribeInstances failed with ServiceUnavailable: Come back later."
UNREACHABLE = cloud_error()
FORBIDDEN = cloud_error("Forbidden.RAM", error_class=ErrorClass.BLOCKED, reason=Reason.ACCESS_DENIED)
NOT_SEEN_STATUS = status(
    UNKNOWN, reached=True, conditions=[condition("Ready", "Unknown", Reason.CLOUD_UNREACHABLE, FAILED_LOOK)]
)

FAILED_LOOKS = {
    "a look that fails at first contact is repeated": Case(
        resource(False),
        reconciling(Reason.CLOUD_UNREACHABLE, FAILED_LOOK, UNKNOWN, seconds(1), "failing: CloudUnreachable"),
        UNREACHABLE,
    ),
    "looks that keep failing are repeated ever more slowly": Case(
        resource(False),
        reconciling(Reason.CLOUD_UNREACHABLE, FAILED_LOOK, UNKNOWN, seconds(10), "failing: CloudUnreachable"),
        UNREACHABLE,
        context(seen={"failing: CloudUnreachable": 20}),
    ),
    "looks that keep failing are repeated every half minute at least": Case(
        resource(False),
        reconciling(Reason.CLOUD_UNREACHABLE, FAILED_LOOK, UNKNOWN, seconds(30), "failing: CloudUnreachable"),
        UNREACHABLE,
        context(seen={"failing: CloudUnreachable": 3600}),
    ),
    "a look that was throttled is repeated when the cloud says so": Case(
        resource(False),
        reconciling(
            Reason.THROTTLED,
            "DescribeInstances failed with Throttling: Slow down.",
            UNKNOWN,
            seconds(42),
            "failing: Throttled",
        ),
        cloud_error("Throttling", message="Slow down.", reason=Reason.THROTTLED, retry_after=seconds(42)),
    ),
    "a look that was refused waits out the grace": Case(
        resource(False),
        reconciling(
            Reason.ACCESS_DENIED,
            "DescribeInstances failed with Forbidden.RAM: Come back later.",
            UNKNOWN,
            seconds(15),
            "trouble: AccessDenied",
        ),
        FORBIDDEN,
    ),
    "a look that the spec makes impossible stalls without a grace": Case(
        resource(False),
        stalled(Reason.INVALID_REQUEST, "DescribeInstances failed with InvalidRegionId: Come back later.", UNKNOWN),
        cloud_error("InvalidRegionId", error_class=ErrorClass.INVALID, reason=Reason.INVALID_REQUEST),
    ),
    "request ids and times in the words of the cloud are left out": Case(
        resource(False),
        reconciling(
            Reason.CLOUD_UNREACHABLE,
            "DescribeInstances failed with ServiceUnavailable: … at … and Timestamp=…",
            UNKNOWN,
            seconds(1),
            "failing: CloudUnreachable",
        ),
        cloud_error(
            message="5D622714-AEDD-4609-9167-F5DDD3D1AAAA at 2026-03-02T12:00:01Z and "
            "Timestamp=2026-03-02T12%253A00%253A01Z"
        ),
    ),
    "one failed look keeps Ready": Case(resource(True, status=ready_status(True)), KEPT, UNREACHABLE),
    "a refused look keeps Ready as well": Case(
        resource(True, status=ready_status(True)),
        altered(
            KEPT,
            {"requeue_after": seconds(15), "holds": frozenset({"trouble: AccessDenied", "ready but not seen"})},
        ),
        FORBIDDEN,
    ),
    "failed looks keep Ready for half an hour": Case(
        resource(True, status=ready_status(True)), KEPT, UNREACHABLE, context(seen={"ready but not seen": 1799})
    ),
    "failed looks keep Ready for three intervals where those are longer": Case(
        resource(True, status=ready_status(True)),
        altered(KEPT, {"requeue_after": RESYNC - seconds(609)}),
        UNREACHABLE,
        context(seen={"ready but not seen": 3 * 3600 - 1}, policy=Policy(resync=minutes(60))),
    ),
    "after that Ready is Unknown": Case(
        resource(True, status=ready_status(True)),
        reconciling(
            Reason.CLOUD_UNREACHABLE,
            FAILED_LOOK,
            UNKNOWN,
            seconds(1),
            "failing: CloudUnreachable",
            "ready but not seen",
            ready="Unknown",
        ),
        UNREACHABLE,
        context(seen={"ready but not seen": 1800}),
    ),
    "Ready that is Unknown stays so, also after a restart": Case(
        resource(True, status=NOT_SEEN_STATUS),
        reconciling(
            Reason.CLOUD_UNREACHABLE,
            FAILED_LOOK,
            UNKNOWN,
            seconds(1),
            "failing: CloudUnreachable",
            "ready but not seen",
            ready="Unknown",
        ),
        UNREACHABLE,
    ),
    "a refusal that lasts longer than Ready is kept stalls": Case(
        resource(True, status=ready_status(True)),
        stalled(
            Reason.ACCESS_DENIED,
            "DescribeInstances failed with Forbidden.RAM: Come back later.",
            UNKNOWN,
            "trouble: AccessDenied",
            "ready but not seen",
        ),
        FORBIDDEN,
        context(seen={"ready but not seen": 1800, "trouble: AccessDenied": 1800}),
    ),
    "Ready of an older generation is not kept": Case(
        resource(True, generation=2, status=ready_status(True)),
        reconciling(Reason.CLOUD_UNREACHABLE, FAILED_LOOK, ALLOCATED, seconds(1), "failing: CloudUnreachable"),
        UNREACHABLE,
    ),
    "Ready with a reason that this version does not know is not kept": Case(
        resource(True, status=status(ALLOCATED, conditions=[condition("Ready", "True", "FromTheFuture")])),
        reconciling(Reason.CLOUD_UNREACHABLE, FAILED_LOOK, ALLOCATED, seconds(1), "failing: CloudUnreachable"),
        UNREACHABLE,
    ),
    "an operation goes on being watched while looks fail": Case(
        resource(False, status=status(RELEASING, operation=operation())),
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(1), "in doubt: op-1"),
        UNREACHABLE,
    ),
}

MISSING = reconciling(Reason.INSTANCE_NOT_FOUND, NO_SUCH_INSTANCE, UNKNOWN, seconds(15), "trouble: InstanceNotFound")
DOES_NOT_SAY = "DescribeDBInstanceNetInfo did not say whether there is a direct connection; looking again"
NOT_SAID = reconciling(Reason.PENDING, DOES_NOT_SAY, UNKNOWN, seconds(1), "presence unknown")
KEPT_ALLOCATED = altered(KEPT, {"holds": frozenset({"presence unknown", "ready but not seen"})})
WAS_ALLOCATED = resource(False, status=status(ALLOCATED))

DOUBTFUL_LOOKS = {
    "an instance that is not listed waits out the grace": Case(resource(False), MISSING, observation(missing=True)),
    "an instance that is not listed stalls after the grace": Case(
        resource(False),
        stalled(Reason.INSTANCE_NOT_FOUND, NO_SUCH_INSTANCE, UNKNOWN, "trouble: InstanceNotFound"),
        observation(missing=True),
        context(seen={"trouble: InstanceNotFound": 120}),
    ),
    "an instance of another region is not this one": Case(
        resource(False), MISSING, observation(region_id="cn-beijing")
    ),
    "an instance whose region is not told is not this one": Case(resource(False), MISSING, observation(region_id=None)),
    "another instance is not this one": Case(resource(False), MISSING, observation(instance_id="r-other")),
    "an instance that vanished leaves an operation in doubt": Case(
        resource(False, status=status(RELEASING, operation=operation())), MISSING, observation(missing=True)
    ),
    "a reply without any item says nothing": Case(resource(False), NOT_SAID, observation(None)),
    "a known host without the flag says nothing": Case(
        WAS_ALLOCATED,
        altered(NOT_SAID, {"state": ALLOCATED}),
        observation(endpoints=(PROXY, endpoint(direct=None))),
    ),
    "another host without the flag is not the direct one": Case(
        resource(True, status=ready_status(False)),
        allocate(),
        observation(endpoints=(PROXY, endpoint("other", direct=None))),
    ),
    "a reply that says nothing keeps Ready": Case(
        resource(True, status=ready_status(True)), KEPT_ALLOCATED, observation(None)
    ),
    "nothing succeeds on a reply that says nothing": Case(
        resource(False, status=status(RELEASING, operation=operation())),
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(30), "in doubt: op-1"),
        observation(None),
        context(seen={"in doubt: op-1": 3600}),
    ),
    "absence after Ready is looked at twice, and Ready is kept": Case(
        resource(True, status=ready_status(True)),
        altered(KEPT, {"holds": frozenset({"absent and Normal", "ready but not seen"}), "requeue_after": seconds(5)}),
        GONE,
    ),
    "absence on a busy instance proves nothing": Case(
        resource(True, status=ready_status(True)),
        altered(KEPT, {"holds": frozenset({"busy", "ready but not seen"})}),
        observation(False, "Changing"),
    ),
    "absence on a busy instance at first contact waits": Case(
        resource(False),
        reconciling(Reason.INSTANCE_BUSY, BUSY, UNKNOWN, seconds(1), "busy"),
        observation(False, "Changing"),
    ),
}

OVER = {"in doubt: op-1": 300.0, "unchanged: op-1": 5.0}
ALMOST_OVER = {"in doubt: op-1": 299.0}
RELEASE_UNDER_WAY = resource(False, status=status(RELEASING, operation=operation()))
RELEASE_STARTED = resource(False, status=status(RELEASING, operation=operation(outcome=Outcome.STARTED)))
RELEASE_UNKNOWN = resource(
    False, status=status(UNKNOWN, operation=operation(outcome=Outcome.UNKNOWN, code="ReadTimeout"))
)
ALLOCATION_UNDER_WAY = resource(True, status=status(ALLOCATING, operation=operation(Action.ALLOCATE)))

OPERATIONS = {
    "an accepted release is watched": Case(
        RELEASE_UNDER_WAY, reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(1), "in doubt: op-1"), CHANGING
    ),
    "an accepted release is watched ever more slowly": Case(
        RELEASE_UNDER_WAY,
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(6), "in doubt: op-1"),
        CHANGING,
        context(seen={"in doubt: op-1": 12}),
    ),
    "an accepted release has not failed while the settling time lasts": Case(
        RELEASE_UNDER_WAY,
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(30), "in doubt: op-1", "unchanged: op-1"),
        THERE,
        context(seen=ALMOST_OVER),
    ),
    "an accepted release has not failed while the instance is busy": Case(
        RELEASE_UNDER_WAY,
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(30), "in doubt: op-1"),
        CHANGING,
        context(seen=OVER),
    ),
    "a release without effect is made again after the settling time": Case(
        RELEASE_UNDER_WAY, release(outcome=Outcome.FAILED), THERE, context(seen=OVER)
    ),
    "one look that shows no effect after the settling time may be torn": Case(
        RELEASE_UNDER_WAY,
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(30), "in doubt: op-1", "unchanged: op-1"),
        THERE,
        context(seen={"in doubt: op-1": 300.0}),
    ),
    "a release has not succeeded while the instance is busy": Case(
        RELEASE_UNDER_WAY,
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(1), "in doubt: op-1"),
        observation(False, "Changing"),
    ),
    "a release succeeds when the endpoint is gone and the instance Normal": Case(
        RELEASE_UNDER_WAY, altered(IS_RELEASED, {"outcome": Outcome.SUCCEEDED}), GONE
    ),
    "a release that was started and never answered is in doubt": Case(
        RELEASE_STARTED,
        reconciling(
            Reason.OUTCOME_UNKNOWN,
            NO_ANSWER,
            UNKNOWN,
            seconds(1),
            "in doubt: op-1",
            "unchanged: op-1",
            outcome=Outcome.UNKNOWN,
        ),
    ),
    "a release that was started and never answered is in doubt also when the look fails": Case(
        RELEASE_STARTED,
        reconciling(Reason.OUTCOME_UNKNOWN, NO_ANSWER, UNKNOWN, seconds(1), "in doubt: op-1", outcome=Outcome.UNKNOWN),
        UNREACHABLE,
    ),
    "a release that was started and never answered succeeded where the endpoint is gone": Case(
        RELEASE_STARTED, altered(IS_RELEASED, {"outcome": Outcome.SUCCEEDED}), GONE
    ),
    "a release with an answer that proves nothing is in doubt, and says which": Case(
        RELEASE_UNKNOWN,
        reconciling(
            Reason.OUTCOME_UNKNOWN,
            f"ReleaseDirectConnection ended with ReadTimeout, {IN_DOUBT}",
            UNKNOWN,
            seconds(1),
            "in doubt: op-1",
            "unchanged: op-1",
        ),
    ),
    "an operation in doubt blocks everything else, whatever the spec says": Case(
        resource(True, generation=2, status=status(RELEASING, operation=operation())),
        reconciling(Reason.RELEASING, UNDER_WAY, RELEASING, seconds(1), "in doubt: op-1", "unchanged: op-1"),
    ),
    "an operation in doubt blocks Ready": Case(
        resource(True, status=ready_status(True, operation=operation(outcome=Outcome.UNKNOWN))),
        reconciling(Reason.OUTCOME_UNKNOWN, NO_ANSWER, UNKNOWN, seconds(1), "in doubt: op-1", "unchanged: op-1"),
    ),
    "a release that ended after the wish changed is followed by an allocation": Case(
        resource(True, generation=2, status=status(RELEASING, operation=operation())),
        allocate(outcome=Outcome.SUCCEEDED),
        GONE,
    ),
    "an accepted allocation is watched": Case(
        ALLOCATION_UNDER_WAY,
        reconciling(
            Reason.ALLOCATING,
            "Allocating the direct connection of r-bp1",
            ALLOCATING,
            seconds(1),
            "in doubt: op-1",
            "unchanged: op-1",
        ),
        GONE,
    ),
    "an allocation succeeds when the endpoint is there and the instance Normal": Case(
        ALLOCATION_UNDER_WAY, altered(IS_ALLOCATED, {"outcome": Outcome.SUCCEEDED})
    ),
    "an allocation without effect is made again after the settling time": Case(
        ALLOCATION_UNDER_WAY, allocate(outcome=Outcome.FAILED), GONE, context(seen=OVER)
    ),
    "an allocation that ended after the wish changed is followed by a release": Case(
        resource(False, generation=2, status=status(ALLOCATING, operation=operation(Action.ALLOCATE))),
        release(outcome=Outcome.SUCCEEDED),
    ),
}

CASES = table(FIRST_CONTACT, SUSPENSION_AND_ACCESS, FAILED_LOOKS, DOUBTFUL_LOOKS, OPERATIONS)


@pytest.mark.parametrize("sentence", CASES)
def test_decides(sentence: str) -> None:
    case = CASES[sentence]

    assert decide(case.resource, case.observed, case.context, NOW) == case.plan
