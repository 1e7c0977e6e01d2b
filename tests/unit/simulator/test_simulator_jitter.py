"""Type jitter: what each flavour makes of a reply."""

import pytest

from tair_simulator.jitter import Flavour, jittered

FIELDS: dict[str, object] = {
    "Port": "6379",
    "Capacity": 16384,
    "IsOrderCompleted": True,
    "EngineVersion": "5.0",
    "RequestId": "12-34",
    "Zero": "007",
    "InstanceName": "42",
    "Tags": {"Tag": [{"Key": "1", "Value": "2"}]},
    "NetInfoItems": {"InstanceNetInfo": [{"DirectConnection": 0, "Port": "1"}, {"DirectConnection": 1}]},
}


def bent(*flavours: Flavour) -> dict[str, object]:
    """Return what differs from the fields above."""
    return {name: value for name, value in jittered(FIELDS, flavours).items() if value != FIELDS[name]}


@pytest.mark.parametrize(
    ("flavours", "expected"),
    [
        ([], {}),
        (
            [Flavour.NUMBERS_AS_TEXT],
            {
                "Capacity": "16384",
                "NetInfoItems": {
                    "InstanceNetInfo": [{"DirectConnection": "0", "Port": "1"}, {"DirectConnection": "1"}]
                },
            },
        ),
        (
            [Flavour.TEXT_AS_NUMBERS],
            {
                "Port": 6379,
                "EngineVersion": 5.0,
                "NetInfoItems": {"InstanceNetInfo": [{"DirectConnection": 0, "Port": 1}, {"DirectConnection": 1}]},
            },
        ),
        (
            [Flavour.NO_DIRECT_CONNECTION],
            {"NetInfoItems": {"InstanceNetInfo": [{"Port": "1"}, {}]}},
        ),
        (
            [Flavour.NO_ZERO_DIRECT_CONNECTION],
            {"NetInfoItems": {"InstanceNetInfo": [{"Port": "1"}, {"DirectConnection": 1}]}},
        ),
        ([Flavour.NET_INFO_OBJECT], {"NetInfoItems": {}}),
        ([Flavour.NET_INFO_NULL], {"NetInfoItems": None}),
        ([Flavour.NET_INFO_LIST, Flavour.NO_DIRECT_CONNECTION], {"NetInfoItems": []}),
    ],
)
def test_changes_types_and_nothing_else(flavours: list[Flavour], expected: dict[str, object]) -> None:
    assert bent(*flavours) == expected


def test_text_and_numbers_change_places() -> None:
    changed = bent(Flavour.NUMBERS_AS_TEXT, Flavour.TEXT_AS_NUMBERS)

    assert (changed["Port"], changed["Capacity"]) == (6379, "16384")
