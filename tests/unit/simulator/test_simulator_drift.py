"""What the control API may do to an instance, and how it shows one."""

from typing import Any

import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.drift import describe, patch
from tair_simulator.mistakes import InputError
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

SEED = """
instances:
  r-on:
    regionId: cn-hangzhou
    directConnection: true
    endpoint: {prefix: ordersdirect, port: 6380, ipAddress: 10.0.0.11}
  r-off: {regionId: cn-hangzhou, status: Changing, statusSeconds: 20}
"""


@pytest.fixture
def time() -> Time:
    """The clock of the cloud."""
    return Time()


@pytest.fixture
def cloud(time: Time) -> Cloud:
    """A cloud with two instances."""
    return Cloud(parse_seed(SEED), time)


def seen(cloud: Cloud, instance_id: str) -> dict[str, Any]:
    """Return the instance as the control API shows it."""
    record = cloud.find(instance_id)
    assert record is not None
    return describe(record, cloud.clock())


def test_creates_an_instance_from_its_region_alone(cloud: Cloud) -> None:
    cloud.put("r-new", {"regionId": "cn-beijing"})

    new = seen(cloud, "r-new")
    assert {name: new[name] for name in ("name", "zoneId", "status", "directConnection", "endpoint", "change")} == {
        "name": "r-new",
        "zoneId": "cn-beijing-h",
        "status": "Normal",
        "directConnection": False,
        "endpoint": None,
        "change": None,
    }


def test_somebody_allocates(cloud: Cloud) -> None:
    cloud.put("r-off", {"directConnection": True})

    assert seen(cloud, "r-off")["endpoint"]["prefix"] == "r-off-direct"


def test_somebody_releases(cloud: Cloud) -> None:
    before = seen(cloud, "r-on")["freeIps"]

    cloud.put("r-on", {"directConnection": False})

    after = seen(cloud, "r-on")
    assert (after["directConnection"], after["endpoint"], after["freeIps"] - before) == (False, None, 9)


def test_allocating_what_is_allocated_changes_nothing(cloud: Cloud) -> None:
    before = seen(cloud, "r-on")

    cloud.put("r-on", {"directConnection": True})

    assert seen(cloud, "r-on") == before


def test_somebody_renames_the_endpoint(cloud: Cloud) -> None:
    cloud.put("r-on", {"endpoint": {"prefix": "renamed123"}})

    assert seen(cloud, "r-on")["endpoint"] == {"prefix": "renamed123", "port": 6380, "ipAddress": "10.0.0.11"}


@pytest.mark.parametrize(
    ("instance_id", "written", "line"),
    [
        (
            "r-off",
            {"directConnection": True, "endpoint": {"prefix": "ordersdirect"}},
            "endpoint.prefix: is taken by another instance",
        ),
        (
            "r-off",
            {"directConnection": True, "endpoint": {"prefix": "r-on"}},
            "endpoint.prefix: is taken by another instance",
        ),
        ("ordersdirect", {"regionId": "cn-x"}, "instance id in the path: is taken as the prefix of another"),
    ],
)
def test_a_name_that_somebody_has_is_not_given_away(
    cloud: Cloud, instance_id: str, written: dict[str, object], line: str
) -> None:
    before = cloud.records()

    with pytest.raises(InputError, match=line):
        cloud.put(instance_id, written)

    assert cloud.records() == before


def test_an_instance_may_keep_its_prefix_or_take_its_own_id(cloud: Cloud) -> None:
    cloud.put("r-on", {"endpoint": {"prefix": "ordersdirect"}})
    cloud.put("r-on", {"endpoint": {"prefix": "r-on"}})

    assert seen(cloud, "r-on")["endpoint"]["prefix"] == "r-on"


def test_an_address_that_somebody_described_is_not_given_again(cloud: Cloud) -> None:
    cloud.put("r-new", {"regionId": "cn-x", "privateIp": "10.0.0.13"})
    cloud.put("r-other", {"regionId": "cn-x"})

    addresses = [seen(cloud, name)["privateIp"] for name in ("r-on", "r-off", "r-new", "r-other")]
    assert addresses == ["10.0.0.10", "10.0.0.12", "10.0.0.13", "10.0.0.14"]


def test_a_new_status_lasts_until_the_next_one(cloud: Cloud, time: Time) -> None:
    cloud.put("r-off", {"status": "Inactive"})
    time.pass_by(3600)

    assert seen(cloud, "r-off")["status"] == "Inactive"


def test_a_status_for_some_seconds_counts_from_the_patch(cloud: Cloud, time: Time) -> None:
    time.pass_by(3600)
    cloud.put("r-on", {"status": "Migrating", "statusSeconds": 5})
    time.pass_by(4)
    during = seen(cloud, "r-on")["status"]
    time.pass_by(1)

    assert [during, seen(cloud, "r-on")["status"]] == ["Migrating", "Normal"]


def test_a_patch_of_something_else_neither_prolongs_nor_revives_a_status(cloud: Cloud, time: Time) -> None:
    time.pass_by(19)
    cloud.put("r-off", {"name": "renamed"})
    during = seen(cloud, "r-off")["status"]
    time.pass_by(1)
    over = seen(cloud, "r-off")["status"]
    cloud.put("r-off", {"name": "again"})

    assert [during, over, seen(cloud, "r-off")["status"]] == ["Changing", "Normal", "Normal"]


def test_timing_is_changed_field_by_field_and_for_the_next_change_only(cloud: Cloud, time: Time) -> None:
    record = cloud.find("r-on")
    assert record is not None
    cloud.start_release(record)
    cloud.put("r-on", {"timing": {"busySeconds": 60}})
    time.pass_by(2.5)

    after = seen(cloud, "r-on")
    assert (after["directConnection"], after["timing"]["lagSeconds"], after["timing"]["busySeconds"]) == (
        False,
        0.5,
        60,
    )


def test_shows_a_change_under_way(cloud: Cloud, time: Time) -> None:
    record = cloud.find("r-on")
    assert record is not None
    cloud.start_release(record)
    time.pass_by(1)

    during = seen(cloud, "r-on")
    assert (during["busy"], during["status"], during["directConnection"]) == (True, "NetworkModifying", True)
    assert during["change"] == {
        "kind": "Release",
        "acceptedAt": "2026-01-02T03:04:05+00:00",
        "settledAt": "2026-01-02T03:04:07.500000+00:00",
    }


def test_setting_the_direct_connection_ends_a_change(cloud: Cloud, time: Time) -> None:
    record = cloud.find("r-on")
    assert record is not None
    cloud.start_release(record)
    cloud.put("r-on", {"directConnection": True})
    time.pass_by(10)

    after = seen(cloud, "r-on")
    assert (after["directConnection"], after["change"], after["busy"]) == (True, None, False)


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ([], ["(top level): must be a JSON object"]),
        ({"directConnection": "no"}, ["directConnection: Input should be a valid boolean"]),
        ({"directConnection": False, "endpoint": {}}, ["endpoint: needs directConnection: true"]),
        (
            {"timing": {"busySecond": 1, "busyStatus": "Normal"}, "computingType": "Tin"},
            [
                "computingType: Input should be 'Machine' or 'Ecs'",
                "timing.busyStatus: must not be Normal; write null for no busy status at all",
                (
                    "timing.busySecond: unknown field; allowed here: "
                    "busySeconds, busyStatus, fails, lagSeconds, netInfoChanges, netInfoOffsetSeconds"
                ),
            ],
        ),
        (
            {"timing": {"netInfoOffsetSeconds": 1}},
            ["timing.netInfoOffsetSeconds: needs netInfoChanges: BeforeNormal or AfterNormal"],
        ),
        ({"endpoint": 5}, ["endpoint: must be a mapping with the fields ipAddress, port, prefix"]),
    ],
)
def test_a_mistake_is_named_and_nothing_changes(cloud: Cloud, written: object, lines: list[str]) -> None:
    before = cloud.find("r-on")
    assert before is not None

    with pytest.raises(InputError) as caught:
        cloud.put("r-on", written)

    assert caught.value.lines == lines
    assert cloud.find("r-on") == before


def test_a_patch_of_nothing_is_the_same_instance(cloud: Cloud) -> None:
    record = cloud.find("r-on")
    assert record is not None

    assert patch(record, {}, cloud.clock()) == record


def test_reset_goes_back_to_the_seed(cloud: Cloud) -> None:
    before = [describe(record, cloud.clock()) for record in cloud.records()]
    cloud.put("r-on", {"directConnection": False})
    cloud.put("r-new", {"regionId": "cn-x"})
    assert cloud.delete("r-off")
    assert not cloud.delete("r-off")

    cloud.reset()

    assert [describe(record, cloud.clock()) for record in cloud.records()] == before
