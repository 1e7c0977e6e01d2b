"""Values that a structural schema allows, and what the API server makes of a resource before it stores it."""

import re
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from tests.fuzz.text import Json, odd_texts

ROOT: Final = Path(__file__).parents[2]
Schema = dict[str, Any]

_EXACT = 2**53
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))")
times = st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "1970-01-01T00:00:00Z",
        "2026-03-02T11:59:50Z",
        "2026-03-02T12:00:00.123456789Z",
        "2026-03-02t12:00:10z",
        "2026-03-02T12:00:00+23:59",
        "2027-01-01T00:00:00Z",
    ]
) | st.datetimes().map(lambda time: f"{time.replace(microsecond=0).isoformat()}Z")


@cache
def resource_schema() -> Schema:
    """Return the schema that the CRD gives a TairInstance."""
    crd = yaml.safe_load((ROOT / "crds" / "tairinstances.yaml").read_text(encoding="utf-8"))
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def of_schema(schema: Schema) -> st.SearchStrategy[Json]:
    """Return a strategy for the values that a schema allows, those at the edges more often than others."""
    match schema["type"]:
        case "object":
            fields = {name: of_schema(inner) for name, inner in schema.get("properties", {}).items()}
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: inner for name, inner in fields.items() if name in required},
                optional={name: inner for name, inner in fields.items() if name not in required},
            )
        case "array":
            keys = schema.get("x-kubernetes-list-map-keys")
            return st.lists(
                of_schema(schema["items"]),
                max_size=schema.get("maxItems", 4),
                unique_by=(lambda item: tuple(item[key] for key in keys)) if keys else None,
            )
        case "boolean":
            return st.booleans()
        case "integer":
            low, high = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
            near = [value for value in (low, high, 0, 1, 2, 200, 6379) if low <= value <= high]
            return st.sampled_from(near) | st.integers(low, high)
        case _:
            return _text(schema)


def _text(schema: Schema) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date-time":
        return times
    low, high = schema.get("minLength", 0), schema.get("maxLength", 400)
    if "pattern" in schema:
        pattern = re.compile(schema["pattern"].removesuffix("$"), re.ASCII)
        matching = st.from_regex(pattern, fullmatch=True)
        return matching.filter(lambda text: low <= len(text) <= high)
    usual = st.sampled_from(["Ready", "Reconciling", "Stalled", "Normal", "op-1", "uid-1", "r-bp1-direct.example"])
    # The API server reads UTF-8, and so stores no half of a character.
    return (usual | odd_texts.map(lambda text: text.encode("utf-8", "replace").decode())).filter(
        lambda text: low <= len(text) <= high
    )


_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    """Follow strfmt.IsDateTime of k8s.io/kube-openapi, which is laxer than RFC 3339."""
    if not isinstance(value, str):
        return True
    day, _, rest = value.lower().partition("t")
    found = _TIME.fullmatch(rest.partition("t")[0])
    if found is None or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        return False
    try:
        # Go has a year 0, which is as long as 2000.
        date.fromisoformat(day if day[:4] != "0000" else f"2000{day[4:]}")
    except ValueError:
        return False
    return found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


def is_beyond_calendar(value: Json) -> bool:
    """Whether a time is in it that passes as one and cannot be: in the year 0, or in a zone more than a day away."""
    if isinstance(value, dict | list):
        return any(is_beyond_calendar(item) for item in (value.values() if isinstance(value, dict) else value))
    if not isinstance(value, str) or not _is_date_time(value):
        return False
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return True
    return False


@cache
def _validator(part: str) -> Draft202012Validator:
    return Draft202012Validator(resource_schema()["properties"][part], format_checker=_FORMATS)


def mistakes(part: str, value: Json) -> list[str]:
    """Return what the schema says against ``spec`` or ``status``; the formats of integers count."""
    found = [f"{error.json_path}: {error.message[:200]}" for error in _validator(part).iter_errors(value)]
    return [*found, *_out_of_range(resource_schema()["properties"][part], value)]


def _out_of_range(schema: Schema, value: Json) -> list[str]:
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        return [text for name in value.keys() & inner.keys() for text in _out_of_range(inner[name], value[name])]
    if isinstance(value, list):
        return [text for item in value for text in _out_of_range(schema.get("items", {}), item)]
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_wrong = bits and is_number and (isinstance(value, float) or not -(2**bits) <= value < 2**bits)
    return [f"{value} is not {schema['format']}"] if is_wrong else []


def contradictions(spec: Json) -> list[str]:
    """Return what the CEL rules of the CRD say against a spec that is valid otherwise."""
    publish, credentials = spec.get("publish"), spec.get("credentials")
    found = []
    if publish is not None and not publish.keys() & {"secretName", "configMapName"}:
        found.append("publish names nothing")
    if credentials is not None and len(credentials.keys() & {"secretName", "serviceAccountName"}) != 1:
        found.append("credentials are not exactly one")
    names = [(part or {}).get("secretName") for part in (publish, credentials)]
    if names[0] is not None and names[0] == names[1]:
        found.append("the Secret with the keys would be overwritten")
    if 0 < spec.get("resyncSeconds", 0) < 60:
        found.append("resyncSeconds is between 0 and a minute")
    return found


def stored(schema: Schema, value: Json) -> Json:
    """Return a value as the API server would store it, if it took it.

    Fields that the schema does not know are gone, and so is a null; a number without
    a fraction is an integer, and half a character is a question mark.
    """
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        return {name: stored(inner[name], item) for name, item in value.items() if name in inner and item is not None}
    if isinstance(value, list):
        return [stored(schema.get("items", {}), item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return int(value) if isinstance(value, float) and abs(value) < _EXACT and value.is_integer() else value
