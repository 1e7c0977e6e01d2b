"""From a change of the manifest to the call at the cloud, and on to the status: one at a time, and all at once.

The operators take turns on the same API server and the same simulated cloud, each
with fresh resources, so that in each round every one of them does the same work:
the first few changes alone, the rest in one burst.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Spread, percentile
from benchmarks.fleet import RELEASE, Fleet, calls_of, instance_of
from benchmarks.rivals import UNLIMITED, Rival, running
from tests.controlplane import ControlPlane
from tests.stage import Stage

REGIONS = 20


@dataclass(frozen=True)
class Round:
    """What one operator did in one round. Seconds, but for megabytes."""

    to_call: list[float]
    to_answer: list[float]
    to_end: list[float]
    single_cpu: float
    """CPU time for each of the changes that came one at a time."""
    burst_calls: list[float]
    """How long after its own change each call arrived."""
    burst_called: float
    """How long after the first change the last call arrived."""
    burst_done: float
    burst_cpu: float
    peak_rss: float
    writes: float
    """API writes for each change of the burst, the user's own not counted."""
    calls: float
    """Releases that arrived for each change, all of the round."""


@dataclass(frozen=True)
class Changes:
    """All rounds of one operator. Milliseconds for one change at a time; seconds for a burst."""

    name: str
    to_call_p50: float
    to_call_p99: float
    to_answer_p50: float
    to_end_p50: float
    single_cpu_ms: Spread
    burst_to_call_p50: Spread
    burst_called: Spread
    burst_done: Spread
    burst_cpu: Spread
    peak_rss_mb: Spread
    writes: Spread
    calls: Spread


def measure(
    plane: ControlPlane,
    stage: Stage,
    authority: Path,
    *,
    rounds: int,
    singles: int,
    burst: int,
    tell: Callable[[str], None],
) -> list[Changes]:
    """Let the operators take turns; return what each did, ours first."""
    done: dict[Rival, list[Round]] = {rival: [] for rival in Rival}
    for number in range(rounds):
        for rival in Rival:
            tell(f"  round {number + 1} of {rounds}: {rival}")
            stage.simulator.reset()
            done[rival].append(asyncio.run(_round(plane, stage, authority, rival, singles, burst)))
    return [_summary(rival, rounds) for rival, rounds in done.items()]


async def _round(plane: ControlPlane, stage: Stage, authority: Path, rival: Rival, singles: int, burst: int) -> Round:
    alone, together = range(singles), range(singles, singles + burst)
    async with Fleet(plane, singles + burst, REGIONS) as fleet:
        with running(rival, stage, authority, **UNLIMITED) as operator:
            await fleet.wait_settled(rival, range(singles + burst))
            await asyncio.sleep(2)
            before, sent = operator.usage(), {}
            for number in alone:
                sent[number] = await fleet.release(number)
                await fleet.wait_done(rival, [number])
            after_singles, noted = operator.usage(), sum(fleet.writes[number] for number in together)
            began = time.time()
            sent |= await fleet.release_all(together)
            await fleet.wait_done(rival, together)
            ended = time.time()
            after = operator.usage()
            # Whatever is written late counts as well.
            await asyncio.sleep(1)
            writes = sum(fleet.writes[number] for number in together) - noted
        called: dict[str, float] = {}
        calls = calls_of(stage.simulator, RELEASE)
        for instance_id, arrived_at in calls:
            called.setdefault(instance_id, arrived_at)
        took = {number: called[instance_of(number)] - sent[number] for number in sent}
        ends = fleet.answered_at if rival is Rival.KOPF else fleet.settled_at
    return Round(
        to_call=[took[number] for number in alone],
        to_answer=[fleet.answered_at[number] - sent[number] for number in alone],
        to_end=[ends[number] - sent[number] for number in alone],
        single_cpu=(after_singles.cpu_seconds - before.cpu_seconds) / singles,
        burst_calls=[took[number] for number in together],
        burst_called=max(called[instance_of(number)] for number in together) - began,
        burst_done=ended - began,
        burst_cpu=after.cpu_seconds - after_singles.cpu_seconds,
        peak_rss=after.peak_rss_mb,
        writes=writes / burst - 1,
        calls=len(calls) / len(sent),
    )


def _summary(rival: Rival, rounds: list[Round]) -> Changes:
    to_call = [1000 * seconds for each in rounds for seconds in each.to_call]
    return Changes(
        name=rival,
        to_call_p50=statistics.median(to_call),
        to_call_p99=percentile(to_call, 0.99),
        to_answer_p50=1000 * statistics.median(s for each in rounds for s in each.to_answer),
        to_end_p50=1000 * statistics.median(s for each in rounds for s in each.to_end),
        single_cpu_ms=Spread.of([1000 * each.single_cpu for each in rounds]),
        burst_to_call_p50=Spread.of([statistics.median(each.burst_calls) for each in rounds]),
        burst_called=Spread.of([each.burst_called for each in rounds]),
        burst_done=Spread.of([each.burst_done for each in rounds]),
        burst_cpu=Spread.of([each.burst_cpu for each in rounds]),
        peak_rss_mb=Spread.of([each.peak_rss for each in rounds]),
        writes=Spread.of([each.writes for each in rounds]),
        calls=Spread.of([each.calls for each in rounds]),
    )
