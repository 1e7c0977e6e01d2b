"""The simulator as Alibaba's own SDK sees it.

The SDK is the oracle: without it, our client and our simulator would only agree with each other.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from alibabacloud_r_kvstore20150101 import models
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_tea_openapi.models import Config

from tair_simulator.errors import CloudError
from tair_simulator.gateway import AccessKey, Gate
from tair_simulator.signature import SignedRequest, check_signature, parse_authorization
from tests.integration.simulator_process import EXAMPLE_SEED, SimulatorProcess, running_simulator
from tests.recorder import RecordedRequest, recording

ORDERS = "r-bp1zxszhcgatnx0001"
SESSIONS = "r-bp1zxszhcgatnx0002"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A simulator with the example seed, only faster."""
    seed = EXAMPLE_SEED.read_text(encoding="utf-8")
    seed = seed.replace("lagSeconds: 0.5", "lagSeconds: 0.05").replace("busySeconds: 2", "busySeconds: 0.2")
    fast = tmp_path_factory.mktemp("seed") / "seed.yaml"
    fast.write_text(seed, encoding="utf-8")
    with running_simulator(seed=fast) as running:
        yield running


def sdk(endpoint: str, signing_key: str = "demoAccessKeySecret", token: str | None = None) -> Client:
    """Return Alibaba's client for an endpoint."""
    return Client(
        Config(
            access_key_id="demoAccessKeyId",
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

    assert error.code == "SignatureDoesNotMatch"


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
