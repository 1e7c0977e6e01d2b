"""What holds for every situation, however strange: the promises of the specification, tried on thousands of them."""

# ruff: noqa: ANN401 - what is not named goes on to a constructor

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tair_operator.conditions import next_conditions
from tair_operator.models import (
    ANNOTATION_APPROVE,
    ANNOTATION_RECONCILE,
    FINALIZER,
    Action,
    Condition,
    ConnectionState,
    DirectConnectionStatus,
    DriftPolicy,
    DriftStatus,
    InstanceStatus,
    Operation,
    Outcome,
    PlanStatus,
    PublishedStatus,
    PublishSpec,
    ReachedStatus,
    Reason,
    ReleaseSpec,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.plan import RULES, decide, needs_look
from tair_operator.ports import CloudError, Detail, Effect, Endpoint, ErrorClass, Instance, Observation, Window
from tair_operator.settling import settled_outcome
from tair_operator.situation import Context, Grant, Policy, Situation, Verb, endpoint_id
from tair_operator.stance import Plan, Publication, Stance
from tair_operator.status import Look, is_worth_writing, next_status
from tair_operator.subject import UNSETTLED
from tests.builders import (
    EVERYTHING,
    HOST,
    ID,
    KEY,
    NOW,
    PLAN_ID,
    PROXY,
    REGION,
    endpoint,
    observation,
    operation,
    pages,
    plan_id,
    planned,
    resource,
    seconds,
    status,
)
from tests.fakes import World, absent, present, world

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
WORDS = st.sampled_from(["", "Normal", "Changing", "Inactive", "Ünïcode\n", "x" * 300])
TIMES = st.timedeltas(timedelta(days=-3650), timedelta(days=3650)).map(lambda age: NOW + age)
AGES = st.sampled_from([0, 1, 4.9, 5, 60, 299, 300, 1e4]).map(lambda age: timedelta(seconds=age))


def build(model: type[M], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Like ``st.builds``, which would draw every field a second time, by its alias."""
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


def mostly(usual: T, others: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Nine times the usual, so that what many conditions guard is reached often enough."""
    return st.integers(0, 9).flatmap(lambda number: others if number == 9 else st.just(usual))


WINDOWS = st.sampled_from(
    [
        Window(time(11), time(13)),
        Window(time(12), time(12, 1)),
        Window(time(13), time(14)),
        Window(time(23), time(1)),
        Window(time(13), time(12, 30)),
    ]
)
RELEASE_SPECS = st.none() | st.builds(
    lambda approval, window, drain: ReleaseSpec(approval=approval, window=window, drain_seconds=drain),
    st.sampled_from([None, "Automatic", "Required"]),
    st.sampled_from([None, "Anytime", "Maintenance"]),
    st.sampled_from([None, 0, 30, 3600]),
)
PUBLISH_SPECS = st.sampled_from([None, PublishSpec(secret_name="orders"), PublishSpec(config_map_name="orders")])
plans = st.builds(
    lambda expires, withdrawn, reason, finished: planned(
        reason,
        expires_at=expires,
        withdrawn_at=None if withdrawn is None else NOW + withdrawn,
        id=plan_id(expires=expires, finished=finished),
    ),
    st.sampled_from([None, NOW, NOW + seconds(1), NOW + timedelta(hours=24)]),
    st.sampled_from([None, -seconds(3600), -seconds(30), -seconds(29), seconds(0), seconds(3600)]),
    st.sampled_from(Reason),
    st.sampled_from([0, 0, 1]),
)
odd_plans = build(
    PlanStatus,
    id=WORDS | st.just(PLAN_ID),
    action=st.sampled_from(Action),
    reason=WORDS,
    expires_at=st.none() | TIMES,
    withdrawn_at=st.none() | TIMES,
)
operations = build(
    Operation,
    id=st.sampled_from(["op-1", "op-2", "op-3", "op-4"]),
    action=st.sampled_from(Action),
    generation=st.integers(0, 3),
    attempt=st.integers(-1, 60),
    drift=st.none() | st.booleans(),
    started_at=TIMES,
    finished_at=st.none() | TIMES,
    outcome=st.sampled_from(Outcome),
    request_id=st.none() | WORDS,
    http_status=st.none() | st.integers(0, 999),
    code=st.none() | WORDS,
    message=st.none() | WORDS,
)
stored_conditions = build(
    Condition,
    type=st.sampled_from(["Ready", "Reconciling", "Stalled", "Suspended", "Foreign"]),
    status=st.sampled_from(["True", "False", "Unknown"]),
    observed_generation=st.none() | st.integers(-1, 3),
    last_transition_time=TIMES,
    reason=st.sampled_from([*Reason, "FromTheFuture"]).map(str),
    message=WORDS,
)
statuses = build(
    TairInstanceStatus,
    observed_generation=st.sampled_from([None, -1, 1, 2, 7]),
    conditions=st.lists(stored_conditions, max_size=4, unique_by=lambda condition: condition.type),
    direct_connection=st.none()
    | build(DirectConnectionStatus, state=st.sampled_from(ConnectionState), host=st.sampled_from([None, HOST])),
    reached=st.none()
    | build(
        ReachedStatus,
        direct_connection=st.booleans(),
        operation_id=st.none(),
        endpoint_id=st.sampled_from([None, "of another", endpoint_id(endpoint())]),
        left_by=st.sampled_from([None, None, "op-1"]),
        time=TIMES,
    ),
    plan=st.none() | plans | odd_plans,
    finished_releases=st.sampled_from([None, None, 0, 1]),
    drift=st.none() | build(DriftStatus, direct_connection=st.booleans(), since=TIMES),
    published=st.none() | st.just(PublishedStatus(secret_name="orders")),
    instance=st.none() | build(InstanceStatus, status=WORDS, engine_version=WORDS),
    operation=mostly(None, operations) | operations,
    history=st.lists(operations, max_size=5),
    last_handled_reconcile_at=st.sampled_from([None, "1", "2"]),
)
resources = st.builds(
    resource,
    st.sampled_from([None, True, False, False]),
    status=statuses,
    generation=st.integers(1, 2),
    annotations=st.sampled_from(
        [{}, {ANNOTATION_RECONCILE: "1"}, {ANNOTATION_APPROVE: PLAN_ID}, {ANNOTATION_APPROVE: plan_id(expires=NOW)}]
    ),
    deleted=mostly(None, st.just(NOW)),
    finalizers=st.sampled_from([[FINALIZER], [], ["somebody.else/waits"]]),
    deletion_policy=st.sampled_from([None, "Retain", "Release"]),
    release=RELEASE_SPECS,
    publish=PUBLISH_SPECS,
    drift_policy=st.none() | st.sampled_from(DriftPolicy),
    resync_seconds=st.sampled_from([None, 0, 60, 86400]),
    suspend=mostly(None, st.booleans()),
)
instances = st.builds(
    Instance,
    instance_id=mostly(ID, st.just("r-other")),
    region_id=mostly(REGION, st.sampled_from([None, "cn-beijing"])),
    status=mostly("Normal", st.none() | WORDS),
    computing_type=mostly("Machine", st.sampled_from([None, "Ecs", ""])),
    architecture_type=mostly("cluster", st.sampled_from([None, "standard"])),
)
endpoints = st.lists(
    st.sampled_from([PROXY, endpoint(), endpoint(direct=None), endpoint("", port=None), endpoint(port=-1)])
    | st.builds(Endpoint, host=WORDS, direct=st.none() | st.booleans()),
    max_size=3,
).map(tuple)
observations = st.builds(
    Observation,
    sent_at=TIMES,
    instance=st.integers(0, 9).flatmap(lambda number: instances if number else st.none()),
    endpoints=endpoints,
    asked=mostly(frozenset(Detail), st.frozensets(st.sampled_from(Detail))),
    tls=st.sampled_from([None, False, False, True]),
    window=st.none() | WINDOWS,
)
errors = st.builds(
    CloudError,
    action=WORDS,
    code=WORDS,
    message=WORDS,
    error_class=st.sampled_from(ErrorClass),
    effect=st.sampled_from(Effect),
    reason=st.sampled_from(Reason),
    retry_after=st.none() | AGES,
)
looks: st.SearchStrategy[Observation | CloudError] = st.integers(0, 9).flatmap(
    lambda number: observations if number else errors
)
FACTS = [
    "absent and Normal",
    "presence unknown",
    "ready but not seen",
    "busy",
    "instance gone",
    *(f"{what} op-{number}" for what in ("in doubt:", "refused:") for number in (1, 2, 3, 4)),
    *(f"{what}: {reason}" for what in ("trouble", "failing") for reason in Reason),
]
policies = st.builds(
    Policy,
    settle=st.sampled_from([seconds(300), timedelta(5)]),
    stall_grace=st.sampled_from([timedelta(0), seconds(120)]),
    resync=st.sampled_from([seconds(600), timedelta(60)]),
    is_observing_only=st.booleans(),
    needs_approval=st.booleans(),
    needs_approval_at_first_contact=st.booleans(),
    needs_window=st.booleans(),
    drain=st.sampled_from([timedelta(0), seconds(60)]),
    approval_ttl=st.sampled_from([timedelta(hours=24), seconds(60)]),
    engine_versions=st.sampled_from([frozenset({"5.0"}), frozenset({"7.0"})]),
)
contexts = st.builds(
    Context,
    policy=mostly(Policy(), policies),
    grant=st.builds(
        Grant,
        mostly(EVERYTHING, st.frozensets(st.sampled_from(Verb))),
        WORDS,
        are_releases_held=mostly(False, st.booleans()),
        requires_approval=mostly(False, st.booleans()),
    ),
    seen=st.dictionaries(st.sampled_from(FACTS), AGES, max_size=len(FACTS)),
    refusal=st.none() | st.tuples(st.sampled_from(ErrorClass), st.sampled_from(Reason)),
    owner=mostly(None, st.just("team/first")),
    owned_for=mostly(None, AGES),
    budget_wait=mostly(None, AGES),
    obstacle=mostly(None, errors),
    stranger=mostly(None, st.tuples(operations, AGES)),
    unpublished=mostly(None, st.just("It may not be written")),
    unheld=mostly(None, st.just("It may not be held")),
    is_namespace_terminating=mostly(False, st.booleans()),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Return any situation that a pass can put to ``decide``."""
    made, asked = draw(resources), draw(contexts)
    observed = draw(looks) if needs_look(made, asked) else None
    return Situation(made, observed, asked, draw(TIMES))


# A plan that was approved and has drained, in an open window: nothing stands in the way of the release …
READY_TO_GO = Situation(
    resource(
        False,
        annotations={ANNOTATION_APPROVE: PLAN_ID},
        finalizers=[FINALIZER],
        deletion_policy="Release",
        status=status(
            ConnectionState.ALLOCATED, plan=planned(Reason.DRAINING, withdrawn_at=NOW - seconds(3600)), reached=False
        ),
        drift_policy=DriftPolicy.CORRECT,
    ),
    observation(window=Window(time(10), time(14))),
    Context(grant=Grant(EVERYTHING)),
    NOW,
)
CLOUD_ERROR = CloudError("Any", "Code", "", ErrorClass.TRANSIENT, Effect.NONE, Reason.THROTTLED)
STRICT = Policy(needs_approval=True, needs_window=True, drain=seconds(60))


def of_resource(part: str, **update: object) -> Callable[[Situation], Situation]:
    def change(s: Situation) -> Situation:
        changed = getattr(s.resource, part).model_copy(update=update)
        return replace(s, resource=s.resource.model_copy(update={part: changed}))

    return change


def of_look(**update: Any) -> Callable[[Situation], Situation]:
    return lambda s: replace(s, observed=replace(s.observation, **update))


def of_context(**update: Any) -> Callable[[Situation], Situation]:
    return lambda s: replace(s, context=replace(s.context, **update))


def of_policy(**update: Any) -> Callable[[Situation], Situation]:
    return lambda s: replace(s, context=replace(s.context, policy=replace(s.context.policy, **update)))


# … and each of these may.
OBSTACLES: dict[str, Callable[[Situation], Situation]] = {
    "mode Observe": of_policy(is_observing_only=True),
    "the fleet switch": of_context(grant=Grant(EVERYTHING, are_releases_held=True)),
    "the budget": of_context(budget_wait=seconds(1)),
    "the watch": of_context(owned_for=seconds(299)),
    "another owner": of_context(owner="team/first"),
    "a stranger": of_context(stranger=(operation(), seconds(1))),
    "no permission to release": of_context(grant=Grant(frozenset({Verb.OBSERVE, Verb.ALLOCATE}))),
    "no permission at all": lambda s: replace(s, observed=None, context=replace(s.context, grant=Grant())),
    "suspension": lambda s: replace(of_resource("spec", suspend=True)(s), observed=None),
    "another wish": of_resource("spec", direct_connection=True),
    "no wish": of_resource("spec", direct_connection=None),
    "a drift that is only reported": of_resource("spec", drift_policy=None),
    "a deletion": of_resource("metadata", deletion_timestamp=NOW),
    "a deletion that retains": lambda s: of_resource("spec", deletion_policy="Retain")(
        of_resource("metadata", deletion_timestamp=NOW)(s)
    ),
    "a deletion of what nobody wanted": lambda s: of_resource("spec", direct_connection=None)(
        of_resource("metadata", deletion_timestamp=NOW)(s)
    ),
    "no approval": of_resource("metadata", annotations={}),
    "an approval of another plan": of_resource("metadata", annotations={ANNOTATION_APPROVE: plan_id(finished=1)}),
    "a release since": of_resource("status", finished_releases=1),
    "no plan": of_resource("status", plan=None),
    "a plan that was not withdrawn": of_resource("status", plan=planned(Reason.APPROVAL_REQUIRED)),
    "a drain that is not over": of_resource("status", plan=planned(Reason.DRAINING, withdrawn_at=NOW - seconds(59))),
    "a drain that began later than now": of_resource(
        "status", plan=planned(Reason.DRAINING, withdrawn_at=NOW + seconds(3600))
    ),
    "first contact": of_resource("status", reached=None),
    "a call in doubt": of_resource("status", operation=operation(outcome=Outcome.UNKNOWN)),
    "a call that failed": lambda s: of_context(seen={"in doubt: op-1": seconds(300)})(
        of_resource("status", operation=operation())(s)
    ),
    "a call that was refused": lambda s: of_context(refusal=(ErrorClass.BLOCKED, Reason.ACCESS_DENIED))(
        of_resource("status", operation=operation(outcome=Outcome.REJECTED, code="Forbidden"))(s)
    ),
    "a plan that lapsed": lambda s: replace(s, now=NOW + timedelta(hours=24)),
    "the end of the window": lambda s: replace(s, now=NOW + seconds(7191)),
    "a window that is not known": of_look(window=None),
    "a window that was not asked for": of_look(asked=frozenset()),
    "a closed window": of_look(window=Window(time(13), time(11))),
    "another endpoint": of_look(endpoints=(PROXY, endpoint(vpc_instance_id="another"))),
    "no endpoint": of_look(endpoints=(PROXY,)),
    "a reply that says nothing": of_look(endpoints=()),
    "a busy instance": of_look(instance=Instance(ID, REGION, "Changing")),
    "another instance": of_look(instance=Instance("r-other", REGION, "Normal")),
    "another region": of_look(instance=Instance(ID, "cn-beijing", "Normal")),
    "an instance that is not eligible": of_look(instance=Instance(ID, REGION, "Normal", computing_type="Ecs")),
    "a failed look": lambda s: replace(s, observed=CLOUD_ERROR),
    "a call that could not be prepared": of_context(obstacle=CLOUD_ERROR),
    "what could not be withdrawn": of_context(unpublished="It may not be written"),
    "a finalizer that could not be written": of_context(unheld="It may not be written"),
}


@st.composite
def close_to_a_release(draw: st.DrawFn) -> Situation:
    """Return a situation that is ready to release, but for what the spec and the settings ask for, and an obstacle."""
    spec = {"release": draw(RELEASE_SPECS), "publish": draw(PUBLISH_SPECS)}
    s = of_resource("spec", **spec)(READY_TO_GO)
    s = of_context(policy=draw(st.sampled_from([Policy(), STRICT, Policy(needs_approval_at_first_contact=True)])))(s)
    s = OBSTACLES[draw(st.sampled_from(sorted(OBSTACLES)))](s)
    return draw(st.sampled_from([s, of_context(is_namespace_terminating=True)(s)]))


def plan_of(s: Situation) -> Plan:
    return decide(s.resource, s.observed, s.context, s.now)


def conditions_of(made: TairInstance, plan: Plan) -> dict[str, Condition]:
    following = next_conditions(made.status.conditions, plan, made.metadata.generation, NOW)
    return {condition.type: condition for condition in following}


@settings(max_examples=300)
@given(close_to_a_release())
def test_a_release_needs_every_permission_and_the_sight_of_the_endpoint(s: Situation) -> None:
    plan = plan_of(s)
    if plan.action is not Action.RELEASE:
        return
    observed = s.observed

    assert s.wanted is False
    assert isinstance(observed, Observation)
    assert observed.instance is not None
    assert (observed.instance.instance_id, observed.instance.region_id) == (ID, REGION)
    assert observed.instance.status == "Normal"
    assert any(found.direct for found in observed.endpoints)
    assert not s.resource.spec.suspend
    assert {Verb.OBSERVE, Verb.RELEASE} <= s.context.grant.verbs
    assert s.context.owner is None
    assert s.context.obstacle is None
    assert s.in_doubt is None or plan.outcome in {Outcome.SUCCEEDED, Outcome.FAILED}


def is_released_by_deletion(made: TairInstance) -> bool:
    metadata, spec = made.metadata, made.spec
    is_held = metadata.deletion_timestamp is not None and FINALIZER in metadata.finalizers
    return is_held and spec.deletion_policy == "Release" and spec.direct_connection is not None


def is_approval_needed(s: Situation, live: Endpoint) -> bool:
    spec, reached = s.resource.spec.release, s.resource.status.reached
    operation = s.resource.status.operation
    is_ours = (reached is not None and reached.endpoint_id == endpoint_id(live)) or (
        operation is not None and operation.action is Action.ALLOCATE and s.in_doubt is not None
    )
    return (
        (spec is not None and spec.approval == "Required")
        or s.context.policy.needs_approval
        or s.context.grant.requires_approval
        or (s.context.policy.needs_approval_at_first_contact and reached is None)
        or (is_released_by_deletion(s.resource) and not is_ours)
    )


def has_approval(s: Situation, live: Endpoint, finished: int) -> bool:
    plan = s.resource.status.plan
    return (
        plan is not None
        and plan.action is Action.RELEASE
        and s.resource.metadata.annotations.get(ANNOTATION_APPROVE) == plan.id
        and (plan.expires_at is None or s.now < plan.expires_at)
        and plan.id
        == plan_id(
            uid=s.resource.metadata.uid,
            host=live.host,
            ip=live.ip_address,
            vpc=live.vpc_instance_id,
            finished=finished,
            expires=plan.expires_at,
        )
    )


def has_room(window: Window | None, now: datetime, deadline: timedelta) -> bool:
    """Whether the call fits into the window of yesterday or of today."""
    if window is None:
        return False
    for days in (-1, 0):
        start = datetime.combine(now.date() + timedelta(days=days), window.start, now.tzinfo)
        end = datetime.combine(start.date(), window.end, now.tzinfo)
        end += timedelta(days=1) if window.end < window.start else timedelta(0)
        if start <= now and now + deadline + seconds(5) <= end:
            return True
    return False


@settings(max_examples=500)
@given(close_to_a_release())
def test_a_release_needs_that_every_guard_agrees(s: Situation) -> None:
    """The guards as the specification has them, said a second time and in other words."""
    plan = plan_of(s)
    if plan.action is not Action.RELEASE:
        return
    policy, made, operation = s.context.policy, s.resource, s.resource.status.operation
    spec, known = made.spec.release or ReleaseSpec(), made.status.plan
    assert isinstance(s.observed, Observation)
    live = next(found for found in s.observed.endpoints if found.direct)
    is_release_over = plan.outcome in {Outcome.SUCCEEDED, Outcome.FAILED} and (
        operation is not None and operation.action is Action.RELEASE
    )
    finished = (made.status.finished_releases or 0) + is_release_over
    drain = max(policy.drain, seconds(spec.drain_seconds or 0))
    is_published = made.spec.publish is not None or made.status.published is not None

    if made.metadata.deletion_timestamp is None:
        assert made.spec.direct_connection is False
    else:
        assert is_released_by_deletion(made)
    assert not policy.is_observing_only
    assert not s.context.grant.are_releases_held
    assert s.context.budget_wait is None
    assert s.context.owned_for is None or s.context.owned_for >= policy.settle
    assert s.context.unheld is None
    assert s.context.unpublished is None or s.context.is_namespace_terminating
    if is_approval_needed(s, live):
        assert has_approval(s, live, finished)
    if policy.needs_window or spec.window == "Maintenance":
        assert has_room(s.observed.window, s.now, policy.call_deadline)
    if drain or is_published:
        assert known is not None
        assert known.withdrawn_at is not None
        assert s.now >= known.withdrawn_at + drain or not drain


@settings(max_examples=200)
@given(situations() | close_to_a_release())
def test_an_endpoint_that_is_there_is_withdrawn_only_for_a_plan_that_status_shows(s: Situation) -> None:
    plan = plan_of(s)
    is_there = isinstance(s.observed, Observation) and any(found.direct for found in s.observed.endpoints)
    if plan.publication is not Publication.WITHDRAW or not (is_there and s.has_seen_instance):
        return

    assert plan.planned is not None
    assert plan.planned.withdrawn_at is not None


@settings(max_examples=200)
@given(situations() | close_to_a_release())
def test_nothing_is_published_in_doubt_about_a_release_or_unseen(s: Situation) -> None:
    plan = plan_of(s)
    if plan.publication is not Publication.PUBLISH:
        return
    is_unsettled = s.in_doubt is not None and plan.outcome not in {Outcome.SUCCEEDED, Outcome.FAILED}
    call, age = s.context.stranger or (None, timedelta(0))

    assert not is_unsettled
    assert plan.action is not Action.RELEASE
    assert call is None or call.action is not Action.RELEASE or age >= s.context.policy.settle
    if plan.stance is Stance.SUSPENDED:
        known = s.resource.status.direct_connection
        assert known is not None
        assert None not in {known.host, known.port}
    else:
        assert isinstance(s.observed, Observation)
        assert any(found.direct and found.host and found.port is not None for found in s.observed.endpoints)


@given(situations())
def test_a_deletion_is_let_go_without_a_call_or_says_how_to_end_it(s: Situation) -> None:
    plan = plan_of(s)

    assert not (plan.lets_go and plan.action)
    assert not plan.lets_go or s.resource.metadata.deletion_timestamp is not None
    if is_released_by_deletion(s.resource) and not plan.lets_go:
        assert "set spec.deletionPolicy to Retain" in plan.message
        assert plan.message.count("spec.deletionPolicy") == 1


@given(situations())
def test_a_plan_asks_once_and_only_for_what_it_was_not_told(s: Situation) -> None:
    plan = plan_of(s)
    if not plan.asks:
        return
    assert isinstance(s.observed, Observation)

    assert plan.action is None
    assert not plan.asks & s.observed.asked
    told = replace(s, observed=replace(s.observed, asked=s.observed.asked | plan.asks))
    failed = replace(s, context=replace(s.context, obstacle=s.context.obstacle or CLOUD_ERROR))
    assert not plan_of(told).asks & plan.asks
    assert not plan_of(failed).asks


@given(situations())
def test_an_allocation_needs_a_manifest_that_wants_it_and_a_permission(s: Situation) -> None:
    plan = plan_of(s)
    if plan.action is not Action.ALLOCATE:
        return

    assert s.wanted is True
    assert s.has_seen_instance
    assert s.is_normal
    assert s.endpoint is None
    assert not s.resource.spec.suspend
    assert {Verb.OBSERVE, Verb.ALLOCATE} <= s.context.grant.verbs
    assert s.context.owner is None
    assert s.context.obstacle is None


@given(situations())
def test_without_a_wish_nothing_is_ever_called(s: Situation) -> None:
    spec = s.resource.spec.model_copy(update={"direct_connection": None})

    assert plan_of(replace(s, resource=s.resource.model_copy(update={"spec": spec}))).action is None


@settings(max_examples=300)
@given(close_to_a_release())
def test_a_drift_is_released_only_where_the_policy_says_so(s: Situation) -> None:
    plan = plan_of(s)
    if plan.action is not Action.RELEASE or not plan.corrects_drift:
        return

    assert s.resource.spec.drift_policy is DriftPolicy.CORRECT


@given(situations())
def test_the_same_situation_leads_to_the_same_plan(s: Situation) -> None:
    assert plan_of(s) == plan_of(s)


@given(situations())
def test_every_plan_acts_or_says_when_to_look_again_or_may_wait_for_an_event(s: Situation) -> None:
    plan = plan_of(s)
    may_wait = (
        plan.stance is Stance.SUSPENDED
        or plan.lets_go
        or (plan.stance is Stance.READY and s.resource.spec.resync_seconds == 0)
    )

    assert plan.action is not None or plan.requeue_after is not None or may_wait
    assert plan.requeue_after is None or plan.requeue_after > timedelta(0) or plan.asks or is_to_be_looked_at(plan)
    assert plan.action is None or plan.stance is Stance.RECONCILING


def is_to_be_looked_at(plan: Plan) -> bool:
    """Whether a plan only waits for the look that follows a withdrawal without a drain, or for room that is there."""
    return plan.reason in {Reason.DRAINING, Reason.RELEASE_BUDGET}


@given(situations())
def test_ready_is_true_only_where_the_wanted_value_is_seen_or_kept_or_suspended(s: Situation) -> None:
    plan = plan_of(s)
    if plan.ready != "True":
        return
    is_unsettled = s.in_doubt is not None and plan.outcome not in {Outcome.SUCCEEDED, Outcome.FAILED}
    is_seen = isinstance(s.observed, Observation) and (
        s.wanted is None or s.wanted is any(found.direct for found in s.observed.endpoints)
    )

    assert not is_unsettled
    assert is_seen or plan.stance is Stance.SUSPENDED or "ready but not seen" in plan.holds


@given(situations())
def test_the_conditions_are_such_as_kstatus_and_flux_can_read(s: Situation) -> None:
    """The checks of fluxcd/pkg runtime/conditions/check, for a status at rest."""
    following = conditions_of(s.resource, plan_of(s))

    assert "Ready" in following
    assert not {"Reconciling", "Stalled"} <= following.keys()
    assert "Suspended" not in following or not {"Reconciling", "Stalled"} & following.keys()
    if following["Ready"].status == "True":
        assert not {"Reconciling", "Stalled"} & following.keys()
    if following["Ready"].status == "Unknown":
        assert "Reconciling" in following
    for kind, condition in following.items():
        if kind != "Foreign":
            assert condition.observed_generation == s.resource.metadata.generation
            assert kind == "Ready" or condition.status == "True"


@given(situations())
def test_the_first_rule_that_speaks_decides_and_the_last_always_speaks(s: Situation) -> None:
    assert RULES[-1].__name__ == "act"
    assert settled_outcome(s) is None or s.in_doubt is not None
    assert s.in_doubt is None or s.in_doubt.outcome in UNSETTLED


@given(situations())
@example(
    Situation(
        resource(True, status=TairInstanceStatus(reached=ReachedStatus(direct_connection=True, time=NOW))),
        observation(direct=False),
        Context(grant=Grant(EVERYTHING), owner="team/first"),
        NOW,
    )
)
def test_a_pass_that_changes_nothing_is_not_written_twice(s: Situation) -> None:
    """The status after a pass is the status after the same pass again, as far as it is worth a write."""
    look = Look(
        s.observed if isinstance(s.observed, Observation) else None,
        s.observed if isinstance(s.observed, CloudError) else None,
    )
    before = s.resource.status.direct_connection
    # We never show the address of an endpoint that is being allocated; once it is dropped, nobody recognises its host.
    assume(before is None or before.state is not ConnectionState.ALLOCATING or before.host is None)
    plan = plan_of(s)
    if plan.action is not None:
        return
    once = next_status(s.resource, plan, look, s.now)
    written = s.resource.model_copy(update={"status": once})
    again = decide(written, s.observed, s.context, s.now)
    if again.drift is not plan.drift:
        # An absence is a drift only when it is seen for the second time, which was now.
        plan, once = again, next_status(written, again, look, s.now)
        written = written.model_copy(update={"status": once})
        again = decide(written, s.observed, s.context, s.now)
        assert again.drift is plan.drift
    if again.action is not None or again.holds != plan.holds or again.reason != plan.reason:
        return

    assert not is_worth_writing(once, next_status(written, again, look, s.now + timedelta(seconds=1)))


# --- Whole passes ---

WORLDS = st.fixed_dictionaries(
    {
        "wanted": st.sampled_from([None, True, False]),
        "is_there": st.booleans(),
        "window": st.none() | st.sampled_from([Window(time(11), time(13)), Window(time(13), time(14))]),
        "release": RELEASE_SPECS,
        "publish": PUBLISH_SPECS,
        "deletion_policy": st.sampled_from([None, "Release"]),
        "policy": st.sampled_from(
            [
                Policy(),
                Policy(is_observing_only=True),
                Policy(needs_approval=True),
                Policy(needs_approval_at_first_contact=True),
                Policy(needs_window=True, drain=seconds(60)),
            ]
        ),
        "is_held": mostly(False, st.just(True)),
    }
)


def world_of(case: dict[str, Any]) -> World:
    spec = {name: case[name] for name in ("release", "publish", "deletion_policy")}
    made = world(present() if case["is_there"] else absent(), resource(case["wanted"], **spec), case["policy"])
    made.cloud.instances[ID].window = case["window"]
    made.is_held = case["is_held"]
    return made


def done(w: World) -> tuple[int, int, int]:
    return len(w.cluster.writes), len(w.cluster.publications), len(w.cloud.ledger)


@settings(max_examples=60, deadline=None)
@given(WORLDS)
def test_repeated_passes_converge_and_then_nothing_is_written_or_called(case: dict[str, Any]) -> None:
    w = world_of(case)
    asyncio.run(w.run(4 * 3600))
    settled = done(w)
    asyncio.run(w.run(6 * 3600))

    assert done(w) == settled
    assert len(w.cloud.effective_releases) <= 1


@settings(max_examples=60, deadline=None)
@given(WORLDS, st.sampled_from([None, True, False]), st.booleans())
def test_a_change_of_mind_before_any_call_leads_to_no_call(
    case: dict[str, Any],
    other: bool | None,  # noqa: FBT001 - what the manifest says
    is_looked_at: bool,  # noqa: FBT001 - whether a pass saw it
) -> None:
    """The manifest goes from A to B and back to A; where B had to wait for a guard, it was as if it had never been."""
    wanted = case["is_there"]
    w = world_of(case | {"wanted": wanted, "is_held": True})
    asyncio.run(w.run(60))
    calls = len(w.cloud.ledger)
    w.cluster.edit(KEY, direct_connection=other)
    if is_looked_at and other is not True:
        asyncio.run(w.run(60))
    w.cluster.edit(KEY, direct_connection=wanted)
    asyncio.run(w.run(3600))

    assert (calls, len(w.cloud.ledger)) == (0, 0)
    assert w.ready() == ("True", "Allocated" if wanted else "Released")


@settings(max_examples=30, deadline=None)
@given(WORLDS, st.integers(1, 5))
def test_a_restart_of_the_operator_neither_calls_nor_writes(case: dict[str, Any], restarts: int) -> None:
    w = world_of(case)
    asyncio.run(w.run(4 * 3600))
    settled = done(w)
    for _ in range(restarts):
        w.restart()
        asyncio.run(w.operator.learn(pages(w.seen())))
        asyncio.run(w.run(60))

    assert done(w) == settled


@pytest.mark.parametrize("policy", [Policy(), STRICT])
def test_without_an_obstacle_the_release_is_made(policy: Policy) -> None:
    """Else the properties above would prove nothing."""
    assert plan_of(of_context(policy=policy)(READY_TO_GO)).action is Action.RELEASE


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_where_everything_is_asked_for_every_obstacle_counts(obstacle: str) -> None:
    strict = replace(STRICT, needs_approval_at_first_contact=True)
    s = OBSTACLES[obstacle](of_context(policy=strict)(READY_TO_GO))
    # A first contact and a deletion ask for an approval, which is there.
    is_approved = obstacle in {"first contact", "a deletion"}

    assert (plan_of(s).action is Action.RELEASE) is is_approved
