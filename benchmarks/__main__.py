"""``make bench``: runs every benchmark, prints a table and writes ``benchmarks/results.json``."""

import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.signed_call import CALLS, ROUNDS, measure

RESULTS = Path(__file__).parent / "results.json"


def main() -> int:
    """Measure, print, write."""
    print(f"signed call: {ROUNDS} rounds of {CALLS} calls each, in turns, over http to the simulator")
    results = measure()
    print(f"\n{'':20} {'CPU ms/call':>12} {'wall ms/call':>13} {'CPU min-max':>16}")
    for result in results:
        spread = f"{min(result.rounds):.2f}-{max(result.rounds):.2f}"
        print(f"{result.name:20} {result.cpu_ms:12.2f} {result.wall_ms:13.2f} {spread:>16}")
    ratio = results[1].cpu_ms / results[0].cpu_ms
    print(f"\nThe SDK takes {ratio:.1f} times the CPU.")
    RESULTS.write_text(
        json.dumps(
            {
                "command": "make bench",
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("aiohttp", "alibabacloud-r-kvstore20150101", "tair-operator")},
                },
                "signed_call": {"rounds": ROUNDS, "calls": CALLS, "results": [asdict(result) for result in results]},
            },
            indent=2,
        )
        + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
