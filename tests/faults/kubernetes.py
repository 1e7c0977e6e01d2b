"""The Kubernetes API in memory, as far as the operator uses it: versions, preconditions, finalizers, a watch.

``ApiOf`` takes the place of ``cluster.server.Api``, the one function through which
every request goes; all above it is the real adapter. Objects are never changed in
place: each write stores a new one, so old views are kept for nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

from tair_operator.cluster.server import APPLY_PATCH, COMPONENT, JSON_PATCH
from tair_operator.crd import crd
from tair_operator.models import GROUP, KIND, PLURAL, VERSION, Outcome
from tair_operator.ports import ClusterUnavailableError, Key
from tests.faults.faults import Family, Kind
from tests.faults.seam import Seam

Body = dict[str, Any]
Answer = tuple[int, Body]

DEADLINE = 30.0
"""The total timeout of the operator's session, see ``cluster.server.open_api``."""
STALE_SECONDS = 20.0
GROUP_PATH = f"/apis/{GROUP}/{VERSION}"
DEFAULT_STATUS = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
REASONS = {403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests"}


@dataclass(frozen=True, slots=True)
class Write:
    """A write that changed something."""

    time: float
    name: str
    path: str


@dataclass
class Kubernetes:
    """What is stored, and who watches it. ``clock`` returns the wall clock."""

    clock: Callable[[], datetime]
    objects: dict[str, Body] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    """By the operator, users not counted."""
    history: dict[str, list[tuple[float, Body | None]]] = field(default_factory=dict)
    _versions: Iterator[int] = field(default_factory=lambda: count(1))
    _pages: dict[str, list[Body]] = field(default_factory=dict)
    _watchers: list[asyncio.Queue[tuple[str, Body]]] = field(default_factory=list)

    # --- what users do ---

    def create(self, key: Key, created: str, **spec: object) -> Body:
        """Create a TairInstance; times of creation order claims."""
        number = next(self._versions)
        metadata = {
            "name": key.name,
            "namespace": key.namespace,
            "uid": f"uid-{number}",
            "generation": 1,
            "creationTimestamp": created,
        }
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": metadata,
            "spec": spec,
            "status": DEFAULT_STATUS,
        }
        return self.store(path_of(key), body)

    def edit(self, key: Key, **spec: object) -> None:
        """Change fields of the spec, which makes a new generation."""
        body = self.objects[path_of(key)]
        generation = body["metadata"]["generation"] + 1
        changed = {**body, "spec": {**body["spec"], **spec}, "metadata": {**body["metadata"], "generation": generation}}
        self.store(path_of(key), changed)

    def annotate(self, key: Key, **annotations: str) -> None:
        """Set annotations."""
        body = self.objects[path_of(key)]
        known = body["metadata"].get("annotations", {})
        self.store(path_of(key), {**body, "metadata": {**body["metadata"], "annotations": {**known, **annotations}}})

    def delete(self, key: Key) -> None:
        """Delete a TairInstance: it stays while a finalizer holds it."""
        path = path_of(key)
        body = self.objects[path]
        if not body["metadata"].get("finalizers"):
            self._remove(path)
            return
        metadata = {
            **body["metadata"],
            "deletionTimestamp": self.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generation": body["metadata"]["generation"] + 1,
        }
        self.store(path, {**body, "metadata": metadata})

    def found(self, key: Key) -> Body:
        """Return a resource; an empty object where there is none."""
        return self.objects.get(path_of(key), {})

    def resources(self) -> list[Body]:
        """Return every TairInstance."""
        return [body for path, body in self.objects.items() if f"/{PLURAL}/" in path]

    def store(self, path: str, body: Body) -> Body:
        """Store an object under a new version, and tell watchers."""
        known = path in self.objects
        metadata = {**body["metadata"], "resourceVersion": str(next(self._versions))}
        body = {**body, "metadata": metadata}
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._remove(path)
            return body
        self.objects[path] = body
        self._note(path, body)
        self._tell("MODIFIED" if known else "ADDED", path, body)
        return body

    def seen_ago(self, path: str, seconds: float) -> Body | None:
        """Return an object as it was some time ago, or the first that there was of it since then."""
        until = _now() - seconds
        versions = self.history.get(path, [])
        past = [body for time, body in versions if time <= until]
        return past[-1] if past else versions[0][1] if versions else None

    def _remove(self, path: str) -> None:
        body = self.objects.pop(path)
        self._note(path, None)
        self._tell("DELETED", path, body)

    def _note(self, path: str, body: Body | None) -> None:
        if f"/{PLURAL}/" in path:
            self.history.setdefault(path, []).append((_now(), body))

    def _tell(self, kind: str, path: str, body: Body) -> None:
        if f"/{PLURAL}/" in path:
            for watcher in self._watchers:
                watcher.put_nowait((kind, body))

    # --- what the operator does ---

    async def events(self, seam: Seam) -> AsyncIterator[tuple[str | None, Body]]:
        """Yield what a watch shows: all that is there, then each change; some get lost on the way."""
        queue: asyncio.Queue[tuple[str, Body]] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            while True:
                for body in self.resources():
                    yield None, body
                async for event in _until_down(queue, seam):
                    match seam.event_fault():
                        case Kind.LOST:
                            continue
                        case Kind.SLOW:
                            await asyncio.sleep(STALE_SECONDS)
                        case Kind.TWICE:
                            yield event
                        case Kind.OLD:
                            yield event
                            event = event[0], self.history[path_of(_key(event[1]))][0][1] or event[1]  # noqa: PLW2901
                        case _:
                            pass
                    yield event
                # What happened meanwhile is lost, and the list that follows makes up for it.
                await seam.until_up(Family.WATCH)
                while not queue.empty():
                    queue.get_nowait()
        finally:
            self._watchers.remove(queue)

    def answer(self, name: str, method: str, path: str, body: Any, query: dict[str, str] | None) -> Answer:  # noqa: ANN401
        """Carry a request out."""
        if method == "GET":
            return self._read(path, query or {})
        if method == "POST":
            return 201, {}
        before = self.objects.get(path.removesuffix("/status"))
        if method == "DELETE":
            code, answer = self._delete(path, before, body)
        elif query is not None and "fieldManager" in query:
            code, answer = self._apply(path, before, body, is_forced=query["force"] == "true")
        else:
            code, answer = self._patch(path, before, body)
        if self.objects.get(path.removesuffix("/status")) is not before:
            self.writes.append(Write(_now(), name, path))
        return code, answer

    def _read(self, path: str, query: dict[str, str]) -> Answer:
        if path == GROUP_PATH:
            return 200, {"resources": [{"name": PLURAL}]}
        if path == f"{GROUP_PATH}/{PLURAL}":
            _, _, wanted = query.get("fieldSelector", "").partition("=")
            if wanted:
                claims = [body for body in self.resources() if body["spec"]["instanceId"] == wanted]
                return 200, {"items": claims, "metadata": {}}
            return self._page(query.get("continue"))
        if path.count("/") == 4 and path.startswith("/api/v1/namespaces/"):
            return 200, {"metadata": {"name": path.rsplit("/", 1)[-1]}}
        body = self.objects.get(path)
        return refused(404) if body is None else (200, body)

    def _page(self, token: str | None) -> Answer:
        """Return one resource of a LIST, and a token for the others as they are now: pages show one moment."""
        rest = self.resources() if token is None else self._pages[token]
        if len(rest) <= 1:
            return 200, {"items": rest, "metadata": {}}
        token = f"page-{next(self._versions)}"
        self._pages[token] = rest[1:]
        return 200, {"items": rest[:1], "metadata": {"continue": token}}

    def _patch(self, path: str, before: Body | None, patch: list[Body]) -> Answer:
        if before is None:
            return refused(404)
        is_status = path.endswith("/status")
        after: Body = deepcopy(before)
        for step in patch:
            *parents, last = step["path"].strip("/").split("/")
            parent: Any = after
            for part in parents:
                parent = parent.get(part) if isinstance(parent, dict) else None
            if step["op"] == "test" and (not isinstance(parent, dict) or parent.get(last) != step["value"]):
                return refused(422)
            if step["op"] == "add":
                parent[last] = step["value"]
        # Each of the two ways in leaves alone what the other one is for.
        after = {**before, "status": after["status"]} if is_status else {**before, "metadata": after["metadata"]}
        return (200, before) if after == before else (200, self.store(path.removesuffix("/status"), after))

    def _apply(self, path: str, before: Body | None, body: Body, *, is_forced: bool) -> Answer:
        del is_forced  # Nobody else writes these objects here; tests/cluster/test_publishing.py has that.
        name = path.rsplit("/", 1)[-1]
        metadata = {"labels": {}, "annotations": {}} | body["metadata"] | {"name": name}
        known = before["metadata"] if before is not None else {"uid": f"uid-{next(self._versions)}"}
        if "resourceVersion" in metadata and metadata["resourceVersion"] != known.get("resourceVersion"):
            return refused(409)
        managers = [{"manager": COMPONENT}]
        after = {**body, "metadata": {**known, **metadata, "managedFields": managers}}
        if after == before:
            return 200, before
        return 201 if before is None else 200, self.store(path, after)

    def _delete(self, path: str, before: Body | None, options: Body) -> Answer:
        if before is None:
            return refused(404)
        if any(before["metadata"][name] != value for name, value in options["preconditions"].items()):
            return refused(409)
        self._remove(path)
        return 200, {}


@dataclass
class Request:
    """Implements ``seam.Exchange``."""

    world: Kubernetes
    name: str
    method: str
    path: str
    body: Any
    query: dict[str, str] | None
    deadline: float = DEADLINE

    def effect(self) -> Answer:
        return self.world.answer(self.name, self.method, self.path, self.body, self.query)

    def old_view(self) -> Answer:
        if self.name == "LIST":
            paths = [path for path in self.world.history if f"/{PLURAL}/" in path]
            old = [self.world.seen_ago(path, STALE_SECONDS) for path in paths]
            return 200, {"items": [body for body in old if body is not None], "metadata": {}}
        body = self.world.seen_ago(self.path, STALE_SECONDS)
        return refused(404) if body is None else (200, body)

    def refusal(self, status: int) -> Answer:
        # What is there is not found only while the CRD is not served, and then in words without a reason.
        return (status, {}) if status == 404 else refused(status)

    def bent(self, kind: Kind) -> Answer:
        raise NotImplementedError(kind)

    def broken(self, *, sent: bool) -> Exception:
        del sent  # The operator cannot tell, and does not try to.
        return ClusterUnavailableError(f"the Kubernetes API did not answer {self.method} {self.path}")

    def leave(self) -> None:
        pass


@dataclass
class ApiOf:
    """Takes the place of ``cluster.server.Api``."""

    world: Kubernetes
    seam: Seam
    process: int

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON_PATCH,
    ) -> Answer:
        name = name_of(method, path, body, query, content_type)
        family = Family.KUBE_READ if method == "GET" else Family.KUBE_WRITE
        if name == "POST-event":
            family = Family.KUBE_EVENT
        answer = await self.seam.call(self.process, name, family, Request(self.world, name, method, path, body, query))
        if name == "LIST" and answer[0] == 200 and "continue" not in answer[1]["metadata"]:
            self.seam.listed.add(self.process)
        return answer


def name_of(method: str, path: str, body: Any, query: dict[str, str] | None, content_type: str) -> str:  # noqa: ANN401
    """Say in a word what a request is for; words are what plans are made of."""
    kind = next((kind for kind in ("secret", "configmap", "event") if f"/{kind}s" in path), None)
    if content_type == APPLY_PATCH:
        return f"APPLY-{kind}"
    if kind is not None:
        return f"{method}-{kind}"
    if path == GROUP_PATH:
        return "GET-group"
    if path == f"{GROUP_PATH}/{PLURAL}":
        return "LIST-claims" if query and "fieldSelector" in query else "LIST"
    if path.startswith("/api/v1/namespaces/"):
        return "GET-namespace"
    if method == "PATCH":
        paths = {step["path"]: step.get("value") for step in body}
        if "/metadata/finalizers" in paths:
            return "PATCH-finalizer"
        if "/status/operation" in paths:
            return "PATCH-answer"
        operation = paths["/status"].get("operation")
        return "PATCH-intent" if operation and operation["outcome"] == Outcome.STARTED else "PATCH-status"
    return method


def refused(status: int) -> Answer:
    """Return a refusal as the API server words it."""
    return status, {"kind": "Status", "reason": REASONS.get(status, "InternalError"), "message": f"it is a {status}"}


def path_of(key: Key) -> str:
    """Return the path of a TairInstance."""
    return f"{GROUP_PATH}/namespaces/{key.namespace}/{PLURAL}/{key.name}"


def _key(body: Body) -> Key:
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


async def _until_down(queue: "asyncio.Queue[tuple[str, Body]]", seam: Seam) -> AsyncIterator[tuple[str, Body]]:
    while True:
        event = await queue.get()
        if seam.is_down(Family.WATCH):
            return
        yield event


def _now() -> float:
    return asyncio.get_running_loop().time()
