"""How an instance changes over time, as pure functions of the moment that is asked for.

The real API is asynchronous: it answers at once, and the change happens later. No task runs here for that. A record
keeps the accepted change and when it was accepted, and ``look`` derives what the cloud shows at any later moment::

    accepted --- lagSeconds --- busySeconds --- settled
      status:      Normal        busyStatus       Normal
      NetInfo:     old           old              new       (netInfoChanges moves this point; old if it fails)
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from tair_simulator.instances import NORMAL, Endpoint, Instance, NetInfoChanges, Timing


class Kind(StrEnum):
    """What a change does to the direct endpoint."""

    ALLOCATE = "Allocate"
    RELEASE = "Release"


@dataclass(frozen=True, slots=True)
class Change:
    """An accepted call: the endpoint that it will leave behind, and the moments on the way there."""

    kind: Kind
    accepted_at: datetime
    endpoint: Endpoint | None
    timing: Timing

    @property
    def busy_from(self) -> datetime:
        """When the status stops being Normal."""
        return self.accepted_at + timedelta(seconds=self.timing.lag_seconds)

    @property
    def normal_from(self) -> datetime:
        """When the status is Normal again."""
        return self.busy_from + timedelta(seconds=self.timing.busy_seconds)

    @property
    def visible_from(self) -> datetime:
        """When NetInfo shows the new state; never before the lag is over."""
        offset = timedelta(seconds=self.timing.net_info_offset_seconds)
        match self.timing.net_info_changes:
            case NetInfoChanges.BEFORE_NORMAL:
                return max(self.busy_from, self.normal_from - offset)
            case NetInfoChanges.WITH_NORMAL:
                return self.normal_from
            case NetInfoChanges.AFTER_NORMAL:
                return self.normal_from + offset
            case _:
                assert_never(self.timing.net_info_changes)

    @property
    def settled_at(self) -> datetime:
        """When the next change is accepted.

        A guess where NetInfo follows later than Normal: the task counts as running until NetInfo agrees.
        """
        return self.normal_from if self.timing.fails else max(self.normal_from, self.visible_from)

    def result(self, before: Endpoint | None) -> Endpoint | None:
        """Return the endpoint that is there in the end; ``before`` is the one that was there, and stays on failure."""
        return before if self.timing.fails else self.endpoint


@dataclass(frozen=True, slots=True)
class Record:
    """All that is remembered about an instance: how it was described, since when, and the change under way."""

    instance_id: str
    instance: Instance
    since: datetime
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What the cloud shows of an instance at one moment."""

    status: str
    endpoint: Endpoint | None
    free_ips: int
    change: Change | None

    @property
    def busy(self) -> bool:
        """Whether a mutating call is refused now; true during a change even while the status still says Normal."""
        return self.change is not None or self.status != NORMAL


def look(record: Record, now: datetime) -> View:
    """Return what the cloud shows of this instance at ``now``."""
    change = record.change
    endpoint = record.instance.endpoint
    if change is not None and now >= change.visible_from:
        endpoint = change.result(endpoint)
    running = change if change is not None and now < change.settled_at else None
    # The addresses of an allocation are taken when the change is accepted, those of a release freed when it shows.
    taken = endpoint is not None or (running is not None and running.kind is Kind.ALLOCATE)
    return View(
        status=_status(record, now),
        endpoint=endpoint,
        free_ips=max(0, record.instance.v_switch_ips - (record.instance.direct_ips if taken else 0)),
        change=running,
    )


def accept(record: Record, kind: Kind, endpoint: Endpoint | None, now: datetime) -> Record:
    """Return the record with this change started at ``now``."""
    return replace(settle(record, now), change=Change(kind, now, endpoint, record.instance.timing))


def settle(record: Record, now: datetime) -> Record:
    """Fold a change that is over by ``now`` into the description, so that the record says the same with less."""
    if record.change is None or now < record.change.settled_at:
        return record
    endpoint = record.change.result(record.instance.endpoint)
    return replace(record, instance=with_endpoint(record.instance, endpoint), change=None)


def fail(record: Record) -> Record:
    """Return the record with its change bound to fail, as if the instance's timing had said so."""
    if record.change is None:
        return record
    timing = record.change.timing.model_copy(update={"fails": True})
    return replace(record, change=replace(record.change, timing=timing))


def with_endpoint(instance: Instance, endpoint: Endpoint | None) -> Instance:
    """Return the instance with this direct endpoint, or without one."""
    return instance.model_copy(update={"endpoint": endpoint, "direct_connection": endpoint is not None})


def _status(record: Record, now: datetime) -> str:
    own = _own_status(record, now)
    change = record.change
    if own == NORMAL and change is not None and change.busy_from <= now < change.normal_from:
        return change.timing.busy_status or NORMAL
    return own


def _own_status(record: Record, now: datetime) -> str:
    seconds = record.instance.status_seconds
    if seconds is not None and now >= record.since + timedelta(seconds=seconds):
        return NORMAL
    return record.instance.status
