"""The published endpoint and the deletion of a resource, on a real API server."""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.policies import refusing
from tests.cluster.tenants import RELEASE, Tenant, condition, is_ready, is_stalled, make_tenant
from tests.stage import OperatorProcess, Stage

FINALIZER = "tair.alibabacloud.com/release"
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "tair-operator-publishing"},
    "rules": [
        {
            "apiGroups": [""],
            "resources": ["secrets", "configmaps"],
            "verbs": ["get", "create", "patch", "delete"],
            "resourceNames": ["orders-redis", "first", "second"],
        }
    ],
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "tair-operator-publishing"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tair-operator-publishing"},
    "subjects": [{"kind": "ServiceAccount", "name": "tair-operator", "namespace": "tair-system"}],
}
BOTH = {"secretName": "orders-redis", "configMapName": "orders-redis"}


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    settings = {"TAIR_OPERATOR_STALL_GRACE_SECONDS": "1", "TAIR_OPERATOR_SETTLE_SECONDS": "5"}
    with stage.operator("publishing", **settings) as operator:
        yield operator


def may_publish(tenant: Tenant) -> Tenant:
    tenant.apply_object(ROLE)
    tenant.apply_object(BINDING)
    return tenant


@pytest.fixture
def tenant(stage: Stage, operator: OperatorProcess) -> Tenant:
    return may_publish(make_tenant(stage))


def data_of(secret: dict[str, Any] | None) -> dict[str, str]:
    assert secret is not None
    return {key: b64decode(value).decode() for key, value in secret["data"].items()}


def test_the_secret_is_a_service_binding(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, publish=BOTH)
    resource = tenant.wait(is_ready)
    secret, config = tenant.find("secret", "orders-redis"), tenant.find("configmap", "orders-redis")

    host = resource["status"]["directConnection"]["host"]
    shared = {"host": host, "port": "6379", "uri": f"redis://{host}:6379"}
    assert data_of(secret) == {"type": "redis", "provider": "alibaba-cloud", **shared}
    assert secret is not None
    assert secret["type"] == "servicebinding.io/redis"
    assert "ownerReferences" not in secret["metadata"]
    assert config is not None
    assert config["data"] == shared
    assert resource["status"]["binding"] == {"name": "orders-redis"}


def test_it_is_withdrawn_before_the_release(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, publish=BOTH)
    tenant.wait(is_ready)
    tenant.apply(directConnection=False, publish=BOTH, release={"drainSeconds": 8})
    draining = tenant.wait(lambda r: condition(r, "Ready").get("reason") == "Draining")
    calls = tenant.calls(RELEASE)
    gone = tenant.find("secret", "orders-redis"), tenant.find("configmap", "orders-redis")
    done = tenant.wait(is_ready)

    assert gone == (None, None)
    assert calls == []
    assert "binding" not in draining["status"]
    assert "published" not in done["status"]
    assert len(tenant.calls(RELEASE)) == 1


def test_it_is_published_again_when_the_release_is_called_off(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, publish=BOTH)
    tenant.wait(is_ready)
    tenant.apply(directConnection=False, publish=BOTH, release={"drainSeconds": 3600})
    tenant.wait(lambda r: condition(r, "Ready").get("reason") == "Draining")
    tenant.apply(directConnection=True, publish=BOTH, release={"drainSeconds": 3600})
    # Status forgets the drain first, and has the endpoint published in the next pass.
    resource = tenant.wait(lambda r: is_ready(r) and "binding" in r["status"])

    assert data_of(tenant.find("secret", "orders-redis"))["port"] == "6379"
    assert "plan" not in resource["status"]
    assert tenant.calls(RELEASE) == []


def test_what_others_add_stays_and_what_they_change_is_put_right(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, publish=BOTH)
    tenant.wait(is_ready)
    change = json.dumps({"metadata": {"labels": {"team": "shop"}}, "data": {"port": "MQ==", "extra": "MQ=="}})
    tenant.stage.plane.kubectl("-n", tenant.namespace, "patch", "secret", "orders-redis", "-p", change)
    tenant.apply(directConnection=True, publish=BOTH, resyncSeconds=60)
    tenant.wait(lambda _: data_of(tenant.find("secret", "orders-redis"))["port"] == "6379")

    secret = tenant.find("secret", "orders-redis")
    assert secret is not None
    assert secret["metadata"]["labels"]["team"] == "shop"
    assert data_of(secret)["extra"] == "1"


def test_an_object_of_somebody_else_is_never_overwritten(tenant: Tenant) -> None:
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-redis"}, "stringData": {"host": "x"}}
    tenant.apply_object(foreign)
    tenant.apply(directConnection=True, publish={"secretName": "orders-redis"})
    resource = tenant.wait(is_stalled("PublishFailed"))
    tenant.apply(directConnection=False, publish={"secretName": "orders-redis"})
    released = tenant.wait(is_ready)

    assert "not this resource's own" in condition(resource, "Stalled")["message"]
    assert data_of(tenant.find("secret", "orders-redis")) == {"host": "x"}
    assert condition(released, "Ready")["reason"] == "Released"


def test_without_permission_the_status_names_the_role(stage: Stage, operator: OperatorProcess) -> None:
    tenant = make_tenant(stage)
    tenant.apply(directConnection=True, publish={"secretName": "orders-redis"})
    resource = tenant.wait(is_stalled("PublishFailed"))
    tenant.apply(directConnection=False, publish={"secretName": "orders-redis"})
    tenant.wait(is_stalled("PublishFailed"))
    calls = tenant.calls(RELEASE)
    may_publish(tenant)
    stamp = "tair.alibabacloud.com/reconcile-requested-at=now"
    stage.plane.kubectl("-n", tenant.namespace, "annotate", "tair", tenant.name, stamp)
    released = tenant.wait(is_ready)

    assert "bind a Role" in condition(resource, "Stalled")["message"]
    assert calls == []
    assert condition(released, "Ready")["reason"] == "Released"


def test_a_new_name_moves_the_object(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, publish={"secretName": "first"})
    tenant.wait(is_ready)
    tenant.apply(directConnection=True, publish={"secretName": "second"})
    tenant.wait(lambda r: r["status"].get("binding") == {"name": "second"})

    assert tenant.find("secret", "first") is None
    assert data_of(tenant.find("secret", "second"))["type"] == "redis"


def test_deleting_with_retain_leaves_everything(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, publish=BOTH)
    before = tenant.wait(is_ready)
    tenant.delete()
    tenant.wait_gone()

    assert "finalizers" not in before["metadata"]
    assert tenant.find("secret", "orders-redis") is not None
    assert tenant.calls(RELEASE) == []
    assert tenant.stage.simulator.instance(tenant.instance_id)["directConnection"] is True


def test_deleting_with_release_withdraws_and_releases_what_was_allocated_for_it(
    stage: Stage, operator: OperatorProcess
) -> None:
    tenant = may_publish(make_tenant(stage, allocated=False))
    tenant.apply(directConnection=True, publish=BOTH, deletionPolicy="Release")
    before = tenant.wait(is_ready)
    tenant.delete()
    tenant.wait_gone()

    assert before["metadata"]["finalizers"] == [FINALIZER]
    assert tenant.find("secret", "orders-redis") is None
    assert len(tenant.effective(RELEASE)) == len(tenant.calls(RELEASE)) == 1


def test_deleting_with_release_asks_before_it_releases_what_was_there_before(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, deletionPolicy="Release")
    tenant.wait(is_ready)
    tenant.delete()
    held = tenant.wait(lambda r: condition(r, "Stalled").get("reason") == "ApprovalRequired")
    calls = tenant.calls(RELEASE)
    tenant.approve(held["status"]["plan"]["id"])
    tenant.wait_gone()

    assert "was not allocated for it" in condition(held, "Stalled")["message"]
    assert "deletionPolicy to Retain" in condition(held, "Stalled")["message"]
    assert calls == []
    assert len(tenant.calls(RELEASE)) == 1


def test_changing_back_to_retain_lets_a_deletion_go(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, deletionPolicy="Release")
    tenant.wait(is_ready)
    tenant.delete()
    tenant.wait(lambda r: condition(r, "Stalled").get("reason") == "ApprovalRequired")
    patch = '{"spec": {"deletionPolicy": "Retain"}}'
    tenant.stage.plane.kubectl("-n", tenant.namespace, "patch", "tair", tenant.name, "--type=merge", "-p", patch)
    tenant.wait_gone()

    assert tenant.calls(RELEASE) == []


def test_the_finalizer_comes_and_goes_with_the_policy(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, deletionPolicy="Release")
    tenant.wait(lambda r: r["metadata"].get("finalizers") == [FINALIZER])
    tenant.apply(directConnection=True, deletionPolicy="Retain")
    resource = tenant.wait(lambda r: "finalizers" not in r["metadata"])

    assert resource["spec"]["deletionPolicy"] == "Retain"


def test_a_deletion_whose_instance_is_gone_is_not_held(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, deletionPolicy="Release")
    tenant.wait(is_ready)
    tenant.stage.simulator.delete_instance(tenant.instance_id)
    tenant.delete()
    tenant.wait_gone()

    assert tenant.calls(RELEASE) == []


def test_a_suspended_resource_holds_its_deletion_and_says_so(tenant: Tenant) -> None:
    tenant.apply(directConnection=True, deletionPolicy="Release", suspend=True)
    tenant.wait(lambda r: bool(condition(r, "Suspended")))
    tenant.delete()
    held = tenant.wait(lambda r: "deletionPolicy to Retain" in condition(r, "Suspended").get("message", ""))
    patch = '{"spec": {"suspend": false, "deletionPolicy": "Retain"}}'
    tenant.stage.plane.kubectl("-n", tenant.namespace, "patch", "tair", tenant.name, "--type=merge", "-p", patch)
    tenant.wait_gone()

    assert held["metadata"]["deletionTimestamp"]
    assert tenant.calls(RELEASE) == []


def test_a_live_endpoint_that_differs_from_the_wish_is_told_and_not_moved(
    stage: Stage, operator: OperatorProcess
) -> None:
    tenant = make_tenant(stage, allocated=False)
    tenant.apply(directConnection=True, endpoint={"prefix": "ordersdirect9", "port": 6390})
    made = tenant.wait(is_ready)
    tenant.apply(directConnection=True, endpoint={"prefix": "ordersdirect9", "port": 6391})
    differs = tenant.wait(lambda r: condition(r, "EndpointMatches").get("status") == "False")

    live = stage.simulator.instance(tenant.instance_id)["endpoint"]
    assert (live["prefix"], live["port"]) == ("ordersdirect9", 6390)
    assert condition(made, "EndpointMatches")["status"] == "True"
    assert condition(differs, "Ready")["status"] == "True"
    assert "its port is 6390 and not 6391" in condition(differs, "EndpointMatches")["message"]
    assert len(tenant.calls("AllocateDirectConnection")) == 1


INELIGIBLE: dict[str, dict[str, object]] = {
    "TLS is on": {"sslEnabled": True},
    "EngineVersion is 7.0 and has to be 4.0 or 5.0": {"engineVersion": "7.0"},
    "ComputingType is Ecs and has to be Machine": {"computingType": "Ecs"},
    "ArchitectureType is standard and has to be cluster": {"architectureType": "standard"},
    "NetworkType is CLASSIC and has to be VPC": {"networkType": "CLASSIC"},
}


def test_an_instance_that_is_not_eligible_is_explained_and_not_called(stage: Stage, operator: OperatorProcess) -> None:
    tenants = {fact: make_tenant(stage, allocated=False, **fields) for fact, fields in INELIGIBLE.items()}
    for tenant in tenants.values():
        tenant.apply(directConnection=True)
    stalled = {fact: tenant.wait(is_stalled("InstanceNotEligible")) for fact, tenant in tenants.items()}

    assert [fact for fact, found in stalled.items() if fact not in condition(found, "Stalled")["message"]] == []
    assert [tenant.calls("AllocateDirectConnection") for tenant in tenants.values()] == [[]] * len(tenants)


def test_a_deletion_does_not_release_what_another_manifest_claims_whoever_that_is(
    stage: Stage, operator: OperatorProcess
) -> None:
    """Moving a resource to another namespace: the new one may not be served yet, and its clients are there already."""
    first = make_tenant(stage, allocated=False)
    first.apply(directConnection=True, deletionPolicy="Release")
    first.wait(is_ready)
    second = Tenant(stage, f"{first.namespace}-new", first.instance_id)
    stage.plane.kubectl("create", "namespace", second.namespace)
    second.apply(directConnection=True, credentials={"secretName": "not-there-yet"})
    second.wait(lambda r: r["status"].get("observedGeneration") == 1)
    first.delete()
    first.wait_gone()

    assert first.calls(RELEASE) == []
    assert stage.simulator.instance(first.instance_id)["directConnection"] is True


def test_a_write_that_an_admission_policy_refuses_is_said(stage: Stage, operator: OperatorProcess) -> None:
    tenant = may_publish(make_tenant(stage))
    words = "no endpoints here, says the platform team"
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": tenant.namespace}}
    create = ("create", "-f", "-")
    with refusing(stage.plane, tenant.namespace, ("", "v1", "configmaps", "CREATE"), "false", words) as policy:
        policy.wait_in_force(*create, stdin=json.dumps(probe))
        tenant.apply(directConnection=True, publish={"configMapName": "orders-redis"})
        resource = tenant.wait(is_stalled("PublishFailed"))

    assert words in condition(resource, "Stalled")["message"]
