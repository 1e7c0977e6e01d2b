"""The simulator as a process of its own, for tests that drive something else against it.

``with running_simulator("--seed", str(file)) as simulator:`` starts it on a free loopback port and ends it afterwards.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EXAMPLE_SEED = Path(__file__).resolve().parents[2] / "examples/simulator/seed.yaml"
ANNOUNCEMENT = "tair-simulator listening on "
PATIENCE = 20.0


@dataclass(frozen=True)
class SimulatorProcess:
    """A simulator that listens: ``url`` is ``http://host:port``, ``endpoint`` the same without the scheme."""

    process: subprocess.Popen[str]
    url: str

    @property
    def endpoint(self) -> str:
        """Host and port, as Alibaba's SDK wants them."""
        return self.url.removeprefix("http://")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """End it with a signal; return its status and what else it printed to stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@contextmanager
def running_simulator(*arguments: str, seed: Path = EXAMPLE_SEED) -> Iterator[SimulatorProcess]:
    """Run ``python -P -m tair_simulator`` with this seed; it ends with the block."""
    command = [sys.executable, "-P", "-m", "tair_simulator", "--seed", str(seed), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(ANNOUNCEMENT), process.communicate(timeout=PATIENCE)
            yield SimulatorProcess(process, line.removeprefix(ANNOUNCEMENT).strip())
        finally:
            if process.poll() is None:
                process.terminate()
