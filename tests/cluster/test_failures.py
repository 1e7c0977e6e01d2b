"""The safety protocol when things break, on a real API server.

The operator is a process of its own. It is killed at points that the simulated
cloud or a proxy reports as reached, doubled, lied to, and left without answers.
A judge reads every version of every status meanwhile: each test also fails when
kstatus calls a resource Current that is not, or when a status breaks its rules.
"""

import base64
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import pytest
import yaml

from tests.cluster.tenants import (
    ALLOCATE,
    FAST,
    NUMBERS,
    RELEASE,
    Tenant,
    condition,
    hold_release,
    is_ready,
    is_stalled,
    make_tenant,
    path_of,
    say,
    wait_until,
)
from tests.cluster.watching import Judge, Proxy, is_answer, is_intent
from tests.controlplane import ControlPlane
from tests.meters import told
from tests.stage import OperatorProcess, Stage

# Each region has a limiter of its own in the operator, so a fleet is spread to save time.
REGIONS: Final = (
    "cn-hangzhou",
    "cn-beijing",
    "cn-shanghai",
    "cn-shenzhen",
    "cn-qingdao",
    "cn-zhangjiakou",
    "cn-chengdu",
    "cn-hongkong",
    "ap-southeast-1",
    "eu-central-1",
)
SETTINGS: Final = {
    "TAIR_OPERATOR_SETTLE_SECONDS": "5",
    "TAIR_OPERATOR_STALL_GRACE_SECONDS": "2",
    "TAIR_OPERATOR_RESYNC_SECONDS": "3600",
}
LOOK: Final = "DescribeDBInstanceNetInfo"


@pytest.fixture(scope="module")
def module_judge(stage: Stage) -> Iterator[Judge]:
    with Judge(stage.plane, stage.simulator, stage.folder) as judge:
        yield judge


@pytest.fixture(autouse=True)
def judge(stage: Stage, module_judge: Judge) -> Iterator[Judge]:
    yield module_judge
    module_judge.catch_up()
    problems = module_judge.take_problems()
    for namespace in module_judge.namespaces:
        stage.plane.kubectl("delete", "tair", "--all", "--namespace", namespace, "--wait=false")
    module_judge.namespaces.clear()
    stage.simulator._ask("DELETE", "faults")
    assert problems == []


@pytest.fixture
def proxy(stage: Stage) -> Iterator[Proxy]:
    with Proxy(stage.plane) as proxy:
        yield proxy


@pytest.fixture
def tenant(stage: Stage, judge: Judge) -> Tenant:
    tenant = make_tenant(stage)
    judge.follow(tenant.namespace)
    return tenant


def new_operator(stage: Stage, **settings: str) -> OperatorProcess:
    return stage.operator(f"failing-{next(NUMBERS)}", **(SETTINGS | settings))


@dataclass(frozen=True)
class Fleet:
    """A namespace with many resources, each about an instance of its own."""

    stage: Stage
    namespace: str
    instances: dict[str, str]
    """The instance ids by the names of the resources."""
    regions: dict[str, str]

    def apply(self, *, wanted: bool, only: set[str] | None = None) -> None:
        items = [
            {
                "apiVersion": "tair.alibabacloud.com/v1alpha1",
                "kind": "TairInstance",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"instanceId": instance_id, "regionId": self.regions[name], "directConnection": wanted},
            }
            for name, instance_id in self.instances.items()
            if only is None or name in only
        ]
        manifest = {"apiVersion": "v1", "kind": "List", "items": items}
        self.stage.plane.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def get(self) -> dict[str, dict[str, Any]]:
        items = self.stage.plane.read(path_of(self.namespace))["items"]
        return {item["metadata"]["name"]: item for item in items}

    def wait(
        self,
        is_reached: Callable[[dict[str, Any]], bool] = is_ready,
        *,
        seconds: float = 60.0,
        only: set[str] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return the resources once all of them are as asked."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get()
            late = [name for name, item in found.items() if name in (only or found) and not is_reached(item)]
            if not late:
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"{late} not reached in {seconds:.0f} s: {json.dumps(found[late[0]].get('status'))}")
            time.sleep(0.1)

    def count(self, action: str, *, is_effective: bool = True) -> dict[str, int]:
        """Count the calls by resource."""
        counted = Counter(
            entry["instanceId"]
            for entry in self.stage.simulator.ledger(action)
            if entry["effective"] or not is_effective
        )
        return {name: counted[instance_id] for name, instance_id in self.instances.items()}


def make_fleet(stage: Stage, judge: Judge, names: list[str], *, regions: int = len(REGIONS)) -> Fleet:
    number = next(NUMBERS)
    instances = {name: f"r-bp1fleet{number:04}x{index:03}" for index, name in enumerate(names)}
    spread = {name: REGIONS[index % regions] for index, name in enumerate(names)}
    fleet = Fleet(stage, f"fleet-{number}", instances, spread)
    stage.plane.kubectl("create", "namespace", fleet.namespace)
    for name, instance_id in instances.items():
        stage.simulator.put_instance(instance_id, regionId=spread[name], directConnection=True, timing=FAST)
    judge.follow(fleet.namespace)
    return fleet


def outcomes(judge: Judge, resource: dict[str, Any]) -> list[str]:
    """Return what the status said of its operation, one after the other."""
    said = [version.status.get("operation", {}).get("outcome") for version in judge.of(resource)]
    return [outcome for outcome, _ in itertools.groupby(said) if outcome is not None]


def shown_request_ids(resource: dict[str, Any]) -> set[str]:
    status = resource["status"]
    shown = [status, status.get("operation", {}), status.get("error", {}), *status.get("history", [])]
    return {part["requestId"] for part in shown if "requestId" in part}


def is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# --- killed -------------------------------------------------------------------------------------------------------


def kill_and_check(operator: OperatorProcess) -> None:
    pid = operator.pid
    assert not is_dead(pid)
    operator.kill()

    assert is_dead(pid)


class Point(Protocol):
    """Where an operator can be killed: something reports that it was reached."""

    def wait_reached(self) -> None:
        """Return once it was."""


def start_and_die_at(point: Point, operator: OperatorProcess, tenant: Tenant) -> dict[str, Any]:
    """Kill a fresh operator at this point; return the resource as it was then."""
    operator.start()
    point.wait_reached()
    at_death = tenant.get()
    kill_and_check(operator)
    return at_death


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_crash_during_the_call_leaves_one_release_and_no_invented_request_id(
    stage: Stage, tenant: Tenant, judge: Judge, point: str
) -> None:
    held = hold_release(tenant, point)
    tenant.apply(directConnection=False)
    first = new_operator(stage)
    at_death = start_and_die_at(held, first, tenant)
    if point == "after":
        held.let_go()
    with new_operator(stage) as second:
        if point == "before":
            # The call goes on without its caller, and late: the one who took over has looked already.
            tenant.wait(lambda resource: resource["status"]["operation"]["outcome"] == "Unknown")
            assert tenant.effective(RELEASE) == []
            held.let_go()
        resource = tenant.wait(is_ready)
        assert second.pid != first.pid
    judge.catch_up()

    operation = resource["status"]["operation"]
    assert at_death["status"]["operation"]["outcome"] == "Started"
    assert len(tenant.effective(RELEASE)) == len(tenant.calls(RELEASE)) == 1
    assert operation["id"] == at_death["status"]["operation"]["id"]
    assert operation["outcome"] == "Succeeded"
    assert operation["message"] == "No answer was recorded; its effect was seen"
    assert shown_request_ids(resource) == set()
    assert outcomes(judge, resource)[0] == "Started"
    assert outcomes(judge, resource)[-1] == "Succeeded"


def test_a_crash_right_after_the_intent_is_made_good_after_the_settling_time(
    stage: Stage, tenant: Tenant, judge: Judge, proxy: Proxy
) -> None:
    hold = proxy.hold(is_intent, "after")
    tenant.apply(directConnection=False)
    first = proxy.lead(new_operator(stage))
    at_death = start_and_die_at(hold, first, tenant)
    hold.let_go()
    calls_of_the_first = tenant.calls(RELEASE)
    with new_operator(stage):
        resource = tenant.wait(is_ready)
    judge.catch_up()

    status = resource["status"]
    [release] = tenant.effective(RELEASE)
    assert at_death["status"]["operation"]["outcome"] == "Started"
    assert calls_of_the_first == []
    assert len(tenant.calls(RELEASE)) == 1
    assert status["requestId"] == status["operation"]["requestId"] == release["requestId"]
    assert (status["operation"]["outcome"], status["operation"]["attempt"]) == ("Succeeded", 2)
    assert [past["outcome"] for past in status["history"]] == ["Succeeded", "Failed"]
    assert status["history"][1]["id"] == at_death["status"]["operation"]["id"]
    assert shown_request_ids(resource) == {release["requestId"]}
    assert outcomes(judge, resource)[:2] == ["Started", "Unknown"]


def test_a_crash_before_the_answer_is_written_loses_the_request_id_to_the_log_only(
    stage: Stage, tenant: Tenant, proxy: Proxy
) -> None:
    hold = proxy.hold(is_answer, "before")
    tenant.apply(directConnection=False)
    first = proxy.lead(new_operator(stage))
    at_death = start_and_die_at(hold, first, tenant)
    hold.drop()
    with new_operator(stage):
        resource = tenant.wait(is_ready)

    operation = resource["status"]["operation"]
    [release] = tenant.effective(RELEASE)
    assert at_death["status"]["operation"]["outcome"] == "Started"
    assert len(tenant.calls(RELEASE)) == 1
    assert operation["id"] == at_death["status"]["operation"]["id"]
    assert operation["outcome"] == "Succeeded"
    assert shown_request_ids(resource) == set()
    assert release["requestId"] in first.log.read_text()


# --- two at once --------------------------------------------------------------------------------------------------


def test_two_operators_by_mistake_make_one_call_for_each_change(stage: Stage, judge: Judge, proxy: Proxy) -> None:
    fleet = make_fleet(stage, judge, [f"i{number}" for number in range(5)])
    fleet.apply(wanted=True)
    with proxy.lead(new_operator(stage)) as one, proxy.lead(new_operator(stage)) as other:
        fleet.wait()
        for wanted in (False, True, False):
            fleet.apply(wanted=wanted)
            fleet.wait()
        resources = fleet.get()
        passes = [operator.probe("metrics")[1] for operator in (one, other)]
    intents = [request for request in proxy.seen if is_intent(request)]
    refused = [request for request in intents if request.status in {409, 422}]
    say(f"intents: {len(intents)}, refused: {len(refused)}")

    # Both were at work, and met.
    assert all(told(text, "controller_runtime_reconcile_total") > 0 for text in passes)
    assert refused
    assert set(fleet.count(RELEASE).values()) == {2}
    assert set(fleet.count(ALLOCATE).values()) == {1}
    assert fleet.count(RELEASE, is_effective=False) == fleet.count(RELEASE)
    assert fleet.count(ALLOCATE, is_effective=False) == fleet.count(ALLOCATE)
    for name, resource in resources.items():
        ids = {entry["requestId"] for entry in stage.simulator.ledger(None, fleet.instances[name])}
        assert resource["status"]["operation"]["outcome"] == "Succeeded"
        assert resource["status"]["operation"]["requestId"] in ids
        assert shown_request_ids(resource) <= ids


# --- answers that are lost or cannot be read ----------------------------------------------------------------------

LOST: Final[dict[str, dict[str, object]]] = {
    "reset-after": {},
    "drip": {"bytesPerSecond": 4},
    "slow-headers": {"seconds": 20},
    "truncated": {},
    "garbage": {},
    "empty200": {},
    "no-request-id": {},
    "huge": {"mebibytes": 2},
    "http502": {"apply": True},
    "empty500": {"apply": True},
    "unavailable": {"apply": True},
    "late": {"seconds": 1.5},
}
READABLE: Final[dict[str, dict[str, object]]] = {"content-type": {"contentType": "text/html"}, "extra-fields": {}}


def test_an_answer_that_was_lost_after_the_effect_is_observed_and_not_resent(stage: Stage, judge: Judge) -> None:
    fleet = make_fleet(stage, judge, [*LOST, *READABLE, "unharmed"])
    for kind, fields in (LOST | READABLE).items():
        stage.simulator.add_fault(kind=kind, action=RELEASE, instanceId=fleet.instances[kind], **fields)
    fleet.apply(wanted=False)
    with new_operator(stage, TAIR_OPERATOR_CALL_TIMEOUT_SECONDS="1.5") as operator:
        resources = fleet.wait()
    judge.catch_up()

    once = dict.fromkeys(fleet.instances, 1)
    assert fleet.count(RELEASE) == fleet.count(RELEASE, is_effective=False) == once
    seen = {name: outcomes(judge, resource) for name, resource in resources.items()}
    assert {name: seen[name] for name in LOST} == {name: ["Started", "Unknown", "Succeeded"] for name in LOST}
    assert seen["unharmed"] == ["Started", "Accepted", "Succeeded"]
    for name in (*READABLE, "unharmed"):
        [release] = stage.simulator.effective(RELEASE, fleet.instances[name])
        assert resources[name]["status"]["requestId"] == release["requestId"], name
    for name, resource in resources.items():
        ids = {entry["requestId"] for entry in stage.simulator.ledger(RELEASE, fleet.instances[name])}
        assert shown_request_ids(resource) <= ids, name
    log = operator.log.read_text()
    assert "ReleaseDirectConnection: Unknown" in log
    assert "Traceback" not in log


def test_a_look_that_cannot_be_read_is_no_release(stage: Stage, judge: Judge) -> None:
    fleet = make_fleet(stage, judge, ["garbage", "empty200", "truncated", "no-request-id"])
    fleet.apply(wanted=True)
    with new_operator(stage) as operator:
        before = fleet.wait()
        for kind, instance_id in fleet.instances.items():
            stage.simulator.add_fault(kind=kind, action="*", instanceId=instance_id, count=1000)
        fleet.apply(wanted=False)
        unreadable = set(fleet.instances) - {"no-request-id"}
        blind = fleet.wait(lambda resource: condition(resource, "Reconciling") != {}, only=unreadable)
        calls_while_blind = fleet.count(RELEASE, is_effective=False)
        stage.simulator._ask("DELETE", "faults")
        resources = fleet.wait()

    once = dict.fromkeys(fleet.instances, 1)
    for name in unreadable:
        assert calls_while_blind[name] == 0
        assert condition(blind[name], "Reconciling")["reason"] == "CloudUnreachable"
        assert blind[name]["status"]["directConnection"]["host"] == before[name]["status"]["directConnection"]["host"]
    assert fleet.count(RELEASE) == fleet.count(RELEASE, is_effective=False) == once
    assert all(resource["status"]["directConnection"] == {"state": "Released"} for resource in resources.values())
    assert "Traceback" not in operator.log.read_text()


# --- edits during the call ----------------------------------------------------------------------------------------


def test_an_edit_during_the_call_does_not_lose_the_request_id(stage: Stage, tenant: Tenant, judge: Judge) -> None:
    held = hold_release(tenant, "after")
    tenant.apply(directConnection=False)
    with new_operator(stage):
        held.wait_reached()
        tenant.apply(directConnection=False, driftPolicy="Report")
        edited = tenant.get()
        held.let_go()
        answered = tenant.wait(lambda resource: resource["status"]["operation"]["outcome"] != "Started")
        resource = tenant.wait(is_ready)
    judge.catch_up()

    [release] = tenant.effective(RELEASE)
    assert edited["metadata"]["generation"] == 2
    assert edited["status"]["operation"]["outcome"] == "Started"
    assert answered["status"]["requestId"] == answered["status"]["operation"]["requestId"] == release["requestId"]
    assert len(tenant.calls(RELEASE)) == 1
    assert resource["status"]["operation"]["outcome"] == "Succeeded"
    assert resource["status"]["operation"]["generation"] == 1
    assert resource["status"]["requestId"] == release["requestId"]


def test_a_namesake_that_is_created_during_the_call_does_not_release_again(stage: Stage, judge: Judge) -> None:
    tenants = {point: make_tenant(stage) for point in ("before", "after")}
    old: dict[str, dict[str, Any]] = {}
    with new_operator(stage) as operator:
        for point, tenant in tenants.items():
            judge.follow(tenant.namespace)
            held = hold_release(tenant, point)
            tenant.apply(directConnection=False)
            held.wait_reached()
            old[point] = tenant.get()
            stage.plane.kubectl("delete", "tair", "it", "-n", tenant.namespace)
            tenant.apply(directConnection=False)
            held.let_go()
        new = {point: tenant.wait(is_ready) for point, tenant in tenants.items()}

    for point, tenant in tenants.items():
        [release] = tenant.effective(RELEASE)
        assert len(tenant.calls(RELEASE)) == 1
        assert old[point]["status"]["operation"]["outcome"] == "Started"
        assert new[point]["metadata"]["uid"] != old[point]["metadata"]["uid"]
        assert "operation" not in new[point]["status"]
        assert shown_request_ids(new[point]) == set()
        assert release["requestId"] in operator.log.read_text()


# --- stale views --------------------------------------------------------------------------------------------------


def test_the_intent_of_a_stale_view_is_refused_and_nothing_is_called(
    stage: Stage, tenant: Tenant, proxy: Proxy
) -> None:
    tenant.apply(directConnection=False)
    old = tenant.get()
    tenant.apply(directConnection=True)
    proxy.serve_old(old)

    def refused() -> list[int | None]:
        return [request.status for request in proxy.seen if is_intent(request)]

    with proxy.lead(new_operator(stage)):
        wait_until(lambda: len(refused()) >= 3, "three intents were tried")
        proxy.serve_new()
        tenant.wait(is_ready)
        # An old event on top, while the view is the newest.
        looks = len(tenant.calls(LOOK))
        proxy.repeat_event(old)
        wait_until(lambda: len(tenant.calls(LOOK)) > looks, "the old event led to a look")
        stale = refused()
        calls_on_stale_views = tenant.calls(RELEASE)
        tenant.apply(directConnection=False)
        tenant.wait(lambda resource: is_ready(resource) and condition(resource, "Ready")["reason"] == "Released")

    assert set(stale) <= {409, 422}
    assert calls_on_stale_views == []
    assert len(tenant.effective(RELEASE)) == len(tenant.calls(RELEASE)) == 1
    assert refused()[-1] == 200


# --- the judge himself --------------------------------------------------------------------------------------------


def test_the_judge_finds_a_planted_lie_and_a_planted_contradiction(stage: Stage) -> None:
    tenant = make_tenant(stage)
    with Judge(stage.plane, stage.simulator, stage.folder) as other:
        other.follow(tenant.namespace)
        tenant.apply(directConnection=False)
        good = {
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T00:00:00Z",
            "message": "",
            "reason": "Released",
        }
        ready, stalled = {"type": "Ready", "status": "True"} | good, {"type": "Stalled", "status": "True"} | good
        for conditions in ([ready], [stalled, ready]):
            status = {"observedGeneration": 1, "conditions": conditions}
            patch = json.dumps({"status": status})
            target = ("tair", "it", "-n", tenant.namespace, "--subresource=status", "--type=merge", "-p", patch)
            stage.plane.kubectl("patch", *target)
        other.catch_up()
        found = other.take_problems()
        stage.plane.kubectl("delete", "tair", "it", "-n", tenant.namespace)

    assert other.currents == 1
    assert any("claims False, but the cloud has" in problem for problem in found)
    assert any(problem.endswith("FAIL0001") for problem in found)


def test_the_judge_has_something_to_judge(stage: Stage, tenant: Tenant, judge: Judge) -> None:
    before = judge.currents
    tenant.apply(directConnection=True)
    with new_operator(stage):
        for wanted in (True, False):
            tenant.apply(directConnection=wanted)
            tenant.wait(is_ready)
    judge.catch_up()

    assert judge.currents == before + 2


# --- secrets ------------------------------------------------------------------------------------------------------

KEY: Final = "canaryKeyId"
CANARIES: Final = {
    "secret": "canary.secret.of-the-right_key",
    "wrong secret": "canary.secret.of-a-wrong_key",
    "token": "canary/token+of=the.right-session",
    "wrong token": "canary/token+of=no.session-at-all",
}


@pytest.fixture
def canary_stage(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Stage]:
    keys = {KEY: {"secret": CANARIES["secret"], "tokens": [{"token": CANARIES["token"]}]}}
    seed = tmp_path / "seed.yaml"
    seed.write_text(yaml.safe_dump({"accessKeys": keys, "instances": {}}))
    with Stage(control_plane, seed=seed) as stage:
        stage.install()
        yield stage


def spoken(stage: Stage) -> dict[str, str]:
    """Return all that anybody can read of the operator: logs, metrics, probes, and what it wrote to Kubernetes."""
    texts = {str(path): path.read_text() for path in stage.folder.rglob("*.log")}
    texts |= {str(path): path.read_text() for path in stage.folder.rglob("*.metrics")}
    for kind in ("tair", "events", "events.events.k8s.io", "leases", "configmaps"):
        texts[kind] = stage.plane.kubectl("get", kind, "--all-namespaces", "-o", "yaml")
    return texts


def leaks(texts: dict[str, str]) -> set[tuple[str, str]]:
    """Return which canary was found where, plain, percent-encoded, or in base64."""
    found = set()
    for name, secret in CANARIES.items():
        # Without the last characters, which depend on what follows.
        coded = base64.b64encode(secret.encode()).decode()[:-4]
        for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe=""), coded):
            found |= {(name, place) for place, text in texts.items() if form in text}
    return found


def test_no_secret_is_ever_spoken(canary_stage: Stage) -> None:
    stage = canary_stage
    credentials = {
        "right": (CANARIES["secret"], CANARIES["token"]),
        "wrong secret": (CANARIES["wrong secret"], CANARIES["token"]),
        "wrong token": (CANARIES["secret"], CANARIES["wrong token"]),
    }
    seen: dict[str, dict[str, Any]] = {}
    tenants: list[Tenant] = []
    for name, (secret, token) in credentials.items():
        tenants.append(tenant := make_tenant(stage))
        tenant.apply(directConnection=False)
        operator = new_operator(stage, TAIR_OPERATOR_LOG_LEVEL="debug", TAIR_OPERATOR_STALL_GRACE_SECONDS="0")
        operator.credentials = {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": KEY,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret,
            "ALIBABA_CLOUD_SECURITY_TOKEN": token,
        }
        with operator:
            seen[name] = tenant.wait(is_ready if name == "right" else is_stalled("CredentialsInvalid"))
            for path in ("metrics", "readyz", "livez"):
                (operator.folder / f"{path}.metrics").write_text(operator.probe(path)[1])
    found = leaks(spoken(stage))
    stage.plane.kubectl("annotate", "tair", "it", "-n", tenants[0].namespace, f"planted={CANARIES['token']}")
    (stage.folder / "planted.log").write_text(f"?token={quote(CANARIES['wrong token'], safe='')}")
    found_when_planted = leaks(spoken(stage))
    for tenant in tenants:
        stage.plane.kubectl("delete", "tair", "it", "-n", tenant.namespace)

    # The cloud did quote the token, and the operator did speak.
    codes = {name: resource["status"].get("error", {}).get("code") for name, resource in seen.items()}
    assert codes == {
        "right": None,
        "wrong secret": "SignatureDoesNotMatch",
        "wrong token": "InvalidSecurityToken.Malformed",
    }
    assert len(tenants[0].effective(RELEASE)) == 1
    assert all('"severity": "debug"' in text for place, text in spoken(stage).items() if place.endswith("operator.log"))
    assert found_when_planted == {("token", "tair"), ("wrong token", str(stage.folder / "planted.log"))}
    assert found == set()


# --- many ---------------------------------------------------------------------------------------------------------


def test_a_poisoned_resource_does_not_slow_the_others(stage: Stage, judge: Judge) -> None:
    healthy = {f"i{number}" for number in range(10)}
    fleet = make_fleet(stage, judge, [*sorted(healthy), "slow", "garbled"], regions=5)
    fleet.apply(wanted=True)
    # So few workers that two which are taken hostage would be missed.
    with new_operator(stage, TAIR_OPERATOR_WORKERS="3") as operator:
        fleet.wait()
        seconds = {}
        for case, wanted in (("alone", False), ("poisoned", True)):
            if case == "poisoned":
                for name, kind, fields in (
                    ("slow", "delay", {"seconds": 5, "when": "before"}),
                    ("garbled", "garbage", {}),
                ):
                    instance_id = fleet.instances[name]
                    stage.simulator.add_fault(kind=kind, action="*", instanceId=instance_id, count=1000, **fields)
            started = time.monotonic()
            fleet.apply(wanted=wanted)
            fleet.wait(only=healthy)
            seconds[case] = time.monotonic() - started
            if case == "alone":
                fleet.wait()
        poisoned = fleet.get()
        stage.simulator._ask("DELETE", "faults")
        fleet.wait()
        log = operator.log.read_text()
    say(f"ten flips took {seconds['alone']:.1f} s, beside poisoned ones {seconds['poisoned']:.1f} s")

    assert not any(is_ready(poisoned[name]) for name in ("slow", "garbled"))
    assert seconds["poisoned"] < 2 * seconds["alone"] + 2
    assert set(fleet.count(RELEASE).values()) == set(fleet.count(ALLOCATE).values()) == {1}
    assert "Traceback" not in log


def test_a_burst_of_throttling_over_twenty_resources_ends_with_bounded_calls(stage: Stage, judge: Judge) -> None:
    # tests/integration/test_storm.py has ten minutes of it over a hundred, in a time of its own.
    fleet = make_fleet(stage, judge, [f"i{number:02}" for number in range(20)])
    fleet.apply(wanted=True)
    with new_operator(stage) as operator:
        fleet.wait()
        start = len(stage.simulator.ledger())
        limits = {
            "user": {"callsPerSecond": 20, "burst": 6, "per": "account", "retryAfter": True},
            "apis": {RELEASE: {"callsPerSecond": 4, "burst": 2}},
        }
        stage.simulator._ask("PUT", "throttling", limits)
        started = time.monotonic()
        fleet.apply(wanted=False)
        resources = fleet.wait(seconds=90)
        seconds = time.monotonic() - started
        stage.simulator._ask("PUT", "throttling", {})
        calls = stage.simulator.ledger()[start:]
        log = operator.log.read_text()
    refused = [call for call in calls if (call["code"] or "").startswith("Throttling")]
    releases = [call for call in calls if call["action"] == RELEASE]
    say(
        f"20 releases in {seconds:.1f} s: {len(calls)} calls, {len(refused)} of them throttled, "
        f"{len(releases)} of {RELEASE}, {len([call for call in refused if call['action'] == RELEASE])} throttled"
    )

    assert len(refused) > 3
    assert set(fleet.count(RELEASE).values()) == {1}
    assert len(calls) <= 20 * 20
    assert len(releases) <= 20 * 3
    assert {condition(resource, "Ready")["reason"] for resource in resources.values()} == {"Released"}
    assert "Traceback" not in log
