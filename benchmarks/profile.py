"""``python -m benchmarks.profile``: what the operator spends its CPU time and memory on, by module.

``--burst 500`` changes so many resources at once, ``--start 5000`` starts on so many
that no operator has seen, ``--restart 5000`` on so many that are settled.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.changes import REGIONS
from benchmarks.figures import table
from benchmarks.fleet import Fleet, benchmark_stage
from benchmarks.rivals import UNLIMITED, Rival, Running, Usage
from tests.controlplane import ControlPlane
from tests.stage import Stage

SAMPLER: Final = Path(__file__).parent / "sampler.py"
RESTART_SECONDS: Final = 15.0
REST_SECONDS: Final = 3.0
_GROUPS: Final = {
    "tair_operator.models": "tair_operator: models (pydantic)",
    "pydantic": "tair_operator: models (pydantic)",
    "tair_operator.metrics": "metrics (prometheus_client)",
    "prometheus_client": "metrics (prometheus_client)",
    "tair_operator.aliyun": "tair_operator: the cloud",
    "tair_operator.cluster": "tair_operator: Kubernetes",
    "tair_operator": "tair_operator: passes, decisions, status, queue",
    "asyncio.sslproto": "TLS (asyncio.sslproto, ssl)",
    "ssl": "TLS (asyncio.sslproto, ssl)",
    "asyncio": "asyncio",
    "selectors": "asyncio",
    "aiohttp": "aiohttp and its libraries",
    "yarl": "aiohttp and its libraries",
    "multidict": "aiohttp and its libraries",
    "json": "JSON",
    "kopf": "kopf",
    "logging": "logging",
    "pythonjsonlogger": "logging",
    "importlib": "imports",
    "<frozen importlib": "imports",
    "__main__": "garbage collector",
}
OTHER: Final = "everything else"


@dataclass(frozen=True)
class Profile:
    """What was measured between two moments."""

    before: Usage
    after: Usage
    stacks: Counter[tuple[str, ...]]
    """How often each stack was seen, outermost function first."""

    def __str__(self) -> str:
        cpu = self.after.cpu_seconds - self.before.cpu_seconds
        rows = [
            [group, f"{own:.0%}", f"{within:.0%}", f"{own * cpu:.2f}"]
            for group, own, within in shares(self.stacks)
            if round(within, 2)
        ]
        return (
            f"{cpu:.2f} s of CPU time, at most {self.after.peak_rss_mb:.0f} MB resident\n\n"
            f"{table(['module', 'itself', 'with what it calls', 'CPU s itself'], rows)}"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    for name in ("burst", "start", "restart"):
        choice.add_argument(f"--{name}", type=int, metavar="RESOURCES")
    parser.add_argument("--stacks", type=Path, metavar="FILE", help="keep the stacks, for flame graphs")
    asked = parser.parse_args()
    size = asked.burst or asked.start or asked.restart
    with ControlPlane() as plane, benchmark_stage(plane, size, regions=REGIONS) as (stage, authority):
        measure = (
            _burst(plane, stage, authority, size)
            if asked.burst
            else _start(plane, stage, authority, size, is_again=asked.restart is not None)
        )
        print(asyncio.run(measure))
        if asked.stacks is not None:
            asked.stacks.write_text((stage.folder / "stacks").read_text(encoding="utf-8"), encoding="utf-8")
    return 0


def shares(stacks: Counter[tuple[str, ...]]) -> list[tuple[str, float, float]]:
    """Return for each group of modules which part of the samples was in it, and in it or what it called."""
    own, within, total = Counter[str](), Counter[str](), max(stacks.total(), 1)
    for stack, count in stacks.items():
        groups = [group_of(function) for function in stack]
        own[groups[-1]] += count
        within.update(dict.fromkeys(groups, count))
    return [(group, own[group] / total, within[group] / total) for group, _ in sorted(own.items(), key=lambda x: -x[1])]


def group_of(function: str) -> str:
    """Return the row of the table for ``module:function``: that of the longest part of the name that has one."""
    parts = function.partition(":")[0].split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_GROUPS[name] for name in names if name in _GROUPS), OTHER)


async def _burst(plane: ControlPlane, stage: Stage, authority: Path, size: int) -> Profile:
    async with Fleet(plane, size, REGIONS) as fleet, _sampled(stage, authority) as operator:
        await fleet.wait_settled(Rival.OURS, range(size))
        await asyncio.sleep(REST_SECONDS)
        before = operator.usage()
        os.kill(operator.pid, signal.SIGUSR1)
        await fleet.release_all(range(size))
        await fleet.wait_done(Rival.OURS, range(size))
        return await _taken(operator, stage, before)


async def _start(plane: ControlPlane, stage: Stage, authority: Path, size: int, *, is_again: bool) -> Profile:
    async with Fleet(plane, size, REGIONS) as fleet:
        if is_again:
            with stage.operator("ours", TAIR_OPERATOR_CA_FILE=str(authority), **UNLIMITED):
                await fleet.wait_settled(Rival.OURS, range(size))
        async with _sampled(stage, authority) as operator:
            await asyncio.sleep(RESTART_SECONDS if is_again else 0)
            await fleet.wait_settled(Rival.OURS, range(size))
            return await _taken(operator, stage, Usage(0.0, 0.0, 0.0))


@contextlib.asynccontextmanager
async def _sampled(stage: Stage, authority: Path) -> AsyncIterator[Running]:
    process = stage.operator("ours", TAIR_OPERATOR_CA_FILE=str(authority), **UNLIMITED)
    process.command = [sys.executable, "-P", str(SAMPLER), str(stage.folder / "stacks")]
    with process:
        yield Running(Rival.OURS, process.pid)


async def _taken(operator: Running, stage: Stage, before: Usage) -> Profile:
    after, file = operator.usage(), stage.folder / "stacks"
    os.kill(operator.pid, signal.SIGUSR2)
    deadline = time.monotonic() + 10
    while not file.exists():
        assert time.monotonic() < deadline, "the sampler writes nothing"
        await asyncio.sleep(0.05)
    return Profile(before, after, read(file.read_text(encoding="utf-8").splitlines()))


def read(lines: Iterable[str]) -> Counter[tuple[str, ...]]:
    """Read what the sampler wrote."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


if __name__ == "__main__":
    sys.exit(main())
