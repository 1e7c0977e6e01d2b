"""The Helm chart without Helm: what is generated is current, and its values, schema and pages know the same names."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from docs.chart import CHART, CREDENTIALS, DERIVED, FILES
from tair_operator.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
PAGES = [CHART / "README.md", ROOT / "docs/how-to/install-with-helm.md"]

Schema = dict[str, Any]


@pytest.mark.parametrize("name", FILES)
def test_what_is_generated_is_up_to_date(name: str) -> None:
    current = (CHART / name).read_text(encoding="utf-8")

    assert current == FILES[name](), "PYTHONPATH=. .venv/bin/python -P -m docs.chart"


def test_has_the_version_of_the_operator() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_what_artifact_hub_reads_is_yaml() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["annotations"]
    crds, examples, changes = (
        yaml.safe_load(annotations[f"artifacthub.io/{key}"]) for key in ("crds", "crdsExamples", "changes")
    )
    crd = yaml.safe_load((ROOT / "crds/tairinstances.yaml").read_text(encoding="utf-8"))

    assert [(each["name"], each["kind"], each["version"]) for each in crds] == [
        (crd["metadata"]["name"], crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["name"])
    ]
    assert examples[0]["spec"].keys() == {"instanceId", "regionId"}
    assert changes


def test_every_setting_has_one_place() -> None:
    settings = {snake(name) for name in SCHEMA["properties"]["settings"]["properties"]}
    credentials = {snake(name) for name in SCHEMA["properties"]["credentials"]["properties"]} & set(CREDENTIALS)

    assert not settings & (credentials | set(DERIVED))
    assert settings | credentials | set(DERIVED) == set(Settings.model_fields)


def snake(name: str) -> str:
    """Do what the chart does to the name of a value."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


def test_refuses_every_name_that_it_does_not_know() -> None:
    # What comes from Kubernetes is left to Kubernetes, and global is an umbrella chart's.
    free = {"global", "affinity", "tolerations[]", "networkPolicy.ingressFrom[]"}
    open_ones = {path for path, schema in objects("", SCHEMA) if schema.get("additionalProperties") is not False}
    maps = {path for path, schema in objects("", SCHEMA) if schema.get("additionalProperties") == {"type": "string"}}
    labels = {path for path in open_ones if path.endswith("matchLabels")}

    assert open_ones - maps - labels == free
    assert maps - labels == {
        "nodeSelector",
        "podAnnotations",
        "podLabels",
        "serviceAccount.annotations",
        "serviceMonitor.labels",
        "prometheusRule.labels",
        "dashboard.labels",
    }


def objects(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every object of the schema with its path."""
    if schema.get("type") == "object":
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects(f"{path}.{name}".lstrip("."), inner)
    if "items" in schema:
        yield from objects(f"{path}[]", schema["items"])


def leaves(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every value that is no object with names of its own."""
    for name, inner in schema["properties"].items():
        here = f"{path}.{name}".lstrip(".")
        if "properties" in inner:
            yield from leaves(here, inner)
            continue
        yield here, inner
        if "properties" in inner.get("items", {}):
            yield from leaves(f"{here}[]", inner["items"])


def test_every_value_is_explained() -> None:
    inside = re.compile(r"^resources\.")

    assert [
        path for path, schema in leaves("", SCHEMA) if not schema.get("description") and not inside.match(path)
    ] == []


def test_every_value_has_its_default_in_the_file_that_people_copy() -> None:
    # What is absent by default has no place there: settings are a map, and so are the optional parts of credentials.
    generated = re.compile(
        r"^(global|enabled|settings\..*|resources\..*|.*\[\].*|admission\.production\.namespaceSelector\..*)$"
    )
    optional = {f"credentials.{path}" for path in SCHEMA["properties"]["credentials"]["properties"]} - {
        f"credentials.{path}" for path in VALUES["credentials"]
    }
    paths = {path for path, _ in leaves("", SCHEMA) if not generated.match(path)} - optional

    assert {snake(path.removeprefix("credentials.")) for path in optional} == set(CREDENTIALS)
    assert sorted(path for path in paths if not has(VALUES, path)) == []


def has(values: Any, path: str) -> bool:  # noqa: ANN401
    for name in path.split("."):
        if name not in values:
            return False
        values = values[name]
    return True


@pytest.mark.parametrize("path", sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_defaults_and_the_sets_of_values_are_valid(path: Path) -> None:
    validator = jsonschema.Draft7Validator(SCHEMA)
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    # Helm takes a null as "without the default".
    merged = VALUES | {name: value for name, value in given.items() if value is not None}

    assert [error.message for error in validator.iter_errors(VALUES)] == []
    assert [error.message for error in validator.iter_errors(merged)] == []


def test_patterns_have_no_count_that_helm_refuses() -> None:
    patterns = re.findall(r'"pattern": "([^\n]*)"', json.dumps(SCHEMA, indent=1))
    counts = [int(number) for pattern in patterns for number in re.findall(r"[{,](\d+)", pattern)]

    assert max(counts) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_value_that_a_page_sets_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {path for path, _ in leaves("", SCHEMA)}
    named = re.findall(r"--set(?:-json|-string|-file)? '?([\w.\[\]]+)=", text)

    unknown = [name for name in named if re.sub(r"\[\d+\]", "[]", name) not in known]

    assert named
    # The mistake whose message the guide shows.
    assert unknown in ([], ["settings.resyncSecond"])


def test_every_file_of_values_on_the_page_is_valid() -> None:
    text = PAGES[1].read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    values = [block for block in blocks if "apiVersion" not in block]
    validator = jsonschema.Draft7Validator(SCHEMA)

    assert len(values) >= 3
    assert [error.message for each in values for error in validator.iter_errors(each)] == []
