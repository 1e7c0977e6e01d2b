"""Kubernetes, as the core needs it: the only writer of status.

``kubernetes.aio`` reads the configuration (in a pod or from a kubeconfig); the
requests themselves go over one bare aiohttp session, because a status patch
through its models costs twice the CPU. Both writes are JSON patches whose first
operations test what they rely on, so a stale view is refused by the API server.
"""

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import yaml
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import Configuration
from pydantic import ValidationError

from tair_operator.models import GROUP, KIND, PLURAL, VERSION, Operation, TairInstance, TairInstanceStatus
from tair_operator.ports import ClusterUnavailableError, ConflictError, Event, Key
from tair_operator.stopwatch import waiting

logger = logging.getLogger(__name__)

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TOKEN_SECONDS = 60.0
"""A mounted token is read again after this time: kubelet replaces it before it expires."""
LIST_LIMIT = 500
COMPONENT = "tair-operator"
EVENT_MESSAGE_MAX = 1024
ANSWER_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
CONFLICT, UNPROCESSABLE, NOT_FOUND = 409, 422, 404

_RESOURCES = f"/apis/{GROUP}/{VERSION}"


class ClusterConfigError(Exception):
    """There is no usable way to the API server; the message says what to do."""


@dataclass(slots=True)
class ApiServer:
    """The way to the API server: its address, whom to trust, and the token to show."""

    url: str
    tls: ssl.SSLContext | None
    ca_file: str | None = None
    token: str | None = None
    token_file: Path | None = None
    certificate: tuple[str, str | None] | None = None
    _read_at: float = field(default=float("-inf"))

    async def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request."""
        token = await self.current_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def current_token(self) -> str | None:
        """Return the token; a mounted one is read again once a minute, through a thread."""
        now = asyncio.get_running_loop().time()
        if self.token_file is not None and now - self._read_at > TOKEN_SECONDS:
            self.token = (await asyncio.to_thread(self.token_file.read_text, encoding="utf-8")).strip()
            self._read_at = now
        return self.token


async def find_api_server(environ: Mapping[str, str] = os.environ) -> ApiServer:
    """Find the API server: in the cluster when the token is mounted, else through KUBECONFIG.

    Raises:
        ClusterConfigError: neither works.

    """
    configuration = Configuration()
    in_cluster = await asyncio.to_thread(TOKEN_FILE.exists) and "KUBERNETES_SERVICE_HOST" in environ
    try:
        if in_cluster:
            await asyncio.to_thread(kubernetes_config.load_incluster_config, configuration)
        else:
            await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=environ.get("KUBECONFIG"), client_configuration=configuration, persist_config=False
            )
    # The library lets through whatever a file that is no kubeconfig makes it stumble over.
    except (kubernetes_config.ConfigException, OSError, yaml.YAMLError, TypeError, ValueError, LookupError) as error:
        # Of a file's content nothing may be shown: a token may be in it.
        is_plain = isinstance(error, (kubernetes_config.ConfigException, OSError))
        message = (
            f"no way to the Kubernetes API ({error if is_plain else type(error).__name__}): run in a pod with a "
            "ServiceAccount, or set KUBECONFIG to a readable kubeconfig"
        )
        raise ClusterConfigError(message) from (error if is_plain else None)
    bearer = configuration.api_key.get("BearerToken", "").split(" ", 1)[-1]
    return ApiServer(
        url=configuration.host.rstrip("/"),
        tls=await asyncio.to_thread(_tls, configuration) if configuration.host.startswith("https") else None,
        ca_file=configuration.ssl_ca_cert,
        token=bearer or None,
        token_file=TOKEN_FILE if in_cluster else None,
        certificate=(configuration.cert_file, configuration.key_file) if configuration.cert_file else None,
    )


@asynccontextmanager
async def open_cluster(server: ApiServer) -> AsyncIterator["KubernetesCluster"]:
    """Open the one session to the API server, for as long as the context lasts."""
    connector = aiohttp.TCPConnector(limit=32, ssl=server.tls if server.tls is not None else False)
    timeout = aiohttp.ClientTimeout(total=30, connect=5)
    headers = {"User-Agent": COMPONENT, "Accept": "application/json"}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield KubernetesCluster(server, session)


@dataclass(slots=True)
class KubernetesCluster:
    """Implements ``ports.Cluster`` on a real API server."""

    server: ApiServer
    session: aiohttp.ClientSession

    async def get(self, key: Key) -> TairInstance | None:
        """Read the newest version of a resource; None when it is gone."""
        status, body = await self._request("GET", _path(key))
        if status == NOT_FOUND:
            return None
        return _parse(_expect(status, body))

    async def claims(self, instance_id: str) -> list[TairInstance]:
        """List, live, every resource whose spec names this instance."""
        items = await self._list({"fieldSelector": f"spec.instanceId={instance_id}"})
        try:
            return [_parse(item) for item in items]
        except ValidationError as error:
            message = f"one of the resources that name {instance_id} cannot be read: {error.error_count()} mistakes"
            raise ClusterUnavailableError(message) from error

    async def list_all(self) -> list[TairInstance]:
        """List every resource, in chunks. One that cannot be parsed is reported and left out."""
        found = []
        for item in await self._list({}):
            try:
                found.append(_parse(item))
            except ValidationError:
                logger.exception("A stored resource cannot be read", extra={"resource": _name(item)})
        return found

    async def is_served(self) -> bool:
        """Whether the API server serves our resource, that is, whether the CRD is installed."""
        status, body = await self._request("GET", _RESOURCES)
        return status == 200 and any(resource.get("name") == PLURAL for resource in body.get("resources", []))  # noqa: PLR2004

    async def write_status(self, resource: TairInstance, status: TairInstanceStatus) -> TairInstance:
        """Replace the status, provided that the stored resource is still this very version."""
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource.metadata.resource_version},
            {"op": "test", "path": "/metadata/uid", "value": resource.metadata.uid},
            {"op": "add", "path": "/status", "value": _dump(status)},
        ]
        code, body = await self._request("PATCH", f"{_path(_key(resource))}/status", patch)
        if code in {CONFLICT, NOT_FOUND} or (code == UNPROCESSABLE and not _names_a_field(body)):
            message = f"{_key(resource)} changed while it was looked at"
            raise ConflictError(message)
        return _parse(_expect(code, body))

    async def write_answer(self, resource: TairInstance, operation: Operation) -> bool:
        """Store what became of a call; repeat until it is written or the resource has moved on."""
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": resource.metadata.uid},
            {"op": "test", "path": "/status/operation/id", "value": operation.id},
            {"op": "add", "path": "/status/operation", "value": _dump(operation)},
        ]
        if operation.request_id is not None:
            patch.append({"op": "add", "path": "/status/requestId", "value": operation.request_id})
        path, attempt = f"{_path(_key(resource))}/status", 0
        while True:
            try:
                code, body = await self._request("PATCH", path, patch)
                if code == NOT_FOUND or (code == UNPROCESSABLE and not _names_a_field(body)):
                    return False
                _expect(code, body)
            except ClusterUnavailableError as error:
                pause = ANSWER_PAUSES[min(attempt, len(ANSWER_PAUSES) - 1)]
                attempt += 1
                logger.warning("The answer is not recorded yet, trying again in %.1f s: %s", pause, error)
                with waiting():
                    await asyncio.sleep(pause)
            else:
                return True

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
            _expect(*await self._request("POST", path, body))
        # RuntimeError: the session was closed, since the operator is ending.
        except (ClusterUnavailableError, RuntimeError) as error:
            logger.debug("An Event was not posted: %s", error)

    async def _list(self, query: dict[str, str]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        query = query | {"limit": str(LIST_LIMIT)}
        while True:
            status, body = await self._request("GET", f"{_RESOURCES}/{PLURAL}", query=query)
            items += _expect(status, body)["items"]
            if not (token := body.get("metadata", {}).get("continue")):
                return items
            query["continue"] = token

    async def _request(
        self, method: str, path: str, body: object = None, query: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        try:
            headers = await self.server.headers()
            if method == "PATCH":
                headers["Content-Type"] = "application/json-patch+json"
            # Bounded by the timeouts of the session; an API server that hangs is no reason to be killed.
            with waiting():
                async with self.session.request(
                    method, self.server.url + path, json=body, params=query, headers=headers
                ) as response:
                    return response.status, _object(await response.read(), response.status)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            message = f"the Kubernetes API did not answer {method} {path}: {type(error).__name__}"
            raise ClusterUnavailableError(message) from error


def _object(body: bytes, status: int) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        # Of a refusal the status is enough: an unknown group is answered with a line of text.
        if status >= 400:  # noqa: PLR2004
            return {}
        raise
    return parsed if isinstance(parsed, dict) else {}


def _expect(status: int, body: dict[str, Any]) -> dict[str, Any]:
    if status < 300:  # noqa: PLR2004
        return body
    message = f"the Kubernetes API answered {status} {body.get('reason', '')}: {body.get('message', '')}"
    raise ClusterUnavailableError(message)


def _names_a_field(body: dict[str, Any]) -> bool:
    """Tell a status that the schema refuses from a failed ``test``: only the former names the field."""
    return bool((body.get("details") or {}).get("causes"))


def _parse(item: dict[str, Any]) -> TairInstance:
    return TairInstance.model_validate(item)


def _dump(value: TairInstanceStatus | Operation) -> dict[str, Any]:
    fields = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: field for name, field in fields.items() if field != []}


def _key(resource: TairInstance) -> Key:
    return Key(resource.metadata.namespace, resource.metadata.name)


def _path(key: Key) -> str:
    return f"{_RESOURCES}/namespaces/{quote(key.namespace)}/{PLURAL}/{quote(key.name)}"


def _name(item: dict[str, Any]) -> str:
    metadata = item.get("metadata", {})
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
