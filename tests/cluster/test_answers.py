"""An answer that the API server refuses to store holds up its own resource, and not the only worker."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster.policies import refusing
from tests.cluster.tenants import RELEASE, is_ready, make_tenant, wait_until
from tests.stage import OperatorProcess, Stage

WORDS = "no news here, says the platform team"
ACCEPTED = {
    "id": "probe",
    "action": RELEASE,
    "generation": 1,
    "attempt": 1,
    "startedAt": "2026-03-02T12:00:00Z",
    "outcome": "Accepted",
}


@pytest.fixture
def operator(stage: Stage) -> Iterator[OperatorProcess]:
    with stage.operator("answers", TAIR_OPERATOR_WORKERS="1") as operator:
        yield operator


def test_an_answer_that_is_refused_stops_no_other_resource_and_is_stored_once_it_may_be(
    stage: Stage, operator: OperatorProcess
) -> None:
    refused, other = make_tenant(stage), make_tenant(stage)
    refused.apply(directConnection=True)
    refused.wait(is_ready)
    status = ("tair.alibabacloud.com", "v1alpha1", "tairinstances/status", "UPDATE")
    is_no_answer = "!has(object.status.operation) || object.status.operation.outcome != 'Accepted'"
    probe = json.dumps({"status": {"operation": ACCEPTED}})
    patch = ("patch", "tair", "it", "-n", refused.namespace, "--subresource=status", "--type=merge", "-p", probe)
    with refusing(stage.plane, refused.namespace, status, is_no_answer, WORDS) as policy:
        policy.wait_in_force(*patch)
        refused.apply(directConnection=False)
        wait_until(lambda: "not recorded in the status yet" in operator.log.read_text(), "the answer is refused")
        other.apply(directConnection=False)
        other.wait(is_ready)
        meanwhile = refused.get()["status"]["operation"]
    policy.wait_lifted(*patch)
    # The pause between attempts may have grown; whoever mends it need not wait for that.
    words = "tair.alibabacloud.com/reconcile-requested-at=now"
    stage.plane.kubectl("-n", refused.namespace, "annotate", "tair", refused.name, words)
    done = refused.wait(is_ready)
    [call] = refused.calls(RELEASE)
    log = operator.log.read_text()

    assert meanwhile["outcome"] == "Started"
    assert done["status"]["requestId"] == done["status"]["operation"]["requestId"] == call["requestId"]
    assert f"Accepted, RequestId {call['requestId']}: not recorded in the status yet" in log
    assert WORDS in log
