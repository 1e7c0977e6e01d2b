"""A wall clock that jumps, for one process only, while its monotonic clock goes on: libfaketime, loaded before libc.

The library comes from the system (Debian and Ubuntu: ``faketime``), else from a
pinned package that is compiled when it is installed: hence it is no dependency of
``make install``, which has to work without a C compiler.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

REQUIREMENTS: Final = Path(__file__).parents[2] / "requirements" / "faketime.txt"
LIBRARY: Final = "libfaketime.so.1"


@dataclass(frozen=True)
class WallClock:
    """The clock on one process' wall; ``jump`` sets it."""

    library: Path
    file: Path

    def __post_init__(self) -> None:
        self.jump(0)

    @property
    def settings(self) -> dict[str, str]:
        """What a process has to find in its environment."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # As older versions call it.
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Set it so many seconds before or after the true time, from one moment to the next."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.rename(self.file)


def find_library(folder: Path) -> Path:
    """Return the library, installing it into a folder if need be; skip the test where that cannot be done."""
    if sys.platform != "linux":
        pytest.skip("libfaketime is loaded in Linux' way")
    for found in (*Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"), *Path("/usr/lib64").glob(f"faketime/{LIBRARY}")):
        return found
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--target",
        folder,
        "-r",
        REQUIREMENTS,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip(f"no libfaketime: install the package faketime, or a C compiler: {result.stderr[-300:]}")
    [built] = folder.rglob(LIBRARY)
    return built
