"""Type jitter: the same reply, with the types that the real API sometimes has instead.

The API pages contradict each other (``"Port": "6379"`` in one language, ``"Port": 6379`` in the other), so a client has
to bear all of these. Pure: a reply's fields in, other fields out.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

from pydantic import Field

INTEGER = re.compile(r"0|[1-9][0-9]{0,14}")
DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,5})\.[0-9]{1,5}")
# What people name stays text, however it looks.
NAMES = frozenset({"InstanceName", "Key", "Value"})
NET_INFO_ITEMS = "NetInfoItems"
DIRECT = "DirectConnection"


class Flavour(StrEnum):
    """One way in which a reply may differ; several go together."""

    NUMBERS_AS_TEXT = "NumbersAsText"
    TEXT_AS_NUMBERS = "TextAsNumbers"
    NO_DIRECT_CONNECTION = "NoDirectConnection"
    NO_ZERO_DIRECT_CONNECTION = "NoZeroDirectConnection"
    NET_INFO_OBJECT = "NetInfoObject"
    NET_INFO_NULL = "NetInfoNull"
    NET_INFO_LIST = "NetInfoList"


Flavours = list[Annotated[Flavour, Field(strict=False)]]
EMPTY: dict[Flavour, object] = {Flavour.NET_INFO_OBJECT: {}, Flavour.NET_INFO_NULL: None, Flavour.NET_INFO_LIST: []}


def jittered(fields: dict[str, object], flavours: Collection[Flavour]) -> dict[str, object]:
    """Return the fields of a reply as these flavours write them."""
    return {
        name: _bent(name, value, flavours) for name, value in fields.items() if not _left_out(name, value, flavours)
    }


def _left_out(name: str, value: object, flavours: Collection[Flavour]) -> bool:
    if name != DIRECT:
        return False
    return Flavour.NO_DIRECT_CONNECTION in flavours or (value == 0 and Flavour.NO_ZERO_DIRECT_CONNECTION in flavours)


def _bent(name: str, value: object, flavours: Collection[Flavour]) -> object:
    if name == NET_INFO_ITEMS:
        for flavour, empty in EMPTY.items():
            if flavour in flavours:
                return empty
    match value:
        case dict():
            return jittered(value, flavours)
        case list():
            return [_bent("", item, flavours) for item in value]
        case bool():
            return value
        case int() if Flavour.NUMBERS_AS_TEXT in flavours:
            return str(value)
        case str() if Flavour.TEXT_AS_NUMBERS in flavours and name not in NAMES:
            return _number(value)
        case _:
            return value


def _number(text: str) -> object:
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text
