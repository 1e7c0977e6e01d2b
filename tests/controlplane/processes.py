"""Child processes that never outlive this one.

Each is started as the leader of a process group of its own, so that Ctrl-C reaches
it only through us, and is killed as a group. On Linux the kernel also kills it when
the thread that started it ends, which covers a parent that was killed with SIGKILL:
hence start long-lived children from the main thread.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1


def start_process(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[str] | IO[bytes] | int | None = None,
    stderr: IO[str] | IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that ends when this process does."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  (it only makes two system calls)
    )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and whatever it started, and wait until it is gone."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Looked up here: after the fork only async-signal-safe work is safe.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended between the fork and the line above
            os._exit(1)

    return die_with_parent
