"""The time of a pass: work counts, waiting does not."""

import asyncio

import pytest

from tair_operator import stopwatch
from tair_operator.stopwatch import timing, waiting


class Time:
    """A clock that moves when told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(stopwatch, "time", time)
    return time


def test_work_counts_and_waiting_does_not(time: Time) -> None:
    with timing() as watch:
        time.now += 3
        with waiting():
            time.now += 1000
        time.now += 4

        assert watch.seconds() == 7


async def test_it_stands_still_while_any_part_of_the_pass_waits(time: Time) -> None:
    async def part(seconds: float) -> None:
        with waiting():
            await asyncio.sleep(0)
            time.now += seconds

    with timing() as watch:
        await asyncio.gather(part(10), part(20))
        time.now += 1

        assert watch.seconds() == 1


def test_outside_a_pass_waiting_is_nothing() -> None:
    with waiting():
        pass
