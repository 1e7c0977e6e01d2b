"""The Helm chart installed by a real Helm on a real API server: what it says, waits for, keeps and leaves."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tair_operator.access import parse_access
from tair_operator.models import ANNOTATION_RECONCILE
from tair_operator.settings import PREFIX
from tests.cluster.helm import CHART, NAMESPACE, RELEASE_NAME, Helm, HelmError, environment, make_namespaces, only
from tests.cluster.tenants import ALLOCATE, RELEASE, Tenant, condition, is_ready, make_tenant
from tests.controlplane import ControlPlane
from tests.stage import BASE, CRD, Stage

# The chart as it was before it could serve single namespaces. What is released takes its place: helm package.
PREVIOUS_CHART = Path(__file__).with_name("previous-chart.tgz")

# Whoever runs this file alone may have Helm built by it, once.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """Start an API server of one's own: the others have had the base applied, which belongs to no release."""
    with ControlPlane() as plane:
        make_namespaces(plane)
        yield plane


@pytest.fixture(scope="module")
def installed(helm: Helm, plane: ControlPlane) -> Helm:
    """Have the chart installed as README.md says, and be Helm with that cluster."""
    there = Helm(helm.program, helm.folder, plane.kubeconfig)
    there("install", RELEASE_NAME, CHART, "--namespace", NAMESPACE)
    plane.wait_established(CRD)
    return there


@pytest.fixture(scope="module")
def stage(installed: Helm, plane: ControlPlane) -> Iterator[Stage]:
    """Have a cloud, and operators that run under what the chart has installed."""
    assert installed.kubeconfig
    with Stage(plane) as stage:
        yield stage


def test_the_notes_say_what_to_do_next(installed: Helm) -> None:
    notes = installed("get", "notes", RELEASE_NAME, "--namespace", NAMESPACE)

    for words in (
        "--set image.repository=registry.example.com/tair-operator",
        "kubectl -n tair-system create secret generic tair-operator-credentials",
        "The access list is empty",
        "helm test tair-operator -n tair-system",
        "kind: TairInstance",
        "helm uninstall leaves the definition of TairInstance and all resources",
    ):
        assert words in notes
    assert [line for line in notes.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            "webhook",
            ["kubectl label namespace tair-system pod-identity", "in the ConfigMap access-list", "It only looks"],
        ),
        (
            "shard",
            ["It serves the namespaces shop, team-a, and may do nothing", "the TairInstances with shard in (a,b)"],
        ),
        ("everything", ["No release happens anywhere: access.releases is Hold", "deletes the definition"]),
    ],
)
def test_the_notes_follow_the_values(installed: Helm, values: str, words: list[str]) -> None:
    dry = ("install", "another", CHART, "--namespace", NAMESPACE, "--dry-run=client")
    notes = installed(*dry, "--values", CHART / "ci" / f"{values}-values.yaml").rpartition("NOTES:")[2]

    assert [each for each in words if each not in " ".join(notes.split())] == []


def test_helm_test_asks_the_operator_whether_it_is_ready(helm: Helm, stage: Stage) -> None:
    """No kubelet runs: the program of the pod is run here, with the address of an operator that runs here too."""
    [container] = only(helm.render(), "Pod")["spec"]["containers"]
    python, *arguments, url, _ = container["command"]

    def ask(address: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments, url.replace("tair-operator:8080", address), "0"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    with stage.operator("asked") as operator:
        ready = ask(operator.address)
    gone = ask(operator.address)

    assert python == "python"
    assert ready.returncode == 0
    assert operator.address in ready.stdout
    assert gone.returncode == 1
    assert "refused" in gone.stderr


# --- helm install --wait of somebody's own chart ----------------------------------------------------------------------


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """Make the chart of an application that needs its instance released."""
    folder = tmp_path / "application"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: application, version: 1.0.0}")
    (folder / "templates/instance.yaml").write_text(
        """
apiVersion: tair.alibabacloud.com/v1alpha1
kind: TairInstance
metadata: {name: it, namespace: "{{ .Release.Namespace }}"}
spec: {{ merge (dict "regionId" "cn-hangzhou" "directConnection" false) .Values.spec | toJson }}
"""
    )
    return folder


def install(helm: Helm, chart: Path, tenant: Tenant, seconds: int, **spec: object) -> Callable[[], str]:
    values = json.dumps({"instanceId": tenant.instance_id} | spec)
    command = ("install", "application", chart, "--namespace", tenant.namespace, "--set-json", f"spec={values}")
    return lambda: helm(*command, "--wait", "--timeout", f"{seconds}s")


def test_waits_until_the_release_is_done(installed: Helm, stage: Stage, application: Path) -> None:
    tenant = make_tenant(stage)
    # As the chart has it run: elected, by the Lease that its Role names.
    elected = {f"{PREFIX}LEADER_ELECTION": "true", f"{PREFIX}LEASE_NAMESPACE": NAMESPACE}
    with stage.operator("waited-for", **elected):
        said = install(installed, application, tenant, 60)()
        state = stage.simulator.instance(tenant.instance_id)
        resource = tenant.get()
        lease = stage.plane.kubectl_json("get", "lease", RELEASE_NAME, "--namespace", NAMESPACE)

    assert "STATUS: deployed" in said
    assert lease["spec"]["holderIdentity"]
    assert is_ready(resource)
    assert resource["status"]["directConnection"]["state"] == "Released"
    assert state["directConnection"] is False
    assert len(tenant.effective(RELEASE)) == 1


def test_fails_at_once_when_a_person_is_needed(installed: Helm, stage: Stage, application: Path) -> None:
    tenant = make_tenant(stage)
    with stage.operator("approving"):
        started = time.monotonic()
        with pytest.raises(HelmError) as failure:
            install(installed, application, tenant, 60, release={"approval": "Required"})()
        seconds = time.monotonic() - started
        stalled = condition(tenant.get(), "Stalled")

    assert stalled["reason"] == "ApprovalRequired"
    assert "status: Failed" in str(failure.value)
    assert stalled["message"][:40] in str(failure.value)
    assert seconds < 20
    assert tenant.calls(RELEASE) == []


def test_does_not_succeed_while_no_operator_runs(installed: Helm, stage: Stage, application: Path) -> None:
    tenant = make_tenant(stage)

    with pytest.raises(HelmError, match="status: InProgress"):
        install(installed, application, tenant, 3)()


# --- upgraded, rolled back, uninstalled -------------------------------------------------------------------------------


def identity(plane: ControlPlane, *what: str) -> tuple[str, str]:
    """Return what shows that an object was neither replaced nor, without its definition, written to."""
    found = plane.kubectl_json("get", *what)
    return found["metadata"]["uid"], json.dumps(found.get("spec"), sort_keys=True)


def test_an_upgrade_keeps_definition_and_resources_and_calls_nothing(
    installed: Helm, plane: ControlPlane, stage: Stage
) -> None:
    tenant = make_tenant(stage)
    upgrade = ("upgrade", RELEASE_NAME, CHART, "--namespace", NAMESPACE)
    with stage.operator("before"):
        tenant.apply(directConnection=False)
        before = tenant.wait(is_ready)
        definition = identity(plane, "crd", CRD)
        installed(*upgrade, "--set", "settings.logLevel=debug", "--set", "access.releases=Hold")
        upgraded = plane.kubectl_json("get", "deployment", RELEASE_NAME, "--namespace", NAMESPACE)
        # Even the definition can be left to somebody else from here on.
        installed(*upgrade, "--set", "crds.enabled=false")
        installed("rollback", RELEASE_NAME, "1", "--namespace", NAMESPACE)
        after = tenant.get()
    look_again(stage, tenant, "after")

    assert environment(upgraded)[f"{PREFIX}LOG_LEVEL"] == "debug"
    assert identity(plane, "crd", CRD) == definition
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert len(tenant.calls(RELEASE)) == 1
    assert tenant.calls(ALLOCATE) == []


def test_an_upgrade_from_the_previous_chart_and_back_calls_nothing(helm: Helm) -> None:
    """Each chart's own permissions hold while an operator looks again at what it released before."""
    upgrade = ("upgrade", RELEASE_NAME, CHART, "--namespace", NAMESPACE)
    with ControlPlane() as plane:
        make_namespaces(plane)
        there = Helm(helm.program, helm.folder, plane.kubeconfig)
        there("install", RELEASE_NAME, PREVIOUS_CHART, "--namespace", NAMESPACE)
        plane.wait_established(CRD)
        with Stage(plane) as stage:
            tenant = make_tenant(stage)
            with stage.operator("previous"):
                tenant.apply(directConnection=False)
                before = tenant.wait(is_ready)
            definition = identity(plane, "crd", CRD)[0]
            there(*upgrade)
            look_again(stage, tenant, "upgraded")
            upgraded = plane.kubectl_json("get", "clusterroles")
            there("rollback", RELEASE_NAME, "1", "--namespace", NAMESPACE)
            look_again(stage, tenant, "rolled-back")
            there(*upgrade, "--set", f"watchNamespaces={{{tenant.namespace}}}")
            narrowed = plane.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
            calls = tenant.calls(RELEASE), tenant.calls(ALLOCATE)
        after = tenant.get()

        assert identity(plane, "crd", CRD)[0] == definition
        assert after["spec"] == before["spec"]
        assert is_ready(after)
        assert (len(calls[0]), calls[1]) == (1, [])
        assert RELEASE_NAME in {role["metadata"]["name"] for role in upgraded["items"]}
        # The operator itself has nothing in the whole cluster any more; the roles for people stay.
        assert {name for name in narrowed.split() if name.endswith(f"/{RELEASE_NAME}")} == set()


def look_again(stage: Stage, tenant: Tenant, name: str) -> None:
    """Start an operator and have it look at what another one has done."""
    with stage.operator(name):
        ask = ("annotate", "--overwrite", "tair", tenant.name, "--namespace", tenant.namespace)
        stage.plane.kubectl(*ask, f"{ANNOTATION_RECONCILE}={name}")
        tenant.wait(lambda resource: resource["status"].get("lastHandledReconcileAt") == name)


def test_an_upgrade_does_not_undo_a_hold_that_somebody_put_there_by_hand(installed: Helm, plane: ControlPlane) -> None:
    brake = json.dumps({"data": {"access.yaml": "rules: []\nreleases: Hold\n"}})
    name = ("configmap", "tair-operator-access", "--namespace", NAMESPACE)
    upgrade = ("upgrade", RELEASE_NAME, CHART, "--namespace", NAMESPACE)
    plane.kubectl("patch", *name, "--type=merge", "-p", brake)
    said = installed.refuses(*upgrade)
    held = plane.kubectl_json("get", *name)["data"]["access.yaml"]
    installed(*upgrade, "--force-conflicts")
    freed = plane.kubectl_json("get", *name)["data"]["access.yaml"]

    assert 'conflict with "kubectl-patch"' in said
    assert ".data.access.yaml" in said
    assert (parse_access(held).releases, parse_access(freed).releases) == ("Hold", "Allow")


def test_uninstalling_leaves_definition_and_resources_and_the_next_release_takes_them_up(helm: Helm) -> None:
    where = ("--namespace", NAMESPACE)
    with ControlPlane() as plane:
        make_namespaces(plane)
        there = Helm(helm.program, helm.folder, plane.kubeconfig)
        there("install", RELEASE_NAME, CHART, *where)
        plane.wait_established(CRD)
        spec = {"instanceId": "r-bp1zxszhcgatnx0001", "regionId": "cn-hangzhou"}
        resource = {"apiVersion": "tair.alibabacloud.com/v1alpha1", "kind": "TairInstance", "spec": spec}
        named = resource | {"metadata": {"name": "kept", "namespace": "shop"}}
        plane.kubectl("create", "-f", "-", stdin=json.dumps(named))
        kept = identity(plane, "crd", CRD), identity(plane, "tair", "kept", "-n", "shop")
        said = there("uninstall", RELEASE_NAME, *where)
        left = identity(plane, "crd", CRD), identity(plane, "tair", "kept", "-n", "shop")
        others = plane.kubectl("get", "deployments,services,roles,rolebindings,configmaps,pdb", *where, "-o", "name")
        roles = plane.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
        there("install", RELEASE_NAME, CHART, *where, "--set", "crds.keep=false")
        again = identity(plane, "crd", CRD), identity(plane, "tair", "kept", "-n", "shop")
        there("uninstall", RELEASE_NAME, *where)
        # Its resources are deleted first, by the API server.
        plane.kubectl("wait", "--for=delete", f"crd/{CRD}", "--timeout=60s")

    assert "[CustomResourceDefinition] tairinstances.tair.alibabacloud.com" in said
    assert kept == left == again
    assert others.split() == []
    assert "tair" not in roles


def test_takes_over_what_kustomize_installed_when_told_to(helm: Helm) -> None:
    where = ("--namespace", NAMESPACE)
    with ControlPlane() as plane:
        plane.apply(BASE)
        there = Helm(helm.program, helm.folder, plane.kubeconfig)
        refused = there.refuses("install", RELEASE_NAME, CHART, *where)
        # A Deployment cannot change its selector.
        plane.kubectl("delete", "deployment", RELEASE_NAME, *where)
        before = identity(plane, "crd", CRD)
        there("install", RELEASE_NAME, CHART, *where, "--take-ownership", "--force-conflicts")
        selector = plane.kubectl_json("get", "service", RELEASE_NAME, *where)["spec"]["selector"]

        assert "invalid ownership metadata" in refused
        assert identity(plane, "crd", CRD) == before
        assert selector["app.kubernetes.io/instance"] == RELEASE_NAME
