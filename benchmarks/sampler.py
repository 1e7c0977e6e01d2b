"""Runs the operator and writes what its CPU time went into: ``python -P benchmarks/sampler.py FILE``.

A timer that counts CPU time, not wall time, interrupts the operator, and the stack
of that moment is noted. What a function in C uses counts for the Python function
that called it. SIGUSR1 forgets what was noted, SIGUSR2 writes it: a line for each
stack, outermost function first, and how often it was seen. Tools that draw flame
graphs read the same format.
"""

import gc
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.005
"""Seconds of CPU time between two samples."""


class Sampler:
    """Notes stacks; ``file`` is where to write them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stacks: Counter[str] = Counter()

    def start(self) -> None:
        """Sample from now on."""
        signal.signal(signal.SIGUSR1, lambda *_: self._stacks.clear())
        signal.signal(signal.SIGUSR2, lambda *_: self._write())
        signal.signal(signal.SIGPROF, self._note)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPROF):
            signal.siginterrupt(number, False)  # noqa: FBT003 - that is how the library has it
        gc.callbacks.append(collecting_garbage)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def _note(self, _: int, frame: FrameType | None) -> None:
        names = []
        while frame is not None:
            names.append(f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        # The outermost is this module, around all the rest.
        self._stacks[";".join(reversed(names[:-1]))] += 1

    def _write(self) -> None:
        lines = "".join(f"{stack} {count}\n" for stack, count in self._stacks.items())
        half = self._file.with_suffix(".half")
        half.write_text(lines, encoding="utf-8")
        half.replace(self._file)


def collecting_garbage(_: str, __: dict[str, int]) -> None:
    """Be called before and after the collector, in which nothing in Python runs: its samples are noted here."""


if __name__ == "__main__":
    Sampler(Path(sys.argv[1])).start()
    from tair_operator.__main__ import main

    sys.exit(main([]))
