"""Two operators elect one leader on a real API server: in order, after a crash, and when the Lease is stolen."""

import json
import time
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.cluster.tenants import NUMBERS, RELEASE, Tenant, hold_release, is_ready, make_tenant, say
from tests.meters import told
from tests.stage import OperatorProcess, Stage

NAMESPACE: Final = "tair-system"
LEASE: Final = "tair-operator"
ELECTED: Final = {"TAIR_OPERATOR_LEADER_ELECTION": "true", "TAIR_OPERATOR_LEASE_NAMESPACE": NAMESPACE}
# Everything five times as fast, to save time.
QUICK: Final = ELECTED | {
    "TAIR_OPERATOR_LEASE_SECONDS": "3",
    "TAIR_OPERATOR_LEASE_RENEW_DEADLINE_SECONDS": "2",
    "TAIR_OPERATOR_LEASE_RETRY_SECONDS": "0.4",
    "TAIR_OPERATOR_CALL_TIMEOUT_SECONDS": "1.5",
    "TAIR_OPERATOR_SETTLE_SECONDS": "5",
}


@pytest.fixture(autouse=True)
def _without_lease(stage: Stage) -> None:
    stage.plane.kubectl("delete", "lease", LEASE, "-n", NAMESPACE, "--ignore-not-found")


@pytest.fixture
def tenant(stage: Stage) -> Tenant:
    return make_tenant(stage)


def new_operator(stage: Stage, settings: dict[str, str]) -> OperatorProcess:
    return stage.operator(f"replica-{next(NUMBERS)}", **settings)


def lease(stage: Stage) -> dict[str, Any]:
    return dict(stage.plane.read(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE}")["spec"])


def edit_lease(stage: Stage, **spec: object) -> None:
    stage.plane.kubectl(
        "patch", "lease", LEASE, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"spec": spec})
    )  # fmt: skip


def is_leading(operator: OperatorProcess) -> bool:
    return operator.probe("readyz") == (200, "ok\n")


def seconds_until_leading(operator: OperatorProcess, since: float) -> float:
    while not is_leading(operator):
        assert time.monotonic() - since < 60, operator.log.read_text()[-2000:]
        time.sleep(0.01)
    return time.monotonic() - since


def test_the_one_leads_the_other_stands_by_and_takes_over_at_once_after_an_orderly_end(
    stage: Stage, tenant: Tenant
) -> None:
    with new_operator(stage, ELECTED) as one, new_operator(stage, ELECTED) as other:
        probes = (one.probe("readyz"), other.probe("readyz"), other.probe("livez"))
        gauges = [operator.probe("metrics")[1] for operator in (one, other)]
        tenant.apply(directConnection=False)
        tenant.wait(is_ready)
        passes_of_the_other = told(other.probe("metrics")[1], "controller_runtime_reconcile_total")
        ended_at = time.monotonic()
        one._process.terminate()  # type: ignore[union-attr]
        seconds = seconds_until_leading(other, ended_at)
        code = one.wait()
        tenant.apply(directConnection=True)
        tenant.wait(is_ready)
    say(f"clean hand-over: {seconds:.2f} s")

    assert probes == ((200, "ok\n"), (200, "standby\n"), (200, "ok\n"))
    assert [f'leader_election_master_status{{name="{LEASE}"}} {value}' in text for value, text in zip(
        ("1.0", "0.0"), gauges, strict=True
    )] == [True, True]  # fmt: skip
    assert passes_of_the_other == 0
    assert code == 0
    # At once, and not when the Lease has expired; mostly a tenth of a second, on a machine that is not busy.
    assert seconds < 5
    assert len(tenant.calls(RELEASE)) == 1
    assert lease(stage)["holderIdentity"] == ""


def test_a_crash_is_made_good_by_the_other(stage: Stage, tenant: Tenant) -> None:
    with new_operator(stage, QUICK) as one, new_operator(stage, QUICK) as other:
        died_at = time.monotonic()
        one.kill()
        seconds = seconds_until_leading(other, died_at)
        tenant.apply(directConnection=False)
        tenant.wait(is_ready)
    say(f"take-over after a crash at 3/2/0.4: {seconds:.2f} s")

    # Not a moment too early either: the last renewal was at most one interval ago.
    assert 3 - 0.4 - 0.6 < seconds < 3 + 0.4 + 5
    assert len(tenant.calls(RELEASE)) == 1


def test_a_lease_from_a_machine_with_a_wrong_clock_is_waited_for_all_the_same(stage: Stage) -> None:
    manifest = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": NAMESPACE, "labels": {"kept": "yes"}},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 3, "renewTime": "2001-01-01T00:00:00.000000Z"},
    }
    stage.plane.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    started_at = time.monotonic()
    with new_operator(stage, QUICK) as one:
        seconds = seconds_until_leading(one, started_at)
        stored = stage.plane.kubectl_json("get", "lease", LEASE, "-n", NAMESPACE)

    assert seconds > 3
    assert stored["metadata"]["labels"] == {"kept": "yes"}
    assert stored["spec"]["leaseTransitions"] == 1
    assert abs(datetime.now(UTC) - datetime.fromisoformat(stored["spec"]["renewTime"])).total_seconds() < 30


def test_a_lease_that_is_stolen_during_a_call_leads_to_no_second_release(stage: Stage, tenant: Tenant) -> None:
    held = hold_release(tenant, "before")
    one, other = new_operator(stage, QUICK), new_operator(stage, QUICK)
    with one, other:
        tenant.apply(directConnection=False)
        held.wait_reached()
        # Taken from the leader and given to nobody: the other takes it at once.
        stolen_at = time.monotonic()
        edit_lease(stage, holderIdentity="")
        seconds = seconds_until_leading(other, stolen_at)
        tenant.wait(lambda resource: resource["status"]["operation"]["outcome"] == "Unknown")
        effective_so_far = tenant.effective(RELEASE)
        held.let_go()
        code = one.wait()
        resource = tenant.wait(is_ready)
    log = one.log.read_text()
    say(f"stolen Lease taken after {seconds:.2f} s")

    assert effective_so_far == []
    assert code == 1
    assert "Lease tair-operator is lost" in log
    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1
    assert resource["status"]["operation"]["outcome"] == "Succeeded"
