"""The Secret and the ConfigMap that a resource publishes its endpoint in.

The Secret follows the Service Binding specification (servicebinding.io, core
specification 1.1): its type names the kind of service, and type, provider, host,
port and uri are its keys. An object is ours when an annotation of ours on it
names this very resource; any other one is never touched. All is applied
server-side, an update with the version that was read, so labels and keys of
others stay, and a Role can name the objects that may be created.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tair_operator.cluster.server import (
    APPLY_PATCH,
    COMPONENT,
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    UNPROCESSABLE,
    Api,
    Body,
    expect,
)
from tair_operator.models import GROUP, TairInstance
from tair_operator.ports import ConflictError, ForbiddenError, NotOursError, Place

ANNOTATION_OWNER = f"{GROUP}/published-by"
CREATED = 201
BINDING_TYPE, BINDING_PROVIDER = "redis", "alibaba-cloud"


@dataclass
class Publications:
    """Publishes endpoints and withdraws them."""

    api: Api

    async def publish(self, resource: TairInstance, place: Place, host: str, port: int) -> None:
        """Write the endpoint into the object, unless it says so already."""
        wanted = _manifest(resource, place, host, port)
        stored = await self._read(resource, place)
        if stored is None:
            await self._create(resource, place, wanted)
        elif not _is_ours(stored, resource):
            raise _not_ours(place)
        elif not _says(stored, wanted):
            wanted["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
            self._judge(*await self._apply(resource, place, wanted, force=True), resource, place)

    async def _create(self, resource: TairInstance, place: Place, wanted: dict[str, Any]) -> None:
        """Create the object by applying it, which needs no permission beyond its name, as a POST would."""
        code, body = await self._apply(resource, place, wanted, force=False)
        if code == UNPROCESSABLE:
            message = f"{place.kind} {place.name} came into being meanwhile, and is of another type"
            raise ConflictError(message)
        self._judge(code, body, resource, place)
        if code != CREATED:
            # Somebody created it since it was looked for. What was added to it is taken back.
            bare = {key: wanted[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": place.name}}
            self._judge(*await self._apply(resource, place, bare, force=False), resource, place)
            raise _not_ours(place)

    async def _apply(
        self, resource: TairInstance, place: Place, wanted: dict[str, Any], *, force: bool
    ) -> tuple[int, Body]:
        query = {"fieldManager": COMPONENT, "force": str(force).lower()}
        return await self.api.request("PATCH", _path(resource, place), wanted, query, APPLY_PATCH)

    async def withdraw(self, resource: TairInstance, place: Place) -> None:
        """Delete the object if it is this resource's own."""
        stored = await self._read(resource, place)
        if stored is None or not _is_ours(stored, resource):
            return
        metadata = stored["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        }
        code, body = await self.api.request("DELETE", _path(resource, place), options)
        if code != NOT_FOUND:
            self._judge(code, body, resource, place)

    async def _read(self, resource: TairInstance, place: Place) -> Body | None:
        code, body = await self.api.request("GET", _path(resource, place))
        if code == NOT_FOUND:
            return None
        self._judge(code, body, resource, place)
        return body

    def _judge(self, code: int, body: Body, resource: TairInstance, place: Place) -> None:
        namespace = resource.metadata.namespace
        if code == FORBIDDEN:
            message = (
                f"{place.kind} {place.name} may not be written: bind a Role in namespace {namespace} with get, create, "
                f"patch and delete on {_plural(place)} {place.name} to the operator's ServiceAccount"
            )
            raise ForbiddenError(message)
        if code == CONFLICT:
            message = f"{place.kind} {namespace}/{place.name} changed while it was written"
            raise ConflictError(message)
        expect(code, body)


def _not_ours(place: Place) -> NotOursError:
    return NotOursError(
        f"{place.kind} {place.name} exists already and is not this resource's own, so the endpoint is not published "
        "there. Delete it, or choose another name in spec.publish"
    )


def _manifest(resource: TairInstance, place: Place, host: str, port: int) -> dict[str, Any]:
    uri = f"redis://{host}:{port}"
    texts = {"host": host, "port": str(port), "uri": uri}
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": place.kind,
        "metadata": {
            "name": place.name,
            "namespace": resource.metadata.namespace,
            "labels": {"app.kubernetes.io/managed-by": COMPONENT},
            "annotations": {ANNOTATION_OWNER: resource.metadata.name},
        },
    }
    if place.kind == "ConfigMap":
        return manifest | {"data": texts}
    texts |= {"type": BINDING_TYPE, "provider": BINDING_PROVIDER}
    data = {key: b64encode(text.encode()).decode() for key, text in sorted(texts.items())}
    return manifest | {"type": f"servicebinding.io/{BINDING_TYPE}", "data": data}


def _is_ours(stored: Body, resource: TairInstance) -> bool:
    annotations = (stored.get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get(ANNOTATION_OWNER) == resource.metadata.name)


def _says(stored: Body, wanted: Body) -> bool:
    """Whether the object has all that we would write; what others added is theirs."""
    data = stored.get("data") or {}
    labels = (stored.get("metadata") or {}).get("labels") or {}
    return all(data.get(key) == value for key, value in wanted["data"].items()) and all(
        labels.get(key) == value for key, value in wanted["metadata"]["labels"].items()
    )


def _plural(place: Place) -> str:
    return f"{place.kind.lower()}s"


def _path(resource: TairInstance, place: Place) -> str:
    return f"/api/v1/namespaces/{quote(resource.metadata.namespace)}/{_plural(place)}/{quote(place.name)}"
