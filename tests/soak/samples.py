"""What a process uses and says at one moment, from /proc and from its own /metrics."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.rivals import Rival, Running
from tests.meters import told
from tests.stage import OperatorProcess

WRITES = ("DELETE", "PATCH", "POST", "PUT")


@dataclass(frozen=True)
class Sample:
    """One moment. Calls, writes and CPU seconds count from the start of this process."""

    pid: int
    rss_mb: float
    peak_mb: float
    files: int
    threads: int
    tasks: int
    depth: int
    cpu_seconds: float
    cloud_calls: int
    api_writes: int
    minute: float = 0.0
    process: int = 0
    """The how manieth of the run it is."""
    ready: int = 0
    resources: int = 0
    faults: int = 0
    """How many calls of the run have met a fault so far."""

    @classmethod
    def take(cls, operator: OperatorProcess) -> Self | None:
        """Look at a process; None when it does not answer: it is just ending, starting or stopped."""
        status, text = operator.probe("metrics")
        if status != 200:
            return None
        try:
            usage = Running(Rival.OURS, operator.pid).usage()
            files = len(os.listdir(f"/proc/{operator.pid}/fd"))  # noqa: PTH208 - only counted
            lines = Path(f"/proc/{operator.pid}/status").read_text(encoding="utf-8").splitlines()
        except (OSError, AssertionError):
            return None
        return cls(
            pid=operator.pid,
            rss_mb=usage.rss_mb,
            peak_mb=usage.peak_rss_mb,
            files=files,
            threads=next(int(line.split()[1]) for line in lines if line.startswith("Threads:")),
            tasks=int(told(text, "tair_operator_event_loop_tasks")),
            depth=int(told(text, "workqueue_depth")),
            cpu_seconds=usage.cpu_seconds,
            cloud_calls=int(told(text, "tair_operator_cloud_requests_total")),
            api_writes=sum(int(told(text, "rest_client_requests_total", method=method)) for method in WRITES),
        )


def rates(samples: list[Sample], name: str) -> list[tuple[float, float]]:
    """Return by how much a count grew each second, by minute; the first sample of each process tells none."""
    return [
        (one.minute, (getattr(one, name) - getattr(before, name)) / ((one.minute - before.minute) * 60))
        for before, one in itertools.pairwise(samples)
        if one.process == before.process and one.minute > before.minute
    ]
