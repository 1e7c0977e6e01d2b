"""What befalls processes: the operator is killed, ended, stopped for a moment, and the API server goes away."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.controlplane import ControlPlane
from tests.soak.chance import Deck
from tests.stage import START_SECONDS, OperatorProcess, StageError

KINDS: Final = ("SIGKILL", "SIGTERM", "SIGSTOP", "API server")
POLL_SECONDS: Final = 0.1


@dataclass
class Life:
    """The operator, process after process; nothing here blocks for long, but for the start of the API server."""

    plane: ControlPlane
    operator: OperatorProcess
    chance: random.Random
    tell: Callable[[str], None]
    longest_pause: float
    process: int = 0
    """The how manieth this one is, from 1."""
    events: list[tuple[float, str]] = field(default_factory=list)
    """When (by ``time.time``) what happened."""
    problems: list[str] = field(default_factory=list)
    is_expected_to_end: bool = False
    disturbed: int = 0

    def __post_init__(self) -> None:
        self._deck = Deck(self.chance, KINDS)

    async def start(self) -> None:
        """Start a process and wait until it is ready."""
        # The kernel ends a child with the thread that started it, so no other thread does this.
        self.operator.start()
        self.process += 1
        self._note(f"process {self.process} starts")
        deadline = time.monotonic() + START_SECONDS
        while (await asyncio.to_thread(self.operator.probe, "readyz"))[0] != 200:
            if self.operator.exit_code() is not None or time.monotonic() > deadline:
                raise StageError(f"the operator is not ready: {self.operator.log.read_text()[-3000:]}")
            await asyncio.sleep(POLL_SECONDS)

    async def disturb(self) -> None:
        """Do what is next."""
        kind, pause = self._deck.draw(), self.chance.uniform(0.5, self.longest_pause)
        self._note(kind)
        self.disturbed += 1
        if kind == "SIGSTOP":
            os.kill(self.operator.pid, signal.SIGSTOP)
            await asyncio.sleep(pause)
            os.kill(self.operator.pid, signal.SIGCONT)
        elif kind == "API server":
            self.plane.stop_api_server()
            await asyncio.sleep(pause)
            self.plane.start_api_server()
        else:
            await self._end(signal.SIGKILL if kind == "SIGKILL" else signal.SIGTERM)
            await asyncio.sleep(pause / 4)
            await self.start()
            self.is_expected_to_end = False

    async def revive(self) -> None:
        """Start it again if it has ended by itself, as kubelet does, and note that it should not have."""
        if self.is_expected_to_end or (code := self.operator.exit_code()) is None:
            return
        self.problems.append(f"process {self.process} ended by itself with {code}")
        await self.start()

    async def _end(self, by: signal.Signals) -> None:
        self.is_expected_to_end = True
        os.kill(self.operator.pid, by)
        deadline = time.monotonic() + START_SECONDS
        while (code := self.operator.exit_code()) is None:
            if time.monotonic() > deadline:
                self.problems.append(f"process {self.process} did not end within {START_SECONDS:.0f} s of {by.name}")
                self.operator.kill()
            await asyncio.sleep(POLL_SECONDS)
        if by is signal.SIGTERM and code != 0:
            self.problems.append(f"process {self.process} ended with {code} after SIGTERM")

    def _note(self, what: str) -> None:
        self.events.append((time.time(), what))
        self.tell(what)
