"""The election in virtual time: who leads, who waits for how long, and which calls the fence lets through."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tair_operator import metrics
from tair_operator.cluster import ClusterConfigError
from tair_operator.cluster.leases import Lease, own_namespace
from tair_operator.cluster.leases import Leases as KubernetesLeases
from tair_operator.cluster.server import Api
from tair_operator.leader import Elector, LeadershipLostError, Terms
from tair_operator.models import Outcome
from tair_operator.ports import ClusterUnavailableError, ForbiddenError
from tests.builders import NOW, resource, seconds
from tests.fakes import present, world
from tests.virtual_time import now, run_virtually, virtually

DOWN = ClusterUnavailableError("the API server is down")
FORBIDDEN = ForbiddenError("may not get the Lease")
NAME = "tair-operator"


@dataclass
class FakeClock:
    """The clocks of one machine: they follow the loop, and one of them stands still while the machine sleeps."""

    asleep: float = 0.0

    def now(self) -> Any:  # noqa: ANN401 - never asked
        raise NotImplementedError

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def boottime(self) -> float:
        return self.monotonic() + self.asleep


@dataclass
class Store:
    """The Lease as the API server has it."""

    lease: Lease | None = None
    versions: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, lease: Lease) -> Lease:
        self.versions += 1
        self.lease = replace(lease, version=str(self.versions))
        self._tell()
        return self.lease

    def edit(self, **fields: Any) -> None:  # noqa: ANN401
        """Change it as somebody would with kubectl."""
        assert self.lease is not None
        self.put(replace(self.lease, **fields))

    def delete(self) -> None:
        self.lease = None
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


async def nothing() -> None:
    """Take no time."""


@dataclass
class FakeLeases:
    """Implements ``leader.Leases`` for one replica; its way to the API server may be broken."""

    store: Store
    before: Callable[[], Awaitable[None]] = nothing
    """Awaited before a request reaches the API server."""
    after: Callable[[], Awaitable[None]] = nothing
    """Awaited after it was carried out."""
    error: Exception | None = None
    requests: list[str] = field(default_factory=list)

    async def read(self) -> Lease | None:
        await self._arrive("read")
        found = self.store.lease
        await self.after()
        return found

    async def create(self, lease: Lease) -> Lease | None:
        await self._arrive("create")
        created = None if self.store.lease is not None else self.store.put(lease)
        await self.after()
        return created

    async def write(self, lease: Lease, *, is_acquired: bool = False) -> Lease | None:
        await self._arrive("acquire" if is_acquired else "write")
        is_current = self.store.lease is not None and self.store.lease.version == lease.version
        written = self.store.put(lease) if is_current else None
        await self.after()
        return written

    async def has_changed(self, lease: Lease, within: timedelta) -> bool:
        del within
        self.requests.append("watch")
        if self.error is not None:
            return False
        while self.store.lease is None or self.store.lease.version == lease.version:
            await self.store.changed.wait()
        return True

    async def _arrive(self, what: str) -> None:
        self.requests.append(what)
        await self.before()
        if self.error is not None:
            raise self.error


class Replica:
    """One replica, with a machine and a way to the API server of its own."""

    def __init__(self, store: Store, identity: str, terms: Terms | None = None) -> None:
        self.clock = FakeClock()
        self.leases = FakeLeases(store)
        self.identity = identity
        self.elector = Elector(
            self.leases, identity=identity, name=NAME, terms=terms or Terms(), clock=cast("Any", self.clock)
        )
        self.stopping = asyncio.Event()
        self.led_at: float | None = None
        self.stopped_at: float | None = None
        self.is_cut_off = False
        self.running = asyncio.create_task(self.elector.lead(self.stopping, self._work))

    async def _work(self) -> None:
        self.led_at = now()
        await self.stopping.wait()
        self.stopped_at = now()
        if not self.is_cut_off:
            await self.elector.release()

    async def end(self) -> None:
        self.stopping.set()
        await self.running

    async def die(self) -> None:
        """Die without a word."""
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running

    def is_fenced(self, call: float = 5.0) -> bool:
        return self.elector.seconds_left() < call


def held_by(identity: str, duration: float = 15) -> Lease:
    return Lease(identity, seconds(duration))


def status() -> float | None:
    return metrics.registry.get_sample_value("leader_election_master_status", {"name": NAME})


# --- acquiring ----------------------------------------------------------------------------------------------------


@virtually
async def test_a_lease_that_is_not_there_is_created() -> None:
    store = Store()
    one = Replica(store, "one")
    standing_by = status()
    await asyncio.sleep(1)

    assert store.lease == Lease("one", seconds(15), version="1")
    assert (standing_by, status()) == (0, 1)
    assert not one.elector.is_standing_by
    assert one.elector.seconds_left() == 14
    await one.end()


@virtually
async def test_a_lease_that_nobody_holds_is_taken_at_once() -> None:
    store = Store()
    store.put(replace(held_by(""), transitions=4))
    one = Replica(store, "one")
    await asyncio.sleep(0.1)

    assert store.lease == Lease("one", seconds(15), transitions=5, version="2")
    await one.end()


@virtually
async def test_while_the_holder_renews_the_other_stands_by_and_is_ready() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    other = Replica(store, "other")
    unready_at_first = other.elector.is_unready()
    await asyncio.sleep(100)

    assert unready_at_first == "starting"
    assert other.elector.is_standing_by
    assert other.elector.is_unready() is None
    assert other.elector.seconds_left() == 0
    assert one.elector.seconds_left() > 12
    # One look for each renewal, and not a single write.
    assert set(other.leases.requests) == {"read", "watch"}
    assert other.leases.requests.count("read") <= 52
    await other.end()
    await one.end()


@virtually
async def test_a_dead_holder_is_replaced_once_its_record_has_stood_still_for_its_duration() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    other = Replica(store, "other")
    await asyncio.sleep(9.5)
    await one.die()
    await asyncio.sleep(30)

    # The last renewal was at 8 seconds.
    assert other.led_at == 23
    await other.end()


@virtually
async def test_a_fresh_process_waits_the_whole_duration_however_old_the_record_says_it_is() -> None:
    store = Store()
    store.put(held_by("dead"))
    await asyncio.sleep(1000)
    one = Replica(store, "one")
    await asyncio.sleep(30)

    assert one.led_at == 1015
    await one.end()


@virtually
async def test_a_record_that_changes_starts_the_wait_again_whoever_holds_it() -> None:
    store = Store()
    store.put(held_by("dead"))
    one = Replica(store, "one")
    await asyncio.sleep(14)
    store.edit(holder="another")
    await asyncio.sleep(14)
    store.edit()
    await asyncio.sleep(30)

    assert one.led_at == 43
    await one.end()


@virtually
async def test_the_longer_of_two_durations_counts() -> None:
    store = Store()
    store.put(held_by("dead", 40))
    one = Replica(store, "one")
    await asyncio.sleep(60)
    await one.end()
    store.put(held_by("dead", 1))
    other = Replica(store, "other")
    await asyncio.sleep(30)

    assert one.led_at == 40
    assert other.led_at == 60 + 15
    await other.end()


@virtually
async def test_a_lease_that_somebody_deletes_is_not_taken_before_its_holder_can_know() -> None:
    store = Store()
    store.put(held_by("silent"))
    one = Replica(store, "one")
    await asyncio.sleep(10)
    store.delete()
    await asyncio.sleep(30)

    assert one.led_at == 15
    await one.end()


@virtually
async def test_of_many_that_see_a_free_lease_one_leads() -> None:
    store = Store()

    async def slowly() -> None:
        await asyncio.sleep(0.3)

    replicas = [Replica(store, f"r{number}") for number in range(4)]
    for each in replicas:
        each.leases.before = slowly
    await asyncio.sleep(60)

    assert [each.identity for each in replicas if each.led_at is not None] == ["r0"]
    for each in replicas:
        await each.die()


@virtually
async def test_whoever_was_overtaken_stands_by() -> None:
    store = Store()
    store.put(held_by(""))
    one = Replica(store, "one")

    async def overtaken() -> None:
        if one.leases.requests[-1] == "acquire":
            one.leases.before = nothing
            store.edit(holder="another")

    one.leases.before = overtaken
    await asyncio.sleep(5)

    assert store.lease is not None
    assert store.lease.holder == "another"
    assert one.elector.is_standing_by
    await one.end()


@virtually
async def test_an_acquisition_whose_answer_was_lost_is_found_and_made_again() -> None:
    store = Store()
    one = Replica(store, "one")

    async def lose() -> None:
        if store.lease is not None:
            one.leases.after = nothing
            raise DOWN

    one.leases.after = lose
    await asyncio.sleep(5)

    assert one.leases.requests[:4] == ["read", "create", "read", "acquire"]
    assert one.led_at == 2
    await one.end()


@pytest.mark.parametrize("error", [DOWN, FORBIDDEN])
def test_trouble_makes_a_standby_unready_and_no_storm(error: Exception) -> None:
    async def test() -> None:
        store = Store()
        store.put(held_by("another"))
        one = Replica(store, "one")
        await asyncio.sleep(1)
        one.leases.error = error
        store.edit()
        await asyncio.sleep(20)
        unready, reads = one.elector.is_unready(), one.leases.requests.count("read")
        one.leases.error = None
        await asyncio.sleep(2.1)

        assert unready == str(error)
        assert reads <= 12
        assert one.elector.is_unready() is None
        await one.end()

    run_virtually(test())


@virtually
async def test_an_api_server_that_hangs_is_asked_again() -> None:
    store = Store()
    one = Replica(store, "one")
    one.leases.before = asyncio.Event().wait  # type: ignore[assignment]
    await asyncio.sleep(8)
    unready = one.elector.is_unready()
    one.leases.before = nothing
    await asyncio.sleep(30)

    assert unready == "the Kubernetes API did not answer in time"
    assert one.led_at is not None
    await one.end()


@virtually
async def test_a_standby_that_is_told_to_end_ends_at_once() -> None:
    store = Store()
    store.put(held_by("another"))
    one = Replica(store, "one")
    await asyncio.sleep(1.3)
    await one.end()

    assert now() == 1.3
    assert one.led_at is None


@virtually
async def test_a_sleep_of_the_machine_does_not_shorten_the_wait() -> None:
    store = Store()
    store.put(held_by("dead"))
    one = Replica(store, "one")
    await asyncio.sleep(1)
    one.clock.asleep += 1000
    await asyncio.sleep(30)

    assert one.led_at == 15
    await one.end()


# --- renewing and losing ------------------------------------------------------------------------------------------


@virtually
async def test_what_is_left_counts_from_before_the_renewal_was_sent() -> None:
    store = Store()

    async def slowly() -> None:
        await asyncio.sleep(1.5)

    one = Replica(store, "one")
    one.leases.after = slowly
    await asyncio.sleep(3.1)

    # Read at 0, sent at 1.5, answered at 3.
    assert one.elector.seconds_left() == pytest.approx(15 - 1.6)
    one.leases.after = nothing
    await one.end()


@virtually
async def test_a_renewal_that_succeeds_just_in_time_keeps_the_lead() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    one.leases.error = DOWN
    await asyncio.sleep(7.7)
    fenced, one.leases.error = one.is_fenced(8), None
    await asyncio.sleep(60)

    assert fenced
    assert one.stopped_at is None
    assert one.elector.seconds_left() > 12
    await one.end()


@virtually
async def test_a_lease_that_cannot_be_renewed_is_lost_before_it_expires() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    other = Replica(store, "other")
    one.leases.error = DOWN
    await asyncio.sleep(9)
    left_shortly_before = one.elector.seconds_left()
    with pytest.raises(LeadershipLostError, match="could not be renewed in time"):
        await one.running
    await asyncio.sleep(30)

    assert left_shortly_before == pytest.approx(5.9)
    assert one.stopped_at == 10
    assert one.elector.seconds_left() == 0
    assert other.led_at == pytest.approx(15, abs=0.2)
    await other.end()


@virtually
async def test_an_api_server_that_hangs_is_no_reason_to_lead_for_longer() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    one.leases.before = asyncio.Event().wait  # type: ignore[assignment]
    with pytest.raises(LeadershipLostError):
        await one.running

    assert one.stopped_at == 10


@virtually
async def test_a_renewal_that_arrives_after_all_keeps_the_lead() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)

    async def lose() -> None:
        one.leases.after = nothing
        raise DOWN

    one.leases.after = lose
    await asyncio.sleep(60)

    assert one.leases.requests[2:6] == ["write", "write", "read", "write"]
    assert one.elector.seconds_left() > 12
    await one.end()


@virtually
async def test_somebodys_label_does_not_cost_the_lead() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    store.edit()
    await asyncio.sleep(60)

    assert one.stopped_at is None
    await one.end()
    assert store.lease is not None
    assert store.lease.holder == ""


@virtually
async def test_a_lease_that_changes_all_the_time_is_lost_in_time() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)

    async def edited_again() -> None:
        if one.leases.requests[-1] == "write":
            store.edit()

    one.leases.before = edited_again
    with pytest.raises(LeadershipLostError, match="in time"):
        await one.running

    assert one.stopped_at == 10


@virtually
async def test_a_stolen_lease_is_noticed_at_the_next_renewal_and_left_to_the_thief() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    store.edit(holder="thief")
    with pytest.raises(LeadershipLostError, match="Lease tair-operator is lost: thief holds it"):
        await one.running

    assert one.stopped_at == 2
    assert one.is_fenced()
    assert store.lease is not None
    assert store.lease.holder == "thief"
    assert status() == 0


@pytest.mark.parametrize("why", ["nobody holds it", "it was deleted"])
def test_a_lease_that_is_taken_away_is_lost(why: str) -> None:
    async def test() -> None:
        store = Store()
        one = Replica(store, "one")
        await asyncio.sleep(0.1)
        if "deleted" in why:
            store.delete()
        else:
            store.edit(holder="")
        with pytest.raises(LeadershipLostError, match=why):
            await one.running

    run_virtually(test())


@virtually
async def test_a_sleep_of_the_machine_closes_the_fence_at_once_and_costs_the_lead() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(1)
    open_before = not one.is_fenced()
    one.clock.asleep += 60
    fenced_after = one.is_fenced()
    with pytest.raises(LeadershipLostError):
        await one.running

    assert open_before
    assert fenced_after
    assert one.stopped_at == 2


@virtually
async def test_a_renewal_that_fails_in_a_way_nobody_foresaw_ends_the_work() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    one.leases.error = RuntimeError("a bug")
    one.is_cut_off = True
    with pytest.raises(RuntimeError, match="a bug"):
        await one.running

    assert one.stopped_at == 2


# --- giving away --------------------------------------------------------------------------------------------------


@virtually
async def test_whoever_ends_gives_the_lease_away_and_the_other_leads_at_once() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    other = Replica(store, "other")
    await asyncio.sleep(20.7)
    await one.end()
    left = one.elector.seconds_left()
    await asyncio.sleep(0.1)

    assert left == 0
    assert other.led_at == pytest.approx(20.8)
    assert store.lease is not None
    assert (store.lease.holder, store.lease.transitions) == ("other", 1)
    await other.end()


@virtually
async def test_without_a_watch_the_other_leads_after_the_time_between_two_looks() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    other = Replica(store, "other")

    async def no_watch(lease: Lease, within: timedelta) -> bool:
        del lease, within
        return False

    other.leases.has_changed = no_watch  # type: ignore[method-assign]
    await asyncio.sleep(20.7)
    await one.end()
    await asyncio.sleep(2)

    assert other.led_at is not None
    assert other.leases.requests.count("read") <= 14
    await other.end()


@virtually
async def test_the_fence_closes_before_the_lease_is_given_away() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    left: list[float] = []

    async def look() -> None:
        left.append(one.elector.seconds_left())

    one.leases.before = look
    await one.end()

    assert left == [0]


@virtually
async def test_a_release_waits_for_a_renewal_and_survives_somebodys_label() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)

    async def slowly() -> None:
        await asyncio.sleep(1)
        one.leases.before = labelled

    async def labelled() -> None:
        one.leases.before = nothing
        store.edit()

    one.leases.before = slowly
    await asyncio.sleep(2.4)
    await one.end()

    assert store.lease is not None
    assert store.lease.holder == ""


@virtually
async def test_a_lease_that_was_stolen_meanwhile_is_not_given_away() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    store.edit(holder="thief")
    await one.end()

    assert store.lease is not None
    assert store.lease.holder == "thief"


@virtually
async def test_a_lease_that_cannot_be_given_away_is_left_to_expire() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    one.leases.error = DOWN
    await one.end()

    assert store.lease is not None
    assert store.lease.holder == "one"


@virtually
async def test_whose_pass_was_cut_off_gives_nothing_away() -> None:
    store = Store()
    one = Replica(store, "one")
    await asyncio.sleep(0.1)
    one.is_cut_off = True
    await one.end()
    held = store.lease
    other = Replica(store, "other")
    await asyncio.sleep(30)

    assert held is not None
    assert held.holder == "one"
    assert other.led_at == pytest.approx(15.1)
    await other.end()


# --- whatever happens ---------------------------------------------------------------------------------------------


class Chaos:
    """Three replicas to whom anything may happen at any time."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - of a test
        self.store = Store()
        self.count = 0
        self.replicas = [self.start() for _ in range(3)]

    def start(self) -> Replica:
        self.count += 1
        replica = Replica(self.store, f"r{self.count}")
        replica.leases.before = replica.leases.after = self.take_a_while
        return replica

    async def take_a_while(self) -> None:
        await asyncio.sleep(self.chance.choice([0, 0.01, 0.5, 3, 7]) * self.chance.random())

    async def disturb(self) -> None:
        victim = self.chance.choice(self.replicas)
        what = self.chance.choice(["die", "end", *["break"] * 3, "sleep", "edit", *["mend"] * 3, *["nothing"] * 110])
        if what == "die":
            await victim.die()
        elif what == "end":
            victim.stopping.set()
        elif what == "sleep":
            victim.clock.asleep += 20 * self.chance.random()
        elif what == "edit" and self.store.lease is not None:
            self.store.edit()
        elif what in {"break", "mend"}:
            victim.leases.error = DOWN if what == "break" else None

    async def restart(self) -> None:
        """Start again who has ended, as kubelet does."""
        for index, replica in enumerate(self.replicas):
            if replica.running.done():
                await asyncio.gather(replica.running, return_exceptions=True)
                self.replicas[index] = self.start()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_two_never_pass_the_fence_at_once_and_in_the_end_one_leads(seed: int) -> None:
    async def test() -> None:
        chaos, most = Chaos(seed), 0
        for _ in range(1500):
            await asyncio.sleep(0.1)
            most = max(most, sum(not replica.is_fenced(0.001) for replica in chaos.replicas))
            await chaos.disturb()
            await chaos.restart()
        for replica in chaos.replicas:
            replica.leases.error = None
            replica.leases.before = replica.leases.after = nothing
        await asyncio.sleep(40)
        passing = [not replica.is_fenced() for replica in chaos.replicas]
        for replica in chaos.replicas:
            await replica.die()

        assert most <= 1
        assert sorted(passing) == [False, False, True]

    run_virtually(test())


# --- the fence in a pass ------------------------------------------------------------------------------------------


async def test_a_replica_that_does_not_lead_announces_nothing_and_calls_nothing() -> None:
    w = world(present(), resource(False))
    w.operator.may_call = lambda: False

    pause = await w.one_pass()

    assert pause == seconds(1)
    assert w.calls() == []
    assert w.cluster.writes == []


async def test_a_lease_that_runs_out_while_the_intent_is_stored_stops_the_call() -> None:
    w = world(present(), resource(False))
    answers = iter([True, False])
    w.operator.may_call = lambda: next(answers)

    await w.one_pass()
    operation = w.seen().status.operation

    assert w.calls() == []
    assert operation is not None
    assert (operation.outcome, operation.message) == (
        Outcome.NOT_SENT,
        "this replica no longer leads for as long as a call takes",
    )


async def test_a_call_that_was_not_sent_is_made_by_whoever_leads_then() -> None:
    w = world(present(), resource(False))
    answers = iter([True, False])
    w.operator.may_call = lambda: next(answers)
    await w.one_pass()
    w.restart()
    await w.run(60)

    assert len(w.calls()) == 1
    assert w.ready() == ("True", "Released")


# --- the Lease as Kubernetes has it -------------------------------------------------------------------------------


@dataclass
class FakeApi:
    """Answers each request with the same."""

    code: int
    body: dict[str, Any]
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    async def request(
        self, method: str, path: str, body: object = None, query: object = None, content_type: str = ""
    ) -> tuple[int, dict[str, Any]]:
        del query, content_type
        self.requests.append((method, path, body))
        return self.code, self.body


def leases_on(api: FakeApi) -> KubernetesLeases:
    return KubernetesLeases(cast("Api", api), "home", NAME, lambda: NOW)


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", None, "soon"])
async def test_the_clock_of_the_holder_does_not_matter(renewed: str | None) -> None:
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": renewed, "leaseTransitions": 2}
    api = FakeApi(200, {"metadata": {"resourceVersion": "7"}, "spec": spec})

    assert await leases_on(api).read() == Lease("one", seconds(15), 2, "7")


async def test_a_lease_without_anything_is_held_by_nobody() -> None:
    api = FakeApi(200, {"metadata": {"resourceVersion": "7"}})

    assert await leases_on(api).read() == Lease("", seconds(0), 0, "7")


async def test_a_write_names_the_version_that_it_replaces_and_leaves_the_rest_alone() -> None:
    api = FakeApi(409, {})

    assert await leases_on(api).write(Lease("one", seconds(2.5), 3, "7")) is None
    assert api.requests == [
        (
            "PATCH",
            "/apis/coordination.k8s.io/v1/namespaces/home/leases/tair-operator",
            {
                "metadata": {"resourceVersion": "7"},
                "spec": {
                    "holderIdentity": "one",
                    "leaseDurationSeconds": 3,
                    "leaseTransitions": 3,
                    "renewTime": "2026-03-02T12:00:00.000000Z",
                },
            },
        )
    ]


async def test_what_is_forbidden_says_what_to_grant() -> None:
    with pytest.raises(ForbiddenError, match=r"may not get Lease home/tair-operator: grant it get, watch and patch"):
        await leases_on(FakeApi(403, {})).read()


async def test_a_namespace_is_read_from_the_pod(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("tair-system\n")

    assert own_namespace(tmp_path / "namespace") == "tair-system"
    with pytest.raises(ClusterConfigError, match="TAIR_OPERATOR_LEASE_NAMESPACE"):
        own_namespace(tmp_path / "nowhere")


# --- What /livez asks ---


async def forever() -> None:
    await asyncio.Event().wait()


@virtually
async def test_a_leader_and_a_standby_are_alive_for_hours() -> None:
    store = Store()
    leader = Replica(store, "one")
    await asyncio.sleep(1)
    standby = Replica(store, "other")
    before = leader.elector.is_dead()
    await asyncio.sleep(3 * 3600)
    during = (leader.elector.is_dead(), standby.elector.is_dead())
    for replica in (leader, standby):
        await replica.end()
    await asyncio.sleep(3600)

    assert (before, during) == (None, (None, None))
    assert (leader.elector.is_dead(), standby.elector.is_dead()) == (None, None)


@virtually
async def test_a_standby_without_an_api_server_is_alive() -> None:
    replica = Replica(Store(held_by("other")), "one")
    replica.leases.error = DOWN
    await asyncio.sleep(3600)

    assert replica.elector.is_dead() is None

    await replica.end()


@virtually
async def test_an_election_in_which_nothing_happens_any_more_is_dead() -> None:
    """A task that hangs is simulated by one that was cut off: what it leaves behind is the same."""
    standby = Replica(Store(held_by("other")), "one")
    await asyncio.sleep(1)
    await standby.die()
    await asyncio.sleep(46)

    assert standby.elector.is_dead() == f"nothing has been done about Lease {NAME} for 47 s"
