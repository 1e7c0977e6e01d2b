"""The heartbeat: how late the event loop is, and when that is a reason to be killed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tair_operator import heartbeat
from tair_operator.heartbeat import BEATS_KEPT, LAG_MAX_SECONDS, Heartbeat
from tests.virtual_time import virtually


class Watch:
    """The clock of the loop, which may run ahead: that is what a blocked loop looks like afterwards."""

    def __init__(self) -> None:
        self.lost = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.lost


@asynccontextmanager
async def beating(clock: Watch) -> AsyncIterator[Heartbeat]:
    beats = Heartbeat(clock)
    task = asyncio.create_task(beats.beat())
    await asyncio.sleep(0.5)
    try:
        yield beats
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_nothing_is_late_before_it_has_begun() -> None:
    beats = Heartbeat()

    assert (beats.lag(), beats.is_late()) == (0.0, None)


@virtually
async def test_a_loop_that_turns_is_not_late() -> None:
    async with beating(Watch()) as beats:
        await asyncio.sleep(600)

        assert (beats.lag(), beats.is_late()) == (0.0, None)


@virtually
async def test_a_block_that_is_over_shows_for_a_minute_and_fails_the_probe_for_a_second() -> None:
    clock = Watch()
    async with beating(clock) as beats:
        clock.lost += 20
        blocked = beats.is_late()
        await asyncio.sleep(0.6)
        just_after = beats.is_late()
        await asyncio.sleep(1)
        later, lag = beats.is_late(), beats.lag()
        await asyncio.sleep(BEATS_KEPT)

        assert blocked == "the event loop is 19.5 s late"
        assert just_after == "the event loop is 20.0 s late"
        assert (later, lag) == (None, 20.0)
        assert beats.lag() == 0.0


@virtually
async def test_a_lag_that_is_still_bearable_is_a_metric_and_no_reason_to_be_killed() -> None:
    clock = Watch()
    async with beating(clock) as beats:
        clock.lost += LAG_MAX_SECONDS
        await asyncio.sleep(0.6)

        assert (beats.lag(), beats.is_late()) == (LAG_MAX_SECONDS, None)


@virtually
async def test_a_beat_that_has_stopped_is_noticed() -> None:
    async with beating(Watch()) as beats:
        pass
    await asyncio.sleep(30)

    assert beats.is_late() == "the event loop is 29.5 s late"


async def test_a_loop_that_is_really_blocked_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    beats = Heartbeat()
    task = asyncio.create_task(beats.beat())
    await asyncio.sleep(0.02)
    time.sleep(0.3)  # noqa: ASYNC251 - to block it is the point
    await asyncio.sleep(0.02)
    task.cancel()

    assert beats.lag() > 0.25
