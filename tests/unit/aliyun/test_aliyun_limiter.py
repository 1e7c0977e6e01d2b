"""The limiter, on a clock of its own."""

import asyncio
from datetime import timedelta

import pytest

from tair_operator.aliyun.limiter import PAUSE_MAX, Account, Limiter

HERE = Account("key", "cn-hangzhou")


class Time:
    """A clock that moves when somebody sleeps, and when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let others run, then be later."""
        await asyncio.sleep(0)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def limiter(time: Time) -> Limiter:
    return Limiter(clock=time, sleep=time.sleep)


async def departures(limiter: Limiter, time: Time, count: int, account: Account = HERE) -> list[float]:
    """Return when each of so many calls may leave, counted from now."""
    start, times = time.now, []
    for _ in range(count):
        await limiter.acquire(account)
        times.append(round(time.now - start, 6))
    return times


async def test_five_leave_at_once_and_then_five_per_second(limiter: Limiter, time: Time) -> None:
    assert await departures(limiter, time, 8) == [0, 0, 0, 0, 0, 0.2, 0.4, 0.6]


async def test_the_burst_comes_back_with_quiet_and_does_not_pile_up(limiter: Limiter, time: Time) -> None:
    await departures(limiter, time, 5)
    time.now += 1000

    assert await departures(limiter, time, 6) == [0, 0, 0, 0, 0, 0.2]


async def test_every_account_and_region_has_a_bucket_of_its_own(limiter: Limiter, time: Time) -> None:
    await departures(limiter, time, 5)

    assert await departures(limiter, time, 1, Account("key", "cn-beijing")) == [0]
    assert await departures(limiter, time, 1, Account("other", "cn-hangzhou")) == [0]
    assert await departures(limiter, time, 1) == [0.2]


async def test_who_comes_first_leaves_first(limiter: Limiter) -> None:
    order: list[int] = []

    async def leave(number: int) -> None:
        await limiter.acquire(HERE)
        order.append(number)

    await asyncio.gather(*(leave(number) for number in range(20)))

    assert order == list(range(20))


async def test_one_that_gives_up_does_not_hold_up_the_others(limiter: Limiter, time: Time) -> None:
    await departures(limiter, time, 5)
    first = asyncio.create_task(limiter.acquire(HERE))
    second = asyncio.create_task(limiter.acquire(HERE))
    await asyncio.sleep(0)
    first.cancel()

    await second

    assert first.cancelled()
    assert round(time.now, 6) == 100.2


async def test_after_a_pause_there_is_no_burst(limiter: Limiter, time: Time) -> None:
    limiter.pause(HERE, timedelta(seconds=3))

    assert limiter.pause_left(HERE) == timedelta(seconds=3)
    assert await departures(limiter, time, 3) == [3, 3.2, 3.4]
    assert limiter.pause_left(HERE) == timedelta(0)


async def test_a_pause_also_holds_those_who_wait_already(time: Time) -> None:
    limiter = Limiter(clock=time, sleep=time.sleep)
    await departures(limiter, time, 5)
    waiting = asyncio.create_task(limiter.acquire(HERE))
    await asyncio.sleep(0)
    limiter.pause(HERE, timedelta(seconds=3))

    await waiting

    assert round(time.now, 6) == 103


async def test_a_shorter_pause_does_not_end_a_longer_one_and_none_is_endless(limiter: Limiter) -> None:
    limiter.pause(HERE, timedelta(days=1))
    limiter.pause(HERE, timedelta(seconds=1))

    assert limiter.pause_left(HERE) == PAUSE_MAX


async def test_an_urgent_call_goes_before_all_that_are_not(limiter: Limiter, time: Time) -> None:
    await departures(limiter, time, 5)
    order: list[str] = []

    async def leave(name: str, *, urgent: bool) -> None:
        await limiter.acquire(HERE, urgent=urgent)
        order.append(name)

    calls = [leave(f"look {number}", urgent=False) for number in range(3)]
    await asyncio.gather(*calls, leave("release", urgent=True), leave("allocate", urgent=True))

    assert order == ["release", "allocate", "look 0", "look 1", "look 2"]
