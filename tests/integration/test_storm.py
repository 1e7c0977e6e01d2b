"""A storm of throttling: ten minutes in which the cloud refuses most calls, in virtual time.

The whole way of a pass is real: queue, workers, reconciler, client, limiter, signatures, and the simulated cloud with
its flow control. Only Kubernetes is a fake, and the network is left out, since it has a time of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any, Self, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials
from tair_operator.aliyun.limiter import FLOOR, Account, Limiter
from tair_operator.models import Action
from tair_operator.ports import Key
from tair_operator.queue import Priority, WorkQueue, work
from tair_operator.reconcile import Reconciler
from tair_operator.situation import Grant, Policy
from tair_simulator.access_keys import AccessKey
from tair_simulator.cloud import Cloud
from tair_simulator.fault_kinds import parse_fault
from tair_simulator.instances import Instance
from tair_simulator.mistakes import parse
from tair_simulator.seed import Seed
from tair_simulator.server import create_app, serve_call
from tair_simulator.throttling import Throttling
from tests.builders import EVERYTHING, REGION, resource
from tests.fakes import FakeCluster, granting
from tests.session import Answer, Session
from tests.virtual_time import VirtualClock, now, run_virtually

STORM_SECONDS = 600
KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "demo", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "demoSecret"}
LATENCY = 0.02


def reaching(app: web.Application) -> aiohttp.ClientSession:
    """Return a session that hands each request to the simulated cloud in this process."""

    async def answer(url: URL, headers: Mapping[str, str], progress: Any) -> Answer:  # noqa: ANN401
        progress.begin()
        await asyncio.sleep(LATENCY / 2)
        progress.send()
        request = make_mocked_request("POST", url.raw_path_qs, headers, app=app, payload=aiohttp.EMPTY_PAYLOAD)
        found = await serve_call(request)
        await asyncio.sleep(LATENCY / 2)
        assert isinstance(found, web.Response)
        assert isinstance(found.body, bytes)
        return Answer(found.status, found.headers, found.body)

    return cast("aiohttp.ClientSession", Session(answer))


class Fleet:
    """A hundred resources about an instance each, and an operator that serves them."""

    def __init__(self, size: int) -> None:
        self.keys = {Key("shop", f"i{number:02}"): f"r-{number:02}" for number in range(size)}
        clock = VirtualClock()
        instances = {
            instance_id: parse(Instance, {"regionId": REGION, "directConnection": True})
            for instance_id in self.keys.values()
        }
        access_keys = {"demo": parse(AccessKey, {"secret": "demoSecret"})}
        self.cloud = Cloud(Seed(access_keys=access_keys, instances=instances), clock.now)
        self.limiter = Limiter(clock=clock.monotonic)
        self.cluster = FakeCluster()
        self.queue = WorkQueue(jitter=lambda: 0.0)
        self._stopping = asyncio.Event()
        numbers = count()
        client = AliyunClient(
            session=reaching(create_app(self.cloud)),
            credentials=lambda _: EnvironmentCredentials(KEY),
            limiter=self.limiter,
            clock=clock,
            new_nonce=lambda: f"nonce-{next(numbers)}",
            endpoint="http://simulator",
        )
        self._reconciler = Reconciler(
            cluster=self.cluster,
            cloud=client,
            clock=clock,
            # So short that the clock alone asks for more than the storm lets through.
            policy=Policy(resync=timedelta(seconds=60), release_budget=10 * size),
            grant=granting(lambda _: Grant(EVERYTHING)),
            new_id=lambda: f"op-{next(numbers)}",
        )

    async def __aenter__(self) -> Self:
        for number, (key, instance_id) in enumerate(self.keys.items()):
            self.cluster.create(resource(True, key=key, uid=f"uid-{number}", instance_id=instance_id))
            self.queue.add(key, Priority.CLOCK)
        self._workers = [
            asyncio.create_task(work(self.queue, self._reconciler.reconcile, self._stopping)) for _ in range(16)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._workers)
        self.queue.cancel_timers()

    def edit(self, key: Key, *, wanted: bool) -> None:
        """Do what a user does."""
        self.cluster.edit(key, direct_connection=wanted)
        self.queue.add(key, Priority.USER)

    def is_settled(self, key: Key) -> bool:
        found = self.cluster.stored[key]
        ready = found.status.condition("Ready")
        return ready is not None and ready.status == "True" and ready.observed_generation == found.metadata.generation

    async def wait(self) -> float:
        """Return how many seconds it takes until all are as they should be."""
        return await _wait_until(lambda: all(map(self.is_settled, self.keys)))

    async def wait_for_look(self, key: Key) -> float:
        """Return how many seconds it takes until the cloud is asked about the instance, whatever it answers."""
        known = len(self.cloud.ledger.entries(instance_id=self.keys[key]))
        return await _wait_until(lambda: len(self.cloud.ledger.entries(instance_id=self.keys[key])) > known)

    def releases(self) -> Counter[str]:
        """Return how many releases had an effect, by instance."""
        entries = self.cloud.ledger.entries()
        return Counter(
            entry.instance_id or "" for entry in entries if entry.action == Action.RELEASE and entry.effective
        )


async def _wait_until(is_so: Callable[[], bool]) -> float:
    started = now()
    while not is_so():
        assert now() - started < 3600, "it does not happen"
        await asyncio.sleep(0.25)
    return now() - started


@pytest.mark.parametrize(
    ("limits", "calls_max"),
    [
        pytest.param(None, STORM_SECONDS * FLOOR + 30, id="every call is refused"),
        pytest.param({"callsPerSecond": 1}, 900, id="one call per second passes"),
        pytest.param({"callsPerSecond": 1, "retryAfter": True}, 900, id="one call per second, with retry-after"),
    ],
)
def test_a_storm_of_throttling_over_a_hundred_resources_ends_well_with_bounded_calls(
    limits: dict[str, object] | None, calls_max: float
) -> None:
    edited_late = [Key("shop", f"i{number:02}") for number in range(90, 96)]

    async def run() -> None:
        async with Fleet(100) as fleet:
            calm = await fleet.wait()
            before = len(fleet.cloud.ledger.entries())
            if limits is None:
                fleet.cloud.faults.add(parse_fault({"action": "*", "kind": "throttle", "count": 1_000_000}))
            else:
                fleet.cloud.put_throttling(parse(Throttling, {"user": limits}))
            storm_began = now()
            for key in list(fleet.keys)[:30]:
                fleet.edit(key, wanted=False)
            # What those edits lead to is the users' for five minutes; then there is only the clock to compete with.
            await asyncio.sleep(400)
            waits = []
            for key in edited_late:
                fleet.edit(key, wanted=False)
                waits.append(await fleet.wait_for_look(key))
                await asyncio.sleep(10)
            await asyncio.sleep(storm_began + STORM_SECONDS - now())
            rate = fleet.limiter.rate(Account(None, REGION))
            calls = fleet.cloud.ledger.entries()[before:]
            fleet.cloud.faults.clear()
            fleet.cloud.put_throttling(Throttling())
            for key in list(fleet.keys)[30:40]:
                fleet.edit(key, wanted=False)
            after = await fleet.wait()
            releases = fleet.releases()
        refused = [call for call in calls if (call.code or "").startswith("Throttling")]
        story = (
            f"calm after {calm:.0f} s; {len(calls)} calls during the storm, {len(refused)} of them refused; the rate "
            f"was {rate:.2f} at its end; edits were looked at within {max(waits)} s; calm again after {after:.0f} s"
        )

        assert len(calls) <= calls_max, story
        assert len(refused) > (250 if limits is None else 5), story
        assert max(waits) < 10, story
        assert after < 180, story
        wanted = [*list(fleet.keys)[:40], *edited_late]
        assert releases == dict.fromkeys([fleet.keys[key] for key in wanted], 1), story

    run_virtually(run())
