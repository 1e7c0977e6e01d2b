"""What a release has to pass, on a real API server: approval, window, drain."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.tenants import RELEASE, Tenant, condition, grow_older, handled, is_ready, is_stalled, make_tenant
from tests.kstatus import broken_rules
from tests.stage import OperatorProcess, Stage

REQUIRED = {"approval": "Required"}


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    settings = {"TAIR_OPERATOR_STALL_GRACE_SECONDS": "1", "TAIR_OPERATOR_SETTLE_SECONDS": "5"}
    with stage.operator("guards", **settings) as operator:
        yield operator


@pytest.fixture
def tenant(stage: Stage, operator: OperatorProcess) -> Tenant:
    return make_tenant(stage)


def reason_is(reason: str) -> Callable[[dict[str, Any]], bool]:
    return lambda resource: bool(condition(resource, "Ready").get("reason") == reason)


def window(starts_in: timedelta, ends_in: timedelta) -> dict[str, str]:
    now = datetime.now(UTC)
    return {"start": f"{now + starts_in:%H:%M}Z", "end": f"{now + ends_in:%H:%M}Z"}


def test_a_release_waits_for_the_approval_of_its_very_plan(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, release=REQUIRED)
    waiting = tenant.wait(is_stalled("ApprovalRequired"))
    plan = waiting["status"]["plan"]
    tenant.approve("0123456789ab")
    tenant.approve(plan["id"])
    done = tenant.wait(is_ready)

    assert plan["action"] == RELEASE
    assert plan["reason"] == "ApprovalRequired"
    assert plan["expiresAt"] > datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert f"approve-release={plan['id']}" in condition(waiting, "Ready")["message"]
    assert broken_rules(waiting) == []
    assert condition(done, "Ready")["reason"] == "Released"
    assert "plan" not in done["status"]
    assert done["status"]["finishedReleases"] == 1
    assert len(tenant.calls(RELEASE)) == 1


def test_an_approval_is_not_good_for_the_next_release_after_a_revert(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, release=REQUIRED)
    plan = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
    tenant.approve(plan["id"])
    tenant.wait(is_ready)
    tenant.apply(directConnection=True, release=REQUIRED)
    tenant.wait(is_ready)
    tenant.apply(directConnection=False, release=REQUIRED)
    again = tenant.wait(is_stalled("ApprovalRequired"))

    assert again["metadata"]["annotations"]["tair.alibabacloud.com/approve-release"] == plan["id"]
    assert again["status"]["plan"]["id"] != plan["id"]
    assert "is for another plan" in condition(again, "Stalled")["message"]
    assert len(tenant.calls(RELEASE)) == 1


def test_an_approval_is_not_good_for_a_resource_that_is_created_again_or_copied(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, release=REQUIRED)
    plan = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
    tenant.delete()
    tenant.wait_gone()
    tenant.apply(release=REQUIRED)
    tenant.approve(plan["id"])
    tenant.apply(directConnection=False, release=REQUIRED)
    again = tenant.wait(is_stalled("ApprovalRequired"))

    assert again["status"]["plan"]["id"] != plan["id"]
    assert tenant.calls(RELEASE) == []


def test_an_approval_is_not_good_for_a_later_drift(tenant: Tenant) -> None:
    spec = {"directConnection": False, "release": REQUIRED, "driftPolicy": "Correct"}
    tenant.apply(**spec)
    plan = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
    tenant.approve(plan["id"])
    tenant.wait(is_ready)
    tenant.stage.simulator.put_instance(tenant.instance_id, directConnection=True)
    stamp = "tair.alibabacloud.com/reconcile-requested-at=now"
    tenant.stage.plane.kubectl("-n", tenant.namespace, "annotate", "tair", tenant.name, stamp)
    again = tenant.wait(handled("now", is_stalled("ApprovalRequired")))

    assert again["status"]["plan"]["id"] != plan["id"]
    assert again["status"]["drift"]["directConnection"] is True
    assert len(tenant.calls(RELEASE)) == 1


def test_a_change_of_mind_takes_the_plan_back(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, release=REQUIRED)
    tenant.wait(is_stalled("ApprovalRequired"))
    tenant.apply(directConnection=True, release=REQUIRED)
    resource = tenant.wait(is_ready)

    assert "plan" not in resource["status"]
    assert tenant.calls(RELEASE) == []


def test_a_closed_window_is_waited_for_and_an_open_one_is_used(stage: Stage, operator: OperatorProcess) -> None:
    hour = timedelta(hours=1)
    later = make_tenant(stage, maintenanceWindow=window(3 * hour, 5 * hour))
    now = make_tenant(stage, maintenanceWindow=window(-hour, hour))
    for tenant in (later, now):
        tenant.apply(directConnection=False, release={"window": "Maintenance"})
    done, waiting = now.wait(is_ready), later.wait(reason_is("WaitingForWindow"))

    assert condition(done, "Ready")["reason"] == "Released"
    assert waiting["status"]["plan"]["reason"] == "WaitingForWindow"
    assert condition(waiting, "Reconciling")["status"] == "True"
    assert "UTC" in condition(waiting, "Ready")["message"]
    assert broken_rules(waiting) == []
    assert later.calls(RELEASE) == []
    assert [call["code"] for call in now.calls("DescribeInstanceAttribute")] == [None] * len(
        now.calls("DescribeInstanceAttribute")
    )


def test_a_window_that_is_not_known_counts_as_closed(stage: Stage, operator: OperatorProcess) -> None:
    tenant = make_tenant(stage, maintenanceWindow=None)
    tenant.apply(directConnection=False, release={"window": "Maintenance"})
    waiting = tenant.wait(reason_is("WaitingForWindow"))

    assert "counts as closed" in condition(waiting, "Ready")["message"]
    assert tenant.calls(RELEASE) == []


def test_a_window_without_room_for_the_drain_is_not_used(stage: Stage, operator: OperatorProcess) -> None:
    minute = timedelta(minutes=1)
    tenant = make_tenant(stage, maintenanceWindow=window(-30 * minute, 10 * minute))
    tenant.apply(directConnection=False, release={"window": "Maintenance", "drainSeconds": 1200})
    waiting = tenant.wait(reason_is("WaitingForWindow"))

    assert "withdrawnAt" not in waiting["status"]["plan"]
    assert tenant.calls(RELEASE) == []


def test_a_drain_is_waited_for_between_withdrawing_and_the_call(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, release={"drainSeconds": 3})
    draining = tenant.wait(reason_is("Draining"))
    calls_meanwhile = tenant.calls(RELEASE)
    done = tenant.wait(is_ready)

    withdrawn = datetime.fromisoformat(draining["status"]["plan"]["withdrawnAt"])
    started = datetime.fromisoformat(done["status"]["operation"]["startedAt"])
    assert calls_meanwhile == []
    assert started - withdrawn >= timedelta(seconds=3)
    assert len(tenant.calls(RELEASE)) == 1


def test_a_drain_that_does_not_fit_into_the_window_is_an_invalid_request(
    stage: Stage, operator: OperatorProcess
) -> None:
    hour = timedelta(hours=1)
    tenant = make_tenant(stage, maintenanceWindow=window(-hour / 2, hour / 2))
    tenant.apply(directConnection=False, release={"window": "Maintenance", "drainSeconds": 3600})
    resource = tenant.wait(is_stalled("InvalidRequest"))

    assert "too long for the maintenance window" in condition(resource, "Stalled")["message"]
    assert tenant.calls(RELEASE) == []


def test_the_fleet_switch_holds_releases_and_says_so(tenant: Tenant, operator: OperatorProcess) -> None:
    allowed = operator.access_file.read_text()
    operator.access_file.write_text(allowed.replace("{rules:", "{releases: Hold, rules:"))
    try:
        tenant.apply(directConnection=True)
        tenant.wait(is_ready)
        # The list is read again within five seconds, and not before its own pass.
        time.sleep(6)
        tenant.apply(directConnection=False)
        held = tenant.wait(reason_is("ReleasesHeld"))
        calls = tenant.calls(RELEASE)
    finally:
        operator.access_file.write_text(allowed)
    done = tenant.wait(is_ready)

    assert held["status"]["plan"]["reason"] == "ReleasesHeld"
    assert calls == []
    assert condition(done, "Ready")["reason"] == "Released"


def test_two_who_fight_over_an_endpoint_do_not_cut_clients_off_for_ever(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, driftPolicy="Correct")
    tenant.wait(is_ready)
    for number, is_reached in enumerate((is_ready, is_stalled("Contested"))):
        tenant.stage.simulator.put_instance(tenant.instance_id, directConnection=True)
        stamp = f"tair.alibabacloud.com/reconcile-requested-at={number}"
        tenant.stage.plane.kubectl("-n", tenant.namespace, "annotate", "--overwrite", "tair", tenant.name, stamp)
        tenant.wait(handled(str(number), is_reached))

    assert len(tenant.effective(RELEASE)) == 2
    assert tenant.get()["status"]["drift"]["directConnection"] is True


def test_of_two_resources_for_one_instance_the_older_acts(tenant: Tenant) -> None:
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    grow_older()
    second = Tenant(tenant.stage, tenant.namespace, tenant.instance_id, "second")
    second.apply(directConnection=False)
    resource = second.wait(is_stalled("InstanceAlreadyManaged"))

    assert f"{tenant.namespace}/it" in condition(resource, "Stalled")["message"]
    assert tenant.calls(RELEASE) == []
