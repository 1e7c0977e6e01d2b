"""Chart and kustomize: what both render is compared field by field, and taken by a real API server as it is."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster.helm import (
    CHART,
    EVERYTHING,
    NAMESPACE,
    RELEASE_NAME,
    ROOT,
    VALUE_SETS,
    Helm,
    Manifest,
    every_value_set,
    only,
)
from tests.cluster.schemas import LOCATION, write_schemas
from tests.controlplane import ChartTools, ControlPlane, KubectlError
from tests.stage import BASE, CRD

# Whoever runs this file alone may have Helm built by it, once.
pytestmark = pytest.mark.timeout(900)

OVERLAYS: Final = ROOT / "deploy/kustomize/overlays"
MONITORING_CRDS: Final = Path(__file__).with_name("monitoring-crds.yaml")
EVERY_OVERLAY: Final = sorted(path.name for path in OVERLAYS.iterdir())

# The values that make the chart what a folder of kustomize is.
PAIRS: Final = {
    BASE: "default",
    OVERLAYS / "namespaced": "namespaced",
    OVERLAYS / "rrsa": "rrsa",
    OVERLAYS / "monitoring": "monitoring",
    OVERLAYS / "high-availability": "high-availability",
}

# How the chart differs from kustomize, and why. Whatever else differs fails, and so does a line that nothing needs.
DIFFERENCES: Final = {
    "Namespace/tair-system": "helm install --create-namespace makes it, and Helm cannot label it",
    "ConfigMap/tair-operator-access": "an overlay of the user brings it",
    "ClusterRole/tair-approver": "deploy/admission has it, beside the policy that asks for it",
    "Pod/tair-operator-test": "helm test; kustomize has nothing like it",
    f"CustomResourceDefinition/{CRD}.metadata.annotations": "kept by helm uninstall; kubectl delete -k asks nobody",
    "Deployment/tair-operator.spec.template.spec.containers[operator].env[TAIR_OPERATOR_LEASE_NAME]": (
        "each release has its Lease; the base is there once, and uses the default"
    ),
}

# Which of them tell who has installed an object, and say nothing about it.
MARKS: Final = {
    "helm.sh/chart",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
}


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """Have the base, the definitions of the Prometheus Operator, and namespaces of teams."""
    control_plane.apply(MONITORING_CRDS)
    control_plane.apply(BASE)
    for crd in (CRD, "servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"):
        control_plane.wait_established(crd)
    names = ("shop", "team-a")
    namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    control_plane.apply(yaml.safe_dump_all(namespaces))
    return control_plane


def kustomize(plane: ControlPlane, folder: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(plane.kubectl("kustomize", folder)))


# --- the same ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", PAIRS, ids=lambda path: path.name)
def test_chart_and_kustomize_render_the_same(helm: Helm, plane: ControlPlane, folder: Path) -> None:
    values = CHART / "ci" / f"{PAIRS[folder]}-values.yaml"
    ours, theirs = by_name(helm.render("--values", values)), by_name(kustomize(plane, folder))

    assert set(differences("", ours, theirs)) == set(DIFFERENCES)


def test_a_difference_would_be_found(helm: Helm, plane: ControlPlane) -> None:
    ours, theirs = by_name(helm.render()), by_name(kustomize(plane, BASE))
    deployment = theirs["Deployment/tair-operator"]["spec"]
    deployment["replicas"] = 1
    deployment["template"]["spec"]["containers"][0]["env"].pop(0)
    theirs["ClusterRole/tair-operator"]["rules"][0]["verbs"].append("delete")
    del theirs["Service/tair-operator"]

    assert set(differences("", ours, theirs)) - set(DIFFERENCES) == {
        "Deployment/tair-operator.spec.replicas",
        "Deployment/tair-operator.spec.template.spec.containers[operator].env[TAIR_OPERATOR_ACCESS_FILE]",
        "ClusterRole/tair-operator.rules",
        "Service/tair-operator",
    }


def test_a_namespaced_operator_is_bound_to_roles_in_its_namespaces_only(helm: Helm) -> None:
    manifests = helm.render("--values", CHART / "ci/shard-values.yaml")
    bound = {(each["kind"], each["metadata"]["namespace"]) for each in manifests if "roleRef" in each}
    rules = [(each["metadata"]["namespace"], rule) for each in manifests for rule in each.get("rules", [])]
    everywhere = [rule for namespace, rule in rules if namespace != NAMESPACE and "resourceNames" not in rule]

    assert [each["metadata"]["name"] for each in manifests if each["kind"].startswith("Cluster")] == []
    assert bound == {("RoleBinding", namespace) for namespace in ("shop", "team-a", NAMESPACE)}
    assert {resource for rule in everywhere for resource in rule["resources"]} == {
        "tairinstances",
        "tairinstances/status",
        "events",
        "namespaces",
    }


def by_name(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the objects by kind and name, and by namespace where it is not the operator's, without the marks."""
    found = {}
    for each in manifests:
        namespace = each["metadata"].get("namespace", NAMESPACE)
        place = "" if namespace == NAMESPACE else f"{namespace}/"
        found[f"{each['kind']}/{place}{each['metadata']['name']}"] = without_marks(each)
    assert len(found) == len(manifests)
    return found


def without_marks(node: Any) -> Any:  # noqa: ANN401
    if isinstance(node, list):
        return [without_marks(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {name: without_marks(inner) for name, inner in node.items() if name not in MARKS}


def differences(path: str, ours: Any, theirs: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield where two parts differ; lists of named things are compared by name."""
    if isinstance(ours, list) and isinstance(theirs, list) and all(is_named(item) for item in ours + theirs):
        ours, theirs = ({f"[{item['name']}]": item for item in items} for items in (ours, theirs))
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        if ours != theirs:
            yield path
        return
    for name in ours.keys() | theirs.keys():
        here = f"{path}{name}" if not path or name.startswith("[") else f"{path}.{name}"
        if name in ours and name in theirs:
            yield from differences(here, ours[name], theirs[name])
        else:
            yield here


def is_named(item: object) -> bool:
    return isinstance(item, dict) and "name" in item


def test_grants_in_the_namespace_of_a_team_what_the_components_grant(helm: Helm, plane: ControlPlane) -> None:
    tenant = {
        "namespace": "shop",
        "publishing": ["orders-endpoint", "carts-endpoint"],
        "credentials": ["shop-aliyun"],
        "identities": ["shop-tair"],
    }
    rendered = by_name(helm.render("--set-json", f"tenants={json.dumps([tenant])}"))
    overlay = by_name(kustomize(plane, OVERLAYS / "tenant"))
    ours = {name: each for name, each in rendered.items() if each["metadata"].get("namespace") == "shop"}
    for each in ours.values():
        # Those of the overlay have no labels.
        del each["metadata"]["labels"]

    assert ours == overlay


def test_has_the_policies_of_the_admission_folder(helm: Helm) -> None:
    names = ("approvals", "finalizerOnly", "endpointsOnly", "production.enabled")
    options = [word for name in names for word in ("--set", f"admission.{name}=true")]
    files = [path for path in (ROOT / "deploy/admission").glob("*.yaml") if path.name != "kustomization.yaml"]
    # Not through kustomize, which folds long lines in another way.
    sources = [manifest for path in files for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))]

    def policies(manifests: list[Manifest]) -> dict[tuple[str, str], Any]:
        return {
            (each["kind"], each["metadata"]["name"]): each["spec"]
            for each in manifests
            if each["kind"].startswith("ValidatingAdmission")
        }

    assert len(policies(sources)) == 8
    assert policies(helm.render(*options)) == policies(sources)
    assert policies(helm.render()) == {}


def test_everything_of_the_monitoring_folder_is_in_the_chart_as_it_is(helm: Helm) -> None:
    manifests = helm.render("--values", CHART / "ci/monitoring-values.yaml")
    folder = ROOT / "deploy/monitoring"
    rule = yaml.safe_load((folder / "prometheusrule.yaml").read_text(encoding="utf-8"))
    dashboard = json.loads((folder / "dashboard.json").read_text(encoding="utf-8"))

    assert only(manifests, "PrometheusRule")["spec"] == rule["spec"]
    assert (
        json.loads(only(manifests, "ConfigMap", "tair-operator-dashboard")["data"]["tair-operator.json"]) == dashboard
    )


def test_an_overlay_puts_the_address_of_the_runbooks_into_each_alert_as_the_value_of_the_chart_does(
    helm: Helm, plane: ControlPlane, tmp_path: Path
) -> None:
    page = (ROOT / "docs/how-to/monitor.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    [values] = [block for block in blocks if "apiVersion" not in block]
    [overlay] = [block for block in blocks if "apiVersion" in block]
    for folder in ("crds", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    mine = tmp_path / "deploy/kustomize/overlays/mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(overlay)
    (tmp_path / "values.yaml").write_text(values)
    ours = helm.render("--values", tmp_path / "values.yaml")
    theirs = kustomize(plane, mine)

    assert only(ours, "PrometheusRule")["spec"] == only(theirs, "PrometheusRule")["spec"]
    assert "https://example.com" not in yaml.safe_dump_all(theirs)
    assert [each for each in theirs if each["metadata"]["name"].startswith("runbooks")] == []


# --- accepted ---------------------------------------------------------------------------------------------------------


def test_everything_rendered_fits_the_schemas_of_the_api_server(
    helm: Helm, tools: ChartTools, plane: ControlPlane, tmp_path: Path
) -> None:
    """All sets of values and all overlays at once."""
    manifests = [manifest for path in VALUE_SETS for manifest in helm.render("--values", path)]
    manifests += [manifest for name in EVERY_OVERLAY for manifest in kustomize(plane, OVERLAYS / name)]
    write_schemas(plane, tmp_path, sorted({manifest["apiVersion"] for manifest in manifests}))
    said = conform(tools, tmp_path, yaml.safe_dump_all(manifests))
    typo = only(helm.render("--values", EVERYTHING), "Deployment")
    typo["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    refused = conform(tools, tmp_path, yaml.safe_dump(typo))

    assert f"Valid: {len(manifests)}, Invalid: 0, Errors: 0, Skipped: 0" in said
    assert {"PrometheusRule", "ServiceMonitor"} <= {manifest["kind"] for manifest in manifests}
    # Or the lines above would prove nothing.
    assert "'enviroment' not allowed" in refused


def conform(tools: ChartTools, schemas: Path, text: str) -> str:
    command = ["-strict", "-summary", "-schema-location", f"{schemas}/{LOCATION}"]
    done = subprocess.run(
        [tools.kubeconform, *command], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


DRY: Final = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")


@every_value_set
def test_every_object_of_the_chart_is_taken_by_the_api_server(helm: Helm, plane: ControlPlane, values: Path) -> None:
    text = yaml.safe_dump_all(without_pod(helm.render("--values", values, name="tried")))

    assert "serverside-applied (server dry run)" in plane.kubectl("--warnings-as-errors", *DRY, stdin=text)


def without_pod(manifests: list[Manifest]) -> list[Manifest]:
    """Leave out the pod of helm test, whose ServiceAccount is there only after the rest."""
    return [each for each in manifests if each["kind"] != "Pod"]


@pytest.mark.parametrize("overlay", EVERY_OVERLAY)
def test_every_object_of_an_overlay_is_taken_by_the_api_server(plane: ControlPlane, overlay: str) -> None:
    text = plane.kubectl("kustomize", OVERLAYS / overlay)

    assert "serverside-applied (server dry run)" in plane.kubectl("--warnings-as-errors", *DRY, stdin=text)


@every_value_set
def test_the_pods_of_the_chart_are_admitted_as_restricted(helm: Helm, plane: ControlPlane, values: Path) -> None:
    manifests = helm.render("--values", values)
    for spec in (only(manifests, "Deployment")["spec"]["template"]["spec"], only(manifests, "Pod")["spec"]):
        # Not every set of values creates the account; it is not what this is about.
        check_restricted(plane, spec | {"serviceAccountName": RELEASE_NAME})


@pytest.mark.parametrize("overlay", [name for name in EVERY_OVERLAY if name != "tenant"])
def test_the_pods_of_an_overlay_are_admitted_as_restricted(plane: ControlPlane, overlay: str) -> None:
    manifests = kustomize(plane, OVERLAYS / overlay)
    specs = [each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"]

    assert len(specs) == (2 if overlay == "simulator" else 1)
    for spec in specs:
        # In a cluster a controller makes the account default.
        check_restricted(plane, spec | {"serviceAccountName": RELEASE_NAME})


def check_restricted(plane: ControlPlane, spec: Manifest) -> None:
    """Create a pod as a dry run, since there is no controller here that does: it is admitted, and a lax one is not."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dry-run", "namespace": NAMESPACE}, "spec": spec}
    create = ("create", "--dry-run=server", "-f", "-")
    plane.kubectl("--warnings-as-errors", *create, stdin=json.dumps(pod))
    lax = json.loads(json.dumps(pod))
    del lax["spec"]["containers"][0]["securityContext"]

    # Or the line above would prove nothing.
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
        plane.kubectl(*create, stdin=json.dumps(lax))
