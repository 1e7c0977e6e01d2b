"""Resources with credentials of their own, on a real API server: a Secret, and the tenant's own ServiceAccount."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.tenants import RELEASE, Tenant, condition, is_ready, is_stalled, make_tenant
from tests.stage import KEY_ID, KEY_SECRET, OperatorProcess, Stage

SA = "orders"
PROVIDER = "acs:ram::1234567890123456:oidc-provider/cluster"
ROLE_ARN = "acs:ram::1234567890123456:role/orders"
OWN = {"secretName": "aliyun"}
MOMENT = 5.5
"""A failure is the answer to whoever asks within five seconds, and credentials as young as that are not doubted."""
EVERYTHING = [{"effect": "Allow", "actions": ["kvstore:*"]}]


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    """Start an operator whose access list permits nothing, and that has no credentials of its own."""
    issuer = json.loads(stage.plane.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    keys = json.loads(stage.plane.kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]
    stage.simulator.put(f"oidcProviders/{PROVIDER}", issuer=issuer, jwks={"keys": keys})
    settings = {
        "TAIR_OPERATOR_STALL_GRACE_SECONDS": "1",
        "TAIR_OPERATOR_SETTLE_SECONDS": "5",
        "TAIR_OPERATOR_STS_ENDPOINT": stage.simulator.url,
        "TAIR_OPERATOR_OIDC_PROVIDER_ARN": PROVIDER,
    }
    operator = stage.operator("tenants", **settings)
    operator.access, operator.credentials = "rules: []", {}
    with operator:
        yield operator


def allow(tenant: Tenant, name: str, *rules: dict[str, Any]) -> None:
    """Grant the operator a Role in the tenant's namespace."""
    api = "rbac.authorization.k8s.io"
    tenant.apply_object({"apiVersion": f"{api}/v1", "kind": "Role", "metadata": {"name": name}, "rules": list(rules)})
    tenant.apply_object(
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "tair-operator", "namespace": "tair-system"}],
        }
    )


def rule(resource: str, verb: str, name: str) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": [resource], "verbs": [verb], "resourceNames": [name]}


def secret(**texts: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aliyun"}, "stringData": texts}


def ask_again(tenant: Tenant, stamp: str = "now") -> None:
    time.sleep(MOMENT)
    words = f"tair.alibabacloud.com/reconcile-requested-at={stamp}"
    tenant.stage.plane.kubectl("-n", tenant.namespace, "annotate", "--overwrite", "tair", tenant.name, words)


@pytest.fixture
def tenant(stage: Stage, operator: OperatorProcess) -> Tenant:
    tenant = make_tenant(stage)
    allow(tenant, "read-credentials", rule("secrets", "get", "aliyun"))
    return tenant


def test_a_secret_of_the_tenant_needs_no_access_list(tenant: Tenant) -> None:
    tenant.apply_object(secret(accessKeyId=KEY_ID, accessKeySecret=KEY_SECRET))
    tenant.apply(directConnection=False, credentials=OWN)
    tenant.wait(is_ready)

    [release] = tenant.effective(RELEASE)
    assert release["accessKeyId"] == KEY_ID


def test_without_credentials_of_its_own_the_access_list_counts(tenant: Tenant) -> None:
    tenant.apply(directConnection=False)
    resource = tenant.wait(is_stalled("AccessNotAllowed"))

    assert "add to its access list" in condition(resource, "Stalled")["message"]


def test_a_secret_that_is_missing_is_waited_for(tenant: Tenant) -> None:
    tenant.apply(directConnection=False, credentials=OWN)
    resource = tenant.wait(is_stalled("CredentialsUnavailable"))
    tenant.apply_object(secret(accessKeyId=KEY_ID, accessKeySecret=KEY_SECRET))
    ask_again(tenant)
    tenant.wait(is_ready)

    assert "aliyun" in condition(resource, "Stalled")["message"]


def test_a_role_without_keys_is_invalid(tenant: Tenant) -> None:
    tenant.apply_object(secret(roleArn=ROLE_ARN))
    tenant.apply(directConnection=False, credentials=OWN)
    resource = tenant.wait(is_stalled("CredentialsInvalid"))

    assert "roleArn" in condition(resource, "Stalled")["message"]
    assert tenant.calls(RELEASE) == []


def test_a_secret_that_may_not_be_read_names_the_role_to_add(stage: Stage, operator: OperatorProcess) -> None:
    tenant = make_tenant(stage)
    tenant.apply_object(secret(accessKeyId=KEY_ID, accessKeySecret=KEY_SECRET))
    tenant.apply(directConnection=False, credentials=OWN)
    resource = tenant.wait(is_stalled("CredentialsUnavailable"))

    assert "bind a Role" in condition(resource, "Stalled")["message"]


def test_a_rotated_secret_is_read_again_without_a_restart(tenant: Tenant) -> None:
    simulator = tenant.stage.simulator
    simulator.put_access_key("oldKeyId", secret="oldSecret")
    simulator.put_access_key("newKeyId", secret="newSecret")
    tenant.apply_object(secret(accessKeyId="oldKeyId", accessKeySecret="oldSecret"))
    tenant.apply(directConnection=True, credentials=OWN)
    tenant.wait(is_ready)
    simulator.put_access_key("oldKeyId", status="Inactive")
    tenant.apply(directConnection=False, credentials=OWN)
    refused = tenant.wait(lambda r: condition(r, "Ready").get("reason") == "CredentialsInvalid")
    tenant.apply_object(secret(accessKeyId="newKeyId", accessKeySecret="newSecret"))
    ask_again(tenant)
    done = tenant.wait(is_ready)

    assert refused["status"]["error"]["code"] == "InvalidAccessKeyId.Inactive"
    assert condition(done, "Ready")["reason"] == "Released"
    assert [call["accessKeyId"] for call in tenant.calls(RELEASE)] == ["newKeyId"]


def test_a_denied_release_shows_what_ram_says(tenant: Tenant) -> None:
    deny = {"effect": "Deny", "actions": ["kvstore:ReleaseDirectConnection"]}
    tenant.stage.simulator.put_access_key("deniedKeyId", secret="deniedSecret", policies=[*EVERYTHING, deny])
    tenant.apply_object(secret(accessKeyId="deniedKeyId", accessKeySecret="deniedSecret"))
    tenant.apply(directConnection=False, credentials=OWN)
    resource = tenant.wait(is_stalled("AccessDenied"))

    assert resource["status"]["instance"]["status"] == "Normal"
    assert resource["status"]["error"]["httpStatus"] == 403
    assert "kvstore:ReleaseDirectConnection" in resource["status"]["error"]["message"]
    assert resource["status"]["requestId"] == resource["status"]["error"]["requestId"]
    assert tenant.effective(RELEASE) == []


def with_identity(stage: Stage, subject_namespace: str | None = None) -> Tenant:
    """Make a tenant with a ServiceAccount, the Role to use it, and a RAM role that trusts it, or another one."""
    tenant = make_tenant(stage)
    arn = f"{ROLE_ARN}-{tenant.namespace}"
    allow(tenant, "use-identity", rule("serviceaccounts", "get", SA), rule("serviceaccounts/token", "create", SA))
    account = {"name": SA, "annotations": {"tair.alibabacloud.com/role-arn": arn}}
    tenant.apply_object({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    subject = f"system:serviceaccount:{subject_namespace or tenant.namespace}:{SA}"
    trust = {"oidc": [{"provider": PROVIDER, "subjects": [subject]}]}
    stage.simulator.put(f"roles/{arn}", policies=EVERYTHING, trust=trust)
    return tenant


def test_a_token_of_the_tenants_own_service_account_is_exchanged_for_its_role(
    stage: Stage, operator: OperatorProcess
) -> None:
    tenant = with_identity(stage)
    tenant.apply(directConnection=False, credentials={"serviceAccountName": SA})
    tenant.wait(is_ready)

    [release] = tenant.effective(RELEASE)
    assert release["accessKeyId"].startswith("STS.")
    assert "eyJ" not in operator.log.read_text()


def test_a_role_that_trusts_another_namespace_is_not_assumed(stage: Stage, operator: OperatorProcess) -> None:
    tenant = with_identity(stage, subject_namespace="somebody-else")
    tenant.apply(directConnection=False, credentials={"serviceAccountName": SA})
    resource = tenant.wait(lambda r: bool(condition(r, "Stalled")))

    assert resource["status"]["error"]["code"] == "AuthenticationFail.NoPermission"
    assert f"system:serviceaccount:{tenant.namespace}:{SA}" in condition(resource, "Stalled")["message"]
    assert tenant.calls(RELEASE) == []


def test_credentials_of_another_namespace_cannot_be_named(stage: Stage, operator: OperatorProcess) -> None:
    """The schema has no field for it, and a slash is no name."""
    tenant = make_tenant(stage)
    with pytest.raises(Exception, match="secretName"):
        tenant.apply(directConnection=False, credentials={"secretName": "other/aliyun"})


def test_an_expired_session_is_replaced(stage: Stage, operator: OperatorProcess) -> None:
    tenant = with_identity(stage)
    tenant.apply(directConnection=True, credentials={"serviceAccountName": SA})
    tenant.wait(is_ready)
    time.sleep(MOMENT)
    [used] = {call["accessKeyId"] for call in tenant.calls("DescribeDBInstanceNetInfo")}
    stage.simulator.put_access_key(used, expiration="2020-01-01T00:00:00Z")
    tenant.apply(directConnection=False, credentials={"serviceAccountName": SA})
    tenant.wait(is_ready)

    [release] = tenant.effective(RELEASE)
    assert release["accessKeyId"] != used


def test_a_deletion_in_a_namespace_that_goes_is_not_held_for_credentials_that_are_gone(tenant: Tenant) -> None:
    tenant.stage.simulator.put_access_key("goingKeyId", secret="goingSecret")
    tenant.apply_object(secret(accessKeyId="goingKeyId", accessKeySecret="goingSecret"))
    tenant.apply(directConnection=True, credentials=OWN, deletionPolicy="Release")
    tenant.wait(is_ready)
    kubectl = tenant.stage.plane.kubectl
    kubectl("delete", "secret", "aliyun", "-n", tenant.namespace)
    # The key is remembered for a minute; the cloud refuses it, so the Secret is looked for again.
    tenant.stage.simulator.put_access_key("goingKeyId", status="Inactive")
    tenant.delete()
    held = tenant.wait(lambda r: condition(r, "Ready").get("reason") == "CredentialsUnavailable")
    kubectl("delete", "namespace", tenant.namespace, "--wait=false")
    tenant.wait_gone()

    assert "deletionPolicy to Retain" in condition(held, "Ready")["message"]
    assert tenant.calls(RELEASE) == []
