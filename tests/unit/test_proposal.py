"""What an approval is good for: one plan, of one resource, for one endpoint, until one release is over or time is."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tair_operator.models import (
    ANNOTATION_APPROVE,
    Action,
    Outcome,
    PlanStatus,
    Reason,
    ReleaseSpec,
    TairInstance,
)
from tair_operator.plan import decide
from tair_operator.ports import CloudError, Key, Observation
from tair_operator.proposal import is_approved, known_plan, proposed, withdrawn
from tair_operator.situation import Context, Policy, Situation
from tests.builders import (
    ALLOCATED,
    CHANGING,
    GONE,
    HOST,
    ID,
    KEY,
    NOW,
    PLAN_ID,
    PROXY,
    cloud_error,
    context,
    endpoint,
    minutes,
    observation,
    plan_id,
    planned,
    resource,
    seconds,
    status,
)
from tests.fakes import Scripted, World, present, rejection, silence, world

COPY = Key("shop", "a-copy")
REQUIRED = ReleaseSpec(approval="Required")
DAY = timedelta(hours=24)


def plan_for(
    made: TairInstance, seen: Observation | None = None, asked: Context | None = None, now: datetime = NOW
) -> PlanStatus:
    return proposed(Situation(made, seen or observation(), asked or context(), now), Reason.APPROVAL_REQUIRED)


# --- What the id depends on ---


def test_the_id_is_a_short_hash_of_what_an_approval_is_about() -> None:
    plan = plan_for(resource(False))

    assert plan == planned(Reason.APPROVAL_REQUIRED)
    assert plan.id == plan_id() == PLAN_ID
    assert len(plan.id) == 12


@pytest.mark.parametrize(
    ("made", "seen", "now", "expected"),
    [
        pytest.param(resource(False, uid="uid-2"), observation(), NOW, plan_id(uid="uid-2"), id="the uid"),
        pytest.param(resource(True), GONE, NOW, plan_id(Action.ALLOCATE, host=None), id="the action"),
        pytest.param(
            resource(False), observation(endpoints=(endpoint("other"),)), NOW, plan_id(host="other"), id="the host"
        ),
        pytest.param(
            resource(False),
            observation(endpoints=(endpoint(ip_address="10.0.0.2"),)),
            NOW,
            plan_id(ip="10.0.0.2"),
            id="the address",
        ),
        pytest.param(
            resource(False),
            observation(endpoints=(endpoint(vpc_instance_id="v-2"),)),
            NOW,
            plan_id(vpc="v-2"),
            id="the allocation",
        ),
        pytest.param(
            resource(False, status=status(ALLOCATED, finished_releases=1)),
            observation(),
            NOW,
            plan_id(finished=1),
            id="the number of finished releases",
        ),
        pytest.param(
            resource(False), observation(), NOW + seconds(1), plan_id(expires=NOW + DAY + seconds(1)), id="the expiry"
        ),
    ],
)
def test_the_id_changes_with(made: TairInstance, seen: Observation, now: datetime, expected: str) -> None:
    found = plan_for(made, seen, now=now).id

    assert found == expected
    assert found != PLAN_ID


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(resource(False, generation=7), id="the generation"),
        pytest.param(resource(False, key=Key("team", "another")), id="the name"),
        pytest.param(resource(False, resource_version="99"), id="the version"),
        pytest.param(resource(False, annotations={"any": "thing"}), id="annotations"),
        pytest.param(resource(False, release=REQUIRED, resync_seconds=60), id="the rest of the spec"),
        pytest.param(resource(False, status=status(ALLOCATED, reached=True)), id="what was reached"),
        pytest.param(resource(False, status=status(ALLOCATED, finished_releases=0)), id="no releases, in other words"),
    ],
)
def test_the_id_does_not_change_with(made: TairInstance) -> None:
    assert plan_for(made).id == PLAN_ID


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(observation(state="Changing"), id="the status of the instance"),
        pytest.param(observation(name="renamed", engine_version="4.0"), id="facts of the instance"),
        pytest.param(observation(endpoints=(endpoint(port=7000), PROXY)), id="the port, and the order of endpoints"),
        pytest.param(observation(endpoints=(endpoint(vpc_id="vpc-2", v_switch_id="v-2"),)), id="the network"),
    ],
)
def test_the_id_does_not_change_with_what_else_is_seen(seen: Observation) -> None:
    assert plan_for(resource(False), seen).id == PLAN_ID


def test_parts_of_an_id_cannot_be_mistaken_for_one_another() -> None:
    ids = {
        plan_for(resource(False), observation(endpoints=(found,))).id
        for found in (
            endpoint("a", ip_address="b"),
            endpoint("a", ip_address=None, vpc_instance_id="b"),
            endpoint("a", ip_address="b", vpc_instance_id="b"),
            endpoint("a\nb"),
        )
    }

    assert len(ids) == 4


# --- A plan in its time ---


def test_a_plan_in_status_stays_the_same_while_it_lasts() -> None:
    known = planned(Reason.WAITING_FOR_WINDOW, withdrawn_at=NOW)
    made = resource(False, release=REQUIRED, status=status(ALLOCATED, plan=known))

    assert plan_for(made, now=NOW + DAY - seconds(1)) == known.model_copy(update={"reason": Reason.APPROVAL_REQUIRED})


def test_a_plan_that_lapsed_unapproved_gives_way_to_a_new_one() -> None:
    made = resource(False, release=REQUIRED, status=status(ALLOCATED, plan=planned(Reason.APPROVAL_REQUIRED)))

    assert plan_for(made, now=NOW + DAY) == planned(
        Reason.APPROVAL_REQUIRED, expires_at=NOW + 2 * DAY, id=plan_id(expires=NOW + 2 * DAY)
    )


def test_a_plan_that_needs_no_approval_keeps_its_id() -> None:
    made = resource(False, status=status(ALLOCATED, plan=planned(Reason.APPROVAL_REQUIRED)))

    assert plan_for(made, now=NOW + DAY) == planned(Reason.APPROVAL_REQUIRED)


def test_the_settings_say_how_long_a_plan_lasts() -> None:
    plan = plan_for(resource(False), asked=context(policy=Policy(approval_ttl=minutes(5))))

    assert plan.expires_at == NOW + minutes(5)


def test_a_plan_is_stored_to_the_second_and_known_again() -> None:
    plan = plan_for(resource(False), now=NOW + timedelta(microseconds=999_999))
    stored = PlanStatus.model_validate(plan.model_dump(mode="json", by_alias=True, exclude_none=True))
    made = resource(False, status=status(ALLOCATED, plan=stored))

    assert stored == plan
    assert known_plan(Situation(made, observation(), context(), NOW)) == plan


@pytest.mark.parametrize(
    ("late", "since"),
    [(0, NOW), (1, NOW + seconds(1)), (999_999, NOW + seconds(1))],
)
def test_the_beginning_of_a_drain_is_rounded_up(late: int, since: datetime) -> None:
    plan = withdrawn(planned(Reason.DRAINING), NOW + timedelta(microseconds=late))

    assert plan == planned(Reason.DRAINING, withdrawn_at=since)


def test_a_plan_of_the_other_call_is_not_known() -> None:
    other = planned(Reason.PENDING, action=Action.ALLOCATE, id=plan_id(Action.ALLOCATE))
    made = resource(False, status=status(ALLOCATED, plan=other))

    assert known_plan(Situation(made, observation(), context(), NOW)) is None


def test_a_plan_whose_expiry_was_edited_is_not_known() -> None:
    """Status can be written by whoever may write it; prolonging an approval there is no approval."""
    edited = planned(Reason.APPROVAL_REQUIRED, expires_at=NOW + 30 * DAY)
    made = resource(
        False, annotations={ANNOTATION_APPROVE: PLAN_ID}, release=REQUIRED, status=status(ALLOCATED, plan=edited)
    )

    assert not is_approved(Situation(made, observation(), context(), NOW))


@pytest.mark.parametrize(("late", "approved"), [(-1, True), (0, False), (1, False)])
def test_an_approval_ends_exactly_with_its_plan(late: float, approved: bool) -> None:  # noqa: FBT001
    made = resource(
        False,
        annotations={ANNOTATION_APPROVE: PLAN_ID},
        release=REQUIRED,
        status=status(ALLOCATED, plan=planned(Reason.APPROVAL_REQUIRED)),
    )

    assert is_approved(Situation(made, observation(), context(), NOW + DAY + seconds(late))) is approved


@pytest.mark.parametrize("seen", [observation(None), CHANGING, cloud_error()])
def test_an_approval_survives_passes_that_learn_nothing(seen: Observation | CloudError) -> None:
    """A lost approval costs a person another night."""
    made = resource(
        False,
        annotations={ANNOTATION_APPROVE: PLAN_ID},
        release=REQUIRED,
        status=status(ALLOCATED, plan=planned(Reason.APPROVAL_REQUIRED)),
    )

    assert decide(made, seen, context(), NOW).planned == planned(Reason.APPROVAL_REQUIRED)


# --- Flows: what an approval must not be good for ---


def approve(w: World, key: Key = KEY) -> str:
    """Approve the plan that status shows, as a person does, and return its id."""
    plan = w.seen(key).status.plan

    assert plan is not None
    w.cluster.touch(key, annotations={ANNOTATION_APPROVE: plan.id})
    return plan.id


def plan_of(w: World, key: Key = KEY) -> str | None:
    plan = w.seen(key).status.plan
    return None if plan is None else plan.id


async def waiting(**spec: Any) -> World:  # noqa: ANN401 - goes on to a builder
    """Return a world in which a release waits for its approval."""
    w = world(present(), resource(False, release=REQUIRED, **spec))
    await w.run(30)

    assert (w.calls(), w.ready()) == ([], ("False", "ApprovalRequired"))
    return w


async def test_an_approval_lets_the_plan_go_that_status_shows() -> None:
    w = await waiting()
    approve(w)
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")
    assert plan_of(w) is None


async def test_an_approval_is_not_good_for_the_same_wish_after_a_revert() -> None:
    """The manifest goes true, false, true, false in Git; the annotation stays all the time."""
    w = await waiting()
    used = approve(w)
    await w.run(60)
    w.cluster.edit(KEY, direct_connection=True)
    await w.run(60)
    w.cluster.edit(KEY, direct_connection=False)
    await w.run(600)

    assert w.calls() == [(Action.RELEASE, True), (Action.ALLOCATE, True)]
    assert w.ready() == ("False", "ApprovalRequired")
    assert plan_of(w) not in {None, used}


async def test_an_approval_is_not_good_for_a_wish_that_was_taken_back_before_the_call() -> None:
    w = await waiting()
    before = plan_of(w)
    w.cluster.edit(KEY, direct_connection=True)
    await w.run(60)
    w.cluster.touch(KEY, annotations={ANNOTATION_APPROVE: before})
    w.cluster.edit(KEY, direct_connection=False)
    await w.run(600)

    assert w.calls() == []
    assert w.ready() == ("False", "ApprovalRequired")


async def test_an_approval_is_not_copied_with_the_manifest() -> None:
    w = await waiting()
    used = approve(w)
    copy = resource(
        False,
        key=COPY,
        uid="uid-2",
        instance_id="r-other",
        release=REQUIRED,
        annotations={ANNOTATION_APPROVE: used},
        status=w.seen().status,
    )
    w.cluster.create(copy)
    w.cloud.instances["r-other"] = present()
    await w.run(600, COPY)

    assert w.calls() == []
    assert w.ready(COPY) == ("False", "ApprovalRequired")


async def test_an_approval_does_not_outlive_its_resource() -> None:
    w = await waiting()
    used = approve(w)
    w.cluster.stored[KEY] = resource(
        False,
        uid="uid-2",
        release=REQUIRED,
        annotations={ANNOTATION_APPROVE: used},
        status=w.seen().status,
        resource_version="100",
    )
    await w.run(600)

    assert w.calls() == []
    assert w.ready() == ("False", "ApprovalRequired")


async def test_an_approval_is_not_good_for_a_later_drift() -> None:
    w = await waiting(drift_policy="Correct")
    approve(w)
    await w.run(60)
    w.cloud.instances[ID].endpoint = endpoint(HOST)
    await w.run(1200)

    assert w.calls() == [(Action.RELEASE, True)]
    assert w.ready() == ("False", "ApprovalRequired")


async def test_an_approval_is_not_good_for_another_endpoint() -> None:
    w = await waiting()
    w.cloud.instances[ID].endpoint = endpoint(HOST, vpc_instance_id="of-somebody-else")
    approve(w)
    await w.run(1200)

    assert w.calls() == []
    assert w.ready() == ("False", "ApprovalRequired")


async def test_an_approval_that_comes_after_the_expiry_is_refused() -> None:
    w = await waiting()
    shown = approve(w)
    w.clock.advance(DAY)
    await w.run(600)

    assert w.calls() == []
    assert w.ready() == ("False", "ApprovalRequired")
    assert plan_of(w) not in {None, shown}


async def test_an_approval_is_good_after_a_restart() -> None:
    w = await waiting()
    approve(w)
    w.restart()
    await w.run(60)

    assert w.calls() == [(Action.RELEASE, True)]


async def test_an_approval_stays_good_through_a_call_that_was_refused_as_busy() -> None:
    w = await waiting()
    used = approve(w)
    w.cloud.script.append(Scripted(rejection("IncorrectDBInstanceState")))
    await w.one_pass()
    await w.one_pass()
    during = (w.calls(), w.ready(), plan_of(w))
    await w.run(60)

    assert during == ([(Action.RELEASE, False)], ("False", "InstanceBusy"), used)
    assert w.calls() == [(Action.RELEASE, False), (Action.RELEASE, True)]
    assert w.ready() == ("True", "Released")


@pytest.mark.parametrize("effective", [True, False])
async def test_an_approval_is_used_up_by_a_call_that_may_have_had_an_effect(effective: bool) -> None:  # noqa: FBT001
    w = await waiting()
    used = approve(w)
    w.cloud.script.append(Scripted(silence(), effective=effective))
    await w.run(1000)
    operation = w.seen().status.operation

    assert operation is not None
    assert operation.outcome is (Outcome.SUCCEEDED if effective else Outcome.FAILED)
    assert w.seen().status.finished_releases == 1
    assert w.calls() == [(Action.RELEASE, effective)]
    assert w.ready() == (("True", "Released") if effective else ("False", "ApprovalRequired"))
    assert plan_of(w) != used


async def test_a_look_that_learns_nothing_does_not_cost_an_approval() -> None:
    w = await waiting()
    used = approve(w)
    observe = w.cloud.observe

    async def shows_nothing(target: Any) -> Observation:  # noqa: ANN401 - as the real one
        return replace(await observe(target), endpoints=())

    w.cloud.observe = shows_nothing  # type: ignore[method-assign]
    await w.one_pass()
    kept = plan_of(w)
    w.cloud.observe = observe  # type: ignore[method-assign]
    await w.run(60)

    assert kept == used
    assert w.calls() == [(Action.RELEASE, True)]
