"""The composition root: reads the settings, builds the adapters, runs until told to stop.

``python -P -m tair_operator``. Exit 0 after SIGTERM or SIGINT, 2 for settings
that cannot be used, 1 when the operator cannot go on: a dead watch must end the
process, so that something restarts it, rather than leave it alive and blind.
"""

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import aiohttp
import kopf

from tair_operator import metrics
from tair_operator.access import AccessFile, AccessFileError, AccessList
from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials, FileCredentials
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.cluster import ApiServer, ClusterConfigError, KubernetesCluster, find_api_server, open_cluster
from tair_operator.handlers import build_registry, build_settings
from tair_operator.models import TairInstance
from tair_operator.plan import until_due
from tair_operator.ports import ClusterUnavailableError, Key
from tair_operator.queue import Priority, WorkQueue, work
from tair_operator.reconcile import Reconciler
from tair_operator.settings import PREFIX, Settings, SettingsError, load_settings
from tair_operator.web import build_app, serve

logger = logging.getLogger("tair_operator")

PASS_DEADLINE = timedelta(seconds=90)
"""A pass that takes longer than all its deadlines together is stuck."""
ACCESS_RELOAD_SECONDS = 5.0
LIST_SECONDS = 600.0
TOKEN_LIFE = timedelta(minutes=5)


class SystemClock:
    """Implements ``ports.Clock`` on the machine's clocks."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, not counting the machine's sleep."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds that never go back, counting the machine's sleep where the system can tell."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Operator:
    """One running operator: the queue, its workers, and what keeps them fed."""

    def __init__(self, settings: Settings) -> None:
        """Prepare an operator; nothing starts before ``run``."""
        self.settings = settings
        self.queue = WorkQueue(jitter=random.random)
        self.stopping = asyncio.Event()
        self.listed = asyncio.Event()
        self.running: dict[Key, float] = {}
        self.problem: str | None = "starting"

    def is_stuck(self) -> str | None:
        """Answer /livez: a pass that outran its deadline is stuck."""
        oldest = min(self.running.values(), default=None)
        if oldest is not None and time.monotonic() - oldest > PASS_DEADLINE.total_seconds():
            return f"a pass has been running for {time.monotonic() - oldest:.0f} s"
        return None

    def is_unready(self) -> str | None:
        """Answer /readyz: ready once every resource was listed."""
        return self.problem

    async def run(
        self, server: ApiServer, cluster: KubernetesCluster, reconciler: Reconciler, access: AccessFile | None
    ) -> None:
        """Serve until told to stop.

        Raises:
            RuntimeError: kopf ended by itself; without its watch the operator is blind.

        """
        await self._wait_until_served(cluster)
        workers = [asyncio.create_task(self._work(reconciler)) for _ in range(self.settings.workers)]
        feeders = [
            asyncio.create_task(self._list_again_and_again(cluster, reconciler)),
            asyncio.create_task(self._follow_access_file(access, cluster)),
        ]
        watch_ready, watch_stop = asyncio.Event(), asyncio.Event()
        watch = asyncio.create_task(
            kopf.operator(
                registry=build_registry(self.queue, lambda: _connect(server)),
                settings=build_settings(),
                clusterwide=True,
                ready_flag=watch_ready,
                stop_flag=watch_stop,
            )
        )
        stop = asyncio.create_task(self.stopping.wait())
        ready = asyncio.create_task(watch_ready.wait())
        await asyncio.wait({watch, ready, stop}, return_when=asyncio.FIRST_COMPLETED)
        # kopf installs its own handlers while it starts; ours lets passes finish first.
        self.stop_on_signals()
        await asyncio.wait({watch, stop, *workers}, return_when=asyncio.FIRST_COMPLETED)
        is_wanted = self.stopping.is_set()
        self.problem = "stopping"
        self.stopping.set()
        logger.info("Stopping: waiting for %d passes to end", len(self.running))
        self.queue.cancel_timers()
        _, late = await asyncio.wait(workers, timeout=self.settings.grace_seconds)
        watch_stop.set()
        for task in (*feeders, *late, stop, ready):
            task.cancel()
        results = await asyncio.gather(watch, *feeders, *workers, return_exceptions=True)
        failure = next((r for r in results if isinstance(r, Exception)), None)
        if not is_wanted:
            message = "the watch of the Kubernetes API ended"
            raise RuntimeError(message) from failure

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end the operator in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)

    async def _wait_until_served(self, cluster: KubernetesCluster) -> None:
        while not self.stopping.is_set():
            try:
                if await cluster.is_served():
                    return
                self.problem = (
                    "the CRD tairinstances.tair.alibabacloud.com is not installed; apply crds/tairinstances.yaml"
                )
            except ClusterUnavailableError as error:
                self.problem = str(error)
            logger.warning("Waiting: %s", self.problem)
            await _first_of(self.stopping, seconds=5)

    async def _list_again_and_again(self, cluster: KubernetesCluster, reconciler: Reconciler) -> None:
        """List everything at the start, and now and then: an event may be lost, a deletion may go unseen."""
        while not self.stopping.is_set():
            try:
                resources = await cluster.list_all()
            except ClusterUnavailableError as error:
                logger.warning("The resources cannot be listed: %s", error)
                await _first_of(self.stopping, seconds=5)
                continue
            reconciler.forget_all_but({resource.metadata.uid for resource in resources})
            for resource in resources:
                self._enqueue(resource)
            self.problem = None
            self.listed.set()
            await _first_of(self.stopping, seconds=LIST_SECONDS)

    def _enqueue(self, resource: TairInstance) -> None:
        key = Key(resource.metadata.namespace, resource.metadata.name)
        due = until_due(resource, self.settings.policy, datetime.now(UTC))
        if due is not None and due <= timedelta(0):
            self.queue.add(key, Priority.CLOCK)
        elif due is not None and not self.queue.is_known(key):
            self.queue.add_after(key, due)

    async def _follow_access_file(self, file: AccessFile | None, cluster: KubernetesCluster) -> None:
        """Read the access list again when it changes, and look at every resource in its light."""
        while file is not None and not self.stopping.is_set():
            await _first_of(self.stopping, seconds=ACCESS_RELOAD_SECONDS)
            if not await asyncio.to_thread(file.reload):
                continue
            try:
                for resource in await cluster.list_all():
                    self.queue.add(Key(resource.metadata.namespace, resource.metadata.name), Priority.CLOCK)
            except ClusterUnavailableError as error:
                logger.warning("The resources cannot be listed: %s", error)

    async def _work(self, reconciler: Reconciler) -> None:
        # No pass, and so no call, before the first complete LIST.
        await _first_of(self.listed, self.stopping)

        async def one_pass(key: Key) -> timedelta | None:
            started = self.running[key] = time.monotonic()
            result = "error"
            try:
                requeue_after = await reconciler.reconcile(key)
                result = "success" if requeue_after is None else "requeue_after"
            finally:
                del self.running[key]
                metrics.reconciles.labels(metrics.CONTROLLER, result).inc()
                metrics.reconcile_seconds.labels(metrics.CONTROLLER).observe(time.monotonic() - started)
                metrics.queue_depth.labels(metrics.CONTROLLER).set(self.queue.depth())
            return requeue_after

        await work(self.queue, one_pass, self.stopping)


def _build_cloud(settings: Settings, session: aiohttp.ClientSession) -> AliyunClient:
    directory = settings.credentials_directory
    return AliyunClient(
        session=session,
        credentials=FileCredentials(directory) if directory else EnvironmentCredentials(),
        limiter=Limiter(clock=time.monotonic),
        clock=SystemClock(),
        new_nonce=lambda: uuid.uuid4().hex,
        endpoint=settings.endpoint,
        vpc=settings.vpc_endpoints,
        call_deadline=timedelta(seconds=settings.call_timeout_seconds),
    )


async def _connect(server: ApiServer) -> kopf.ConnectionInfo:
    """Tell kopf the way to the API server that the rest of the operator takes."""
    certificate, private_key = server.certificate or (None, None)
    return kopf.ConnectionInfo(
        server=server.url,
        ca_path=server.ca_file,
        token=await server.current_token(),
        certificate_path=certificate,
        private_key_path=private_key,
        # kubelet replaces a mounted token; kopf keeps the one that it was given.
        expiration=datetime.now(UTC) + TOKEN_LIFE if server.token_file else None,
    )


async def _first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for one of the events, or for a time."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def run(settings: Settings, access: AccessFile | None) -> int:
    """Build everything, run the operator, and return the exit code."""
    operator = Operator(settings)
    operator.stop_on_signals()
    async with AsyncExitStack() as stack:
        try:
            app = build_app(livez=operator.is_stuck, readyz=operator.is_unready)
            await stack.enter_async_context(serve(app, *settings.http_host_and_port))
            server = await find_api_server()
        except (OSError, ClusterConfigError) as error:
            logger.error("Cannot start: %s", error)  # noqa: TRY400 - the message is for a person, the traceback is not
            return 1
        cluster = await stack.enter_async_context(open_cluster(server))
        session = await stack.enter_async_context(open_session(settings.ca_file))
        reconciler = Reconciler(
            cluster=cluster,
            cloud=_build_cloud(settings, session),
            clock=SystemClock(),
            policy=settings.policy,
            grant=lambda resource: (access.current if access else AccessList()).grant(resource),
            new_id=lambda: uuid.uuid4().hex,
        )
        logger.info("tair-operator %s is starting", version("tair-operator"))
        try:
            await operator.run(server, cluster, reconciler, access)
        except RuntimeError:
            logger.exception("The operator cannot go on")
            return 1
    logger.info("Stopped")
    return 0


def parse_flags(arguments: Sequence[str]) -> dict[str, str]:
    """Parse the flags; each setting is one."""
    parser = argparse.ArgumentParser(
        prog="tair-operator",
        description="Keeps the direct connection of Tair and Redis instances on Alibaba Cloud as TairInstances say.",
        epilog=f"Each flag is also a variable: --http-address is {PREFIX}HTTP_ADDRESS. A flag wins.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=version("tair-operator"))
    for name, setting in Settings.model_fields.items():
        default = "" if setting.default is None else f" Default: {setting.default}."
        help_text = f"{setting.description}{default}".replace("%", "%%")
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=help_text)
    return vars(parser.parse_args(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator and return its exit code."""
    try:
        settings = load_settings(parse_flags(sys.argv[1:] if arguments is None else arguments), os.environ)
        access = AccessFile.open(settings.access_file) if settings.access_file else None
    except (SettingsError, AccessFileError) as error:
        sys.stderr.write("".join(f"tair-operator: {line}\n" for line in str(error).splitlines()))
        return 2
    log_format = kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.PLAIN
    kopf.configure(log_format=log_format)
    logging.getLogger().setLevel(settings.log_level.upper())
    if access is None:
        logger.warning("No access list is set (TAIR_OPERATOR_ACCESS_FILE): no TairInstance will be served")
    return asyncio.run(run(settings, access))


if __name__ == "__main__":
    sys.exit(main())
