"""A run from beginning to end: three thirds with trouble, convergence, rest, and what came of it."""

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.fleet import benchmark_stage
from tests.cluster.tenants import ALLOCATE, RELEASE
from tests.controlplane import ControlPlane
from tests.soak import judge
from tests.soak.chance import Trouble
from tests.soak.disruption import KINDS, Life
from tests.soak.records import Calls
from tests.soak.samples import Sample
from tests.soak.users import Users
from tests.stage import KEY_SECRET, Stage

REGIONS: Final = 20
CALL_TIMEOUT: Final = 2.0
LEAST_THIRD_SECONDS: Final = 120.0
"""A third that is shorter says nothing about growth, and is not judged."""
HELD_SECONDS: Final = 2.0
MOST_FAULTS: Final = 40
"""So many may wait for their call: those that are about changes wait longer."""
ONE_DAY: Final = "26h"


@dataclass(frozen=True)
class Effort:
    """How much happens, for how long; seconds, but for ``minutes``."""

    minutes: float
    resources: int
    seed: int
    changes_per_second: float
    faults_per_second: float
    disturb_every: float
    longest_pause: float = 6.0
    """How long the operator is stopped and the API server away, at most."""
    look_after_every: float = 30.0
    sample_every: float = 5.0
    settle: float = 10.0
    converge: float = 240.0
    rest: float = 60.0

    @property
    def seconds(self) -> float:
        """How long the trouble lasts."""
        return self.minutes * 60

    @property
    def is_growth_judged(self) -> bool:
        """Whether it lasts long enough to tell."""
        return self.seconds / 3 >= LEAST_THIRD_SECONDS


def effort(minutes: float, resources: int, seed: int) -> Effort:
    """Return what fits to so many resources: each is changed about every two minutes."""
    return Effort(
        minutes=minutes,
        resources=resources,
        seed=seed,
        changes_per_second=resources / 150,
        faults_per_second=max(0.5, resources / 120),
        disturb_every=min(60.0, minutes * 60 / 3 / 5),
    )


@dataclass
class Outcome:
    """What was seen, and what was wrong with it."""

    effort: Effort
    began: float
    samples: list[Sample] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    """Minutes since the beginning, and what happened then."""
    thirds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """From when to when, in minutes, one process lived."""
    converged_after: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    asked_faults: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def minute(self, at: float) -> float:
        """Return how many minutes after the beginning something was."""
        return (at - self.began) / 60


def run(effort: Effort, tell: Callable[[str], None], folder: Path) -> Outcome:
    """Run all of it on an API server of its own; the operator's log goes into the folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    with ControlPlane() as plane, benchmark_stage(plane, effort.resources, regions=REGIONS) as (stage, authority):
        stage.token_duration = ONE_DAY
        soak = _Soak(effort, plane, stage, authority, tell)
        try:
            return asyncio.run(soak.run())
        finally:
            shutil.copy(soak.life.operator.log, folder)


class _Soak:
    def __init__(
        self, effort: Effort, plane: ControlPlane, stage: Stage, authority: Path, tell: Callable[[str], None]
    ) -> None:
        self.effort, self.plane, self.stage, self.simulator = effort, plane, stage, stage.simulator
        self.calls, self.outcome = Calls(), Outcome(effort, time.time())
        # Sources of their own, so that what is done to one thing does not hang on how often another was asked.
        chances = [random.Random(f"{effort.seed} {name}") for name in ("users", "cloud", "processes", "times")]  # noqa: S311
        users, cloud, processes, self.times = chances
        self.trouble = Trouble(cloud, effort.settle / 3)
        self.users = Users(
            plane, effort.resources, REGIONS, simulator=stage.simulator, chance=users, secrets=(KEY_SECRET,)
        )
        settings = {
            "CA_FILE": authority,
            "CALLS_PER_SECOND": 20,
            "RESYNC_SECONDS": 60,
            "SETTLE_SECONDS": effort.settle,
            "STALL_GRACE_SECONDS": 5,
            "CALL_TIMEOUT_SECONDS": CALL_TIMEOUT,
        }
        operator = stage.operator("soak", **{f"TAIR_OPERATOR_{name}": str(value) for name, value in settings.items()})
        self.life = Life(plane, operator, processes, self._tell_time(tell), longest_pause=effort.longest_pause)
        self.tell = self._tell_time(tell)

    async def run(self) -> Outcome:
        async with self.users:
            await self.life.start()
            try:
                async with self._going_on(self._sample_all(), self._revive_all()):
                    await self._soak()
                    await self._converge()
                    await self._rest()
                    await self._judge()
            finally:
                self.life.is_expected_to_end = True
                self.life.operator.__exit__()
        return self.outcome

    # --- the three parts ---

    async def _soak(self) -> None:
        third = self.effort.seconds / 3
        going_on = (
            self._again_and_again(self.effort.changes_per_second, self._change),
            self._again_and_again(self.effort.faults_per_second, self._break_something),
            self._again_and_again(1 / self.effort.look_after_every, self.users.look_after_the_stalled),
        )
        async with self._going_on(*going_on):
            self.tell(f"first third: {third:.0f} s with one process, {self.effort.resources} resources")
            await self._undisturbed("first third", third)
            self.tell("second third: restarts")
            ends = time.monotonic() + third
            # Each kind comes once, however short the run is.
            while time.monotonic() + self.effort.disturb_every / 2 < ends or self.life.disturbed < len(KINDS):
                await asyncio.sleep(self.effort.disturb_every * self.times.uniform(0.5, 1))
                await self.life.disturb()
            await asyncio.sleep(max(0.0, ends - time.monotonic()))
            self.tell("last third: one process again")
            await self._undisturbed("last third", third)

    async def _undisturbed(self, name: str, seconds: float) -> None:
        began = time.time()
        await asyncio.sleep(seconds)
        self.outcome.thirds[name] = (self.outcome.minute(began), self.outcome.minute(time.time()))

    async def _converge(self) -> None:
        self.tell("no more faults, no more changes: everything has to converge")
        began = time.monotonic()
        self.simulator.clear_faults()
        finishing = asyncio.create_task(self.users.finish(self.effort.converge))
        while not finishing.done():
            await asyncio.sleep(1)
            await self.users.look_after_the_stalled()
        # What somebody has changed since the last look is seen at the next one, which nobody wants to wait for.
        await asyncio.gather(*map(self.users.ask_for_a_look, self.users.specs))
        while wrong := await self.users.wrong_ends():
            if time.monotonic() - began > self.effort.converge:
                self.outcome.problems += [f"not converged after {self.effort.converge:.0f} s: {each}" for each in wrong]
                break
            await asyncio.sleep(2)
            await self.users.look_after_the_stalled()
        self.outcome.converged_after = time.monotonic() - began
        self.tell(f"converged after {self.outcome.converged_after:.0f} s")

    async def _rest(self) -> None:
        # What was decided before the last look at the end may still be written.
        await asyncio.sleep(self.effort.settle / 3)
        before = await self._written()
        self.tell(f"rest: {self.effort.rest:.0f} s without any change")
        await asyncio.sleep(self.effort.rest)
        self.outcome.problems += judge.not_at_rest(before, await self._written())

    async def _written(self) -> judge.Written:
        await self._collect()
        while (sample := await asyncio.to_thread(Sample.take, self.life.operator)) is None:  # noqa: ASYNC110 - of a process
            await asyncio.sleep(1)
        return judge.Written(self.users.versions, sample.api_writes, len(self.calls.mutating))

    async def _judge(self) -> None:
        await self._collect()
        outcome, users, calls = self.outcome, self.users, self.calls.of_instances()
        outcome.problems += users.problems + self.life.problems
        outcome.problems += judge.unasked_releases(calls, users.wishes)
        outcome.problems += judge.repeated_releases(calls, users.meddling)
        outcome.problems += judge.unannounced_calls(calls, users.intents)
        outcome.problems += judge.invented(users.shown, self.calls.request_ids)
        for log in (self.life.operator.log, self.stage.folder / "simulator.err"):
            with log.open(encoding="utf-8") as lines:
                outcome.problems += [f"{log.name}: {each}" for each in judge.wrong_lines(lines, users.secrets)]
        if self.effort.is_growth_judged:
            for name, values in undisturbed(outcome).items():
                outcome.problems += judge.not_flat(name, values)
        outcome.events = [(outcome.minute(at), what) for at, what in self.life.events]
        outcome.counts = self._counted() | {
            f"users: {name.replace('_', ' ')}": count for name, count in sorted(users.done.items())
        }

    # --- what goes on meanwhile ---

    async def _change(self) -> None:
        self.users.do_something()

    async def _break_something(self) -> None:
        if len(await asyncio.to_thread(self.simulator.faults)) >= MOST_FAULTS:
            return
        fault = self.trouble.draw()
        asked = self.outcome.asked_faults
        asked[fault["kind"]] = asked.get(fault["kind"], 0) + 1
        await asyncio.to_thread(lambda: self.simulator.add_fault(**fault))
        if fault["kind"] == "hold":
            asyncio.get_running_loop().call_later(HELD_SECONDS, self._let_go, fault["id"])

    def _let_go(self, hold: str) -> None:
        with contextlib.suppress(Exception):
            self.simulator.let_go(hold)

    async def _sample_all(self) -> None:
        while True:
            await self._collect()
            sample = await asyncio.to_thread(Sample.take, self.life.operator)
            if sample is not None:
                minute = self.outcome.minute(time.time())
                self.outcome.samples.append(
                    replace(
                        sample,
                        minute=minute,
                        process=self.life.process,
                        ready=self.users.ready(),
                        resources=len(self.users.current),
                        faults=self.calls.faults,
                    )
                )
            await asyncio.sleep(self.effort.sample_every)

    async def _collect(self) -> None:
        self.calls.add(await asyncio.to_thread(lambda: self.simulator.ledger(after=self.calls.read_to)))

    async def _revive_all(self) -> None:
        while True:
            await self.life.revive()
            await asyncio.sleep(1)

    async def _again_and_again(self, per_second: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(self.times.expovariate(per_second))
            await work()

    @contextlib.asynccontextmanager
    async def _going_on(self, *work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Let this go on meanwhile; whatever of it breaks ends the run."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            yield
            for task in tasks:
                task.cancel()

    def _counted(self) -> dict[str, int]:
        mutating = self.calls.mutating.values()
        return {
            "versions that users saw": self.users.versions,
            "calls at the cloud": len(self.calls.request_ids),
            "calls that met a fault": self.calls.faults,
            "mutating calls": len(mutating),
            "effective releases": sum(call.is_effective and call.action == RELEASE for call in mutating),
            "effective allocations": sum(call.is_effective and call.action == ALLOCATE for call in mutating),
            "RequestIds in a status": len(self.users.shown),
        }

    def _tell_time(self, tell: Callable[[str], None]) -> Callable[[str], None]:
        return lambda words: tell(f"{self.outcome.minute(time.time()):6.1f} min  {words}")


def undisturbed(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    """Return what was measured in the two thirds in which one process lived, by the third and what it is."""
    return {
        part: {
            name: [float(getattr(sample, name)) for sample in outcome.samples if since <= sample.minute <= until]
            for name in judge.BOUNDS
        }
        for part, (since, until) in outcome.thirds.items()
    }
