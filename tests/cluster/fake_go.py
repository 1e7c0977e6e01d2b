"""A compiler that compiles nothing: what is built, and how often, without the minutes."""

from pathlib import Path

import pytest


def use_fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put it first on PATH with an empty cache; return the file in which it writes the arguments of each build."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    built = folder / "built"
    (folder / "go").write_text(
        "#!/bin/sh\n"
        'test "$1" = version && { echo "go version go1.99.0 linux/amd64"; exit 0; }\n'
        f'echo "$*" >> {built}\n'
        'while test "$1" != -o; do shift; done\n'
        'echo "$2" > "$2"\n'
    )
    (folder / "go").chmod(0o755)
    return built
