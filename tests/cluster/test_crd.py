"""What a real API server makes of the CRD: what it refuses and in which words, what it accepts, what it shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tair_operator.models import TairInstance, TairInstanceSpec
from tests.controlplane import ControlPlane, KubectlError

CRD = Path(__file__).parents[2] / "crds" / "tairinstances.yaml"
NAMESPACE = "crd"
GOOD = {"instanceId": "r-bp1zxszhcgatnx0001", "regionId": "cn-hangzhou"}
ABSENT = object()

ACCEPTED = {
    "only-required": {},
    "allocate": {"directConnection": True},
    "release": {"directConnection": False},
    "other-id": {"instanceId": "tt-bp1", "regionId": "ap-southeast-1"},
    "finance-region": {"regionId": "cn-hangzhou-finance-1"},
    "resync-never": {"resyncSeconds": 0},
    "resync-shortest": {"resyncSeconds": 60},
    "resync-longest": {"resyncSeconds": 86400},
    "correct": {"driftPolicy": "Correct"},
    "allocate-only": {"driftPolicy": "AllocateOnly"},
    "report": {"driftPolicy": "Report"},
    "retain": {"deletionPolicy": "Retain"},
    "release-on-deletion": {"deletionPolicy": "Release"},
    "endpoint": {"endpoint": {"prefix": "orders00", "port": 1024}},
    "endpoint-longest": {"endpoint": {"prefix": "o" * 40, "port": 65535}},
    "guards": {"release": {"approval": "Required", "window": "Maintenance", "drainSeconds": 3600}},
    "no-guards": {"release": {"approval": "Automatic", "window": "Anytime", "drainSeconds": 0}},
    "publish": {"publish": {"secretName": "orders", "configMapName": "orders"}},
    "own-keys": {"credentials": {"secretName": "keys"}, "publish": {"secretName": "orders"}},
    "own-identity": {"credentials": {"serviceAccountName": "orders"}},
    "suspend": {"suspend": True},
}

# Refused by the API server and by the parser alike. The words are those of the API server.
REFUSED = {
    "id-absent": ({"instanceId": ABSENT}, "spec.instanceId: Required value"),
    "id-empty": ({"instanceId": ""}, "spec.instanceId in body should be at least 3 chars long"),
    "id-without-hyphen": ({"instanceId": "rbp1"}, "spec.instanceId in body should match '^[a-z][a-z0-9]*-[a-z0-9]+$'"),
    "id-in-capitals": ({"instanceId": "R-BP1"}, "spec.instanceId in body should match '^[a-z][a-z0-9]*-[a-z0-9]+$'"),
    "id-with-line": ({"instanceId": "r-bp1\n"}, "spec.instanceId in body should match '^[a-z][a-z0-9]*-[a-z0-9]+$'"),
    "id-too-long": ({"instanceId": "r-" + "1" * 63}, "spec.instanceId: Too long: may not be more than 64 bytes"),
    "region-absent": ({"regionId": ABSENT}, "spec.regionId: Required value"),
    "region-of-one-word": ({"regionId": "hangzhou"}, "spec.regionId in body should match '^[a-z]+(-[a-z0-9]+)+$'"),
    "region-host": ({"regionId": "cn-x.evil.test"}, "spec.regionId in body should match '^[a-z]+(-[a-z0-9]+)+$'"),
    "region-short": ({"regionId": "c-n"}, "spec.regionId in body should be at least 4 chars long"),
    "wanted-as-word": (
        {"directConnection": "false"},
        'spec.directConnection in body must be of type boolean: "string"',
    ),
    "wanted-as-number": ({"directConnection": 0}, 'spec.directConnection in body must be of type boolean: "integer"'),
    "drift-policy": (
        {"driftPolicy": "Ignore"},
        'spec.driftPolicy: Unsupported value: "Ignore": supported values: "Correct", "AllocateOnly", "Report"',
    ),
    "deletion-policy": (
        {"deletionPolicy": "Delete"},
        'spec.deletionPolicy: Unsupported value: "Delete": supported values: "Retain", "Release"',
    ),
    "resync-30": (
        {"resyncSeconds": 30},
        "spec.resyncSeconds: Invalid value: 30: use 0 (never), or 60 to 86400 seconds",
    ),
    "resync-59": (
        {"resyncSeconds": 59},
        "spec.resyncSeconds: Invalid value: 59: use 0 (never), or 60 to 86400 seconds",
    ),
    "resync-negative": ({"resyncSeconds": -1}, "use 0 (never), or 60 to 86400 seconds"),
    "resync-rare": ({"resyncSeconds": 86401}, "spec.resyncSeconds in body should be less than or equal to 86400"),
    "resync-fraction": ({"resyncSeconds": 60.5}, "spec.resyncSeconds in body must be of type int32"),
    "port": ({"endpoint": {"port": 80}}, "spec.endpoint.port in body should be greater than or equal to 1024"),
    "prefix": (
        {"endpoint": {"prefix": "1orders0"}},
        "spec.endpoint.prefix in body should match '^[a-z][a-z0-9]{7,39}$'",
    ),
    "prefix-short": (
        {"endpoint": {"prefix": "orders0"}},
        "spec.endpoint.prefix in body should be at least 8 chars long",
    ),
    "prefix-with-hyphen": (
        {"endpoint": {"prefix": "orders-cache"}},
        "spec.endpoint.prefix in body should match '^[a-z][a-z0-9]{7,39}$'",
    ),
    "port-as-text": (
        {"endpoint": {"port": "6379"}},
        'spec.endpoint.port in body must be of type integer: "string"',
    ),
    "approval": (
        {"release": {"approval": "Yes"}},
        'spec.release.approval: Unsupported value: "Yes": supported values: "Automatic", "Required"',
    ),
    "window": (
        {"release": {"window": "Night"}},
        'spec.release.window: Unsupported value: "Night": supported values: "Anytime", "Maintenance"',
    ),
    "drain-negative": (
        {"release": {"drainSeconds": -1}},
        "spec.release.drainSeconds in body should be greater than or equal to 0",
    ),
    "secret-of-another-namespace": (
        {"credentials": {"secretName": "other/keys"}},
        "spec.credentials.secretName in body should match",
    ),
    "config-map": ({"publish": {"configMapName": ""}}, "spec.publish.configMapName in body should be at least 1 chars"),
    "drain": (
        {"release": {"drainSeconds": 3601}},
        "spec.release.drainSeconds in body should be less than or equal to 3600",
    ),
    "secret": ({"publish": {"secretName": "A"}}, "spec.publish.secretName in body should match"),
}

# Rules between two fields are CEL, which only the API server knows.
RULES = {
    "credentials-neither": (
        {"credentials": {}},
        "spec.credentials: Invalid value: set exactly one of secretName, serviceAccountName",
    ),
    "credentials-both": (
        {"credentials": {"secretName": "a", "serviceAccountName": "b"}},
        "spec.credentials: Invalid value: set exactly one of secretName, serviceAccountName",
    ),
    "publish-nowhere": ({"publish": {}}, "spec.publish: Invalid value: set at least one of secretName, configMapName"),
    "publish-over-the-credentials": (
        {"publish": {"secretName": "keys"}, "credentials": {"secretName": "keys"}},
        "spec: Invalid value: publish.secretName and credentials.secretName must be two different Secrets",
    ),
}


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """Serve the CRD, and have a Namespace for the resources of this module."""
    control_plane.apply(CRD)
    control_plane.wait_established("tairinstances.tair.alibabacloud.com")
    control_plane.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
    return control_plane


@pytest.fixture
def orders(plane: ControlPlane) -> Iterator[str]:
    """Have a resource that asks for a release, for the time of a test."""
    create(plane, "orders", directConnection=False)
    yield "orders"
    plane.kubectl("delete", "tair", "orders", "-n", NAMESPACE)


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts(plane: ControlPlane, fields: dict[str, Any]) -> None:
    stored = create(plane, "accepted", "--dry-run=server", **fields)

    assert stored["spec"] == spec(**fields)
    assert parser_refuses(spec(**fields)) is False


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_and_says_what_is_allowed(plane: ControlPlane, fields: dict[str, Any], message: str) -> None:
    assert message in refusal(plane, **fields)
    assert parser_refuses(spec(**fields)) is True


@pytest.mark.parametrize(("fields", "message"), RULES.values(), ids=RULES.keys())
def test_refuses_what_contradicts_itself(plane: ControlPlane, fields: dict[str, Any], message: str) -> None:
    assert message in refusal(plane, **fields)


def test_refuses_a_resource_without_a_spec(plane: ControlPlane) -> None:
    manifest = json.dumps({**resource("empty"), "spec": None})

    with pytest.raises(KubectlError, match="spec: Required value"):
        plane.kubectl("create", "-f", "-", stdin=manifest)


def test_refuses_a_field_that_it_does_not_know(plane: ControlPlane) -> None:
    """A typo must not turn "release" into "only observe" without a word; kubectl asks for this by default."""
    assert 'unknown field "spec.directConection"' in refusal(plane, directConection=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [("instanceId", "r-bp1zxszhcgatnx0002"), ("regionId", "cn-beijing")],
    ids=["instanceId", "regionId"],
)
def test_instance_and_region_are_immutable(plane: ControlPlane, orders: str, field: str, value: str) -> None:
    with pytest.raises(KubectlError) as failure:
        patch(plane, orders, {field: value})

    message = f"spec.{field} is immutable: create another TairInstance for another instance"
    assert message in failure.value.stderr


def test_the_wish_is_not_immutable(plane: ControlPlane, orders: str) -> None:
    assert patch(plane, orders, {"directConnection": True})["spec"]["directConnection"] is True


def test_an_absent_wish_stays_absent(plane: ControlPlane) -> None:
    assert "directConnection" not in create(plane, "absent", "--dry-run=server")["spec"]


def test_null_means_absent_and_never_false(plane: ControlPlane, orders: str) -> None:
    """The API server drops a null that the schema does not allow; a merge patch removes the field."""
    assert "directConnection" not in create(plane, "null", "--dry-run=server", directConnection=None)["spec"]
    assert "directConnection" not in patch(plane, orders, {"directConnection": None})["spec"]


def test_null_is_refused_in_server_side_apply(plane: ControlPlane) -> None:
    with pytest.raises(KubectlError, match='directConnection in body must be of type boolean: "null"'):
        plane.apply(json.dumps(resource("null", directConnection=None)))


def test_a_resource_that_nobody_has_seen_is_not_ready(plane: ControlPlane, orders: str) -> None:
    stored = plane.kubectl_json("get", "tair", orders, "-n", NAMESPACE)

    assert stored["status"] == {
        "observedGeneration": -1,
        "conditions": [
            {
                "type": "Ready",
                "status": "Unknown",
                "reason": "Pending",
                "message": "Waiting for the operator",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }
        ],
    }
    assert TairInstance.model_validate(stored).spec.direct_connection is False


def test_columns(plane: ControlPlane, orders: str) -> None:
    """The empty fields stay empty in the first lines; kubectl prints the age last, since its column comes last."""
    unseen = table(plane.kubectl("get", "tair", orders, "-n", NAMESPACE))
    report(plane, orders)
    seen = table(plane.kubectl("get", "tair", orders, "-n", NAMESPACE))
    wide = table(plane.kubectl("get", "tair", orders, "-n", NAMESPACE, "-o", "wide"))

    names = ["NAME", "INSTANCE", "DESIRED", "STATE", "READY", "REASON", "REQUEST-ID"]
    request_id = "5D622714-AEDD-4609-9167-F5DDD3D1AAAA"
    row = ["orders", "r-bp1zxszhcgatnx0001", "false", "Released", "True", "Released", request_id]
    assert unseen[0] == [*names, "AGE"]
    assert unseen[1][:5] == ["orders", "r-bp1zxszhcgatnx0001", "false", "Unknown", "Pending"]
    assert seen[1][:-1] == row
    assert wide[0] == [*names, "ENDPOINT", "MESSAGE", "AGE"]
    assert wide[1][:-1] == [*row, "orders.redis.example", "as wanted"]


def test_is_found_by_its_categories_and_names(plane: ControlPlane, orders: str) -> None:
    for name in ("tair", "tairinstance", "tairinstances", "alibabacloud"):
        assert plane.kubectl("get", name, "-n", NAMESPACE, "-o", "name").split() == [
            f"tairinstance.tair.alibabacloud.com/{orders}"
        ]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("spec.instanceId=r-bp1zxszhcgatnx0001", ["orders"]),
        ("spec.instanceId=r-bp1zxszhcgatnx0001,spec.regionId=cn-hangzhou", ["orders"]),
        ("spec.instanceId=r-bp1zxszhcgatnx0002", []),
        ("spec.regionId!=cn-hangzhou", []),
    ],
)
def test_is_selected_by_instance_and_region(plane: ControlPlane, orders: str, selector: str, found: list[str]) -> None:
    items = plane.kubectl_json("get", "tair", "-n", NAMESPACE, "--field-selector", selector)["items"]

    assert [item["metadata"]["name"] for item in items] == found


def test_the_status_is_a_subresource(plane: ControlPlane, orders: str) -> None:
    """A user who applies a manifest cannot write the status, and the operator who writes it cannot change the spec."""
    generation = plane.kubectl_json("get", "tair", orders, "-n", NAMESPACE)["metadata"]["generation"]
    report(plane, orders)
    patched = plane.kubectl_json(
        "patch", "tair", orders, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"status": {"requestId": "forged"}})
    )

    assert patched["status"]["requestId"] == "5D622714-AEDD-4609-9167-F5DDD3D1AAAA"
    assert patched["metadata"]["generation"] == generation


def test_explains_itself(plane: ControlPlane) -> None:
    # kubectl breaks lines where the terminal ends.
    explained = re.sub(r"\s+", " ", plane.kubectl("explain", "tairinstance.spec"))
    everything = plane.kubectl("explain", "tairinstance", "--recursive")

    assert "Absent: only observe; nothing is ever called. There is no default." in explained
    assert "instanceId <string> -required-" in explained
    assert "driftPolicy <string> enum: Correct, AllocateOnly, Report" in explained
    assert "lastHandledReconcileAt" in everything


def spec(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: value for name, value in {**GOOD, **fields}.items() if value is not ABSENT}


def resource(name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "apiVersion": "tair.alibabacloud.com/v1alpha1",
        "kind": "TairInstance",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec(**fields),
    }


def create(plane: ControlPlane, name: str, *arguments: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    stored: dict[str, Any] = plane.kubectl_json(
        "create", "-f", "-", *arguments, stdin=json.dumps(resource(name, **fields))
    )
    return stored


def patch(plane: ControlPlane, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"spec": fields})
    stored: dict[str, Any] = plane.kubectl_json("patch", "tair", name, "-n", NAMESPACE, "--type=merge", "-p", body)
    return stored


def report(plane: ControlPlane, name: str) -> None:
    """Write a status, as the operator does."""
    ready = {"type": "Ready", "status": "True", "reason": "Released", "message": "as wanted"}
    status = {
        "observedGeneration": 1,
        "conditions": [{**ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "directConnection": {"state": "Released", "host": "orders.redis.example"},
        "requestId": "5D622714-AEDD-4609-9167-F5DDD3D1AAAA",
    }
    body = json.dumps({"status": status})
    plane.kubectl("patch", "tair", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", body)


def refusal(plane: ControlPlane, **fields: Any) -> str:  # noqa: ANN401
    """Return the words in which the API server refuses the resource."""
    with pytest.raises(KubectlError) as failure:
        create(plane, "refused", "--dry-run=server", **fields)
    return failure.value.stderr


def parser_refuses(fields: dict[str, Any]) -> bool:
    """Parse strictly: what the API server stored has the right types, and only then may parsing be lax."""
    try:
        TairInstanceSpec.model_validate_json(json.dumps(fields), strict=True)
    except ValidationError:
        return True
    return False


def table(printed: str) -> list[list[str]]:
    """Split what `kubectl get` printed at the gaps of two and more spaces; empty cells vanish."""
    return [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
