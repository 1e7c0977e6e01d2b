"""What the chart grants is what the operator uses: one run of every feature, and the audit log of the API server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
import yaml

from tests.cluster.helm import NAMESPACE, RELEASE_NAME, Helm, make_namespaces
from tests.cluster.tenants import FAST, RELEASE, Tenant, is_ready
from tests.controlplane import ControlPlane
from tests.stage import CRD, KEY_ID, KEY_SECRET, OperatorProcess, Stage

# Whoever runs this file alone may have Helm built by it, once.
pytestmark = pytest.mark.timeout(900)

TEAM, ENDPOINT, KEYS, IDENTITY = "shop", "orders-endpoint", "shop-aliyun", "shop-tair"
PROVIDER: Final = "acs:ram::1234567890123456:oidc-provider/cluster"
ROLE_ARN: Final = "acs:ram::1234567890123456:role/shop"
VALUES: Final = {
    "tenants": [{"namespace": TEAM, "publishing": [ENDPOINT], "credentials": [KEYS], "identities": [IDENTITY]}]
}
SCOPES: Final[dict[str, dict[str, Any]]] = {"cluster": {}, "namespaced": {"watchNamespaces": [TEAM]}}
ACCESS: Final = (
    "{rules: [{namespaceSelector: {matchLabels: {team: shop}}, regions: [cn-hangzhou], instanceIds: ['*'], "
    "actions: [Observe, Allocate, Release]}]}"
)

Manifest = dict[str, Any]


@dataclass(frozen=True, order=True)
class Permission:
    """One verb on one resource, everywhere (``*``) or in a namespace, for all names (``*``) or one."""

    verb: str
    resource: str
    namespace: str = "*"
    name: str = "*"

    def covers(self, used: "Permission") -> bool:
        """Whether a request was permitted by this."""
        return (
            (self.verb, self.resource) == (used.verb, used.resource)
            and self.namespace in {"*", used.namespace}
            and self.name in {"*", used.name}
        )


@dataclass(frozen=True)
class Run:
    """What was granted, and what the operator asked for."""

    granted: list[Permission]
    asked: list[Manifest]

    @property
    def used(self) -> list[Permission]:
        """What it asked for, and what the API server asked on its behalf."""
        return [permission for event in self.asked for permission in permissions_of(event)]


def permissions_of(event: Manifest) -> Iterator[Permission]:
    where = event.get("objectRef")
    if where is None:
        # Discovery, which everybody may.
        return
    resource = "/".join(where[part] for part in ("apiGroup", "resource", "subresource") if part in where)
    subject = (resource, where.get("namespace", "*"), where.get("name", "*"))
    yield Permission(event["verb"], *subject)
    if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
        # An object that server-side apply makes has to be permitted like one that is created.
        yield Permission("create", *subject)


@pytest.fixture(scope="module", params=SCOPES)
def run(request: pytest.FixtureRequest, helm: Helm) -> Iterator[Run]:
    """Install the chart, have its ServiceAccount use everything, and read what was granted and what was used."""
    with ControlPlane(audited=f"system:serviceaccount:{NAMESPACE}:{RELEASE_NAME}") as plane:
        make_namespaces(plane)
        plane.kubectl("label", "namespace", TEAM, "team=shop")
        manifests = helm.render("--set-json", f"{json.dumps(VALUES | SCOPES[request.param])}")
        plane.apply(yaml.safe_dump_all(each for each in manifests if each["kind"] != "Pod"))
        plane.wait_established(CRD)
        with Stage(plane) as stage:
            use_everything(stage, SCOPES[request.param])
        yield Run(sorted(granted(plane)), plane.audit())


def granted(plane: ControlPlane) -> Iterator[Permission]:
    """Yield what the ServiceAccount of the operator was granted, as the API server has it."""
    everything = plane.kubectl_json("get", "roles,rolebindings,clusterroles,clusterrolebindings", "--all-namespaces")
    by_name = {place(each): each for each in everything["items"]}
    for binding in everything["items"]:
        subjects = binding.get("subjects", [])
        if all((each["kind"], each["name"]) != ("ServiceAccount", RELEASE_NAME) for each in subjects):
            continue
        namespace = binding["metadata"].get("namespace", "")
        role = binding["roleRef"]
        rules = by_name[role["kind"], namespace if role["kind"] == "Role" else "", role["name"]]["rules"]
        for rule in rules:
            for group, resource, verb, name in (
                (group, resource, verb, name)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
                for name in rule.get("resourceNames", ["*"])
            ):
                yield Permission(verb, f"{group}/{resource}".lstrip("/"), namespace or "*", name)


def place(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def use_everything(stage: Stage, scope: Manifest) -> None:
    """Have two replicas, of which the second takes over, do all that the operator can do for a team."""
    prepare_cloud(stage)
    settings = {
        "TAIR_OPERATOR_LEADER_ELECTION": "true",
        "TAIR_OPERATOR_LEASE_NAMESPACE": NAMESPACE,
        "TAIR_OPERATOR_STS_ENDPOINT": stage.simulator.url,
        "TAIR_OPERATOR_OIDC_PROVIDER_ARN": PROVIDER,
    }
    if scope:
        settings["TAIR_OPERATOR_WATCH_NAMESPACES"] = ",".join(scope["watchNamespaces"])
    leader, standby = stage.operator("leader", **settings), stage.operator("standby", **settings)
    leader.access = standby.access = ACCESS
    with standby_of(leader, standby):
        own = tenant(stage, 1)
        own.apply(directConnection=True, deletionPolicy="Release", publish=PUBLISH)
        own.wait(is_ready)
        own.apply(directConnection=False, deletionPolicy="Release", publish=PUBLISH)
        own.wait(is_ready)
        keys = tenant(stage, 2)
        keys.apply_object({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS}, "stringData": KEY})
        keys.apply(directConnection=False, credentials={"secretName": KEYS})
        identity = tenant(stage, 3)
        identity.apply_object({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": ACCOUNT})
        identity.apply(directConnection=False, credentials={"serviceAccountName": IDENTITY})
        for each in (keys, identity):
            each.wait(is_ready)
        own.delete()
        own.wait_gone()

    assert [len(each.effective(RELEASE)) for each in (own, keys, identity)] == [1, 1, 1]


PUBLISH: Final = {"secretName": ENDPOINT, "configMapName": ENDPOINT}
KEY: Final = {"accessKeyId": KEY_ID, "accessKeySecret": KEY_SECRET}
ACCOUNT: Final = {"name": IDENTITY, "annotations": {"tair.alibabacloud.com/role-arn": ROLE_ARN}}


def tenant(stage: Stage, number: int) -> Tenant:
    return Tenant(stage, TEAM, f"r-bp1rbac{number:04}", f"it-{number}")


def prepare_cloud(stage: Stage) -> None:
    for number in (1, 2, 3):
        name = tenant(stage, number).instance_id
        stage.simulator.put_instance(name, regionId="cn-hangzhou", directConnection=True, timing=FAST)
    issuer = json.loads(stage.plane.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    keys = json.loads(stage.plane.kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]
    stage.simulator.put(f"oidcProviders/{PROVIDER}", issuer=issuer, jwks={"keys": keys})
    trust = {"oidc": [{"provider": PROVIDER, "subjects": [f"system:serviceaccount:{TEAM}:{IDENTITY}"]}]}
    policies = [{"effect": "Allow", "actions": ["kvstore:*"]}]
    stage.simulator.put(f"roles/{ROLE_ARN}", policies=policies, trust=trust)


@contextmanager
def standby_of(leader: OperatorProcess, standby: OperatorProcess) -> Iterator[None]:
    """Start both, and let the first one end: the second one works from then on."""
    with leader:
        standby.start()
        standby.wait_ready()
    try:
        yield
    finally:
        standby.__exit__(None, None, None)


def test_every_verb_that_is_granted_is_used(run: Run) -> None:
    unused = [each for each in run.granted if not any(each.covers(used) for used in run.used)]

    assert run.granted
    assert unused == []


def test_nothing_is_asked_for_that_is_not_granted(run: Run) -> None:
    refused = [event for event in run.asked if event["responseStatus"]["code"] == 403]
    unknown = [used for used in run.used if not any(each.covers(used) for each in run.granted)]

    assert refused == []
    assert unknown == []
