"""The Secret with a tenant's credentials goes and comes back while its release is under way."""

import time
from typing import Any

import pytest

from tests.chaos.scenes import new_operator, new_tenant, outcome
from tests.cluster.tenants import RELEASE, Tenant, condition, hold_release, is_ready
from tests.cluster.test_own_credentials import MOMENT, OWN, allow, rule, secret
from tests.cluster.watching import Judge
from tests.stage import Stage

pytestmark = pytest.mark.timeout(240)


def put_key(tenant: Tenant, name: str) -> None:
    tenant.stage.simulator.put_access_key(name, secret=f"{name}Secret")
    tenant.apply_object(secret(accessKeyId=name, accessKeySecret=f"{name}Secret"))


def is_without_credentials(resource: dict[str, Any]) -> bool:
    message = condition(resource, "Ready").get("message", "")
    return "aliyun" in message and condition(resource, "Ready").get("status") != "True"


def test_a_secret_that_is_deleted_during_a_release_is_waited_for_and_nothing_is_done_twice(
    stage: Stage, judge: Judge
) -> None:
    tenant = new_tenant(stage, judge)
    allow(tenant, "read-credentials", rule("secrets", "get", "aliyun"))
    put_key(tenant, "firstKeyId")
    held = hold_release(tenant, "after")
    tenant.apply(directConnection=False, credentials=OWN)
    operator = new_operator(stage)
    operator.access, operator.credentials = "rules: []", {}
    with operator:
        held.wait_reached()
        stage.plane.kubectl("delete", "secret", "aliyun", "-n", tenant.namespace)
        stage.simulator.put_access_key("firstKeyId", status="Inactive")
        held.let_go()
        time.sleep(MOMENT)
        blind = tenant.get()
        put_key(tenant, "secondKeyId")
        resource = tenant.wait(is_ready, seconds=60)
        tenant.apply(directConnection=True, credentials=OWN)
        tenant.wait(is_ready)

    [release] = tenant.calls(RELEASE)
    assert outcome(blind) == "Accepted"
    assert condition(blind, "Ready")["status"] != "True"
    assert release["effective"]
    assert resource["status"]["operation"]["requestId"] == release["requestId"]
    assert {call["accessKeyId"] for call in tenant.calls("AllocateDirectConnection")} == {"secondKeyId"}
