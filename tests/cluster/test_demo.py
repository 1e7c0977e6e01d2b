"""``make demo`` tells the truth, fails when it cannot, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.stage import ROOT, SEED


def demo(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
    # With a proxy at which nobody answers, since all of the demo is on this machine; without coverage, which handles
    # SIGTERM itself.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment = kept | {"PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9"} | variables
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "demo", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )


def parents() -> dict[int, int]:
    """Return the parent of every process that runs; one that only waits to be reaped does not."""
    table = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,stat="], capture_output=True, encoding="utf-8", check=True)
    rows = [line.split() for line in table.stdout.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def below(pid: int) -> set[int]:
    """Return every process that this one started, and those that they started."""
    found = {pid}
    while more := {child for child, parent in parents().items() if parent in found} - found:
        found |= more
    return found - {pid}


def test_every_fact_holds_and_the_request_id_on_the_screen_is_the_one_in_the_ledger() -> None:
    process = demo()
    output, _ = process.communicate(timeout=110)

    assert process.returncode == 0
    assert "Every fact held" in output
    assert "✗" not in output
    ledger = output[output.index('"action": "ReleaseDirectConnection"') :]
    request_id = ledger.split('"requestId": "')[1].split('"')[0]
    assert f"Released    {request_id}" in output


def test_a_false_fact_is_shown_and_fails_the_demo(tmp_path: Path) -> None:
    seed = yaml.safe_load(SEED.read_text())
    # The release is accepted and takes far longer than the demo waits.
    seed["instances"]["r-bp1zxszhcgatnx0001"]["timing"] = {"lagSeconds": 0, "busySeconds": 600}
    path = tmp_path / "seed.yaml"
    path.write_text(yaml.safe_dump(seed))
    process = demo("--seed", str(path), "--patience", "4")
    output, _ = process.communicate(timeout=110)

    assert process.returncode == 1
    assert "✗ Ready=True for generation 2" in output
    assert "Every fact held" not in output


def test_an_interrupted_demo_leaves_no_process_and_no_folder(short_folder: Path) -> None:
    process = demo("--keep", TMPDIR=str(short_folder))
    assert process.stdout is not None
    for line in process.stdout:
        if "2. A manifest" in line:
            break
    time.sleep(0.5)
    started = below(process.pid)
    # Impatient people press it more than once.
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    process.communicate(timeout=60)

    # etcd, kube-apiserver, the simulator, the operator
    assert len(started) >= 4
    assert started & parents().keys() == set()
    assert list(short_folder.iterdir()) == []
