"""The three operators that are compared, each as a process of its own whose CPU time and memory can be read."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.controlplane.binaries import find_go_program
from tests.controlplane.processes import end_process, start_process
from tests.stage import KEY_ID, KEY_SECRET, ROOT, Stage

GO_MODULE: Final = Path(__file__).parent / "go-operator"
# So that the limiter, which the rivals do not have, is not what is measured; the resync is not, either.
UNLIMITED: Final = {"TAIR_OPERATOR_CALLS_PER_SECOND": "100", "TAIR_OPERATOR_RESYNC_SECONDS": "86400"}
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KEYS: Final = {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": KEY_SECRET}


class Rival(StrEnum):
    """Who is compared."""

    OURS = "tair-operator"
    GO = "Go, controller-runtime"
    KOPF = "plain kopf, official SDK"


@dataclass(frozen=True)
class Usage:
    """What a process has used since it started: CPU seconds, resident megabytes now and at most."""

    cpu_seconds: float
    rss_mb: float
    peak_rss_mb: float


@dataclass
class Running:
    """An operator that runs."""

    rival: Rival
    pid: int
    access_file: Path | None = None
    """The access list of ours; the others have none."""

    def change_access(self, text: str) -> None:
        """Replace the access list of the running operator."""
        assert self.access_file is not None
        self.access_file.write_text(text, encoding="utf-8")

    def usage(self) -> Usage:
        """Read /proc. CPU time has a resolution of a hundredth of a second."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        now, peak = (_megabytes(status, name) for name in ("VmRSS", "VmHWM"))
        return Usage((int(stat[11]) + int(stat[12])) / _TICKS, now, peak)


@contextmanager
def running(rival: Rival, stage: Stage, authorities: Path, **settings: str) -> Iterator[Running]:
    """Start an operator and end it in order; ``settings`` are for ours."""
    if rival is Rival.OURS:
        with stage.operator("ours", **{"TAIR_OPERATOR_CA_FILE": str(authorities)} | settings) as process:
            yield Running(rival, process.pid, process.access_file)
        return
    command = (
        [str(find_go_program(GO_MODULE))] if rival is Rival.GO else [sys.executable, "-m", "benchmarks.plain_kopf"]
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(stage.folder),
        # kopf keeps its notes on the resources, for which the RBAC that we ship has no permission.
        "KUBECONFIG": str(
            stage.plane.kubeconfig_for("tair-operator", "tair-system") if rival is Rival.GO else stage.plane.kubeconfig
        ),
        "CLOUD_ENDPOINT": stage.simulator.url,
        "CLOUD_CA_FILE": str(authorities),
        **_KEYS,
    }
    with (stage.folder / f"{rival.name.lower()}.log").open("ab") as log:
        rival_process = start_process(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield Running(rival, rival_process.pid)
    finally:
        _end(rival_process)


def versions() -> dict[str, str]:
    """Return the versions of what the rivals are made of."""
    go = (GO_MODULE / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"sigs.k8s.io/controller-runtime (v\S+)", go)
    assert found is not None
    names = ("aiohttp", "alibabacloud-r-kvstore20150101", "alibabacloud-tea-openapi", "kopf", "pydantic")
    return {"controller-runtime": found[1]} | {name: version(name) for name in names}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        end_process(process)


def _megabytes(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
