"""Text and JSON as it should not be: what all targets draw their oddities from."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Json = Any
"""Whatever a JSON text may say."""

# JSON that Python does not write itself: put in by name after everything else is written.
RAW = {
    "@giant": "9" * 5000,
    "@deep": "[" * 3000 + "]" * 3000,
    "@huge": "1e999",
    "@nan": "NaN",
    "@minus": "-0.0",
    "@unclosed": '"',
}
odd_texts = st.sampled_from(
    ["", " ", "\x00", "a\r\nb", "\u202eevil", "\ud800", "\ufeff", "0", "1", "true", "null", "None", "٣", "x" * 5000]
) | st.text(max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**31, 2**63, -(2**63), 1.5, 1e300, *RAW])
    | st.integers()
    | odd_texts
)
odd_json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3), max_leaves=6
)


@st.composite
def mutated(draw: st.DrawFn, value: Json, odd: st.SearchStrategy[Json] = odd_json) -> Json:
    """Return a JSON value with one to three of its places removed, renamed, doubled or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value, odd)
    return value


def _changed(draw: st.DrawFn, value: Json, odd: st.SearchStrategy[Json]) -> Json:
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        kind = draw(st.integers(0, 5))
        rest = {key: item for key, item in value.items() if key != name}
        if kind == 0:
            return rest
        if kind == 1:
            rename: Callable[[str], str] = draw(st.sampled_from([str.lower, str.upper, lambda text: f"{text} "]))
            return {rename(name): value[name], **(rest if draw(st.booleans()) else value)}
        return {**value, name: _changed(draw, value[name], odd)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            return value[:at] + value[at + 1 :]
        item = value[at] if kind == 1 else _changed(draw, value[at], odd)
        return [*value[:at], item, *value[at + (kind != 1) :]]
    return draw(odd)


def written(value: Json) -> str:
    """Write JSON, with what Python would not write in its place."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text


@st.composite
def spoilt(draw: st.DrawFn, text: str) -> bytes:
    """Return text as bytes, now and then in another encoding, cut short, or with something around it."""
    encoded = text.encode(draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32"])), "surrogatepass")
    match draw(st.integers(0, 9)):
        case 0:
            return encoded[: draw(st.integers(0, len(encoded)))]
        case 1:
            at = draw(st.integers(0, len(encoded)))
            return encoded[:at] + draw(st.binary(max_size=4)) + encoded[at:]
        case 2:
            return draw(st.sampled_from([b"<html>", b"HTTP/1.1 200 OK\r\n\r\n", b"\x00", b"\xff"])) + encoded
        case _:
            return encoded
