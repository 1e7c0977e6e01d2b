"""How the demo is told: headings, commands with their real output, and facts that were checked.

Nothing here knows what the demo is about. Colours only on a terminal.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.controlplane import ControlPlane

BAR, WATCH_BAR = "  │ ", "  ┊ "


@dataclass
class Screen:
    """Prints, and remembers whether every fact held."""

    plane: ControlPlane
    failed: list[str] = field(default_factory=list)
    _chapters: int = 0

    def chapter(self, title: str) -> None:
        """Begin a new part."""
        self._chapters += 1
        self.line(f"\n{_style('1', f'{self._chapters}. {title}')}")

    def say(self, text: str) -> None:
        """Tell something in a sentence."""
        self.line(f"   {text}")

    def show(self, text: str, bar: str = BAR) -> None:
        """Show what a program printed."""
        for line in text.rstrip("\n").splitlines():
            self.line(_style("2", bar) + line)

    def fact(self, holds: bool, text: str) -> None:  # noqa: FBT001 - reads as "fact(this, that it means)"
        """Show a fact that was just checked; the demo fails if it does not hold."""
        self.line(f"   {_style('32', '✓') if holds else _style('31', '✗')} {text}")
        if not holds:
            self.failed.append(text)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and show the command and what it printed."""
        self.command("kubectl", *arguments)
        output = self.plane.kubectl(*arguments, stdin=stdin)
        self.show(output)
        return output

    def command(self, *words: str) -> None:
        """Show a command."""
        quoted = " ".join(word if _is_plain(word) else f"'{word}'" for word in words)
        self.line(f"\n   {_style('36', '$ ' + quoted)}")

    def watch(self, *arguments: str) -> "Watch":
        """Run a kubectl that goes on, and show what it prints while the context lasts."""
        self.command("kubectl", *arguments)
        options = ("--kubeconfig", str(self.plane.kubeconfig), "--cache-dir", str(self.plane.folder / "kubectl-cache"))
        return Watch(self, [self.plane.kubectl_program, *options, *arguments])

    def line(self, text: str) -> None:
        """Print a line at once."""
        print(text, flush=True)


class Watch:
    """A command whose lines appear on the screen as they come."""

    def __init__(self, screen: Screen, command: Sequence[str | Path]) -> None:
        self._screen, self._command = screen, command

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", start_new_session=True
        )
        self._reader = threading.Thread(target=self._copy, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join(timeout=5)

    def _copy(self, stream: IO[str] | None) -> None:
        last = ""
        for line in stream or ():
            # The age alone is no news.
            if line.rsplit(maxsplit=1)[:1] != last.rsplit(maxsplit=1)[:1]:
                self._screen.show(line, WATCH_BAR)
            last = line


def _is_plain(word: str) -> bool:
    return bool(word) and not set(word) & set(" '\"{}[]()<>|&;*?$")


def _style(code: str, text: str) -> str:
    is_plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if is_plain else f"\033[{code}m{text}\033[0m"
