"""The API server is away for longer than the Lease is good for, and comes back.

Half a minute in `make test`; `make endurance` makes it five minutes
(TAIR_TEST_OUTAGE_SECONDS). The replicas are restarted when they end, as kubelet
does: a leader that cannot renew its Lease ends by design.
"""

import os
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

import pytest

from tests.cluster.tenants import NUMBERS, RELEASE, Tenant, hold_release, is_ready, make_tenant, say
from tests.cluster.test_leader import ELECTED, is_leading
from tests.controlplane import ControlPlane
from tests.stage import OperatorProcess, Stage

OUTAGE_SECONDS: Final = float(os.environ.get("TAIR_TEST_OUTAGE_SECONDS", "30"))
RESTART_SECONDS: Final = 2.0
SETTINGS: Final = {"TAIR_OPERATOR_SETTLE_SECONDS": "5", "TAIR_OPERATOR_RESYNC_SECONDS": "3600"}

pytestmark = pytest.mark.timeout(240 + OUTAGE_SECONDS)


class Kubelet:
    """Starts operators, and starts them again whenever they end."""

    def __init__(self, *operators: OperatorProcess) -> None:
        self._operators = operators
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look_after, daemon=True)
        self.codes: list[int] = []
        """The exit code of each end, in order."""

    def __enter__(self) -> Self:
        for operator in self._operators:
            operator.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        for operator in self._operators:
            operator.__exit__()

    def _look_after(self) -> None:
        while not self._ending.wait(RESTART_SECONDS):
            for operator in self._operators:
                if (code := operator.exit_code()) is not None:
                    self.codes.append(code)
                    operator.start()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Have an API server of one's own, which no other test misses."""
    with ControlPlane() as plane, Stage(plane) as stage:
        stage.install()
        yield stage


def new_operator(stage: Stage, settings: dict[str, str]) -> OperatorProcess:
    return stage.operator(f"outlasting-{next(NUMBERS)}", **(SETTINGS | settings))


def lose_api_server_during_a_call(stage: Stage, tenant: Tenant) -> float:
    """Take the API server away while the release is under way, and bring it back; return when that was."""
    held = hold_release(tenant, "after")
    tenant.apply(directConnection=False)
    held.wait_reached()
    stage.plane.stop_api_server()
    held.let_go()
    time.sleep(OUTAGE_SECONDS)
    stage.plane.start_api_server()
    return time.monotonic()


def seconds_until_ready(tenant: Tenant, since: float) -> float:
    tenant.wait(is_ready, seconds=90)
    return time.monotonic() - since


def test_two_replicas_outlast_an_api_server_that_was_away_during_a_release(stage: Stage) -> None:
    tenant, bystander = make_tenant(stage), make_tenant(stage)
    one, other = new_operator(stage, ELECTED), new_operator(stage, ELECTED)
    with Kubelet(one, other) as kubelet:
        bystander.apply(directConnection=True)
        bystander.wait(is_ready)
        before = bystander.get()
        back_at = lose_api_server_during_a_call(stage, tenant)
        seconds = seconds_until_ready(tenant, back_at)
        resource = tenant.get()
        leaders = [operator for operator in (one, other) if is_leading(operator)]
        after = bystander.get()
        bystander.apply(directConnection=False)
        bystander.wait(is_ready)
    say(f"API server away for {OUTAGE_SECONDS:.0f} s: the release is Ready {seconds:.1f} s after it is back")

    assert len(tenant.calls(RELEASE)) == len(tenant.effective(RELEASE)) == 1
    # Its answer could not be stored in time, and nobody invents a RequestId.
    assert resource["status"]["operation"]["outcome"] == "Succeeded"
    assert len(leaders) == 1
    # The leader ended because its Lease was lost, and nobody was killed by anything else.
    assert set(kubelet.codes) == {1}
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert len(bystander.effective(RELEASE)) == 1


def test_a_single_operator_outlasts_it_without_a_restart_and_stores_the_answer(stage: Stage) -> None:
    tenant = make_tenant(stage)
    with new_operator(stage, {}) as operator:
        pid = operator.pid
        back_at = lose_api_server_during_a_call(stage, tenant)
        alive = operator.probe("livez")
        seconds = seconds_until_ready(tenant, back_at)
        operation = tenant.get()["status"]["operation"]
        tenant.apply(directConnection=True)
        tenant.wait(is_ready)
        pid_at_the_end = operator.pid
    [call] = tenant.calls(RELEASE)
    say(f"API server away for {OUTAGE_SECONDS:.0f} s: a single operator is Ready {seconds:.1f} s after it is back")

    assert alive[0] == 200
    assert pid_at_the_end == pid
    assert operator.exit_code() == 0
    assert (operation["outcome"], operation["requestId"]) == ("Succeeded", call["requestId"])
