"""The operator's client and the simulated cloud, each a process of its own with code of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from itertools import count

import aiohttp
import pytest

from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials
from tair_operator.aliyun.limiter import Account, Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Action, Reason
from tair_operator.ports import (
    Address,
    CloudError,
    Detail,
    Effect,
    Endpoint,
    ErrorClass,
    Instance,
    Observation,
    Target,
    Window,
)
from tests.integration.simulator_process import EXAMPLE_SEED, SimulatorProcess, running_simulator

ORDERS = Target("r-bp1zxszhcgatnx0001", "cn-hangzhou")
SESSIONS = Target("r-bp1zxszhcgatnx0002", "cn-hangzhou")
BUSY = Target("r-bp1zxszhcgatnx0003", "cn-hangzhou")
BEIJING = "r-2zexszhcgatnx0005"
TOKEN = "testSecurityToken+/=="
KEYS = f"""\
accessKeys:
  temporaryKeyId: {{secret: temporaryKeySecret, securityToken: {TOKEN}}}
  expiredKeyId: {{secret: expiredKeySecret, securityToken: expiredToken, expiration: 2026-01-01T00:00:00Z}}
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A simulator with the example seed, only faster, and with temporary keys."""
    seed = EXAMPLE_SEED.read_text(encoding="utf-8")
    seed = seed.replace("lagSeconds: 0.5", "lagSeconds: 0.05").replace("busySeconds: 2", "busySeconds: 0.1")
    fast = tmp_path_factory.mktemp("seed") / "seed.yaml"
    fast.write_text(seed.replace("accessKeys:\n", KEYS), encoding="utf-8")
    with running_simulator(seed=fast) as running:
        yield running


@pytest.fixture
async def simulator(process: SimulatorProcess) -> SimulatorProcess:
    """The simulator as it was when it started."""
    async with aiohttp.ClientSession() as session, session.post(f"{process.url}/_simulator/reset") as response:
        assert response.ok, await response.text()
    return process


class Clock:
    """The machine's clocks; the time of day may be wrong."""

    def __init__(self, off: timedelta = timedelta(0)) -> None:
        self.off = off

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC) + self.off

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic()

    boottime = monotonic


DEMO = ("demoAccessKeyId", "demoAccessKeySecret", "")
_numbers = count()


def fresh_nonce() -> str:
    """Return a word that is never the same twice."""
    return f"{time.time_ns()}-{next(_numbers)}"


@asynccontextmanager
async def client_of(
    simulator: SimulatorProcess,
    key: tuple[str, str, str] = DEMO,
    *,
    clock: Clock | None = None,
    new_nonce: Callable[[], str] = fresh_nonce,
    limiter: Limiter | None = None,
) -> AsyncIterator[AliyunClient]:
    """Yield a client with an AccessKey: its id, its secret, its security token."""
    names = ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN")
    async with open_session(None) as session:
        yield AliyunClient(
            session=session,
            credentials=lambda _: EnvironmentCredentials(dict(zip(names, key, strict=True))),
            limiter=limiter or Limiter(clock=time.monotonic, rate=1000, burst=1000),
            clock=clock or Clock(),
            new_nonce=new_nonce,
            endpoint=simulator.url,
        )


async def call(client: AliyunClient, action: Action, ref: Target) -> str:
    """Make a mutating call and return its request id."""
    return (await (await client.prepare(action, ref)).send()).request_id


async def refused(client: AliyunClient, action: Action, ref: Target) -> CloudError:
    """Return the error that a mutating call ends with."""
    prepared = await client.prepare(action, ref)
    with pytest.raises(CloudError) as caught:
        await prepared.send()
    return caught.value


async def unseen(client: AliyunClient, ref: Target) -> CloudError:
    """Return the error that a look ends with."""
    with pytest.raises(CloudError) as caught:
        await client.observe(ref)
    return caught.value


async def observed(client: AliyunClient, ref: Target, fits: Callable[[Observation], bool]) -> Observation:
    """Look until the observation fits, for ten seconds at most."""
    async with asyncio.timeout(10):
        while True:
            seen = await client.observe(ref)
            if fits(seen):
                return seen
            await asyncio.sleep(0.02)


def is_direct(seen: Observation) -> bool:
    """Whether there is a direct connection and the instance is settled."""
    return is_normal(seen) and any(endpoint.direct for endpoint in seen.endpoints)


def is_not_direct(seen: Observation) -> bool:
    """Whether there is no direct connection and the instance is settled."""
    return is_normal(seen) and not any(endpoint.direct for endpoint in seen.endpoints)


def is_normal(seen: Observation) -> bool:
    """Whether the instance is settled."""
    return seen.instance is not None and seen.instance.status == "Normal"


async def ledger(simulator: SimulatorProcess, **query: str) -> list[dict[str, object]]:
    """Return the calls that arrived."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{simulator.url}/_simulator/ledger", params=query) as response,
    ):
        answer = await response.json()
    entries = answer["entries"] if isinstance(answer, dict) else answer
    return list(entries)


async def break_it(simulator: SimulatorProcess, **fault: object) -> None:
    """Ask for a fault."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/_simulator/faults", json=fault) as response,
    ):
        assert response.status == 201, await response.text()


async def test_a_look_shows_the_instance_and_its_endpoints(simulator: SimulatorProcess) -> None:
    before = datetime.now(UTC)
    async with client_of(simulator) as client:
        seen = await client.observe(ORDERS)

    proxy, direct = seen.endpoints
    assert before <= seen.sent_at <= datetime.now(UTC)
    assert seen.instance == Instance(
        ORDERS.instance_id, "cn-hangzhou", "Normal", "orders-cache", "cluster", "Machine", "5.0", "VPC"
    )
    assert (proxy.direct, proxy.host, proxy.port) == (False, f"{ORDERS.instance_id}.redis.rds.aliyuncs.com", 6379)
    assert direct == Endpoint(
        host="ordersdirect.redis.rds.aliyuncs.com",
        port=6379,
        direct=True,
        ip_address="192.168.1.10",
        vpc_id=proxy.vpc_id,
        v_switch_id=proxy.v_switch_id,
        vpc_instance_id=direct.vpc_instance_id,
    )


async def test_a_release_and_an_allocation_take_effect_and_are_seen(simulator: SimulatorProcess) -> None:
    async with client_of(simulator) as client:
        released = await call(client, Action.RELEASE, ORDERS)
        gone = await observed(client, ORDERS, is_not_direct)
        allocated = await call(client, Action.ALLOCATE, ORDERS)
        back = await observed(client, ORDERS, is_direct)

    entries = await ledger(simulator, instanceId=ORDERS.instance_id)
    effective = [(entry["action"], entry["requestId"]) for entry in entries if entry["effective"]]
    assert effective == [("ReleaseDirectConnection", released), ("AllocateDirectConnection", allocated)]
    assert [len(seen.endpoints) for seen in (gone, back)] == [1, 2]


async def test_details_are_added_to_a_look(simulator: SimulatorProcess) -> None:
    async with client_of(simulator) as client:
        seen = await client.observe(ORDERS)
        closer = await client.look_closer(ORDERS, seen, frozenset(Detail))

    assert (seen.asked, seen.tls, seen.window) == (frozenset(), None, None)
    assert closer.tls is False
    assert closer.window == Window(time_of_day(18), time_of_day(22))
    assert closer == replace(seen, asked=frozenset(Detail), tls=closer.tls, window=closer.window)


async def test_a_detail_that_the_cloud_refuses_to_tell_stays_unknown(simulator: SimulatorProcess) -> None:
    await break_it(simulator, action=Detail.TLS, kind="error", code="Forbidden.RAM", httpStatus=403)
    async with client_of(simulator) as client:
        closer = await client.look_closer(ORDERS, await client.observe(ORDERS), frozenset({Detail.TLS}))

    assert (closer.asked, closer.tls) == (frozenset({Detail.TLS}), None)


async def test_a_detail_that_may_be_told_later_is_an_error(simulator: SimulatorProcess) -> None:
    await break_it(simulator, action=Detail.TLS, kind="throttle")
    async with client_of(simulator) as client:
        seen = await client.observe(ORDERS)
        with pytest.raises(CloudError) as caught:
            await client.look_closer(ORDERS, seen, frozenset({Detail.TLS}))

    assert caught.value.reason is Reason.THROTTLED


async def test_an_allocation_asks_for_the_address_that_it_is_given(simulator: SimulatorProcess) -> None:
    async with client_of(simulator) as client:
        await (await client.prepare(Action.ALLOCATE, SESSIONS, Address("sessionsfast", 6380))).send()
        seen = await observed(client, SESSIONS, is_direct)

    (direct,) = (endpoint for endpoint in seen.endpoints if endpoint.direct)
    assert (direct.host, direct.port) == ("sessionsfast.redis.rds.aliyuncs.com", 6380)


async def test_what_is_already_so_has_to_be_confirmed(simulator: SimulatorProcess) -> None:
    async with client_of(simulator) as client:
        error = await refused(client, Action.RELEASE, SESSIONS)

    assert (error.code, error.error_class, error.effect) == ("NetTypeNotExists", ErrorClass.CONFIRM, Effect.NONE)
    assert error.request_id is not None
    assert (error.http_status, error.sent) == (400, True)


async def test_a_busy_instance_refuses(simulator: SimulatorProcess) -> None:
    async with client_of(simulator) as client:
        error = await refused(client, Action.RELEASE, BUSY)

    assert (error.code, error.reason) == ("InstanceStatus.NotSupport", Reason.INSTANCE_BUSY)
    assert client.classify(error.code, error.http_status) == (ErrorClass.BUSY, Reason.INSTANCE_BUSY)


@pytest.mark.parametrize("instance_id", ["r-bp1nosuchinstance01", BEIJING])
async def test_an_instance_that_the_region_does_not_list_is_not_there(
    simulator: SimulatorProcess, instance_id: str
) -> None:
    async with client_of(simulator) as client:
        seen = await client.observe(Target(instance_id, "cn-hangzhou"))

    assert seen.instance is None


async def test_looks_at_the_same_time_share_one_call(simulator: SimulatorProcess) -> None:
    missing, elsewhere = Target("r-bp1nosuchinstance01", "cn-hangzhou"), Target(BEIJING, "cn-beijing")
    before = datetime.now(UTC)
    async with client_of(simulator) as client:
        seen = await asyncio.gather(*map(client.observe, [ORDERS, SESSIONS, missing, elsewhere, ORDERS]))

    shown = [look.instance and look.instance.instance_id for look in seen]
    lists = await ledger(simulator, action="DescribeInstances")
    assert shown == [ORDERS.instance_id, SESSIONS.instance_id, None, BEIJING, ORDERS.instance_id]
    assert [entry["instanceId"] for entry in lists] == [
        f"{ORDERS.instance_id},{SESSIONS.instance_id},{missing.instance_id}",
        BEIJING,
    ]
    assert all(before <= look.sent_at <= datetime.now(UTC) for look in seen)


async def test_an_instance_that_ram_denies_does_not_hide_the_others(simulator: SimulatorProcess) -> None:
    key = {
        "secret": "narrowKeySecret",
        "policies": [
            {"effect": "Allow", "actions": ["kvstore:*"], "resources": ["*"]},
            {"effect": "Deny", "actions": ["kvstore:*"], "resources": [f"acs:kvstore:*:*:instance/{BUSY.instance_id}"]},
        ],
    }
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{simulator.url}/_simulator/accessKeys/narrowKeyId", json=key) as response,
    ):
        assert response.ok, await response.text()
    async with client_of(simulator, ("narrowKeyId", "narrowKeySecret", "")) as client:
        looks = [client.observe(ORDERS), client.observe(SESSIONS), unseen(client, BUSY)]
        orders, sessions, error = await asyncio.gather(*looks)

    assert isinstance(orders, Observation)
    assert isinstance(sessions, Observation)
    assert isinstance(error, CloudError)
    assert is_direct(orders)
    assert is_not_direct(sessions)
    assert (error.reason, error.code) == (Reason.ACCESS_DENIED, "Forbidden.RAM")


async def test_a_throttled_call_lowers_the_rate_of_its_account_and_no_other(simulator: SimulatorProcess) -> None:
    limiter = Limiter(clock=time.monotonic, rate=100, burst=100)
    await break_it(simulator, action="DescribeInstances", kind="throttle")
    async with client_of(simulator, limiter=limiter) as client:
        error = await unseen(client, ORDERS)
        await client.observe(Target(BEIJING, "cn-beijing"))

    assert error.reason is Reason.THROTTLED
    assert limiter.rates() == {Account(None, "cn-hangzhou"): 50, Account(None, "cn-beijing"): 100}


async def test_an_error_that_asks_for_a_pause_and_is_no_throttling_leaves_the_rate(simulator: SimulatorProcess) -> None:
    limiter = Limiter(clock=time.monotonic, rate=100, burst=100)
    await break_it(
        simulator, action="DescribeInstances", kind="throttle", retryAfterMs=30_000, code="ServiceUnavailable"
    )
    async with client_of(simulator, limiter=limiter) as client:
        error = await unseen(client, ORDERS)

    assert error.reason is Reason.CLOUD_UNREACHABLE
    assert limiter.rate(Account(None, "cn-hangzhou")) == 100
    assert limiter.pause_left(Account(None, "cn-hangzhou")) > timedelta(seconds=25)


async def test_another_error_of_the_net_info_is_an_error_even_if_the_instance_is_not_listed(
    simulator: SimulatorProcess,
) -> None:
    await break_it(simulator, action="DescribeDBInstanceNetInfo", kind="error")
    async with client_of(simulator) as client:
        error = await unseen(client, Target("r-bp1nosuchinstance01", "cn-hangzhou"))

    assert (error.action, error.code) == ("DescribeDBInstanceNetInfo", "InternalError")


async def test_a_listing_that_fails_is_an_error_whatever_the_net_info_shows(simulator: SimulatorProcess) -> None:
    await break_it(simulator, action="DescribeInstances", kind="http502")
    async with client_of(simulator) as client:
        error = await unseen(client, ORDERS)

    assert (error.action, error.code, error.http_status) == ("DescribeInstances", "UnreadableAnswer", 502)
    assert error.reason is Reason.CLOUD_UNREACHABLE


@pytest.mark.parametrize("action", ["DescribeInstances", "DescribeDBInstanceNetInfo"])
async def test_a_look_whose_json_breaks_off_shows_nothing(simulator: SimulatorProcess, action: str) -> None:
    await break_it(simulator, action=action, kind="truncated")
    async with client_of(simulator) as client:
        error = await unseen(client, ORDERS)

    assert (error.action, error.code) == (action, "UnreadableAnswer")


async def test_temporary_credentials_are_accepted(simulator: SimulatorProcess) -> None:
    async with client_of(simulator, ("temporaryKeyId", "temporaryKeySecret", TOKEN)) as client:
        assert is_direct(await client.observe(ORDERS))


@pytest.mark.parametrize(
    ("key", "secret", "token", "code"),
    [
        ("demoAccessKeyId", "wrongSecret", "", "SignatureDoesNotMatch"),
        ("temporaryKeyId", "wrongSecret", TOKEN, "SignatureDoesNotMatch"),
        ("temporaryKeyId", "temporaryKeySecret", "", "MissingSecurityToken"),
        ("temporaryKeyId", "temporaryKeySecret", "otherToken", "InvalidSecurityToken.Malformed"),
        ("temporaryKeyId", "temporaryKeySecret", "expiredToken", "InvalidSecurityToken.MismatchWithAccessKey"),
        ("expiredKeyId", "expiredKeySecret", "expiredToken", "InvalidSecurityToken.Expired"),
        ("unknownKeyId", "demoAccessKeySecret", "", "InvalidAccessKeyId.NotFound"),
    ],
)
async def test_credentials_that_are_refused_say_why_and_show_nothing_of_themselves(
    simulator: SimulatorProcess, key: str, secret: str, token: str, code: str
) -> None:
    async with client_of(simulator, (key, secret, token)) as client:
        error = await unseen(client, ORDERS)

    assert (error.code, error.error_class, error.reason) == (code, ErrorClass.BLOCKED, Reason.CREDENTIALS_INVALID)
    for hidden in filter(None, (secret, token, TOKEN, "ACS3-HMAC", "x-acs-", key)):
        assert hidden not in str(error)


async def test_a_wrong_clock_is_named(simulator: SimulatorProcess) -> None:
    async with client_of(simulator, clock=Clock(timedelta(minutes=20))) as client:
        error = await unseen(client, ORDERS)

    assert (error.code, error.error_class) == ("InvalidTimeStamp.Expired", ErrorClass.BLOCKED)
    assert "compare the clock of the node" in error.message


async def test_a_nonce_that_was_used_before_leaves_a_release_in_doubt(simulator: SimulatorProcess) -> None:
    async with client_of(simulator, new_nonce=lambda: "always the same") as client:
        error = await refused(client, Action.RELEASE, ORDERS)

    assert (error.code, error.effect) == ("SignatureNonceUsed", Effect.POSSIBLE)


@pytest.mark.parametrize(
    ("fault", "is_effective"),
    [
        ({"kind": "reset-before"}, False),
        ({"kind": "reset-after"}, True),
        ({"kind": "truncated"}, True),
        ({"kind": "empty500"}, False),
        ({"kind": "empty500", "apply": True}, True),
        ({"kind": "http502", "apply": True}, True),
        ({"kind": "error", "apply": True}, True),
        ({"kind": "error", "code": "ProxyError", "httpStatus": 400, "apply": True}, True),
        ({"kind": "error", "code": "Never.Heard", "httpStatus": 400, "apply": True}, True),
    ],
    ids=str,
)
async def test_a_release_whose_answer_is_lost_is_in_doubt_and_was_sent_once(
    simulator: SimulatorProcess, fault: dict[str, object], is_effective: object
) -> None:
    async with client_of(simulator) as client:
        await client.observe(ORDERS)
        await break_it(simulator, action="ReleaseDirectConnection", **fault)
        error = await refused(client, Action.RELEASE, ORDERS)

    (entry,) = await ledger(simulator, action="ReleaseDirectConnection")
    assert (error.sent, error.effect) == (True, Effect.POSSIBLE)
    assert entry["effective"] is is_effective


async def test_a_throttled_call_had_no_effect_and_says_when_to_come_back(simulator: SimulatorProcess) -> None:
    async with client_of(simulator) as client:
        prepared = await client.prepare(Action.RELEASE, ORDERS)
        await break_it(simulator, action="ReleaseDirectConnection", kind="throttle", retryAfterMs=2000)
        with pytest.raises(CloudError) as caught:
            await prepared.send()

    error = caught.value
    assert (error.code, error.effect, error.reason) == ("Throttling.User", Effect.NONE, Reason.THROTTLED)
    assert error.retry_after == timedelta(seconds=2)
