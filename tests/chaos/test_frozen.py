"""The operator is frozen (SIGSTOP) between intent and call, for longer than either is good for."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.chaos.scenes import SETTLE, new_operator, new_tenant, outcome
from tests.cluster.tenants import RELEASE, is_ready, wait_until
from tests.cluster.test_leader import LEASE, NAMESPACE, QUICK, is_leading
from tests.cluster.watching import Judge, Proxy, is_intent
from tests.stage import Stage

FENCE = 1.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def proxy(stage: Stage) -> Iterator[Proxy]:
    with Proxy(stage.plane, stage.simulator.tls) as proxy:
        yield proxy


def test_who_was_frozen_for_more_than_a_second_after_the_intent_does_not_send_the_call(
    stage: Stage, judge: Judge, proxy: Proxy
) -> None:
    tenant = new_tenant(stage, judge)
    hold = proxy.hold(is_intent, "after")
    tenant.apply(directConnection=False)
    with proxy.lead(new_operator(stage)) as operator:
        hold.wait_reached()
        os.kill(operator.pid, signal.SIGSTOP)
        announced = tenant.get()["status"]["operation"]
        # The answer waits for it when it wakes up.
        hold.let_go()
        time.sleep(FENCE + 0.5)
        os.kill(operator.pid, signal.SIGCONT)
        resource = tenant.wait(is_ready)
    judge.catch_up()

    ends = {
        version.status["operation"]["id"]: version.status["operation"]["outcome"]
        for version in judge.of(resource)
        if "operation" in version.status
    }
    [release] = tenant.calls(RELEASE)
    assert announced["outcome"] == "Started"
    assert ends == {announced["id"]: "NotSent", resource["status"]["operation"]["id"]: "Succeeded"}
    assert release["effective"]
    assert release["requestId"] == resource["status"]["requestId"]


def test_who_was_frozen_for_longer_than_its_lease_sends_nothing_while_another_leads(
    stage: Stage, judge: Judge, proxy: Proxy
) -> None:
    stage.plane.kubectl("delete", "lease", LEASE, "-n", NAMESPACE, "--ignore-not-found")
    tenant = new_tenant(stage, judge)
    hold = proxy.hold(is_intent, "after")
    tenant.apply(directConnection=False)
    one, other = proxy.lead(new_operator(stage, **QUICK)), new_operator(stage, **QUICK)
    with one, other:
        hold.wait_reached()
        os.kill(one.pid, signal.SIGSTOP)
        hold.let_go()
        wait_until(lambda: is_leading(other), "the other leads")
        # It has seen the intent, and waits for what may come of it.
        tenant.wait(lambda resource: outcome(resource) == "Unknown")
        woken_at = time.monotonic()
        os.kill(one.pid, signal.SIGCONT)
        code = one.wait()
        calls_of_the_frozen = tenant.calls(RELEASE)
        assert time.monotonic() - woken_at < SETTLE, "too slow to tell whose call came"
        resource = tenant.wait(is_ready)

    assert code == 1
    assert f"Lease {LEASE} is lost" in one.log.read_text()
    assert calls_of_the_frozen == []
    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1
    assert outcome(resource) == "Succeeded"
