"""The limiter, in virtual time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_operator.aliyun import limiter as limits
from tair_operator.aliyun.limiter import CEILING, CLOCK_EVERY, FLOOR, IDLE_MAX, PAUSE_MAX, Account, Limiter, Urgency
from tair_operator.ports import Key, Principal, PrincipalKind
from tair_operator.queue import Priority, WorkQueue, work
from tair_operator.stopwatch import timing
from tests.builders import seconds
from tests.virtual_time import now, run_virtually, virtually

HERE = Account(None, "cn-hangzhou")
TENANT = Principal("shop", PrincipalKind.SECRET, "key")


def new_limiter(rate: float = 5, burst: int = 5, ceiling: float | None = None, floor: float | None = None) -> Limiter:
    """Return a limiter on the time of the loop."""
    return Limiter(clock=asyncio.get_running_loop().time, rate=rate, burst=burst, ceiling=ceiling, floor=floor)


def steady(rate: float = 5, burst: int = 5) -> Limiter:
    """Return a limiter whose rate stays as it is."""
    return new_limiter(rate, burst, ceiling=rate)


def always(urgency: Urgency) -> Callable[[], Urgency]:
    return lambda: urgency


CHANGE, USER, CLOCK = always(Urgency.CHANGE), always(Urgency.USER), always(Urgency.CLOCK)


async def departures(limiter: Limiter, count: int, account: Account = HERE) -> list[float]:
    """Return when each of so many calls may leave, counted from now."""
    start, times = now(), []
    for _ in range(count):
        await limiter.acquire(account)
        times.append(round(now() - start, 6))
    return times


async def order_of(limiter: Limiter, calls: dict[str, Callable[[], Urgency]]) -> list[str]:
    """Return the names of the calls in the order in which they leave; the bucket is emptied first."""
    await departures(limiter, 5)
    order: list[str] = []

    async def leave(name: str, urgency: Callable[[], Urgency]) -> None:
        await limiter.acquire(HERE, urgency)
        order.append(name)

    await asyncio.gather(*(leave(name, urgency) for name, urgency in calls.items()))
    return order


# --- The rate and the burst ---


@virtually
async def test_five_leave_at_once_and_then_five_per_second() -> None:
    assert await departures(steady(), 8) == [0, 0, 0, 0, 0, 0.2, 0.4, 0.6]


@virtually
async def test_the_burst_comes_back_with_quiet_and_does_not_pile_up() -> None:
    limiter = steady()
    await departures(limiter, 5)
    await asyncio.sleep(500)

    assert await departures(limiter, 6) == [0, 0, 0, 0, 0, 0.2]


@virtually
async def test_every_account_and_region_has_a_bucket_of_its_own() -> None:
    limiter = steady()
    await departures(limiter, 5)

    assert await departures(limiter, 1, Account(None, "cn-beijing")) == [0]
    assert await departures(limiter, 1, Account(TENANT, "cn-hangzhou")) == [0]
    assert await departures(limiter, 1) == [0.2]


@given(
    st.integers(1, 6),
    st.floats(0.5, 50),
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from(Urgency)), min_size=1, max_size=40),
)
def test_no_span_of_time_sees_more_calls_than_the_rate_and_the_burst_allow(
    burst: int, rate: float, arrivals: list[tuple[float, Urgency]]
) -> None:
    times: list[float] = []

    async def leave(limiter: Limiter, urgency: Urgency) -> None:
        await limiter.acquire(HERE, always(urgency))
        times.append(asyncio.get_running_loop().time())

    async def run() -> None:
        limiter = steady(rate, burst)
        async with asyncio.TaskGroup() as group:
            for pause, urgency in arrivals:
                await asyncio.sleep(pause)
                group.create_task(leave(limiter, urgency))

    run_virtually(run())

    assert len(times) == len(arrivals)
    for first, start in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= rate * (end - start) + burst + 0.001


# --- What the cloud teaches ---


@virtually
async def test_throttling_halves_the_rate_and_ends_the_burst() -> None:
    limiter = new_limiter()
    limiter.throttled(HERE)

    assert limiter.rate(HERE) == 2.5
    assert await departures(limiter, 3) == [0.4, 0.8, 1.2]


@virtually
async def test_the_refusals_of_one_second_are_one_event() -> None:
    limiter = new_limiter()
    rates = []
    for _ in range(5):
        limiter.throttled(HERE)
        rates.append(limiter.rate(HERE))
        await asyncio.sleep(0.4)

    assert rates == [2.5, 2.5, 2.5, 1.25, 1.25]


@virtually
async def test_the_rate_stops_at_the_floor() -> None:
    limiter = new_limiter()
    for _ in range(20):
        limiter.throttled(HERE)
        await asyncio.sleep(1)

    assert limiter.rate(HERE) == FLOOR


@virtually
async def test_a_rate_below_the_floor_is_respected_and_one_above_the_ceiling_too() -> None:
    slow, fast, capped = new_limiter(rate=0.1), new_limiter(rate=1000), new_limiter(rate=20, ceiling=8)
    slow.throttled(HERE)
    await departures(fast, 100)

    assert (slow.rate(HERE), fast.rate(HERE), capped.rate(HERE)) == (0.1, 1000, 8)


@virtually
async def test_calls_that_pass_raise_the_rate_by_a_tenth_per_second_up_to_the_ceiling() -> None:
    limiter = new_limiter()
    start = now()
    while now() < start + 10:
        await limiter.acquire(HERE)
    after_ten_seconds = limiter.rate(HERE)
    while now() < start + 100:
        await limiter.acquire(HERE)

    assert 5.9 < after_ten_seconds < 6.2
    assert limiter.rate(HERE) == CEILING


@virtually
async def test_one_call_raises_a_tiny_rate_by_half_of_it_at_most() -> None:
    limiter = new_limiter(rate=0.01)
    await departures(limiter, 2)

    assert limiter.rate(HERE) == pytest.approx(0.01 * 1.5 * 1.5)


@virtually
async def test_a_rate_that_is_not_used_does_not_grow() -> None:
    limiter = new_limiter()
    await departures(limiter, 1)
    before = limiter.rate(HERE)
    await asyncio.sleep(300)

    assert limiter.rate(HERE) == before


@virtually
async def test_the_rate_does_not_grow_until_five_seconds_after_the_last_refusal() -> None:
    limiter = new_limiter()
    limiter.throttled(HERE)
    while now() < 4.5:
        await limiter.acquire(HERE)
    before = limiter.rate(HERE)
    limiter.throttled(HERE)
    lowered = limiter.rate(HERE)
    while now() < 9.4:
        await limiter.acquire(HERE)
    quiet = limiter.rate(HERE)
    while now() < 12:
        await limiter.acquire(HERE)

    assert (before, lowered, quiet) == (2.5, 1.25, 1.25)
    assert limiter.rate(HERE) > 1.25


@virtually
async def test_it_settles_below_what_the_cloud_allows() -> None:
    limiter = new_limiter()
    allowance, seen, refused, calls = 3.0, 0.0, 0, 0
    while now() < 600:
        await limiter.acquire(HERE)
        calls += 1
        allowance = min(3.0, allowance + (now() - seen) * 3)
        seen = now()
        if allowance < 1:
            refused += 1
            limiter.throttled(HERE)
        else:
            allowance -= 1

    assert refused < calls / 20
    assert calls > 600 * 3 * 0.6


@given(
    st.lists(
        st.tuples(st.sampled_from(["call", "throttled", "pause"]), st.floats(0, 4)),
        min_size=1,
        max_size=40,
    )
)
def test_a_refusal_never_raises_the_rate_and_it_stays_within_its_bounds(steps: list[tuple[str, float]]) -> None:
    async def run() -> None:
        limiter = new_limiter(ceiling=6, floor=1)
        for kind, number in steps:
            before, left = limiter.rate(HERE), limiter.pause_left(HERE)
            if kind == "call":
                await limiter.acquire(HERE)
                assert limiter.rate(HERE) >= before
            elif kind == "throttled":
                limiter.throttled(HERE, seconds(number) if number > 2 else None)
                assert limiter.rate(HERE) <= before
            else:
                limiter.pause(HERE, seconds(number))
                assert limiter.rate(HERE) == before
            assert 1 <= limiter.rate(HERE) <= 6
            if kind != "call":
                assert limiter.pause_left(HERE) >= left
            await asyncio.sleep(number)

    run_virtually(run())


@virtually
async def test_it_tells_the_rates_of_those_that_were_called() -> None:
    limiter = new_limiter()
    before = limiter.slowest(), limiter.rates(), limiter.rate(HERE), limiter.pause_left(HERE)
    there = Account(TENANT, "cn-beijing")
    limiter.throttled(HERE)
    limiter.pause(there, seconds(1))

    assert before == (5, {}, 5, timedelta(0))
    assert limiter.rates() == {HERE: 2.5, there: 5}
    assert limiter.slowest() == 2.5


@virtually
async def test_a_bucket_that_is_idle_for_long_is_forgotten_and_one_in_use_is_not() -> None:
    limiter = new_limiter()
    waited_for = Account(TENANT, "cn-hangzhou")
    limiter.throttled(HERE)
    limiter.throttled(waited_for)
    await asyncio.sleep(IDLE_MAX.total_seconds())
    limiter.pause(waited_for, seconds(1))
    await departures(limiter, 1, Account(None, "cn-beijing"))

    assert limiter.rates().keys() == {waited_for, Account(None, "cn-beijing")}
    assert limiter.rate(HERE) == 5


@virtually
async def test_a_bucket_in_which_somebody_waits_is_never_forgotten() -> None:
    limiter = steady(rate=0.001, burst=1)
    await departures(limiter, 1)
    waiting = asyncio.create_task(limiter.acquire(HERE))
    await asyncio.sleep(IDLE_MAX.total_seconds() + 1)
    await departures(limiter, 1, Account(TENANT, "cn-hangzhou"))
    known = HERE in limiter.rates()
    await waiting

    assert known
    assert now() == pytest.approx(1000, abs=1)


# --- Pauses ---


@virtually
async def test_after_a_pause_there_is_no_burst() -> None:
    limiter = steady()
    limiter.pause(HERE, seconds(3))

    assert limiter.pause_left(HERE) == seconds(3)
    assert await departures(limiter, 3) == [3, 3.2, 3.4]
    assert limiter.pause_left(HERE) == timedelta(0)


@virtually
async def test_a_refusal_may_ask_for_a_pause() -> None:
    limiter = new_limiter()
    limiter.throttled(HERE, seconds(3))

    assert await departures(limiter, 3) == [3, 3.4, 3.8]


@virtually
async def test_many_short_pauses_do_not_make_it_faster() -> None:
    limiter = steady()
    await departures(limiter, 5)
    times = []
    for _ in range(4):
        limiter.pause(HERE, seconds(0.001))
        times += await departures(limiter, 1)

    assert times == [0.2] * 4


@virtually
async def test_a_pause_also_holds_those_who_wait_already() -> None:
    limiter = steady()
    await departures(limiter, 5)
    waiting = asyncio.create_task(limiter.acquire(HERE))
    await asyncio.sleep(0.1)
    limiter.pause(HERE, seconds(3))

    await waiting

    assert now() == 3.1


@virtually
async def test_a_shorter_pause_does_not_end_a_longer_one_and_none_is_endless() -> None:
    limiter = new_limiter()
    limiter.pause(HERE, timedelta(days=1))
    limiter.pause(HERE, seconds(1))

    assert limiter.pause_left(HERE) == PAUSE_MAX


# --- Whose turn it is ---


@virtually
async def test_who_comes_first_leaves_first() -> None:
    names = [str(number) for number in range(20)]

    assert await order_of(steady(), dict.fromkeys(names, USER)) == names


@virtually
async def test_changes_go_before_looks_of_users_and_these_before_looks_of_the_clock() -> None:
    calls = {"c1": CLOCK, "u1": USER, "c2": CLOCK, "release": CHANGE, "u2": USER, "allocate": CHANGE}

    assert await order_of(steady(), calls) == ["release", "allocate", "u1", "u2", "c1", "c2"]


@virtually
async def test_one_look_in_ten_is_the_clocks_while_one_waits() -> None:
    users = [f"u{number:02}" for number in range(25)]
    calls = {"c1": CLOCK} | dict.fromkeys(users, USER) | {"c2": CLOCK, "c3": CLOCK, "change": CHANGE}

    assert CLOCK_EVERY == 10
    assert await order_of(steady(), calls) == ["change", *users[:9], "c1", *users[9:18], "c2", *users[18:], "c3"]


@virtually
async def test_a_look_becomes_more_urgent_while_it_waits() -> None:
    limiter, raised = steady(), [Urgency.CLOCK]
    asyncio.get_running_loop().call_later(0.3, raised.__setitem__, 0, Urgency.USER)
    calls = dict.fromkeys(["c1", "c2", "c3"], CLOCK) | {"raised": lambda: raised[0], "c4": CLOCK}

    assert await order_of(limiter, calls) == ["c1", "raised", "c2", "c3", "c4"]


@virtually
async def test_outside_a_pass_a_look_is_a_users() -> None:
    assert limits.urgency_of_pass()() is Urgency.USER


@virtually
async def test_the_looks_of_a_pass_are_as_urgent_as_its_key_also_after_an_edit() -> None:
    queue, limiter, stopping = WorkQueue(jitter=lambda: 0.0), steady(rate=1, burst=1), asyncio.Event()
    order: list[tuple[str, float]] = []

    async def reconcile(key: Key) -> None:
        await asyncio.gather(limiter.acquire(HERE), limiter.acquire(HERE))
        order.append((key.name, now()))
        if len(order) == 5:
            stopping.set()

    keys = [Key("shop", name) for name in ("clock", "edited", "other", "new")]
    for key in keys[:3]:
        queue.add(key, Priority.CLOCK)
    asyncio.get_running_loop().call_later(0.5, queue.add, keys[1])
    asyncio.get_running_loop().call_later(1.5, queue.add, keys[3])
    await asyncio.gather(*(work(queue, reconcile, stopping) for _ in range(4)))

    # The pass of "edited" that was under way becomes the user's, and so makes room for the one that the edit asked for.
    assert order == [("edited", 2), ("new", 4), ("edited", 6), ("clock", 7), ("other", 9)]


@virtually
async def test_an_edit_among_ten_thousand_resources_at_ten_calls_per_second_is_served_within_seconds() -> None:
    queue, limiter, stopping = WorkQueue(jitter=lambda: 0.0), steady(rate=10), asyncio.Event()
    waits: list[float] = []
    resynced = 0

    async def reconcile(key: Key) -> timedelta:
        nonlocal resynced
        await asyncio.gather(limiter.acquire(HERE), limiter.acquire(HERE))
        if key.namespace == "edited":
            waits.append(now() - float(key.name))
            # The change itself, and the look at what became of it.
            await limiter.acquire(HERE, CHANGE)
            await limiter.acquire(HERE)
            waits.append(now() - float(key.name))
        else:
            resynced += 1
        if len(waits) == 60:
            stopping.set()
        return timedelta(minutes=10)

    for number in range(10_000):
        queue.add(Key("resynced", str(number)), Priority.CLOCK)
    for second in range(3, 93, 3):
        asyncio.get_running_loop().call_later(second, queue.add, Key("edited", str(second)))
    await asyncio.gather(*(work(queue, reconcile, stopping) for _ in range(16)))
    queue.cancel_timers()

    assert max(waits) < 3
    assert resynced > 300


# --- Giving up ---


@virtually
async def test_one_that_gives_up_does_not_hold_up_the_others() -> None:
    limiter = steady()
    await departures(limiter, 5)
    first = asyncio.create_task(limiter.acquire(HERE))
    second = asyncio.create_task(limiter.acquire(HERE))
    await asyncio.sleep(0)
    first.cancel()

    await second

    assert first.cancelled()
    assert now() == 0.2


@virtually
async def test_one_that_gives_up_in_the_moment_in_which_it_may_go_gives_its_call_back() -> None:
    limiter = steady(rate=1, burst=1)
    await departures(limiter, 1)
    first = asyncio.create_task(limiter.acquire(HERE))
    second = asyncio.create_task(limiter.acquire(HERE))
    # This timer is older than the limiter's and of the same time: the call is granted while the other is cancelled.
    asyncio.get_running_loop().call_at(1.0, lambda: asyncio.get_running_loop().call_soon(first.cancel))

    await second

    assert first.cancelled()
    assert now() == 1


@virtually
async def test_the_time_of_a_pass_stands_still_while_it_waits_its_turn() -> None:
    limiter = steady(rate=1, burst=1)
    await departures(limiter, 1)
    with timing() as stopwatch:
        waiting = asyncio.create_task(limiter.acquire(HERE))
        await asyncio.sleep(0.5)
        is_standing = stopwatch._since is None
        await waiting

    assert is_standing
    assert stopwatch._since is not None


# --- What is shown of it ---


@virtually
async def test_each_region_is_shown_with_its_lowest_rate_and_all_that_wait_there() -> None:
    limiter = new_limiter()
    elsewhere, tenant = Account(None, "cn-beijing"), Account(TENANT, HERE.region_id)
    await departures(limiter, 1, elsewhere)
    for account in (HERE, tenant):
        await departures(limiter, 5, account)
        limiter.throttled(account)
    await asyncio.sleep(2)
    limiter.throttled(tenant)
    waiting = [asyncio.create_task(limiter.acquire(account)) for account in (*[HERE] * 7, tenant)]
    await asyncio.sleep(0)
    shown, rates = limiter.regions(), limiter.rates()
    await asyncio.gather(*waiting)

    assert rates[tenant] < rates[HERE] < rates[elsewhere]
    assert {region: rate for region, (rate, _) in shown.items()} == {
        "cn-beijing": rates[elsewhere],
        "cn-hangzhou": rates[tenant],
    }
    assert shown["cn-hangzhou"][1] == 2 + 1
    assert {region: count for region, (_, count) in limiter.regions().items()} == {"cn-beijing": 0, "cn-hangzhou": 0}


@virtually
async def test_a_thousand_invented_regions_are_one_more_line() -> None:
    limiter = new_limiter()
    for number in range(1000):
        await limiter.acquire(Account(TENANT, f"region-{number}"))
    limiter.throttled(Account(TENANT, "region-999"))
    shown = limiter.regions()

    assert len(shown) == limits.REGIONS_MAX + 1
    assert 2.5 <= shown["Other"][0] < 3
