"""What happens in the demo: a direct connection is kept, then released; then a manifest that cannot work.

Each part does something with kubectl, waits until the operator has finished, and
checks what the API server and the simulator's ledger say about it.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import yaml

from demo.screen import Screen
from tests.stage import ROOT, OperatorProcess, Stage

NAMESPACE = "shop"
NAME = "orders-cache"
INSTANCE = "r-bp1zxszhcgatnx0001"
RELEASE = "ReleaseDirectConnection"
LEDGER_FIELDS = ("time", "action", "instanceId", "accessKeyId", "requestId", "httpStatus", "effective")
LOG_FIELDS = ("timestamp", "severity", "message", "request_id")
MUTATING = (RELEASE, "AllocateDirectConnection")
MANIFEST = ROOT / "examples" / "tairinstance.yaml"
MISSING = """\
apiVersion: tair.alibabacloud.com/v1alpha1
kind: TairInstance
metadata:
  name: typo
  namespace: shop
spec:
  instanceId: r-bp1doesnotexist01
  regionId: cn-hangzhou
  directConnection: false
"""


class Story:
    """The demo, part by part."""

    def __init__(self, screen: Screen, stage: Stage, operator: OperatorProcess, patience: float) -> None:
        """Prepare to tell it on a stage that is set; ``patience`` is how many seconds to wait for each result."""
        self.screen, self.stage, self.operator, self.patience = screen, stage, operator, patience

    def adopt(self) -> None:
        """Apply a manifest that wants what is there already."""
        self.screen.chapter("A manifest wants a direct connection that is there: it is adopted, nothing is called")
        self.screen.show(MANIFEST.read_text())
        self.screen.kubectl("create", "namespace", NAMESPACE)
        self.screen.kubectl("apply", "-f", str(MANIFEST.relative_to(ROOT)))
        with self.screen.watch("get", "tair", "-n", NAMESPACE, "-w"):
            resource = self._wait_for(NAME, _is_ready)
        status = resource["status"]
        self.screen.line("")
        self.screen.fact(_is_ready(resource), f"Ready for generation {status['observedGeneration']}")
        calls = [call for action in MUTATING for call in self.stage.simulator.ledger(action, INSTANCE)]
        self.screen.fact(not calls, f"{len(calls)} changing calls in the ledger of the simulated cloud")

    def release(self) -> None:
        """Flip the manifest to false."""
        screen, simulator = self.screen, self.stage.simulator
        screen.chapter("The manifest is flipped to false: one signed ReleaseDirectConnection, followed to its end")
        with screen.watch("get", "tair", "-n", NAMESPACE, "-w"):
            time.sleep(1)
            screen.kubectl(
                "patch", "tair", NAME, "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"directConnection":false}}'
            )
            resource = self._wait_for(NAME, _is_ready)
        calls = simulator.ledger(RELEASE, INSTANCE)
        screen.line("")
        screen.say("What the simulated cloud wrote into its ledger:")
        for call in calls:
            screen.show(json.dumps({name: call[name] for name in LEDGER_FIELDS}, indent=1))
        screen.kubectl("get", "tair", NAME, "-n", NAMESPACE, "-o", "wide")
        status, metadata = resource["status"], resource["metadata"]
        screen.line("")
        screen.say("Its whole status:")
        screen.show(yaml.safe_dump(status, sort_keys=False))
        screen.line("")
        screen.say("What the operator logged about it:")
        for line in self.operator.log.read_text().splitlines():
            if INSTANCE in line:
                record = json.loads(line)
                screen.show("  ".join(str(record[name]) for name in LOG_FIELDS if record.get(name)))
        screen.line("")
        effective = [call for call in calls if call["effective"]]
        screen.fact(len(calls) == len(effective) == 1, f"{len(effective)} effective release in the ledger")
        screen.fact(
            [call["requestId"] for call in effective] == [status.get("requestId")],
            f"status.requestId {status.get('requestId')} is the one in the ledger",
        )
        screen.fact(
            _is_ready(resource) and status["observedGeneration"] == metadata["generation"],
            f"Ready=True for generation {metadata['generation']}",
        )
        screen.fact(
            simulator.instance(INSTANCE)["directConnection"] is False, "the cloud has no direct connection any more"
        )
        foreign = set(metadata.get("annotations", {})) - {"kubectl.kubernetes.io/last-applied-configuration"}
        screen.fact(
            not foreign and "finalizers" not in metadata, "no annotation and no finalizer was put on the resource"
        )

    def fail(self) -> None:
        """Apply a manifest for an instance that does not exist."""
        screen = self.screen
        screen.chapter("A manifest names an instance that does not exist: the status says what to do")
        screen.show(MISSING)
        screen.kubectl("apply", "-f", "-", stdin=MISSING)
        with screen.watch("get", "tair", "typo", "-n", NAMESPACE, "-w"):
            resource = self._wait_for("typo", _is_stalled)
        screen.command("kubectl", "describe", "tair", "typo", "-n", NAMESPACE)
        described = self.stage.plane.kubectl("describe", "tair", "typo", "-n", NAMESPACE)
        screen.show(described[described.index("Status:") :])
        screen.line("")
        screen.fact(_is_stalled(resource), f"Stalled: {_condition(resource, 'Stalled').get('reason')}")
        calls = self.stage.simulator.ledger(RELEASE, "r-bp1doesnotexist01")
        screen.fact(not calls, f"{len(calls)} changing calls for it")

    def _wait_for(self, name: str, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the resource once it is so, or as it is when the time is over."""
        deadline = time.monotonic() + self.patience
        while True:
            resource: dict[str, Any] = self.stage.plane.kubectl_json("get", "tair", name, "-n", NAMESPACE)
            if is_reached(resource) or time.monotonic() > deadline:
                time.sleep(0.5)
                return resource
            time.sleep(0.2)


def _condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (condition for condition in resource.get("status", {}).get("conditions", []) if condition["type"] == kind)
    return next(found, {})


def _is_current(resource: dict[str, Any]) -> bool:
    return bool(resource["status"].get("observedGeneration") == resource["metadata"]["generation"])


def _is_ready(resource: dict[str, Any]) -> bool:
    return _is_current(resource) and _condition(resource, "Ready").get("status") == "True"


def _is_stalled(resource: dict[str, Any]) -> bool:
    return _is_current(resource) and _condition(resource, "Stalled").get("status") == "True"
