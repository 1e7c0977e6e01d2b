"""The composition root: reads the settings, builds the adapters, runs until told to stop.

``python -P -m tair_operator``. Exit 0 after SIGTERM or SIGINT, 2 for settings
that cannot be used, 1 when the operator cannot go on: a dead watch and a lost Lease
must end the process, so that something restarts it, rather than leave it alive
and blind, or in doubt whether it leads.
"""

import argparse
import asyncio
import gc
import logging
import os
import random
import re
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import assert_never

import aiohttp
import kopf

from tair_operator import metrics
from tair_operator.access import AccessFile, AccessFileError, AccessList
from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import (
    EcsRole,
    EnvironmentCredentials,
    FileCredentials,
    Identities,
    Keyring,
    OwnCredentials,
    PodRole,
    Role,
    SessionCredentials,
    Sts,
    assuming,
    sts_endpoint,
)
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.cluster import ApiServer, ClusterConfigError, KubernetesCluster, find_api_server, open_cluster
from tair_operator.cluster.labels import NamespaceLabels
from tair_operator.cluster.leases import Leases, own_namespace
from tair_operator.handlers import watch
from tair_operator.heartbeat import Heartbeat
from tair_operator.leader import Elector, LeadershipLostError, Terms
from tair_operator.models import TairInstance
from tair_operator.ports import Clock
from tair_operator.queue import WorkQueue
from tair_operator.reconcile import Reconciler
from tair_operator.runtime import Operator, WatchEndedError
from tair_operator.settings import PREFIX, CredentialsSource, Settings, SettingsError, load_settings
from tair_operator.situation import Grant
from tair_operator.web import build_app, serve

logger = logging.getLogger("tair_operator")

TOKEN_LIFE = timedelta(minutes=5)
_FLAG = re.compile(r"--[a-z][a-z-]*")
NEW_OBJECTS = 5_000
"""So many gather before the collector looks at them. With Python's 700 it would be at work all the time in a burst."""


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator and return its exit code."""
    try:
        settings = load_settings(parse_flags(sys.argv[1:] if arguments is None else arguments), os.environ)
        access = AccessFile.open(settings.access_file) if settings.access_file else None
    except (SettingsError, AccessFileError) as error:
        sys.stderr.write("".join(f"tair-operator: {line}\n" for line in str(error).splitlines()))
        return 2
    kopf.configure(log_format=kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.PLAIN)
    logging.getLogger().setLevel(settings.log_level.upper())
    if access is None:
        logger.warning("No access list is set (%sACCESS_FILE): no TairInstance will be served", PREFIX)
    # What was imported stays to the end: the collector need not look at it again each time when a fleet is listed.
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    try:
        asyncio.run(run(settings, access))
    except (OSError, ClusterConfigError) as error:
        logger.error("Cannot start: %s", error)  # noqa: TRY400 - the message is for a person, the traceback is not
        return 1
    except WatchEndedError:
        logger.exception("Cannot go on")
        return 1
    except LeadershipLostError as error:
        logger.error("Cannot go on: %s", error)  # noqa: TRY400 - nothing is wrong with the program
        return 1
    logger.info("Stopped")
    return 0


def parse_flags(arguments: Sequence[str]) -> dict[str, str]:
    """Parse the flags; each setting is one.

    Raises:
        SettingsError: there is one that is none.

    """
    parser = argparse.ArgumentParser(
        prog="tair-operator",
        description="Keeps the direct connection of Tair and Redis instances on Alibaba Cloud as TairInstances say.",
        epilog=f"Each flag is also a variable: --http-address is {PREFIX}HTTP_ADDRESS. A flag wins.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("tair-operator"))
    for name, setting in Settings.model_fields.items():
        default = "" if setting.default is None else f" Default: {setting.default}."
        help_text = f"{setting.description}{default}".replace("%", "%%")
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=help_text)
    known, others = parser.parse_known_args(arguments)
    if others:
        # Not as argparse words it: behind the name of a flag that is none, there may be a secret.
        names = {found[0] if (found := _FLAG.match(text)) else "an argument" for text in others}
        raise SettingsError("\n".join(f"{name}: there is no such flag; `--help` lists all" for name in sorted(names)))
    return vars(known)


async def run(settings: Settings, access: AccessFile | None) -> None:
    """Build everything and run the operator until it is told to stop.

    Raises:
        OSError: the address for probes cannot be had, or a file of the settings cannot be read.
        ClusterConfigError: there is no way to the API server.
        WatchEndedError: the operator cannot go on.
        LeadershipLostError: another replica may lead by now.

    """
    server = await find_api_server()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster(server, settings.scope))
        try:
            session = await stack.enter_async_context(open_session(settings.ca_file))
        except OSError as error:
            message = f"{PREFIX}CA_FILE {settings.ca_file} holds no usable certificates: {error.strerror or error}"
            raise OSError(message) from error
        queue, clock = WorkQueue(jitter=random.random), SystemClock()
        # Before kopf, which cancels, at its end, whatever was started after it.
        heartbeat = Heartbeat()
        stack.callback(asyncio.create_task(heartbeat.beat()).cancel)
        elector = await build_elector(settings, server, cluster, clock)
        reconciler = build_reconciler(settings, access, cluster, session)
        show(queue, reconciler, access, heartbeat)
        operator = Operator(queue=queue, cluster=cluster, reconciler=reconciler, access=access, clock=clock)
        if elector is not None:
            # The whole call has to fit into what is left of the Lease.
            reconciler.may_call = lambda: elector.seconds_left() >= settings.call_timeout_seconds
        app = build_app(
            livez={
                "loop": heartbeat.is_late,
                **operator.checks,
                "election": lambda: elector.is_dead() if elector else None,
            },
            readyz={
                "election": lambda: elector.is_unready() if elector and elector.is_standing_by else None,
                "resources": lambda: None if elector and elector.is_standing_by else operator.is_unready(),
            },
            role=lambda: "standby" if elector and elector.is_standing_by else "ok",
        )
        try:
            await stack.enter_async_context(serve(app, *settings.http_host_and_port))
        except OSError as error:
            message = f"{PREFIX}HTTP_ADDRESS {settings.http_address} cannot be listened on: {error.strerror}"
            raise OSError(message) from error
        logger.info("tair-operator %s is starting, for %s", version("tair-operator"), settings.scope)
        end_on_signals(operator.stopping.set)
        serving = partial(
            operator.run,
            lambda ready, stop: watch(queue, lambda: connect(server), ready, stop, settings.scope),
            workers=settings.workers,
            grace=timedelta(seconds=settings.grace_seconds),
            # kopf has put its own handlers in place by then, which would not wait for passes.
            on_watching=lambda: end_on_signals(operator.stopping.set),
        )
        if elector is None:
            await serving()
        else:
            await elector.lead(operator.stopping, partial(serving, on_idle=elector.release))


def show(queue: WorkQueue, reconciler: Reconciler, access: AccessFile | None, heartbeat: Heartbeat) -> None:
    """Let the metrics look at what they show the state of."""
    fleet = reconciler.fleet

    def resync_floor() -> float:
        return reconciler.policy.resync_floor.total_seconds()

    metrics.controller.show_queue(queue.depth, queue.runs)
    metrics.own.resources.show(fleet.groups)
    metrics.own.drifted_resources.set_function(fleet.drifted)
    metrics.own.oldest_unready.set_function(fleet.oldest_unready)
    metrics.own.resync_floor.set_function(resync_floor)
    metrics.own.event_loop_lag.set_function(heartbeat.lag)
    loop = asyncio.get_running_loop()
    metrics.own.event_loop_tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
    # No list permits nothing, which is neither a brake nor a mistake.
    metrics.own.releases_held.set_function(lambda: access is not None and access.current.releases == "Hold")
    metrics.own.access_list_valid.set_function(lambda: access is None or access.is_valid)


async def build_elector(
    settings: Settings, server: ApiServer, cluster: KubernetesCluster, clock: Clock
) -> Elector | None:
    """Return what elects the leader; None where this process is the only one.

    Raises:
        ClusterConfigError: nobody says in which namespace the Lease is.

    """
    is_in_pod = server.token_file is not None
    if not (is_in_pod if settings.leader_election is None else settings.leader_election):
        return None
    namespace = settings.lease_namespace
    if namespace is None:
        namespace = await asyncio.to_thread(own_namespace)
    return Elector(
        Leases(cluster.api, namespace, settings.lease_name, clock.now),
        identity=f"{socket.gethostname()}_{new_word()}",
        name=settings.lease_name,
        terms=Terms(
            timedelta(seconds=settings.lease_seconds),
            timedelta(seconds=settings.lease_renew_deadline_seconds),
            timedelta(seconds=settings.lease_retry_seconds),
        ),
        clock=clock,
    )


def build_reconciler(
    settings: Settings, access: AccessFile | None, cluster: KubernetesCluster, session: aiohttp.ClientSession
) -> Reconciler:
    """Put the adapters together."""
    clock = SystemClock()
    keyring = build_keyring(settings, os.environ, cluster, session, clock)
    metrics.own.credentials_expiry.set_function(
        lambda: 0.0 if keyring.earliest_expiry is None else keyring.earliest_expiry.timestamp()
    )
    limiter = Limiter(clock=clock.monotonic, rate=settings.calls_per_second / 2, ceiling=settings.calls_per_second)
    metrics.own.limiter_rate.show(lambda: {(name,): rate for name, (rate, _) in limiter.regions().items()})
    metrics.own.limiter_waiting.show(lambda: {(name,): waiting for name, (_, waiting) in limiter.regions().items()})
    cloud = AliyunClient(
        session=session,
        credentials=keyring.provider_of,
        limiter=limiter,
        clock=clock,
        new_nonce=new_word,
        endpoint=settings.endpoint,
        vpc=settings.vpc_endpoints,
        call_deadline=timedelta(seconds=settings.call_timeout_seconds),
    )

    labels = NamespaceLabels(cluster.read_namespace, clock.monotonic)

    async def grant(resource: TairInstance) -> Grant:
        # Asked for at each pass: the list may have been read again since.
        rules = access.current if access else AccessList()
        return rules.grant(resource, await labels.of(resource.metadata.namespace) if rules.needs_labels else None)

    return Reconciler(
        cluster=cluster,
        cloud=cloud,
        clock=clock,
        policy=settings.policy,
        grant=grant,
        new_id=new_word,
        looks_per_second=limiter.slowest,
        is_shard=settings.scope.is_shard,
    )


def build_keyring(
    settings: Settings,
    environ: Mapping[str, str],
    identities: Identities,
    session: aiohttp.ClientSession,
    clock: Clock,
) -> Keyring:
    """Put together where credentials come from: the operator's own, and those that resources name."""
    endpoint = sts_endpoint(region=settings.sts_region, vpc=settings.vpc_endpoints, override=settings.sts_endpoint)
    life = timedelta(seconds=settings.role_session_seconds)
    sts = Sts(session, endpoint, clock, new_word, life=life)
    own = own_credentials(settings, environ, session, sts, clock)
    if settings.assume_role_arn is not None:
        role = Role(settings.assume_role_arn, settings.role_session_name, settings.assume_role_external_id)
        own = assuming(own, role, sts, clock)
    return Keyring(
        own,
        identities=identities,
        sts=sts,
        clock=clock,
        session_name=settings.role_session_name,
        provider_arn=settings.oidc_provider_arn or environ.get("ALIBABA_CLOUD_OIDC_PROVIDER_ARN") or None,
    )


def own_credentials(
    settings: Settings, environ: Mapping[str, str], session: aiohttp.ClientSession, sts: Sts, clock: Clock
) -> OwnCredentials:
    """Return the operator's one source of credentials."""
    match settings.own_source:
        case CredentialsSource.ENVIRONMENT:
            return EnvironmentCredentials(environ)
        case CredentialsSource.FILES:
            assert settings.credentials_directory is not None  # noqa: S101 - the settings ask for it
            return FileCredentials(settings.credentials_directory)
        case CredentialsSource.RRSA:
            pod = PodRole(environ, sts, settings.role_session_name, settings.oidc_provider_arn)
            return SessionCredentials(pod.fetch, clock)
        case CredentialsSource.ECS_RAM_ROLE:
            node = EcsRole(session, settings.ecs_metadata_endpoint, settings.ecs_role_name)
            return SessionCredentials(node.fetch, clock)
        case source:
            assert_never(source)


def new_word() -> str:
    """Return a word that was never used before."""
    return uuid.uuid4().hex


def end_on_signals(stop: Callable[[], None]) -> None:
    """Let SIGTERM and SIGINT end the operator in order."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


async def connect(server: ApiServer) -> kopf.ConnectionInfo:
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


if __name__ == "__main__":
    sys.exit(main())
