"""Argo CD's part on a real API server: what its actions send, and what applying and replacing from Git leave alone."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.tenants import ALLOCATE, RELEASE, Tenant, condition, is_ready, is_stalled, make_tenant
from tests.controlplane import ControlPlane, KubectlError
from tests.gitops.cases import ROOT
from tests.gitops.pack import act
from tests.stage import OperatorProcess, Stage

POLICY = ROOT / "deploy/admission/approvals.yaml"
REQUIRED = {"approval": "Required"}
ARGO = "system:serviceaccount:argocd:argocd-server"
# What argocd-server may do in Argo CD's own installation: it patches everything, and has no verb that it does not know.
ARGO_ROLE = ("--verb=get,list,watch,patch", "--resource=tairinstances.tair.alibabacloud.com")
WRITES = (ALLOCATE, RELEASE)


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    plane = stage.plane
    plane.kubectl("apply", "-f", str(POLICY))
    plane.kubectl("create", "clusterrole", "argo-patches", *ARGO_ROLE)
    plane.kubectl("create", "clusterrolebinding", "argo-patches", "--clusterrole=argo-patches", f"--user={ARGO}")
    settings = {"TAIR_OPERATOR_STALL_GRACE_SECONDS": "1", "TAIR_OPERATOR_SETTLE_SECONDS": "5"}
    try:
        with stage.operator("gitops", **settings) as operator:
            yield operator
    finally:
        plane.kubectl("delete", "-f", str(POLICY))
        plane.kubectl("delete", "clusterrole/argo-patches", "clusterrolebinding/argo-patches")


@pytest.fixture
def tenant(stage: Stage, operator: OperatorProcess) -> Tenant:
    return make_tenant(stage)


def press(tenant: Tenant, action: str) -> None:
    """Run an action on the live resource as argocd-server does: the script's merge patch, under its own name."""
    patch = json.dumps(act(tenant.get(), action)["patch"])
    tenant.stage.plane.kubectl(
        "--as", ARGO, "patch", "tair", tenant.name, "-n", tenant.namespace, "--type=merge", "-p", patch
    )


def content(tenant: Tenant, **spec: object) -> str:
    """Return the manifest as Git has it: no status, no finalizer, nothing of the operator's."""
    metadata = {
        "name": tenant.name,
        "namespace": tenant.namespace,
        "annotations": {"argocd.argoproj.io/tracking-id": f"shop:tair/TairInstance:{tenant.namespace}/{tenant.name}"},
    }
    return json.dumps(
        {
            "apiVersion": "tair.alibabacloud.com/v1alpha1",
            "kind": "TairInstance",
            "metadata": metadata,
            "spec": {"instanceId": tenant.instance_id, "regionId": "cn-hangzhou", **spec},
        }
    )


def changes(tenant: Tenant) -> list[tuple[Any, ...]]:
    """Return every mutating call about the instance."""
    return [(call["action"], call["requestId"]) for action in WRITES for call in tenant.calls(action)]


def look_again(tenant: Tenant, stamp: str) -> dict[str, Any]:
    """Have the operator pass once more, and return the resource after that."""
    words = f"tair.alibabacloud.com/reconcile-requested-at={stamp}"
    tenant.stage.plane.kubectl("-n", tenant.namespace, "annotate", "--overwrite", "tair", tenant.name, words)
    return tenant.wait(lambda found: bool(found["status"].get("lastHandledReconcileAt") == stamp))


def wait_until_in_force(plane: ControlPlane, tenant: Tenant) -> None:
    """Ask whether argocd-server may approve, without doing it, until the policy says no."""
    question = ("annotate", "tair", tenant.name, "-n", tenant.namespace, "--dry-run=server")
    deadline = time.monotonic() + 60
    while is_admitted(plane, *question, "tair.alibabacloud.com/approve-release=no"):
        assert time.monotonic() < deadline, "the policy does not come into force"
        time.sleep(0.1)


def is_admitted(plane: ControlPlane, *arguments: str) -> bool:
    try:
        plane.kubectl("--as", ARGO, *arguments)
    except KubectlError as error:
        if "ValidatingAdmissionPolicy" in error.stderr:
            return False
        raise
    return True


# --- Actions ---


def test_argo_approves_only_where_it_was_made_an_approver(tenant: Tenant) -> None:
    plane = tenant.stage.plane
    tenant.apply(directConnection=False, release=REQUIRED)
    tenant.wait(is_stalled("ApprovalRequired"))
    wait_until_in_force(plane, tenant)
    with pytest.raises(KubectlError, match=f"{ARGO} may not approve a release"):
        press(tenant, "approve")
    before = changes(tenant)
    plane.kubectl(
        "create", "rolebinding", "argo", "-n", tenant.namespace, "--clusterrole=tair-approver", f"--user={ARGO}"
    )
    press(tenant, "approve")
    done = tenant.wait(is_ready)

    assert before == []
    assert condition(done, "Ready")["reason"] == "Released"
    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1


def test_a_suspended_resource_does_nothing_until_it_is_resumed(tenant: Tenant) -> None:
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    press(tenant, "suspend")
    tenant.wait(lambda found: condition(found, "Suspended").get("status") == "True")
    tenant.stage.simulator.put_instance(tenant.instance_id, directConnection=False)
    time.sleep(1)
    meanwhile = changes(tenant)
    press(tenant, "resume")
    tenant.wait(lambda found: bool(changes(tenant)) and is_ready(found))

    assert meanwhile == []
    assert "suspend" not in tenant.get()["spec"]
    assert len(tenant.effective(ALLOCATE)) == 1


def test_a_request_to_look_again_is_answered(tenant: Tenant) -> None:
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    press(tenant, "reconcile")
    asked = tenant.get()["metadata"]["annotations"]["tair.alibabacloud.com/reconcile-requested-at"]
    tenant.wait(lambda found: bool(found["status"].get("lastHandledReconcileAt") == asked))

    assert changes(tenant) == []


# --- What Git applies again and again ---

SERVER_SIDE = ("apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-")


@pytest.mark.parametrize("command", [SERVER_SIDE, ("apply", "-f", "-")], ids=["server-side", "client-side"])
def test_applying_the_same_from_git_again_changes_nothing(tenant: Tenant, command: tuple[str, ...]) -> None:
    spec: dict[str, Any] = {"directConnection": True, "deletionPolicy": "Release"}
    plane, git = tenant.stage.plane, content(tenant, **spec)
    plane.kubectl(*command, stdin=git)
    tenant.wait(is_ready)
    before = look_again(tenant, "first")
    for _ in range(3):
        plane.kubectl(*command, stdin=git)
    again = tenant.get()
    look_again(tenant, "second")

    assert again == before
    assert before["metadata"]["finalizers"] == ["tair.alibabacloud.com/release"]
    assert changes(tenant) == []


def test_a_replace_that_wipes_finalizer_and_annotations_is_survived(tenant: Tenant) -> None:
    """As `Replace=true` of Argo CD: an approval is lost with the rest, and so is the finalizer, for a moment."""
    spec: dict[str, Any] = {"directConnection": False, "release": REQUIRED, "deletionPolicy": "Release"}
    plane = tenant.stage.plane
    plane.kubectl("apply", "-f", "-", stdin=content(tenant, **spec))
    plan = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
    tenant.approve(plan["id"])
    released = tenant.wait(is_ready)
    plane.kubectl("replace", "-f", "-", stdin=content(tenant, **spec))
    replaced = tenant.wait(lambda found: bool(found["metadata"].get("finalizers")))
    looked = look_again(tenant, "after")

    assert "tair.alibabacloud.com/approve-release" not in replaced["metadata"]["annotations"]
    assert replaced["metadata"]["finalizers"] == ["tair.alibabacloud.com/release"]
    assert looked["status"]["operation"] == released["status"]["operation"]
    assert is_ready(looked)
    assert len(tenant.calls(RELEASE)) == 1


def test_a_replace_before_the_call_takes_the_approval_with_it(tenant: Tenant) -> None:
    spec: dict[str, Any] = {"directConnection": False, "release": {**REQUIRED, "drainSeconds": 3600}}
    plane = tenant.stage.plane
    plane.kubectl("apply", "-f", "-", stdin=content(tenant, **spec))
    plan = tenant.wait(is_stalled("ApprovalRequired"))["status"]["plan"]
    tenant.approve(plan["id"])
    tenant.wait(lambda found: condition(found, "Ready").get("reason") == "Draining")
    plane.kubectl("replace", "-f", "-", stdin=content(tenant, **spec))
    tenant.wait(is_stalled("ApprovalRequired"))

    assert changes(tenant) == []


def test_a_revert_in_git_is_a_new_wish_with_a_new_plan(tenant: Tenant) -> None:
    """An approval that was merged with the manifest is good for nothing once the change was reverted."""
    plane = tenant.stage.plane
    for direct_connection, is_reached in ((False, is_stalled("ApprovalRequired")), (True, is_ready)):
        spec: dict[str, Any] = {"directConnection": direct_connection, "release": REQUIRED}
        plane.kubectl(*SERVER_SIDE, stdin=content(tenant, **spec))
        tenant.wait(is_reached)

    assert "plan" not in tenant.get()["status"]
    assert changes(tenant) == []
