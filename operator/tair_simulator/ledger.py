"""The ledger: every call of the API that arrived, what it was answered, and whether it changed anything.

Tests judge a client by it, so an entry is opened before anything can go wrong with the call and completed once its
effect is known, before the answer is sent. It holds no secret: neither signatures nor tokens, and an access key id
only when the cloud knows it, because people swap the id and the secret.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One call; ``http_status`` is ``None`` while it runs and when its connection was closed without an answer."""

    sequence: int
    time: datetime
    action: str
    version: str
    instance_id: str | None
    access_key_id: str | None
    request_id: str
    host: str
    method: str
    http_status: int | None = None
    code: str | None = None
    effective: bool = False
    fault: str | None = None
    done: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the entry as the control API shows it; ``time`` is UTC with microseconds."""
        return {
            "sequence": self.sequence,
            "time": self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "action": self.action,
            "version": self.version,
            "instanceId": self.instance_id,
            "accessKeyId": self.access_key_id,
            "requestId": self.request_id,
            "host": self.host,
            "method": self.method,
            "httpStatus": self.http_status,
            "code": self.code,
            "effective": self.effective,
            "fault": self.fault,
            "done": self.done,
        }

    def concerns(self, action: str | None, instance_id: str | None) -> bool:
        """Return whether the entry is about this action and this instance; ``None`` is any."""
        named = (self.instance_id or "").split(",")
        return action in {None, self.action} and (instance_id is None or instance_id in named)


class Ledger:
    """The entries in the order in which their calls arrived; beyond ``limit`` the oldest are dropped."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._entries: dict[int, Entry] = {}
        self._next = 1

    @property
    def next_sequence(self) -> int:
        """The number that the next call gets."""
        return self._next

    def open(self, entry: Entry) -> None:
        """Note a call that has just arrived."""
        self._entries[entry.sequence] = entry
        self._next = entry.sequence + 1
        if len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]

    def complete(
        self, sequence: int, *, http_status: int | None, code: str | None, effective: bool, fault: str | None
    ) -> None:
        """Note how a call ended; one that was dropped or cleared in the meantime stays away."""
        entry = self._entries.get(sequence)
        if entry is not None:
            self._entries[sequence] = replace(
                entry, http_status=http_status, code=code, effective=effective, fault=fault, done=True
            )

    def entries(self, action: str | None = None, instance_id: str | None = None, *, after: int = 0) -> list[Entry]:
        """Return the entries about an action and an instance that came after one of this number, oldest first."""
        return [
            entry for entry in self._entries.values() if entry.sequence > after and entry.concerns(action, instance_id)
        ]

    def clear(self) -> None:
        """Forget all entries; the numbering goes on, so that a call still running finds nothing to complete."""
        self._entries.clear()
