"""kopf, as runtime and informer: which events lead to a pass, and nothing else.

The one handler only asks the queue for work and never fails, because kopf drops
the errors of event handlers. kopf keeps no state on users' resources here: its
storages do nothing, and it has no handler for which it would add a finalizer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import kopf

from tair_operator.models import ANNOTATION_APPROVE, ANNOTATION_RECONCILE, FINALIZER, GROUP, PLURAL, VERSION
from tair_operator.ports import Key
from tair_operator.queue import Priority, WorkQueue
from tair_operator.scope import WHOLE_CLUSTER, Scope
from tair_operator.stance import Stance

HAND_OVER = timedelta(seconds=2)
"""How long the shard that a resource comes from has for the pass that it was in the middle of. Nothing is called twice
without it; it keeps what one of the two publishes from being taken back by the other."""

# Without one kopf asks the system for the name of our user, and ends when it has none, like the number in the image.
# Any, since kopf's type for it is not public.
IDENTITY: Final[Any] = "tair-operator"


async def watch(
    queue: WorkQueue,
    connect: Callable[[], Awaitable[kopf.ConnectionInfo]],
    is_ready: asyncio.Event,
    stop: asyncio.Event,
    scope: Scope = WHOLE_CLUSTER,
) -> None:
    """Watch every TairInstance of the scope until ``stop`` is set; set ``is_ready`` once kopf has started.

    In single namespaces kopf looks only once which resources there are, so ours has to be served by then.
    """
    await kopf.operator(
        registry=build_registry(queue, connect),
        settings=build_settings(scope),
        clusterwide=not scope.namespaces,
        namespaces=scope.namespaces,
        identity=IDENTITY,
        ready_flag=is_ready,
        stop_flag=stop,
    )


def build_registry(queue: WorkQueue, connect: Callable[[], Awaitable[kopf.ConnectionInfo]]) -> kopf.OperatorRegistry:
    """Return kopf's registry with the login and the one event handler.

    ``connect`` says how to reach the API server; it is asked again when a token has expired or was refused.
    """
    registry, approvals = kopf.OperatorRegistry(), Approvals()

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        return await connect()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def note(event: kopf.RawEvent, **_: object) -> None:
        enqueue(queue, approvals, event.get("type"), event["object"])

    return registry


def enqueue(queue: WorkQueue, approvals: "Approvals", kind: str | None, body: Mapping[str, Any]) -> None:
    """Ask for a pass where an event calls for one: at once, or when whoever else works on the resource is done."""
    key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
    is_approved_otherwise = approvals.changed(kind, body)
    if is_moved_in(kind, body):
        queue.add_after(key, HAND_OVER)
    elif needs_pass(kind, body) or is_approved_otherwise:
        queue.add(key, Priority.USER)
    elif is_under_way(body) and not queue.is_known(key):
        # Another process wrote this, and may have ended since: kopf makes one event of several.
        queue.add_after(key, HAND_OVER)


def is_under_way(body: Mapping[str, Any]) -> bool:
    """Whether somebody has promised another look at the resource."""
    conditions = body.get("status", {}).get("conditions", [])
    return any(condition["type"] == Stance.RECONCILING and condition["status"] == "True" for condition in conditions)


def is_moved_in(kind: str | None, body: Mapping[str, Any]) -> bool:
    """Whether the event tells of a resource that another shard has served: it is new here, and its status is not."""
    return kind == "ADDED" and (body.get("status", {}).get("observedGeneration") or 0) > 0


def needs_pass(kind: str | None, body: Mapping[str, Any]) -> bool:
    """Whether an event tells something that a pass has not answered: our own status writes do not.

    A settled resource that is merely seen for the first time needs none: the operator's own LIST covers it.
    """
    metadata, status = body.get("metadata", {}), body.get("status", {})
    if kind == "DELETED" or metadata.get("deletionTimestamp"):
        return True
    if metadata.get("generation") != status.get("observedGeneration"):
        return True
    # A tool that replaces resources takes the finalizer away, which makes no new generation.
    is_wanted = body.get("spec", {}).get("deletionPolicy") == "Release"
    if is_wanted is not (FINALIZER in metadata.get("finalizers", [])):
        return True
    token = metadata.get("annotations", {}).get(ANNOTATION_RECONCILE)
    return token is not None and token != status.get("lastHandledReconcileAt")


class Approvals:
    """Tells whether the approval on a resource came or went: annotations make no new generation."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def changed(self, kind: str | None, body: Mapping[str, Any]) -> bool:
        """Whether the annotation differs from the last sight of the resource."""
        metadata = body.get("metadata", {})
        uid, approval = metadata.get("uid"), metadata.get("annotations", {}).get(ANNOTATION_APPROVE)
        before = self._known.pop(uid, None)
        if approval is not None and kind != "DELETED":
            self._known[uid] = approval
        # At first sight only one that names the plan of the moment is news: it may have come after the LIST.
        is_new = approval is not None and approval == (body.get("status", {}).get("plan") or {}).get("id")
        return is_new if kind is None else before != approval


def build_settings(scope: Scope = WHOLE_CLUSTER) -> kopf.OperatorSettings:
    """Return kopf's settings for an informer that writes nothing."""
    settings = kopf.OperatorSettings()
    # To follow which resources the cluster serves takes a permission that no Role can give.
    settings.scanning.disabled = bool(scope.namespaces)
    if scope.selector is not None:
        settings.watching.label_selectors[GROUP, PLURAL] = scope.selector
    # An unrelated peering object named "default" in the cluster would pause the operator.
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.finalizer = f"{GROUP}/kopf-unused"
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.watching.reconnect_backoff = 1
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.5
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.enforce_retry_after = True
    settings.process.ultimate_exiting_timeout = 30
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf compares nothing for us, so it has nothing to remember."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        del body, extra_fields
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        del body
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        del body, patch, essence


class _NoProgress(kopf.ProgressStorage):
    """kopf retries nothing for us, so it has nothing to remember."""

    def fetch(self, *, key: object, body: kopf.Body) -> None:
        del key, body

    def store(self, *, key: object, record: object, body: kopf.Body, patch: kopf.Patch) -> None:
        del key, record, body, patch

    def purge(self, *, key: object, body: kopf.Body, patch: kopf.Patch) -> None:
        del key, body, patch

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        del body, patch, value

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
