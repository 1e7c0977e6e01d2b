"""What is kept, who fetches, and what a failure costs."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tair_operator.aliyun.credentials.cache import Cache, Fetched
from tair_operator.aliyun.credentials.keys import trouble
from tair_operator.ports import CloudError
from tests.fakes import FakeClock

LIFE, DUE = 100.0, 60.0


@dataclass
class Source:
    """Returns one number after the other, each good for a while; or fails."""

    clock: FakeClock
    fetches: int = 0
    failure: CloudError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self) -> Fetched[int]:
        self.fetches += 1
        number = self.fetches
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Fetched(number, self.clock.ticks + DUE, self.clock.ticks + LIFE)


@pytest.fixture
def source() -> Source:
    return Source(FakeClock())


@pytest.fixture
def cache(source: Source) -> Cache[int]:
    return Cache(source.fetch, source.clock.boottime)


async def failed(cache: Cache[int]) -> CloudError:
    with pytest.raises(CloudError) as caught:
        await cache.get()
    return caught.value


async def test_of_many_who_ask_at_once_one_fetches_and_all_get_the_same(source: Source, cache: Cache[int]) -> None:
    source.gate.clear()
    asking = [asyncio.create_task(cache.get()) for _ in range(50)]
    await asyncio.sleep(0)
    source.gate.set()

    assert await asyncio.gather(*asking) == [1] * 50
    assert source.fetches == 1


async def test_of_many_who_ask_at_once_one_fails_and_all_get_the_same_error(source: Source, cache: Cache[int]) -> None:
    source.failure = trouble("CredentialsMissing", "none")
    results = await asyncio.gather(*(cache.get() for _ in range(50)), return_exceptions=True)

    assert {str(result) for result in results} == {"Credentials: CredentialsMissing: none"}
    assert len({id(result) for result in results}) == 50
    assert source.fetches == 1


async def test_what_is_kept_serves_until_it_is_due(source: Source, cache: Cache[int]) -> None:
    first = await cache.get()
    source.clock.advance(DUE)
    still = await cache.get()
    source.clock.advance(1)

    assert (first, still, await cache.get()) == (1, 1, 2)


async def test_while_one_refreshes_the_others_use_what_is_there_and_do_not_wait(
    source: Source, cache: Cache[int]
) -> None:
    await cache.get()
    source.clock.advance(DUE + 1)
    source.gate.clear()
    refreshing = asyncio.create_task(cache.get())
    await asyncio.sleep(0)

    async with asyncio.timeout(1):
        others = [await cache.get() for _ in range(3)]
    source.gate.set()

    assert others == [1, 1, 1]
    assert await refreshing == 2


async def test_a_refresh_that_fails_keeps_what_is_there_says_so_and_is_not_repeated_for_a_minute(
    source: Source, cache: Cache[int], caplog: pytest.LogCaptureFixture
) -> None:
    await cache.get()
    source.clock.advance(DUE + 1)
    source.failure = trouble("ServiceUnavailable", "later", action="AssumeRole")

    seen = []
    for _ in range(35):
        seen.append(await cache.get())
        source.clock.advance(1)

    assert seen == [1] * 35
    assert source.fetches == 2
    assert caplog.messages == [
        "Not refreshed; what is there serves for another 39 s: AssumeRole: ServiceUnavailable: later"
    ]

    source.failure = None
    source.clock.advance(60)
    assert await cache.get() == 3


async def test_what_has_ended_is_not_used_when_it_cannot_be_fetched_anew(source: Source, cache: Cache[int]) -> None:
    await cache.get()
    source.clock.advance(LIFE + 1)
    source.failure = trouble("ServiceUnavailable", "later")

    assert (await failed(cache)).code == "ServiceUnavailable"


async def test_after_a_failure_there_is_a_pause_and_then_another_attempt(source: Source, cache: Cache[int]) -> None:
    source.failure = trouble("CredentialsMissing", "none")
    await failed(cache)
    source.failure = None
    source.clock.advance(4.9)
    during = await failed(cache)
    source.clock.advance(0.1)

    assert during.message == "none"
    assert (await cache.get(), source.fetches) == (2, 2)


async def test_a_pause_that_was_asked_for_is_kept(source: Source, cache: Cache[int]) -> None:
    source.failure = trouble("Throttling.User", "slow down", retry_after=timedelta(seconds=20))
    await failed(cache)
    source.clock.advance(19)
    await failed(cache)
    source.clock.advance(1)
    await failed(cache)

    assert source.fetches == 2


async def test_a_remembered_failure_keeps_no_traceback(source: Source, cache: Cache[int]) -> None:
    source.failure = trouble("CredentialsMissing", "none")
    await failed(cache)

    assert cache._failure is not None
    assert cache._failure.__traceback__ is None


async def test_what_was_dropped_is_fetched_by_the_next_who_asks(source: Source, cache: Cache[int]) -> None:
    await cache.get()
    cache.invalidate()

    assert cache.known is None
    assert await cache.get() == 2


async def test_what_was_dropped_during_a_refresh_that_fails_is_not_used_again(
    source: Source, cache: Cache[int]
) -> None:
    await cache.get()
    source.clock.advance(DUE + 1)
    source.failure = trouble("ServiceUnavailable", "later")
    source.gate.clear()
    refreshing = asyncio.create_task(failed(cache))
    await asyncio.sleep(0)
    cache.invalidate()
    source.gate.set()

    assert (await refreshing).code == "ServiceUnavailable"


async def test_what_is_too_young_to_have_been_refused_is_not_dropped(source: Source) -> None:
    cache = Cache(source.fetch, source.clock.boottime, young=timedelta(seconds=5))
    await cache.get()
    source.clock.advance(4.9)
    cache.invalidate()
    kept = cache.known
    source.clock.advance(0.1)
    cache.invalidate()

    assert (kept, cache.known) == (1, None)


async def test_who_gives_up_while_fetching_leaves_the_turn_to_the_next(source: Source, cache: Cache[int]) -> None:
    source.gate.clear()
    first = asyncio.create_task(cache.get())
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.get())
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()

    assert await second == 2
    assert first.cancelled()
