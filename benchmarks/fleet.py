"""Many TairInstances on a real API server, and the simulated cloud with an instance for each.

One session creates, edits and deletes them, and one watch notes when what was seen
of each. The cloud's own ledger says when a call arrived; all clocks are this
machine's. Instances are spread over regions, since our limiter counts by region and
the rivals have none.
"""

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from benchmarks.rivals import Rival
from tests.cluster.tenants import FAST
from tests.controlplane import ControlPlane
from tests.integration.simulator_tls import write_pair
from tests.stage import KEY_ID, KEY_SECRET, Simulator, Stage

NAMESPACE: Final = "bench"
PATIENCE: Final = 900.0
RELEASE: Final = "ReleaseDirectConnection"
_PATH: Final = f"/apis/tair.alibabacloud.com/v1alpha1/namespaces/{NAMESPACE}/tairinstances"
_POLL: Final = 0.005
_CONNECTIONS: Final = 32
_HANDLED_BY_KOPF: Final = "kopf.zalando.org/last-handled-configuration"


@contextmanager
def benchmark_stage(plane: ControlPlane, size: int, *, regions: int) -> Iterator[tuple[Stage, Path]]:
    """Start a cloud with ``size`` instances that speaks TLS; yield the stage and the authority to trust."""
    stage = Stage(plane)
    authority, key = write_pair(stage.folder, "cloud")
    seed = stage.folder / "seed.yaml"
    seed.write_text(_seed(size, regions), encoding="utf-8")
    stage.simulator = Simulator(stage.folder, seed, tls=(authority, key))
    with stage:
        stage.install()
        with contextlib.suppress(Exception):
            plane.kubectl("create", "namespace", NAMESPACE)
        yield stage, authority


def instance_of(number: int) -> str:
    """Return the id of the instance that resource ``number`` is about."""
    return f"r-bp1bench{number:05}"


def region_of(number: int, regions: int) -> str:
    """Return the region of that instance."""
    return f"cn-bench-{number % regions}"


def _seed(size: int, regions: int) -> str:
    timing = json.dumps(FAST)
    lines = [f"accessKeys: {{{KEY_ID}: {{secret: {KEY_SECRET}}}}}", "instances:"]
    for number in range(size):
        where = region_of(number, regions)
        lines.append(f"  {instance_of(number)}: {{regionId: {where}, directConnection: true, timing: {timing}}}")
    return "\n".join(lines) + "\n"


@dataclass
class Fleet:
    """``size`` resources; a context manager within which they exist and are watched."""

    plane: ControlPlane
    size: int
    regions: int
    answered_at: dict[int, float] = field(default_factory=dict)
    """When the status first showed a RequestId."""
    settled_at: dict[int, float] = field(default_factory=dict)
    """When the status last began to say that the present generation is as wanted."""
    handled: set[int] = field(default_factory=set)
    """Which have kopf's note that there is nothing to do."""
    writes: Counter[int] = field(default_factory=Counter)
    """How many versions there were after the first, by anybody."""
    _session: aiohttp.ClientSession = field(init=False)
    _watch: asyncio.Task[None] = field(init=False)

    async def __aenter__(self) -> Self:
        """Create the resources, which want what there is, and watch them."""
        cluster = json.loads(self.plane.kubeconfig.read_text(encoding="utf-8"))
        token = cluster["users"][0]["user"]["token"]
        connector = aiohttp.TCPConnector(
            limit=_CONNECTIONS + 1, ssl=ssl.create_default_context(cafile=self.plane.ca_file)
        )
        self._session = aiohttp.ClientSession(
            self.plane.server, connector=connector, headers={"Authorization": f"Bearer {token}"}
        )
        version = (await self._ask("GET", _PATH, query={"limit": "1"}))["metadata"]["resourceVersion"]
        self._watch = asyncio.create_task(self._follow(version))
        await _limited(self._ask("POST", _PATH, _manifest(number, self.regions)) for number in range(self.size))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Delete them; the operator has to have ended by now."""
        self._watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watch
        # In portions: a request that takes a minute is cut off.
        while (await self._ask("GET", _PATH, query={"limit": "1"}))["items"]:
            await self._ask("DELETE", _PATH, query={"limit": "1000"})
        await self._session.close()

    async def release(self, number: int) -> float:
        """Ask for a release as a user does, and return the time before the request was sent."""
        sent_at = time.time()
        body = {"spec": {"directConnection": False}}
        await self._ask("PATCH", f"{_PATH}/{_name(number)}", body, content_type="application/merge-patch+json")
        return sent_at

    async def release_all(self, numbers: Iterable[int]) -> dict[int, float]:
        """Ask for many releases at once."""
        numbers = list(numbers)
        return dict(zip(numbers, await _limited(self.release(number) for number in numbers), strict=True))

    async def wait_settled(self, rival: Rival, numbers: Iterable[int]) -> None:
        """Wait until the operator has nothing left to do about these, at the beginning."""
        known = self.handled if rival is Rival.KOPF else self.settled_at
        await self._wait(known, numbers)

    async def wait_done(self, rival: Rival, numbers: Iterable[int]) -> None:
        """Wait until releases of these are done: followed to their end, or, by plain kopf, called and noted."""
        await self._wait(self.answered_at, numbers)
        if rival is not Rival.KOPF:
            await self._wait(self.settled_at, numbers)

    async def _wait(self, known: dict[int, float] | set[int], numbers: Iterable[int]) -> None:
        wanted, deadline = set(numbers), time.monotonic() + PATIENCE
        while wanted := {number for number in wanted if number not in known}:
            if time.monotonic() > deadline:
                message = f"{len(wanted)} resources do not get there, one of them {_name(min(wanted))}"
                raise TimeoutError(message)
            if self._watch.done():
                self._watch.result()
            await asyncio.sleep(_POLL if len(wanted) < 100 else _POLL * 20)

    async def _follow(self, version: str) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        while True:
            # It ends after a while, and when its reader falls behind.
            query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
            async with self._session.get(_PATH, params=query, timeout=timeout, read_bufsize=2**20) as stream:
                async for line in stream.content:
                    event = json.loads(line)
                    self._note(event, time.time())
                    version = event["object"]["metadata"]["resourceVersion"]

    def _note(self, event: dict[str, Any], seen_at: float) -> None:
        body = event["object"]
        if event["type"] == "ERROR":
            raise ConnectionError(body.get("message"))
        number = int(body["metadata"]["name"].rpartition("-")[2])
        if event["type"] == "MODIFIED":
            self.writes[number] += 1
        status = body.get("status", {})
        if status.get("requestId"):
            self.answered_at.setdefault(number, seen_at)
        if _HANDLED_BY_KOPF in body["metadata"].get("annotations", {}):
            self.handled.add(number)
        if _is_settled(body):
            self.settled_at.setdefault(number, seen_at)
        else:
            self.settled_at.pop(number, None)

    async def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        headers = {"Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, params=query, headers=headers) as reply:
            text = await reply.text()
            assert reply.status < 300, f"{method} {path}: {reply.status} {text}"
            return dict(json.loads(text))


def calls_of(simulator: Simulator, action: str | None = None) -> list[tuple[str, float]]:
    """Return whom each call was about, and when it arrived, oldest first."""
    return [
        (entry["instanceId"] or "", datetime.fromisoformat(entry["time"]).timestamp())
        for entry in simulator.ledger(action)
    ]


def _is_settled(body: dict[str, Any]) -> bool:
    status, generation = body.get("status", {}), body["metadata"]["generation"]
    if status.get("observedGeneration") != generation:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


def _manifest(number: int, regions: int) -> dict[str, Any]:
    spec = {"instanceId": instance_of(number), "regionId": region_of(number, regions), "directConnection": True}
    return {
        "apiVersion": "tair.alibabacloud.com/v1alpha1",
        "kind": "TairInstance",
        "metadata": {"name": _name(number), "namespace": NAMESPACE},
        "spec": spec,
    }


def _name(number: int) -> str:
    return f"cache-{number:05}"


async def _limited(tasks: Iterable[Any]) -> list[Any]:
    """Run all, as many at a time as there are connections, and return their results in order."""
    places = asyncio.Semaphore(_CONNECTIONS)

    async def in_place(task: Any) -> Any:  # noqa: ANN401 - whatever it returns
        async with places:
            return await task

    return await asyncio.gather(*map(in_place, tasks))
