"""Many resources whose manifests change all the time, and what must be true of them in the end.

Most are changed by somebody patient, who waits until a change is done before the
next one: for these the number of effective calls is known exactly, whatever
happens to the operator meanwhile. The hasty ones change at any moment.
"""

import json
import random
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from tests.chaos.scenes import moment
from tests.cluster.tenants import ALLOCATE, FAST, NUMBERS, RELEASE, is_ready, namespaces, wait_until
from tests.cluster.watching import RESOURCES, Judge, Version
from tests.controlplane import ControlPlane
from tests.stage import Stage

REGIONS: Final = ("cn-hangzhou", "cn-beijing", "cn-shanghai", "cn-shenzhen", "ap-southeast-1", "eu-central-1")
DRAIN: Final = timedelta(seconds=1)
SLACK: Final = timedelta(seconds=1.5)
"""The fence of a call is one second; the rest is for who watches."""
TURN_SECONDS: Final = 0.5
HASTE: Final = 0.4
"""How likely the hasty change something at each turn."""
RBAC: Final = "rbac.authorization.k8s.io"


class Habit(StrEnum):
    """How a resource is changed."""

    FLIP = "flip"
    DRAIN = "drain"
    DELETE = "delete"
    HASTY = "hasty"


@dataclass
class Member:
    """One resource and its instance."""

    name: str
    habit: Habit
    instance_id: str
    region: str
    wanted: bool = True
    is_there: bool = True
    asked: Counter[str] = field(default_factory=Counter)
    """What was asked for since the beginning, by the call that it takes."""

    def manifest(self, namespace: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"instanceId": self.instance_id, "regionId": self.region}
        if self.habit is Habit.DRAIN:
            spec["publish"] = {"secretName": self.name, "configMapName": self.name}
            spec["release"] = {"drainSeconds": int(DRAIN.total_seconds())}
        if self.habit is Habit.DELETE:
            spec["deletionPolicy"] = "Release"
        return {
            "apiVersion": "tair.alibabacloud.com/v1alpha1",
            "kind": "TairInstance",
            "metadata": {"name": self.name, "namespace": namespace},
            "spec": spec | {"directConnection": self.wanted},
        }


class Administrator:
    """Asks the API server, without the tenth of a second of CPU that a kubectl takes for each change."""

    def __init__(self, plane: ControlPlane) -> None:
        self._server = plane.server
        self._token = json.loads(plane.kubeconfig.read_text())["users"][0]["user"]["token"]
        trust = ssl.create_default_context(cafile=plane.ca_file)
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=trust))

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """Return the answer, parsed."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._server + path, data, headers, method=method)  # noqa: S310
        with self._opener.open(request, timeout=30) as answer:
            return json.loads(answer.read())


class Crowd(AbstractContextManager["Crowd"]):
    """Changes its resources from a thread of its own until ``rest`` is called."""

    def __init__(self, stage: Stage, judge: Judge, sizes: dict[Habit, int], chance: random.Random) -> None:
        number = next(NUMBERS)
        self.namespace = f"crowd-{number}"
        self.members = [
            Member(f"{habit}-{index}", habit, f"r-bp1crowd{number:03}{habit}{index:03}", REGIONS[index % len(REGIONS)])
            for habit, size in sizes.items()
            for index in range(size)
        ]
        self._stage, self._judge, self._chance = stage, judge, chance
        self._administrator = Administrator(stage.plane)
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._change_all, name="crowd")

    def __enter__(self) -> Self:
        self._stage.plane.apply(namespaces(self.namespace))
        self._permit_publishing()
        for member in self.members:
            has_one = member.habit is not Habit.DELETE
            self._stage.simulator.put_instance(
                member.instance_id, regionId=member.region, directConnection=has_one, timing=FAST
            )
            member.asked[ALLOCATE] += not has_one
        self._judge.follow(self.namespace)
        for member in self.members:
            self._create(member)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def changes(self) -> int:
        """How many calls were asked for by the patient."""
        return sum(sum(member.asked.values()) for member in self.members if member.habit is not Habit.HASTY)

    def rest(self, seconds: float = 90) -> None:
        """Change nothing any more, and wait until everything is as the manifests say."""
        self._is_over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        try:
            wait_until(lambda: not self.unfinished(), "all is as the manifests say", seconds)
        except AssertionError as error:
            error.add_note(json.dumps(self.unfinished(), indent=1))
            raise

    def unfinished(self) -> dict[str, Any]:
        """Return the status of each resource that is not as its manifest says."""
        found = self._find()
        late = {name: item.get("status") for name, item in found.items() if not is_ready(item) or _is_leaving(item)}
        return late | {member.name: None for member in self.members if member.is_there and member.name not in found}

    def versions(self) -> dict[str, str]:
        """Return the version of every resource, which a write would change."""
        return {name: item["metadata"]["resourceVersion"] for name, item in self._find().items()}

    # --- what people do ---

    def _change_all(self) -> None:
        try:
            while not self._is_over.wait(TURN_SECONDS):
                found = self._find()
                for member in self.members:
                    self._change(member, found.get(member.name))
        # Told by `rest`, in the thread of the test.
        except BaseException as error:  # noqa: BLE001
            self._error = error

    def _change(self, member: Member, item: dict[str, Any] | None) -> None:
        """Change a resource if it is time."""
        if member.habit is Habit.DELETE:
            self._come_and_go(member, item)
            return
        is_hasty = member.habit is Habit.HASTY
        if self._chance.random() < HASTE if is_hasty else item is not None and is_ready(item):
            member.wanted = not member.wanted
            member.asked[ALLOCATE if member.wanted else RELEASE] += 1
            patch = {"spec": {"directConnection": member.wanted}}
            self._administrator.ask("PATCH", self._path(member), patch)

    def _come_and_go(self, member: Member, item: dict[str, Any] | None) -> None:
        if item is None and not member.is_there:
            member.is_there = True
            member.asked[ALLOCATE] += 1
            self._create(member)
        elif item is not None and is_ready(item) and not _is_leaving(item):
            member.is_there = False
            member.asked[RELEASE] += 1
            self._administrator.ask("DELETE", self._path(member))

    def _create(self, member: Member) -> None:
        self._administrator.ask("POST", self._path(), member.manifest(self.namespace))

    def _find(self) -> dict[str, dict[str, Any]]:
        items = self._administrator.ask("GET", self._path())["items"]
        return {item["metadata"]["name"]: item for item in items}

    def _path(self, member: Member | None = None) -> str:
        group, plural = RESOURCES.rsplit("/", 1)
        path = f"{group}/namespaces/{self.namespace}/{plural}"
        return path if member is None else f"{path}/{member.name}"

    def _permit_publishing(self) -> None:
        metadata = {"name": "publishing", "namespace": self.namespace}
        places = [member.name for member in self.members if member.habit is Habit.DRAIN]
        verbs = ["get", "create", "patch", "delete"]
        rule = {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": verbs, "resourceNames": places}
        role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "publishing"},
            "subjects": [{"kind": "ServiceAccount", "name": "tair-operator", "namespace": "tair-system"}],
        }
        self._stage.plane.apply("---\n".join(json.dumps(body) + "\n" for body in (role, binding)))

    # --- what must be true ---

    def problems(self) -> list[str]:
        """Return all that is wrong once everything rests."""
        self._judge.catch_up()
        return [f"{member.name}: {problem}" for member in self.members for problem in self._problems_of(member)]

    def _problems_of(self, member: Member) -> Iterator[str]:
        entries = self._stage.simulator.ledger(None, member.instance_id)
        calls = [entry for entry in entries if entry["action"] in {ALLOCATE, RELEASE}]
        effective = [entry for entry in calls if entry["effective"]]
        versions = [
            version for version in self._judge.versions if version.resource["spec"]["instanceId"] == member.instance_id
        ]
        for entry in calls:
            if not entry["effective"]:
                yield f"{entry['action']} was called in vain: {json.dumps(entry)}"
        done = Counter(str(entry["action"]) for entry in effective)
        if member.habit is not Habit.HASTY and done != +member.asked:
            yield f"asked for {dict(member.asked)}, done {dict(done)}"
        yield from operations(versions, effective, {str(entry["requestId"]) for entry in entries})
        for entry in effective:
            if entry["action"] == RELEASE and not is_asked_for(entry, versions):
                yield f"released at {entry['time']}, when no manifest said so"
        yield from drains(versions) if member.habit is Habit.DRAIN else ()
        if member.habit is Habit.DRAIN:
            yield from self._published(member)

    def _published(self, member: Member) -> Iterator[str]:
        for kind in ("secret", "configmap"):
            found = self._stage.plane.read(f"/api/v1/namespaces/{self.namespace}/{kind}s/{member.name}")
            if (found is not None) is not member.wanted:
                yield f"wanted {member.wanted}, and the {kind} says otherwise"


def _is_leaving(item: dict[str, Any]) -> bool:
    return "deletionTimestamp" in item["metadata"]


def operations(versions: list[Version], effective: list[dict[str, Any]], request_ids: set[str]) -> Iterator[str]:
    """Each effective call is one operation in status that succeeded; what is not known is left out, never invented."""
    shown: dict[str, dict[str, Any]] = {}
    for version in versions:
        for operation in (*version.status.get("history", []), version.status.get("operation")):
            if operation is not None:
                shown[operation["id"]] = operation
    succeeded = Counter(each["action"] for each in shown.values() if each["outcome"] == "Succeeded")
    done = Counter(str(entry["action"]) for entry in effective)
    if succeeded != done:
        yield f"status tells of {dict(succeeded)}, and the cloud of {dict(done)}"
    named = [each["requestId"] for each in shown.values() if "requestId" in each]
    if invented := set(named) - request_ids:
        yield f"the cloud never answered with {invented}"
    for each in shown.values():
        is_known = "requestId" in each
        if each["outcome"] == "Succeeded" and is_known and each["requestId"] not in {e["requestId"] for e in effective}:
            yield f"{each['requestId']} succeeded, and had no effect"


def is_asked_for(entry: dict[str, Any], versions: list[Version]) -> bool:
    """Whether a manifest asked for this release when it arrived, or within the fence before."""
    time = moment(entry["time"])
    for number, version in enumerate(versions):
        is_last = number + 1 == len(versions)
        has_begun = version.received - SLACK <= time
        if (
            has_begun
            and (is_last or versions[number + 1].received + SLACK >= time)
            and _wants_release(version.resource)
        ):
            return True
    return False


def _wants_release(resource: dict[str, Any]) -> bool:
    if _is_leaving(resource):
        return bool(resource["spec"].get("deletionPolicy") == "Release")
    return resource["spec"].get("directConnection") is False


def drains(versions: list[Version]) -> Iterator[str]:
    """Each release comes a whole drain after its endpoint was withdrawn."""
    for version in versions:
        operation, plan = version.status.get("operation") or {}, version.status.get("plan") or {}
        if operation.get("outcome") == "Started" and operation.get("action") == RELEASE:
            since = plan.get("withdrawnAt")
            if since is None or moment(operation["startedAt"]) - moment(since) < DRAIN:
                yield f"released at {operation['startedAt']}, withdrawn at {since}"
