"""Looks that share a call: who shares, who does not, and what an error or a goodbye of one means to the others."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tair_operator.aliyun import batches as module
from tair_operator.aliyun.batches import SIZE_MAX, SLOW, Batches, Close, Look, Looks
from tair_operator.aliyun.limiter import Account, Limiter, Urgency
from tair_operator.models import Reason
from tair_operator.ports import CloudError, Effect, ErrorClass, Instance, Key, Principal, PrincipalKind
from tair_operator.queue import Priority, WorkQueue, work
from tair_operator.stopwatch import timing
from tests.builders import NOW
from tests.virtual_time import now, virtually

HERE = Account(None, "cn-hangzhou")


def error(reason: Reason = Reason.CLOUD_UNREACHABLE, http_status: int | None = 500, *, sent: bool = True) -> CloudError:
    return CloudError(
        "DescribeInstances", "Code", "Why.", ErrorClass.TRANSIENT, Effect.POSSIBLE, reason, http_status, sent=sent
    )


DENIED = error(Reason.ACCESS_DENIED, 403)
SILENCE = error(http_status=None)


@dataclass
class Service:
    """A cloud that lists every instance but ``missing``, one second after it was asked."""

    admitted: asyncio.Event = field(default_factory=asyncio.Event)
    """What the limiter waits for."""
    sent: list[tuple[Account, tuple[str, ...]]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    refusals: dict[str, CloudError] = field(default_factory=dict)
    """The error of every call that names this id."""
    bad_items: dict[str, CloudError] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    urgencies: list[Callable[[], Urgency]] = field(default_factory=list)
    lookup_seconds: float = 0.0
    breaks: Exception | None = None
    answered: int = 0

    def __post_init__(self) -> None:
        self.batches = Batches(self.acquire, self.send, asyncio.get_running_loop().time)

    async def acquire(self, account: Account, urgency: Callable[[], Urgency]) -> None:
        del account
        self.urgencies.append(urgency)
        await self.admitted.wait()

    async def send(self, account: Account, close: Close) -> Looks:
        await asyncio.sleep(self.lookup_seconds)
        ids = close()
        self.sent.append((account, ids))
        sent_at = NOW + timedelta(seconds=now())
        await asyncio.sleep(1 if self.slow.isdisjoint(ids) else SLOW.total_seconds() + 1)
        self.answered += 1
        if self.breaks:
            raise self.breaks
        for instance_id, refusal in self.refusals.items():
            if instance_id in ids:
                raise refusal
        found: dict[str, Look | CloudError] = {
            instance_id: (sent_at, None if instance_id in self.missing else Instance(instance_id))
            for instance_id in ids
        }
        return found | {instance_id: bad for instance_id, bad in self.bad_items.items() if instance_id in ids}

    def look(self, instance_id: str, account: Account = HERE) -> asyncio.Task[Look]:
        return asyncio.create_task(self.batches.look(account, instance_id))

    async def looks(self, *ids: str) -> list[Look | BaseException]:
        """Look at all of these at once; return the looks, or the errors."""
        return await asyncio.gather(*map(self.look, ids), return_exceptions=True)

    @property
    def asked(self) -> list[tuple[str, ...]]:
        return [ids for _, ids in self.sent]


def open_service() -> Service:
    """Return a service with a limiter that makes nobody wait."""
    service = Service()
    service.admitted.set()
    return service


def ids(count: int) -> list[str]:
    return [f"r-{number:02}" for number in range(count)]


def tasks_left() -> int:
    return len(asyncio.all_tasks()) - 1


# --- Sharing ---


@virtually
async def test_a_look_alone_is_a_call_of_one_id_and_waits_for_nobody() -> None:
    service = open_service()
    look = await service.batches.look(HERE, "r-1")

    assert look == (NOW, Instance("r-1"))
    assert service.asked == [("r-1",)]
    assert now() == 1
    assert tasks_left() == 0


@virtually
async def test_looks_at_the_same_time_share_a_call_and_each_gets_its_own_instance() -> None:
    service = open_service()
    service.missing = {"r-02"}
    looks = await service.looks(*ids(5))

    assert service.asked == [tuple(ids(5))]
    assert looks == [(NOW, None if name == "r-02" else Instance(name)) for name in ids(5)]


@virtually
async def test_a_call_has_thirty_ids_at_most() -> None:
    service = open_service()
    await service.looks(*ids(70))

    assert SIZE_MAX == 30
    assert service.asked == [tuple(ids(70)[:30]), tuple(ids(70)[30:60]), tuple(ids(70)[60:])]


@virtually
async def test_two_who_ask_for_one_instance_count_once_even_if_the_call_is_full() -> None:
    service = open_service()
    looks = await service.looks(*ids(30), "r-00", "r-29", "r-30", "r-00")

    assert service.asked == [tuple(ids(30)), ("r-30", "r-00")]
    assert looks[0] == looks[30] == (NOW, Instance("r-00"))


@virtually
async def test_regions_and_principals_share_nothing() -> None:
    service = open_service()
    there = Account(None, "cn-beijing")
    tenant = Account(Principal("shop", PrincipalKind.SECRET, "key"), "cn-hangzhou")
    await asyncio.gather(*(service.look("r-1", account) for account in (HERE, there, tenant)))

    assert service.sent == [(HERE, ("r-1",)), (there, ("r-1",)), (tenant, ("r-1",))]


@virtually
async def test_ids_gather_while_the_call_waits_for_the_limiter_and_credentials_and_no_longer() -> None:
    service = Service(lookup_seconds=1)
    early = [service.look("r-1")]
    await asyncio.sleep(5)
    early.append(service.look("r-2"))
    await asyncio.sleep(5)
    service.admitted.set()
    await asyncio.sleep(0.9)
    early.append(service.look("r-3"))
    await asyncio.sleep(0.2)
    asked_at = NOW + timedelta(seconds=now())
    late = service.look("r-4")
    looks = await asyncio.gather(*early, late)

    assert service.asked == [("r-1", "r-2", "r-3"), ("r-4",)]
    assert {sent_at for sent_at, _ in looks[:3]} == {NOW + timedelta(seconds=11)}
    assert looks[3][0] >= asked_at


# --- Urgency and time ---


@virtually
async def test_a_call_is_as_urgent_as_the_most_urgent_of_those_who_still_wait() -> None:
    service, queue, stopping = Service(), WorkQueue(jitter=lambda: 0.0), asyncio.Event()
    under_way: dict[str, asyncio.Task[Look]] = {}

    async def reconcile(key: Key) -> None:
        under_way[key.name] = service.look(key.name)
        await asyncio.wait({under_way[key.name]})

    workers = [asyncio.create_task(work(queue, reconcile, stopping)) for _ in range(2)]
    seen = []
    for name, priority in (("r-1", Priority.CLOCK), ("r-2", Priority.USER)):
        queue.add(Key("shop", name), priority)
        await asyncio.sleep(1)
        seen.append(service.urgencies[0]())
    under_way["r-2"].cancel()
    await asyncio.sleep(1)
    seen.append(service.urgencies[0]())
    # An edit of the first, which waits already; nothing more begins.
    stopping.set()
    queue.add(Key("shop", "r-1"))
    seen.append(service.urgencies[0]())
    service.admitted.set()
    await asyncio.gather(*workers)

    assert service.asked == [("r-1",)]
    assert len(service.urgencies) == 1
    assert seen == [Urgency.CLOCK, Urgency.USER, Urgency.CLOCK, Urgency.USER]


@virtually
async def test_the_time_of_every_pass_stands_still_while_the_call_waits_its_turn_and_runs_afterwards() -> None:
    service = Service()
    standing: list[list[bool]] = []

    async def a_pass(name: str) -> None:
        seen: list[bool] = []
        with timing() as stopwatch:
            look = service.look(name)
            for _ in range(2):
                await asyncio.sleep(1)
                seen.append(stopwatch._since is None)
            await look
        standing.append(seen)

    asyncio.get_running_loop().call_later(1.5, service.admitted.set)
    await asyncio.gather(a_pass("r-1"), a_pass("r-2"))

    assert standing == [[True, False], [True, False]]


@virtually
async def test_with_the_limiter_a_busy_account_needs_hardly_more_than_one_call_for_thirty_looks() -> None:
    service, limiter = Service(), Limiter(clock=asyncio.get_running_loop().time, rate=1, burst=1, ceiling=1)
    service.batches = Batches(limiter.acquire, service.send, asyncio.get_running_loop().time)
    await limiter.acquire(HERE)
    await service.looks(*ids(90))

    assert [len(asked) for asked in service.asked] == [30, 30, 30]


# --- Errors ---


@virtually
async def test_an_answer_that_is_missing_is_an_error_to_each_and_each_has_its_own() -> None:
    service = open_service()
    service.refusals = {"r-01": SILENCE}
    looks = await service.looks("r-01", "r-02", "r-01")
    errors = [look for look in looks if isinstance(look, CloudError)]

    assert service.asked == [("r-01", "r-02")]
    assert [(str(raised), raised.http_status) for raised in errors] == [(str(SILENCE), None)] * 3
    assert len({id(raised) for raised in (SILENCE, *errors)}) == 4
    assert SILENCE.__traceback__ is not errors[0].__traceback__


@pytest.mark.parametrize("refusal", [DENIED, error(), error(Reason.INVALID_REQUEST, 400)], ids=lambda e: str(e.reason))
def test_what_was_refused_together_is_asked_again_alone(refusal: CloudError) -> None:
    @virtually
    async def run() -> None:
        service = open_service()
        service.refusals = {"r-01": refusal}
        looks = await service.looks("r-00", "r-01", "r-02")

        assert service.asked == [("r-00", "r-01", "r-02"), ("r-00",), ("r-01",), ("r-02",)]
        assert [type(look) for look in looks] == [tuple, CloudError, tuple]

        service.sent.clear()
        await service.looks("r-00", "r-01", "r-02")

        assert service.asked == [("r-00", "r-02"), ("r-01",)]

    run()


@pytest.mark.parametrize(
    "refusal",
    [
        error(Reason.THROTTLED, 400),
        error(Reason.CREDENTIALS_INVALID, 403),
        error(Reason.CREDENTIALS_UNAVAILABLE, None, sent=False),
        error(http_status=None, sent=False),
    ],
    ids=lambda e: f"{e.reason}",
)
def test_what_is_about_the_account_or_was_never_sent_is_not_asked_again_and_keeps_nobody_apart(
    refusal: CloudError,
) -> None:
    @virtually
    async def run() -> None:
        service = open_service()
        service.refusals = {"r-01": refusal}
        looks = await service.looks("r-00", "r-01")
        await service.looks("r-00", "r-01")

        assert [type(look) for look in looks] == [CloudError, CloudError]
        assert service.asked == [("r-00", "r-01")] * 2

    run()


@virtually
async def test_one_alone_that_is_refused_is_not_asked_again() -> None:
    service = open_service()
    service.refusals = {"r-01": DENIED}
    (look,) = await service.looks("r-01")

    assert isinstance(look, CloudError)
    assert service.asked == [("r-01",)]


@virtually
async def test_an_item_that_cannot_be_read_is_an_error_to_those_who_asked_for_it() -> None:
    service = open_service()
    service.bad_items = {"r-01": error(http_status=200)}
    looks = await service.looks("r-00", "r-01", "r-02")

    assert [type(look) for look in looks] == [tuple, CloudError, tuple]
    assert service.asked == [("r-00", "r-01", "r-02"), ("r-01",)]


@virtually
async def test_without_an_answer_all_ask_alone_next_time_and_share_again_once_that_went_well() -> None:
    service = open_service()
    service.refusals = {"r-01": SILENCE}
    for _ in range(3):
        await service.looks("r-00", "r-01", "r-02")

    assert service.asked == [
        ("r-00", "r-01", "r-02"),
        *[("r-00",), ("r-01",), ("r-02",)],
        *[("r-00", "r-02"), ("r-01",)],
    ]

    service.sent.clear()
    service.refusals = {}
    for _ in range(2):
        await service.looks("r-00", "r-01", "r-02")

    assert service.asked == [("r-00", "r-02"), ("r-01",), ("r-00", "r-01", "r-02")]


@virtually
async def test_one_whose_answers_are_slow_slows_the_others_once() -> None:
    service = open_service()
    service.slow = {"r-01"}
    for _ in range(3):
        await service.looks("r-00", "r-01", "r-02")

    assert service.asked == [
        ("r-00", "r-01", "r-02"),
        *[("r-00",), ("r-01",), ("r-02",)],
        *[("r-00", "r-02"), ("r-01",)],
    ]


@virtually
async def test_two_who_ask_for_one_instance_that_is_kept_apart_share_its_call() -> None:
    service = open_service()
    service.refusals = {"r-01": DENIED}
    await service.looks("r-01")
    await service.looks("r-01", "r-01", "r-00")

    assert service.asked == [("r-01",), ("r-01",), ("r-00",)]


def test_only_so_many_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APART_MAX", 2)

    @virtually
    async def run() -> None:
        service = open_service()
        for name in ("r-00", "r-01", "r-02"):
            service.refusals = {name: DENIED}
            await service.looks(name)
        service.refusals, service.sent = {}, []
        await service.looks("r-00", "r-01", "r-02", "r-03")

        assert service.asked == [("r-00", "r-03"), ("r-01",), ("r-02",)]

    run()


@virtually
async def test_a_mistake_of_ours_is_an_error_to_each_of_its_own() -> None:
    service = open_service()
    service.breaks = ValueError("a bug")
    one, two = await service.looks("r-00", "r-01")

    assert isinstance(one, RuntimeError)
    assert isinstance(two, RuntimeError)
    assert one is not two
    assert one.__cause__ is two.__cause__ is service.breaks
    assert tasks_left() == 0


# --- Giving up ---


@virtually
async def test_one_that_gives_up_takes_its_id_along_and_leaves_the_others_in_peace() -> None:
    service = Service()
    first, second, third = map(service.look, ("r-1", "r-2", "r-2"))
    await asyncio.sleep(1)
    first.cancel()
    second.cancel()
    await asyncio.sleep(1)
    service.admitted.set()
    look = await third

    assert look == (NOW + timedelta(seconds=2), Instance("r-2"))
    assert first.cancelled()
    assert second.cancelled()
    assert service.asked == [("r-2",)]
    assert tasks_left() == 0


@virtually
async def test_one_that_gives_up_while_the_call_is_on_its_way_changes_nothing_for_the_others() -> None:
    service = open_service()
    first, second = map(service.look, ("r-1", "r-2"))
    await asyncio.sleep(0.5)
    first.cancel()
    look = await second

    assert look == (NOW, Instance("r-2"))
    assert service.asked == [("r-1", "r-2")]


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_a_call_that_is_for_nobody_any_more_is_given_up(seconds: float) -> None:
    @virtually
    async def run() -> None:
        service = Service()
        looks = [service.look("r-1"), service.look("r-2")]
        await asyncio.sleep(seconds)
        for look in looks:
            look.cancel()
        await asyncio.sleep(0.1)

        assert service.sent == []
        assert tasks_left() == 0

        service.admitted.set()

        assert await service.batches.look(HERE, "r-3") == (NOW + timedelta(seconds=now() - 1), Instance("r-3"))

    run()


@virtually
async def test_a_call_on_its_way_that_is_for_nobody_any_more_is_given_up_too() -> None:
    service = open_service()
    look = service.look("r-1")
    await asyncio.sleep(0.5)
    look.cancel()
    await asyncio.sleep(10)

    assert service.asked == [("r-1",)]
    assert service.answered == 0
    assert tasks_left() == 0


@virtually
async def test_nobody_joins_a_call_that_has_just_been_given_up() -> None:
    service = Service()
    look = service.look("r-1")
    await asyncio.sleep(1)
    look.cancel()
    # It runs right after the cancelled one, and before the call takes notice.
    await asyncio.sleep(0)
    service.admitted.set()
    later = await service.batches.look(HERE, "r-2")

    assert later[1] == Instance("r-2")
    assert service.asked == [("r-2",)]


def test_when_the_call_is_cancelled_from_outside_so_are_those_who_wait(caplog: pytest.LogCaptureFixture) -> None:
    @virtually
    async def run() -> None:
        service = Service()
        look = service.look("r-1")
        await asyncio.sleep(1)
        for task in asyncio.all_tasks() - {asyncio.current_task(), look}:
            task.cancel()
        await asyncio.wait({look})

        assert look.cancelled()

    with caplog.at_level(logging.WARNING):
        run()

    assert caplog.records == []
