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

    async def _create(self, resource: TairInstance, place: Place, wanted: Body) -> None:
        """Create the object by applying it, which needs no permission beyond its name, as a POST would.

        It is marked as ours only after it was us who created it: whoever dies in
        between must not leave the mark on an object of somebody else.
        """
        unmarked = wanted | {"metadata": {**wanted["metadata"], "annotations": {}}}
        code, body = await self._apply(resource, place, unmarked, force=False)
        self._judge(code, body, resource, place)
        if code == CREATED:
            self._judge(*await self._apply(resource, place, wanted, force=False), resource, place)
            return
        # Somebody created it since it was looked for. What was added to it is taken back.
        bare = {key: wanted[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": place.name}}
        self._judge(*await self._apply(resource, place, bare, force=False), resource, place)
        raise _not_ours(place)

    async def _apply(self, resource: TairInstance, place: Place, wanted: Body, *, force: bool) -> tuple[int, Body]:
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
                f"patch and delete on {_plural(place)} {place.name} to the operator's ServiceAccount "
                f"({body.get('message', '')})"
            )
            raise ForbiddenError(message)
        if code == UNPROCESSABLE:
            message = f"{place.kind} {place.name} is refused by the API server: {body.get('message', '')}"
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
    metadata = stored.get("metadata") or {}
    owner = (metadata.get("annotations") or {}).get(ANNOTATION_OWNER)
    if owner is not None:
        return bool(owner == resource.metadata.name)
    # Created by us, and we did not live to mark it: nobody else has written a field of it.
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or []}
    return managers == {COMPONENT}


def _says(stored: Body, wanted: Body) -> bool:
    """Whether the object has all that we would write; what others added is theirs."""
    data = stored.get("data") or {}
    metadata = stored.get("metadata") or {}
    return (
        _has(data, wanted["data"])
        and _has(metadata.get("labels") or {}, wanted["metadata"]["labels"])
        and _has(metadata.get("annotations") or {}, wanted["metadata"]["annotations"])
    )


def _has(stored: Body, wanted: Body) -> bool:
    return all(stored.get(key) == value for key, value in wanted.items())


def _plural(place: Place) -> str:
    return f"{place.kind.lower()}s"


def _path(resource: TairInstance, place: Place) -> str:
    return f"/api/v1/namespaces/{quote(resource.metadata.namespace)}/{_plural(place)}/{quote(place.name)}"
