"""One cluster, one cloud, and an operator that may die and be started again; time is virtual.

The operator is the real one: runtime, queue, workers, reconciler, both adapters.
Replaced are the two functions through which requests leave (``kubernetes.ApiOf``,
``cloud.open_session``), kopf's watch, and the clock.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, cast

from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials, Keyring, Sts, sts_endpoint
from tair_operator.aliyun.limiter import Limiter
from tair_operator.cluster import KubernetesCluster
from tair_operator.cluster.server import Api
from tair_operator.handlers import Approvals, enqueue
from tair_operator.models import Action
from tair_operator.ports import Cloud
from tair_operator.queue import WorkQueue
from tair_operator.reconcile import Reconciler
from tair_operator.runtime import Operator
from tair_operator.situation import Grant, Policy
from tests.builders import EVERYTHING
from tests.fakes import granting
from tests.faults.cloud import ENDPOINT, CloudWorld, open_session
from tests.faults.faults import Plan
from tests.faults.kubernetes import ApiOf, Kubernetes
from tests.faults.seam import Seam
from tests.virtual_time import VirtualClock

SETTLE = timedelta(seconds=30)
POLICY = Policy(settle=SETTLE, stall_grace=timedelta(seconds=20), resync=timedelta(seconds=300))
"""As shipped, with shorter times: fewer looks to simulate, and the same order among the times."""
RESTART_SECONDS = 3.0
WORKERS = 2
KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "demo", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "demoSecret"}


@dataclass
class World:
    """The two outside worlds, and the operator process of the moment."""

    plan: Plan
    policy: Policy = POLICY
    grant: Grant = field(default_factory=lambda: Grant(EVERYTHING))
    may_call: Callable[[], bool] = lambda: True
    wrap: Callable[[Cloud], Cloud] = lambda cloud: cloud
    """What stands between the reconciler and its client of the cloud."""
    errors: list[str] = field(default_factory=list)
    """What nobody foresaw: exceptions that ended a task or a pass."""
    sends: list[Callable[[Action, str], None]] = field(default_factory=list)
    """Called when the first byte of a mutating call leaves."""
    clock: VirtualClock = field(default_factory=VirtualClock)
    starts: int = 0
    started_at: float = 0.0
    """When the process of the moment was started."""
    _ids: "count[int]" = field(default_factory=count)
    _tasks: list["asyncio.Task[Any]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        faults: dict[str, tuple[Any, ...]] = {}
        for fault in self.plan.faults:
            faults[fault.call] = (*faults.get(fault.call, ()), fault)
        self.seam = Seam(faults)
        self.kubernetes = Kubernetes(self.clock.now)
        self.cloud = CloudWorld(self.clock.now)

    # --- the operator's life ---

    async def keep_running(self) -> None:
        """Run the operator, and start it again some seconds after each crash; ends when cancelled."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.errors.append(f"loop: {context}"))
        try:
            while True:
                self.start()
                await self.seam.crashed.wait()
                await self.kill()
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            await self.kill()

    def start(self) -> None:
        """Start a process, with nothing in its memory."""
        self.starts += 1
        self.started_at = asyncio.get_running_loop().time()
        self.seam.alive = self.starts
        self.seam.crashed.clear()
        loop, known = asyncio.get_running_loop(), self._tasks

        def remember(
            loop: asyncio.AbstractEventLoop,
            coro: Coroutine[Any, Any, Any],
            **more: Any,  # noqa: ANN401
        ) -> "asyncio.Task[Any]":
            task = asyncio.Task(coro, loop=loop, **more)
            # Whatever a process starts dies with it, and nobody else starts tasks from now on.
            known.append(task)
            return task

        loop.set_task_factory(cast("Any", remember))
        running = loop.create_task(self._run(self.starts))
        running.add_done_callback(self._judge_end)

    async def kill(self) -> None:
        """End the process as SIGKILL does: no request leaves any more, and no answer arrives."""
        self.seam.alive = 0
        tasks = [task for task in self._tasks if not task.done()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _judge_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(f"the operator ended: {error!r} from {error.__cause__!r}")
            # As kubelet would.
            self.seam.crashed.set()

    async def _run(self, number: int) -> None:
        queue = WorkQueue(jitter=lambda: 0.0)
        cluster = KubernetesCluster(cast("Api", ApiOf(self.kubernetes, self.seam, number)))
        reconciler = self.reconciler(cluster, number)
        operator = Operator(queue=queue, cluster=cluster, reconciler=reconciler, access=None, clock=self.clock)

        async def watch(is_watching: asyncio.Event, stop: asyncio.Event) -> None:
            del stop
            is_watching.set()
            approvals = Approvals()
            async for kind, body in self.kubernetes.events(self.seam):
                enqueue(queue, approvals, kind, body)

        await operator.run(watch, workers=WORKERS, grace=timedelta(seconds=5), on_watching=lambda: None)

    def reconciler(self, cluster: KubernetesCluster, number: int) -> Reconciler:
        """Put the adapters together as ``__main__`` does."""
        numbers = self._ids
        session = open_session(self.cloud, self.seam, number, self._note_send)
        limiter = Limiter(clock=self.clock.monotonic)
        sts = Sts(session, sts_endpoint(override=ENDPOINT), self.clock, lambda: f"nonce-{next(numbers)}")
        keyring = Keyring(
            EnvironmentCredentials(KEY), identities=cluster, sts=sts, clock=self.clock, session_name="tair-operator"
        )
        cloud = AliyunClient(
            session=session,
            credentials=keyring.provider_of,
            limiter=limiter,
            clock=self.clock,
            new_nonce=lambda: f"nonce-{next(numbers)}",
            endpoint=ENDPOINT,
        )
        return Reconciler(
            cluster=cluster,
            cloud=self.wrap(cloud),
            clock=self.clock,
            policy=self.policy,
            grant=granting(lambda _: self.grant),
            new_id=lambda: f"op-{next(numbers)}",
            looks_per_second=limiter.slowest,
            # Asked of the world each time: a test may change it meanwhile.
            may_call=lambda: self.may_call(),  # noqa: PLW0108
        )

    def _note_send(self, action: Action, instance_id: str) -> None:
        for told in self.sends:
            told(action, instance_id)


class Errors(logging.Handler):
    """Collects what the operator logs as a bug: the traceback of a pass that failed in a way nobody foresaw."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[1] if record.exc_info else None
        self._errors.append(f"{record.getMessage()} {kind!r}")
