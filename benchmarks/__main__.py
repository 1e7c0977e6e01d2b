"""``make bench``: runs every benchmark, prints tables and writes ``benchmarks/results.json``.

``--full`` is ``make bench FULL=1``: bursts of a thousand, fleets of up to ten thousand.
``make bench ARGS="--burst 500"`` changes one of these.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import changes, report, scale, signed_call
from benchmarks.fleet import benchmark_stage
from benchmarks.page import RESULTS
from benchmarks.report import Results
from benchmarks.rivals import versions
from tests.controlplane import ControlPlane
from tests.controlplane.binaries import kubernetes_version


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    command: str
    rounds: int
    calls: int
    singles: int
    burst: int
    sizes: tuple[int, ...]
    fleet: int
    edits: int


REDUCED = Effort("make bench", 3, 50, 10, 200, (250, 500, 1000), 500, 10)
FULL = Effort("make bench FULL=1", 3, 100, 20, 1000, (1000, 5000, 10_000), 10_000, 30)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="measure all of it; takes about an hour")
    parser.add_argument("--burst", type=int, help="how many changes at once")
    parser.add_argument("--sizes", type=sizes, help="how many resources fleets have: 250,1000")
    parser.add_argument("--fleet", type=int, help="how many resources the users who edit have to get past")
    chosen = vars(parser.parse_args())
    effort = FULL if chosen.pop("full") else REDUCED
    changed = {name: value for name, value in chosen.items() if value is not None}
    if changed:
        words = " ".join(
            f"--{name} {','.join(map(str, value)) if name == 'sizes' else value}" for name, value in changed.items()
        )
        effort = replace(effort, command=f'{effort.command} ARGS="{words}"', **changed)
    began = time.monotonic()
    results = measure(effort) | {"seconds": round(time.monotonic() - began)}
    for title, show in report.TABLES.items():
        print(f"\n{title}\n\n{show(results)}")
    print(f"\n{report.environment(results)}")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes that are separated by commas."""
    return tuple(int(part) for part in text.split(","))


def measure(effort: Effort) -> Results:
    """Return everything that was measured, as it goes into the file."""
    results: Results = {
        "command": effort.command,
        "effort": asdict(effort),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"Python": platform.python_version(), "kube-apiserver": kubernetes_version(), **versions()},
    }
    say(f"one signed call: {effort.rounds} rounds of {effort.calls} calls, in turns, over TLS to the simulator")
    found = signed_call.measure(rounds=effort.rounds, calls=effort.calls)
    results["signed_call"] = [asdict(each) for each in found]
    with ControlPlane() as plane:
        most = max(effort.singles + effort.burst, *effort.sizes)
        with benchmark_stage(plane, most, regions=changes.REGIONS) as (stage, authority):
            say(f"changes: {effort.rounds} rounds of {effort.singles} alone and {effort.burst} at once, in turns")
            found_changes = changes.measure(
                plane, stage, authority, rounds=effort.rounds, singles=effort.singles, burst=effort.burst, tell=say
            )
            results["changes"] = [asdict(each) for each in found_changes]
            say(f"fleets of {', '.join(map(str, effort.sizes))}: first start, rest, restart")
            found_sizes = scale.measure(plane, stage, authority, list(effort.sizes), tell=say)
            results["sizes"] = [asdict(each) for each in found_sizes]
        with benchmark_stage(plane, effort.fleet, regions=1) as (stage, authority):
            say(f"fairness: {effort.fleet} resources behind {scale.LIMIT} calls per second, {effort.edits} edits")
            fair = scale.fairness(plane, stage, authority, size=effort.fleet, edits=effort.edits)
            results["fairness"] = asdict(fair)
    return results


def machine() -> str:
    """Return what this runs on, as far as the system tells, and how busy it was at the beginning."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in cpus if line.startswith("model name")), "unknown CPU")
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({model}), {platform.system()} {platform.machine()}, load {load:.1f} before it began"
    )


def say(line: str) -> None:
    """Tell whoever waits what comes next."""
    print(f"[{datetime.now(UTC):%H:%M:%S}] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
