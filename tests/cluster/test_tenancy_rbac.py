"""What is granted for one namespace holds in that namespace, for the names that were granted, and nowhere else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane import ControlPlane, KubectlError

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / "deploy/kustomize/components"
OPERATOR = "system:serviceaccount:tair-system:tair-operator"
# The namespace of overlays/tenant, and one whose team was granted nothing.
SHOP, OTHER = "shop", "tenancy-other"

GRANTED = [
    ("get", "secrets/orders-endpoint"),
    ("patch", "secrets/orders-endpoint"),
    ("delete", "secrets/carts-endpoint"),
    ("get", "configmaps/orders-endpoint"),
    ("patch", "configmaps/carts-endpoint"),
    ("delete", "configmaps/orders-endpoint"),
    ("create", "secrets/orders-endpoint"),
    ("create", "configmaps/carts-endpoint"),
    ("get", "secrets/shop-aliyun"),
    ("get", "serviceaccounts/shop-tair"),
    ("create", "serviceaccounts/shop-tair", "--subresource=token"),
]
NOT_GRANTED = [
    ("create", "secrets"),
    ("create", "configmaps"),
    ("create", "secrets/somebody-elses"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("get", "secrets/somebody-elses"),
    ("patch", "secrets/somebody-elses"),
    ("patch", "secrets/shop-aliyun"),
    ("delete", "secrets/shop-aliyun"),
    ("list", "configmaps"),
    ("get", "configmaps/kube-root-ca.crt"),
    ("delete", "configmaps/shop-aliyun"),
    ("create", "serviceaccounts"),
    ("patch", "serviceaccounts/shop-tair"),
    ("get", "serviceaccounts/default"),
    ("create", "serviceaccounts/default", "--subresource=token"),
    ("create", "serviceaccounts", "--subresource=token"),
]


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Have the base, and the example for a tenant applied to its namespace."""
    control_plane.apply(ROOT / "deploy/kustomize/base")
    for name in (SHOP, OTHER):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    control_plane.kubectl("apply", "-k", ROOT / "deploy/kustomize/overlays/tenant")
    yield control_plane
    control_plane.kubectl("delete", "-k", ROOT / "deploy/kustomize/overlays/tenant")


def may(plane: ControlPlane, user: str, namespace: str, *question: str) -> bool:
    # "no" is exit status 1, with the answer in stdout; anything to complain about would be in stderr.
    try:
        return plane.kubectl("auth", "can-i", *question, "-n", namespace, "--as", user).strip() == "yes"
    except KubectlError as answer:
        if answer.returncode == 1 and "error" not in answer.stderr.lower():
            return False
        raise


@pytest.mark.parametrize("question", GRANTED, ids=" ".join)
def test_what_is_granted_for_a_namespace_holds_there_and_nowhere_else(
    plane: ControlPlane, question: tuple[str, ...]
) -> None:
    where = {name: may(plane, OPERATOR, name, *question) for name in (SHOP, OTHER, "tair-system", "kube-system")}

    assert where == {SHOP: True, OTHER: False, "tair-system": False, "kube-system": False}


@pytest.mark.parametrize("question", NOT_GRANTED, ids=" ".join)
def test_nothing_else_is_granted(plane: ControlPlane, question: tuple[str, ...]) -> None:
    assert may(plane, OPERATOR, SHOP, *question) is False


def test_nobody_else_is_granted_anything(plane: ControlPlane) -> None:
    others = ["system:serviceaccount:shop:tair-operator", "system:serviceaccount:tair-system:default"]

    assert [user for user in others for question in GRANTED if may(plane, user, SHOP, *question)] == []


@pytest.mark.parametrize(
    ("component", "question"),
    [
        ("publishing", ("get", "secrets/tair-endpoint")),
        ("secret-credentials", ("get", "secrets/tair-credentials")),
        ("tenant-identity", ("create", "serviceaccounts/tair-identity", "--subresource=token")),
    ],
)
def test_a_component_can_be_applied_by_itself(plane: ControlPlane, component: str, question: tuple[str, ...]) -> None:
    namespace = f"tenancy-{component}"
    plane.kubectl("create", "namespace", namespace)
    before = may(plane, OPERATOR, namespace, *question)
    plane.kubectl("apply", "-n", namespace, "-f", COMPONENTS / component / "rbac.yaml")

    assert (before, may(plane, OPERATOR, namespace, *question)) == (False, True)


# --- What the documentation says about labels ---


def test_nobody_changes_the_label_with_the_name_of_a_namespace(plane: ControlPlane) -> None:
    plane.kubectl("label", "namespace", OTHER, "--overwrite", f"kubernetes.io/metadata.name={SHOP}")
    plane.kubectl("label", "namespace", OTHER, "kubernetes.io/metadata.name-")
    labels = plane.kubectl_json("get", "namespace", OTHER)["metadata"]["labels"]

    assert labels == {"kubernetes.io/metadata.name": OTHER}


def test_the_usual_roles_of_a_tenant_do_not_label_its_namespace(plane: ControlPlane) -> None:
    """The role admin is the sum of these three; the controller that adds them up does not run here."""
    for part in ("admin", "edit", "view"):
        role = f"--clusterrole=system:aggregate-to-{part}"
        plane.kubectl("create", "rolebinding", f"tenant-{part}", "-n", OTHER, role, "--user=tenant")

    assert may(plane, "tenant", OTHER, "create", "configmaps") is True
    assert may(plane, "tenant", OTHER, "patch", f"namespaces/{OTHER}") is False
    assert may(plane, "tenant", OTHER, "update", f"namespaces/{OTHER}") is False


def test_whoever_may_patch_a_namespace_labels_it(plane: ControlPlane) -> None:
    """A Role inside the namespace is enough: this is the risk that the documentation names."""
    plane.kubectl("create", "role", "labels", "-n", OTHER, "--verb=get,patch", "--resource=namespaces")
    plane.kubectl("create", "rolebinding", "labels", "-n", OTHER, "--role=labels", "--user=labeller")
    plane.kubectl("label", "namespace", OTHER, "env=production", "--as=labeller")
    labels = plane.kubectl_json("get", "namespace", OTHER)["metadata"]["labels"]
    plane.kubectl("label", "namespace", OTHER, "env-")

    assert labels["env"] == "production"
