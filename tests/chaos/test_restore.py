"""etcd goes back in time, a tool replaces a resource, and one is older than its schema."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.chaos.scenes import SETTLE, ask_again, new_operator, outcome, tls_stage
from tests.cluster.tenants import (
    ALLOCATE,
    RELEASE,
    Tenant,
    condition,
    hold_release,
    is_ready,
    is_stalled,
    make_tenant,
    wait_until,
)
from tests.cluster.test_outage import Kubelet
from tests.controlplane import ControlPlane, KubectlError
from tests.stage import CRD, ROOT, Stage

CRD_FILE: Final = ROOT / "crds" / "tairinstances.yaml"
FINALIZER: Final = "tair.alibabacloud.com/release"
SECONDS: Final = 60.0
# The watch goes on at a version that lies in the future now, and hears nothing; the operator's own LIST heals that.
QUICK_LIST: Final = """
import sys
from tair_operator import __main__, runtime
runtime.LIST_SECONDS = 4.0
sys.exit(__main__.main([]))
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Have an etcd of one's own, whose past no other test misses."""
    with ControlPlane() as plane, tls_stage(plane) as stage:
        stage.install()
        yield stage


def is_released(resource: dict[str, Any]) -> bool:
    return is_ready(resource) and condition(resource, "Ready")["reason"] == "Released"


def count(tenant: Tenant) -> tuple[int, int]:
    """Return how many releases and allocations were called, each of them with effect."""
    calls = tenant.calls(RELEASE), tenant.calls(ALLOCATE)
    assert all(call["effective"] for some in calls for call in some)
    return len(calls[0]), len(calls[1])


def test_after_a_restore_of_etcd_nothing_is_released_that_the_restored_manifest_does_not_ask_for(stage: Stage) -> None:
    unseen, midway, kept, reverted = (make_tenant(stage) for _ in range(4))
    kept.apply(directConnection=True)
    reverted.apply(directConnection=False)
    with new_operator(stage) as first:
        kept.wait(is_ready)
        reverted.wait(is_released)
        held = hold_release(midway, "before")
        midway.apply(directConnection=False)
        held.wait_reached()
        first.kill()
        at_backup = midway.get()
    # The backup knows of the intent, and of a manifest that nobody has looked at yet.
    unseen.apply(directConnection=False)
    backup = stage.plane.save()
    survivor = new_operator(stage)
    survivor.command = [sys.executable, "-P", "-c", QUICK_LIST]
    with Kubelet(survivor) as kubelet:
        held.let_go()
        for tenant in (midway, unseen):
            tenant.wait(is_released, SECONDS)
        kept.apply(directConnection=False)
        kept.wait(is_released)
        reverted.apply(directConnection=True)
        reverted.wait(is_ready)
        before = {tenant.namespace: count(tenant) for tenant in (unseen, midway, kept, reverted)}
        stage.plane.restore(backup)
        for tenant in (kept, reverted):
            ask_again(tenant, "restored")
        for tenant in (midway, unseen):
            tenant.wait(is_released, SECONDS)
        kept.wait(lambda resource: is_ready(resource) and bool(kept.effective(ALLOCATE)), SECONDS)
        drifted = reverted.wait(is_stalled("DriftDetected"), SECONDS)

    assert outcome(at_backup) == "Started"
    assert before == {
        unseen.namespace: (1, 0), midway.namespace: (1, 0), kept.namespace: (1, 0), reverted.namespace: (1, 1)
    }  # fmt: skip
    # Nobody is cut off a second time: not by an intent that is stored again, nor by a manifest that asks again.
    assert count(unseen) == count(midway) == (1, 0)
    assert outcome(midway.get()) == "Succeeded"
    # Its manifest says true again, and its endpoint is there again.
    assert count(kept) == (1, 1)
    # Its manifest says false again; who allocated is not known any more, so a person decides.
    assert count(reverted) == (1, 1)
    assert "driftPolicy" in condition(drifted, "Stalled")["message"]
    assert set(kubelet.codes) <= {1}


def test_a_tool_that_replaces_a_resource_takes_away_the_finalizer_and_causes_no_call(stage: Stage) -> None:
    tenant = make_tenant(stage, allocated=False)
    spec = {"directConnection": True, "deletionPolicy": "Release"}
    tenant.apply(**spec)
    with new_operator(stage):
        before = tenant.wait(is_ready)
        manifest = tenant.manifest(**spec)
        replaced = json.loads(
            stage.plane.kubectl("replace", "-f", "-", "-o", "json", stdin=json.dumps(manifest)),
        )
        tenant.wait(lambda resource: FINALIZER in resource["metadata"].get("finalizers", []))
        after = tenant.wait(is_ready)
        calls = count(tenant)
        # Still its own endpoint: the deletion needs nobody's approval.
        tenant.delete()
        tenant.wait_gone()

    assert FINALIZER in before["metadata"]["finalizers"]
    assert "finalizers" not in replaced["metadata"]
    assert replaced["status"] == before["status"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert calls == (0, 1)
    assert count(tenant) == (1, 1)


def loosened(crd: Path) -> str:
    """Return the definition of a time that knew no rule for resyncSeconds."""
    definition = yaml.safe_load(crd.read_text())
    for version in definition["spec"]["versions"]:
        properties = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["resyncSeconds"] = {"type": "integer"}
    return yaml.safe_dump(definition)


def test_a_resource_that_is_older_than_its_schema_does_not_stop_the_others(stage: Stage) -> None:
    older, other = make_tenant(stage), make_tenant(stage)
    stage.plane.apply(loosened(CRD_FILE))
    spec = {"directConnection": False, "resyncSeconds": 5}

    def is_taken() -> bool:
        try:
            older.apply(**spec)
        except KubectlError:
            return False
        return True

    wait_until(is_taken, "the loose schema is served")
    stage.plane.apply(CRD_FILE)
    stage.plane.wait_established(CRD)
    other.apply(directConnection=False)
    with new_operator(stage) as operator:
        other.wait(is_released)
        other.apply(directConnection=True)
        other.wait(is_ready)
        still_there = older.get()
        log = operator.log.read_text()
        # Mended, as its message says.
        older.apply(directConnection=False)
        older.wait(is_released, seconds=SETTLE + 30)

    assert still_there["spec"]["resyncSeconds"] == 5
    assert still_there["status"]["observedGeneration"] == -1
    assert "is stored in a form that cannot be read" in log
    assert older.namespace in log
    assert count(other) == (1, 1)
    assert count(older) == (1, 0)
