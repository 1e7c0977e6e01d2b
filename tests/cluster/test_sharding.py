"""Two operators side by side on a real API server, each with a label selector and a Lease of its own."""

from collections.abc import Iterator

import pytest

from tests.cluster.tenants import (
    FAST,
    NUMBERS,
    RELEASE,
    Tenant,
    condition,
    grow_older,
    is_ready,
    is_stalled,
    wait_until,
)
from tests.cluster.watching import Proxy, is_answer, is_intent
from tests.stage import OperatorProcess, Stage

SHARDS = ("a", "b")
NAMESPACE = "tair-system"
HOME = "sharded"
SETTLE = "5"


def shard_operator(stage: Stage, shard: str) -> OperatorProcess:
    return stage.operator(
        f"shard-{shard}",
        TAIR_OPERATOR_WATCH_LABEL_SELECTOR=f"shard={shard}",
        TAIR_OPERATOR_LEADER_ELECTION="true",
        TAIR_OPERATOR_LEASE_NAMESPACE=NAMESPACE,
        TAIR_OPERATOR_LEASE_NAME=f"tair-operator-{shard}",
        TAIR_OPERATOR_SETTLE_SECONDS=SETTLE,
        TAIR_OPERATOR_STALL_GRACE_SECONDS="1",
        TAIR_OPERATOR_RESYNC_SECONDS="60",
    )


@pytest.fixture(scope="module")
def proxy(stage: Stage) -> Iterator[Proxy]:
    """Stand between shard a and the API server."""
    with Proxy(stage.plane) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operators(stage: Stage, proxy: Proxy) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    stage.plane.kubectl("create", "namespace", HOME)
    leases = [f"--resource-name=tair-operator-{shard}" for shard in SHARDS]
    role = ["create", "role", "shards", "-n", NAMESPACE, "--resource=leases", "--verb=get,watch,patch", *leases]
    stage.plane.kubectl(*role)
    binding = ["--role=shards", f"--serviceaccount={NAMESPACE}:tair-operator"]
    stage.plane.kubectl("create", "rolebinding", "shards", "-n", NAMESPACE, *binding)
    with proxy.lead(shard_operator(stage, "a")) as one, shard_operator(stage, "b") as other:
        yield one, other


def make(stage: Stage, shard: str | None, *, instance_id: str | None = None, allocated: bool = True) -> Tenant:
    number = next(NUMBERS)
    tenant = Tenant(stage, HOME, instance_id or f"r-bp1shard{number:04}", f"it-{number}")
    if instance_id is None:
        stage.simulator.put_instance(
            tenant.instance_id, regionId="cn-hangzhou", directConnection=allocated, timing=FAST
        )  # fmt: skip
    # Only observed until somebody says more: the label has to be there before anybody acts.
    tenant.apply()
    if shard is not None:
        label(tenant, shard)
    return tenant


def label(tenant: Tenant, shard: str) -> None:
    words = ("--overwrite", "tairinstance", tenant.name, f"shard={shard}")
    tenant.stage.plane.kubectl("-n", tenant.namespace, "label", *words)


def passes(operator: OperatorProcess) -> float:
    lines = operator.probe("metrics")[1].splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("controller_runtime_reconcile_total{")
    )


def test_each_shard_leads_and_serves_its_own_and_nobody_serves_the_rest(
    stage: Stage, operators: tuple[OperatorProcess, OperatorProcess]
) -> None:
    tenants = {shard: make(stage, shard) for shard in (*SHARDS, None)}
    for tenant in tenants.values():
        tenant.apply(directConnection=False)
    for shard in SHARDS:
        tenants[shard].wait(is_ready)

    assert [operator.probe("readyz") for operator in operators] == [(200, "ok\n")] * 2
    for shard, operator in zip(SHARDS, operators, strict=True):
        audited = [line for line in operator.log.read_text().splitlines() if "ReleaseDirectConnection" in line]
        assert any(tenants[shard].name in line for line in audited)
        assert not [line for line in audited for other in {*SHARDS, None} - {shard} if tenants[other].name in line]
        assert len(tenants[shard].effective(RELEASE)) == 1
    assert stage.simulator.ledger(None, tenants[None].instance_id) == []
    assert tenants[None].get()["status"]["observedGeneration"] == -1


@pytest.mark.parametrize("moment", ["before the intent", "after the intent", "before the answer", "after the answer"])
def test_a_resource_that_is_relabelled_in_the_middle_of_its_release_is_released_once(
    stage: Stage, proxy: Proxy, operators: tuple[OperatorProcess, OperatorProcess], moment: str
) -> None:
    one, other = operators
    tenant = make(stage, "a")
    tenant.wait(is_ready)
    matches = is_intent if "intent" in moment else is_answer
    hold = proxy.hold(matches, "before" if "before" in moment else "after")
    tenant.apply(directConnection=False)
    hold.wait_reached()
    passes_of_other = passes(other)
    label(tenant, "b")
    hold.let_go()
    resource = tenant.wait(is_ready)
    wait_until(lambda: passes(other) > passes_of_other, "the other shard has made a pass")

    assert len(tenant.effective(RELEASE)) == 1
    assert resource["status"]["operation"]["outcome"] == "Succeeded"
    assert condition(resource, "Ready")["reason"] == "Released"
    assert one.probe("livez")[0] == 200


def test_a_deletion_with_a_finalizer_is_finished_by_the_shard_that_takes_over(
    stage: Stage, proxy: Proxy, operators: tuple[OperatorProcess, OperatorProcess]
) -> None:
    del operators
    tenant = make(stage, "a", allocated=False)
    tenant.apply(directConnection=True, deletionPolicy="Release")
    tenant.wait(is_ready)
    hold = proxy.hold(is_intent, "before")
    tenant.delete()
    hold.wait_reached()
    label(tenant, "b")
    hold.let_go()
    tenant.wait_gone()

    assert len(tenant.effective(RELEASE)) == 1


def test_a_drain_goes_on_in_the_other_shard(stage: Stage, operators: tuple[OperatorProcess, OperatorProcess]) -> None:
    del operators
    tenant = make(stage, "a")
    tenant.apply(directConnection=True)
    tenant.wait(is_ready)
    tenant.apply(directConnection=False, release={"drainSeconds": 8})
    draining = tenant.wait(lambda resource: "withdrawnAt" in resource["status"].get("plan", {}))
    label(tenant, "b")
    before = tenant.calls(RELEASE)
    tenant.wait(is_ready)

    assert before == []
    [call] = tenant.effective(RELEASE)
    assert call["time"] > draining["status"]["plan"]["withdrawnAt"]


@pytest.mark.parametrize("wanted", [True, False])
def test_of_two_shards_that_name_one_instance_the_older_owns_it(
    stage: Stage,
    operators: tuple[OperatorProcess, OperatorProcess],
    wanted: bool,  # noqa: FBT001
) -> None:
    del operators
    older = make(stage, "b")
    older.apply(directConnection=True)
    older.wait(is_ready)
    grow_older()
    younger = make(stage, "a", instance_id=older.instance_id)
    younger.apply(directConnection=wanted)
    stalled = younger.wait(is_stalled("InstanceAlreadyManaged"))
    calls_meanwhile = older.calls(RELEASE)
    older.apply(directConnection=False)
    older.wait(is_ready)

    assert f"{HOME}/{older.name}" in condition(stalled, "Stalled")["message"]
    assert calls_meanwhile == []
    assert len(older.effective(RELEASE)) == 1


def test_a_settled_resource_that_moves_is_adopted_without_a_write(
    stage: Stage, operators: tuple[OperatorProcess, OperatorProcess]
) -> None:
    _, other = operators
    tenant = make(stage, "a")
    tenant.apply(directConnection=False)
    tenant.wait(is_ready)
    before = passes(other)
    label(tenant, "b")
    version = tenant.get()["metadata"]["resourceVersion"]
    wait_until(lambda: passes(other) > before, "the other shard has looked")

    assert tenant.get()["metadata"]["resourceVersion"] == version
    assert len(tenant.effective(RELEASE)) == 1
