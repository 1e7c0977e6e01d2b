"""An operator for two namespaces on a real API server, with Roles in them and not one permission of the cluster."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.scoped import HOME, make_account
from tests.cluster.tenants import ALLOCATE, FAST, NUMBERS, RELEASE, Tenant, grow_older, is_ready, is_stalled, wait_until
from tests.cluster.test_operator_process import base_without_crd
from tests.cluster.watching import Proxy
from tests.controlplane import ControlPlane
from tests.selectors import INVALID_SELECTORS, VALID_SELECTORS
from tests.stage import CRD, KEY_ID, KEY_SECRET, ROOT, OperatorProcess, Stage

ACCOUNT = "team-operator"
TEAMS = ("scope-team-a", "scope-team-b")
ELSEWHERE = "scope-shop"
DISCOVERY = re.compile(r"/api(/v1)?|/apis(/[^/]+/[^/]+)?")
"""What every user may read."""
BY_LABEL = """
rules:
  - namespaceSelector: {matchLabels: {served: "yes"}}
    regions: ["*"]
    instanceIds: ["*"]
    actions: [Observe, Allocate, Release]
"""


def scoped_operator(stage: Stage, account: Path, namespaces: tuple[str, ...], **settings: str) -> OperatorProcess:
    operator = stage.operator(
        f"scoped-{next(NUMBERS)}",
        TAIR_OPERATOR_WATCH_NAMESPACES=",".join(namespaces),
        TAIR_OPERATOR_LEADER_ELECTION="true",
        TAIR_OPERATOR_LEASE_NAMESPACE=HOME,
        TAIR_OPERATOR_LEASE_NAME=ACCOUNT,
        TAIR_OPERATOR_STALL_GRACE_SECONDS="1",
        **settings,
    )
    operator.kubeconfig = account
    return operator


def tenant_in(stage: Stage, namespace: str, *, allocated: bool = True) -> Tenant:
    number = next(NUMBERS)
    tenant = Tenant(stage, namespace, f"r-bp1scope{number:04}", f"it-{number}")
    stage.simulator.put_instance(
        tenant.instance_id, regionId="cn-hangzhou", directConnection=allocated, timing=FAST
    )  # fmt: skip
    return tenant


@pytest.fixture(scope="module")
def account(stage: Stage) -> Path:
    account = make_account(stage.plane, ACCOUNT, TEAMS)
    stage.plane.kubectl("create", "namespace", ELSEWHERE)
    stage.plane.kubectl("label", "namespace", TEAMS[0], "served=yes")
    return account


@pytest.fixture(scope="module")
def proxy(stage: Stage) -> Iterator[Proxy]:
    with Proxy(stage.plane) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(stage: Stage, account: Path, proxy: Proxy) -> Iterator[OperatorProcess]:
    with proxy.lead(scoped_operator(stage, account, TEAMS)) as operator:
        yield operator


@pytest.mark.parametrize("namespace", TEAMS)
def test_a_release_is_carried_out_in_each_watched_namespace(
    stage: Stage, operator: OperatorProcess, namespace: str
) -> None:
    del operator
    tenant = tenant_in(stage, namespace)
    tenant.apply(directConnection=False)
    tenant.wait(is_ready)

    assert len(tenant.effective(RELEASE)) == 1


def test_a_deletion_is_held_by_the_finalizer_until_the_endpoint_is_released(
    stage: Stage, operator: OperatorProcess
) -> None:
    del operator
    tenant = tenant_in(stage, TEAMS[0], allocated=False)
    tenant.apply(directConnection=True, deletionPolicy="Release")
    tenant.wait(is_ready)
    tenant.delete()
    tenant.wait_gone()

    assert len(tenant.effective(ALLOCATE)) == len(tenant.effective(RELEASE)) == 1


def test_an_endpoint_is_published_and_withdrawn(stage: Stage, operator: OperatorProcess) -> None:
    del operator
    tenant = tenant_in(stage, TEAMS[1])
    tenant.apply(directConnection=True, publish={"secretName": "tair-endpoint"})
    tenant.wait(is_ready)
    published = tenant.find("secret", "tair-endpoint")
    tenant.apply(directConnection=False, publish={"secretName": "tair-endpoint"})
    tenant.wait(is_ready)

    assert published is not None
    assert tenant.find("secret", "tair-endpoint") is None


def test_credentials_of_a_resource_are_read_in_its_namespace(stage: Stage, operator: OperatorProcess) -> None:
    del operator
    tenant = tenant_in(stage, TEAMS[0])
    secret = {"accessKeyId": KEY_ID, "accessKeySecret": KEY_SECRET}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tair-credentials"}, "stringData": secret}
    tenant.apply_object(manifest)
    tenant.apply(directConnection=False, credentials={"secretName": "tair-credentials"})
    tenant.wait(is_ready)

    assert len(tenant.effective(RELEASE)) == 1


def test_two_watched_namespaces_that_name_one_instance_have_one_owner(stage: Stage, operator: OperatorProcess) -> None:
    del operator
    first = tenant_in(stage, TEAMS[0])
    first.apply(directConnection=True)
    first.wait(is_ready)
    grow_older()
    second = Tenant(stage, TEAMS[1], first.instance_id, first.name)
    second.apply(directConnection=False)
    second.wait(is_stalled("InstanceAlreadyManaged"))

    assert first.effective(RELEASE) == []


def test_other_namespaces_are_never_looked_at_and_nothing_is_asked_of_the_cluster(
    stage: Stage, operator: OperatorProcess, proxy: Proxy
) -> None:
    elsewhere = tenant_in(stage, ELSEWHERE)
    elsewhere.apply(directConnection=False)
    here = tenant_in(stage, TEAMS[0])
    here.apply(directConnection=False)
    here.wait(is_ready)

    allowed = tuple(f"/namespaces/{name}" for name in (*TEAMS, HOME))
    beyond = {request.path for request in proxy.seen if not any(part in request.path for part in allowed)}
    assert [path for path in beyond if not DISCOVERY.fullmatch(path)] == []
    assert [request for request in proxy.seen if request.status in {401, 403}] == []
    assert "forbidden" not in operator.log.read_text().lower()
    assert "Not enough permissions" not in operator.log.read_text()
    assert elsewhere.get()["status"]["observedGeneration"] == -1
    assert stage.simulator.ledger(None, elsewhere.instance_id) == []


def test_an_access_list_by_label_reads_the_namespace_with_a_role_inside_it(
    stage: Stage, operator: OperatorProcess
) -> None:
    operator.access_file.write_text(BY_LABEL)
    tenant, other = tenant_in(stage, TEAMS[0]), tenant_in(stage, TEAMS[1])
    # The operator looks for a new list every few seconds.
    time.sleep(7)
    for each in (tenant, other):
        each.apply(directConnection=False)
    tenant.wait(is_ready)
    other.wait(is_stalled("AccessNotAllowed"))
    operator.access_file.write_text(operator.access)
    other.wait(is_ready)

    assert len(tenant.effective(RELEASE)) == 1
    assert "may not be read" not in operator.log.read_text()


def test_a_namespace_that_does_not_let_the_operator_in_is_named_and_waited_for(stage: Stage) -> None:
    account = make_account(stage.plane, "narrow-operator", TEAMS[:1])
    operator = scoped_operator(stage, account, TEAMS)
    operator.settings["TAIR_OPERATOR_LEASE_NAME"] = "narrow-operator"
    operator.start()
    try:
        wait_until(lambda: "bind the Role there" in operator.probe("readyz")[1], "it says what is missing")
        status, text = operator.probe("readyz")
        alive = operator.probe("livez")[0]
        make_account(stage.plane, "narrow-operator", TEAMS)
        operator.wait_ready()
    finally:
        operator.__exit__(None, None, None)

    assert (status, alive) == (503, 200)
    assert TEAMS[1] in text


def test_the_crd_is_waited_for_without_a_permission_of_the_cluster() -> None:
    with ControlPlane() as plane, Stage(plane) as stage:
        plane.apply(base_without_crd(plane))
        account = make_account(plane, ACCOUNT, TEAMS)
        operator = scoped_operator(stage, account, TEAMS)
        operator.start()
        try:
            wait_until(lambda: "crds/tairinstances.yaml" in operator.probe("readyz")[1], "it names the CRD")
            before, alive = operator.probe("readyz")[0], operator.probe("livez")[0]
            plane.apply(ROOT / "crds/tairinstances.yaml")
            plane.wait_established(CRD)
            operator.wait_ready()
            tenant = tenant_in(stage, TEAMS[0])
            tenant.apply(directConnection=False)
            tenant.wait(is_ready)
            releases = tenant.effective(RELEASE)
        finally:
            operator.__exit__(None, None, None)
        log = operator.log.read_text()

    assert (before, alive) == (503, 200)
    assert len(releases) == 1
    assert "forbidden" not in log.lower()


@pytest.mark.parametrize("text", [*VALID_SELECTORS, *INVALID_SELECTORS])
def test_the_api_server_judges_selectors_as_the_settings_do(control_plane: ControlPlane, text: str) -> None:
    answer = control_plane.kubectl("get", "namespaces", f"--selector={text}") if text in VALID_SELECTORS else None
    if answer is None:
        with pytest.raises(Exception, match=r"selector|unable to parse|invalid|Invalid"):
            control_plane.kubectl("get", "namespaces", f"--selector={text}")
