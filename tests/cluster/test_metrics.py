"""What a scrape tells of an operator that works, on a real API server and a simulated cloud."""

import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Final

import pytest
import yaml

from tests.cluster.tenants import ALLOCATE, NUMBERS, RELEASE, Tenant, is_ready, is_stalled, make_tenant, wait_until
from tests.meters import told
from tests.stage import OperatorProcess, Stage

# The only one that the ServiceAccount may take.
LEASE: Final = "tair-operator"
SETTINGS: Final = {
    "TAIR_OPERATOR_LEADER_ELECTION": "true",
    "TAIR_OPERATOR_LEASE_NAMESPACE": "tair-system",
    "TAIR_OPERATOR_STALL_GRACE_SECONDS": "2",
    "TAIR_OPERATOR_WORKERS": "4",
}
PERMITTING = '{rules: [{namespaces: ["*"], regions: ["*"], instanceIds: ["*"], actions: [Observe, Allocate, Release]}]'


@pytest.fixture
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    prepare(stage)
    with stage.operator(f"metrics-{next(NUMBERS)}", **SETTINGS) as operator:
        yield operator


def prepare(stage: Stage) -> None:
    """Leave nothing that somebody else did: each of these tests counts all that there is."""
    stage.clear()
    stage.simulator.reset()
    stage.plane.kubectl("delete", "lease", LEASE, "-n", "tair-system", "--ignore-not-found")


def scrape(operator: OperatorProcess) -> str:
    """Return what the operator tells when it has nothing to do."""
    text = ""

    def is_idle() -> bool:
        nonlocal text
        status, text = operator.probe("metrics")
        busy = told(text, "controller_runtime_active_workers") + told(text, "workqueue_depth")
        return status == 200 and busy == 0

    wait_until(is_idle, "nothing to do")
    return text


def changes(text: str) -> dict[tuple[str, str], float]:
    """Return the changes that a scrape tells of, without those of which there were none."""
    name = "tair_operator_direct_connection_changes_total"
    found = re.findall(rf'^{name}{{action="(\w+)",outcome="(\w+)"}} ([\d.]+)$', text, re.MULTILINE)

    assert len(found) == 8
    return {(action, outcome): float(count) for action, outcome, count in found if float(count)}


def test_a_release_is_counted_where_it_leaves_its_traces(stage: Stage, operator: OperatorProcess) -> None:
    tenant = make_tenant(stage)
    tenant.apply(directConnection=False)
    tenant.wait(is_ready)
    text, now = scrape(operator), time.time()
    [cluster] = yaml.safe_load(operator.kubeconfig.read_text())["clusters"]
    host = cluster["cluster"]["server"].partition("://")[2]

    # One release, once: at the cloud, in the operator's books.
    assert len(tenant.calls(RELEASE)) == 1
    assert changes(text) == {(RELEASE, "Succeeded"): 1}
    assert told(text, "tair_operator_direct_connection_change_duration_seconds_count", action=RELEASE) == 1
    assert told(text, "tair_operator_direct_connection_change_duration_seconds_sum", action=RELEASE) < 30
    assert told(text, "tair_operator_unknown_outcomes_total") == 0
    assert told(text, "tair_operator_drift_detected_total") == 0

    # Every request that the cloud has in its ledger.
    requests = "tair_operator_cloud_requests_total"
    for action in (RELEASE, "DescribeInstances", "DescribeDBInstanceNetInfo"):
        asked = len(stage.simulator.ledger(action, None if action == "DescribeInstances" else tenant.instance_id))
        assert told(text, requests, action=action, code="OK", outcome="answered") == asked > 0
        assert told(text, "tair_operator_cloud_request_duration_seconds_count", action=action) == asked
    assert told(text, requests) == told(text, requests, code="OK")

    # Kubernetes: at least the three writes of a change, reads, the Lease.
    assert told(text, "rest_client_requests_total", code="200", method="PATCH", host=host) >= 3
    assert told(text, "rest_client_requests_total", code="200", method="GET", host=host) >= 3
    assert told(text, "rest_client_request_duration_seconds_count", verb="PATCH", host=host) >= 3

    # Passes and the queue agree with each other.
    passes = told(text, "controller_runtime_reconcile_total", controller="tairinstance")
    assert passes == told(text, "controller_runtime_reconcile_time_seconds_count") >= 2
    assert passes == told(text, "workqueue_work_duration_seconds_count", name="tairinstance")
    assert told(text, "controller_runtime_reconcile_total", result="error") == 0
    assert told(text, "workqueue_adds_total", name="tairinstance", controller="tairinstance") >= passes
    assert told(text, "workqueue_queue_duration_seconds_count") == passes
    assert told(text, "workqueue_depth") == told(text, "workqueue_unfinished_work_seconds") == 0
    assert told(text, "controller_runtime_max_concurrent_reconciles") == 4
    assert told(text, "controller_runtime_active_workers") == 0

    # The operator itself.
    assert re.search(r'^tair_operator_build_info{python_version="3[\d.]+",version="[\d.]+"} 1.0$', text, re.MULTILINE)
    assert told(text, "leader_election_master_status", name=LEASE) == 1
    assert now - 600 < told(text, "tair_operator_last_list_timestamp_seconds") <= now
    assert told(text, "tair_operator_event_loop_lag_seconds") < 5
    # Workers, watch, LIST, heartbeat, those of kopf, and whoever reads this.
    assert 8 < told(text, "tair_operator_event_loop_tasks") < 100
    assert told(text, "tair_operator_limiter_rate", region="cn-hangzhou") > 0
    assert told(text, "tair_operator_limiter_waiting", region="cn-hangzhou") == 0
    assert told(text, "tair_operator_access_list_valid") == 1
    assert told(text, "tair_operator_releases_held") == 0

    # The resources.
    assert told(text, "tair_operator_resources") == 1
    assert told(text, "tair_operator_resources", state="Released", ready="True", reason="Released") == 1
    assert told(text, "tair_operator_oldest_unready_seconds") == 0
    for name in (tenant.namespace, tenant.instance_id, tenant.calls(RELEASE)[0]["requestId"]):
        assert name not in text


def test_refusals_unknown_outcomes_and_drift_are_told_apart(stage: Stage, operator: OperatorProcess) -> None:
    tenant = make_tenant(stage)
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    stage.simulator.add_fault(action=RELEASE, kind="throttle")
    tenant.apply(directConnection=False)
    tenant.wait(is_ready)
    refused = scrape(operator)
    stage.simulator.put_instance(tenant.instance_id, directConnection=True)
    look(tenant)
    tenant.wait(is_stalled("DriftDetected"))
    drifted = scrape(operator)

    assert changes(refused) == {(RELEASE, "Rejected"): 1, (RELEASE, "Succeeded"): 1}
    requests = "tair_operator_cloud_requests_total"
    assert told(refused, requests, action=RELEASE, code="Throttling.User", outcome="rejected") == 1
    assert told(refused, requests, action=RELEASE, code="OK", outcome="answered") == 1
    assert told(refused, requests, action=ALLOCATE) == 0
    assert told(drifted, "tair_operator_drift_detected_total") == 1
    assert told(drifted, "tair_operator_drifted_resources") == 1
    assert told(drifted, "tair_operator_resources", ready="False", reason="DriftDetected", state="Allocated") == 1
    assert changes(drifted) == changes(refused)


def look(tenant: Tenant) -> None:
    """Ask for a look now."""
    annotation = f"tair.alibabacloud.com/reconcile-requested-at={time.time()}"
    tenant.stage.plane.kubectl("annotate", "--overwrite", "tair", "it", "-n", tenant.namespace, annotation)


def test_a_restart_counts_nothing_again_and_shows_the_same_resources(stage: Stage) -> None:
    prepare(stage)
    tenant = make_tenant(stage)
    name = f"metrics-{next(NUMBERS)}"
    with stage.operator(name, **SETTINGS) as operator:
        tenant.apply(directConnection=False)
        tenant.wait(is_ready)
        before = scrape(operator)
    with stage.operator(name, **SETTINGS) as operator:
        look(tenant)
        wait_until(lambda: told(scrape(operator), "controller_runtime_reconcile_total") > 0, "a pass")
        after = scrape(operator)

    assert (changes(before), changes(after)) == ({(RELEASE, "Succeeded"): 1}, {})
    assert [line for line in after.splitlines() if line.startswith("tair_operator_resources{")] == [
        line for line in before.splitlines() if line.startswith("tair_operator_resources{")
    ]


def test_the_brake_and_a_bad_access_list_are_told(stage: Stage, operator: OperatorProcess) -> None:
    operator.access_file.write_text(f"{PERMITTING}, releases: Hold}}")
    wait_until(lambda: told(scrape(operator), "tair_operator_releases_held") == 1, "the brake")
    operator.access_file.write_text("{rules: 7}")
    wait_until(lambda: told(scrape(operator), "tair_operator_access_list_valid") == 0, "a bad list")
    held = told(scrape(operator), "tair_operator_releases_held")
    operator.access_file.write_text(f"{PERMITTING}}}")
    wait_until(lambda: told(scrape(operator), "tair_operator_access_list_valid") == 1, "a good list")

    assert held == 1
    assert told(scrape(operator), "tair_operator_releases_held") == 0


def test_the_probes_list_their_checks(stage: Stage, operator: OperatorProcess) -> None:
    checks = "".join(f"[+]{name} ok\n" for name in ("loop", "passes", "queue", "list", "watch", "election"))

    assert operator.probe("livez?verbose") == (200, f"{checks}livez check passed\n")
    assert operator.probe("readyz?verbose") == (200, "[+]election ok\n[+]resources ok\nreadyz check passed\n")


def test_prometheus_gets_openmetrics(stage: Stage, operator: OperatorProcess) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    request = urllib.request.Request(f"http://{operator.address}/metrics", headers={"Accept": accept})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as reply:
        text, content_type = reply.read().decode(), reply.headers["Content-Type"]

    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert text.endswith("# EOF\n")
