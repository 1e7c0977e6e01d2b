"""The CRD is rendered from the models, completely, and only as far as the API server can follow."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tair_operator.crd import NotStructuralError, crd, render, structural
from tair_operator.models import TairInstanceStatus

FILE = Path(__file__).parents[2] / "crds" / "tairinstances.yaml"


def test_the_file_is_what_the_renderer_prints(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "tair_operator.crd"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert printed == FILE.read_text(), "make crds"


def test_renders_the_same_text_every_time() -> None:
    assert render() == render()


def test_the_text_is_yaml_that_means_the_data() -> None:
    assert yaml.safe_load(render()) == crd()
    # An anchor would save lines and cost readers.
    assert "&id" not in render()


def test_names_are_those_of_the_contract() -> None:
    spec = crd()["spec"]

    assert spec["group"] == "tair.alibabacloud.com"
    assert spec["scope"] == "Namespaced"
    assert spec["names"] == {
        "kind": "TairInstance",
        "listKind": "TairInstanceList",
        "plural": "tairinstances",
        "singular": "tairinstance",
        "shortNames": ["tair"],
        "categories": ["alibabacloud"],
    }
    assert [version["name"] for version in spec["versions"]] == ["v1alpha1"]


def test_only_the_status_has_a_default() -> None:
    """A default in the spec is written into the objects of users; for directConnection it could cut clients off."""
    assert [path for path, node in nodes() if "default" in node] == ["status"]


def test_the_default_of_the_status_is_a_valid_status() -> None:
    status = root()["properties"]["status"]

    jsonschema.validate(status["default"], status)
    parsed = TairInstanceStatus.model_validate(status["default"])
    ready = parsed.condition("Ready")
    assert parsed.observed_generation == -1
    assert ready is not None
    assert (ready.status, ready.reason) == ("Unknown", "Pending")


def test_explains_every_field() -> None:
    known_to_the_server = {"apiVersion", "kind", "metadata"}

    assert [path for path, node in nodes() if not node.get("description") and path not in known_to_the_server] == []


def test_no_description_shows_the_line_breaks_of_the_source() -> None:
    assert [path for path, node in nodes() if "\n" in node.get("description", "")] == []


def test_every_string_of_the_spec_and_every_list_is_bounded() -> None:
    """CEL refuses a rule whose cost it cannot bound, and an object must not fill etcd."""
    spec = [(path, node) for path, node in nodes() if path.startswith("spec")]

    assert [path for path, node in spec if node["type"] == "string" and not {"maxLength", "enum"} & node.keys()] == []
    assert [path for path, node in nodes() if node["type"] == "array" and "maxItems" not in node] == []


def test_requires_what_a_resource_cannot_be_without() -> None:
    required = {path: node["required"] for path, node in nodes() if "required" in node and path.startswith("spec")}

    assert root()["required"] == ["spec"]
    assert required == {"spec": ["instanceId", "regionId"]}


def test_conditions_merge_by_type() -> None:
    conditions = root()["properties"]["status"]["properties"]["conditions"]

    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


class Leaf(BaseModel):
    """A leaf."""

    kind: Literal["Leaf"] = "Leaf"


class Thing(BaseModel):
    """One of everything that has a structural equivalent."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    leaf: Leaf | None = None
    """Said by the field,
    on two lines.

    And a paragraph."""

    leaves: Annotated[list[Leaf], Field(max_length=2)] = Field(default_factory=list)
    small: Annotated[int, Field(ge=1, le=9, examples=[1])] = 1
    large: int


def test_inlines_references_and_drops_null_titles_defaults_and_examples() -> None:
    kind = {"type": "string", "enum": ["Leaf"]}

    assert rendered(Thing) == {
        "description": "One of everything that has a structural equivalent.",
        "type": "object",
        "required": ["large"],
        "properties": {
            "leaf": {
                "description": "Said by the field, on two lines.\n\nAnd a paragraph.",
                "type": "object",
                "properties": {"kind": kind},
            },
            "leaves": {
                "type": "array",
                "maxItems": 2,
                "items": {"description": "A leaf.", "type": "object", "properties": {"kind": kind}},
            },
            "small": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9},
            "large": {"type": "integer", "format": "int64"},
        },
    }


class Tree(BaseModel):
    """A reference to itself has no end."""

    children: "list[Tree]"


class Union(BaseModel):
    """A field has one type."""

    either: int | str


class Anything(BaseModel):
    """A field has a type."""

    anything: Any


class Pair(BaseModel):
    """A list has items of one type."""

    pair: tuple[int, str]


class Exclusive(BaseModel):
    """Kubernetes takes exclusiveMinimum for a boolean."""

    above: Annotated[int, Field(gt=0)]


class Labels(BaseModel):
    """Not needed so far; a map would need bounds."""

    labels: dict[str, str]


class Closed(BaseModel):
    """The API server prunes unknown fields; it cannot refuse them."""

    model_config = ConfigDict(extra="forbid")


class Ruled(BaseModel):
    """Has a rule of its own."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": ["of the type"]})


class RuledTwice(BaseModel):
    """The rules of one of the two would be lost."""

    ruled: Annotated[Ruled, Field(json_schema_extra={"x-kubernetes-validations": ["of the field"]})]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Tree, "Thing.children[]: refers to Tree, which is unknown or contains itself"),
        (Union, "Thing.either: a union of 2 types"),
        (
            Anything,
            "Thing.anything: type is None, not one of array, boolean, integer, number, object, string",
        ),
        (Pair, "Thing.pair: no place in a structural schema: prefixItems"),
        (Exclusive, "Thing.above: no place in a structural schema: exclusiveMinimum"),
        (Labels, "Thing.labels: no place in a structural schema: additionalProperties"),
        (Closed, "Thing: no place in a structural schema: additionalProperties"),
        (RuledTwice, "Thing.ruled: said by the field and by its type: x-kubernetes-validations"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_refuses_what_is_not_structural_and_names_the_path(model: type[BaseModel], message: str) -> None:
    with pytest.raises(NotStructuralError) as refusal:
        rendered(model)

    assert str(refusal.value) == message


def rendered(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return structural(schema, schema.pop("$defs", {}), "Thing")


def root() -> dict[str, Any]:
    schema: dict[str, Any] = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each schema of the CRD with its path; the root has the empty one."""
    todo = [("", root())]
    while todo:
        path, node = todo.pop()
        yield path, node
        todo += [(f"{path}.{name}".lstrip("."), value) for name, value in node.get("properties", {}).items()]
        if "items" in node:
            todo.append((f"{path}[]", node["items"]))
