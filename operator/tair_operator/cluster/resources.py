"""TairInstances and their Events: the only writer of status.

Both status writes are JSON patches whose first operations test what they rely
on, so a stale view is refused by the API server.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from tair_operator.audit import facts
from tair_operator.cluster.server import (
    COMPONENT,
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    UNPROCESSABLE,
    Api,
    Body,
    expect,
    is_refusal,
)
from tair_operator.models import FINALIZER, GROUP, KIND, PLURAL, VERSION, Operation, TairInstance, TairInstanceStatus
from tair_operator.ports import (
    ClusterRefusedError,
    ClusterUnavailableError,
    ConflictError,
    Event,
    ForbiddenError,
    Key,
)
from tair_operator.scope import WHOLE_CLUSTER, Scope
from tair_operator.stopwatch import waiting
from tair_operator.subject import key_of

logger = logging.getLogger(__name__)

LIST_LIMIT = 500
EVENT_MESSAGE_MAX = 1024
MISTAKES_MAX = 3
ANSWER_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_RESOURCES = f"/apis/{GROUP}/{VERSION}"


@dataclass
class Resources:
    """Reads TairInstances and writes what the operator reports about them."""

    api: Api
    scope: Scope = WHOLE_CLUSTER

    async def get(self, key: Key) -> TairInstance | None:
        """Read the newest version of a resource; None when it is gone, or not one of this shard any more."""
        if self.scope.selector is not None:
            # The API server says whether it matches. A label that changes later makes a new version, and the intent
            # names the one that is read here.
            query = {"fieldSelector": f"metadata.name={key.name}", "labelSelector": self.scope.selector}
            items = await self._list_at(_collection(key.namespace), query)
            return _parse(items[0]) if items else None
        status, body = await self.api.request("GET", _path(key))
        if _is_gone(status, body):
            return None
        return _parse(expect(status, body))

    async def claims(self, instance_id: str) -> list[TairInstance]:
        """List, live, every resource whose spec names this instance, those of other shards too."""
        return [_parse(item) for item in await self._list({"fieldSelector": f"spec.instanceId={instance_id}"})]

    async def list_all(self) -> AsyncIterator[list[TairInstance]]:
        """List every resource of this shard, page by page. One that cannot be parsed is reported and left out."""
        query = {"labelSelector": self.scope.selector} if self.scope.selector else {}
        for namespace in self.scope.namespaces or (None,):
            async for items in self._pages(_collection(namespace), query):
                yield [resource for item in items if (resource := _parse_listed(item)) is not None]

    async def is_served(self) -> bool:
        """Whether the API server serves our resource, that is, whether the CRD is installed.

        Where single namespaces are watched, each has to let the operator in as well: one that does not would end the
        watch of all.
        """
        status, body = await self.api.request("GET", _RESOURCES)
        if status != 200 or all(resource.get("name") != PLURAL for resource in body.get("resources", [])):  # noqa: PLR2004
            return False
        for namespace in self.scope.namespaces:
            await self._page(_collection(namespace), {"limit": "1"})
        return True

    async def write_status(self, resource: TairInstance, status: TairInstanceStatus) -> TairInstance:
        """Replace the status, provided that the stored resource is still this very version."""
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource.metadata.resource_version},
            {"op": "test", "path": "/metadata/uid", "value": resource.metadata.uid},
            {"op": "add", "path": "/status", "value": _dump(status)},
        ]
        code, body = await self.api.request("PATCH", f"{_path(key_of(resource))}/status", patch)
        if code == CONFLICT or _is_gone(code, body) or (code == UNPROCESSABLE and not is_refusal(code, body)):
            message = f"{key_of(resource)} changed while it was looked at"
            raise ConflictError(message)
        return _parse(expect(code, body))

    async def write_answer(self, resource: TairInstance, operation: Operation) -> bool:
        """Store what became of a call; repeat until the API server answers. False where the resource has moved on.

        Raises:
            ClusterRefusedError: it is not stored before somebody mends a Role, a policy or the CRD.

        """
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": resource.metadata.uid},
            {"op": "test", "path": "/status/operation/id", "value": operation.id},
            # Absent. A request that lingered on its way must not open again what a look has closed meanwhile.
            {"op": "test", "path": "/status/operation/finishedAt", "value": None},
            {"op": "add", "path": "/status/operation", "value": _dump(operation)},
        ]
        if operation.request_id is not None:
            patch.append({"op": "add", "path": "/status/requestId", "value": operation.request_id})
        path, attempt = f"{_path(key_of(resource))}/status", 0
        while True:
            try:
                code, body = await self.api.request("PATCH", path, patch)
                if _is_gone(code, body) or (code == UNPROCESSABLE and not is_refusal(code, body)):
                    # An attempt before may have written it, with an answer that was lost.
                    return await self._shows(resource, operation)
                expect(code, body)
            except ClusterRefusedError:
                raise
            except ClusterUnavailableError as error:
                pause = ANSWER_PAUSES[min(attempt, len(ANSWER_PAUSES) - 1)]
                attempt += 1
                logger.warning(
                    "%s, %s, RequestId %s: not recorded in the status yet, trying again in %.1f s: %s",
                    operation.action,
                    operation.outcome,
                    operation.request_id,
                    pause,
                    error,
                    extra=facts(resource),
                )
                with waiting():
                    await asyncio.sleep(pause)
            else:
                return True

    async def _shows(self, resource: TairInstance, operation: Operation) -> bool:
        stored = await self.get(key_of(resource))
        known = stored.status.operation if stored and stored.metadata.uid == resource.metadata.uid else None
        return known is not None and (known.id, known.outcome) == (operation.id, operation.outcome)

    async def write_finalizer(self, resource: TairInstance, *, is_wanted: bool) -> TairInstance | None:
        """Add or remove our finalizer, provided that the stored resource is still this very version."""
        finalizers = [name for name in resource.metadata.finalizers if name != FINALIZER]
        if is_wanted:
            finalizers.append(FINALIZER)
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource.metadata.resource_version},
            {"op": "test", "path": "/metadata/uid", "value": resource.metadata.uid},
            {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
        ]
        code, body = await self.api.request("PATCH", _path(key_of(resource)), patch)
        if _is_gone(code, body):
            return None
        if code == FORBIDDEN:
            message = (
                "the finalizer that makes a deletion wait may not be written: grant the operator's ServiceAccount "
                f"patch on tairinstances ({body.get('message', '')})"
            )
            raise ForbiddenError(message)
        if is_refusal(code, body):
            message = f"the finalizer that makes a deletion wait is refused: {body.get('message', '')}"
            raise ForbiddenError(message)
        if code in {CONFLICT, UNPROCESSABLE}:
            message = f"{key_of(resource)} changed while it was looked at"
            raise ConflictError(message)
        return _parse(expect(code, body))

    async def post_event(self, resource: TairInstance, event: Event) -> None:
        """Post a core/v1 Event on the resource; an API server that does not take it is no reason to stop."""
        metadata = resource.metadata
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata.name}.", "namespace": metadata.namespace},
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
            "type": event.kind,
            "reason": event.reason,
            "message": event.message[:EVENT_MESSAGE_MAX],
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            path = f"/api/v1/namespaces/{quote(metadata.namespace)}/events"
            expect(*await self.api.request("POST", path, body))
        # RuntimeError: the session was closed, since the operator is ending.
        except (ClusterUnavailableError, RuntimeError) as error:
            logger.debug("An Event was not posted: %s", error)

    async def _list(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """List in the whole scope. Without one of its namespaces the answer would be wrong, so there is none."""
        places = self.scope.namespaces or (None,)
        parts = await asyncio.gather(*(self._list_at(_collection(namespace), query) for namespace in places))
        return [item for part in parts for item in part]

    async def _list_at(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        return [item async for items in self._pages(path, query) for item in items]

    async def _pages(self, path: str, query: dict[str, str]) -> AsyncIterator[list[dict[str, Any]]]:
        query = query | {"limit": str(LIST_LIMIT)}
        while True:
            body = await self._page(path, query)
            yield body["items"]
            if not (token := body.get("metadata", {}).get("continue")):
                return
            query["continue"] = token

    async def _page(self, path: str, query: dict[str, str]) -> Body:
        status, body = await self.api.request("GET", path, query=query)
        if status == FORBIDDEN and self.scope.namespaces:
            message = (
                "a watched namespace does not let the operator list TairInstances: bind the Role there, or take the "
                f"namespace out of TAIR_OPERATOR_WATCH_NAMESPACES ({body.get('message', '')})"
            )
            raise ClusterRefusedError(message)
        return expect(status, body)


def _is_gone(status: int, body: dict[str, Any]) -> bool:
    """Tell a resource that is gone from an API server that does not serve the CRD, at its start for example."""
    return status == NOT_FOUND and body.get("reason") == "NotFound"


def _parse(item: dict[str, Any]) -> TairInstance:
    """Return a resource as it is stored.

    Raises:
        ClusterUnavailableError: it cannot be read, so nothing is known about it, and nothing may be called for it.

    """
    try:
        return TairInstance.model_validate(item)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        told = "; ".join(
            f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in mistakes[:MISTAKES_MAX]
        )
        raise ClusterUnavailableError(f"{_name(item)} is stored in a form that cannot be read: {told}") from error


def _parse_listed(item: dict[str, Any]) -> TairInstance | None:
    try:
        return _parse(item)
    except ClusterUnavailableError as error:
        logger.error("%s", error, extra={"resource": _name(item)})  # noqa: TRY400 - it says all that there is
        return None


def _dump(value: TairInstanceStatus | Operation) -> dict[str, Any]:
    fields = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: field for name, field in fields.items() if field != []}


def _collection(namespace: str | None) -> str:
    return f"{_RESOURCES}/{PLURAL}" if namespace is None else f"{_RESOURCES}/namespaces/{quote(namespace)}/{PLURAL}"


def _path(key: Key) -> str:
    return f"{_collection(key.namespace)}/{quote(key.name)}"


def _name(item: dict[str, Any]) -> str:
    metadata = item.get("metadata", {})
    return f"{metadata.get('namespace')}/{metadata.get('name')}"
