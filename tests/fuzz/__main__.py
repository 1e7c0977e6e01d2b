"""``make fuzz``: every target in turn, with cases that nobody has tried, for as long as one likes."""

import argparse
import sys

from tests.fuzz.long_run import run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run the targets, tell figures, and return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together (default 10)")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=f"of {', '.join(TARGETS)}")
    options = parser.parse_args()
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    failures = 0
    for name in options.targets:
        found = run(TARGETS[name], options.minutes * 60 / len(options.targets))
        print(
            f"{name:12} {found.cases:8} cases in {found.seconds:5.0f} s  {found.failure or 'nothing found'}", flush=True
        )
        failures += found.failure is not None
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
