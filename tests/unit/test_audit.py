"""The audit line: who wanted what, and what became of it."""

import logging
from typing import Any

import pytest

from tair_operator import audit
from tair_operator.models import Outcome
from tests.builders import operation, resource


def entry(manager: str, time: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "time": time, "fieldsV1": {"f:spec": fields}, **more}


WANTS: dict[str, Any] = {"f:directConnection": {}}
FIELDS = [
    entry("helm", "2026-03-02T10:00:00Z", {"f:instanceId": {}}),
    entry("argocd-controller", "2026-03-02T11:00:00Z", WANTS),
    entry("kubectl-edit", "2026-03-02T12:00:00Z", WANTS),
    entry("tair-operator", "2026-03-02T13:00:00Z", WANTS, subresource="status"),
]


def test_who_wanted_it_is_who_set_the_field_last() -> None:
    made = resource(False)
    metadata = made.metadata.model_copy(update={"managed_fields": FIELDS})

    assert audit.spec_manager(made.model_copy(update={"metadata": metadata})) == "kubectl-edit"
    assert audit.spec_manager(made) is None


def test_the_line_has_all_that_support_and_auditors_ask_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tair_operator.audit"):
        audit.record(resource(False), operation(outcome=Outcome.ACCEPTED, request_id="R-1", http_status=200))

    [line] = caplog.records
    fields = line.__dict__
    assert line.name == "tair_operator.audit"
    assert {name: fields[name] for name in ("resource", "uid", "instance_id", "action", "outcome", "request_id")} == {
        "resource": "shop/orders-cache",
        "uid": "uid-1",
        "instance_id": "r-bp1",
        "action": "ReleaseDirectConnection",
        "outcome": "Accepted",
        "request_id": "R-1",
    }
