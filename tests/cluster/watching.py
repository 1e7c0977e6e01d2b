"""Who watches the operator: a proxy in front of the API server, and a judge of every version of every status.

The proxy stops a request at a named point and says so, serves yesterday's
answer, and repeats an old event. The judge sees what kubectl, Helm and Flux see,
and compares it with what the simulated cloud had at that moment.
"""

import asyncio
import json
import ssl
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp
from aiohttp import web

from tests.cluster.between import Between
from tests.cluster.tenants import ALLOCATE, PATIENCE, RELEASE, wait_until
from tests.controlplane import ControlPlane
from tests.controlplane.processes import end_process, start_process
from tests.kstatus import Verdict, broken_rules, is_observed, verdict
from tests.stage import Simulator

RESOURCES: Final = "/apis/tair.alibabacloud.com/v1alpha1/tairinstances"


# --- the proxy ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A request to the API server, and what it was answered."""

    method: str
    path: str
    body: Any = None
    status: int | None = None

    @property
    def operation(self) -> dict[str, Any]:
        """The operation that a status patch writes."""
        for change in self.body if self.method == "PATCH" and isinstance(self.body, list) else []:
            if change["path"] == "/status/operation":
                return dict(change["value"])
            if change["path"] == "/status":
                return dict(change["value"].get("operation", {}))
        return {}


def is_intent(request: Request) -> bool:
    """Whether the request announces a call."""
    return request.operation.get("outcome") == "Started"


def is_answer(request: Request) -> bool:
    """Whether the request stores what became of a call, at once and by itself."""
    return any(change["path"] == "/status/operation" for change in request.body or [] if "path" in change)


class Hold:
    """Stops the next request of a kind, before it reaches the API server or after it was answered."""

    def __init__(
        self, matches: Callable[[Request], bool], point: Literal["before", "after"], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.matches, self.point = matches, point
        self.is_dropped = False
        self._loop = loop
        self._reached, self._go = threading.Event(), asyncio.Event()

    def wait_reached(self, seconds: float = PATIENCE) -> None:
        """Wait until a request has been stopped."""
        assert self.is_reached(seconds), "no request reached this point"

    def is_reached(self, seconds: float = 0.0) -> bool:
        """Say whether a request has been stopped, or is within so many seconds."""
        return self._reached.wait(seconds)

    def let_go(self) -> None:
        """Let the request go on."""
        self._loop.call_soon_threadsafe(self._go.set)

    def drop(self) -> None:
        """Forget the request; whoever sent it does not live any more."""
        self.is_dropped = True
        self.let_go()

    async def stop_here(self) -> None:
        """Wait until somebody lets the request go."""
        self._reached.set()
        await self._go.wait()


class Proxy(Between):
    """Stands between an operator and the API server.

    With a certificate and its key it speaks TLS, and the operator verifies it.
    """

    def __init__(self, plane: ControlPlane, tls: tuple[Path, Path] | None = None) -> None:
        super().__init__()
        self.seen: list[Request] = []
        self.retry_after: str | None = None
        """While set, every request but a watch is turned away with 429 and this header."""
        self._plane, self._tls = plane, tls
        self._holds: list[Hold] = []
        self._old: dict[str, bytes] = {}
        self._streams: set[web.StreamResponse] = set()
        self._session: aiohttp.ClientSession

    def _cluster(self, known: dict[str, Any]) -> dict[str, Any]:
        del known  # Its certificate is another one.
        trust = {"certificate-authority": str(self._tls[0])} if self._tls else {}
        return {"server": self.url} | trust

    def hold(self, matches: Callable[[Request], bool], point: Literal["before", "after"]) -> Hold:
        """Stop the next such request."""
        hold = Hold(matches, point, self._loop)
        self._holds.append(hold)
        return hold

    def serve_old(self, resource: dict[str, Any]) -> None:
        """Answer each GET of this resource with an older version."""
        self._old[_path(resource)] = json.dumps(resource).encode()

    def serve_new(self) -> None:
        """Tell the truth again."""
        self._old.clear()

    def repeat_event(self, resource: dict[str, Any]) -> None:
        """Send an older version of a resource to everybody who watches such resources."""
        line = json.dumps({"type": "MODIFIED", "object": resource}).encode() + b"\n"

        async def send() -> int:
            for stream in self._streams:
                await stream.write(line)
            return len(self._streams)

        assert asyncio.run_coroutine_threadsafe(send(), self._loop).result(PATIENCE), "nobody watches"

    async def _serve_until(self, stop: asyncio.Event) -> None:
        trust = ssl.create_default_context(cafile=str(self._plane.ca_file))
        connector = aiohttp.TCPConnector(limit=0, ssl=trust)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            read_bufsize=2**22,
            # A long answer would be packed, which whoever gets it through here was not told.
            skip_auto_headers=["Accept-Encoding"],
        ) as self._session:
            runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
            await runner.setup()
            own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if self._tls else None
            if own is not None and self._tls is not None:
                own.load_cert_chain(*self._tls)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own)
            await site.start()
            self._serves(f"{'https' if own else 'http'}://127.0.0.1:{runner.addresses[0][1]}")
            await stop.wait()
            await runner.cleanup()

    async def _serve(self, incoming: web.BaseRequest) -> web.StreamResponse:
        content = await incoming.read()
        request = Request(incoming.method, incoming.path, json.loads(content) if content else None)
        if incoming.query.get("watch") == "true":
            return await self._stream(incoming)
        if self.retry_after is not None:
            self.seen.append(Request(request.method, request.path, request.body, 429))
            return web.Response(status=429, headers={"Retry-After": self.retry_after}, text="{}")
        hold = next((hold for hold in self._holds if hold.matches(request)), None)
        if hold is not None:
            self._holds.remove(hold)
        if hold is not None and hold.point == "before":
            await hold.stop_here()
            if hold.is_dropped:
                return web.Response(status=502)
        status, answer = await self._forward(incoming, content)
        self.seen.append(Request(request.method, request.path, request.body, status))
        if hold is not None and hold.point == "after":
            await hold.stop_here()
        return web.Response(status=status, body=answer, content_type="application/json")

    async def _forward(self, incoming: web.BaseRequest, content: bytes) -> tuple[int, bytes]:
        if incoming.method == "GET" and incoming.path in self._old:
            return 200, self._old[incoming.path]
        async with self._session.request(
            incoming.method, self._target(incoming), data=content or None, headers=_headers(incoming)
        ) as answer:
            return answer.status, await answer.read()

    async def _stream(self, incoming: web.BaseRequest) -> web.StreamResponse:
        async with self._session.get(self._target(incoming), headers=_headers(incoming)) as answer:
            stream = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            await stream.prepare(incoming)
            if incoming.path == RESOURCES:
                self._streams.add(stream)
            try:
                # Line by line, so that an old event comes between two others and not into one.
                async for line in answer.content:
                    await stream.write(line)
            except (aiohttp.ClientError, ConnectionError):
                pass  # one side has gone
            finally:
                self._streams.discard(stream)
        return stream

    def _target(self, incoming: web.BaseRequest) -> str:
        return self._plane.server + incoming.raw_path


def _headers(incoming: web.BaseRequest) -> dict[str, str]:
    kept = ("Authorization", "Content-Type", "Accept", "User-Agent")
    return {name: incoming.headers[name] for name in kept if name in incoming.headers}


def _path(resource: dict[str, Any]) -> str:
    group, plural = RESOURCES.rsplit("/", 1)
    metadata = resource["metadata"]
    return f"{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"


# --- the judge ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """One version of a resource, as it was announced."""

    received: datetime
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        """Which version of what it is."""
        metadata = self.resource["metadata"]
        return f"{metadata['namespace']}/{metadata['name']} at {metadata['resourceVersion']}"

    @property
    def status(self) -> dict[str, Any]:
        """What the operator says."""
        return dict(self.resource.get("status", {}))


@dataclass
class Judge(AbstractContextManager["Judge"]):
    """Watches the resources of some namespaces and judges each version at once."""

    plane: ControlPlane
    simulator: Simulator
    folder: Path
    namespaces: set[str] = field(default_factory=set)
    versions: list[Version] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    currents: int = 0
    """How many versions kstatus called Current, and were compared with the cloud."""
    _unjudged: deque[Version] = field(default_factory=deque)
    _claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    _has_ended: bool = False

    def __enter__(self) -> Self:
        newest = self.plane.read(RESOURCES)["metadata"]["resourceVersion"]
        watch = f"{RESOURCES}?watch=true&resourceVersion={newest}&timeoutSeconds=3600"
        command: list[str | Path] = [self.plane.kubectl_program, "--kubeconfig", self.plane.kubeconfig]
        with (self.folder / "judge.err").open("wb") as errors:
            self._process = start_process([*command, "get", "--raw", watch], stdout=subprocess.PIPE, stderr=errors)
        self._threads = [threading.Thread(target=work, name="judge") for work in (self._read, self._judge_all)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._has_ended = True
        end_process(self._process)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def follow(self, namespace: str) -> None:
        """Judge what is in this namespace from now on."""
        self.namespaces.add(namespace)

    def catch_up(self) -> None:
        """Wait until everything that is there by now has been judged."""
        items = self.plane.read(RESOURCES)["items"]
        wanted = {_identity(item) for item in items if item["metadata"]["namespace"] in self.namespaces}
        wait_until(
            lambda: not self._unjudged and wanted <= {_identity(version.resource) for version in list(self.versions)},
            "the judge has seen everything",
        )

    def take_problems(self) -> list[str]:
        """Return what was found since the last time."""
        found, self.problems = self.problems, []
        return found

    def of(self, resource: dict[str, Any]) -> list[Version]:
        """Return the versions of one resource, oldest first."""
        uid = resource["metadata"]["uid"]
        return [version for version in list(self.versions) if version.resource["metadata"]["uid"] == uid]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["type"] == "ERROR":
                self.problems.append(f"the watch of the judge ended: {event['object']}")
                return
            if event["object"]["metadata"].get("namespace") in self.namespaces and event["type"] != "DELETED":
                self._unjudged.append(Version(datetime.now(UTC), event["object"]))

    def _judge_all(self) -> None:
        while not self._has_ended:
            if not self._unjudged:
                time.sleep(0.002)
                continue
            version = self._unjudged[0]
            try:
                self.problems += [f"{version.name}: {problem}" for problem in self._judge(version)]
            # The thread must not die unheard, whatever happens.
            except Exception as error:  # noqa: BLE001
                self.problems.append(f"{version.name} could not be judged: {error!r}")
            self.versions.append(version)
            self._unjudged.popleft()

    def _judge(self, version: Version) -> list[str]:
        problems = broken_rules(version.resource) if is_observed(version.resource) else []
        uid = version.resource["metadata"]["uid"]
        if self._claims.get(uid) == version.status:
            # Somebody's edit repeats what was claimed before; the call that it asks for may come any moment.
            return problems
        self._claims[uid] = version.status
        wanted = version.resource["spec"].get("directConnection")
        if verdict(version.resource) is Verdict.CURRENT and wanted is not None:
            self.currents += 1
            problems += self._compare(version, is_there=wanted)
        if version.status.get("directConnection", {}).get("state") == "Released":
            problems += self._compare(version, is_there=False)
        return problems

    def _compare(self, version: Version, *, is_there: bool) -> list[str]:
        """Compare what is claimed with the calls up to that moment and, if there were none since, with the cloud."""
        instance_id = version.resource["spec"]["instanceId"]
        instance = self.simulator.instance(instance_id)
        effective = [
            entry
            for entry in self.simulator.ledger(None, instance_id)
            if entry["effective"] and entry["action"] in {ALLOCATE, RELEASE}
        ]
        before = [entry for entry in effective if datetime.fromisoformat(entry["time"]) <= version.received]
        problems = []
        if before and before[-1]["action"] != (ALLOCATE if is_there else RELEASE):
            problems.append(f"claims {is_there}, but the last call was {before[-1]['action']}")
        if len(before) == len(effective) and (instance["directConnection"] is not is_there or instance["busy"]):
            problems.append(f"claims {is_there}, but the cloud has {json.dumps(instance)}")
        return problems


def _identity(resource: dict[str, Any]) -> tuple[str, str]:
    return resource["metadata"]["uid"], resource["metadata"]["resourceVersion"]
