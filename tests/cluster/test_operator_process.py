"""How the operator starts, refuses to start, waits, and ends: each test runs one of its own."""

import json
import time

import pytest
import yaml

from tests.cluster.tenants import RELEASE, condition, is_ready, is_stalled, make_tenant
from tests.controlplane import ControlPlane
from tests.stage import BASE, Stage


def test_what_the_access_list_does_not_name_is_refused_until_it_does(stage: Stage) -> None:
    tenant = make_tenant(stage)
    operator = stage.operator("narrow", TAIR_OPERATOR_STALL_GRACE_SECONDS="1")
    operator.access = "rules: []"
    with operator:
        tenant.apply(directConnection=False)
        refused = tenant.wait(is_stalled("AccessNotAllowed"))
        calls_while_refused = stage.simulator.ledger(None, tenant.instance_id)
        message = condition(refused, "Stalled")["message"]
        rule = message[message.index("{") : message.rindex("}") + 1]
        operator.access_file.write_text(f"rules: [{rule}]")
        tenant.wait(is_ready)

    assert calls_while_refused == []
    assert len(tenant.effective(RELEASE)) == 1


@pytest.mark.parametrize(
    ("credentials", "reason", "advice"),
    [
        ({}, "CredentialsUnavailable", "ALIBABA_CLOUD_ACCESS_KEY_ID"),
        (
            {"ALIBABA_CLOUD_ACCESS_KEY_ID": "demoAccessKeyId", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "with space"},
            "CredentialsInvalid",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        ),
        (
            {"ALIBABA_CLOUD_ACCESS_KEY_ID": "demoAccessKeyId", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "notTheRightOne"},
            "CredentialsInvalid",
            "SignatureDoesNotMatch",
        ),
    ],
)
def test_unusable_credentials_become_a_condition_that_says_what_to_do(
    stage: Stage, credentials: dict[str, str], reason: str, advice: str
) -> None:
    tenant = make_tenant(stage)
    operator = stage.operator("poor", TAIR_OPERATOR_STALL_GRACE_SECONDS="1")
    operator.credentials = credentials
    with operator:
        tenant.apply(directConnection=False)
        resource = tenant.wait(is_stalled(reason))
        log = operator.log.read_text()

    everything = json.dumps(resource) + log
    assert advice in json.dumps(resource["status"])
    assert tenant.effective(RELEASE) == []
    for secret in ("with space", "notTheRightOne"):
        assert secret not in everything


def test_wrong_settings_stop_the_start_with_one_line_per_mistake(stage: Stage) -> None:
    operator = stage.operator(
        "wrong", TAIR_OPERATOR_RESYNC_SECONDS="soon", TAIR_OPERATOR_SETTLE_SECONDS="1", TAIR_OPERATOR_RESINC="5"
    )
    operator.start()
    code = operator.wait()

    lines = operator.log.read_text().splitlines()
    assert code == 2
    assert [line.split(": ")[1] for line in lines] == [
        "TAIR_OPERATOR_RESINC",
        "TAIR_OPERATOR_RESYNC_SECONDS",
        "TAIR_OPERATOR_SETTLE_SECONDS",
    ]
    assert "soon" not in operator.log.read_text()


def test_the_end_is_orderly_and_quick(stage: Stage) -> None:
    operator = stage.operator("ending")
    with operator:
        started = time.monotonic()
    seconds = time.monotonic() - started

    assert operator.wait() == 0
    assert seconds < 10
    assert "Stopped" in operator.log.read_text()


def test_a_missing_crd_is_waited_for_and_named_by_the_readiness_probe() -> None:
    with ControlPlane() as plane, Stage(plane) as stage:
        plane.apply(base_without_crd(plane))
        operator = stage.operator("early")
        operator.start()
        deadline = time.monotonic() + 60
        while "crds/tairinstances.yaml" not in (before := operator.probe("readyz"))[1] and time.monotonic() < deadline:
            time.sleep(0.2)
        alive = operator.probe("livez")
        stage.install()
        operator.wait_ready()
        operator.__exit__(None, None, None)

    assert before[0] == 503
    assert "crds/tairinstances.yaml" in before[1]
    assert alive[0] == 200


def base_without_crd(plane: ControlPlane) -> str:
    everything = yaml.safe_load_all(plane.kubectl("kustomize", BASE))
    return yaml.safe_dump_all(item for item in everything if item["kind"] != "CustomResourceDefinition")
