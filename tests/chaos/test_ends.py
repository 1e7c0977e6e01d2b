"""The process ends in order while a call is under way, and manifests change while there is none."""

import signal

from tests.chaos.scenes import new_operator, new_tenant
from tests.cluster.tenants import ALLOCATE, RELEASE, hold_release, is_ready
from tests.cluster.watching import Judge
from tests.stage import Stage


def test_a_call_under_way_is_answered_and_its_answer_stored_before_the_process_ends(stage: Stage, judge: Judge) -> None:
    tenant = new_tenant(stage, judge)
    held = hold_release(tenant, "after")
    with new_operator(stage) as operator:
        tenant.apply(directConnection=False)
        held.wait_reached()
        assert operator._process is not None
        operator._process.send_signal(signal.SIGTERM)
        held.let_go()
        code = operator.wait()
        operation = tenant.get()["status"]["operation"]
    with new_operator(stage):
        tenant.wait(is_ready)
    [call] = tenant.calls(RELEASE)

    assert code == 0
    assert (operation["outcome"], operation["requestId"]) == ("Accepted", call["requestId"])


def test_what_the_manifest_said_while_nobody_was_there_is_not_done(stage: Stage, judge: Judge) -> None:
    tenant = new_tenant(stage, judge)
    with new_operator(stage):
        tenant.apply(directConnection=True)
        tenant.wait(is_ready)
    for wanted in (False, True):
        tenant.apply(directConnection=wanted)
    with new_operator(stage):
        resource = tenant.wait(is_ready)

    assert tenant.calls(RELEASE) == tenant.calls(ALLOCATE) == []
    assert resource["status"]["observedGeneration"] == resource["metadata"]["generation"] == 3
