"""What a test may do to the simulator while it runs: hold calls, slow them down, limit and forbid them."""

import asyncio
import json
import time as real_time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.seed import parse_seed
from tests.integration.simulator_client import Answer, SimulatorClient, serving
from tests.integration.simulator_process import running_simulator
from tests.unit.simulator.moving_clock import Time

SEED = """
accessKeys:
  demo: {secret: demoSecret}
instances:
  r-on: {regionId: cn-hangzhou, directConnection: true}
  r-off: {regionId: cn-hangzhou}
"""
RELEASE = "ReleaseDirectConnection"


@pytest.fixture
def time() -> Time:
    """The clock of the cloud and of the client."""
    return Time()


@pytest.fixture
async def client(time: Time) -> AsyncIterator[SimulatorClient]:
    """A client of a simulator that runs in this process."""
    async with serving(Cloud(parse_seed(SEED), time)) as url, aiohttp.ClientSession() as session:
        yield SimulatorClient(session, url, time)


async def break_it(client: SimulatorClient, kind: str, action: str = RELEASE, **fields: object) -> Any:  # noqa: ANN401 - JSON
    """Ask for a fault; return it as the simulator understood it."""
    return await client.control("POST", "faults", {"action": action, "kind": kind, **fields})


async def until_reached(client: SimulatorClient) -> dict[str, Any]:
    """Wait until the simulator says that a call is held; return the hold."""
    while True:
        for hold in await client.control("GET", "holds"):
            if hold["reached"]:
                return dict(hold)
        await asyncio.sleep(0)


async def is_changing(client: SimulatorClient) -> bool:
    """Return whether a change of the instance is under way."""
    return (await client.control("GET", "instances/r-on"))["change"] is not None


async def entry(client: SimulatorClient) -> dict[str, Any]:
    """Return the last entry of the ledger."""
    return dict((await client.control("GET", "ledger"))[-1])


async def until_done(client: SimulatorClient) -> dict[str, Any]:
    """Wait until the last call is done; return its entry."""
    while not (await entry(client))["done"]:  # noqa: ASYNC110 - there is no event across HTTP
        await asyncio.sleep(0.01)
    return await entry(client)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(("point", "applied"), [("before", False), ("after", True)])
async def test_a_call_is_held_at_its_point_until_it_is_released(
    client: SimulatorClient, point: str, method: str, *, applied: bool
) -> None:
    fault = await break_it(client, "hold", point=point)
    waiting = await client.control("GET", "holds")
    call = asyncio.create_task(client.call(RELEASE, InstanceId="r-on"))
    hold = await until_reached(client)
    changing = await is_changing(client)

    path = f"holds/{hold['id']}/release" if method == "POST" else f"holds/{hold['id']}"
    assert (await client.control_answer(method, path)).status == 204

    assert fault == {"action": RELEASE, "count": 1, "id": "hold-1", "kind": "hold", "point": point}
    assert [(other["id"], other["reached"], other["requestId"]) for other in waiting] == [("hold-1", False, None)]
    answer = await call
    assert hold == {
        "id": "hold-1",
        "point": point,
        "reached": True,
        "action": RELEASE,
        "instanceId": "r-on",
        "requestId": answer.json["RequestId"],
        "since": "2026-01-02T03:04:05+00:00",
    }
    assert (changing, answer.status, await is_changing(client)) == (applied, 200, True)
    assert await client.control("GET", "holds") == []
    assert (await client.control_answer(method, path)).status == 404


async def test_a_client_that_dies_at_a_hold_does_not_stop_its_call(client: SimulatorClient) -> None:
    await break_it(client, "hold", id="the-moment")
    call = asyncio.create_task(client.call(RELEASE, InstanceId="r-on"))
    await until_reached(client)
    call.cancel()
    before = (await entry(client))["effective"]
    await client.control("POST", "holds/the-moment/release")

    after = await until_done(client)
    assert (before, after["effective"], after["fault"]) == (False, True, "hold")


async def test_a_hold_that_no_call_has_reached_can_be_forgotten(client: SimulatorClient) -> None:
    await break_it(client, "empty500")
    await break_it(client, "hold", id="other")
    await break_it(client, "hold", id="mine")

    assert (await client.control_answer("DELETE", "holds/mine")).status == 204
    assert [hold["id"] for hold in await client.control("GET", "holds")] == ["other"]


async def test_two_holds_never_have_one_name(client: SimulatorClient) -> None:
    await break_it(client, "hold", id="hold-1")
    named = await break_it(client, "hold")
    again = await client.control_answer("POST", "faults", json.dumps({"action": "*", "kind": "hold", "id": "hold-1"}))

    assert (named["id"], again.status, again.json["mistakes"]) == ("hold-2", 400, ["id: is the name of another hold"])


@pytest.mark.parametrize("point", ["before", "after"])
async def test_a_reset_ends_what_is_held_without_effect_on_the_new_cloud(client: SimulatorClient, point: str) -> None:
    await break_it(client, "hold", point=point)
    call = asyncio.create_task(client.call(RELEASE, InstanceId="r-on"))
    await until_reached(client)

    await client.control("POST", "reset")
    await asyncio.gather(call, return_exceptions=True)

    assert not await is_changing(client)
    assert await client.control("GET", "ledger") == []
    assert await client.control("GET", "holds") == []


async def test_a_late_call_is_lost_first_and_takes_effect_afterwards(client: SimulatorClient) -> None:
    await break_it(client, "late", seconds=0.1)

    with pytest.raises(aiohttp.ClientError):
        await client.call(RELEASE, InstanceId="r-on")
    at_once = await is_changing(client)
    after = await until_done(client)

    assert (at_once, await is_changing(client)) == (False, True)
    assert (after["httpStatus"], after["effective"], after["fault"]) == (None, True, "late")


async def test_a_change_is_accepted_and_comes_to_nothing(client: SimulatorClient, time: Time) -> None:
    await break_it(client, "async-failure", action="*")
    answer = await client.call(RELEASE, InstanceId="r-on")
    time.pass_by(1)
    during = await client.control("GET", "instances/r-on")
    time.pass_by(1.5)
    after = await client.control("GET", "instances/r-on")

    assert (answer.status, during["status"], during["busy"]) == (200, "NetworkModifying", True)
    assert (after["status"], after["busy"], after["directConnection"]) == ("Normal", False, True)


async def test_a_call_that_changes_nothing_cannot_fail_later(client: SimulatorClient) -> None:
    await break_it(client, "async-failure", action="*")

    assert (await client.call("DescribeInstances", RegionId="cn-hangzhou")).status == 200


@pytest.mark.parametrize(
    ("kind", "fields", "seconds"),
    [("slow-headers", {"seconds": 0.3}, 0.3), ("drip", {"bytesPerSecond": 200}, 0.2)],
)
async def test_a_slow_answer_is_whole_in_the_end(
    client: SimulatorClient, kind: str, fields: dict[str, Any], seconds: float
) -> None:
    await break_it(client, kind, **fields)
    start = real_time.monotonic()

    answer = await client.call(RELEASE, InstanceId="r-on")

    assert real_time.monotonic() - start > seconds
    assert (answer.status, answer.json["RequestId"]) == (200, answer.headers["x-acs-request-id"])
    assert (await client.call("DescribeDBInstanceNetInfo", InstanceId="r-on")).status == 200


@pytest.mark.parametrize(
    ("kind", "fields"), [("slow-headers", {"seconds": 1}), ("drip", {"bytesPerSecond": 100}), ("hold", {"id": "x"})]
)
async def test_a_client_that_goes_away_from_a_slow_answer_leaves_no_trace(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    (tmp_path / "seed.yaml").write_text(SEED)
    now = Time()
    now.now = datetime.now(UTC)
    with running_simulator(seed=tmp_path / "seed.yaml") as simulator:
        async with aiohttp.ClientSession() as session:
            client = SimulatorClient(session, simulator.url, now)
            await break_it(client, kind, **fields)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call(RELEASE, InstanceId="r-on"), 0.2)
            await asyncio.sleep(0.8)

        assert simulator.stop() == (0, "", "")


async def test_a_reply_may_lack_every_request_id(client: SimulatorClient) -> None:
    await break_it(client, "no-request-id", action="*")

    answer = await client.call("DescribeInstances", RegionId="cn-hangzhou")

    assert "RequestId" not in answer.json
    assert "x-acs-request-id" not in answer.headers
    assert answer.json["TotalCount"] == 2


async def test_without_apply_a_success_is_a_lie(client: SimulatorClient) -> None:
    await break_it(client, "extra-fields", apply=False)

    answer = await client.call(RELEASE, InstanceId="r-on")

    assert (answer.status, await is_changing(client), (await entry(client))["effective"]) == (200, False, False)


async def look(client: SimulatorClient) -> Answer:
    """Describe an instance."""
    return await client.call("DescribeDBInstanceNetInfo", InstanceId="r-on")


async def test_a_key_may_be_forbidden_to_release_and_still_look(client: SimulatorClient) -> None:
    policies = [
        {"effect": "Allow", "actions": ["kvstore:Describe*"], "resources": ["acs:kvstore:cn-hangzhou:*:instance/r-*"]}
    ]
    shown = await client.control("PUT", "accessKeys/demo", {"policies": policies})
    await break_it(client, "empty500")

    denied = await client.call(RELEASE, InstanceId="r-on")
    seen = await look(client)
    await client.control("PUT", "accessKeys/demo", {"policies": None})
    await client.control("DELETE", "faults")

    assert shown["policies"][0]["actions"] == ["kvstore:Describe*"]
    assert (denied.code, seen.status) == ((403, "Forbidden.RAM"), 200)
    assert denied.json["AccessDeniedDetail"] == {
        "AuthAction": "kvstore:ReleaseDirectConnection",
        "AuthPrincipalType": "SubUser",
        "AuthPrincipalOwnerId": "1234567890123456",
        "AuthPrincipalDisplayName": "200000000000000001",
        "NoPermissionType": "ImplicitDeny",
        "PolicyType": "AccountLevelIdentityBasedPolicy",
        "EncodedDiagnosticMessage": denied.json["AccessDeniedDetail"]["EncodedDiagnosticMessage"],
    }
    assert (await client.call(RELEASE, InstanceId="r-on")).status == 200


async def test_a_key_is_disabled_removed_and_made_again(client: SimulatorClient) -> None:
    await client.control("PUT", "accessKeys/demo", {"status": "Inactive"})
    disabled = await look(client)
    removed = await client.control_answer("DELETE", "accessKeys/demo")
    unknown = await look(client)
    made = await client.control_answer("PUT", "accessKeys/demo", '{"secret": "demoSecret"}')

    assert (disabled.code, unknown.code) == ((400, "InvalidAccessKeyId.Inactive"), (404, "InvalidAccessKeyId.NotFound"))
    assert (removed.status, made.status, (await look(client)).status) == (204, 201, 200)


async def test_secrets_are_never_shown(client: SimulatorClient) -> None:
    tokens = [{"token": "hunter3", "expiration": "2026-01-02T03:04:05Z"}]
    await client.control("PUT", "accessKeys/sts", {"secret": "hunter2", "tokens": tokens, "securityToken": "hunter4"})

    texts = [(await client.control_answer("GET", path)).text for path in ("accessKeys", "accessKeys/sts")]

    assert not any("hunter" in text or "demoSecret" in text for text in texts)
    assert [key["accessKeyId"] for key in json.loads(texts[0])] == ["demo", "sts"]
    assert json.loads(texts[1])["tokens"] == [
        {"expiration": None, "expired": False},
        {"expiration": "2026-01-02T03:04:05+00:00", "expired": True},
    ]


async def test_calls_are_limited_from_one_moment_to_the_next(client: SimulatorClient, time: Time) -> None:
    limits = {"user": {"callsPerSecond": 2, "retryAfter": True}, "apis": {RELEASE: {"callsPerSecond": 0.1}}}
    before = await client.control("GET", "throttling")
    shown = await client.control("PUT", "throttling", limits)
    first, second = await look(client), await look(client)
    time.pass_by(0.5)
    third = await client.call(RELEASE, InstanceId="r-off")
    time.pass_by(0.5)
    fourth = await client.call(RELEASE, InstanceId="r-on")
    await client.control("PUT", "throttling", {})

    assert before == {"user": None, "apis": {}}
    assert shown == {
        "user": {"callsPerSecond": 2, "burst": 1, "retryAfter": True, "per": "accessKey"},
        "apis": {RELEASE: {"callsPerSecond": 0.1, "burst": 1, "retryAfter": False}},
    }
    assert (first.status, second.code, second.headers["x-acs-retry-after"]) == (200, (400, "Throttling.User"), "500")
    assert third.code == (400, "NetTypeNotExists")
    assert (fourth.code, fourth.headers.get("x-acs-retry-after")) == ((403, "Throttling.Api"), None)
    assert [(await look(client)).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("method", "path", "text", "status", "mistake"),
    [
        ("GET", "accessKeys/none", None, 404, "access key id in the path: no such access key"),
        ("DELETE", "accessKeys/none", None, 404, "access key id in the path: no such access key"),
        ("PUT", "accessKeys/none", "{}", 400, "secret: is required"),
        ("PUT", "accessKeys/demo", '{"status": "Off"}', 400, "status: Input should be 'Active' or 'Inactive'"),
        ("PUT", "accessKeys/a%20b", "{}", 400, "access key id in the path: use letters, digits, dot, hyphen"),
        ("PUT", "throttling", '{"user": {}}', 400, "user.callsPerSecond: is required"),
        ("PUT", "throttling", "[]", 400, "(top level): must be a mapping with the fields apis, user"),
        ("POST", "holds/none/release", None, 404, "hold id in the path: no such hold"),
        ("DELETE", "holds/none", None, 404, "hold id in the path: no such hold"),
    ],
)
async def test_bad_input_is_named_and_changes_nothing(
    client: SimulatorClient, method: str, path: str, text: str | None, status: int, mistake: str
) -> None:
    before = [await client.control("GET", listed) for listed in ("accessKeys", "throttling", "holds")]

    answer = await client.control_answer(method, path, text)

    assert (answer.status, answer.json["mistakes"][0][: len(mistake)]) == (status, mistake)
    assert [await client.control("GET", listed) for listed in ("accessKeys", "throttling", "holds")] == before


async def test_a_call_that_is_held_does_not_hold_up_the_end() -> None:
    async with aiohttp.ClientSession() as session:
        async with serving(Cloud(parse_seed(SEED), Time())) as url:
            client = SimulatorClient(session, url, Time())
            await break_it(client, "hold")
            call = asyncio.create_task(client.call(RELEASE, InstanceId="r-on"))
            await until_reached(client)
        with pytest.raises(aiohttp.ClientError):
            await call
