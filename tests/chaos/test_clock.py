"""The wall clock of the operator jumps by minutes and hours while its monotonic clock goes on."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import pytest

from tests.chaos.faketime import WallClock, find_library
from tests.chaos.scenes import SETTLE, ask_again, moment, new_operator, new_tenant, outcome
from tests.cluster.tenants import RELEASE, Tenant, condition, is_ready, is_stalled
from tests.cluster.watching import Judge
from tests.stage import OperatorProcess, Stage

JUMPS: Final = (600.0, 300.0, -600.0)
"""The cloud refuses what is dated more than fifteen minutes off."""
HOURS: Final = 7200.0
DRAIN: Final = 6
PATIENCE: Final = 45.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def module_clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    folder = tmp_path_factory.mktemp("faketime")
    return WallClock(find_library(folder), folder / "clock")


@pytest.fixture(scope="module")
def module_operator(stage: Stage, module_clock: WallClock) -> Iterator[OperatorProcess]:
    """Start one operator for all tests here: a clock jumps under a process that has been at work for a while."""
    with new_operator(stage, TAIR_OPERATOR_APPROVAL_TTL_SECONDS="120", **module_clock.settings) as operator:
        yield operator


@pytest.fixture
def clock(module_operator: OperatorProcess, module_clock: WallClock) -> Iterator[WallClock]:
    yield module_clock
    module_clock.jump(0)


def seconds_until_effect(tenant: Tenant, since: datetime) -> float:
    [call] = tenant.effective(RELEASE)
    return (moment(call["time"]) - since).total_seconds()


def transitions_before_creation(judge: Judge, tenant: Tenant) -> list[str]:
    versions = [version.resource for version in judge.versions]
    return [
        f"{each['type']} since {each['lastTransitionTime']}, created {resource['metadata']['creationTimestamp']}"
        for resource in versions
        if resource["metadata"]["namespace"] == tenant.namespace
        for each in resource["status"].get("conditions", [])
        # What the CRD's default says before anybody has looked is of no time.
        if resource["status"].get("observedGeneration", -1) >= 0
        and moment(each["lastTransitionTime"]) < moment(resource["metadata"]["creationTimestamp"])
    ]


def test_no_jump_of_the_clock_makes_a_settling_time_or_a_drain_shorter_or_endless(
    stage: Stage, judge: Judge, clock: WallClock
) -> None:
    settling, draining, late = (new_tenant(stage, judge) for _ in range(3))
    # Its first call has no effect, and nobody is told.
    stage.simulator.add_fault(kind="reset-before", action=RELEASE, instanceId=settling.instance_id)
    began = datetime.now(UTC)
    settling.apply(directConnection=False)
    draining.apply(directConnection=False, release={"drainSeconds": DRAIN})
    settling.wait(lambda resource: outcome(resource) == "Unknown")
    draining.wait(lambda resource: condition(resource, "Ready").get("reason") == "Draining")
    for jump in JUMPS:
        clock.jump(jump)
        time.sleep(1)
        if jump < 0:
            # Created at a time that has not come yet, by this clock.
            late.apply(directConnection=False)
    for tenant in (settling, draining, late):
        tenant.wait(is_ready, seconds=PATIENCE)
    judge.catch_up()

    assert SETTLE < seconds_until_effect(settling, began) < PATIENCE
    assert DRAIN < seconds_until_effect(draining, began) < PATIENCE
    assert [call["effective"] for call in settling.calls(RELEASE)] == [False, True]
    assert len(draining.calls(RELEASE)) == len(late.calls(RELEASE)) == 1
    for tenant in (settling, draining, late):
        assert transitions_before_creation(judge, tenant) == []


def test_a_plan_that_the_clock_has_outrun_needs_another_approval(stage: Stage, judge: Judge, clock: WallClock) -> None:
    tenant = new_tenant(stage, judge)
    tenant.apply(directConnection=False, release={"approval": "Required"})
    lapsing = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
    clock.jump(600)
    tenant.approve(lapsing["id"])
    other = tenant.wait(
        lambda resource: is_stalled("ApprovalRequired")(resource) and resource["status"]["plan"]["id"] != lapsing["id"]
    )
    # Back in the time of the first plan, which was approved.
    clock.jump(0)
    ask_again(tenant, "back")
    tenant.wait(lambda resource: resource["status"].get("lastHandledReconcileAt") == "back")
    calls_so_far = tenant.calls(RELEASE)
    tenant.approve(tenant.get()["status"]["plan"]["id"])
    tenant.wait(is_ready)

    assert "is for another plan" in condition(other, "Stalled")["message"]
    assert calls_so_far == []
    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1


@pytest.mark.parametrize("hours", [HOURS, -HOURS], ids=["ahead", "behind"])
def test_a_clock_that_is_hours_off_is_named_and_nothing_is_called_until_it_is_right(
    stage: Stage, judge: Judge, clock: WallClock, hours: float
) -> None:
    tenant = new_tenant(stage, judge)
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    clock.jump(hours)
    tenant.apply(directConnection=False)
    wrong = tenant.wait(is_stalled("InvalidRequest"))
    calls_so_far = tenant.calls(RELEASE)
    clock.jump(0)
    ask_again(tenant, "right")
    tenant.wait(is_ready)
    judge.catch_up()

    assert "clock of the node" in condition(wrong, "Stalled")["message"]
    assert wrong["status"]["error"]["code"] == "InvalidTimeStamp.Expired"
    assert calls_so_far == []
    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1
    assert transitions_before_creation(judge, tenant) == []
