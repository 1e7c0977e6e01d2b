"""The monitoring pack with a real Prometheus: alerts fire and clear, and each query of the dashboard has an answer."""

import json
import math
import os
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pytest
import yaml

from tests.cluster.fake_go import use_fake_go
from tests.cluster.tenants import NUMBERS, Tenant, is_ready, is_stalled, make_tenant, wait_until
from tests.controlplane import MonitoringTools, find_monitoring_tools
from tests.controlplane.processes import end_process, start_process
from tests.stage import ROOT, OperatorProcess, Stage

# Whoever runs this file alone may have Prometheus built by it, once.
pytestmark = pytest.mark.timeout(900)

PACK: Final = ROOT / "deploy/monitoring"
ROLE: Final = "acs:ram::1234567890123456:role/operator"
LEASE: Final = "tair-operator"
DRIFT: Final = "TairDriftDetected"
# What Grafana puts in place of these. Long enough for all of the tests here, in any order.
VARIABLES: Final = {"$__rate_interval": "15m", "$__range": "15m", "$job": ".+"}
KUBE_STATE_METRICS: Final = os.environ.get("KUBE_STATE_METRICS", "")
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Series = dict[str, Any]


@dataclass
class Prometheus(AbstractContextManager["Prometheus"]):
    """A Prometheus of one's own, which scrapes one target and evaluates the rules once a second."""

    program: Path
    folder: Path
    target: str
    url: str = ""
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        write_rules(self.folder)
        target = {"targets": [self.target], "labels": {"namespace": "tair-system"}}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "tair-operator", "static_configs": [target]}],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        log = self.folder / "prometheus.log"
        options = (f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'data'}")
        with log.open("wb") as output:
            command: list[str | Path] = [self.program, *options, "--web.listen-address=127.0.0.1:0"]
            self._process = start_process(command, cwd=self.folder, stdout=output, stderr=output)
        address: list[str] = []

        def is_listening() -> bool:
            address[:] = re.findall(r'msg="Listening on" .*address=(\S+)', log.read_text())
            return bool(address)

        wait_until(is_listening, "Prometheus listens")
        self.url = f"http://{address[0]}"
        wait_until(lambda: self.query("up == 1"), "the operator is scraped")
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it."""
        end_process(self._process)

    def query(self, expression: str) -> list[Series]:
        """Return the result of an instant query."""
        answer: list[Series] = self.ask(f"query?{urllib.parse.urlencode({'query': expression})}").get("result", [])
        return answer

    def ask(self, path: str) -> dict[str, Any]:
        """Return what its API answers."""
        try:
            with _DIRECT.open(f"{self.url}/api/v1/{path}", timeout=10) as reply:
                return dict(json.load(reply)["data"])
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it still starts
                return {}
            pytest.fail(f"{path}: {error.read().decode()}")


def write_rules(folder: Path) -> Path:
    """Write what the PrometheusRule has below `spec`, which is what Prometheus and promtool read."""
    spec = yaml.safe_load((PACK / "prometheusrule.yaml").read_text())["spec"]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def tools() -> MonitoringTools:
    return find_monitoring_tools()


def promtool(tools: MonitoringTools, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [tools.promtool, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_and_promtool_are_built_once_beside_the_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = use_fake_go(tmp_path, monkeypatch)
    first, second = find_monitoring_tools(), find_monitoring_tools()

    assert first == second
    assert sorted(path.name for path in first.promtool.parent.iterdir()) == ["prometheus", "promtool"]
    assert first.promtool.parent.parent == tmp_path / "cache/tair-operator/controlplane"
    builds = built.read_text().splitlines()
    assert [line.split()[-1].rpartition("/cmd/")[2] for line in builds] == ["promtool", "prometheus"]
    assert all("-tags remove_all_sd,slicelabels" in line for line in builds)


# --- the alerts -------------------------------------------------------------------------------------------------------


def test_promtool_finds_no_fault_with_the_rules(tools: MonitoringTools, tmp_path: Path) -> None:
    write_rules(tmp_path)

    assert "SUCCESS" in promtool(tools, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=tmp_path)


def test_each_alert_fires_and_clears_and_none_fires_where_all_is_well(tools: MonitoringTools, tmp_path: Path) -> None:
    write_rules(tmp_path)
    (tmp_path / "alerts.yaml").write_text((PACK / "tests/alerts.yaml").read_text())

    assert "SUCCESS" in promtool(tools, "test", "rules", "alerts.yaml", folder=tmp_path)


# --- Prometheus, and an operator that works -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    """Start an operator with temporary credentials, of the role of the node, and with a Lease."""
    stage.plane.kubectl("delete", "lease", LEASE, "-n", "tair-system", "--ignore-not-found")
    stage.simulator.put(f"roles/{ROLE}", policies=[{"effect": "Allow", "actions": ["kvstore:*"]}])
    stage.simulator.put("ecs", role="operator")
    settings = {
        "TAIR_OPERATOR_CREDENTIALS_SOURCE": "ECSRAMRole",
        "TAIR_OPERATOR_ECS_METADATA_ENDPOINT": stage.simulator.url,
        "TAIR_OPERATOR_LEADER_ELECTION": "true",
        "TAIR_OPERATOR_LEASE_NAMESPACE": "tair-system",
    }
    operator = stage.operator(f"monitored-{next(NUMBERS)}", **settings)
    operator.credentials = {}
    with operator:
        yield operator


@pytest.fixture(scope="module")
def prometheus(
    tools: MonitoringTools, operator: OperatorProcess, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Watch the operator through releases and allocations, a call that is throttled, and drift."""
    with Prometheus(tools.prometheus, tmp_path_factory.mktemp("prometheus"), operator.address) as prometheus:
        tenants = [make_tenant(stage) for _ in range(8)]
        stage.simulator.add_fault(action="ReleaseDirectConnection", kind="throttle")
        for tenant in tenants:
            tenant.apply(directConnection=False)
        for tenant in tenants:
            tenant.wait(is_ready)
        for tenant in tenants[:2]:
            tenant.apply(directConnection=True)
            tenant.wait(is_ready)
        drift(tenants[2])
        yield prometheus


def drift(tenant: Tenant) -> None:
    """Allocate in the console what the manifest wants released, and have the operator look."""
    tenant.stage.simulator.put_instance(tenant.instance_id, directConnection=True)
    words = f"tair.alibabacloud.com/reconcile-requested-at={time.time()}"
    tenant.stage.plane.kubectl("annotate", "--overwrite", "tair", tenant.name, "-n", tenant.namespace, words)
    tenant.wait(is_stalled("DriftDetected"))


def queries() -> list[tuple[str, str]]:
    """Return every query of the dashboard as Grafana would send it, with the title of its panel."""
    found = []
    for panel in json.loads((PACK / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.append((panel["title"], expression))
    return found


def has_data(result: list[Series]) -> bool:
    return any(not math.isnan(float(series["value"][1])) for series in result)


def test_every_query_of_the_dashboard_returns_data(prometheus: Prometheus) -> None:
    missing = dict(enumerate(queries()))

    def have_all() -> bool:
        for number, (_, expression) in list(missing.items()):
            if has_data(prometheus.query(expression)):
                del missing[number]
        return not missing

    deadline = time.monotonic() + 60
    while not have_all() and time.monotonic() < deadline:
        time.sleep(1)

    assert len(queries()) > 40
    assert not any("$" in expression for _, expression in queries())
    assert list(missing.values()) == []


def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    wait_until(lambda: prometheus.query("tair_operator:resources_progressing:sum"), "a recording rule")
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    assert len(rules) > 20
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert prometheus.query("tair_operator:cloud_requests_failed:ratio_rate5m")[0]["value"][1] == "0"


def test_a_burst_of_releases_pages_at_once_and_drift_is_pending(prometheus: Prometheus) -> None:
    drift: list[dict[str, Any]] = []

    def is_drift_pending() -> bool:
        drift[:] = [each for each in prometheus.ask("alerts")["alerts"] if each["labels"]["alertname"] == DRIFT]
        return bool(drift)

    wait_until(is_drift_pending, DRIFT)
    fired = 'count by (alertname, severity) (max_over_time(ALERTS{alertstate="firing"}[30m]))'
    wait_until(lambda: prometheus.query(fired), "a firing alert")

    assert [alert["metric"] for alert in prometheus.query(fired)] == [
        {"alertname": "TairReleaseBurst", "severity": "critical"}
    ]
    [alert] = drift
    assert alert["state"] == "pending"
    assert alert["annotations"]["description"].startswith("tair-system/tair-operator sees direct connections")
    assert alert["annotations"]["summary"].startswith("1 instances differ from their manifest")


# --- what the pages tell to type -------------------------------------------------------------------------------------

PAGES: Final = [*sorted((ROOT / "docs/runbooks").glob("*.md")), ROOT / "docs/how-to/monitor.md", PACK / "README.md"]


def written(language: str, start: str) -> list[str]:
    """Return the lines of all code blocks in a language that begin like this, without that."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    return sorted({line.removeprefix(start) for line in blocks.splitlines() if line.startswith(start)})


@pytest.mark.parametrize("query", [line for line in written("promql", "") if line and not line.startswith("#")])
def test_prometheus_understands_each_query_of_the_pages(prometheus: Prometheus, query: str) -> None:
    prometheus.query(query)


@pytest.mark.parametrize(
    "command",
    [line for line in written("console", "$ ") if line.startswith("kubectl get tair") and " NAME" not in line],
)
def test_kubectl_understands_each_look_at_resources(stage: Stage, prometheus: Prometheus, command: str) -> None:
    kubectl = stage.plane.kubectl_program
    environment = {**os.environ, "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    environment["KUBECONFIG"] = str(stage.plane.kubeconfig)
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)

    # grep ends with 1 when nothing is as bad as what the page looks for.
    assert (done.returncode in {0, 1}, done.stderr) == (True, "")
    assert done.stdout or "grep" in command


# --- kube-state-metrics ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not KUBE_STATE_METRICS, reason="KUBE_STATE_METRICS names no program: see deploy/monitoring")
def test_kube_state_metrics_tells_what_the_status_says(stage: Stage, operator: OperatorProcess, tmp_path: Path) -> None:
    tenant = make_tenant(stage)
    tenant.apply(directConnection=False, driftPolicy="Report")
    resource = tenant.wait(is_ready)
    stage.plane.kubectl("create", "serviceaccount", "kube-state-metrics", "-n", "kube-system")
    stage.plane.apply((PACK / "kube-state-metrics-rbac.yaml").read_text())
    kubeconfig = stage.plane.kubeconfig_for("kube-state-metrics", "kube-system")
    command = [KUBE_STATE_METRICS, f"--kubeconfig={kubeconfig}", "--custom-resource-state-only", "--host=127.0.0.1"]
    command += [f"--custom-resource-state-config-file={PACK / 'kube-state-metrics.yaml'}", "--port=18080"]
    log = (tmp_path / "log").open("wb")
    process = start_process([*command, "--telemetry-host=127.0.0.1", "--telemetry-port=18081"], stdout=log, stderr=log)
    try:
        wait_until(lambda: series_of(tenant), "kube-state-metrics knows the resource")
        found = series_of(tenant)
    finally:
        end_process(process)
        log.close()

    generation = float(resource["metadata"]["generation"])
    assert found['status_condition{reason="Released",type="Ready"}'] == 1
    assert found["metadata_generation{}"] == found["status_observed_generation{}"] == generation
    assert found['direct_connection_state{state="Released"}'] == 1
    assert found['direct_connection_state{state="Allocated"}'] == 0
    [info] = [name for name in found if name.startswith("info{")]
    assert f'instance_id="{tenant.instance_id}"' in info
    assert 'drift_policy="Report"' in info
    assert 'direct_connection="false"' in info
    assert [name for name in found if name.startswith(("deletion_timestamp", "drift_since"))] == []
    assert len(found) <= 20


def series_of(tenant: Tenant) -> dict[str, float]:
    """Return what kube-state-metrics tells of a resource, without the labels that all of its series have."""
    try:
        with _DIRECT.open("http://127.0.0.1:18080/metrics", timeout=5) as reply:
            text = reply.read().decode()
    except OSError:
        return {}
    common = {"customresource_group", "customresource_kind", "customresource_version", "name", "namespace"}
    found = {}
    for name, labels, value in re.findall(r"^kube_tairinstance_(\w+){(.*)} (\S+)$", text, re.MULTILINE):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if pairs.get("namespace") == tenant.namespace:
            rest = ",".join(f'{key}="{pairs[key]}"' for key in sorted(pairs.keys() - common))
            found[f"{name}{{{rest}}}"] = float(value)
    return found
