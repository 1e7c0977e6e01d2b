"""Moments at which an operator dies: at random, or exactly where one more step would have changed what is known."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from tests.cluster.tenants import ALLOCATE, NUMBERS, RELEASE
from tests.cluster.watching import Proxy, is_answer, is_intent
from tests.stage import OperatorProcess, Simulator

CHOSEN_SECONDS: Final = 20.0
"""How long to wait until one of many resources comes to a moment."""
LIFE_SECONDS: Final = 2.0
YOUNG: Final = 0.25
"""The share of random deaths that come before the operator is ready."""
LATE_SECONDS: Final = 1.5
"""What a dead operator had sent may arrive so much later, well within the settling time."""


class Moment(StrEnum):
    """When the operator dies."""

    RANDOM = "at random"
    INTENT_LEFT = "the intent is on its way"
    INTENT_STORED = "the intent is stored, and nothing was called"
    CALL_LEFT = "the call has arrived, and has no effect yet"
    CALL_DONE = "the call has its effect, and no answer yet"
    ANSWER_LEFT = "the answer is on its way to status"
    ANSWER_STORED = "the answer is stored, and nothing else was done"


class Trap(Protocol):
    """Stops something at a moment, and lets it go on afterwards."""

    def is_reached(self, seconds: float) -> bool:
        """Say whether it was stopped, or is within so many seconds."""

    def let_go(self) -> None:
        """Let it go on: it is late."""

    def drop(self) -> None:
        """Lose it, where it can be lost; otherwise let it go on."""


@dataclass
class HeldCall:
    """Stops the next call of an action in the simulated cloud."""

    simulator: Simulator
    action: str
    point: str

    def __post_init__(self) -> None:
        self._id = f"moment-{next(NUMBERS)}"
        self.simulator.add_fault(kind="hold", action=self.action, point=self.point, id=self._id)

    def is_reached(self, seconds: float) -> bool:
        """Say whether it was stopped, or is within so many seconds."""
        deadline = time.monotonic() + seconds
        while not self._is_held():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def let_go(self) -> None:
        """Let it go on; one that never came is not waited for any more."""
        self.simulator.clear_faults()
        if self._is_held():
            self.simulator.let_go(self._id)

    def drop(self) -> None:
        """A cloud that has taken a call in carries it out."""
        self.let_go()

    def _is_held(self) -> bool:
        return any(hold["id"] == self._id and hold["reached"] for hold in self.simulator.holds())


def set_trap(moment: Moment, proxy: Proxy, simulator: Simulator, chance: random.Random) -> Trap | None:
    """Prepare for the next operation that comes to this moment; None where the time is left to chance."""
    action = chance.choice([ALLOCATE, RELEASE])
    traps: dict[Moment, Callable[[], Trap]] = {
        Moment.INTENT_LEFT: lambda: proxy.hold(is_intent, "before"),
        Moment.INTENT_STORED: lambda: proxy.hold(is_intent, "after"),
        Moment.CALL_LEFT: lambda: HeldCall(simulator, action, "before"),
        Moment.CALL_DONE: lambda: HeldCall(simulator, action, "after"),
        Moment.ANSWER_LEFT: lambda: proxy.hold(is_answer, "before"),
        Moment.ANSWER_STORED: lambda: proxy.hold(is_answer, "after"),
    }
    return traps[moment]() if moment in traps else None


def live_until(trap: Trap | None, operator: OperatorProcess, chance: random.Random) -> bool:
    """Wait for the moment to die; return whether it was the chosen one."""
    if trap is not None:
        return trap.is_reached(CHOSEN_SECONDS)
    if chance.random() > YOUNG:
        operator.wait_ready()
    time.sleep(chance.uniform(0, LIFE_SECONDS))
    return True


def clean_up(trap: Trap | None, chance: random.Random, *, is_sprung: bool) -> None:
    """Let what the dead one had sent arrive late, or lose it."""
    if trap is None:
        return
    if not is_sprung:
        trap.let_go()
        return
    time.sleep(chance.choice([0.0, chance.uniform(0, LATE_SECONDS)]))
    if chance.random() < 0.5:
        trap.let_go()
    else:
        trap.drop()
