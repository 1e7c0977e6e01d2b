"""A namespace, an instance and a resource of one's own: what each test against the whole stage begins with."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.stage import Stage

ALLOCATE, RELEASE = "AllocateDirectConnection", "ReleaseDirectConnection"
FAST = {"lagSeconds": 0.2, "busySeconds": 0.5}


class Numbers(Iterator[int]):
    """Counts from 1, and tells what comes next."""

    upcoming = 1

    def __next__(self) -> int:
        """Return the next number."""
        self.upcoming += 1
        return self.upcoming - 1


NUMBERS = Numbers()
UPCOMING = 40
"""How many namespaces a scope of single ones is made for: more than any module has tenants."""
PATIENCE = 30.0


def wait_until(is_reached: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something that only asking can tell."""
    deadline = time.monotonic() + seconds
    while not is_reached():
        assert time.monotonic() < deadline, f"not reached in {seconds:.0f} s: {what}"
        time.sleep(0.05)


def grow_older() -> None:
    """Wait until whatever is made from now on is younger: ages are told to the second, and then the uid decides."""
    time.sleep(1.1)


def say(numbers: str) -> None:
    """Show numbers to whoever asks pytest for output."""
    print(numbers)  # noqa: T201


def path_of(namespace: str) -> str:
    """Return where the API server has the resources of a namespace."""
    return f"/apis/tair.alibabacloud.com/v1alpha1/namespaces/{namespace}/tairinstances"


@dataclass
class Tenant:
    """A namespace with one instance in the cloud and one resource about it."""

    stage: Stage
    namespace: str
    instance_id: str
    name: str = "it"

    def apply(self, **spec: object) -> None:
        """Apply the resource with exactly these fields beside instanceId and regionId."""
        self.stage.plane.kubectl("apply", "-f", "-", stdin=json.dumps(self.manifest(**spec)))

    def manifest(self, **spec: object) -> dict[str, Any]:
        """Return the resource with exactly these fields beside instanceId and regionId."""
        return {
            "apiVersion": "tair.alibabacloud.com/v1alpha1",
            "kind": "TairInstance",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {"instanceId": self.instance_id, "regionId": "cn-hangzhou", **spec},
        }

    def get(self) -> dict[str, Any]:
        resource = self._read()
        assert resource is not None, f"{self.namespace}/{self.name} is gone"
        return resource

    def wait(self, is_reached: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE) -> dict[str, Any]:
        """Return the resource once it is as asked; fail with its status when that takes too long."""
        deadline = time.monotonic() + seconds
        while not is_reached(resource := self.get()):
            if time.monotonic() > deadline:
                pytest.fail(f"not reached in {seconds:.0f} s: {json.dumps(resource.get('status'), indent=1)}")
            time.sleep(0.1)
        # The pass that wrote it is not over: what it counts and the Event follow.
        time.sleep(0.1)
        return resource

    def approve(self, plan_id: str) -> None:
        """Approve a plan as the message in the status says."""
        words = f"tair.alibabacloud.com/approve-release={plan_id}"
        self.stage.plane.kubectl("-n", self.namespace, "annotate", "--overwrite", "tairinstance", self.name, words)

    def apply_object(self, manifest: dict[str, Any]) -> None:
        """Apply another object in the namespace."""
        body = {**manifest, "metadata": {"namespace": self.namespace, **manifest["metadata"]}}
        self.stage.plane.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return another object of the namespace; None when it is not there."""
        found = self.stage.plane.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip() else None

    def delete(self) -> None:
        """Ask for the deletion of the resource, and do not wait for it."""
        self.stage.plane.kubectl("delete", "tair", self.name, "-n", self.namespace, "--wait=false")

    def wait_gone(self, seconds: float = PATIENCE) -> None:
        """Wait until the resource is gone."""
        deadline = time.monotonic() + seconds
        while (found := self._read()) is not None:
            if time.monotonic() > deadline:
                pytest.fail(f"still there after {seconds:.0f} s: {json.dumps(found.get('status'), indent=1)}")
            time.sleep(0.1)

    def _read(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.stage.plane.read(f"{path_of(self.namespace)}/{self.name}")
        return found

    def calls(self, action: str) -> list[dict[str, Any]]:
        return self.stage.simulator.ledger(action, self.instance_id)

    def effective(self, action: str) -> list[dict[str, Any]]:
        return self.stage.simulator.effective(action, self.instance_id)


def make_tenant(stage: Stage, *, allocated: bool = True, **fields: object) -> Tenant:
    """Make a namespace of one's own and an instance of one's own."""
    number = next(NUMBERS)
    tenant = Tenant(stage, f"shop-{number}", f"r-bp1main{number:04}")
    stage.plane.apply(namespaces(tenant.namespace))
    stage.simulator.put_instance(
        tenant.instance_id, regionId="cn-hangzhou", directConnection=allocated, timing=FAST, **fields
    )
    return tenant


@dataclass(frozen=True)
class Held:
    """A call that the simulated cloud holds."""

    stage: Stage
    name: str

    def wait_reached(self) -> None:
        """Wait until the call has come to the point where it is held."""
        wait_until(
            lambda: any(hold["id"] == self.name and hold["reached"] for hold in self.stage.simulator.holds()),
            f"the call {self.name} is held",
        )

    def let_go(self) -> None:
        """Let the call go on."""
        self.stage.simulator.let_go(self.name)


def hold_release(tenant: Tenant, point: str) -> Held:
    """Hold the next release of the tenant's instance, ``before`` or ``after`` its effect."""
    held = Held(tenant.stage, f"held-{next(NUMBERS)}")
    tenant.stage.simulator.add_fault(
        kind="hold", action=RELEASE, instanceId=tenant.instance_id, point=point, id=held.name
    )
    return held


def upcoming_namespaces() -> list[str]:
    """Return the namespaces of the tenants that are made next."""
    return [f"shop-{NUMBERS.upcoming + ahead}" for ahead in range(UPCOMING)]


def namespaces(*names: str) -> str:
    """Return manifests of Namespaces."""
    return "---\n".join(
        f"{json.dumps({'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': name}})}\n" for name in names
    )


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (c for c in resource.get("status", {}).get("conditions", []) if c["type"] == kind)
    return next(found, {})


def is_current(resource: dict[str, Any]) -> bool:
    return bool(resource["status"].get("observedGeneration") == resource["metadata"]["generation"])


def is_ready(resource: dict[str, Any]) -> bool:
    return is_current(resource) and condition(resource, "Ready").get("status") == "True"


def handled(stamp: str, is_reached: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    """Say whether a resource is as asked after the pass that an annotation asked for; a resync may come before it."""
    return lambda resource: bool(resource["status"].get("lastHandledReconcileAt") == stamp and is_reached(resource))


def is_stalled(reason: str) -> Callable[[dict[str, Any]], bool]:
    return lambda resource: is_current(resource) and condition(resource, "Stalled").get("reason") == reason
