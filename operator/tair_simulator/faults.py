"""What every fault says about the call that it meets, and the queue in which faults wait.

A fault says how long the call waits before it takes effect, whether it takes effect at all, how long it waits after
that, and what the answer becomes and how fast it travels. ``server`` knows only that much, so a new kind of fault is a
new class in ``fault_kinds`` and nothing else.
"""

# ruff: noqa: ARG002 - every kind of fault is asked in the same way, and few need all that they are told

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tair_simulator.holds import Point
from tair_simulator.instances import InstanceId
from tair_simulator.mistakes import Strict
from tair_simulator.replies import AT_ONCE, Pace, Reply

ANY_ACTION = "*"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a fault strikes: the ids that its answer carries."""

    request_id: str
    host: str


class Fault(Strict):
    """One kind of trouble, for the next ``count`` calls of ``action`` (and of one instance, if it names one)."""

    action: Annotated[str, Field(pattern=r"^(\*|[A-Z][A-Za-z]{2,63})$")]
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    instance_id: InstanceId | None = None
    kind: str

    @property
    def hangs_up(self) -> bool:
        """Whether the client loses its connection at once, before anything else happens."""
        return False

    @property
    def applies(self) -> bool:
        """Whether the call takes effect."""
        return True

    @property
    def fails_later(self) -> bool:
        """Whether a change that the call starts ends with nothing changed."""
        return False

    @property
    def hold_point(self) -> Point | None:
        """Where the call waits until somebody releases it."""
        return None

    @property
    def hold_id(self) -> str:
        """The name of the hold, if this is one."""
        return ""

    @property
    def pace(self) -> Pace:
        """How fast the answer travels."""
        return AT_ONCE

    def seconds_at(self, point: Point) -> float:
        """Return how long the call waits before it takes effect, or after that and before the answer."""
        return 0.0

    def answer(self, reply: Reply | None, setting: Setting) -> Reply | None:
        """Return what is sent in place of ``reply``; ``None`` closes the connection without an answer."""
        return reply

    def meets(self, action: str, instance_id: str | None) -> bool:
        """Return whether this fault is for that call, which may be about several instances: ``r-1,r-2``."""
        named = (instance_id or "").split(",")
        return self.action in {ANY_ACTION, action} and (self.instance_id is None or self.instance_id in named)


class FaultQueue:
    """The faults still to come, used up in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault at the end of the queue."""
        self._pending.append(fault)

    def take(self, action: str, instance_id: str | None) -> Fault | None:
        """Use up one count of the first fault that is for this call."""
        for position, fault in enumerate(self._pending):
            if fault.meets(action, instance_id):
                left = [fault.model_copy(update={"count": fault.count - 1})] if fault.count > 1 else []
                self._pending[position : position + 1] = left
                return fault
        return None

    def pending(self) -> list[Fault]:
        """Return what is still to come; ``count`` says how often."""
        return list(self._pending)

    def forget(self, is_meant: Callable[[Fault], bool]) -> bool:
        """Forget some faults; return whether there was one."""
        left = [fault for fault in self._pending if not is_meant(fault)]
        found = len(left) < len(self._pending)
        self._pending = left
        return found

    def clear(self) -> None:
        """Forget all faults."""
        self._pending.clear()
