"""The one place where every call to the outside worlds passes, is numbered, and goes wrong if the plan says so."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from tests.faults.faults import STATUSES, Family, Fault, Kind, Point, Step

Answer = TypeVar("Answer")
Given_co = TypeVar("Given_co", covariant=True)

LATENCY = 0.01
"""Seconds that a request takes there, and an answer back."""
LATE_SECONDS = 12.0
"""How long after the client gave up a late effect comes: less than the settling time, as the design assumes."""
SLOW_SECONDS = 4.0
OUTAGE_SECONDS = 120.0
FOR_EVER = 1e6


class Exchange(Protocol, Generic[Given_co]):
    """One request, and all that can become of it."""

    deadline: float
    """Seconds after which the client gives up; more than any where the client itself does."""

    def effect(self) -> Given_co:
        """Carry the request out, and answer."""

    def old_view(self) -> Given_co:
        """Answer as some seconds ago."""

    def refusal(self, status: int) -> Given_co:
        """Refuse."""

    def bent(self, kind: Kind) -> Given_co:
        """Answer with what nobody can read."""

    def broken(self, *, sent: bool) -> Exception:
        """Return what the client gets when the connection breaks."""

    def leave(self) -> None:
        """The first byte leaves."""


@dataclass
class Seam:
    """Numbers calls, breaks those that the plan names, and knows which process is alive."""

    faults: Mapping[str, tuple[Fault, ...]]
    trace: list[Step] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each call of the trace was made."""
    fired: set[Fault] = field(default_factory=set)
    listed: set[int] = field(default_factory=set)
    """The processes that have seen a complete LIST."""
    late: list[object] = field(default_factory=list)
    """Requests whose effect is still to come, though the client gave up."""
    crashed: asyncio.Event = field(default_factory=asyncio.Event)
    alive: int = 0
    """The process that lives; 0 for none."""
    watchers: list[Callable[[], None]] = field(default_factory=list)
    """Called whenever something may have changed: the moments at which truth is judged."""
    _counts: Counter[str] = field(default_factory=Counter)
    _down_until: dict[str, float] = field(default_factory=dict)

    async def call(self, me: int, name: str, family: Family, exchange: Exchange[Answer]) -> Answer:
        """Let one request of a process through, or let it go wrong."""
        self._check_alive(me)
        step = self._number(name, family)
        before = self._fault_at(step, Point.BEFORE)
        await asyncio.sleep(LATENCY)
        await self._check_up(family, before, exchange)
        self._check_alive(me)
        if before is not None:
            if before.kind is Kind.LOST:
                raise exchange.broken(sent=False)
            exchange.leave()
            return await self._fail_before(before, exchange)
        exchange.leave()
        answer = exchange.effect()
        self.look_around()
        after = self._fault_at(step, Point.AFTER_EFFECT)
        if after is not None:
            answer = await self._fail_after(after, exchange, answer)
        await asyncio.sleep(LATENCY)
        self._check_alive(me)
        if self._fault_at(step, Point.AFTER_ANSWER) is not None:
            # What follows without waiting still happens, in a process that nobody hears of any more.
            asyncio.get_running_loop().call_soon(self._die)
        return answer

    def event_fault(self) -> Kind | None:
        """Number an event of the watch, and say what goes wrong with it."""
        fault = self._fault_at(self._number("EVENT", Family.WATCH), Point.BEFORE)
        return None if fault is None else fault.kind

    def look_around(self) -> None:
        """Let everybody judge this moment."""
        for watcher in self.watchers:
            watcher()

    def is_down(self, family: Family) -> bool:
        """Whether the API server, or the cloud, answers nobody."""
        return asyncio.get_running_loop().time() < self._down_until.get(_side(family), 0.0)

    async def until_up(self, family: Family) -> None:
        """Wait for the end of an outage."""
        left = self._down_until.get(_side(family), 0.0) - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, left))

    def _number(self, name: str, family: Family) -> Step:
        self._counts[name] += 1
        step = Step(name, self._counts[name], family)
        self.trace.append(step)
        self.times.append(asyncio.get_running_loop().time())
        return step

    def _fault_at(self, step: Step, point: Point) -> Fault | None:
        fault = next((fault for fault in self.faults.get(str(step), ()) if fault.point is point), None)
        if fault is not None:
            self.fired.add(fault)
        return fault

    async def _check_up(self, family: Family, fault: Fault | None, exchange: Exchange[Answer]) -> None:
        if fault is not None and fault.kind is Kind.OUTAGE:
            self._down_until[_side(family)] = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        if self.is_down(family):
            raise exchange.broken(sent=False)

    async def _fail_before(self, fault: Fault, exchange: Exchange[Answer]) -> Answer:
        match fault.kind:
            case Kind.CRASH:
                await self._crash()
            case Kind.RESET:
                raise exchange.broken(sent=True)
            case Kind.SILENCE:
                await _silence(exchange)
            case Kind.LATE:
                self.late.append(exchange)
                asyncio.get_running_loop().call_later(LATE_SECONDS, self._take_effect_late, exchange)
                await asyncio.sleep(LATENCY)
                raise exchange.broken(sent=True)
            case Kind.GARBAGE | Kind.EMPTY | Kind.PARTIAL | Kind.NO_ITEMS:
                return exchange.bent(fault.kind)
            case Kind.STALE:
                return exchange.old_view()
            case _ if fault.kind in STATUSES:
                return exchange.refusal(int(fault.kind))
            case _:
                pass
        message = f"{fault} cannot happen before an effect"
        raise ValueError(message)

    async def _fail_after(self, fault: Fault, exchange: Exchange[Answer], answer: Answer) -> Answer:
        match fault.kind:
            case Kind.CRASH:
                await self._crash()
            case Kind.LOST | Kind.RESET:
                raise exchange.broken(sent=True)
            case Kind.SILENCE:
                await _silence(exchange)
            case Kind.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
                return answer
            case Kind.GARBAGE:
                return exchange.bent(fault.kind)
            case Kind.INTERNAL:
                return exchange.refusal(500)
            case _:
                pass
        message = f"{fault} cannot happen after an effect"
        raise ValueError(message)

    def _take_effect_late(self, exchange: Exchange[Answer]) -> None:
        self.late.remove(exchange)
        exchange.effect()
        self.look_around()

    async def _crash(self) -> None:
        self._die()
        await asyncio.sleep(FOR_EVER)

    def _die(self) -> None:
        self.alive = 0
        self.crashed.set()

    def _check_alive(self, me: int) -> None:
        """A process that is dead sends nothing and hears nothing, whatever its code still does on the way out."""
        if me != self.alive:
            raise asyncio.CancelledError


async def _silence(exchange: Exchange[Answer]) -> None:
    await asyncio.sleep(exchange.deadline)
    raise exchange.broken(sent=True)


def _side(family: Family) -> str:
    return family.value.split("-")[0].replace("watch", "kube")
