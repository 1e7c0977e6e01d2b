"""What must not get worse: ratios within one run and numbers of writes, never seconds, since machines differ.

``make bench`` measures everything that docs/explanation/performance.md shows.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import signed_call
from benchmarks.fleet import Fleet, benchmark_stage
from benchmarks.rivals import UNLIMITED, Rival, running
from tests.controlplane import ControlPlane
from tests.stage import Stage
from tests.tracing import untraced

REGIONS = 20
RESOURCES, FLIPPED = 200, 20
LATE_SECONDS = 2.0
"""How long to wait for writes that should not come."""


@pytest.fixture(scope="module")
def cloud(control_plane: ControlPlane) -> Iterator[tuple[Stage, Path]]:
    with benchmark_stage(control_plane, RESOURCES, regions=REGIONS) as (stage, authority):
        # What other tests have left behind is about the instances of another cloud.
        stage.clear()
        yield stage, authority


def test_a_signed_call_over_tls_takes_at_most_a_twentieth_of_the_cpu_of_the_official_sdk() -> None:
    with untraced():
        ours, sdk, _ = signed_call.measure(rounds=3, calls=30)

    assert sdk.cpu_ms.median > 20 * ours.cpu_ms.median


def test_a_change_costs_three_writes_and_rest_and_a_restart_cost_none(
    control_plane: ControlPlane, cloud: tuple[Stage, Path]
) -> None:
    stage, authority = cloud

    async def run() -> tuple[int, dict[int, int], int, int]:
        async with Fleet(control_plane, RESOURCES, REGIONS) as fleet:
            with running(Rival.OURS, stage, authority, **UNLIMITED):
                await fleet.wait_settled(Rival.OURS, range(RESOURCES))
                first_looks = fleet.writes.total()
                await asyncio.sleep(LATE_SECONDS)
                at_rest = fleet.writes.total() - first_looks
                fleet.writes.clear()
                await fleet.release_all(range(FLIPPED))
                await fleet.wait_done(Rival.OURS, range(FLIPPED))
                await asyncio.sleep(LATE_SECONDS)
                changes = dict(fleet.writes)
            fleet.writes.clear()
            with running(Rival.OURS, stage, authority, **UNLIMITED):
                await asyncio.sleep(LATE_SECONDS)
                at_restart = fleet.writes.total()
        return first_looks, changes, at_rest, at_restart

    first_looks, changes, at_rest, at_restart = asyncio.run(run())

    assert first_looks == RESOURCES
    # The user's own edit, and intent, answer, result; the others are left alone.
    assert changes == dict.fromkeys(range(FLIPPED), 1 + 3)
    assert (at_rest, at_restart) == (0, 0)
