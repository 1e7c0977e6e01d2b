"""Partitions, half-open connections and throttling between the operator and what it talks to, with TLS on every way."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.chaos.scenes import new_operator, new_tenant, outcome
from tests.chaos.wire import BOTH, Direction, Wire
from tests.cluster.tenants import RELEASE, Tenant, condition, hold_release, is_ready, say, wait_until
from tests.cluster.watching import Judge, Proxy, is_intent
from tests.stage import Stage

PARTITION_SECONDS: Final = 3.0
THROTTLED_SECONDS: Final = 4.0
INACTIVITY_SECONDS: Final = float(os.environ.get("TAIR_TEST_INACTIVITY_SECONDS", "16"))
"""After so long without any event kopf watches anew; `make endurance` has the 70 seconds that it comes with.

Longer than idle connections are kept in any case: what is tested is the watch.
"""
SLACK_SECONDS: Final = 10.0
# There is no setting for it, and a minute of waiting for each `make test` would prove the same.
QUICK_WATCH: Final = f"""
import sys
from tair_operator import __main__, handlers
build = handlers.build_settings
def build_settings(scope):
    settings = build(scope)
    settings.watching.inactivity_timeout = {INACTIVITY_SECONDS}
    return settings
handlers.build_settings = build_settings
sys.exit(__main__.main([]))
"""

pytestmark = pytest.mark.timeout(180 + 2 * INACTIVITY_SECONDS)


Harm = Callable[[Wire], None]


@dataclass(frozen=True)
class Trouble:
    """What becomes of the way to the cloud right before a call leaves, and what follows from it."""

    harm: Harm
    outcome: str
    arrives: bool
    attempts: int


TROUBLES: Final = {
    "answer lost": Trouble(lambda wire: wire.swallow(frozenset({Direction.BACK})), "Unknown", arrives=True, attempts=1),
    "call lost": Trouble(lambda wire: wire.swallow(BOTH), "Unknown", arrives=False, attempts=2),
    "partition": Trouble(lambda wire: wire.cut(), "NotSent", arrives=False, attempts=2),
}


@pytest.fixture
def proxy(stage: Stage) -> Iterator[Proxy]:
    with Proxy(stage.plane, stage.simulator.tls) as proxy:
        yield proxy


def release_in(trouble: Trouble, tenant: Tenant, proxy: Proxy, way: Wire) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let a release run into trouble, and end the trouble; return the resource as it was meanwhile and in the end."""
    hold = proxy.hold(is_intent, "after")
    tenant.apply(directConnection=False)
    hold.wait_reached()
    trouble.harm(way)
    hold.let_go()
    away = tenant.wait(lambda resource: outcome(resource) == trouble.outcome)
    assert len(tenant.effective(RELEASE)) == trouble.arrives
    way.heal()
    return away, tenant.wait(is_ready)


def test_a_cloud_that_goes_away_between_intent_and_answer_leads_to_one_effective_release(
    stage: Stage, judge: Judge, proxy: Proxy
) -> None:
    tenants = {name: new_tenant(stage, judge) for name in TROUBLES}
    operator = proxy.lead(new_operator(stage, TAIR_OPERATOR_CALL_TIMEOUT_SECONDS="1.5"))
    with Wire(stage.simulator.url) as way:
        operator.cloud = way.url
        with operator:
            seen = {name: release_in(trouble, tenants[name], proxy, way) for name, trouble in TROUBLES.items()}

    for name, trouble in TROUBLES.items():
        away, resource = seen[name]
        [release] = tenants[name].calls(RELEASE)
        known = [past.get("requestId") for past in resource["status"]["history"] if past["outcome"] == "Succeeded"]
        assert condition(away, "Ready")["status"] == "False"
        assert release["effective"]
        assert resource["status"]["operation"]["attempt"] == trouble.attempts
        assert known == [None if trouble.arrives else release["requestId"]]


def test_a_partition_from_the_api_server_during_a_release_loses_neither_the_answer_nor_the_operator(
    stage: Stage, judge: Judge
) -> None:
    tenant = new_tenant(stage, judge)
    held = hold_release(tenant, "after")
    tenant.apply(directConnection=False)
    with Wire(stage.plane.server) as way, way.lead(new_operator(stage)) as operator:
        pid = operator.pid
        held.wait_reached()
        way.cut()
        held.let_go()
        time.sleep(PARTITION_SECONDS)
        during = tenant.get()
        way.heal()
        resource = tenant.wait(is_ready)
        assert operator.exit_code() is None
        assert operator.pid == pid

    [release] = tenant.calls(RELEASE)
    assert outcome(during) == "Started"
    assert resource["status"]["operation"]["outcome"] == "Succeeded"
    assert resource["status"]["operation"]["requestId"] == release["requestId"]


def test_a_half_open_watch_is_noticed_within_the_time_of_inactivity(stage: Stage, judge: Judge) -> None:
    tenant = new_tenant(stage, judge)
    tenant.apply(directConnection=True)
    operator = new_operator(stage)
    operator.command = [sys.executable, "-P", "-c", QUICK_WATCH]
    with Wire(stage.plane.server) as way, way.lead(operator):
        tenant.wait(is_ready)
        # Neither end is told: the connections stay open, and nothing comes through any more. New ones work.
        way.swallow(only_present=True)
        silent_at = time.monotonic()
        tenant.apply(directConnection=False)
        wait_until(lambda: tenant.calls(RELEASE), "the change is seen", seconds=INACTIVITY_SECONDS + 40)
        seconds = time.monotonic() - silent_at
        resource = tenant.wait(is_ready)
        alive = operator.exit_code()
    say(f"half-open watch, inactivity timeout {INACTIVITY_SECONDS:.0f} s: the change was called after {seconds:.1f} s")

    # Not at once, or the watch was never silent.
    assert INACTIVITY_SECONDS / 2 < seconds < INACTIVITY_SECONDS + SLACK_SECONDS
    assert alive is None
    assert condition(resource, "Ready")["reason"] == "Released"
    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1


def test_an_api_server_that_throttles_is_not_stormed_and_gets_the_answer_afterwards(
    stage: Stage, judge: Judge, proxy: Proxy
) -> None:
    tenant, other = new_tenant(stage, judge), new_tenant(stage, judge)
    held = hold_release(tenant, "after")
    tenant.apply(directConnection=False)
    with proxy.lead(new_operator(stage)):
        held.wait_reached()
        proxy.retry_after = "1"
        held.let_go()
        other.apply(directConnection=False)
        time.sleep(THROTTLED_SECONDS)
        calls_of_the_other = other.calls(RELEASE)
        proxy.retry_after = None
        resources = [each.wait(is_ready) for each in (tenant, other)]
    turned_away = [request for request in proxy.seen if request.status == 429]
    say(f"API server answered 429 for {THROTTLED_SECONDS:.0f} s: {len(turned_away)} requests of two resources")

    assert calls_of_the_other == []
    assert 2 <= len(turned_away) <= 10 * THROTTLED_SECONDS
    for each, resource in zip((tenant, other), resources, strict=True):
        [release] = each.calls(RELEASE)
        assert resource["status"]["operation"]["requestId"] == release["requestId"]
        assert outcome(resource) == "Succeeded"
