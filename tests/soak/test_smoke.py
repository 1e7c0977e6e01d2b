"""The program of ``make soak`` from beginning to end, in half a minute; growth needs longer runs to be judged."""

from pathlib import Path

import pytest

from tair_simulator.fault_kinds import KINDS
from tests.cluster.tenants import say
from tests.soak.disruption import KINDS as DISRUPTIONS
from tests.soak.report import PAGE, disruptions, plots, write
from tests.soak.run import Effort, run

pytestmark = pytest.mark.timeout(180)

SMOKE = Effort(
    minutes=0.1,
    resources=10,
    seed=4,
    changes_per_second=3,
    faults_per_second=4,
    disturb_every=0.2,
    longest_pause=1,
    look_after_every=4,
    sample_every=0.5,
    settle=5,
    converge=60,
    rest=2,
)


def test_everything_holds_through_faults_and_restarts_and_the_report_says_so(tmp_path: Path) -> None:
    outcome = run(SMOKE, say, tmp_path)
    write(outcome, tmp_path, command="make soak", machine="this machine")
    page = (tmp_path / PAGE).read_text()

    assert outcome.problems == []
    assert set(outcome.asked_faults) == set(KINDS)
    assert set(disruptions(outcome)) == set(DISRUPTIONS)
    assert outcome.counts["effective releases"] > 0
    assert outcome.counts["effective allocations"] > 0
    assert outcome.counts["calls that met a fault"] > 5
    assert outcome.samples[-1].ready == outcome.samples[-1].resources > 0
    assert "Everything held." in page
    for name in plots(outcome):
        assert f"({name})" in page
        assert "<polyline" in (tmp_path / name).read_text()
