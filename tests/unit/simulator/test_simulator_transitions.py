"""What an instance shows at each moment of a change."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_simulator.instances import Endpoint, Instance, NetInfoChanges, Timing
from tair_simulator.transitions import Kind, Record, accept, fail, look, settle

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OLD = Endpoint(prefix="olddirect", ip_address=IPv4Address("10.0.0.1"))
NEW = Endpoint(prefix="newdirect", ip_address=IPv4Address("10.0.0.2"))


def after(seconds: float) -> datetime:
    """Return a moment so many seconds after ``NOW``."""
    return NOW + timedelta(seconds=seconds)


def record(endpoint: Endpoint | None, **fields: Any) -> Record:  # noqa: ANN401 - any field of an instance
    """Return an instance with eight shards, of whose vSwitch 20 addresses are for it."""
    timing = fields.pop("timing", Timing(lag_seconds=1, busy_seconds=4))
    instance = Instance(
        region_id="cn-x",
        direct_connection=endpoint is not None,
        endpoint=endpoint,
        v_switch_ips=20,
        timing=timing,
        **fields,
    )
    return Record("r-1", instance, since=NOW)


def shown(subject: Record, *moments: float) -> list[tuple[str, bool]]:
    """Return the status, and whether there is a direct connection, at each of the moments."""
    views = [look(subject, after(moment)) for moment in moments]
    return [(view.status, view.endpoint is not None) for view in views]


def test_a_release_shows_nothing_then_a_busy_status_then_its_result() -> None:
    releasing = accept(record(OLD), Kind.RELEASE, None, NOW)

    assert shown(releasing, 0, 0.9, 1, 4.9, 5) == [
        ("Normal", True),
        ("Normal", True),
        ("NetworkModifying", True),
        ("NetworkModifying", True),
        ("Normal", False),
    ]


def test_an_allocation_shows_its_endpoint_at_the_end() -> None:
    allocating = accept(record(None), Kind.ALLOCATE, NEW, NOW)

    assert shown(allocating, 0, 1, 4.9) == [("Normal", False), ("NetworkModifying", False), ("NetworkModifying", False)]
    assert look(allocating, after(5)).endpoint == NEW


@pytest.mark.parametrize("status", ["Changing", None])
def test_the_busy_status_is_chosen_and_may_be_none_at_all(status: str | None) -> None:
    timing = Timing(lag_seconds=1, busy_seconds=4, busy_status=status)

    view = look(accept(record(OLD, timing=timing), Kind.RELEASE, None, NOW), after(2))

    assert (view.status, view.busy) == (status or "Normal", True)


def test_net_info_may_change_before_the_status_is_normal() -> None:
    timing = Timing(
        lag_seconds=1, busy_seconds=4, net_info_changes=NetInfoChanges.BEFORE_NORMAL, net_info_offset_seconds=2
    )

    releasing = accept(record(OLD, timing=timing), Kind.RELEASE, None, NOW)

    assert shown(releasing, 2.9, 3, 5) == [("NetworkModifying", True), ("NetworkModifying", False), ("Normal", False)]


def test_net_info_never_changes_within_the_lag() -> None:
    timing = Timing(
        lag_seconds=1, busy_seconds=4, net_info_changes=NetInfoChanges.BEFORE_NORMAL, net_info_offset_seconds=60
    )

    releasing = accept(record(OLD, timing=timing), Kind.RELEASE, None, NOW)

    assert shown(releasing, 0.9, 1) == [("Normal", True), ("NetworkModifying", False)]


def test_net_info_may_change_after_the_status_is_normal_and_then_settles_later() -> None:
    timing = Timing(
        lag_seconds=1, busy_seconds=4, net_info_changes=NetInfoChanges.AFTER_NORMAL, net_info_offset_seconds=3
    )

    releasing = accept(record(OLD, timing=timing), Kind.RELEASE, None, NOW)

    assert shown(releasing, 4.9, 5, 8) == [("NetworkModifying", True), ("Normal", True), ("Normal", False)]
    assert [look(releasing, after(moment)).busy for moment in (5, 8)] == [True, False]


def test_addresses_are_taken_at_once_and_freed_at_the_end() -> None:
    allocating = accept(record(None), Kind.ALLOCATE, NEW, NOW)
    releasing = accept(record(OLD), Kind.RELEASE, None, NOW)

    assert [look(record(None), NOW).free_ips, look(allocating, NOW).free_ips] == [20, 11]
    assert [look(releasing, after(4.9)).free_ips, look(releasing, after(5)).free_ips] == [11, 20]


def test_a_status_of_its_own_outlasts_that_of_a_change_and_ends_in_time() -> None:
    busy = accept(record(OLD, status="Changing", status_seconds=3), Kind.RELEASE, None, NOW)

    assert [status for status, _ in shown(busy, 2.9, 3, 5)] == ["Changing", "NetworkModifying", "Normal"]


def test_a_status_without_an_end_stays() -> None:
    view = look(record(OLD, status="Inactive"), after(86_400))

    assert (view.status, view.busy) == ("Inactive", True)


@given(
    st.builds(
        Timing,
        lag_seconds=st.floats(0, 10),
        busy_seconds=st.floats(0, 10),
        net_info_changes=st.sampled_from([NetInfoChanges.BEFORE_NORMAL, NetInfoChanges.AFTER_NORMAL]),
        net_info_offset_seconds=st.floats(0, 10),
        fails=st.booleans(),
    ),
    st.floats(0, 40),
)
def test_settling_changes_nothing_that_can_be_seen(timing: Timing, moment: float) -> None:
    releasing = accept(record(OLD, timing=timing), Kind.RELEASE, None, NOW)

    settled = settle(releasing, after(moment))

    assert look(settled, after(moment)) == look(releasing, after(moment))
    assert look(settled, after(100)) == look(releasing, after(100))


def test_a_change_that_fails_keeps_the_instance_busy_and_leaves_all_as_it_was() -> None:
    timing = Timing(
        lag_seconds=1,
        busy_seconds=4,
        fails=True,
        net_info_changes=NetInfoChanges.AFTER_NORMAL,
        net_info_offset_seconds=9,
    )
    releasing = accept(record(OLD, timing=timing), Kind.RELEASE, None, NOW)
    allocating = accept(record(None, timing=timing), Kind.ALLOCATE, NEW, NOW)

    assert shown(releasing, 0, 1, 5) == [("Normal", True), ("NetworkModifying", True), ("Normal", True)]
    assert shown(allocating, 1, 5) == [("NetworkModifying", False), ("Normal", False)]
    assert [look(allocating, after(moment)).free_ips for moment in (4.9, 5)] == [11, 20]
    assert look(releasing, after(5)) == look(record(OLD), after(5))


def test_a_change_under_way_can_be_bound_to_fail() -> None:
    idle = record(OLD)

    assert shown(fail(accept(idle, Kind.RELEASE, None, NOW)), 1, 5) == [("NetworkModifying", True), ("Normal", True)]
    assert fail(idle) == idle


def test_a_change_on_a_settled_change_starts_from_its_result() -> None:
    released = accept(record(OLD), Kind.RELEASE, None, NOW)

    allocating = accept(released, Kind.ALLOCATE, NEW, after(10))

    assert shown(allocating, 10, 15) == [("Normal", False), ("Normal", True)]
