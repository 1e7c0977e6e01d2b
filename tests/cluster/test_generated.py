"""Resources made up from the schema: the API server and the parser agree on them, and whatever is stored is served."""

import json
import time
from collections.abc import Iterator
from math import isfinite
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tair_operator.models import ANNOTATION_RECONCILE, Reason
from tests.builders import ID
from tests.cluster.tenants import is_current, namespaces, say
from tests.controlplane import KubectlError
from tests.fuzz.resources import cases, parser_refuses, refusals, spec_schema, status_schema
from tests.fuzz.schema import contradictions, mistakes, stored
from tests.fuzz.target import Case
from tests.kstatus import broken_rules
from tests.stage import Stage

COUNT = 60
NAMESPACE = "generated"
OURS = {"Ready", "Reconciling", "Stalled", "Suspended", "EndpointMatches"}
SECONDS = 60.0
REASONS = {str(reason) for reason in Reason}


@pytest.fixture(scope="module")
def generated() -> dict[str, Case]:
    """Make up resources, the same each time; each is about an instance of its own, where the spec is as usual."""
    found: list[Case] = []

    @settings(
        max_examples=2 * COUNT,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case: Case) -> None:
        if all(isfinite(number) for number in _floats(case)):
            found.append(case)

    collect()
    resources = {f"cr-{number:02}": case for number, case in enumerate(found[:: len(found) // COUNT][:COUNT])}
    for name, case in resources.items():
        if case["spec"].get("instanceId") == ID:
            case["spec"]["instanceId"] = f"r-gen{name[-2:]}"
    return resources


def test_the_api_server_and_the_parser_agree_on_what_is_valid_and_everything_stored_is_served(
    stage: Stage, generated: dict[str, Case]
) -> None:
    stage.plane.apply(namespaces(NAMESPACE))
    specs = {name: stored(spec_schema, case["spec"]) for name, case in generated.items()}
    statuses = {name: stored(status_schema, case["status"]) for name, case in generated.items()}
    for name in list(generated)[::2]:
        stage.simulator.put_instance(f"r-gen{name[-2:]}", regionId="cn-hangzhou", directConnection=True)

    told = _many(stage, "create", {name: {"spec": case["spec"]} for name, case in generated.items()})
    created = _found(stage)
    assert {name: told for name, spec in specs.items() if (name in created) is bool(refusals(spec, {}))} == {}
    assert {name for name in created if parser_refuses(specs[name])} == set()
    parsed = {name for name, spec in specs.items() if not parser_refuses(spec)}
    assert {name for name in parsed - created.keys() if not contradictions(specs[name])} == set()

    bodies = {name: {"spec": specs[name], "status": generated[name]["status"]} for name in created}
    told = _many(stage, "replace", bodies, "--subresource=status")
    written = {name for name, body in _found(stage).items() if body["status"] != created[name]["status"]}
    wrong = {name for name in created if mistakes("status", statuses[name])}
    assert written & wrong == set(), told
    say(f"of {COUNT} resources {len(created)} were stored, {len(written)} of them with a status made up")
    assert len(created) > COUNT / 4
    assert len(written) > COUNT / 8

    odd = {"spec": {"instanceId": "r-odd", "regionId": "cn-hangzhou"}}
    _many(stage, "create", {"odd": odd})
    drift = {"drift": {"directConnection": True, "since": "0000-03-02T12:00:00+99:59"}}
    assert _many(stage, "replace", {"odd": {**odd, "status": drift}}, "--subresource=status") == ""

    # Some look as if nothing was left to do for them.
    request = f"{ANNOTATION_RECONCILE}=1"
    stage.plane.kubectl("annotate", "tair", "--all", "-n", NAMESPACE, "--overwrite", request)
    with stage.operator() as operator:
        deadline = time.monotonic() + SECONDS
        while left := _unserved(stage):
            assert time.monotonic() < deadline, f"{left} are not reported: {operator.log.read_text()[-2000:]}"
            time.sleep(0.5)
        assert operator.exit_code() is None
        assert operator.probe("livez")[0] == 200
        log = operator.log.read_text()
    assert "Traceback" not in log
    # No calendar has this time, and the API server takes it. It is said, nothing is called for it, and all others are
    # served.
    assert "generated/odd is stored in a form that cannot be read: status.drift.since" in log
    assert log.count("cannot be read") == log.count("generated/odd is stored")
    assert stage.simulator.ledger(instance_id="r-odd") == []


def _many(stage: Stage, verb: str, bodies: dict[str, dict[str, Any]], *options: str) -> str:
    """Send many resources in one command, and return what kubectl says about those that are refused."""
    items = [
        {
            "apiVersion": "tair.alibabacloud.com/v1alpha1",
            "kind": "TairInstance",
            "metadata": {"name": name, "namespace": NAMESPACE},
            **body,
        }
        for name, body in bodies.items()
    ]
    try:
        # Unknown fields are for the API server to drop.
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        stage.plane.kubectl(verb, "--validate=false", *options, "-f", "-", stdin=text)
    except KubectlError as error:
        return error.stderr
    return ""


def _found(stage: Stage) -> dict[str, dict[str, Any]]:
    items = stage.plane.kubectl_json("get", "tair", "-n", NAMESPACE)["items"]
    return {item["metadata"]["name"]: item for item in items}


def _unserved(stage: Stage) -> dict[str, object]:
    """Return the resources whose status is not, or not wholly, in the words of the operator, with what it says."""
    found = {name: (body, _ours(body)) for name, body in _found(stage).items() if name != "odd"}
    return {
        name: ours
        for name, (body, ours) in found.items()
        if not is_current(body)
        or broken_rules({**body, "status": {**body["status"], "conditions": ours}})
        or not ours
        or any(condition["reason"] not in REASONS for condition in ours)
    }


def _ours(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [condition for condition in body["status"].get("conditions", []) if condition["type"] in OURS]


def _floats(value: Any) -> Iterator[float]:  # noqa: ANN401
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)
    elif isinstance(value, float):
        yield value
