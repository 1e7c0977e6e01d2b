"""What the leader knows of all resources, for the metrics: how many in which state, and what has become of calls.

Every version of a resource that the process reads or writes is noted here, so a
change is counted when it is first seen, once. What a resource tells at first
sight is history: an earlier process counted it, or nobody did. Nothing is
decided on this.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tair_operator import metrics
from tair_operator.listing import Listed
from tair_operator.models import ConnectionState, DriftStatus, Operation, Outcome, Reason, TairInstance
from tair_operator.ports import Key
from tair_operator.subject import key_of

DELIBERATE = frozenset({Reason.WAITING_FOR_WINDOW, Reason.DRAINING, Reason.RELEASE_BUDGET, Reason.RELEASES_HELD})
"""What a resource waits for because somebody wants it to. Stalled, as for an approval, and Suspended are at rest."""

_REASONS = frozenset(str(reason) for reason in Reason)


class _Group(NamedTuple):
    state: str
    ready: str
    reason: str


class _Sight(NamedTuple):
    uid: str
    version: str
    group: _Group
    unready_since: datetime | None
    """None while it is at rest, or waits because somebody wants it to."""
    drift: DriftStatus | None
    known: dict[str, Outcome]
    """Of which operations it is known what has become of them: of the last one, as a rule."""


@dataclass(slots=True)
class Fleet:
    """The resources at last sight. ``now`` returns the wall clock, which the times in a status are of."""

    now: Callable[[], datetime]
    _sights: dict[Key, _Sight] = field(default_factory=dict)

    def note(self, resource: TairInstance) -> None:
        """Take in a version of a resource, and count what it tells for the first time."""
        key, metadata = key_of(resource), resource.metadata
        before = self._sights.get(key)
        if before is None or before.uid != metadata.uid:
            self._sights[key] = _sight_of(resource)
            return
        if not _is_newer(metadata.resource_version, before.version):
            # A LIST takes its time, and passes go on meanwhile.
            return
        sight = _sight_of(resource)
        if sight.unready_since is not None:
            # Ready may have been False for days, while the resource waited as somebody wants it to.
            begun = before.unready_since or self.now()
            sight = sight._replace(unready_since=max(sight.unready_since, begun))
        for operation in _operations_in(resource, before.known.keys() | sight.known.keys()):
            outcome = before.known.get(operation.id)
            if operation.outcome is Outcome.STARTED and outcome is not None:
                # The answer is known here already, though the version was read before it was stored.
                sight = sight._replace(known={operation.id: outcome})
            elif operation.outcome is not outcome:
                metrics.own.count_outcome(operation)
        if sight.drift is not None and sight.drift != before.drift:
            metrics.own.drift_detected.inc()
        self._sights[key] = sight

    def answered(self, resource: TairInstance, operation: Operation) -> None:
        """Take in what has become of a call, which the resource may never show: it can be gone by now."""
        key = key_of(resource)
        before = self._sights.get(key)
        if before is not None and before.uid != resource.metadata.uid:
            before = None
        if before is not None and before.known.get(operation.id) is operation.outcome:
            # A LIST has told it meanwhile: it was stored, and the reply to that was lost.
            return
        metrics.own.count_outcome(operation)
        if before is not None:
            # What has become of the one before may be in the same version as this one.
            self._sights[key] = before._replace(known=before.known | {operation.id: operation.outcome})

    def gone(self, key: Key) -> None:
        """Forget a resource that is not there any more."""
        self._sights.pop(key, None)

    def forget_all_but(self, resources: Iterable[Listed]) -> None:
        """Forget the resources that are gone."""
        keys = {resource.key for resource in resources}
        self._sights = {key: sight for key, sight in self._sights.items() if key in keys}

    def groups(self) -> Mapping[tuple[str, ...], float]:
        """Count the resources by state, and by status and reason of Ready."""
        counts: Counter[tuple[str, ...]] = Counter(sight.group for sight in self._sights.values())
        return counts

    def drifted(self) -> int:
        """Count the resources that somebody else has changed."""
        return sum(1 for sight in self._sights.values() if sight.drift is not None)

    def oldest_unready(self) -> float:
        """Return for how many seconds the slowest that should get ready by itself has not; 0 without one."""
        times = [sight.unready_since for sight in self._sights.values() if sight.unready_since is not None]
        return max(0.0, (self.now() - min(times)).total_seconds()) if times else 0.0


def _sight_of(resource: TairInstance) -> _Sight:
    status, metadata = resource.status, resource.metadata
    ready = status.condition("Ready")
    reason = str(Reason.PENDING) if ready is None else ready.reason
    state = ConnectionState.UNKNOWN if status.direct_connection is None else status.direct_connection.state
    # In mode Observe, what was looked at is Pending.
    waits_on_purpose = reason in DELIBERATE or (reason == Reason.PENDING and state is not ConnectionState.UNKNOWN)
    is_at_rest = waits_on_purpose or any(
        condition.type in {"Ready", "Stalled", "Suspended"} and condition.status == "True"
        for condition in status.conditions
    )
    # Before any operator has seen it, the condition is the default of the CRD, with a time long before.
    times = (metadata.creation_timestamp, None if ready is None else ready.last_transition_time)
    since = max((time for time in times if time is not None), default=None)
    operation = status.operation
    return _Sight(
        metadata.uid,
        metadata.resource_version,
        # Of a closed list: whoever may write a status must not be able to make series.
        _Group(str(state), ready.status if ready else "Unknown", reason if reason in _REASONS else metrics.OTHER),
        None if is_at_rest else since,
        status.drift,
        {} if operation is None else {operation.id: operation.outcome},
    )


def _operations_in(resource: TairInstance, ids: AbstractSet[str]) -> list[Operation]:
    # A finished one is in both places.
    told = (*resource.status.history, resource.status.operation)
    return list(
        {operation.id: operation for operation in told if operation is not None and operation.id in ids}.values()
    )


def _is_newer(version: str, known: str) -> bool:
    # Numbers that grow, in every API server that there is; of anything else one can tell only that it differs.
    is_number = version.isdecimal() and known.isdecimal()
    return int(version) > int(known) if is_number else version != known
