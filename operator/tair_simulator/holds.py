"""Calls that are held at a named point, until a test lets them go.

A hold begins as a fault in the queue. Once its call arrives there, the control API reports the point as reached, and
the test may do what it wants to do at exactly that moment, such as killing the client.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

Point = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Held:
    """A call that waits at its point."""

    hold_id: str
    point: Point
    action: str
    instance_id: str | None
    request_id: str
    since: datetime
    release: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    def to_json(self) -> dict[str, object]:
        """Return the hold as the control API shows it."""
        return {
            "id": self.hold_id,
            "point": self.point,
            "reached": True,
            "action": self.action,
            "instanceId": self.instance_id,
            "requestId": self.request_id,
            "since": self.since.astimezone(UTC).isoformat(),
        }


class Holds:
    """The calls that are held now, and names for new holds."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._named = 0

    def new_id(self) -> str:
        """Return a name that no other hold was given by this simulator."""
        self._named += 1
        return f"hold-{self._named}"

    def held(self) -> list[Held]:
        """Return the calls that are held now, those that wait longest first."""
        return list(self._held.values())

    async def wait(self, held: Held) -> None:
        """Hold a call until it is released."""
        self._held[held.hold_id] = held
        try:
            await held.release.wait()
        finally:
            if self._held.get(held.hold_id) is held:
                del self._held[held.hold_id]

    def release(self, hold_id: str) -> bool:
        """Let a call go on; return whether one was held under this name."""
        held = self._held.pop(hold_id, None)
        if held is None:
            return False
        held.release.set()
        return True

    def clear(self) -> None:
        """Let all calls go on."""
        for hold_id in list(self._held):
            self.release(hold_id)
