"""Which replica leads: an election by a Lease, and the fence that each call has to pass.

The rule is the one of client-go. A Lease has expired only when its present
record has stood unchanged, before the eyes of this very process, for as long as
it is good for; nobody compares the clocks of two machines. Whoever holds it
counts the other way round, from before its renewal was sent, so the holder stops
before anybody else begins. A process leads once in its life: when it has lost
the Lease it ends, since what it knows by heart was true only while it led.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from tair_operator import metrics
from tair_operator.cluster.leases import Lease
from tair_operator.ports import Clock, ClusterUnavailableError, ForbiddenError

logger = logging.getLogger(__name__)

NOBODY = ""
SHORTEST = timedelta(milliseconds=10)
"""In less time than this nothing is asked and nobody is waited for."""

SILENCE_MAX = 3
"""After so many durations of a Lease without a try, the task that makes them counts as dead."""


class Leases(Protocol):
    """The stored Lease; ``cluster.leases`` has the real one."""

    async def read(self) -> Lease | None:
        """Read the Lease; None when there is none."""

    async def create(self, lease: Lease) -> Lease | None:
        """Create the Lease; None when somebody else did."""

    async def write(self, lease: Lease, *, is_acquired: bool = False) -> Lease | None:
        """Store the Lease, provided that the stored one is still of this very version; None when it is not."""

    async def has_changed(self, lease: Lease, within: timedelta) -> bool:
        """Wait for a version after this one; False when none was seen."""


class LeadershipLostError(Exception):
    """This process led and does so no longer; the message says why."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a Lease is good for, when its holder gives up, and how often everybody tries."""

    duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)

    @property
    def patience(self) -> timedelta:
        """How long to wait for one answer, so that a second try is left before the deadline."""
        return self.renew_deadline / 2


@dataclass(frozen=True, slots=True)
class _Moment:
    """One moment on both clocks: the machine may sleep, and one of the two does not notice."""

    monotonic: float
    boottime: float


@dataclass(frozen=True, slots=True)
class _Sight:
    """A record, and when this process first saw it."""

    lease: Lease
    at: _Moment


class Elector:
    """Stands by, leads, and gives the lead away; ``identity`` is never used by another process."""

    def __init__(self, leases: Leases, *, identity: str, name: str, terms: Terms, clock: Clock) -> None:
        """Prepare an election; nothing starts before ``lead``."""
        self._leases = leases
        self._identity = identity
        self._name = name
        self._terms = terms
        self._clock = clock
        self._sight: _Sight | None = None
        self._held: Lease | None = None
        self._renewed_at = self._moment()
        self._has_led = False
        self._lost: str | None = None
        self._problem: str | None = "starting"
        self._alive_at: float | None = None
        # A renewal and the release must not overtake each other.
        self._writing = asyncio.Lock()
        metrics.controller.leader.labels(name).set(0)

    @property
    def is_standing_by(self) -> bool:
        """Whether this process has not led yet."""
        return not self._has_led

    def is_unready(self) -> str | None:
        """Answer /readyz while standing by: ready once the Lease could be read."""
        return self._problem

    def is_dead(self) -> str | None:
        """Answer /livez: whether standing by or renewing has stopped; neither waits for an answer for long."""
        if self._alive_at is None:
            return None
        silence = self._clock.monotonic() - self._alive_at
        is_over = silence > SILENCE_MAX * self._terms.duration.total_seconds()
        return f"nothing has been done about Lease {self._name} for {silence:.0f} s" if is_over else None

    def seconds_left(self) -> float:
        """Return for how long nobody else can lead, whatever happens from now on; 0 without the lead."""
        return self._left(self._terms.duration) if self._held is not None else 0.0

    async def lead(self, stopping: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
        """Stand by until this process leads, then work; set ``stopping`` when the lead is lost meanwhile.

        ``work`` has to call ``release`` as soon as no call can come from it any more.

        Raises:
            LeadershipLostError: the lead was lost during the work.

        """
        if not await self._acquire(stopping):
            return
        keeping = asyncio.create_task(self._keep())
        keeping.add_done_callback(lambda _: stopping.set())
        try:
            await work()
        finally:
            has_ended = not keeping.cancel()
            [end] = await asyncio.gather(keeping, return_exceptions=True)
        if self._lost is not None:
            raise LeadershipLostError(self._lost)
        if has_ended and isinstance(end, Exception):
            raise end

    async def release(self) -> None:
        """Give the Lease away, so that whoever stands by takes over at once; do nothing without it."""
        async with self._writing:
            held = self._held
            if held is None:
                return
            # First of all: from here on the fence is closed.
            self._step_down()
            try:
                async with asyncio.timeout(self._terms.patience.total_seconds()):
                    await self._give_away(held)
            except (ClusterUnavailableError, ForbiddenError, TimeoutError) as error:
                seconds = self._terms.duration.total_seconds()
                logger.warning("The Lease could not be released and expires in %.0f s: %s", seconds, _words(error))
                return
        logger.info("Released Lease %s", self._name)

    # --- standing by --------------------------------------------------------------------------------------------------

    async def _acquire(self, stopping: asyncio.Event) -> bool:
        while not stopping.is_set():
            self._alive_at = self._clock.monotonic()
            try:
                async with asyncio.timeout(self._terms.patience.total_seconds()):
                    is_mine = await self._campaign()
                self._problem = None
            except (ClusterUnavailableError, ForbiddenError, TimeoutError) as error:
                is_mine, self._problem = False, _words(error)
                logger.warning("Cannot stand for Lease %s: %s", self._name, self._problem)
            if is_mine:
                logger.info("Leading: %s holds Lease %s", self._identity, self._name)
                return True
            await self._pause(stopping)
        self._alive_at = None
        return False

    async def _campaign(self) -> bool:
        """Look at the Lease, and take it if it is free."""
        found = await self._leases.read()
        self._look_at(found)
        if not self._is_free(found):
            return False
        sent_at = self._moment()
        if found is None:
            taken = await self._leases.create(Lease(self._identity, self._terms.duration))
        else:
            wanted = replace(
                found, holder=self._identity, duration=self._terms.duration, transitions=found.transitions + 1
            )
            taken = await self._leases.write(wanted, is_acquired=True)
        if taken is None:
            return False
        self._hold(taken, sent_at)
        self._has_led = True
        metrics.controller.leader.labels(self._name).set(1)
        return True

    def _look_at(self, found: Lease | None) -> None:
        """Note a record that was not seen before, at the time of the answer: nobody may wait too little."""
        before = self._sight.lease if self._sight is not None else None
        if found is None or (before is not None and before.version == found.version):
            return
        self._sight = _Sight(found, self._moment())
        if found.holder != NOBODY and (before is None or before.holder != found.holder):
            logger.info("Standing by: %s holds Lease %s", found.holder, self._name)

    def _is_free(self, found: Lease | None) -> bool:
        if found is not None and found.holder in {NOBODY, self._identity}:
            return True
        # Of a Lease that somebody deleted, the holder does not know yet.
        return self._until_expired() <= timedelta(0)

    def _until_expired(self) -> timedelta:
        """Return how long the record that is in sight has to stand still before it counts as expired."""
        if self._sight is None or self._sight.lease.holder == NOBODY:
            return timedelta(0)
        # The longer of the two: the holder may have other settings, and somebody may have edited the record.
        duration = max(self._terms.duration, self._sight.lease.duration)
        since, now = self._sight.at, self._moment()
        passed = min(now.monotonic - since.monotonic, now.boottime - since.boottime)
        return duration - timedelta(seconds=passed)

    async def _pause(self, stopping: asyncio.Event) -> None:
        """Wait until the Lease changes or expires, or for the time between two tries."""
        until_expired = self._until_expired()
        is_waiting = until_expired > timedelta(0)
        within = max(SHORTEST, min(self._terms.retry, until_expired)) if is_waiting else self._terms.retry
        waits = [asyncio.create_task(self._watch(within)), asyncio.create_task(stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _watch(self, within: timedelta) -> None:
        try:
            async with asyncio.timeout(within.total_seconds()):
                known = self._sight.lease if self._sight is not None and self._problem is None else None
                if known is None or not await self._leases.has_changed(known, within):
                    # What fails at once must not become a storm of requests.
                    await asyncio.Event().wait()
        except TimeoutError:
            pass

    # --- leading ------------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew the Lease until it is lost or released."""
        # No task is started here: kopf cancels, at its end, whatever was started after it.
        while self._held is not None:
            self._alive_at = self._clock.monotonic()
            left = self._left(self._terms.renew_deadline)
            await asyncio.sleep(max(0.0, min(self._terms.retry.total_seconds(), left)))
            async with self._writing:
                if self._held is not None:
                    await self._renew(self._held)

    async def _renew(self, held: Lease) -> None:
        left = self._left(self._terms.renew_deadline)
        if left < SHORTEST.total_seconds():
            self._lose("it could not be renewed in time")
            return
        try:
            async with asyncio.timeout(min(left, self._terms.patience.total_seconds())):
                await self._write_again(held)
        except (ClusterUnavailableError, ForbiddenError, TimeoutError) as error:
            logger.warning("Lease %s could not be renewed, %.1f s left: %s", self._name, left, _words(error))

    async def _write_again(self, held: Lease) -> None:
        sent_at = self._moment()
        renewed = await self._leases.write(held)
        if renewed is None:
            # Somebody put a label on it, an earlier renewal of ours arrived late, or it is lost.
            found = await self._leases.read()
            if found is None or found.holder != self._identity:
                self._lose("it was deleted" if found is None else f"{found.holder or 'nobody'} holds it")
                return
            sent_at = self._moment()
            renewed = await self._leases.write(replace(held, version=found.version))
        if renewed is not None:
            self._hold(renewed, sent_at)

    def _hold(self, lease: Lease, sent_at: _Moment) -> None:
        # From before it was sent: nobody can have seen it earlier.
        self._held, self._renewed_at = lease, sent_at

    def _lose(self, why: str) -> None:
        self._lost = f"Lease {self._name} is lost: {why}"
        logger.warning("%s", self._lost)
        self._step_down()

    def _step_down(self) -> None:
        self._held = self._alive_at = None
        metrics.controller.leader.labels(self._name).set(0)

    async def _give_away(self, held: Lease) -> None:
        if await self._leases.write(replace(held, holder=NOBODY)) is not None:
            return
        found = await self._leases.read()
        if found is not None and found.holder == self._identity:
            await self._leases.write(replace(found, holder=NOBODY))

    def _left(self, term: timedelta) -> float:
        """Return the seconds of a term that are left since the last renewal, a sleep of the machine included."""
        now = self._moment()
        passed = max(now.monotonic - self._renewed_at.monotonic, now.boottime - self._renewed_at.boottime)
        return term.total_seconds() - passed

    def _moment(self) -> _Moment:
        return _Moment(self._clock.monotonic(), self._clock.boottime())


def _words(error: Exception) -> str:
    return str(error) or "the Kubernetes API did not answer in time"
