"""The operator is killed again and again while manifests change, and nothing is lost or done twice.

Two dozen kills in `make test`; `make endurance` makes it three hundred
(TAIR_TEST_KILLS). The seed is printed, and TAIR_TEST_SEED takes it: it fixes the
moments and what people do, not the scheduling of the processes.
"""

import os
import random
import signal
import time
from collections import Counter
from typing import Final

import pytest

from tests.chaos.crowd import Crowd, Habit
from tests.chaos.moments import Moment, clean_up, live_until, set_trap
from tests.chaos.scenes import SETTLE, new_operator
from tests.cluster.tenants import say
from tests.cluster.watching import Judge, Proxy
from tests.stage import OperatorProcess, Stage

KILLS: Final = int(os.environ.get("TAIR_TEST_KILLS", "24"))
SEED: Final = int(os.environ.get("TAIR_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
SIZES: Final = {Habit.FLIP: 14, Habit.DRAIN: 6, Habit.DELETE: 6, Habit.HASTY: 6}
PEACE_EVERY: Final = 8
"""So many kills, and then a life that is long enough for an operation to settle."""
REST_SECONDS: Final = SETTLE + 1
MUTATING: Final = ("AllocateDirectConnection", "ReleaseDirectConnection")

pytestmark = pytest.mark.timeout(180 + 12 * KILLS)


def moments(chance: random.Random) -> list[Moment]:
    """Return when each life ends: half at random, the others at every chosen moment in turn."""
    chosen = [moment for moment in Moment if moment is not Moment.RANDOM]
    lives = [Moment.RANDOM if number % 2 else chosen[number // 2 % len(chosen)] for number in range(KILLS)]
    chance.shuffle(lives)
    return lives


def is_killed(operator: OperatorProcess) -> bool:
    operator.kill()
    return operator.exit_code() == -signal.SIGKILL


def count_calls(stage: Stage) -> int:
    return sum(len(stage.simulator.ledger(action)) for action in MUTATING)


def test_whenever_it_is_killed_each_change_is_made_once_and_every_status_is_true(stage: Stage, judge: Judge) -> None:
    say(f"TAIR_TEST_SEED={SEED} TAIR_TEST_KILLS={KILLS}")
    reached, missed = Counter[str](), Counter[str]()
    # One for each thread, or their order would depend on who is quicker.
    chance, chance_of_the_crowd = random.Random(SEED), random.Random(SEED + 1)  # noqa: S311 - no secret
    began, currents, versions = time.monotonic(), judge.currents, len(judge.versions)
    calls_before = count_calls(stage)
    tls = stage.simulator.tls
    with Proxy(stage.plane, tls) as proxy, Crowd(stage, judge, SIZES, chance_of_the_crowd) as crowd:
        operator = proxy.lead(new_operator(stage))
        operator.start()
        lives = moments(chance)
        for number, moment in enumerate(lives):
            if number % PEACE_EVERY == PEACE_EVERY - 1:
                time.sleep(2 * SETTLE)
            trap = set_trap(moment, proxy, stage.simulator, chance)
            is_as_chosen = live_until(trap, operator, chance)
            (reached if is_as_chosen else missed)[moment] += 1
            if not is_as_chosen and len(lives) < 2 * KILLS:
                lives.append(moment)
            assert is_killed(operator), operator.log.read_text()[-2000:]
            # At once, as kubelet does, and while what the dead one had sent may still be on its way.
            operator.start()
            clean_up(trap, chance, is_sprung=is_as_chosen)
        crowd.rest()
        before, calls = crowd.versions(), count_calls(stage)
        time.sleep(REST_SECONDS)
        after, calls_at_rest = crowd.versions(), count_calls(stage) - calls
        operator.__exit__()
        problems = crowd.problems()
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(reached.items()))
    say(
        f"{sum(reached.values())} kills at their moment ({kinds}), {sum(missed.values())} elsewhere; "
        f"{len(crowd.members)} resources, {crowd.changes} changes by the patient, {calls - calls_before} calls; "
        f"{len(judge.versions) - versions} versions judged, {judge.currents - currents} of them Current; "
        f"{time.monotonic() - began:.0f} s"
    )

    assert problems == []
    assert set(reached) == {moment.value for moment in Moment}
    assert after == before
    assert calls_at_rest == 0
    assert judge.currents > currents + len(crowd.members)
    assert "Traceback" not in operator.log.read_text()
