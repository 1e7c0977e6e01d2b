"""The Helm chart with a real Helm, on a real API server: what it renders, refuses, installs, keeps and leaves."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tair_operator.access import parse_access
from tair_operator.models import ANNOTATION_RECONCILE
from tair_operator.settings import PREFIX, load_settings
from tests.cluster.schemas import LOCATION, write_schemas
from tests.cluster.tenants import ALLOCATE, RELEASE, Tenant, condition, is_ready, make_tenant
from tests.controlplane import ChartTools, ControlPlane, KubectlError, find_chart_tools
from tests.stage import BASE, CRD, Stage

# Whoever runs this file alone may have Helm built by it, once.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/tair-operator"
NAMESPACE, RELEASE_NAME = "tair-system", "tair-operator"
VALUE_SETS = sorted((CHART / "ci").glob("*-values.yaml"))
EVERYTHING = CHART / "ci/everything-values.yaml"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}

Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm refused or failed; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """Helm, with folders and a cluster of its own."""

    program: Path
    folder: Path
    kubeconfig: Path | None = None

    def __call__(self, *arguments: str | Path) -> str:
        """Run it and return what it printed; raises `HelmError`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        for name in ("CACHE", "CONFIG", "DATA"):
            environment[f"HELM_{name}_HOME"] = str(self.folder / name.lower())
        environment["KUBECONFIG"] = str(self.kubeconfig or self.folder / "none")
        command = [self.program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise HelmError(f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done.stdout

    def refuses(self, *arguments: str | Path) -> str:
        """Run it, expect that it fails, and return what it said."""
        with pytest.raises(HelmError) as failure:
            self(*arguments)
        return str(failure.value)

    def render(self, *arguments: str | Path, name: str = RELEASE_NAME, namespace: str = NAMESPACE) -> list[Manifest]:
        """Render the chart and parse the result."""
        text = self("template", name, CHART, "--namespace", namespace, *arguments)
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]


@pytest.fixture(scope="session")
def tools() -> ChartTools:
    return find_chart_tools()


@pytest.fixture(scope="module")
def helm(tools: ChartTools, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Be Helm without a cluster: all that lint and template need."""
    return Helm(tools.helm, tmp_path_factory.mktemp("helm"))


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


def make_namespaces(plane: ControlPlane) -> None:
    for name, labels in ((NAMESPACE, RESTRICTED), ("shop", {}), ("team-a", {})):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        plane.kubectl("create", "-f", "-", stdin=json.dumps(namespace))


def only(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    [found] = [each for each in manifests if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
    return found


def values_file(path: Path) -> str:
    return path.stem.removesuffix("-values")


every_value_set = pytest.mark.parametrize("values", VALUE_SETS, ids=values_file)


def test_helm_and_kubeconform_are_built_once_beside_the_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fake compiler, which writes "$7", the file behind -o."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    version = 'test "$1" = version && { echo "go version go1.99.0 linux/amd64"; exit 0; }'
    (tmp_path / "go").write_text(f'#!/bin/sh\n{version}\necho "$8" >> {tmp_path}/built; echo "$7" > "$7"\n')
    (tmp_path / "go").chmod(0o755)
    first, second = find_chart_tools(), find_chart_tools()

    assert first == second
    assert sorted(path.name for path in first.helm.parent.iterdir()) == ["helm", "kubeconform"]
    assert first.helm.parent.parent == tmp_path / "cache/tair-operator/controlplane"
    assert (tmp_path / "built").read_text().split() == [
        "helm.sh/helm/v4/cmd/helm",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    ]


# --- what it renders --------------------------------------------------------------------------------------------------


@every_value_set
def test_helm_finds_nothing_to_complain_about(helm: Helm, values: Path) -> None:
    said = helm("lint", "--strict", CHART, "--values", values)

    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


def test_everything_rendered_fits_the_schemas_of_the_api_server(
    helm: Helm, tools: ChartTools, plane: ControlPlane, installed: Helm, tmp_path: Path
) -> None:
    """All value sets at once; the definition of ServiceMonitor is not among them, since the server has none."""
    rendered = {path: helm.render("--values", path) for path in VALUE_SETS}
    assert installed.kubeconfig
    manifests = [manifest for each in rendered.values() for manifest in each]
    write_schemas(plane, tmp_path, sorted({manifest["apiVersion"] for manifest in manifests}))
    said = conform(tools, tmp_path, yaml.safe_dump_all(manifests))
    typo = only(rendered[EVERYTHING], "Deployment")
    typo["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    refused = conform(tools, tmp_path, yaml.safe_dump(typo))

    assert f"Valid: {len(manifests)}, Invalid: 0, Errors: 0, Skipped: 0" in said
    # Or the line above would prove nothing.
    assert "'enviroment' not allowed" in refused


def conform(tools: ChartTools, schemas: Path, text: str) -> str:
    command = ["-strict", "-summary", "-schema-location", f"{schemas}/{LOCATION}"]
    done = subprocess.run(
        [tools.kubeconform, *command], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


@every_value_set
def test_the_operator_takes_the_settings_and_the_access_list(
    helm: Helm, values: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = helm.render("--values", values)
    environ = environment(only(manifests, "Deployment"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({}, environ)
    lists = [each["data"]["access.yaml"] for each in manifests if each["kind"] == "ConfigMap"]

    assert settings.leader_election is True
    assert [parse_access(text).releases for text in lists] in ([], ["Allow"], ["Hold"])


def environment(deployment: Manifest) -> dict[str, str]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_values_reach_the_operator_as_they_were_written(helm: Helm) -> None:
    manifests = helm.render("--values", EVERYTHING)
    environ = environment(only(manifests, "Deployment"))
    spec = only(manifests, "Deployment")["spec"]["template"]["spec"]
    access = only(manifests, "ConfigMap")["data"]["access.yaml"]

    assert {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)} == {
        "ACCESS_FILE": "/etc/tair-operator/access/access.yaml",
        "CREDENTIALS_SOURCE": "RRSA",
        "LEADER_ELECTION": "true",
        "LEASE_NAME": "tair-operator",
        "CA_FILE": "/etc/tair-operator/ca/ca.crt",
        "OIDC_PROVIDER_ARN": "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c1234",
        "ASSUME_ROLE_ARN": "acs:ram::6543210987654321:role/tair-operator",
        "ASSUME_ROLE_EXTERNAL_ID": "the-other-account",
        "ROLE_SESSION_NAME": "tair",
        "ROLE_SESSION_SECONDS": "1800",
        "VPC_ENDPOINTS": "true",
        "STS_REGION": "cn-hangzhou",
        "RESYNC_SECONDS": "3600",
        "CALLS_PER_SECOND": "2.5",
        "APPROVAL_TTL_SECONDS": "604800",
        "RELEASE_BUDGET": "10000",
        "RELEASE_WINDOW": "Maintenance",
        "RELEASE_DRAIN_SECONDS": "30",
        "ENGINE_VERSIONS": "4.0,5.0",
        "GRACE_SECONDS": "45",
        "LOG_LEVEL": "debug",
    }
    assert environ["ALIBABA_CLOUD_OIDC_TOKEN_FILE"] == "/var/run/secrets/tair-operator/token"
    assert spec["terminationGracePeriodSeconds"] == 55
    assert yaml.safe_load(access) == {
        key: yaml.safe_load(EVERYTHING.read_text())["access"][key] for key in ("releases", "rules")
    }


def test_a_service_monitor_selects_the_service(helm: Helm) -> None:
    options = ("--set", "serviceMonitor.enabled=true", "--api-versions", "monitoring.coreos.com/v1")
    manifests = helm.render(*options, "--set", "serviceMonitor.labels.release=prometheus")
    monitor, service = only(manifests, "ServiceMonitor"), only(manifests, "Service")
    [endpoint] = monitor["spec"]["endpoints"]

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint == {"port": service["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "30s"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_service_reaches_the_pods_of_the_operator_and_not_that_of_the_test(helm: Helm) -> None:
    manifests = helm.render()
    selector = only(manifests, "Service")["spec"]["selector"].items()
    pods = only(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert selector <= pods.items()
    assert not selector <= only(manifests, "Pod")["metadata"]["labels"].items()
    assert only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() == selector


def test_a_packaged_chart_renders_the_same(helm: Helm, tmp_path: Path) -> None:
    helm("package", CHART, "--destination", tmp_path)
    [package] = tmp_path.glob("tair-operator-*.tgz")
    options = ("--namespace", NAMESPACE, "--values", EVERYTHING)

    assert helm("template", RELEASE_NAME, package, *options) == helm("template", RELEASE_NAME, CHART, *options)


def test_can_be_a_part_of_another_chart_that_may_switch_it_off(helm: Helm, tmp_path: Path) -> None:
    dependency = {"name": "tair-operator", "version": "*", "condition": "tair-operator.enabled"}
    umbrella = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(umbrella))
    shutil.copytree(CHART, tmp_path / "charts/tair-operator")
    render = ("template", "platform", tmp_path, "--set", "global.region=cn-hangzhou")

    assert "kind: Deployment" in helm(*render, "--set", "tair-operator.enabled=true")
    assert helm(*render, "--set", "tair-operator.enabled=false").strip() == ""


def test_another_release_name_is_in_every_name_that_could_clash(helm: Helm) -> None:
    ours = {(each["kind"], each["metadata"]["name"]) for each in helm.render()}
    others = {(each["kind"], each["metadata"]["name"]) for each in helm.render(name="second", namespace="second")}
    environ = environment(only(helm.render(name="second"), "Deployment"))

    # One per cluster: the documentation says which values to turn off.
    assert ours & others == {("CustomResourceDefinition", CRD), ("ClusterRole", "tair-approver")}
    assert environ[f"{PREFIX}LEASE_NAME"] == "second-tair-operator"


# --- what it refuses --------------------------------------------------------------------------------------------------

REFUSED = {
    "replica=2": "additional properties 'replica' not allowed",
    "replicas=two": "at '/replicas': got string, want integer",
    "crds.enable=false": "at '/crds': additional properties 'enable' not allowed",
    "image.digest=latest": "at '/image/digest': 'latest' does not match pattern",
    "settings.resyncSecond=600": "at '/settings': additional properties 'resyncSecond' not allowed",
    "settings.resyncSeconds=5": "at '/settings/resyncSeconds': minimum: got 5, want 60",
    "settings.mode=Watch": "at '/settings/mode': value must be one of 'Act', 'Observe'",
    "settings.accessFile=/x": "at '/settings': additional properties 'accessFile' not allowed",
    "settings.leaseName=x": "at '/settings': additional properties 'leaseName' not allowed",
    "settings.endpoint=http://cloud:80": "settings.endpoint is plain http: use https, or set settings.allowHttp",
    "settings.vpcEndpoints=true,credentials.assumeRoleArn=acs:ram::1:role/x": "needs settings.stsRegion",
    "settings.stsRegion=cn-hangzhou,settings.stsEndpoint=https://sts": "stsRegion and settings.stsEndpoint are both",
    "access.releases=Stop": "at '/access/releases': value must be one of 'Allow', 'Hold'",
    "access.rules[0].namespaces[0]=shop": "'/access/rules/0': missing properties 'regions', 'instanceIds', 'actions'",
    "access.existingConfigMap=x,access.releases=Hold": "write releases: Hold into that ConfigMap",
    "credentials.source=Environment": "at '/credentials/source': value must be one of 'Files', 'RRSA', 'ECSRAMRole'",
    "credentials.source=RRSA": "set credentials.roleName (with ACK's pod identity webhook) or credentials.roleArn",
    "credentials.roleName=tair": "set credentials.source to RRSA, or unset them",
    "credentials.source=RRSA,credentials.roleArn=acs:ram::1:role/x": "needs credentials.oidcProviderArn",
    "credentials.source=RRSA,credentials.roleArn=acs:ram::1:role/x,credentials.roleName=x": "are both set",
    "credentials.assumeRoleArn=tair": "at '/credentials/assumeRoleArn': 'tair' does not match pattern",
    "credentials.assumeRoleExternalId=ab": "credentials.assumeRoleExternalId needs credentials.assumeRoleArn",
    "credentials.ecsRoleName=tair": "set credentials.source to ECSRAMRole",
    "tenants[0].publishing[0]=x": "at '/tenants/0': missing property 'namespace'",
    "tenants[0].namespace=a,tenants[0].secrets[0]=x": "at '/tenants/0': additional properties 'secrets' not allowed",
    "tenants[0].namespace=a,tenants[1].namespace=a": "tenants: namespace a is there twice",
    "resources.limit.cpu=1": "at '/resources': additional properties 'limit' not allowed",
    "serviceMonitor.enabled=true": "this cluster does not serve monitoring.coreos.com/v1",
    "fullnameOverride=Tair": "at '/fullnameOverride': 'Tair' does not match pattern",
}


@pytest.mark.parametrize("values", REFUSED)
def test_says_what_is_wrong_with_a_value(helm: Helm, values: str) -> None:
    assert REFUSED[values] in helm.refuses("template", RELEASE_NAME, CHART, "--set", values)


@pytest.mark.parametrize(
    ("rule", "advice"),
    [
        ({"regions": ["*"], "instanceIds": ["*"], "actions": ["Observe"]}, "missing property 'namespaces'"),
        (
            {"namespaces": ["*"], "regions": ["*"], "instanceIds": ["*"], "actions": ["Delete"]},
            "must be one of 'Observe'",
        ),
        (
            {
                "namespaces": ["*"],
                "regions": ["*"],
                "instanceIds": ["*"],
                "actions": ["Allocate"],
                "approval": "Required",
            },
            "add Release to actions, or remove approval",
        ),
    ],
)
def test_says_what_is_wrong_with_a_rule_of_the_access_list(helm: Helm, rule: Manifest, advice: str) -> None:
    values = json.dumps([rule])

    assert advice in helm.refuses("template", RELEASE_NAME, CHART, "--set-json", f"access.rules={values}")


def test_an_older_cluster_is_refused(helm: Helm) -> None:
    said = helm.refuses("template", RELEASE_NAME, CHART, "--kube-version", "1.30.9")

    assert "chart requires kubeVersion: >=1.31.0-0" in said


# --- chart and kustomize say the same ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(plane: ControlPlane) -> list[Manifest]:
    return list(yaml.safe_load_all(plane.kubectl("kustomize", BASE)))


def rbac(manifests: list[Manifest]) -> dict[tuple[str, str, str], Any]:
    """Return what roles hold and whom bindings bind, by kind, namespace and name."""
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each.get(
            "rules", (each.get("roleRef"), each.get("subjects"))
        )
        for each in manifests
        if each["apiVersion"] == "rbac.authorization.k8s.io/v1"
    }


def test_grants_the_operator_what_the_base_grants_it(helm: Helm, base: list[Manifest]) -> None:
    options = ("--set", "roles.aggregate=false", "--set", "roles.approver=false")

    assert len(rbac(base)) >= 4
    assert rbac(helm.render(*options)) == rbac(base)


def test_people_get_roles_that_neither_approve_nor_write_status(helm: Helm) -> None:
    roles = {each["metadata"]["name"]: each for each in helm.render() if each["kind"] == "ClusterRole"}
    view, edit = roles["tair-operator-view"], roles["tair-operator-edit"]
    [rule] = edit["rules"]

    assert view["rules"][0]["verbs"] == ["get", "list", "watch"]
    assert rule["resources"] == ["tairinstances"]
    assert set(rule["verbs"]) == {"create", "update", "patch", "delete", "deletecollection"}
    assert "approve" in roles["tair-approver"]["rules"][0]["verbs"]
    assert labels_of(view) == {"view", "edit", "admin"}
    assert labels_of(edit) == {"edit", "admin"}


def labels_of(role: Manifest) -> set[str]:
    return set(re.findall(r"aggregate-to-(\w+)", " ".join(role["metadata"]["labels"])))


def test_grants_in_the_namespace_of_a_team_what_the_components_grant(helm: Helm, plane: ControlPlane) -> None:
    tenant = {
        "namespace": "shop",
        "publishing": ["orders-endpoint", "carts-endpoint"],
        "credentials": ["shop-aliyun"],
        "identities": ["shop-tair"],
    }
    overlay = list(yaml.safe_load_all(plane.kubectl("kustomize", ROOT / "deploy/kustomize/overlays/tenant")))
    rendered = rbac(helm.render("--set-json", f"tenants={json.dumps([tenant])}"))

    assert {key: value for key, value in rendered.items() if key[1] == "shop"} == rbac(overlay)


def test_runs_the_pod_of_the_base(helm: Helm, base: list[Manifest]) -> None:
    ours, theirs = only(helm.render(), "Deployment")["spec"], only(base, "Deployment")["spec"]
    pod = ours["template"]["spec"]
    spread = pod.pop("topologySpreadConstraints")
    [container] = pod["containers"]
    container["env"].remove({"name": f"{PREFIX}LEASE_NAME", "value": "tair-operator"})

    assert container.pop("imagePullPolicy") == "IfNotPresent"
    assert [each["whenUnsatisfiable"] for each in spread] == ["ScheduleAnyway"] * 2
    assert pod == theirs["template"]["spec"]
    assert {key: ours[key] for key in ("replicas", "strategy")} == {
        key: theirs[key] for key in ("replicas", "strategy")
    }


@pytest.mark.parametrize("kind", ["Service", "ServiceAccount", "CustomResourceDefinition"])
def test_has_the_same_otherwise(helm: Helm, base: list[Manifest], kind: str) -> None:
    ours, theirs = only(helm.render(), kind), only(base, kind)
    for each in (ours, theirs):
        each.get("spec", {}).pop("selector", None)
        name = {key: each["metadata"].get(key) for key in ("name", "namespace")}
        each["metadata"] = name

    assert ours == theirs


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


def test_policies_name_the_operator_wherever_it_runs(helm: Helm) -> None:
    options = ("--set", "admission.finalizerOnly=true", "--set", "serviceAccount.name=robot")
    policy = only(helm.render(*options, namespace="elsewhere"), "ValidatingAdmissionPolicy")
    [match] = policy["spec"]["matchConditions"]

    assert "'system:serviceaccount:elsewhere:robot'" in match["expression"]


# --- installed --------------------------------------------------------------------------------------------------------


@every_value_set
def test_every_object_is_taken_by_the_api_server(
    helm: Helm, installed: Helm, plane: ControlPlane, values: Path
) -> None:
    assert installed.kubeconfig
    text = yaml.safe_dump_all(helm.render("--values", values, name="tried"))
    dry = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")

    assert "serverside-applied (server dry run)" in plane.kubectl("--warnings-as-errors", *dry, stdin=without_pod(text))


def without_pod(text: str) -> str:
    """Leave out the pod of helm test, whose ServiceAccount is there only after the rest."""
    return yaml.safe_dump_all(each for each in yaml.safe_load_all(text) if each["kind"] != "Pod")


@every_value_set
def test_the_pods_are_admitted_as_restricted(helm: Helm, installed: Helm, plane: ControlPlane, values: Path) -> None:
    """There is no controller here that creates them."""
    assert installed.kubeconfig
    manifests = helm.render("--values", values)
    template = only(manifests, "Deployment")["spec"]["template"]
    for spec in (template["spec"], only(manifests, "Pod")["spec"]):
        metadata = {"name": "dry-run", "namespace": NAMESPACE}
        # Not every set of values creates the account; it is not what this is about.
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": spec | {"serviceAccountName": RELEASE_NAME},
        }
        create = ("create", "--dry-run=server", "-f", "-")
        plane.kubectl("--warnings-as-errors", *create, stdin=json.dumps(pod))
        del pod["spec"]["containers"][0]["securityContext"]

        # Or the line above would prove nothing.
        with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
            plane.kubectl(*create, stdin=json.dumps(pod))


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
    with stage.operator("after"):
        ask = ("annotate", "tair", tenant.name, "--namespace", tenant.namespace, f"{ANNOTATION_RECONCILE}=now")
        plane.kubectl(*ask)
        tenant.wait(lambda resource: resource["status"].get("lastHandledReconcileAt") == "now")

    assert environment(upgraded)[f"{PREFIX}LOG_LEVEL"] == "debug"
    assert identity(plane, "crd", CRD) == definition
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert len(tenant.calls(RELEASE)) == 1
    assert tenant.calls(ALLOCATE) == []


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
        gone = plane.kubectl("get", "crd", "-o", "name")

    assert "[CustomResourceDefinition] tairinstances.tair.alibabacloud.com" in said
    assert kept == left == again
    assert others.split() == []
    assert "tair" not in roles
    assert CRD not in gone


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
