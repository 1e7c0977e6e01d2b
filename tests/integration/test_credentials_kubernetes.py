"""What is asked of the Kubernetes API for credentials, and what is made of its answers."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from tair_operator.ports import ClusterUnavailableError, ForbiddenError, IssuedToken, Namespace
from tests.integration.test_cluster import serving

FORBIDDEN = (403, {"reason": "Forbidden", "message": "secrets is forbidden"})
GONE = (404, {"reason": "NotFound"})
BROKEN = (500, {"reason": "InternalError", "message": "etcd"})
ACCOUNT = "/api/v1/namespaces/shop/serviceaccounts/orders"


async def test_a_secret_is_read_by_its_name_and_decoded() -> None:
    data = {"accessKeyId": b64encode(b"LTAI\n").decode(), "odd": "no base64", "empty": ""}
    async with serving((200, {"data": data}), (200, {}), GONE) as (cluster, script):
        found = await cluster.read_secret("shop", "keys")
        empty = await cluster.read_secret("shop", "keys")
        missing = await cluster.read_secret("shop", "keys")

    assert (found, empty, missing) == ({"accessKeyId": b"LTAI\n", "empty": b""}, {}, None)
    assert (script.requests[0].method, script.requests[0].path) == ("GET", "/api/v1/namespaces/shop/secrets/keys")


async def test_the_annotations_of_a_service_account_are_read() -> None:
    annotated = (200, {"metadata": {"annotations": {"tair.alibabacloud.com/role-arn": "acs:..."}}})
    async with serving(annotated, (200, {"metadata": {}}), GONE) as (cluster, script):
        found = await cluster.read_service_account_annotations("shop", "orders")
        none = await cluster.read_service_account_annotations("shop", "orders")
        missing = await cluster.read_service_account_annotations("shop", "orders")

    assert (found, none, missing) == ({"tair.alibabacloud.com/role-arn": "acs:..."}, {}, None)
    assert (script.requests[0].method, script.requests[0].path) == ("GET", ACCOUNT)


async def test_a_token_is_asked_for_with_its_audience_and_life() -> None:
    issued = (201, {"status": {"token": "a.b.c", "expirationTimestamp": "2026-11-24T10:00:00Z"}})
    async with serving(issued, (201, {}), GONE) as (cluster, script):
        found = await cluster.request_token("shop", "orders", "sts.aliyuncs.com", 600)
        empty = await cluster.request_token("shop", "orders", "sts.aliyuncs.com", 600)
        missing = await cluster.request_token("shop", "orders", "sts.aliyuncs.com", 600)

    assert found == IssuedToken("a.b.c", datetime(2026, 11, 24, 10, tzinfo=UTC))
    assert (empty, missing) == (IssuedToken("", None), None)
    assert (script.requests[0].method, script.requests[0].path) == ("POST", f"{ACCOUNT}/token")
    assert script.bodies[0] == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["sts.aliyuncs.com"], "expirationSeconds": 600},
    }


async def test_of_a_namespace_its_labels_count_and_whether_it_is_going() -> None:
    stays = (200, {"metadata": {"labels": {"team": "shop"}}})
    goes = (200, {"metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z"}})
    async with serving(stays, goes, GONE) as (cluster, _):
        found = [await cluster.read_namespace("shop") for _ in range(3)]

    assert found == [Namespace({"team": "shop"}), Namespace({}, is_terminating=True), None]


async def test_each_missing_permission_is_named_with_the_role_that_grants_it() -> None:
    messages = []
    async with serving(FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN) as (cluster, _):
        for question in (
            cluster.read_secret("shop", "keys"),
            cluster.read_service_account_annotations("shop", "orders"),
            cluster.request_token("shop", "orders", "sts.aliyuncs.com", 600),
            cluster.read_namespace("shop"),
        ):
            with pytest.raises(ForbiddenError) as caught:
                await question
            messages.append(str(caught.value))

    owner = "to the operator's ServiceAccount"
    assert messages == [
        f"Secret shop/keys may not be read: bind a Role in shop with get on this Secret {owner}",
        f"ServiceAccount shop/orders may not be read: bind a Role in shop with get on this ServiceAccount {owner}",
        (
            "no token of ServiceAccount shop/orders may be requested: bind a Role in shop with create on "
            f"serviceaccounts/token for this name {owner}"
        ),
        "namespace shop may not be read: grant the operator's ServiceAccount get on namespaces",
    ]


async def test_any_other_answer_is_none() -> None:
    async with serving(BROKEN, BROKEN) as (cluster, _):
        with pytest.raises(ClusterUnavailableError, match="500 InternalError: etcd"):
            await cluster.read_secret("shop", "keys")
        with pytest.raises(ClusterUnavailableError):
            await cluster.request_token("shop", "orders", "sts.aliyuncs.com", 600)
