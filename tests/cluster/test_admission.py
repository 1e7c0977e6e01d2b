"""The admission policies on a real API server: who approves, what production asks for, what the operator may write."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tair_operator.cluster import find_api_server, open_cluster
from tair_operator.models import ANNOTATION_APPROVE, FINALIZER
from tair_operator.ports import Key
from tests.controlplane import ControlPlane, KubectlError

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "deploy/admission"
SHOP, PRODUCTION = "admission-shop", "admission-production"
EDITOR, APPROVER, OPERATOR = "editor@shop", "approver@shop", "system:serviceaccount:tair-system:tair-operator"
# As the operator does: its Role names what it may create, and only such a request names it too.
WRITE = ("apply", "--server-side", "--field-manager=tair-operator", "--dry-run=server", "-f", "-")
NUMBERS = itertools.count(1)
RBAC = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: admission-editor}
rules:
  - apiGroups: [tair.alibabacloud.com]
    resources: [tairinstances, tairinstances/status]
    verbs: [get, list, watch, create, update, patch, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editors, namespace: %(namespace)s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admission-editor}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: editor@shop}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: approvers, namespace: %(namespace)s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: tair-approver}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: approver@shop}]
"""


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Have the policies in force, and two people who work under them."""
    control_plane.apply(ROOT / "deploy/kustomize/base")
    control_plane.wait_established("tairinstances.tair.alibabacloud.com")
    control_plane.apply(POLICIES)
    for namespace in (SHOP, PRODUCTION):
        control_plane.kubectl("create", "namespace", namespace)
        control_plane.apply(RBAC % {"namespace": namespace})
    control_plane.kubectl("label", "namespace", PRODUCTION, "env=production")
    # Only here: elsewhere the operator may publish nothing.
    control_plane.kubectl("apply", "-n", SHOP, "-f", str(ROOT / "deploy/kustomize/components/publishing/rbac.yaml"))
    try:
        wait_until_in_force(control_plane)
        yield control_plane
    finally:
        # Other tests share this API server.
        control_plane.kubectl("delete", "-k", POLICIES)


def wait_until_in_force(plane: ControlPlane) -> None:
    """A policy is in force a moment after it is stored: ask each for something that it denies."""
    deadline = time.monotonic() + 60
    dry = ("create", "--dry-run=server", "-f", "-")
    for question, user in [
        (manifest(annotations={ANNOTATION_APPROVE: "x"}), EDITOR),
        (manifest(PRODUCTION, directConnection=False), EDITOR),
    ]:
        while is_admitted(plane, *dry, user=user, body=question):
            assert time.monotonic() < deadline, "the policies do not come into force"
            time.sleep(0.1)
    while is_admitted(plane, *WRITE, user=OPERATOR, body=secret("kubernetes.io/service-account-token")):
        assert time.monotonic() < deadline, "the policies do not come into force"
        time.sleep(0.1)
    # The operator may create no TairInstance, so RBAC would answer instead of the policy: ask about a change.
    name = create(plane)
    label = ("label", "tair", name, "-n", SHOP, "--dry-run=server", "by=operator", "--overwrite")
    while is_admitted(plane, *label, user=OPERATOR):
        assert time.monotonic() < deadline, "the policies do not come into force"
        time.sleep(0.1)


def manifest(
    namespace: str = SHOP,
    name: str = "orders",
    *,
    annotations: dict[str, str] | None = None,
    **spec: Any,  # noqa: ANN401
) -> str:
    return json.dumps(
        {
            "apiVersion": "tair.alibabacloud.com/v1alpha1",
            "kind": "TairInstance",
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
            "spec": {"instanceId": "r-bp1zxszhcgatnx0001", "regionId": "cn-hangzhou"} | spec,
        }
    )


def secret(kind: str) -> str:
    metadata = {
        "name": "tair-endpoint",
        "namespace": SHOP,
        "annotations": {"kubernetes.io/service-account.name": "default"},
    }
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind})


def run(plane: ControlPlane, *arguments: str, user: str, body: str | None = None) -> str:
    return plane.kubectl("--as", user, *arguments, stdin=body)


def is_admitted(plane: ControlPlane, *arguments: str, user: str, body: str | None = None) -> bool:
    try:
        run(plane, *arguments, user=user, body=body)
    except KubectlError as error:
        if "ValidatingAdmissionPolicy" in error.stderr:
            return False
        raise
    return True


def create(plane: ControlPlane, namespace: str = SHOP, *, approval: str | None = None, **spec: Any) -> str:  # noqa: ANN401
    """Create a resource as an administrator, whom no policy stops from approving; return its name."""
    name = f"orders-{next(NUMBERS)}"
    annotations = {} if approval is None else {ANNOTATION_APPROVE: approval}
    plane.kubectl("create", "-f", "-", stdin=manifest(namespace, name, annotations=annotations, **spec))
    return name


def approval_of(plane: ControlPlane, name: str) -> str | None:
    annotations = plane.kubectl_json("get", "tair", name, "-n", SHOP)["metadata"].get("annotations", {})
    return str(annotations[ANNOTATION_APPROVE]) if ANNOTATION_APPROVE in annotations else None


def approve(value: str) -> Callable[[str], list[str]]:
    return lambda name: ["annotate", "tair", name, "-n", SHOP, "--overwrite", f"{ANNOTATION_APPROVE}={value}"]


def patch(fields: dict[str, Any], namespace: str = SHOP) -> Callable[[str], list[str]]:
    return lambda name: ["patch", "tair", name, "-n", namespace, "--type=merge", "-p", json.dumps(fields)]


# --- Approvals ---


@pytest.mark.parametrize("value", ["1a2b3c4d5e6f", ""])
@pytest.mark.parametrize("before", [None, "000000000000"])
def test_an_editor_does_not_approve(plane: ControlPlane, before: str | None, value: str) -> None:
    name = create(plane, approval=before)

    with pytest.raises(KubectlError) as caught:
        run(plane, *approve(value)(name), user=EDITOR)

    assert (
        f"{EDITOR} may not approve a release: annotation {ANNOTATION_APPROVE} is for those with the verb approve on "
        f"tairinstances in namespace {SHOP} (ClusterRole tair-approver)"
    ) in caught.value.stderr
    assert approval_of(plane, name) == before


@pytest.mark.parametrize("command", [("create",), ("apply", "--server-side"), ("apply",)])
def test_an_editor_creates_nothing_that_is_approved_already(plane: ControlPlane, command: tuple[str, ...]) -> None:
    wish = manifest(name="approved", annotations={ANNOTATION_APPROVE: "1a2b3c4d5e6f"})

    assert is_admitted(plane, *command, "-f", "-", user=EDITOR, body=wish) is False


def test_an_editor_does_not_approve_by_the_way(plane: ControlPlane) -> None:
    name = create(plane, approval="000000000000")
    change = {"metadata": {"annotations": {ANNOTATION_APPROVE: "1a2b3c4d5e6f"}}, "spec": {"directConnection": False}}

    assert is_admitted(plane, *patch(change)(name), user=EDITOR) is False


def test_an_approval_in_a_write_to_status_is_ignored(plane: ControlPlane) -> None:
    name = create(plane)
    change = {"metadata": {"annotations": {ANNOTATION_APPROVE: "1a2b3c4d5e6f"}}, "status": {"observedGeneration": 1}}
    run(plane, *patch(change)(name), "--subresource=status", user=EDITOR)

    assert approval_of(plane, name) is None


def test_an_editor_works_on_with_an_approval_that_is_there(plane: ControlPlane) -> None:
    name = create(plane, approval="1a2b3c4d5e6f")
    run(plane, *patch({"spec": {"directConnection": False}})(name), user=EDITOR)
    run(plane, *approve("1a2b3c4d5e6f")(name), user=EDITOR)
    kept = approval_of(plane, name)
    run(plane, "delete", "tair", name, "-n", SHOP, user=EDITOR)

    assert kept == "1a2b3c4d5e6f"


def test_anybody_who_may_edit_withdraws_an_approval(plane: ControlPlane) -> None:
    name = create(plane, approval="1a2b3c4d5e6f")
    run(plane, "annotate", "tair", name, "-n", SHOP, f"{ANNOTATION_APPROVE}-", user=EDITOR)

    assert approval_of(plane, name) is None


def test_an_editor_who_approves_nothing_is_not_asked_about(plane: ControlPlane) -> None:
    wish = manifest(name="plain", annotations={"team": "red"}, directConnection=False)
    run(plane, "create", "-f", "-", user=EDITOR, body=wish)
    run(plane, "delete", "tair", "plain", "-n", SHOP, user=EDITOR)


def test_an_approver_approves_changes_and_withdraws(plane: ControlPlane) -> None:
    name = create(plane)
    for value in ("1a2b3c4d5e6f", "000000000000"):
        run(plane, *approve(value)(name), user=APPROVER)
    approved = approval_of(plane, name)
    run(plane, "annotate", "tair", name, "-n", SHOP, f"{ANNOTATION_APPROVE}-", user=APPROVER)

    assert (approved, approval_of(plane, name)) == ("000000000000", None)


def test_an_approver_of_one_namespace_is_none_of_another(plane: ControlPlane) -> None:
    other = "admission-other"
    plane.kubectl("create", "namespace", other)
    plane.kubectl(
        "create", "rolebinding", "editors", "-n", other, "--clusterrole=admission-editor", f"--user={APPROVER}"
    )
    wish = manifest(other, annotations={ANNOTATION_APPROVE: "1a2b3c4d5e6f"})

    assert is_admitted(plane, "create", "-f", "-", user=APPROVER, body=wish) is False


def test_approval_can_be_given_for_one_resource(plane: ControlPlane) -> None:
    mine, other = create(plane), create(plane)
    one = ("--verb=approve", "--resource=tairinstances.tair.alibabacloud.com", f"--resource-name={mine}")
    plane.kubectl("create", "role", "approve-one", "-n", SHOP, *one)
    for role in ("--role=approve-one", "--clusterrole=admission-editor"):
        name = role.split("=")[1]
        plane.kubectl("create", "rolebinding", f"one-{name}", "-n", SHOP, role, "--user=one@shop")

    assert is_admitted(plane, *approve("1a2b3c4d5e6f")(mine), user="one@shop") is True
    assert is_admitted(plane, *approve("1a2b3c4d5e6f")(other), user="one@shop") is False


# --- Production ---

REQUIRED = {"approval": "Required"}


@pytest.mark.parametrize(
    ("spec", "is_right"),
    [
        ({}, True),
        ({"directConnection": True}, True),
        ({"directConnection": False, "release": REQUIRED}, True),
        ({"directConnection": True, "deletionPolicy": "Release", "release": REQUIRED}, True),
        ({"directConnection": True, "deletionPolicy": "Retain"}, True),
        ({"directConnection": False}, False),
        ({"directConnection": False, "release": {"approval": "Automatic"}}, False),
        ({"directConnection": False, "release": {"window": "Maintenance"}}, False),
        ({"directConnection": True, "deletionPolicy": "Release"}, False),
    ],
)
def test_production_asks_for_an_approval_of_what_releases(
    plane: ControlPlane,
    spec: dict[str, Any],
    is_right: bool,  # noqa: FBT001
) -> None:
    dry = ("create", "--dry-run=server", "-f", "-")

    assert is_admitted(plane, *dry, user=EDITOR, body=manifest(PRODUCTION, **spec)) is is_right
    assert is_admitted(plane, *dry, user=EDITOR, body=manifest(SHOP, **spec)) is True


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"directConnection": False}, "directConnection: false needs release.approval: Required"),
        ({"deletionPolicy": "Release"}, "deletionPolicy: Release needs release.approval: Required"),
    ],
)
def test_production_refuses_a_change_that_releases(plane: ControlPlane, field: dict[str, Any], message: str) -> None:
    name = create(plane, PRODUCTION, directConnection=True)

    with pytest.raises(KubectlError, match=message):
        run(plane, *patch({"spec": field}, PRODUCTION)(name), user=EDITOR)


def test_production_leaves_what_was_there_before_alone(plane: ControlPlane) -> None:
    """Or the operator could not take its finalizer away, and the resource would never be gone."""
    plane.kubectl("label", "namespace", PRODUCTION, "env-")
    name = create_when_not_asked(plane)
    plane.kubectl("label", "namespace", PRODUCTION, "env=production")
    wait_for_denial(plane)
    run(plane, *patch({"metadata": {"finalizers": [FINALIZER]}}, PRODUCTION)(name), user=EDITOR)
    run(plane, "delete", "tair", name, "-n", PRODUCTION, "--wait=false", user=EDITOR)
    run(plane, *patch({"metadata": {"finalizers": None}}, PRODUCTION)(name), user=EDITOR)

    with pytest.raises(KubectlError, match="NotFound"):
        plane.kubectl("get", "tair", name, "-n", PRODUCTION)


def create_when_not_asked(plane: ControlPlane) -> str:
    deadline = time.monotonic() + 30
    while True:
        try:
            return create(plane, PRODUCTION, directConnection=False)
        except KubectlError:
            assert time.monotonic() < deadline, "the label is still seen"
            time.sleep(0.1)


def wait_for_denial(plane: ControlPlane) -> None:
    deadline = time.monotonic() + 30
    dry = ("create", "--dry-run=server", "-f", "-")
    while is_admitted(plane, *dry, user=EDITOR, body=manifest(PRODUCTION, directConnection=False)):
        assert time.monotonic() < deadline, "the label is not seen"
        time.sleep(0.1)


# --- The operator ---


def test_the_operator_still_reports_and_keeps_its_finalizer(plane: ControlPlane) -> None:
    name = create(plane, approval="1a2b3c4d5e6f", directConnection=True)
    kubeconfig = plane.kubeconfig_for("tair-operator", "tair-system")

    async def work() -> list[list[str]]:
        async with open_cluster(await find_api_server({"KUBECONFIG": str(kubeconfig)})) as cluster:
            found = await cluster.get(Key(SHOP, name))
            assert found is not None
            reported = await cluster.write_status(found, found.status.model_copy(update={"observed_generation": 1}))
            held = await cluster.write_finalizer(reported, is_wanted=True)
            assert held is not None
            freed = await cluster.write_finalizer(held, is_wanted=False)
            assert freed is not None
            return [held.metadata.finalizers, freed.metadata.finalizers]

    assert asyncio.run(work()) == [[FINALIZER], []]
    assert approval_of(plane, name) == "1a2b3c4d5e6f"


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"directConnection": False}},
        {"metadata": {"labels": {"team": "red"}}},
        {"metadata": {"annotations": {ANNOTATION_APPROVE: "1a2b3c4d5e6f"}}},
        {"metadata": {"annotations": {"note": "x"}}},
        {"metadata": {"finalizers": ["example.com/other"]}},
        {"metadata": {"finalizers": [FINALIZER, "example.com/other"]}},
        {"metadata": {"finalizers": [FINALIZER]}, "spec": {"directConnection": False}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "y"}]}},
    ],
)
def test_the_operator_changes_nothing_else(plane: ControlPlane, change: dict[str, Any]) -> None:
    name = create(plane, directConnection=True)

    assert is_admitted(plane, *patch(change)(name), user=OPERATOR) is False


def test_the_operator_takes_no_finalizer_of_others_away(plane: ControlPlane) -> None:
    name = create(plane)
    plane.kubectl(*patch({"metadata": {"finalizers": ["example.com/other"]}})(name))
    added = is_admitted(
        plane, *patch({"metadata": {"finalizers": ["example.com/other", FINALIZER]}})(name), user=OPERATOR
    )

    assert added is True
    assert is_admitted(plane, *patch({"metadata": {"finalizers": [FINALIZER]}})(name), user=OPERATOR) is False


@pytest.mark.parametrize(
    ("kind", "is_right"),
    [
        ("servicebinding.io/redis", True),
        ("kubernetes.io/service-account-token", False),
        ("Opaque", False),
    ],
)
def test_the_operator_creates_no_secret_but_endpoints(plane: ControlPlane, kind: str, is_right: bool) -> None:  # noqa: FBT001
    assert is_admitted(plane, *WRITE, user=OPERATOR, body=secret(kind)) is is_right


def test_secrets_of_others_are_not_asked_about(plane: ControlPlane) -> None:
    plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=secret("Opaque"))
