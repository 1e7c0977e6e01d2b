"""The simulator over HTTP: requests, faults, ledger and control API, with a clock that the test moves."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tair_simulator.__main__ import serve
from tair_simulator.cloud import Cloud
from tair_simulator.seed import Seed, parse_seed
from tests.integration.simulator_client import SimulatorClient, serving
from tests.unit.simulator.moving_clock import Time

SEED = """
accessKeys:
  demo: {secret: demoSecret}
instances:
  r-on: {regionId: cn-hangzhou, directConnection: true}
  r-off: {regionId: cn-hangzhou}
"""
REQUEST_ID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")


@pytest.fixture
def time() -> Time:
    """The clock of the cloud and of the client."""
    return Time()


@pytest.fixture
async def client(time: Time) -> AsyncIterator[SimulatorClient]:
    """A client of a simulator that runs in this process."""
    async with serving(Cloud(parse_seed(SEED), time)) as url, aiohttp.ClientSession() as session:
        yield SimulatorClient(session, url, time)


async def ledger(client: SimulatorClient, query: str = "") -> list[dict[str, Any]]:
    """Return the ledger without what differs from run to run."""
    entries = await client.control("GET", f"ledger{query}")
    return [{name: entry[name] for name in ("action", "httpStatus", "code", "effective", "fault")} for entry in entries]


@pytest.mark.parametrize(("method", "form"), [("POST", False), ("GET", False), ("POST", True)])
async def test_parameters_come_from_the_query_or_a_form(client: SimulatorClient, method: str, *, form: bool) -> None:
    answer = await client.call("ReleaseDirectConnection", method=method, form=form, InstanceId="r-on")

    assert (answer.status, list(answer.json)) == (200, ["RequestId"])


async def test_a_reply_has_the_form_of_the_real_one(client: SimulatorClient) -> None:
    answer = await client.call("DescribeDBInstanceNetInfo", InstanceId="r-on")

    assert answer.headers["Content-Type"] == "application/json;charset=utf-8"
    assert REQUEST_ID.fullmatch(answer.json["RequestId"])
    assert answer.headers["x-acs-request-id"] == answer.json["RequestId"]


async def test_a_refusal_has_the_form_of_the_real_one(client: SimulatorClient) -> None:
    answer = await client.call("ReleaseDirectConnection", InstanceId="r-off")

    body = answer.json
    assert answer.status == 400
    assert body == {
        "RequestId": answer.headers["x-acs-request-id"],
        "HostId": client._url.removeprefix("http://"),
        "Code": "NetTypeNotExists",
        "Message": "Specified net type not existed.",
        "Recommend": "https://api.alibabacloud.com/troubleshoot?q=NetTypeNotExists&product=R-kvstore"
        f"&requestId={body['RequestId']}",
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-acs-version": "2014-01-01"}, (404, "InvalidVersion")),
        ({"x-acs-action": "DescribeNothing"}, (404, "InvalidAction.NotFound")),
        ({"x-acs-date": "2026-01-02T02:49:04Z"}, (400, "InvalidTimeStamp.Expired")),
        ({"x-acs-date": "yesterday"}, (400, "InvalidTimeStamp.Format")),
        ({"x-acs-security-token": "token"}, (400, "InvalidSecurityToken.Malformed")),
        ({"x-acs-content-sha256": "0" * 64}, (400, "SignatureDoesNotMatch")),
    ],
)
async def test_refuses_a_request(client: SimulatorClient, headers: dict[str, str], code: tuple[int, str]) -> None:
    answer = await client.call("DescribeInstances", headers=headers, RegionId="cn-hangzhou")

    assert answer.code == code


async def test_refuses_a_wrong_secret_and_echoes_what_it_signed(client: SimulatorClient) -> None:
    answer = await client.call("ReleaseDirectConnection", signing_key="wrong", InstanceId="r-on")

    assert answer.code == (400, "SignatureDoesNotMatch")
    assert "server CanonicalRequest is [POST\n/\nInstanceId=r-on\nhost:127.0.0.1:" in answer.json["Message"]
    assert await client.control("GET", "ledger") == [
        {
            "sequence": 1,
            "time": "2026-01-02T03:04:05.000000Z",
            "action": "ReleaseDirectConnection",
            "version": "2015-01-01",
            "instanceId": "r-on",
            "accessKeyId": "demo",
            "requestId": answer.json["RequestId"],
            "host": client._url.removeprefix("http://"),
            "method": "POST",
            "httpStatus": 400,
            "code": "SignatureDoesNotMatch",
            "effective": False,
            "fault": None,
            "done": True,
        }
    ]


async def test_refuses_a_nonce_that_was_used(client: SimulatorClient) -> None:
    headers = {"x-acs-signature-nonce": "same"}
    await client.call("DescribeInstances", headers=headers, RegionId="cn-hangzhou")

    again = await client.call("DescribeInstances", headers=headers, RegionId="cn-hangzhou")

    assert again.code == (400, "SignatureNonceUsed")


async def test_refuses_other_methods(client: SimulatorClient) -> None:
    answer = await client.call("DescribeInstances", method="PUT", RegionId="cn-hangzhou")

    assert answer.code == (400, "UnsupportedHTTPMethod")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("r-kvstore.aliyuncs.com", 200),
        ("r-kvstore.cn-hangzhou.aliyuncs.com", 200),
        ("r-kvstore-vpc.cn-hangzhou.aliyuncs.com", 200),
        ("R-kvstore.cn-beijing.aliyuncs.com:8080", 404),
        ("r-kvstore-vpc.cn-beijing.aliyuncs.com", 404),
    ],
)
async def test_a_regional_host_has_its_own_instances_only(client: SimulatorClient, host: str, status: int) -> None:
    answer = await client.call("DescribeDBInstanceNetInfo", headers={"host": host}, InstanceId="r-on")

    assert answer.status == status


async def test_a_release_is_seen_to_its_end(client: SimulatorClient, time: Time) -> None:
    async def look() -> tuple[str, int]:
        items = (await client.call("DescribeDBInstanceNetInfo", InstanceId="r-on")).json["NetInfoItems"]
        page = (await client.call("DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-on")).json["Instances"]
        return page["KVStoreInstance"][0]["InstanceStatus"], len(items["InstanceNetInfo"])

    await client.call("ReleaseDirectConnection", InstanceId="r-on")
    seen = [await look()]
    for seconds in (0.5, 2):
        time.pass_by(seconds)
        seen.append(await look())

    assert seen == [("Normal", 2), ("NetworkModifying", 2), ("Normal", 1)]
    assert [entry["effective"] for entry in await ledger(client)] == [True] + [False] * 6


async def test_an_error_may_hide_that_the_call_took_effect(client: SimulatorClient) -> None:
    fault = {"action": "ReleaseDirectConnection", "kind": "error", "httpStatus": 503, "code": "X", "apply": True}
    shown = await client.control("POST", "faults", fault)

    answer = await client.call("ReleaseDirectConnection", InstanceId="r-on")

    assert shown == {**fault, "count": 1, "message": "The request processing has failed due to some unknown error."}
    assert answer.code == (503, "X")
    assert (await client.control("GET", "instances/r-on"))["change"]["kind"] == "Release"
    assert await ledger(client) == [
        {"action": "ReleaseDirectConnection", "httpStatus": 503, "code": "X", "effective": True, "fault": "error"}
    ]


async def test_throttling_does_not_apply_and_says_for_how_long(client: SimulatorClient) -> None:
    await client.control("POST", "faults", {"action": "*", "kind": "throttle", "retryAfterMs": 700})

    answer = await client.call("ReleaseDirectConnection", InstanceId="r-on")

    assert (answer.code, answer.headers["x-acs-retry-after"]) == ((400, "Throttling.User"), "700")
    assert (await client.control("GET", "instances/r-on"))["change"] is None


@pytest.mark.parametrize(
    ("kind", "status", "start"),
    [("http502", 502, "<html>"), ("empty500", 500, ""), ("truncated", 200, '{"RequestId":"')],
)
async def test_broken_replies(client: SimulatorClient, kind: str, status: int, start: str) -> None:
    await client.control("POST", "faults", {"action": "*", "kind": kind})

    answer = await client.call("DescribeDBInstanceNetInfo", InstanceId="r-on")

    assert (answer.status, answer.text[: len(start)]) == (status, start)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(answer.text)


@pytest.mark.parametrize(("kind", "applied"), [("reset-before", False), ("reset-after", True)])
async def test_a_connection_breaks_before_or_after_the_call_took_effect(
    client: SimulatorClient, kind: str, *, applied: bool
) -> None:
    await client.control("POST", "faults", {"action": "ReleaseDirectConnection", "kind": kind})

    with pytest.raises(aiohttp.ClientError):
        await client.call("ReleaseDirectConnection", InstanceId="r-on")

    assert ((await client.control("GET", "instances/r-on"))["change"] is not None) == applied
    assert await ledger(client) == [
        {"action": "ReleaseDirectConnection", "httpStatus": None, "code": None, "effective": applied, "fault": kind}
    ]


@pytest.mark.parametrize(("when", "effective"), [("before", False), ("after", True)])
async def test_a_slow_call_is_in_the_ledger_while_it_waits(
    client: SimulatorClient, when: str, *, effective: bool
) -> None:
    await client.control(
        "POST", "faults", {"action": "ReleaseDirectConnection", "kind": "delay", "seconds": 0.3, "when": when}
    )
    slow = asyncio.create_task(client.call("ReleaseDirectConnection", InstanceId="r-on"))
    while not await ledger(client):  # noqa: ASYNC110 - there is no event across HTTP
        await asyncio.sleep(0)

    assert [entry["effective"] for entry in await ledger(client)] == [effective]
    assert (await slow).status == 200
    assert [entry["effective"] for entry in await ledger(client)] == [True]


async def test_a_client_that_gives_up_does_not_stop_its_call(client: SimulatorClient) -> None:
    await client.control("POST", "faults", {"action": "ReleaseDirectConnection", "kind": "delay", "seconds": 0.2})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.call("ReleaseDirectConnection", InstanceId="r-on"), 0.1)

    while not (await client.control("GET", "ledger"))[0]["done"]:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    assert [entry["effective"] for entry in await ledger(client)] == [True]


async def test_a_request_that_is_not_genuine_uses_up_no_fault(client: SimulatorClient) -> None:
    await client.control("POST", "faults", {"action": "*", "kind": "empty500"})
    await client.call("DescribeInstances", signing_key="wrong", RegionId="cn-hangzhou")

    assert [fault["count"] for fault in await client.control("GET", "faults")] == [1]
    await client.control("DELETE", "faults")
    assert await client.control("GET", "faults") == []


async def test_the_ledger_is_filtered(client: SimulatorClient) -> None:
    await client.call("DescribeInstances", RegionId="cn-hangzhou", InstanceIds="r-on,r-off")
    await client.call("ReleaseDirectConnection", InstanceId="r-on")

    assert [entry["action"] for entry in await ledger(client, "?instanceId=r-off")] == ["DescribeInstances"]
    assert [entry["action"] for entry in await ledger(client, "?action=ReleaseDirectConnection&instanceId=r-on")] == [
        "ReleaseDirectConnection"
    ]
    first = (await client.control("GET", "ledger"))[0]["sequence"]
    assert [entry["action"] for entry in await ledger(client, f"?after={first}")] == ["ReleaseDirectConnection"]


async def test_an_access_key_id_that_does_not_exist_is_not_noted(client: SimulatorClient) -> None:
    headers = {"x-acs-action": "DescribeInstances", "authorization": "ACS3-HMAC-SHA256 Credential=secret"}

    await client.call("DescribeInstances", headers=headers, RegionId="cn-hangzhou")

    assert "secret" not in (await client.control_answer("GET", "ledger")).text


async def test_instances_are_created_changed_and_removed(client: SimulatorClient) -> None:
    created = await client.control_answer("PUT", "instances/r-new", '{"regionId": "cn-x"}')
    changed = await client.control_answer("PUT", "instances/r-new", '{"status": "Inactive"}')
    listed = await client.control("GET", "instances")
    removed = await client.control_answer("DELETE", "instances/r-new")
    gone = await client.control_answer("GET", "instances/r-new")
    again = await client.control_answer("DELETE", "instances/r-new")

    assert [answer.status for answer in (created, changed, removed, gone, again)] == [201, 200, 204, 404, 404]
    assert [(instance["instanceId"], instance["status"]) for instance in listed] == [
        ("r-on", "Normal"),
        ("r-off", "Normal"),
        ("r-new", "Inactive"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "text", "status", "mistake"),
    [
        ("PUT", "instances/r-on", "{", 400, "(top level): the body must be JSON"),
        ("PUT", "instances/r-on", "[" * 100_000, 400, "(top level): the body must be JSON"),
        ("PUT", "instances/r-on", '"\\ud800"', 400, "(top level): must be a JSON object"),
        ("PUT", "instances/r-on", '{"port": 1}', 400, "port: Input should be greater than or equal to 1024"),
        (
            "PUT",
            "instances/R_1",
            "{}",
            400,
            "instance id in the path: use a-z, 0-9 and hyphens, at most 63, first a letter",
        ),
        ("PUT", "instances/r-new", "[]", 400, "(top level): must be a mapping with the fields"),
        ("POST", "faults", "", 400, "(top level): the body must be JSON"),
        ("POST", "faults", "{}", 400, "kind: must be one of async-failure, content-type, delay"),
        ("GET", "ledger?instance=r-1", None, 400, "instance: unknown filter; allowed: action, after, instanceId"),
        ("GET", "ledger?after=now", None, 400, "after: must be the sequence number of a call"),
        ("GET", "nowhere", None, 404, "Not Found"),
        ("PUT", "reset", None, 405, "Method Not Allowed"),
    ],
)
async def test_bad_input_is_named_and_changes_nothing(
    client: SimulatorClient, method: str, path: str, text: str | None, status: int, mistake: str
) -> None:
    before = await client.control("GET", "instances")

    answer = await client.control_answer(method, path, text)

    assert answer.status == status
    assert answer.json["mistakes"][0].startswith(mistake)
    assert answer.json["message"] == "; ".join(answer.json["mistakes"])
    assert await client.control("GET", "instances") == before


async def test_an_unknown_path_outside_is_not_found(client: SimulatorClient) -> None:
    async with client._session.get(f"{client._url}/elsewhere") as response:
        assert response.status == 404


async def test_reset_goes_back_to_the_seed(client: SimulatorClient) -> None:
    before = await client.control("GET", "instances")
    await client.control("POST", "faults", {"action": "*", "kind": "empty500", "count": 2})
    await client.call("ReleaseDirectConnection", InstanceId="r-on")
    await client.control("DELETE", "instances/r-off")

    assert (await client.control_answer("POST", "reset")).status == 204
    assert await client.control("GET", "instances") == before
    assert await client.control("GET", "ledger") == []
    assert await client.control("GET", "faults") == []


async def test_is_healthy(client: SimulatorClient) -> None:
    assert await client.control("GET", "healthz") == {"status": "ok"}


@pytest.mark.parametrize(("host", "printed"), [("127.0.0.1", r"127\.0\.0\.1"), ("::1", r"\[::1\]")])
async def test_serves_until_told_to_stop(host: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    stop.set()

    await serve(Cloud(Seed(), Time()), host, 0, stop)

    assert re.fullmatch(rf"tair-simulator listening on http://{printed}:\d+\n", capsys.readouterr().out)
