"""Old and new processes of a rolling update overlap while manifests change: each change is called once.

One update each in `make test`; `make endurance` makes it five (TAIR_TEST_UPDATES).
"""

import os
import random
import signal
import time
from typing import Final

import pytest

from tests.chaos.crowd import Crowd, Habit
from tests.chaos.scenes import new_operator
from tests.cluster.tenants import say
from tests.cluster.test_leader import ELECTED, LEASE, NAMESPACE
from tests.cluster.watching import Judge
from tests.stage import OperatorProcess, Stage

UPDATES: Final = int(os.environ.get("TAIR_TEST_UPDATES", "1"))
OVERLAP_SECONDS: Final = 3.0
SIZES: Final = {Habit.FLIP: 6, Habit.DRAIN: 2, Habit.DELETE: 2, Habit.HASTY: 2}
# Calls are fenced, and what is published is not: without a Lease, one may withdraw what the other has.
UNPUBLISHED: Final = SIZES | {Habit.DRAIN: 0, Habit.DELETE: 4}

pytestmark = pytest.mark.timeout(240 + 60 * UPDATES)


def end_in_order(operator: OperatorProcess) -> int:
    """End a process as kubelet does; return its exit code."""
    assert operator._process is not None
    operator._process.send_signal(signal.SIGTERM)
    return operator.wait()


@pytest.mark.parametrize("settings", [ELECTED, {}], ids=["with a Lease", "without a Lease"])
def test_processes_that_overlap_in_a_rolling_update_call_each_change_once(
    stage: Stage, judge: Judge, settings: dict[str, str]
) -> None:
    stage.plane.kubectl("delete", "lease", LEASE, "-n", NAMESPACE, "--ignore-not-found")
    codes, operators = [], [new_operator(stage, **settings)]
    with Crowd(stage, judge, SIZES if settings else UNPUBLISHED, random.Random(1)) as crowd:  # noqa: S311 - no secret
        operators[-1].__enter__()
        for _ in range(UPDATES):
            operators.append(new_operator(stage, **settings))
            operators[-1].__enter__()
            time.sleep(OVERLAP_SECONDS)
            codes.append(end_in_order(operators[-2]))
        crowd.rest()
        operators[-1].__exit__()
        problems = crowd.problems()
    say(f"{UPDATES} updates {'with' if settings else 'without'} a Lease: {crowd.changes} changes by the patient")

    assert problems == []
    assert codes == [0] * UPDATES
    assert crowd.changes > len(crowd.members)
    assert all("Traceback" not in operator.log.read_text() for operator in operators)
