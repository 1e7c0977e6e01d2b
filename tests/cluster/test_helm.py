"""The Helm chart with a real Helm and without a cluster: what it renders and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tair_operator.access import parse_access
from tair_operator.settings import PREFIX, load_settings
from tests.cluster.fake_go import use_fake_go
from tests.cluster.helm import (
    CHART,
    EVERYTHING,
    NAMESPACE,
    RELEASE_NAME,
    ROOT,
    Helm,
    Manifest,
    environment,
    every_value_set,
    only,
)
from tests.controlplane import find_chart_tools
from tests.gitops.pack import operator_values
from tests.stage import CRD

# Whoever runs this file alone may have Helm built by it, once.
pytestmark = pytest.mark.timeout(900)


def test_helm_and_kubeconform_are_built_once_beside_the_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = use_fake_go(tmp_path, monkeypatch)
    first, second = find_chart_tools(), find_chart_tools()

    assert first == second
    assert sorted(path.name for path in first.helm.parent.iterdir()) == ["helm", "kubeconform"]
    assert first.helm.parent.parent == tmp_path / "cache/tair-operator/controlplane"
    assert [line.split()[-1] for line in built.read_text().splitlines()] == [
        "helm.sh/helm/v4/cmd/helm",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    ]


# --- what it renders --------------------------------------------------------------------------------------------------


@every_value_set
def test_helm_finds_nothing_to_complain_about(helm: Helm, values: Path) -> None:
    said = helm("lint", "--strict", CHART, "--values", values)

    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said


@every_value_set
def test_the_operator_takes_the_settings_and_the_access_list(
    helm: Helm, values: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = helm.render("--values", values)
    environ = environment(only(manifests, "Deployment"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({}, environ)
    lists = [each["data"]["access.yaml"] for each in manifests if "access.yaml" in each.get("data", {})]

    assert settings.leader_election is True
    assert [parse_access(text).releases for text in lists] in ([], ["Allow"], ["Hold"])


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


@pytest.mark.parametrize("tool", ["argocd", "flux"])
def test_the_gitops_examples_install_an_operator_that_only_looks_and_acts_once_one_line_is_gone(
    helm: Helm, tmp_path: Path, tool: str
) -> None:
    values, rendered = operator_values()[tool], []
    for _ in range(2):
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
        rendered.append(helm.render("--values", tmp_path / "values.yaml"))
        values["settings"].pop("mode", None)
    environs = [environment(only(manifests, "Deployment")) for manifests in rendered]
    [access, unchanged] = [only(manifests, "ConfigMap")["data"]["access.yaml"] for manifests in rendered]

    assert [environ.pop(f"{PREFIX}MODE", "Act") for environ in environs] == ["Observe", "Act"]
    assert environs[0] == environs[1]
    assert environs[0][f"{PREFIX}FIRST_CONTACT_RELEASE"] == "RequireApproval"
    assert access == unchanged
    assert parse_access(access) == parse_access((ROOT / "examples/access-first-install.yaml").read_text())


def test_a_service_monitor_selects_the_service(helm: Helm) -> None:
    options = ("--set", "serviceMonitor.enabled=true", "--api-versions", "monitoring.coreos.com/v1")
    manifests = helm.render(*options, "--set", "serviceMonitor.labels.release=prometheus")
    monitor, service = only(manifests, "ServiceMonitor"), only(manifests, "Service")
    [endpoint] = monitor["spec"]["endpoints"]

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint == {"port": service["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "30s"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_and_dashboard_go_where_they_are_looked_for(helm: Helm) -> None:
    labels = ("--set", "prometheusRule.labels.release=prometheus", "--set", "dashboard.labels.team=platform")
    enabled = ("--set", "dashboard.enabled=true,prometheusRule.enabled=true,prometheusRule.namespace=monitoring")
    manifests = helm.render(*enabled, *labels)
    rule, dashboard = only(manifests, "PrometheusRule"), only(manifests, "ConfigMap", "tair-operator-dashboard")

    assert rule["metadata"]["namespace"] == "monitoring"
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert dashboard["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "team": "platform"}.items()


@pytest.mark.parametrize("slash", ["", "/"])
def test_each_alert_names_its_page_where_the_runbooks_are_kept(helm: Helm, slash: str) -> None:
    address = "https://git.example.org/platform/tair-operator/blob/main/docs/runbooks"
    options = ("--set", "prometheusRule.enabled=true", "--set", f"prometheusRule.runbookUrl={address}{slash}")
    groups = only(helm.render(*options), "PrometheusRule")["spec"]["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]

    assert {each["annotations"]["runbook_url"].removeprefix(f"{address}/") for each in alerts} == {
        page.name for page in (ROOT / "docs/runbooks").iterdir()
    }


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
    "serviceMonitor.enabled=true": "serviceMonitor.enabled: this cluster does not serve monitoring.coreos.com/v1",
    "prometheusRule.enabled=true": "prometheusRule.enabled: this cluster does not serve monitoring.coreos.com/v1",
    "prometheusRule.runbookUrl=wiki": "at '/prometheusRule/runbookUrl': 'wiki' does not match pattern",
    "watchNamespaces[0]=Shop": "at '/watchNamespaces/0': 'Shop' does not match pattern",
    "watchNamespaces={a,a}": "at '/watchNamespaces': items at 0 and 1 are equal",
    "watchNamespaces={a},tenants[0].namespace=b": "tenants: namespace b is not served: add it to watchNamespaces",
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


# --- roles and policies -----------------------------------------------------------------------------------------------


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


def test_policies_name_the_operator_wherever_it_runs(helm: Helm) -> None:
    options = ("--set", "admission.finalizerOnly=true", "--set", "serviceAccount.name=robot")
    policy = only(helm.render(*options, namespace="elsewhere"), "ValidatingAdmissionPolicy")
    [match] = policy["spec"]["matchConditions"]

    assert "'system:serviceaccount:elsewhere:robot'" in match["expression"]
