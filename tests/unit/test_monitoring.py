"""What the monitoring pack names, there is: metrics, reasons, codes, fields, runbooks.

What Prometheus makes of it is in tests/cluster/test_monitoring.py.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tair_operator.aliyun import errors
from tair_operator.fleet import DELIBERATE
from tair_operator.metrics import OTHER, catalogue
from tair_operator.models import ConnectionState, Reason
from tair_operator.ports import ErrorClass

ROOT: Final = Path(__file__).parents[2]
PACK: Final = ROOT / "deploy/monitoring"
RUNBOOKS: Final = ROOT / "docs/runbooks"
URL: Final = "https://example.com/tair-operator/"
METRIC: Final = re.compile(r"\b(?:tair_operator|controller_runtime|workqueue|rest_client|leader_election)_\w+")
STALLED: Final = frozenset(
    {
        Reason.ACCESS_DENIED,
        Reason.ACCESS_NOT_ALLOWED,
        Reason.CONTESTED,
        Reason.CREDENTIALS_INVALID,
        Reason.CREDENTIALS_UNAVAILABLE,
        Reason.INSTANCE_ALREADY_MANAGED,
        Reason.INSTANCE_NOT_ELIGIBLE,
        Reason.INSTANCE_NOT_FOUND,
        Reason.INVALID_REQUEST,
        Reason.OUTCOME_UNKNOWN,
        Reason.PUBLISH_FAILED,
    }
)

Rule = dict[str, Any]


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PACK / name).read_text(encoding="utf-8"))
    return loaded


def rules() -> list[Rule]:
    return [rule for group in load("prometheusrule.yaml")["spec"]["groups"] for rule in group["rules"]]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if "alert" in rule]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PACK / "dashboard.json").read_text(encoding="utf-8"))
    return loaded


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


# --- alerts and runbooks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alert", alerts(), ids=[f"{alert['alert']}-{number}" for number, alert in enumerate(alerts())])
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_where_to_read_on(alert: Rule) -> None:
    annotations = alert["annotations"]
    page = ROOT / annotations["runbook_url"].removeprefix(URL)

    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert page == RUNBOOKS / f"{alert['alert']}.md"
    assert page.is_file()


def test_each_runbook_is_that_of_an_alert() -> None:
    assert sorted(page.stem for page in RUNBOOKS.iterdir()) == sorted({alert["alert"] for alert in alerts()})


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_what_it_costs_how_to_look_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)

    assert headings == [page.stem, "Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert "```" in text


def test_promtool_sees_each_alert_before_it_fires_firing_and_over() -> None:
    cases: dict[str, list[bool]] = {}
    for group in load("tests/alerts.yaml")["tests"]:
        name = group["name"].partition(":")[0]
        in_time = sorted(group["promql_expr_test"], key=lambda check: minutes(check["eval_time"]))
        seen = [bool(check["exp_samples"]) for check in in_time if f'"{name}"' in check["expr"]]
        cases[name] = cases.get(name, []) + seen
    healthy = cases.pop("A healthy operator with two replicas")

    assert healthy == []
    assert cases.keys() == {alert["alert"] for alert in alerts()}
    assert [name for name, seen in cases.items() if (seen[0], True in seen, seen[-1]) != (False, True, False)] == []


def minutes(time: str) -> int:
    hours, rest = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?", time).groups()  # type: ignore[union-attr]
    return int(hours or 0) * 60 + int(rest or 0)


# --- names ------------------------------------------------------------------------------------------------------------


def metric_names() -> set[str]:
    """Return the names of all series that a scrape has."""
    names = set()
    for described in catalogue:
        ends = ("_bucket", "_sum", "_count") if described.kind == "histogram" else ("",)
        names |= {described.name + end for end in ends}
    return names


def labels_of(metric: str) -> set[str]:
    found = next(each for each in catalogue if metric in {each.name, *(each.name + end for end in ("_bucket",))})
    return {*found.labels, "job", "le"}


@pytest.mark.parametrize(
    "expression", sorted({*(rule["expr"] for rule in rules()), *dashboard_queries()}), ids=map(str, itertools.count())
)
def test_a_query_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    assert set(METRIC.findall(expression)) <= metric_names()
    for metric, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        if metric != "ALERTS":
            assert set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', selector)) <= labels_of(metric)


def test_the_dashboard_shows_every_metric_that_the_operator_adds() -> None:
    shown = " ".join(dashboard_queries())

    assert [each.name for each in catalogue if each.name.startswith("tair_") and each.name not in shown] == []


def values(label: str, expression: str) -> set[str]:
    """Return what an expression compares a label with, one regular expression as its alternatives."""
    return {
        value
        for text in re.findall(rf'\b{label}(?:=~|!~|=|!=)"([^"]+)"', expression)
        for value in text.replace("[.]", ".").split("|")
    }


def test_reasons_states_and_outcomes_in_the_rules_exist() -> None:
    text = " ".join(rule["expr"] for rule in rules())

    assert values("reason", text) <= set(Reason)
    assert values("state", text) <= set(ConnectionState)
    assert values("outcome", text) == {"Succeeded", "Failed", "answered"}


def test_what_needs_a_person_and_what_goes_on_by_itself_are_told_apart() -> None:
    by_name = {rule.get("alert", rule.get("record")): rule["expr"] for rule in rules()}
    progressing = values("reason", by_name["tair_operator:resources_progressing:sum"])
    deliberate = {*DELIBERATE, Reason.APPROVAL_REQUIRED, Reason.SUSPENDED}
    fine = {"Allocated", "Released", "Observed", "EndpointMatches", "EndpointDiffers"}

    assert values("reason", by_name["TairInstanceStalled"]) == STALLED
    assert not progressing & deliberate
    assert progressing | deliberate | fine | STALLED | {"DriftDetected"} == set(Reason)


def test_the_error_budget_counts_what_the_cloud_failed_and_nothing_that_it_refused() -> None:
    by_name = {rule.get("alert", rule.get("record")): rule["expr"] for rule in rules()}
    transient = {row.code: row.reason for row in errors.TABLE if row.error_class is ErrorClass.TRANSIENT}
    throttled = {code for code, reason in transient.items() if reason is Reason.THROTTLED}
    failed = re.findall(r'code=~"([^"]+)"', by_name["tair_operator:cloud_requests_failed:ratio_rate5m"])[0]
    excluded = re.findall(r'code!~"([^"]+)"', by_name["tair_operator:cloud_requests_failed:ratio_rate5m"])[0]

    assert set(failed.replace("[.]", ".").split("|")) == {*transient.keys() - throttled - {"*"}, OTHER}
    assert {row.code for row in errors.TABLE if re.fullmatch(excluded, row.code)} == throttled
    assert f'code=~"{excluded}"' in by_name["TairCloudThrottled"]


# --- the dashboard ----------------------------------------------------------------------------------------------------


def test_the_dashboard_is_one_that_grafana_imports_again_in_its_place() -> None:
    board = dashboard()
    panels = board["panels"]
    [datasource, job] = board["templating"]["list"]

    assert (board["uid"], board["title"], "id" in board) == ("tair-operator", "Tair operator", False)
    assert (datasource["name"], datasource["type"], job["name"]) == ("datasource", "datasource", "job")
    assert len({panel["id"] for panel in panels}) == len(panels)
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == [
        "At a glance",
        "Releases and other changes",
        "Resources",
        "Calls to the cloud",
        "Queue",
        "API server",
        "Leadership and process",
        "Credentials",
    ]


@pytest.mark.parametrize(
    "panel",
    [panel for panel in dashboard()["panels"] if panel["type"] != "row"],
    ids=lambda panel: f"{panel['id']} {panel['title']}",
)
def test_a_panel_asks_the_chosen_data_source_and_stands_on_the_grid(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    place = panel["gridPos"]

    assert panel["type"] in {"timeseries", "stat"}
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [chosen] * (
        1 + len(panel["targets"])
    )
    assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    assert [
        other["title"] for other in dashboard()["panels"] if other["id"] != panel["id"] and overlap(panel, other)
    ] == []


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    a, b = one["gridPos"], other["gridPos"]
    return bool(
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )


# --- kube-state-metrics -----------------------------------------------------------------------------------------------


def ksm_paths() -> Iterator[list[str]]:
    """Yield every path that kube-state-metrics is to read, from the top of the resource."""
    [resource] = load("kube-state-metrics.yaml")["spec"]["resources"]
    yield from resource["labelsFromPath"].values()
    for metric in resource["metrics"]:
        [each] = [value for key, value in metric["each"].items() if key != "type"]
        path = each.get("path", [])
        yield path
        for inner in (*each.get("labelsFromPath", {}).values(), each.get("valueFrom", [])):
            yield [*path, *inner]


def test_kube_state_metrics_reads_fields_that_the_crd_has() -> None:
    [crd] = yaml.safe_load_all((ROOT / "crds/tairinstances.yaml").read_text(encoding="utf-8"))
    [version] = crd["spec"]["versions"]
    [resource] = load("kube-state-metrics.yaml")["spec"]["resources"]
    metadata = {"name", "namespace", "generation", "creationTimestamp", "deletionTimestamp"}
    missing = []
    for path in ksm_paths():
        schema = version["schema"]["openAPIV3Schema"]
        if path[:1] == ["metadata"]:
            missing += [path] if path[1] not in metadata else []
            continue
        for name in path:
            schema = schema.get("items", schema).get("properties", {}).get(name, {})
        missing += [path] if path and not schema else []

    assert missing == []
    assert resource["groupVersionKind"] == {
        "group": crd["spec"]["group"],
        "version": version["name"],
        "kind": crd["spec"]["names"]["kind"],
    }
    [states] = [metric["each"]["stateSet"]["list"] for metric in resource["metrics"] if "stateSet" in metric["each"]]
    assert states == list(ConnectionState)


def test_kube_state_metrics_may_read_the_resources_and_no_more() -> None:
    role, _ = yaml.safe_load_all((PACK / "kube-state-metrics-rbac.yaml").read_text(encoding="utf-8"))

    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["tairinstances"], ["list", "watch"]),
        (["customresourcedefinitions"], ["list", "watch"]),
    ]
