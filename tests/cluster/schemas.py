"""JSON Schemas of everything that an API server serves, as files for kubeconform.

Each kind's schema comes from the server's own ``/openapi/v3``, CustomResources
included. OpenAPI lets an object have fields that it does not name, as kubectl does
with a warning; here such a field is a mistake, which is what "strict" asks for.
"""

import json
from pathlib import Path
from typing import Any, Final

from tests.controlplane import ControlPlane

LOCATION: Final = "{{ .Group }}/{{ .ResourceAPIVersion }}/{{ .ResourceKind }}.json"
"""Where kubeconform finds the schema of a kind, below the folder; ``v1`` is its own group there."""

Schema = dict[str, Any]
_REF: Final = "#/components/schemas/"


def write_schemas(plane: ControlPlane, folder: Path, group_versions: list[str]) -> None:
    """Write a file for each kind of these groups, such as ``v1`` and ``apps/v1``."""
    for group_version in group_versions:
        path = f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"
        schemas = json.loads(plane.kubectl("get", "--raw", f"/openapi/v3/{path}"))["components"]["schemas"]
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                file = folder / (kind["group"] or kind["version"]) / kind["version"] / f"{kind['kind'].lower()}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                needed = {each: _strict(schemas[each]) for each in _closure(name, schemas)}
                file.write_text(json.dumps({"$ref": f"{_REF}{name}", "components": {"schemas": needed}}))


def _closure(name: str, schemas: Schema) -> set[str]:
    """Return the names of all schemas that one refers to, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += [text.split('"', 1)[0] for text in json.dumps(schemas[current]).split(_REF)[1:]]
    return found


def _strict(schema: Any) -> Any:  # noqa: ANN401
    if not isinstance(schema, dict):
        return schema
    changed = dict(schema)
    for keyword in ("properties", "patternProperties"):
        if keyword in schema:
            changed[keyword] = {name: _strict(inner) for name, inner in schema[keyword].items()}
    for keyword in ("items", "additionalProperties", "not"):
        if keyword in schema:
            changed[keyword] = _strict(schema[keyword])
    for keyword in ("allOf", "anyOf", "oneOf"):
        if keyword in schema:
            changed[keyword] = [_strict(inner) for inner in schema[keyword]]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in schema and "additionalProperties" not in schema and not is_open:
        changed["additionalProperties"] = False
    return changed
