"""``python -m tests.soak``: a run, its report in ``dist/soak``, and exit code 1 when something did not hold."""

import argparse
import sys
from pathlib import Path

from benchmarks.__main__ import machine
from tests.soak.report import PAGE, flatness, write
from tests.soak.run import effort, run

SHOWN = 30


def main() -> int:
    """Run it, write the report, say what was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Flips, faults and restarts for a long time."
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the trouble lasts (%(default)s)")
    parser.add_argument("--resources", type=int, default=300, help="how many there are (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("dist/soak"), help="folder of the report (%(default)s)")
    given = parser.parse_args()
    on = machine()
    print(f"soak: {given.minutes:g} minutes, {given.resources} resources, seed {given.seed}, on {on}", flush=True)
    outcome = run(
        effort(given.minutes, given.resources, given.seed), lambda words: print(words, flush=True), given.output
    )
    command = f"make soak MINUTES={given.minutes:g} RESOURCES={given.resources} SEED={given.seed}"
    write(outcome, given.output, command=command, machine=on)
    print(f"\n{flatness(outcome)}\n\n{given.output / PAGE}")
    for problem in outcome.problems[:SHOWN]:
        print(f"VIOLATION: {problem}")
    print(f"{len(outcome.problems)} violations" if outcome.problems else "everything held")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
