"""The metrics as a whole: their names and labels are a contract, and what others choose makes no series."""

import platform
import re
from importlib.metadata import version

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tair_operator import metrics
from tair_operator.aliyun import counts, errors
from tair_operator.models import Action, Outcome
from tests.meters import series

QUEUE = ("name", "controller")
# Dashboards and rules rely on these: a name or a label may be added, and none may change.
CONTRACT: dict[str, tuple[str, tuple[str, ...]]] = {
    "controller_runtime_reconcile_total": ("counter", ("controller", "result")),
    "controller_runtime_reconcile_errors_total": ("counter", ("controller",)),
    "controller_runtime_reconcile_time_seconds": ("histogram", ("controller",)),
    "controller_runtime_max_concurrent_reconciles": ("gauge", ("controller",)),
    "controller_runtime_active_workers": ("gauge", ("controller",)),
    "workqueue_depth": ("gauge", QUEUE),
    "workqueue_adds_total": ("counter", QUEUE),
    "workqueue_queue_duration_seconds": ("histogram", QUEUE),
    "workqueue_work_duration_seconds": ("histogram", QUEUE),
    "workqueue_unfinished_work_seconds": ("gauge", QUEUE),
    "workqueue_longest_running_processor_seconds": ("gauge", QUEUE),
    "workqueue_retries_total": ("counter", QUEUE),
    "rest_client_requests_total": ("counter", ("code", "method", "host")),
    "rest_client_request_duration_seconds": ("histogram", ("verb", "host")),
    "leader_election_master_status": ("gauge", ("name",)),
    "tair_operator_build_info": ("gauge", ("version", "python_version")),
    "tair_operator_cloud_requests_total": ("counter", ("action", "code", "outcome")),
    "tair_operator_cloud_request_duration_seconds": ("histogram", ("action",)),
    "tair_operator_direct_connection_changes_total": ("counter", ("action", "outcome")),
    "tair_operator_direct_connection_change_duration_seconds": ("histogram", ("action",)),
    "tair_operator_unknown_outcomes_total": ("counter", ("action",)),
    "tair_operator_drift_detected_total": ("counter", ()),
    "tair_operator_drifted_resources": ("gauge", ()),
    "tair_operator_resources": ("gauge", ("state", "ready", "reason")),
    "tair_operator_oldest_unready_seconds": ("gauge", ()),
    "tair_operator_limiter_rate": ("gauge", ("region",)),
    "tair_operator_limiter_waiting": ("gauge", ("region",)),
    "tair_operator_credentials_expiry_timestamp_seconds": ("gauge", ()),
    "tair_operator_resync_floor_seconds": ("gauge", ()),
    "tair_operator_last_list_timestamp_seconds": ("gauge", ()),
    "tair_operator_event_loop_lag_seconds": ("gauge", ()),
    "tair_operator_event_loop_tasks": ("gauge", ()),
    "tair_operator_releases_held": ("gauge", ()),
    "tair_operator_access_list_valid": ("gauge", ()),
}


def test_the_names_types_and_labels_are_those_of_the_contract() -> None:
    declared = {metric.name: (metric.kind, metric.labels) for metric in metrics.catalogue}

    assert declared == CONTRACT


def test_a_scrape_tells_what_is_declared_and_nothing_else() -> None:
    make_every_series()
    families = list(parse_text(metrics.expose("")[0].decode()))
    # The parser takes _total off the name of a counter.
    told = {f"{family.name}_total" if family.type == "counter" else family.name: family for family in families}
    labels = {
        name: {label for sample in family.samples for label in sample.labels} - {"le"} for name, family in told.items()
    }

    assert {name: family.type for name, family in told.items()} == {name: kind for name, (kind, _) in CONTRACT.items()}
    assert labels == {name: set(names) for name, (_, names) in CONTRACT.items()}


def test_a_scrape_in_openmetrics_can_be_parsed_and_tells_the_same() -> None:
    make_every_series()
    text, content_type = metrics.expose("application/openmetrics-text; version=1.0.0")
    names = {sample.name for family in parse_openmetrics(text.decode()) for sample in family.samples}  # type: ignore[no-untyped-call]
    plain = {sample.name for family in parse_text(metrics.expose("")[0].decode()) for sample in family.samples}

    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert names == plain


def make_every_series() -> None:
    """Let each metric with labels have at least one series, as after some hours of work."""
    metrics.controller.count_request("GET", "10.0.0.1:443", 200, 0.1)
    metrics.controller.leader.labels("tair-operator").set(1)
    counts.count_request("DescribeInstances", 0.1, counts.OK)
    metrics.own.resources.show(lambda: {("Allocated", "True", "Allocated"): 3})
    metrics.own.limiter_rate.show(lambda: {("cn-hangzhou",): 5})
    metrics.own.limiter_waiting.show(lambda: {("cn-hangzhou",): 0})


def lint(name: str, kind: str, labels: tuple[str, ...], text: str) -> list[str]:
    """Return what promtool check metrics would complain about."""
    words = name.split("_")
    return [
        complaint
        for complaint, is_so in {
            "no help text": not text.strip(),
            "a counter has to end with _total": (kind == "counter") != name.endswith("_total"),
            "a suffix of histograms": kind != "histogram" and words[-1] in {"count", "sum", "bucket"},
            "the name has the type in it": bool({"counter", "gauge", "histogram", "summary"} & set(words)),
            "not a base unit": bool(set(words) & {"ms", "milliseconds", "minutes", "hours", "days", "kb", "percent"}),
            "an abbreviated unit": bool(set(words) & {"s", "sec", "secs", "min", "h", "b", "bytes_total"}),
            "not in snake_case": re.fullmatch(r"[a-z][a-z0-9_]*", name) is None,
            "a label that is not in snake_case": any(re.fullmatch(r"[a-z][a-z_]*", label) is None for label in labels),
            "a label that has a meaning of its own": bool({"le", "quantile", "job", "instance"} & set(labels)),
        }.items()
        if is_so
    ]


@pytest.mark.parametrize("metric", metrics.catalogue, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_promtool_asks(metric: metrics.Described) -> None:
    assert lint(*metric) == []


def test_what_is_counted_exists_from_the_start_with_nothing_in_it() -> None:
    """Otherwise the first of all would be no increase."""
    results = {labels[1] for labels in series("controller_runtime_reconcile_total")}
    ends = {Outcome.SUCCEEDED, Outcome.FAILED, Outcome.REJECTED, Outcome.NOT_SENT}

    assert results == {"success", "error", "requeue", "requeue_after"}
    assert set(series("tair_operator_direct_connection_changes_total")) == {(a, end) for a in Action for end in ends}
    assert set(series("tair_operator_unknown_outcomes_total")) == {(action,) for action in Action}
    assert set(series("controller_runtime_reconcile_errors_total")) == {("tairinstance",)}


def test_the_build_is_told() -> None:
    build = series("tair_operator_build_info")

    assert build == {(version("tair-operator"), platform.python_version()): 1}


def test_a_hostile_endpoint_makes_no_more_series_than_there_are_rows_in_the_table() -> None:
    action = Action.RELEASE
    for number in range(2000):
        counts.count_request(action, 0.1, f"Made.Up{number}", http_status=400 + number % 200)
        counts.count_request(action, 0.1, f"Throttling.Made{number}", http_status=400)
        counts.count_request(action, 0.1, f"iNvAlId{number}", http_status=400)
    for row in errors.TABLE:
        counts.count_request(action, 0.1, row.code.swapcase(), http_status=400)
    found = [labels for labels in series("tair_operator_cloud_requests_total") if labels[0] == action]

    assert {code for _, code, _ in found} <= {row.code for row in errors.TABLE} | {metrics.OTHER, "OK"}
    assert len(found) <= 2 * len(errors.TABLE) + 4
