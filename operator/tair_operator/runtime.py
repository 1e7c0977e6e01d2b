"""The running operator: a queue, its workers, what keeps them fed, and an end in order.

The watch is kopf's and only asks for work. A LIST of our own comes first and
comes again, because an event may be lost and a deletion may go unseen. The end
lets the passes under way finish, so that no answer of a call is lost; the end of
the watch is the end of the process, since without it the operator is blind.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from tair_operator import metrics
from tair_operator.access import AccessFile
from tair_operator.listing import Listed
from tair_operator.ports import Clock, Cluster, ClusterUnavailableError, Key
from tair_operator.queue import Priority, WorkQueue, work
from tair_operator.reconcile import Reconciler
from tair_operator.stopwatch import Stopwatch, timing
from tair_operator.subject import key_of

logger = logging.getLogger(__name__)

PASS_DEADLINE = timedelta(seconds=90)
"""A pass that takes longer than all its deadlines together is stuck."""
ACCESS_SECONDS = 5.0
"""How often to look whether the access list has changed."""
LIST_SECONDS = 600.0
"""How often to list everything again."""
RETRY_SECONDS = 5.0
UNLISTED_SECONDS = 60.0
"""After so long without a LIST that succeeds, in spite of trying, the operator is not ready."""
SILENCE_SECONDS = 3 * LIST_SECONDS
"""After so long without even trying, the task that lists counts as dead."""
IDLE_SECONDS = 30.0
"""So long nothing waits while a worker has nothing to do."""

Watch = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]
"""Watches until the second event is set, and sets the first once it does."""


class WatchEndedError(Exception):
    """The watch, or what else the operator lives on, ended by itself."""


async def _nothing() -> None:
    pass


class Operator:
    """One running operator."""

    def __init__(
        self,
        *,
        queue: WorkQueue,
        cluster: Cluster,
        reconciler: Reconciler,
        access: AccessFile | None,
        clock: Clock,
    ) -> None:
        """Prepare an operator; nothing starts before ``run``."""
        self.stopping = asyncio.Event()
        self._queue = queue
        self._cluster = cluster
        self._reconciler = reconciler
        self._access = access
        self._clock = clock
        self._listed = asyncio.Event()
        self._running: dict[Key, Stopwatch] = {}
        self._problem: str | None = "starting"
        self._workers = 0
        self._tried_at = time.monotonic()
        self._blind: str | None = None

    @property
    def checks(self) -> Mapping[str, Callable[[], str | None]]:
        """What /livez asks, by name. Waiting for the API server or for the limiter is no reason to be killed."""
        return {
            "passes": self.is_stuck,
            "queue": self.is_starving,
            "list": self.is_listless,
            "watch": self.is_blind,
        }

    def is_stuck(self) -> str | None:
        """Say whether a pass outran its deadline, what it waits for not counted."""
        longest = max((stopwatch.seconds() for stopwatch in self._running.values()), default=0.0)
        is_over = longest > PASS_DEADLINE.total_seconds()
        return f"a pass has been at work for {longest:.0f} s" if is_over else None

    def is_starving(self) -> str | None:
        """Say whether a resource waits for its pass although a worker is free: somebody was not woken."""
        is_at_work = self._listed.is_set() and not self.stopping.is_set()
        wait, busy = self._queue.longest_wait(), len(self._running)
        if not is_at_work or busy >= self._workers or wait <= IDLE_SECONDS:
            return None
        return f"a resource has waited for {wait:.0f} s, and {busy} of {self._workers} workers have something to do"

    def is_listless(self) -> str | None:
        """Say whether nobody tries to list the resources any more; a LIST that fails is no reason to be killed."""
        if not self._workers or self.stopping.is_set():
            return None
        silence = time.monotonic() - self._tried_at
        return f"no LIST has ended for {silence:.0f} s" if silence > SILENCE_SECONDS else None

    def is_blind(self) -> str | None:
        """Say whether the watch ended by itself. The process is about to end, once its passes have."""
        return self._blind

    def is_unready(self) -> str | None:
        """Answer /readyz: ready once every resource was listed."""
        return "stopping" if self.stopping.is_set() else self._problem

    async def run(
        self,
        watch: Watch,
        *,
        workers: int,
        grace: timedelta,
        on_watching: Callable[[], None],
        on_idle: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Serve until ``stopping`` is set; ``on_watching`` is told when the watch has begun.

        ``on_idle`` is awaited when every pass has ended and no other will come. Not when one had to be cut off: its
        call may still be under way.

        Raises:
            WatchEndedError: the watch ended by itself.

        """
        await self._wait_until_served()
        if self.stopping.is_set():
            await on_idle()
            return
        self._workers, self._tried_at = workers, time.monotonic()
        metrics.controller.max_concurrent_reconciles.set(workers)
        # These have to be there before the watch: kopf cancels, at its end, whatever was started after it.
        working = [asyncio.create_task(self._work()) for _ in range(workers)]
        feeding = [asyncio.create_task(self._list_again_and_again())]
        if self._access is not None:
            feeding.append(asyncio.create_task(self._follow(self._access)))
        is_watching, watch_stop = asyncio.Event(), asyncio.Event()
        watching = asyncio.ensure_future(watch(is_watching, watch_stop))
        told = asyncio.create_task(self.stopping.wait())
        started = asyncio.create_task(is_watching.wait())
        await asyncio.wait({watching, told, started}, return_when=asyncio.FIRST_COMPLETED)
        on_watching()
        await asyncio.wait({watching, told, *working, *feeding}, return_when=asyncio.FIRST_COMPLETED)
        is_wanted = self.stopping.is_set()
        message = "the watch of the Kubernetes API, or what feeds the queue, ended"
        if not is_wanted:
            self._blind = message
        late = await self._stop_working(working, grace)
        if not late:
            await self._reconciler.answers.settle_up()
            # Before the watch has ended, which takes a while: somebody may be waiting to take over.
            await on_idle()
        watch_stop.set()
        for task in (*feeding, *late, told, started):
            task.cancel()
        results = await asyncio.gather(watching, *feeding, *working, return_exceptions=True)
        if not is_wanted:
            raise WatchEndedError(message) from next((r for r in results if isinstance(r, Exception)), None)

    async def _stop_working(self, working: list[asyncio.Task[None]], grace: timedelta) -> set[asyncio.Task[None]]:
        self.stopping.set()
        logger.info("Stopping: %d passes are under way", len(self._running))
        self._queue.cancel_timers()
        _, late = await asyncio.wait(working, timeout=grace.total_seconds())
        return late

    async def _wait_until_served(self) -> None:
        while not self.stopping.is_set():
            try:
                if await self._cluster.is_served():
                    return
                self._problem = "the CRD is not installed: kubectl apply -f crds/tairinstances.yaml"
            except ClusterUnavailableError as error:
                self._problem = str(error)
            logger.warning("Waiting: %s", self._problem)
            await _first_of(self.stopping, seconds=RETRY_SECONDS)

    async def _list_again_and_again(self) -> None:
        failing_since = None
        while not self.stopping.is_set():
            try:
                resources = await self._reconciler.learn(self._cluster.list_all())
            except ClusterUnavailableError as error:
                logger.warning("The resources cannot be listed: %s", error)
                self._tried_at = time.monotonic()
                failing_since = self._tried_at if failing_since is None else failing_since
                if not self._listed.is_set():
                    self._problem = str(error)
                elif self._tried_at - failing_since >= UNLISTED_SECONDS:
                    self._problem = f"the resources cannot be listed: {error}"
                await _first_of(self.stopping, seconds=RETRY_SECONDS)
                continue
            for resource in resources:
                self._enqueue(resource)
            self._problem = failing_since = None
            self._tried_at = time.monotonic()
            metrics.own.last_list.set(self._clock.now().timestamp())
            self._listed.set()
            await _first_of(self.stopping, seconds=LIST_SECONDS)

    def _enqueue(self, resource: Listed) -> None:
        due = resource.until_due(self._reconciler.policy, self._clock.now())
        if due is not None and due <= timedelta(0):
            self._queue.add(resource.key, Priority.CLOCK)
        elif due is not None and not self._queue.is_known(resource.key):
            self._queue.add_after(resource.key, due)

    async def _follow(self, access: AccessFile) -> None:
        """Look at every resource in the light of a changed access list."""
        is_news = False
        while not self.stopping.is_set():
            await _first_of(self.stopping, seconds=ACCESS_SECONDS)
            is_news = await asyncio.to_thread(access.reload) or is_news
            if not is_news:
                continue
            try:
                async for page in self._cluster.list_all():
                    for resource in page:
                        self._queue.add(key_of(resource), Priority.CLOCK)
                is_news = False
            except ClusterUnavailableError as error:
                logger.warning("The resources cannot be listed: %s", error)

    async def _work(self) -> None:
        # No pass, and so no call, before the first complete LIST.
        await _first_of(self._listed, self.stopping)
        await work(self._queue, self._pass, self.stopping)

    async def _pass(self, key: Key) -> timedelta | None:
        with timing() as self._running[key]:
            try:
                return await self._reconciler.reconcile(key)
            finally:
                del self._running[key]


async def _first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for one of the events, or for a time."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
