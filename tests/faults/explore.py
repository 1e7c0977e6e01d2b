"""Runs one plan and says what was wrong about it."""

import asyncio
import gc
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.faults.faults import Plan, Step
from tests.faults.oracle import Judge
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import Errors, World
from tests.tracing import untraced
from tests.virtual_time import VirtualLoop

QUIET_SECONDS = 650.0
"""Two resyncs and a LIST: who is at rest writes nothing and calls nothing in that time."""
HORIZON = 6 * 3600.0
"""By then everything has come to its end: the longest pause after one refusal is ten minutes, and it doubles."""
RECOVERY_SECONDS = 720.0
"""How much later than without a fault the last thing may be done after one: the pause after a refusal that repeating
does not mend is ten minutes, stretched by up to a tenth, and a look may follow."""
STEP_SECONDS = 30.0
SHOWN = 5
"""How many plans that fail are told of."""
CALLS_AFTER = 4
"""How many calls of the time at rest belong to the trace: one pass of them."""

OPERATOR = logging.getLogger("tair_operator")
Change = Callable[[World], None]


@dataclass(frozen=True)
class Run:
    """What became of a plan."""

    plan: Plan
    trace: tuple[Step, ...]
    essence: dict[str, Any]
    effects: tuple[str, ...]
    violations: tuple[str, ...]
    seen: frozenset[str]
    """The reasons and outcomes that a user could read meanwhile."""
    seconds: float
    acted_at: float
    """When the operator last wrote or called something."""
    writes: int

    def explain(self) -> str:
        """Say it for a person, with what is needed to run it again."""
        lines = "\n".join(f"  - {text}" for text in self.violations)
        return (
            f"{self.plan}\n{lines}\n"
            f"  effects: {', '.join(self.effects) or 'none'}; {self.seconds:.0f} s of virtual time\n"
            f"  again: put the first line into a file in tests/faults/regressions, and run\n"
            f'  make pytest PYTEST_ARGS="tests/faults/test_regressions.py -k {self.plan.scenario}"'
        )


@asynccontextmanager
async def operating(world: World) -> AsyncIterator[None]:
    """Let the operator of a world run, and note what it logs as a bug."""
    handler, level = Errors(world.errors), OPERATOR.level
    OPERATOR.addHandler(handler)
    OPERATOR.setLevel(logging.ERROR)
    running = asyncio.create_task(world.keep_running())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        OPERATOR.removeHandler(handler)
        OPERATOR.setLevel(level)


@cache
def reference(scenario: str) -> Run:
    """Return the run in which nothing goes wrong."""
    return run(Plan(scenario), expected=None)


def explore(plan: Plan, change: Change | None = None) -> Run:
    """Run a plan and compare it with the run in which nothing goes wrong; ``change`` prepares the world differently."""
    return run(plan, expected=reference(plan.scenario), change=change)


def failing(plans: list[Plan]) -> str:
    """Run plans, and tell of those that fail."""
    # Smaller tests cover all that the operator can do.
    with untraced():
        runs = []
        for number, plan in enumerate(plans):
            if (run := explore(plan)).violations:
                runs.append(run)
            if number % 50 == 0:
                gc.collect()
    told = "\n".join(run.explain() for run in runs[:SHOWN])
    return f"{len(runs)} of {len(plans)} plans fail:\n{told}" if runs else ""


def run(plan: Plan, *, expected: Run | None, change: Change | None = None) -> Run:
    """Run a plan to its end, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_run(plan, expected, change))


async def _run(plan: Plan, expected: Run | None, change: Change | None) -> Run:
    scenario, world = SCENARIOS[plan.scenario], World(plan)
    if change is not None:
        change(world)
    judge, loop = Judge(world), asyncio.get_running_loop()
    scenario.prepare(world)
    async with operating(world):
        if scenario.happen is not None:
            await scenario.happen(world)
        happened_at = loop.time()
        while True:
            await asyncio.sleep(STEP_SECONDS)
            is_quiet = loop.time() - max(happened_at, _last(world)) > QUIET_SECONDS
            is_as_expected = expected is None or judge.essence() == expected.essence
            if (is_quiet and is_as_expected) or loop.time() > HORIZON:
                break
    found = [*judge.violations, *world.errors]
    if expected is not None:
        found += _differences(judge, expected, is_at_rest=is_quiet, skips=scenario.skips)
        # After a first fault the run is another one, in which a second may have nothing to happen to.
        is_certain = len(plan.faults) == 1
        found += [f"{fault} never happened" for fault in plan.faults if is_certain and fault not in world.seam.fired]
        late = _last(world) - expected.acted_at
        if is_certain and late > RECOVERY_SECONDS:
            found.append(f"it was over {late:.0f} s later than without a fault")
    elif not is_quiet:
        found.append("it never comes to rest")
    length = bisect_right(world.seam.times, _last(world)) + CALLS_AFTER
    trace = tuple(world.seam.trace[:length])
    writes = len(world.kubernetes.writes)
    return Run(
        plan,
        trace,
        judge.essence(),
        tuple(judge.effects()),
        tuple(found),
        frozenset(judge.reasons),
        loop.time(),
        _last(world),
        writes,
    )


def _differences(judge: Judge, expected: Run, *, is_at_rest: bool, skips: bool) -> list[str]:
    found, essence, effects = [], judge.essence(), tuple(judge.effects())
    if not is_at_rest:
        found.append("it never comes to rest: " + ", ".join(w.name for w in judge.world.kubernetes.writes[-5:]))
    if essence != expected.essence:
        found.append(f"the end is another one: {essence} instead of {expected.essence}")
    # A value that the manifest had for a moment may be missed, with what was done for it.
    is_fine = all(effects.count(name) <= expected.effects.count(name) for name in set(effects))
    if not (is_fine if skips else effects == expected.effects):
        found.append(f"what was done to the instance differs: {list(effects)} instead of {list(expected.effects)}")
    return found


def _last(world: World) -> float:
    """Return when the operator last wrote or called something."""
    writes, calls = world.kubernetes.writes, world.cloud.ledger
    return max(writes[-1].time if writes else 0.0, calls[-1].time if calls else 0.0)
