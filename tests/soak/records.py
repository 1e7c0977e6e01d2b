"""What was done, as far as whoever did it knows: when a release was asked for, and every call that the cloud saw."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from tests.cluster.tenants import ALLOCATE, RELEASE

FOREVER = float("inf")
UNDONE = "async-failure"
"""The fault of a call that the cloud accepted and did not carry out: it cut nobody off."""


@dataclass
class Span:
    """A time in which a manifest asked for a release.

    It begins before the request that said so, and ends with the answer of the one that took it back.
    """

    since: float
    until: float = FOREVER


@dataclass
class Wishes:
    """When the manifest about each instance said that its endpoint should go, by users' own notes."""

    spans: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))

    def ask(self, instance_id: str, at: float) -> None:
        """Note that a release is asked for, right before the request is sent."""
        spans = self.spans[instance_id]
        if not spans or spans[-1].until != FOREVER:
            spans.append(Span(at))

    def take_back(self, instance_id: str, at: float) -> None:
        """Note that a release is asked for no longer, once the request has been answered."""
        spans = self.spans[instance_id]
        if spans and spans[-1].until == FOREVER:
            spans[-1].until = at


@dataclass(frozen=True)
class Call:
    """A mutating call that reached the cloud."""

    at: float
    action: str
    instance_id: str
    request_id: str
    is_effective: bool

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Self:
        """Read an entry of the ledger."""
        return cls(
            at=datetime.fromisoformat(entry["time"]).timestamp(),
            action=entry["action"],
            instance_id=entry["instanceId"] or "",
            request_id=entry["requestId"],
            is_effective=entry["effective"] and entry["fault"] != UNDONE,
        )


@dataclass
class Calls:
    """The ledger, collected piece by piece: the cloud forgets the oldest entries, a long run must not."""

    mutating: dict[int, Call] = field(default_factory=dict)
    request_ids: set[str] = field(default_factory=set)
    faults: int = 0
    """How many calls have met a fault."""
    read_to: int = 0
    """Every call up to this number has ended and is known."""
    _seen: set[int] = field(default_factory=set)

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Take what came after ``read_to``; a call that still runs is read again the next time."""
        ended_so_far = True
        for entry in entries:
            sequence = entry["sequence"]
            ended_so_far = ended_so_far and entry["done"]
            if ended_so_far:
                self.read_to = sequence
            if not entry["done"] or sequence in self._seen:
                continue
            self._seen.add(sequence)
            self.request_ids.add(entry["requestId"])
            self.faults += entry["fault"] is not None
            if entry["action"] in {ALLOCATE, RELEASE}:
                self.mutating[sequence] = Call.of(entry)
        self._seen = {sequence for sequence in self._seen if sequence > self.read_to}

    def of_instances(self) -> dict[str, list[Call]]:
        """Return the mutating calls of each instance, oldest first."""
        found: dict[str, list[Call]] = defaultdict(list)
        for _, call in sorted(self.mutating.items()):
            found[call.instance_id].append(call)
        return found


@dataclass(frozen=True)
class Meddling:
    """What somebody else did to an instance: between these times its endpoint came or went."""

    since: float
    until: float
    is_there: bool
