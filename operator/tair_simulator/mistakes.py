"""Mistakes in what a person wrote, as lines that person can act on.

Seeds, faults and the bodies of the control API are parsed by pydantic models. This module holds their common base and
turns what pydantic found into one line per mistake: the path, what is wrong, what is allowed. The value itself is
never repeated, because it may be a secret.
"""

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of everything that a person writes: camelCase names, no unknown fields, no guessed types, never changed."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        validate_by_name=True,
    )


class InputError(Exception):
    """What a person wrote cannot be used; ``lines`` holds one mistake each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__("; ".join(self.lines))


def parse(model: type[Model], written: object, *, where: str = "") -> Model:
    """Return ``written`` as a ``model``; raise ``InputError`` with every mistake, its path starting at ``where``."""
    try:
        return model.model_validate(written)
    except ValidationError as error:
        raise InputError(lines_of(model, error, where=where)) from None


def patched(model: type[Model], current: Model | None, written: object) -> Model:
    """Return a new ``model``, or ``current`` with the written fields replaced; raise ``InputError`` as ``parse``."""
    if current is None:
        return parse(model, written)
    if not isinstance(written, Mapping):
        raise InputError(["(top level): must be a JSON object"])
    return parse(model, {**current.model_dump(by_alias=True, exclude_none=True), **written})


def lines_of(model: type[BaseModel], error: ValidationError, *, where: str = "") -> list[str]:
    """Return one line for each mistake that pydantic found in a ``model``."""
    lines = []
    for mistake in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(step) for step in mistake["loc"] if step != "[key]"]
        label = ".".join([where, *map(_printable, path)] if where else map(_printable, path)) or "(top level)"
        lines.append(f"{label}: {_explain(model, path, mistake['type'], mistake['msg'])}")
    return lines


def _printable(step: str) -> str:
    # A key that somebody wrote may have line breaks in it.
    return step if step.isprintable() else ascii(step)


def _explain(model: type[BaseModel], path: list[str], kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"unknown field; allowed here: {', '.join(_fields_at(model, path[:-1]))}"
    if kind == "string_type":
        return "must be text; put it in quotes"
    if kind == "missing":
        return "is required"
    if kind in {"model_type", "model_attributes_type", "dataclass_type"}:
        return f"must be a mapping with the fields {', '.join(_fields_at(model, path))}"
    return message.removeprefix("Value error, ")


def _fields_at(kind: object, path: list[str]) -> list[str]:
    for step in path:
        kind = _model_in(_inside(kind, step))
    return sorted(_aliases(kind))


def _inside(kind: object, step: str) -> object:
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if get_origin(kind) is list:
        return get_args(kind)[0]
    return _aliases(kind)[step]


def _model_in(kind: object) -> object:
    if isinstance(kind, UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _aliases(kind: object) -> dict[str, object]:
    # A path of a mistake leads from model to model, through dictionaries and lists of models.
    fields = cast("type[BaseModel]", kind).model_fields
    return {field.alias or name: field.annotation for name, field in fields.items()}
