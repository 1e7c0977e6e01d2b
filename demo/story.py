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
from tests.stage import KEY_ID, ROOT, OperatorProcess, Stage

NAMESPACE = "shop"
NAME = "orders-cache"
INSTANCE = "r-bp1zxszhcgatnx0001"
RELEASE = "ReleaseDirectConnection"
LEDGER_FIELDS = ("time", "action", "instanceId", "accessKeyId", "requestId", "httpStatus", "effective")
LOG_FIELDS = ("timestamp", "severity", "message", "request_id")
MUTATING = (RELEASE, "AllocateDirectConnection")
TIMING = {"lagSeconds": 0.5, "busySeconds": 1}
MANIFEST = ROOT / "examples" / "tairinstance.yaml"
BUSY, DENIED, LOST, MISSING = (
    "r-bp1zxszhcgatnx0003",
    "r-bp1zxszhcgatnx0006",
    "r-bp1zxszhcgatnx0007",
    "r-bp1doesnotexist01",
)
ONLY_LOOK = [{"effect": "Allow", "actions": ["kvstore:Describe*"]}]


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

    def wait_until_free(self) -> None:
        """Ask for a release while somebody resizes the instance."""
        screen = self.screen
        screen.chapter("The instance is being changed by somebody else: the release waits until it is free")
        self.stage.simulator.put_instance(BUSY, status="Changing", statusSeconds=5)
        resource = self._apply_and_watch("resizing", BUSY, _is_ready)
        screen.line("")
        calls = self.stage.simulator.ledger(RELEASE, BUSY)
        screen.fact(_is_ready(resource), "Ready once it was free")
        screen.fact(len(calls) == 1 and calls[0]["effective"], f"{len(calls)} release, and none while it was busy")

    def be_denied(self) -> None:
        """Ask for a release that RAM does not permit, then permit it."""
        screen, simulator = self.screen, self.stage.simulator
        screen.chapter("RAM does not permit the release: the status says so, with code and RequestId")
        simulator.put_instance(DENIED, regionId="cn-hangzhou", directConnection=True, timing=TIMING)
        simulator.put_access_key(KEY_ID, policies=ONLY_LOOK)
        resource = self._apply_and_watch("denied", DENIED, _is_stalled)
        error = resource["status"].get("error", {})
        screen.line("")
        screen.say("status.error:")
        screen.show(yaml.safe_dump(error, sort_keys=False))
        screen.fact(
            error.get("code") == "Forbidden.RAM",
            f"{_condition(resource, 'Stalled').get('reason')}: {error.get('code')}",
        )
        [denied] = simulator.ledger(RELEASE, DENIED)
        screen.fact(error.get("requestId") == denied["requestId"], "its RequestId is the one in the ledger")
        screen.line("")
        screen.say("Somebody grants the action, and asks for another try:")
        simulator.put_access_key(KEY_ID, policies=None)
        with screen.watch("get", "tair", "denied", "-n", NAMESPACE, "-w"):
            screen.kubectl(
                "annotate", "tair", "denied", "-n", NAMESPACE, "tair.alibabacloud.com/reconcile-requested-at=granted"
            )
            resource = self._wait_for("denied", _is_ready)
        screen.line("")
        screen.fact(_is_ready(resource), "Ready")
        screen.fact(len(simulator.effective(RELEASE, DENIED)) == 1, "1 effective release in the ledger")

    def lose_the_answer(self) -> None:
        """Let the cloud act and its answer get lost."""
        screen, simulator = self.screen, self.stage.simulator
        screen.chapter("The cloud acts and its answer is lost: the operator looks instead of sending it again")
        simulator.put_instance(LOST, regionId="cn-hangzhou", directConnection=True, timing=TIMING)
        simulator.add_fault(action=RELEASE, kind="reset-after", instanceId=LOST)
        resource = self._apply_and_watch("lost", LOST, _is_ready)
        operation = resource["status"].get("operation", {})
        screen.line("")
        screen.say("status.operation:")
        screen.show(yaml.safe_dump(operation, sort_keys=False))
        calls = simulator.ledger(RELEASE, LOST)
        screen.fact(
            len(calls) == 1 and calls[0]["effective"], f"{len(calls)} call in the ledger, and it had its effect"
        )
        screen.fact(operation.get("outcome") == "Succeeded", "its effect was seen")
        screen.fact("requestId" not in operation, "no RequestId is shown, since none arrived")

    def fail(self) -> None:
        """Apply a manifest for an instance that does not exist."""
        screen = self.screen
        screen.chapter("A manifest names an instance that does not exist: the status says what to do")
        resource = self._apply_and_watch("typo", MISSING, _is_stalled)
        screen.command("kubectl", "describe", "tair", "typo", "-n", NAMESPACE)
        described = self.stage.plane.kubectl("describe", "tair", "typo", "-n", NAMESPACE)
        screen.show(described[described.index("Status:") :])
        screen.line("")
        screen.fact(_is_stalled(resource), f"Stalled: {_condition(resource, 'Stalled').get('reason')}")
        calls = self.stage.simulator.ledger(RELEASE, MISSING)
        screen.fact(not calls, f"{len(calls)} changing calls for it")

    def _apply_and_watch(
        self, name: str, instance_id: str, is_reached: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Apply a manifest that wants a release, show what kubectl sees, and return the resource in the end."""
        resource = yaml.safe_load(MANIFEST.read_text())
        resource["metadata"]["name"] = name
        resource["spec"] |= {"instanceId": instance_id, "directConnection": False}
        manifest = yaml.safe_dump(resource, sort_keys=False)
        self.screen.show(manifest)
        self.screen.kubectl("apply", "-f", "-", stdin=manifest)
        with self.screen.watch("get", "tair", name, "-n", NAMESPACE, "-w"):
            return self._wait_for(name, is_reached)

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
