"""What can go wrong at one call, and plans of that, with a text form.

A plan reads ``release/ReleaseDirectConnection.1:after-effect:crash``: in the
scenario ``release``, at the first call of that name, once its effect is there, the
operator dies. Several faults are joined by `` + ``. Calls are counted per name and
not over all names, so a plan that is kept as a file survives one more look.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Point(StrEnum):
    """When it goes wrong, as seen from the outside world."""

    BEFORE = "before"
    """The request is on its way; it has had no effect."""
    AFTER_EFFECT = "after-effect"
    """The effect is there, the answer is not."""
    AFTER_ANSWER = "after-answer"
    """The answer is there, and what is to follow from it is not."""


class Kind(StrEnum):
    """What goes wrong."""

    CRASH = "crash"
    """The process dies with all that it remembers; another one starts some seconds later."""
    LOST = "lost"
    """No connection, or the connection breaks: an error at once. Before the effect not one byte was sent."""
    RESET = "reset"
    """The connection breaks once the request was sent, so nobody knows what became of it."""
    SILENCE = "silence"
    """No answer, until the client's own deadline ends the wait."""
    LATE = "late"
    """No answer; the effect comes some seconds after the client gave up."""
    SLOW = "slow"
    """The answer comes seconds later than it should."""
    GARBAGE = "garbage"
    """The answer is no JSON."""
    EMPTY = "empty"
    """The answer is a JSON object with nothing in it."""
    PARTIAL = "partial"
    """The answer leaves the direct endpoint out."""
    NO_ITEMS = "no-items"
    """The answer lists nothing at all."""
    STALE = "stale"
    """The answer shows what was there some seconds ago."""
    OUTAGE = "outage"
    """From here on nobody answers for two minutes."""
    TWICE = "twice"
    """An event of the watch comes twice."""
    OLD = "old"
    """An event of the watch shows the object as it was at first."""
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    CONFLICT = "409"
    GONE = "410"
    UNPROCESSABLE = "422"
    THROTTLED = "429"
    INTERNAL = "500"


STATUSES = frozenset(kind for kind in Kind if kind.value.isdigit())


class Family(StrEnum):
    """What sort of call it is; each has a menu of faults."""

    KUBE_READ = "kube-read"
    KUBE_WRITE = "kube-write"
    KUBE_EVENT = "kube-event"
    WATCH = "watch"
    CLOUD_READ = "cloud-read"
    CLOUD_WRITE = "cloud-write"


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One numbered call: the ``ordinal``-th of its name since the world began, over all restarts."""

    name: str
    ordinal: int
    family: Family

    def __str__(self) -> str:
        return f"{self.name}.{self.ordinal}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that goes wrong."""

    call: str
    """Name and number of the call: ``PATCH-intent.1``."""
    point: Point
    kind: Kind

    def __str__(self) -> str:
        return f"{self.call}:{self.point}:{self.kind}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form."""
        call, point, kind = text.split(":")
        if re.fullmatch(r"[A-Za-z-]+\.[1-9][0-9]*", call) is None:
            message = f"{call} names no call; write the name, a dot, and a number from 1"
            raise ValueError(message)
        return cls(call, Point(point), Kind(kind))


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario, and all that goes wrong in it."""

    scenario: str
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        return f"{self.scenario}/{' + '.join(map(str, self.faults))}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form."""
        scenario, _, rest = text.strip().partition("/")
        return cls(scenario, tuple(map(Fault.parse, rest.split(" + "))) if rest else ())


_READ = (Kind.CRASH, Kind.LOST, Kind.SILENCE, Kind.FORBIDDEN, Kind.GONE, Kind.THROTTLED, Kind.INTERNAL, Kind.OUTAGE)

MENUS: dict[Family, tuple[tuple[Point, tuple[Kind, ...]], ...]] = {
    Family.KUBE_READ: ((Point.BEFORE, _READ),),
    Family.KUBE_WRITE: (
        (Point.BEFORE, (*_READ, Kind.CONFLICT, Kind.UNPROCESSABLE, Kind.LATE)),
        (Point.AFTER_EFFECT, (Kind.CRASH, Kind.LOST, Kind.SILENCE, Kind.SLOW, Kind.INTERNAL)),
        (Point.AFTER_ANSWER, (Kind.CRASH,)),
    ),
    # Events are best effort: nothing depends on one.
    Family.KUBE_EVENT: ((Point.BEFORE, (Kind.CRASH, Kind.SILENCE)),),
    Family.WATCH: ((Point.BEFORE, (Kind.LOST, Kind.SLOW, Kind.TWICE, Kind.OLD)),),
    Family.CLOUD_READ: (
        (Point.BEFORE, (*_READ, Kind.RESET, Kind.NOT_FOUND, Kind.CONFLICT, Kind.GARBAGE, Kind.EMPTY, Kind.STALE)),
    ),
    Family.CLOUD_WRITE: (
        (Point.BEFORE, (*_READ, Kind.RESET, Kind.NOT_FOUND, Kind.CONFLICT, Kind.GARBAGE, Kind.LATE)),
        (Point.AFTER_EFFECT, (Kind.CRASH, Kind.RESET, Kind.SILENCE, Kind.SLOW, Kind.GARBAGE, Kind.INTERNAL)),
        (Point.AFTER_ANSWER, (Kind.CRASH,)),
    ),
}

OF_RESOURCES = frozenset(
    {"GET", "LIST", "LIST-claims", "PATCH-status", "PATCH-intent", "PATCH-answer", "PATCH-finalizer"}
)
"""Calls about TairInstances. The API server says 404 to these also while the CRD is missing, to no other wrongly."""
NET_INFO = "DescribeDBInstanceNetInfo"
CACHED = frozenset({"GET", "LIST"})
"""Reads that an API server which lags behind may answer with an old view."""


def faults_at(step: Step) -> Iterator[Fault]:
    """Return everything that can go wrong at one call."""
    for point, kinds in MENUS[step.family]:
        for kind in kinds:
            yield Fault(str(step), point, kind)
    if step.name in OF_RESOURCES:
        yield Fault(str(step), Point.BEFORE, Kind.NOT_FOUND)
    if step.name == NET_INFO:
        yield Fault(str(step), Point.BEFORE, Kind.PARTIAL)
        yield Fault(str(step), Point.BEFORE, Kind.NO_ITEMS)
    if step.name in CACHED:
        yield Fault(str(step), Point.BEFORE, Kind.STALE)


def single_plans(scenario: str, trace: Iterable[Step]) -> Iterator[Plan]:
    """Return every plan with one fault, for the trace of the run without any."""
    for step in trace:
        for fault in faults_at(step):
            yield Plan(scenario, (fault,))
