"""The kustomize base on a real API server: it applies, and the operator may do what it needs and no more."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tair_operator.access import parse_access
from tair_operator.cluster import find_api_server, open_cluster
from tair_operator.models import FINALIZER, TairInstance
from tair_operator.ports import Key, Namespace
from tair_operator.settings import Settings
from tests.controlplane import ControlPlane, KubectlError

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kustomize" / "base"
NAMESPACE = "tair-system"
OPERATOR = "tair-operator"
RESOURCE = {
    "apiVersion": "tair.alibabacloud.com/v1alpha1",
    "kind": "TairInstance",
    "metadata": {"name": "reported", "namespace": NAMESPACE},
    "spec": {"instanceId": "r-bp1zxszhcgatnx0001", "regionId": "cn-hangzhou"},
}

MAY = [
    ("get", "tairinstances", ""),
    ("list", "tairinstances", ""),
    ("watch", "tairinstances", ""),
    ("patch", "tairinstances", ""),
    ("patch", "tairinstances", "status"),
    ("create", "events", ""),
    ("get", "namespaces", ""),
    ("list", "customresourcedefinitions", ""),
    ("watch", "customresourcedefinitions", ""),
]
MAY_NOT = [
    ("create", "tairinstances", ""),
    ("update", "tairinstances", ""),
    ("approve", "tairinstances", ""),
    ("delete", "tairinstances", ""),
    ("deletecollection", "tairinstances", ""),
    ("get", "tairinstances", "status"),
    ("update", "tairinstances", "status"),
    ("update", "tairinstances", "finalizers"),
    ("get", "customresourcedefinitions", ""),
    ("patch", "customresourcedefinitions", ""),
    ("get", "secrets", ""),
    ("list", "secrets", ""),
    ("watch", "secrets", ""),
    ("create", "secrets", ""),
    ("patch", "secrets", ""),
    ("delete", "secrets", ""),
    ("get", "configmaps", ""),
    ("create", "configmaps", ""),
    ("patch", "configmaps", ""),
    ("delete", "configmaps", ""),
    ("get", "serviceaccounts", ""),
    ("create", "pods", ""),
    ("create", "pods", "exec"),
    ("create", "serviceaccounts", "token"),
    ("impersonate", "serviceaccounts", ""),
    ("list", "namespaces", ""),
    ("watch", "namespaces", ""),
    ("patch", "namespaces", ""),
    ("patch", "deployments.apps", ""),
    ("bind", "clusterroles.rbac.authorization.k8s.io", ""),
    ("escalate", "clusterroles.rbac.authorization.k8s.io", ""),
    ("get", "leases.coordination.k8s.io", ""),
    ("create", "leases.coordination.k8s.io", ""),
]
MAY_AT_HOME = [
    ("get", "leases.coordination.k8s.io/tair-operator"),
    ("watch", "leases.coordination.k8s.io/tair-operator"),
    ("patch", "leases.coordination.k8s.io/tair-operator"),
    ("create", "leases.coordination.k8s.io"),
]
MAY_NOT_AT_HOME = [
    ("update", "leases.coordination.k8s.io/tair-operator"),
    ("delete", "leases.coordination.k8s.io/tair-operator"),
    ("get", "leases.coordination.k8s.io/another"),
    ("patch", "leases.coordination.k8s.io/another"),
    ("list", "leases.coordination.k8s.io"),
    ("watch", "leases.coordination.k8s.io"),
]


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """Have the base applied, as a user would."""
    apply(control_plane)
    control_plane.wait_established("tairinstances.tair.alibabacloud.com")
    return control_plane


@pytest.fixture(scope="module")
def operator(plane: ControlPlane) -> Path:
    """Be the operator: a kubeconfig with a token of its ServiceAccount."""
    return plane.kubeconfig_for(OPERATOR, NAMESPACE)


@pytest.fixture(scope="module")
def manifests(control_plane: ControlPlane) -> list[dict[str, Any]]:
    """Parse what kustomize makes of the base."""
    return list(yaml.safe_load_all(control_plane.kubectl("kustomize", BASE)))


def test_applying_it_again_changes_nothing(plane: ControlPlane) -> None:
    lines = apply(plane).splitlines()

    assert changed(lines) == []
    assert len(lines) == 12


def test_has_no_field_that_the_api_server_does_not_know(plane: ControlPlane) -> None:
    """A warning counts as an error here: the Namespace warns of a pod that is not restricted."""
    plane.kubectl(
        "--warnings-as-errors", "apply", "-k", BASE, "--server-side", "--force-conflicts", "--dry-run=server",
        "--validate=strict",
    )  # fmt: skip


def test_its_pod_is_admitted_as_restricted(plane: ControlPlane, manifests: list[dict[str, Any]]) -> None:
    plane.kubectl("--warnings-as-errors", "create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod(manifests)))


def test_the_namespace_refuses_a_pod_that_is_not_restricted(
    plane: ControlPlane, manifests: list[dict[str, Any]]
) -> None:
    """Or the test above would prove nothing."""
    lax = pod(manifests)
    del lax["spec"]["containers"][0]["securityContext"]

    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
        plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(lax))


@pytest.mark.parametrize(("verb", "resource", "subresource"), MAY)
def test_operator_may(plane: ControlPlane, operator: Path, verb: str, resource: str, subresource: str) -> None:
    assert may(plane, operator, verb, resource, subresource) is True


@pytest.mark.parametrize(("verb", "resource", "subresource"), MAY_NOT)
def test_operator_may_not(plane: ControlPlane, operator: Path, verb: str, resource: str, subresource: str) -> None:
    assert may(plane, operator, verb, resource, subresource) is False


@pytest.mark.parametrize(("verb", "resource"), MAY_AT_HOME)
def test_operator_may_in_its_own_namespace(plane: ControlPlane, operator: Path, verb: str, resource: str) -> None:
    assert may(plane, operator, verb, resource, namespace=NAMESPACE) is True


@pytest.mark.parametrize(("verb", "resource"), MAY_NOT_AT_HOME)
def test_operator_may_not_in_its_own_namespace(plane: ControlPlane, operator: Path, verb: str, resource: str) -> None:
    assert may(plane, operator, verb, resource, namespace=NAMESPACE) is False


def test_operator_reports_and_holds_a_deletion(plane: ControlPlane, operator: Path) -> None:
    """With our own adapter: kubectl would first read the subresource, which the operator never does."""
    plane.kubectl("create", "-f", "-", stdin=json.dumps(RESOURCE))

    async def report() -> TairInstance:
        async with open_cluster(await find_api_server({"KUBECONFIG": str(operator)})) as cluster:
            found = await cluster.get(Key(NAMESPACE, "reported"))
            assert found is not None
            reported = await cluster.write_status(found, found.status.model_copy(update={"observed_generation": 1}))
            held = await cluster.write_finalizer(reported, is_wanted=True)
            assert held is not None
            freed = await cluster.write_finalizer(held, is_wanted=False)
            assert freed is not None
            return held

    held = asyncio.run(report())
    stored = plane.kubectl_json("get", "tair", "reported", "--namespace", NAMESPACE, kubeconfig=operator)
    plane.kubectl("delete", "tair", "reported", "--namespace", NAMESPACE)

    assert held.metadata.finalizers == [FINALIZER]
    assert stored["status"]["observedGeneration"] == 1
    assert stored["spec"] == RESOURCE["spec"]


def test_operator_reads_the_labels_of_a_namespace(operator: Path) -> None:
    async def read() -> Namespace | None:
        async with open_cluster(await find_api_server({"KUBECONFIG": str(operator)})) as cluster:
            return await cluster.read_namespace("default")

    assert asyncio.run(read()) == Namespace({"kubernetes.io/metadata.name": "default"})


def test_only_the_pod_gets_the_token(manifests: list[dict[str, Any]]) -> None:
    assert named(manifests, "ServiceAccount", OPERATOR)["automountServiceAccountToken"] is False
    assert pod(manifests)["spec"]["automountServiceAccountToken"] is True


def test_settings_name_folders_that_are_mounted(manifests: list[dict[str, Any]]) -> None:
    container = pod(manifests)["spec"]["containers"][0]
    settings = {variable["name"]: variable["value"] for variable in container["env"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}

    assert settings == {
        "TAIR_OPERATOR_ACCESS_FILE": f"{mounts['access']['mountPath']}/access.yaml",
        "TAIR_OPERATOR_CREDENTIALS_DIRECTORY": mounts["credentials"]["mountPath"],
        "TAIR_OPERATOR_LEADER_ELECTION": "true",
    }
    # A single file would keep the content that it had when the pod started.
    assert [mount for mount in mounts.values() if "subPath" in mount] == []


def test_permits_nothing_until_somebody_says_so(manifests: list[dict[str, Any]]) -> None:
    """The access list is the overlay's: applying the base again must not take away what somebody permitted."""
    volumes = {volume["name"]: volume for volume in pod(manifests)["spec"]["volumes"]}

    assert [item for item in manifests if item["kind"] == "ConfigMap"] == []
    assert volumes["access"]["configMap"] == {"name": "tair-operator-access", "optional": True}


def test_the_example_overlay_brings_image_and_access_list_and_can_be_applied_again(plane: ControlPlane) -> None:
    overlay = ROOT / "deploy/kustomize/overlays/example"
    rendered = list(yaml.safe_load_all(plane.kubectl("kustomize", overlay)))
    access = named(rendered, "ConfigMap", "tair-operator-access")
    first = plane.kubectl("apply", "-k", overlay)
    again = plane.kubectl("apply", "-k", overlay)
    # The other tests are about the base as it is.
    plane.kubectl("delete", "configmap", "tair-operator-access", "--namespace", NAMESPACE)
    apply(plane)

    assert pod(rendered)["spec"]["containers"][0]["image"] == "registry.example.com/tair-operator:0.1.0"
    assert parse_access(access["data"]["access.yaml"]).rules
    assert "configmap/tair-operator-access created" in first
    assert changed(again.splitlines()) == []


def test_of_two_replicas_one_leads(manifests: list[dict[str, Any]]) -> None:
    """Or an upgrade would run two operators side by side."""
    spec = named(manifests, "Deployment", OPERATOR)["spec"]
    role = named(manifests, "Role", OPERATOR)

    assert spec["replicas"] == 2
    assert spec["strategy"]["type"] == "RollingUpdate"
    assert role["rules"][0]["resourceNames"] == [Settings.model_fields["lease_name"].default]


def apply(plane: ControlPlane) -> str:
    return plane.kubectl("apply", "-f", "-", stdin=plane.kubectl("kustomize", BASE))


def changed(lines: list[str]) -> list[str]:
    """Return what kubectl has changed. It says so of every budget: a selector there is replaced even by itself."""
    return [line for line in lines if not line.endswith(" unchanged") and not line.startswith("poddisruptionbudget")]


def named(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [manifest] = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return manifest


def pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the pod that the Deployment would create; there is no controller here that does."""
    template = json.loads(json.dumps(named(manifests, "Deployment", OPERATOR)["spec"]["template"]))
    metadata = {**template["metadata"], "name": "dry-run", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def may(
    plane: ControlPlane, kubeconfig: Path, verb: str, resource: str, subresource: str = "", *, namespace: str = ""
) -> bool:
    """Ask the API server about a namespace, or about all at once."""
    question = ["auth", "can-i", verb, resource, *(["-n", namespace] if namespace else ["--all-namespaces"])]
    if subresource:
        question += ["--subresource", subresource]
    try:
        return plane.kubectl(*question, kubeconfig=kubeconfig).strip() == "yes"
    except KubectlError as answer:
        # can-i ends with 1 for "no"; anything it has to complain about would go to stderr.
        if answer.returncode == 1 and "error" not in answer.stderr.lower():
            return False
        raise
