"""Alibaba's own SDK as oracle: what it sends on the wire, and what we would have signed and sent."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from alibabacloud_r_kvstore20150101 import models
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_tea_openapi.models import Config

from tair_operator.aliyun import signing
from tests.recorder import RecordedRequest, recording

SECRET = "demoAccessKeySecret"
ID = "r-bp1zxszhcgatnx0001"
CALLS: dict[str, Callable[[Client], object]] = {
    "ReleaseDirectConnection": lambda sdk: sdk.release_direct_connection(
        models.ReleaseDirectConnectionRequest(instance_id=ID)
    ),
    "AllocateDirectConnection": lambda sdk: sdk.allocate_direct_connection(
        models.AllocateDirectConnectionRequest(instance_id=ID, connection_string="redisdirect123", port="6380")
    ),
    "DescribeInstances": lambda sdk: sdk.describe_instances(
        models.DescribeInstancesRequest(region_id="cn-hangzhou", instance_ids=f"{ID},r-2", search_key="a b*~/+=&\u6d4b")
    ),
    "DescribeDBInstanceNetInfo": lambda sdk: sdk.describe_dbinstance_net_info(
        models.DescribeDBInstanceNetInfoRequest(instance_id=ID)
    ),
}
PARAMETERS = {
    "ReleaseDirectConnection": {"InstanceId": ID},
    "AllocateDirectConnection": {"InstanceId": ID, "ConnectionString": "redisdirect123", "Port": "6380"},
    "DescribeInstances": {
        "RegionId": "cn-hangzhou",
        "InstanceIds": f"{ID},r-2",
        "SearchKey": "a b*~/+=&\u6d4b",
    },
    "DescribeDBInstanceNetInfo": {"InstanceId": ID},
}


async def record(action: str, token: str | None) -> RecordedRequest:
    """Return what the SDK really sends."""
    async with recording() as recorder:
        config = Config(
            access_key_id="demoAccessKeyId",
            access_key_secret=SECRET,
            security_token=token,
            endpoint=recorder.endpoint,
            protocol="HTTP",
        )
        await asyncio.to_thread(CALLS[action], Client(config))
    (request,) = recorder.requests
    return request


@pytest.mark.parametrize("token", [None, "testSecurityToken+/=="])
@pytest.mark.parametrize("action", CALLS)
async def test_for_what_the_sdk_sends_we_compute_the_signature_that_it_carries(action: str, token: str | None) -> None:
    request = await record(action, token)
    scheme, _, fields = request.by_name["authorization"].partition(" ")
    claimed = dict(field.split("=", 1) for field in fields.split(","))
    headers = {name: request.by_name[name] for name in claimed["SignedHeaders"].split(";")}

    query = signing.canonical_query(PARAMETERS[action])
    canonical = signing.canonical_request("POST", "/", query, headers, signing.EMPTY_BODY_HASH)
    signature = signing.signature(SECRET, signing.string_to_sign(canonical))

    assert scheme == signing.ALGORITHM
    assert signing.signed_headers(headers) == claimed["SignedHeaders"]
    assert signature == claimed["Signature"]
    assert (
        signing.authorization("demoAccessKeyId", claimed["SignedHeaders"], signature)
        == request.by_name["authorization"]
    )


@pytest.mark.parametrize("token", [None, "testSecurityToken+/=="])
async def test_of_the_headers_that_decide_we_send_the_same_as_the_sdk(token: str | None) -> None:
    request = await record("ReleaseDirectConnection", token)
    sent = {name: value for name, value in request.by_name.items() if name.startswith("x-acs-") or name == "host"}
    ours = signing.common_headers(
        host=request.by_name["host"],
        action="ReleaseDirectConnection",
        version="2015-01-01",
        timestamp=datetime.strptime(sent["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
        nonce=sent["x-acs-signature-nonce"],
    )
    if token is not None:
        ours |= signing.token_headers("demoAccessKeyId", token)

    # Telemetry of the SDK about where its credentials came from.
    sent.pop("x-acs-credentials-provider", None)
    assert ours == sent
    assert (request.method, request.path, request.body) == ("POST", "/", b"")
