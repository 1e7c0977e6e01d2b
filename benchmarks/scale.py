"""A fleet as it grows: the first start, rest, a restart; and whether users are served while everything is looked at.

The first start meets resources that no operator has seen; the restart meets them
settled. ``fairness`` changes the access list of a settled fleet, after which every
resource is due at once, and then edits some.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import percentile
from benchmarks.fleet import RELEASE, Fleet, calls_of, instance_of
from benchmarks.rivals import UNLIMITED, Rival, Running, running
from tests.controlplane import ControlPlane
from tests.stage import Stage

REGIONS = 20
REST_SECONDS = 20.0
RESTART_SECONDS = 15.0
LIMIT = 10
"""Calls per second that the fleet of ``fairness`` may make, all of it in one region."""
EDIT_EVERY = 4.0
ACCESS = """
rules:
- {namespaces: ["*"], regions: ["*"], instanceIds: ["*"], actions: [Observe, Allocate, Release]}
- {namespaces: ["somebody-new"], regions: ["*"], instanceIds: ["*"], actions: [Observe]}
"""


@dataclass(frozen=True)
class Size:
    """One operator with so many resources. Seconds of CPU time, megabytes resident at most."""

    name: str
    resources: int
    start_seconds: float
    """From the start of the process until every resource is settled."""
    start_cpu: float
    start_rss: float
    start_writes: int
    start_calls: int
    rest_cpu_percent: float
    """Of one core, while nothing is due."""
    rest_writes: int
    restart_served: float
    """From the start of the process until a change that waited for it reaches the cloud."""
    restart_cpu: float
    """In the first seconds after a restart, that change included."""
    restart_rss: float
    restart_writes: int
    """Without those of that change."""
    restart_calls: int
    """Without those about that instance."""


@dataclass(frozen=True)
class Fairness:
    """What users felt while everything was due at once."""

    resources: int
    limit: int
    edits: int
    to_call_p50: float
    to_call_max: float
    calls_of_clock: int
    """Calls about resources that nobody edited, while users edited."""
    calls_per_second: list[int]
    """All calls, from the moment when everything became due, second by second."""


def measure(
    plane: ControlPlane, stage: Stage, authority: Path, sizes: list[int], *, tell: Callable[[str], None]
) -> list[Size]:
    """Return what each operator did at each size."""
    results = []
    for size in sizes:
        for rival in (Rival.OURS, Rival.GO):
            tell(f"  {size}: {rival}")
            stage.simulator.reset()
            results.append(asyncio.run(_grow(plane, stage, authority, rival, size)))
    return results


async def _grow(plane: ControlPlane, stage: Stage, authority: Path, rival: Rival, size: int) -> Size:
    everything = range(size)
    async with Fleet(plane, size, REGIONS) as fleet:
        began = time.time()
        with running(rival, stage, authority, **UNLIMITED) as operator:
            await fleet.wait_settled(rival, everything)
            start_seconds, started = time.time() - began, operator.usage()
            start_writes, start_calls = fleet.writes.total(), len(calls_of(stage.simulator))
            await asyncio.sleep(3)
            rest_cpu, rest_writes = await _rest(operator, fleet)
        edited = size // 2
        stage.simulator.reset()
        written = _but_for(edited, fleet)
        began = await fleet.release(edited)
        with running(rival, stage, authority, **UNLIMITED) as operator:
            await fleet.wait_done(rival, [edited])
            await asyncio.sleep(max(0.0, began + RESTART_SECONDS - time.time()))
            restarted = operator.usage()
            calls = calls_of(stage.simulator)
        served = next(
            at for instance_id, at in calls_of(stage.simulator, RELEASE) if instance_id == instance_of(edited)
        )
        return Size(
            name=rival,
            resources=size,
            start_seconds=start_seconds,
            start_cpu=started.cpu_seconds,
            start_rss=started.peak_rss_mb,
            start_writes=start_writes,
            start_calls=start_calls,
            rest_cpu_percent=100 * rest_cpu / REST_SECONDS,
            rest_writes=rest_writes,
            restart_served=served - began,
            restart_cpu=restarted.cpu_seconds,
            restart_rss=restarted.peak_rss_mb,
            restart_writes=_but_for(edited, fleet) - written,
            restart_calls=sum(1 for instance_id, _ in calls if instance_of(edited) not in instance_id),
        )


def _but_for(edited: int, fleet: Fleet) -> int:
    return fleet.writes.total() - fleet.writes[edited]


async def _rest(operator: Running, fleet: Fleet) -> tuple[float, int]:
    cpu, writes = operator.usage().cpu_seconds, fleet.writes.total()
    await asyncio.sleep(REST_SECONDS)
    return operator.usage().cpu_seconds - cpu, fleet.writes.total() - writes


def fairness(plane: ControlPlane, stage: Stage, authority: Path, *, size: int, edits: int) -> Fairness:
    """Return what users feel while a fleet in one region, behind ``LIMIT`` calls per second, is looked at."""
    stage.simulator.reset()
    return asyncio.run(_fairness(plane, stage, authority, size, edits))


async def _fairness(plane: ControlPlane, stage: Stage, authority: Path, size: int, edits: int) -> Fairness:
    async with Fleet(plane, size, regions=1) as fleet:
        with running(Rival.OURS, stage, authority, **UNLIMITED):
            await fleet.wait_settled(Rival.OURS, range(size))
        stage.simulator.reset()
        limited = UNLIMITED | {"TAIR_OPERATOR_CALLS_PER_SECOND": str(LIMIT)}
        with running(Rival.OURS, stage, authority, **limited) as operator:
            await asyncio.sleep(2)
            began = time.time()
            operator.change_access(ACCESS)
            # The list is looked at every five seconds.
            await asyncio.sleep(7)
            sent = {}
            for number in random.Random(1).sample(range(size), edits):  # noqa: S311 - the same ones each time
                sent[number] = await fleet.release(number)
                await asyncio.sleep(EDIT_EVERY)
            await fleet.wait_done(Rival.OURS, sent)
            calls = calls_of(stage.simulator)
        called: dict[str, float] = {}
        for instance_id, at in calls_of(stage.simulator, RELEASE):
            called.setdefault(instance_id, at)
    first, last, users = min(sent.values()), max(called.values()), {instance_of(number) for number in sent}
    took = [called[instance_of(number)] - at for number, at in sent.items()]
    seconds = Counter(int(at - began) for _, at in calls if began <= at <= last)
    return Fairness(
        resources=size,
        limit=LIMIT,
        edits=edits,
        to_call_p50=percentile(took, 0.5),
        to_call_max=max(took),
        calls_of_clock=sum(1 for ids, at in calls if first <= at <= last and not users & set(ids.split(","))),
        calls_per_second=[seconds[second] for second in range(int(last - began) + 1)],
    )
