"""The simulator as Alibaba's own SDK sees it.

The SDK is the oracle: without it, our client and our simulator would only agree with each other.
"""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alibabacloud_r_kvstore20150101 import models
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_openapi.utils import Utils

from tair_simulator.access_keys import AccessKey
from tair_simulator.errors import DOCUMENTED, CloudError
from tair_simulator.gateway import Gate
from tair_simulator.signature import SignedRequest, check_signature, parse_authorization
from tests.integration.simulator_process import EXAMPLE_SEED, SimulatorProcess, running_simulator
from tests.recorder import RecordedRequest, recording

ORDERS = "r-bp1zxszhcgatnx0001"
SESSIONS = "r-bp1zxszhcgatnx0002"
BEIJING = models.DescribeInstancesRequest(region_id="cn-beijing")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A simulator with the example seed, only faster."""
    seed = EXAMPLE_SEED.read_text(encoding="utf-8")
    seed = seed.replace("lagSeconds: 0.5", "lagSeconds: 0.05").replace("busySeconds: 2", "busySeconds: 0.2")
    fast = tmp_path_factory.mktemp("seed") / "seed.yaml"
    fast.write_text(seed, encoding="utf-8")
    with running_simulator(seed=fast) as running:
        yield running


def sdk(
    endpoint: str, signing_key: str = "demoAccessKeySecret", token: str | None = None, *, key: str = "demoAccessKeyId"
) -> Client:
    """Return Alibaba's client for an endpoint."""
    return Client(
        Config(
            access_key_id=key,
            access_key_secret=signing_key,
            security_token=token,
            endpoint=endpoint,
            protocol="HTTP",
        )
    )


def directions(client: Client, instance_id: str) -> list[int]:
    """Return ``DirectConnection`` of each endpoint."""
    reply = client.describe_dbinstance_net_info(models.DescribeDBInstanceNetInfoRequest(instance_id=instance_id))
    return [item.direct_connection for item in reply.body.net_info_items.instance_net_info]


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something is so, for ten seconds at most."""
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def refused(call: Callable[[], object]) -> Any:  # noqa: ANN401 - JSON, or the untyped SDK
    """Return the exception that the SDK raises for a refusal."""
    with pytest.raises(Exception, match=r"Error: |code: ") as caught:
        call()
    return caught.value


def test_the_sdk_describes_instances(simulator: SimulatorProcess) -> None:
    request = models.DescribeInstancesRequest(region_id="cn-hangzhou", instance_ids=f"{ORDERS},r-none", page_size=50)

    body = sdk(simulator.endpoint).describe_instances(request).body

    (item,) = body.instances.kvstore_instance
    assert (body.total_count, body.page_size) == (1, 50)
    assert (item.instance_id, item.region_id, item.computing_type) == (ORDERS, "cn-hangzhou", "Machine")


def test_the_sdk_releases_and_allocates(simulator: SimulatorProcess) -> None:
    client = sdk(simulator.endpoint)
    before = directions(client, ORDERS)

    released = client.release_direct_connection(models.ReleaseDirectConnectionRequest(instance_id=ORDERS))
    wait_for(lambda: directions(client, ORDERS) == [0])
    allocated = client.allocate_direct_connection(
        models.AllocateDirectConnectionRequest(instance_id=ORDERS, connection_string="redisdirect123", port="6380")
    )
    wait_for(lambda: directions(client, ORDERS) == [0, 1])

    assert before == [0, 1]
    assert re.fullmatch(r"[0-9A-F-]{36}", released.body.request_id)
    assert allocated.headers["x-acs-request-id"] == allocated.body.request_id


def test_the_sdk_receives_a_refusal_with_its_code_and_request_id(simulator: SimulatorProcess) -> None:
    request = models.ReleaseDirectConnectionRequest(instance_id=SESSIONS)

    error = refused(lambda: sdk(simulator.endpoint).release_direct_connection(request))

    assert error.code == "NetTypeNotExists"
    assert re.fullmatch(r"[0-9A-F-]{36}", error.data["RequestId"])


def test_the_sdk_is_refused_with_a_wrong_secret(simulator: SimulatorProcess) -> None:
    request = models.DescribeInstancesRequest(region_id="cn-hangzhou")

    error = refused(lambda: sdk(simulator.endpoint, "wrong").describe_instances(request))

    assert (error.code, error.status_code) == ("SignatureDoesNotMatch", 400)


def test_the_sdk_is_refused_with_an_old_date(simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    old = datetime.now(UTC) - timedelta(minutes=16)
    monkeypatch.setattr(Utils, "get_timestamp", lambda: old.strftime("%Y-%m-%dT%H:%M:%SZ"))

    error = refused(lambda: sdk(simulator.endpoint).describe_instances(BEIJING))

    assert (error.code, error.status_code) == ("InvalidTimeStamp.Expired", 400)


def test_the_sdk_is_refused_with_a_nonce_that_was_used(
    simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Utils, "get_nonce", lambda: "used-once")
    client = sdk(simulator.endpoint)
    client.describe_instances(BEIJING)

    error = refused(lambda: client.describe_instances(BEIJING))

    assert (error.code, error.status_code) == ("SignatureNonceUsed", 400)


def control(simulator: SimulatorProcess, path: str, body: object) -> None:
    """Post something to the control API."""
    data = json.dumps(body).encode()
    with urllib.request.urlopen(f"{simulator.url}/_simulator/{path}", data, timeout=10) as response:  # noqa: S310 - our own simulator
        assert response.status == 201


# What the API pages and the tables of common errors list, with the statuses that they give.
RELEASE_CODES = {
    "NetTypeNotExists": 400,
    "InstanceStatus.NotSupport": 403,
    "InvalidDbInstanceId.NotFound": 404,
}
ALLOCATE_CODES = {
    "NetTypeExists": 400,
    "DirectConnectionAlreadyExists": 400,
    "InvalidConnType": 400,
    "TaskHasExist": 400,
    "ConnectionStringAlreadyExists": 400,
    "InvalidConnectionString.Format": 400,
    "InvalidConnectionString": 400,
    "InvalidVPCParamGroup": 400,
    "UnsupportedEngineVersion": 403,
    "IncorrectMinorVersion": 403,
    "InstanceStatus.NotSupport": 403,
    "InvalidDbInstanceId.NotFound": 404,
}
COMMON_CODES = {
    "IncorrectDBInstanceState": 403,
    "LockTimeout": 400,
    "ProxyError": 400,
    "InternalError": 500,
    "Unkown.Exception": 400,
    "NotFound": 404,
    "HasDirectConnectionNotSupport": 403,
    "Throttling": 400,
    "Throttling.User": 400,
    "Throttling.Api": 403,
    "Rejected.Throttling": 400,
    "ServiceUnavailable": 503,
    "SignatureNonceUsed": 400,
    "InvalidTimeStamp.Expired": 400,
    "InvalidTimeStamp.Format": 400,
    "IllegalTimestamp": 400,
    "SignatureDoesNotMatch": 400,
    "IncompleteSignature": 400,
    "InvalidSignatureMethod": 400,
    "ContentMD5NotMatched": 400,
    "InvalidAccessKeyId.NotFound": 404,
    "InvalidAccessKeyId.Inactive": 400,
    "MissingSecurityToken": 400,
    "InvalidSecurityToken.Expired": 400,
    "InvalidSecurityToken.Malformed": 400,
    "InvalidSecurityToken.MismatchWithAccessKey": 400,
    "Forbidden.RAM": 403,
    "NoPermission": 403,
    "Forbidden": 403,
    "Forbedden.NotSupportRAM": 403,
    "Forbidden.RiskControl": 403,
    "InvalidApi.NotFound": 404,
    "InvalidAction.NotFound": 404,
    "InvalidVersion": 404,
    "InvalidProduct.NotFound": 404,
    "InvalidProtocol.NeedSsl": 404,
    "MissingParameter": 400,
    "MissingInstanceId": 400,
    "InvalidPort": 400,
    "UnsupportedHTTPMethod": 400,
    "OperationDenied.DBInstanceStatus": 403,
    "InvalidInstanceId.NotFound": 404,
    "InvalidDBInstance.NotFound": 404,
    "InvalidDBInstanceId.NotFound": 404,
    "Forbidden.InstanceNotFound": 404,
}


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Client:
    """One client of the SDK for many calls."""
    return sdk(simulator.endpoint)


@pytest.mark.parametrize(
    ("action", "code", "status"),
    [
        *(("ReleaseDirectConnection", code, status) for code, status in RELEASE_CODES.items()),
        *(("AllocateDirectConnection", code, status) for code, status in ALLOCATE_CODES.items()),
        *(("DescribeDBInstanceNetInfo", code, status) for code, status in COMMON_CODES.items()),
    ],
)
def test_every_documented_code_arrives_at_the_sdk(
    simulator: SimulatorProcess, client: Client, action: str, code: str, status: int
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "ReleaseDirectConnection": lambda: client.release_direct_connection(
            models.ReleaseDirectConnectionRequest(instance_id=ORDERS)
        ),
        "AllocateDirectConnection": lambda: client.allocate_direct_connection(
            models.AllocateDirectConnectionRequest(instance_id=ORDERS)
        ),
        "DescribeDBInstanceNetInfo": lambda: directions(client, ORDERS),
    }
    control(simulator, "faults", {"action": action, "kind": "error", "code": code})

    error = refused(calls[action])

    assert (error.code, error.status_code) == (code, status)
    assert error.request_id == error.data["RequestId"]
    assert re.fullmatch(r"[0-9A-F-]{36}", error.request_id)
    assert DOCUMENTED[code][1] in error.message


def test_the_sdk_sees_why_a_call_is_denied(simulator: SimulatorProcess) -> None:
    user = sdk(simulator.endpoint, "auditorAccessKeySecret", key="auditorAccessKeyId")
    seen = directions(user, ORDERS)

    error = refused(lambda: user.release_direct_connection(models.ReleaseDirectConnectionRequest(instance_id=ORDERS)))

    assert seen
    assert (error.code, error.status_code) == ("Forbidden.RAM", 403)
    assert error.access_denied_detail["AuthAction"] == "kvstore:ReleaseDirectConnection"
    assert error.access_denied_detail["NoPermissionType"] == "ExplicitDeny"


def test_the_sdk_sees_how_long_to_wait(simulator: SimulatorProcess, client: Client) -> None:
    control(simulator, "faults", {"action": "*", "kind": "throttle", "retryAfterMs": 1500})

    error = refused(lambda: directions(client, ORDERS))

    assert (error.code, error.status_code, error.retry_after) == ("Throttling.User", 400, 1500)


@pytest.mark.parametrize("token", ["oldSecurityToken", "newSecurityToken"])
def test_the_sdk_may_use_both_tokens_of_a_rotation(simulator: SimulatorProcess, token: str) -> None:
    client = sdk(simulator.endpoint, "rotatingAccessKeySecret", token, key="rotatingAccessKeyId")

    assert client.describe_instances(BEIJING).body.total_count == 1


@pytest.mark.parametrize("jitter", ["NumbersAsText", "TextAsNumbers", "NoDirectConnection", "NetInfoObject"])
def test_the_sdk_bears_other_types(simulator: SimulatorProcess, client: Client, jitter: str) -> None:
    control(simulator, "faults", {"action": "*", "kind": "type-jitter", "jitter": [jitter]})

    reply = client.describe_dbinstance_net_info(models.DescribeDBInstanceNetInfoRequest(instance_id=ORDERS))

    assert reply.body.request_id


async def test_the_asynchronous_sdk_is_understood_too(simulator: SimulatorProcess) -> None:
    request = models.DescribeInstancesRequest(region_id="cn-beijing")

    reply = await sdk(simulator.endpoint).describe_instances_async(request)

    assert [item.instance_id for item in reply.body.instances.kvstore_instance] == ["r-2zexszhcgatnx0005"]


async def record(token: str | None = None) -> RecordedRequest:
    """Return what the SDK sends for a call with awkward characters."""
    request = models.DescribeInstancesRequest(
        region_id="cn-hangzhou", search_key="a b*~/+=&\u6d4b", instance_ids="r-1,r-2"
    )
    async with recording(b'{"RequestId":"1","Instances":{"KVStoreInstance":[]}}') as recorder:
        await asyncio.to_thread(sdk(recorder.endpoint, token=token).describe_instances, request)
    (recorded,) = recorder.requests
    return recorded


def received(recorded: RecordedRequest) -> SignedRequest:
    """Return a recorded request as the simulator reads it."""
    return SignedRequest(recorded.method, recorded.path, recorded.query, recorded.by_name, recorded.body)


@pytest.mark.parametrize("token", [None, "testSecurityToken+/=="])
async def test_a_request_recorded_from_the_sdk_is_genuine(token: str | None) -> None:
    request = received(await record(token))
    key = AccessKey.model_validate({"secret": "demoAccessKeySecret", "securityToken": token})

    Gate({"demoAccessKeyId": key}).admit(request, datetime.now(UTC))


async def test_one_changed_byte_in_any_part_that_the_sdk_signed_is_noticed() -> None:
    request = received(await record("testSecurityToken+/=="))
    authorization = parse_authorization(request.headers["authorization"])
    changed = [
        replace(request, method="GET"),
        replace(request, path="/x"),
        replace(request, query=request.query.replace("hangzhou", "hangzhov")),
        replace(request, body=b"x"),
        *(
            replace(request, headers={**request.headers, name: f"{request.headers[name][:-1]}\x7f"})
            for name in authorization.signed_headers
        ),
    ]

    check_signature(request, authorization, "demoAccessKeySecret")
    for other in changed:
        with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
            check_signature(other, authorization, "demoAccessKeySecret")
