"""The wall clock of the operator jumps by minutes and hours while its monotonic clock goes on."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.faketime import WallClock, find_library
from tests.chaos.scenes import SETTLE, moment, new_operator, new_tenant, outcome
from tests.cluster.tenants import RELEASE, Tenant, condition, is_ready, is_stalled
from tests.cluster.watching import Judge, Proxy, is_intent
from tests.stage import Stage

JUMPS: Final = (600.0, -600.0, 300.0)
"""The cloud refuses what is dated more than fifteen minutes off."""
HOURS: Final = 7200.0
DRAIN: Final = 6
PATIENCE: Final = 45.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_library(tmp_path_factory.mktemp("faketime"))


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> WallClock:
    return WallClock(library, tmp_path / "clock")


@pytest.fixture
def proxy(stage: Stage) -> Iterator[Proxy]:
    with Proxy(stage.plane, stage.simulator.tls) as proxy:
        yield proxy


def seconds_until_called(tenant: Tenant, since: datetime) -> float:
    [call] = tenant.calls(RELEASE)
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


def ask_again(tenant: Tenant, stamp: str) -> None:
    words = f"tair.alibabacloud.com/reconcile-requested-at={stamp}"
    tenant.stage.plane.kubectl("-n", tenant.namespace, "annotate", "--overwrite", "tair", tenant.name, words)


def test_no_jump_of_the_clock_makes_a_settling_time_or_a_drain_shorter_or_endless(
    stage: Stage, judge: Judge, proxy: Proxy, clock: WallClock
) -> None:
    settling, draining, late = (new_tenant(stage, judge) for _ in range(3))
    hold = proxy.hold(is_intent, "after")
    settling.apply(directConnection=False)
    first = proxy.lead(new_operator(stage))
    first.start()
    hold.wait_reached()
    first.kill()
    hold.drop()
    began = datetime.now(UTC)
    with new_operator(stage, **clock.settings):
        settling.wait(lambda resource: outcome(resource) == "Unknown")
        draining_since = datetime.now(UTC)
        draining.apply(directConnection=False, release={"drainSeconds": DRAIN})
        draining.wait(lambda resource: condition(resource, "Ready").get("reason") == "Draining")
        for jump in JUMPS:
            clock.jump(jump)
            time.sleep(1)
            if jump < 0:
                # Created at a time that has not come yet, by this clock.
                late.apply(directConnection=False)
                late.wait(is_ready)
        for tenant in (settling, draining):
            tenant.wait(is_ready, seconds=PATIENCE)
    judge.catch_up()

    assert SETTLE < seconds_until_called(settling, began) < PATIENCE
    assert DRAIN < seconds_until_called(draining, draining_since) < PATIENCE
    for tenant in (settling, draining, late):
        assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1
        assert transitions_before_creation(judge, tenant) == []


def test_a_plan_that_the_clock_has_outrun_needs_another_approval(stage: Stage, judge: Judge, clock: WallClock) -> None:
    tenant = new_tenant(stage, judge)
    tenant.apply(directConnection=False, release={"approval": "Required"})
    with new_operator(stage, TAIR_OPERATOR_APPROVAL_TTL_SECONDS="120", **clock.settings):
        lapsing = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
        clock.jump(600)
        tenant.approve(lapsing["id"])
        other = tenant.wait(lambda resource: resource["status"].get("plan", {}).get("id") != lapsing["id"])
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
    with new_operator(stage, **clock.settings):
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
