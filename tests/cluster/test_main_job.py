"""The main job on a real API server: the operator is a process of its own, under the RBAC that we ship."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.cluster.tenants import ALLOCATE, RELEASE, Tenant, condition, handled, is_ready, is_stalled, make_tenant
from tests.stage import OperatorProcess, Stage


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    settings = {"TAIR_OPERATOR_STALL_GRACE_SECONDS": "2", "TAIR_OPERATOR_RESYNC_SECONDS": "60"}
    with stage.operator("main", **settings) as operator:
        yield operator


@pytest.fixture
def tenant(stage: Stage, operator: OperatorProcess) -> Tenant:
    return make_tenant(stage)


class Writes:
    """Counts every version of a resource that the API server announces."""

    def __init__(self, tenant: Tenant) -> None:
        plane = tenant.stage.plane
        command = [str(plane.kubectl_program), "--kubeconfig", str(plane.kubeconfig), "get", "tair", "it"]
        self.path = tenant.stage.folder / f"{tenant.namespace}.events"
        with self.path.open("wb") as file:
            self._process = subprocess.Popen(
                [*command, "-n", tenant.namespace, "-w", "-o", "jsonpath={.metadata.resourceVersion}{'\\n'}"],
                stdout=file,
            )
        while not self.versions():
            time.sleep(0.05)

    def versions(self) -> list[str]:
        return self.path.read_text().split()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def test_a_flip_to_false_is_one_release_three_writes_and_then_silence(tenant: Tenant) -> None:
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    writes = Writes(tenant)
    tenant.apply(directConnection=False)
    resource = tenant.wait(is_ready)
    time.sleep(1)
    after_release, looks = len(writes.versions()), len(tenant.calls("DescribeDBInstanceNetInfo"))
    # The next look for drift comes within the resync interval, stretched by what keeps looks apart.
    deadline = time.monotonic() + 80
    while len(tenant.calls("DescribeDBInstanceNetInfo")) == looks and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(1)
    at_rest = len(writes.versions())
    writes.stop()
    looks_later = len(tenant.calls("DescribeDBInstanceNetInfo"))

    status, metadata = resource["status"], resource["metadata"]
    [release] = tenant.effective(RELEASE)
    assert len(tenant.calls(RELEASE)) == 1
    assert status["requestId"] == status["operation"]["requestId"] == release["requestId"]
    assert status["observedGeneration"] == metadata["generation"] == 2
    assert condition(resource, "Ready")["observedGeneration"] == 2
    assert condition(resource, "Ready")["reason"] == "Released"
    assert status["directConnection"] == {"state": "Released"}
    assert set(metadata.get("annotations", {})) == {"kubectl.kubernetes.io/last-applied-configuration"}
    assert "finalizers" not in metadata
    # The version that was there, the user's own edit, and intent, answer, result.
    assert after_release == 1 + 1 + 3
    assert at_rest == after_release
    assert looks_later > looks


def test_false_on_first_contact_releases(tenant: Tenant) -> None:
    tenant.apply(directConnection=False)
    resource = tenant.wait(is_ready)

    assert condition(resource, "Ready")["reason"] == "Released"
    assert len(tenant.effective(RELEASE)) == len(tenant.calls(RELEASE)) == 1


def test_without_the_field_nothing_is_ever_called(tenant: Tenant) -> None:
    tenant.apply()
    resource = tenant.wait(is_ready)
    time.sleep(2)

    assert condition(resource, "Ready")["reason"] == "Observed"
    assert resource["status"]["directConnection"]["state"] == "Allocated"
    assert "directConnection" not in resource["spec"]
    assert tenant.calls(RELEASE) == tenant.calls(ALLOCATE) == []


def test_true_on_an_allocated_instance_adopts_it_without_a_call(tenant: Tenant) -> None:
    tenant.apply(directConnection=True)
    resource = tenant.wait(is_ready)

    endpoint = tenant.stage.simulator.instance(tenant.instance_id)["endpoint"]
    assert resource["status"]["directConnection"]["ipAddress"] == endpoint["ipAddress"]
    assert "operation" not in resource["status"]
    assert tenant.calls(ALLOCATE) == []


def test_true_on_a_released_instance_allocates_and_reads_the_address_back(
    stage: Stage, operator: OperatorProcess
) -> None:
    tenant = make_tenant(stage, allocated=False)
    tenant.apply(directConnection=True)
    resource = tenant.wait(is_ready)

    [call] = tenant.effective(ALLOCATE)
    endpoint = stage.simulator.instance(tenant.instance_id)["endpoint"]
    assert resource["status"]["requestId"] == call["requestId"]
    assert resource["status"]["directConnection"]["state"] == "Allocated"
    assert resource["status"]["directConnection"]["host"] == f"{endpoint['prefix']}.redis.rds.aliyuncs.com"


def test_there_and_back_again_is_one_call_each_way(tenant: Tenant) -> None:
    for wanted in (True, False, True):
        tenant.apply(directConnection=wanted)
        tenant.wait(is_ready)

    assert len(tenant.effective(RELEASE)) == len(tenant.effective(ALLOCATE)) == 1


def test_a_busy_instance_is_waited_for(stage: Stage, operator: OperatorProcess) -> None:
    tenant = make_tenant(stage, status="Changing", statusSeconds=5)
    tenant.apply(directConnection=False)
    busy = tenant.wait(lambda resource: condition(resource, "Reconciling").get("reason") == "InstanceBusy")
    calls_while_busy = tenant.calls(RELEASE)
    ready = tenant.wait(is_ready)

    assert busy["status"]["instance"]["status"] == "Changing"
    assert calls_while_busy == []
    assert condition(ready, "Ready")["reason"] == "Released"
    assert len(tenant.effective(RELEASE)) == 1


def test_an_instance_that_vanished_is_named_with_what_to_check(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, resyncSeconds=60)
    tenant.wait(is_ready)
    tenant.stage.simulator.delete_instance(tenant.instance_id)
    annotation = "tair.alibabacloud.com/reconcile-requested-at=now"
    tenant.stage.plane.kubectl("annotate", "tair", "it", "-n", tenant.namespace, annotation)
    resource = tenant.wait(is_stalled("InstanceNotFound"))

    message = condition(resource, "Stalled")["message"]
    assert "spec.instanceId and spec.regionId" in message
    assert tenant.calls(RELEASE) == []


def test_a_suspended_resource_is_left_alone_until_it_is_not(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, suspend=True)
    suspended = tenant.wait(lambda resource: condition(resource, "Suspended").get("status") == "True")
    calls_while_suspended = tenant.stage.simulator.ledger(None, tenant.instance_id)
    tenant.apply(directConnection=False)
    tenant.wait(is_ready)

    assert condition(suspended, "Ready")["status"] == "False"
    assert calls_while_suspended == []
    assert len(tenant.effective(RELEASE)) == 1


@pytest.mark.parametrize(
    ("policy", "wanted", "outcome"),
    [
        (None, True, "Allocated"),
        (None, False, "DriftDetected"),
        ("Report", True, "DriftDetected"),
        ("Correct", False, "Released"),
    ],
)
def test_drift_is_treated_as_the_policy_says(
    stage: Stage,
    operator: OperatorProcess,
    policy: str | None,
    wanted: bool,  # noqa: FBT001 - spec.directConnection is a boolean
    outcome: str,
) -> None:
    tenant = make_tenant(stage, allocated=wanted)
    spec: dict[str, object] = {"directConnection": wanted} | ({"driftPolicy": policy} if policy else {})
    tenant.apply(**spec)
    tenant.wait(is_ready)
    stage.simulator.put_instance(tenant.instance_id, directConnection=not wanted)
    stamp = str(time.time())
    annotation = f"tair.alibabacloud.com/reconcile-requested-at={stamp}"
    stage.plane.kubectl("annotate", "tair", "it", "-n", tenant.namespace, annotation)
    if outcome == "DriftDetected":
        tenant.wait(handled(stamp, is_stalled(outcome)))
    else:
        action = ALLOCATE if wanted else RELEASE
        tenant.wait(handled(stamp, lambda resource: is_ready(resource) and len(tenant.effective(action)) == 1))

    made = len(tenant.calls(RELEASE)) + len(tenant.calls(ALLOCATE))
    assert made == (0 if outcome == "DriftDetected" else 1)
