"""What holds for every situation, however strange: the promises of the specification, tried on thousands of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tair_operator.conditions import next_conditions
from tair_operator.models import (
    ANNOTATION_RECONCILE,
    Action,
    Condition,
    ConnectionState,
    DirectConnectionStatus,
    DriftPolicy,
    InstanceStatus,
    Operation,
    Outcome,
    ReachedStatus,
    Reason,
    TairInstance,
    TairInstanceStatus,
)
from tair_operator.plan import RULES, decide, needs_look, settled_outcome
from tair_operator.ports import CloudError, Effect, Endpoint, ErrorClass, Instance, Observation
from tair_operator.situation import UNSETTLED, Context, Grant, Policy, Situation, Verb
from tair_operator.stance import Plan, Stance
from tair_operator.status import Look, is_worth_writing, next_status
from tests.builders import EVERYTHING, HOST, ID, NOW, PROXY, REGION, endpoint, resource

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
    reached=st.none() | build(ReachedStatus, direct_connection=st.booleans(), operation_id=st.none(), time=TIMES),
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
    annotations=st.sampled_from([{}, {ANNOTATION_RECONCILE: "1"}]),
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
    *(f"{what} op-{number}" for what in ("in doubt:", "refused:") for number in (1, 2, 3, 4)),
    *(f"{what}: {reason}" for what in ("trouble", "failing") for reason in Reason),
]
contexts = st.builds(
    Context,
    policy=st.sampled_from([Policy(), Policy(timedelta(5), timedelta(0), timedelta(60))]),
    grant=st.builds(Grant, mostly(EVERYTHING, st.frozensets(st.sampled_from(Verb))), WORDS),
    seen=st.dictionaries(st.sampled_from(FACTS), AGES, max_size=len(FACTS)),
    refusal=st.none() | st.tuples(st.sampled_from(ErrorClass), st.sampled_from(Reason)),
    owner=mostly(None, st.just("team/first")),
    obstacle=mostly(None, errors),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Return any situation that a pass can put to ``decide``."""
    made, asked = draw(resources), draw(contexts)
    observed = draw(looks) if needs_look(made, asked) else None
    return Situation(made, observed, asked, draw(TIMES))


@st.composite
def close_to_a_release(draw: st.DrawFn) -> Situation:
    """Return a situation in which most of what a release needs is given, and any part of it may be missing."""
    s = draw(situations())
    spec = s.resource.spec.model_copy(update={"direct_connection": False, "suspend": None})
    good = Observation(NOW, Instance(ID, REGION, "Normal"), (PROXY, endpoint()))
    made = draw(mostly(s.resource.model_copy(update={"spec": spec}), st.just(s.resource)))
    asked = draw(mostly(replace(s.context, grant=Grant(EVERYTHING), owner=None, obstacle=None), st.just(s.context)))
    observed = draw(mostly(good, st.just(s.observed or good))) if needs_look(made, asked) else None
    return Situation(made, observed, asked, s.now)


def plan_of(s: Situation) -> Plan:
    return decide(s.resource, s.observed, s.context, s.now)


def conditions_of(made: TairInstance, plan: Plan) -> dict[str, Condition]:
    following = next_conditions(made.status.conditions, plan, made.metadata.generation, NOW)
    return {condition.type: condition for condition in following}


@settings(max_examples=500)
@given(situations() | close_to_a_release())
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
    may_wait = plan.stance is Stance.SUSPENDED or (plan.stance is Stance.READY and s.resource.spec.resync_seconds == 0)

    assert plan.action is not None or plan.requeue_after is not None or may_wait
    assert plan.requeue_after is None or plan.requeue_after > timedelta(0)
    assert plan.action is None or plan.stance is Stance.RECONCILING


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
def test_a_pass_that_changes_nothing_is_not_written_twice(s: Situation) -> None:
    """The status after a pass is the status after the same pass again, as far as it is worth a write."""
    look = Look(
        s.observed if isinstance(s.observed, Observation) else None,
        s.observed if isinstance(s.observed, CloudError) else None,
    )
    plan = plan_of(s)
    if plan.action is not None:
        return
    once = next_status(s.resource, plan, look, s.now)
    written = s.resource.model_copy(update={"status": once})
    again = decide(written, s.observed, s.context, s.now)
    if again.action is not None or again.holds != plan.holds or again.reason != plan.reason:
        return

    assert not is_worth_writing(once, next_status(written, again, look, s.now + timedelta(seconds=1)))
