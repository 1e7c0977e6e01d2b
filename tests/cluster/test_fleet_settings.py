"""What the operator's own settings ask of every release, on a real API server."""

import json
import time
from typing import Any

from tests.cluster.tenants import ALLOCATE, FAST, RELEASE, condition, is_ready, is_stalled, make_tenant, path_of
from tests.stage import Stage


def test_a_fleet_flip_releases_as_many_as_the_budget_holds(stage: Stage) -> None:
    """Fifty manifests are flipped at once: ten go, and the rest say what they wait for."""
    # The budget is counted from every status in the cluster, and other tests have released a lot.
    stage.clear()
    ids = [f"r-bp1fleet{number:04}" for number in range(50)]
    for name in ids:
        stage.simulator.put_instance(name, regionId="cn-hangzhou", directConnection=True, timing=FAST)
    stage.plane.kubectl("create", "namespace", "fleet")
    manifests = [
        {
            "apiVersion": "tair.alibabacloud.com/v1alpha1",
            "kind": "TairInstance",
            "metadata": {"name": name, "namespace": "fleet"},
            "spec": {"instanceId": name, "regionId": "cn-hangzhou", "directConnection": False},
        }
        for name in ids
    ]
    with stage.operator("budget", TAIR_OPERATOR_RELEASE_BUDGET="10"):
        flip = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        stage.plane.kubectl("apply", "-f", "-", stdin=flip)
        resources = wait_for_all(stage)

    released = [name for name in ids if stage.simulator.effective(RELEASE, name)]
    waiting = [found for found in resources if condition(found, "Ready")["reason"] == "ReleaseBudget"]
    assert len([call for call in stage.simulator.ledger(RELEASE) if call["instanceId"] in ids]) == len(released) == 10
    assert len(waiting) == 40
    assert all(found["status"]["plan"]["reason"] == "ReleaseBudget" for found in waiting)
    assert all("10 releases in 10 minutes" in condition(found, "Ready")["message"] for found in waiting)


def wait_for_all(stage: Stage) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while True:
        found: list[dict[str, Any]] = stage.plane.read(path_of("fleet"))["items"]
        if all(is_ready(one) or condition(one, "Ready").get("reason") == "ReleaseBudget" for one in found):
            return found
        assert time.monotonic() < deadline, [condition(one, "Ready") for one in found]
        time.sleep(0.5)


def test_in_mode_observe_every_plan_is_shown_and_nothing_is_called(stage: Stage) -> None:
    release, allocate, same = make_tenant(stage), make_tenant(stage, allocated=False), make_tenant(stage)
    with stage.operator("observe", TAIR_OPERATOR_MODE="Observe"):
        release.apply(directConnection=False)
        allocate.apply(directConnection=True)
        same.apply(directConnection=True)
        planned = [tenant.wait(lambda r: "plan" in r["status"]) for tenant in (release, allocate)]
        reached = same.wait(is_ready)

    assert [resource["status"]["plan"]["action"] for resource in planned] == [RELEASE, ALLOCATE]
    assert all("mode Observe" in condition(resource, "Ready")["message"] for resource in planned)
    assert "plan" not in reached["status"]
    assert [tenant.calls(action) for tenant in (release, allocate) for action in (RELEASE, ALLOCATE)] == [[]] * 4


def test_the_first_release_can_be_made_to_wait_for_an_approval(stage: Stage) -> None:
    first, second = make_tenant(stage), make_tenant(stage, allocated=False)
    with stage.operator("first", TAIR_OPERATOR_FIRST_CONTACT_RELEASE="RequireApproval"):
        first.apply(directConnection=False)
        second.apply(directConnection=True)
        second.wait(is_ready)
        second.apply(directConnection=False)
        waiting, done = first.wait(is_stalled("ApprovalRequired")), second.wait(is_ready)

    assert "for the first time" in condition(waiting, "Ready")["message"]
    assert condition(done, "Ready")["reason"] == "Released"
    assert first.calls(RELEASE) == []


def test_the_access_list_can_ask_for_approvals(stage: Stage) -> None:
    tenant = make_tenant(stage)
    operator = stage.operator("strict")
    operator.access = (
        '{rules: [{namespaces: ["*"], regions: ["*"], instanceIds: ["*"], actions: [Release], approval: Required}]}'
    )
    with operator:
        tenant.apply(directConnection=False, release={"approval": "Automatic"})
        waiting = tenant.wait(is_stalled("ApprovalRequired"))

    assert "access list" in condition(waiting, "Ready")["message"]
    assert tenant.calls(RELEASE) == []


def test_the_access_list_can_select_namespaces_by_label(stage: Stage) -> None:
    tenant = make_tenant(stage)
    operator = stage.operator("selector", TAIR_OPERATOR_STALL_GRACE_SECONDS="1")
    operator.access = (
        '{rules: [{namespaceSelector: {matchLabels: {team: shop}}, regions: ["*"], instanceIds: ["*"], '
        "actions: [Release]}]}"
    )
    with operator:
        tenant.apply(directConnection=False)
        refused = tenant.wait(is_stalled("AccessNotAllowed"))
        stage.plane.kubectl("label", "namespace", tenant.namespace, "team=shop")
        # Labels are remembered for a quarter of a minute.
        time.sleep(16)
        stamp = "tair.alibabacloud.com/reconcile-requested-at=now"
        stage.plane.kubectl("-n", tenant.namespace, "annotate", "tair", tenant.name, stamp)
        done = tenant.wait(is_ready)

    assert "namespaces: [" in condition(refused, "Stalled")["message"]
    assert condition(done, "Ready")["reason"] == "Released"
