"""The scripts for Argo CD in a real Lua 5.1, and what the examples of the GitOps pack promise."""

from typing import Any

import pytest
import yaml
from lupa import lua51

from tests.gitops.cases import CASES, ROOT, WAITS, Fixture
from tests.gitops.pack import ACTIONS, ARGO, DISCOVERY, HEALTH, PACK, SCRIPTS, manifests, operator_values
from tests.kstatus import verdict


def run(script: str, resource: Fixture) -> Any:  # noqa: ANN401
    """Run a script as Argo CD does: with ``obj``, and without the libraries that it withholds."""
    lua = lua51.LuaRuntime(unpack_returned_tuples=True)
    shown: Any = lua.globals()
    shown["obj"] = lua.table_from(resource, recursive=True)
    for withheld in ("io", "string", "math", "debug", "python"):
        shown[withheld] = None
    return plain(lua.execute(script))


def plain(value: Any) -> Any:  # noqa: ANN401
    if lua51.lua_type(value) != "table":
        return value
    return {key: plain(item) for key, item in value.items()}


@pytest.mark.parametrize("name", CASES)
def test_lua_sees_the_health_and_offers_the_actions_of_the_table(name: str) -> None:
    resource, expected = CASES[name]
    offers = {action for action, shown in run(DISCOVERY, resource).items() if not shown["disabled"]}

    assert offers == expected.offers
    # Argo CD does not ask about a deletion; here the script answers what was true before.
    if "deletionTimestamp" not in resource["metadata"]:
        assert run(HEALTH, resource)["status"] == expected.argo


@pytest.mark.parametrize("name", CASES)
def test_kstatus_says_what_the_table_says(name: str) -> None:
    resource, expected = CASES[name]

    assert verdict(resource) is expected.kstatus


def test_the_message_is_the_one_of_the_condition() -> None:
    assert "approve-release=" in run(HEALTH, WAITS)["message"]


def test_the_offer_names_the_plan() -> None:
    assert WAITS["status"]["plan"]["id"] in run(DISCOVERY, WAITS)["approve"]["displayName"]


@pytest.mark.parametrize(
    "withheld", [{"status": {"plan": {}}}, {"spec": {"suspend": True}}, {"metadata": {"generation": 9}}]
)
def test_nothing_is_approved_that_is_not_what_the_status_shows(withheld: dict[str, Fixture]) -> None:
    resource = {name: part | withheld.get(name, {}) if isinstance(part, dict) else part for name, part in WAITS.items()}

    with pytest.raises(lua51.LuaError, match=r"no release waits|older version|is suspended"):
        run(SCRIPTS["approve"], resource)


# --- What is copied from it ---


def argocd_cm() -> dict[str, str]:
    [found] = manifests(ARGO / "argocd-cm.yaml")
    data: dict[str, str] = found["data"]
    return data


def test_the_config_map_has_the_scripts() -> None:
    data = argocd_cm()
    actions = yaml.safe_load(data["resource.customizations.actions.tair.alibabacloud.com_TairInstance"])

    assert data["resource.customizations.health.tair.alibabacloud.com_TairInstance"] == HEALTH
    assert actions["discovery.lua"] == DISCOVERY
    assert {each["name"]: each["action.lua"] for each in actions["definitions"]} == SCRIPTS
    assert sorted(path.parent.name for path in ARGO.glob("actions/*/action.lua")) == sorted(ACTIONS)


def applications() -> list[dict[str, Any]]:
    [generated] = manifests(ARGO / "applicationset.yaml")
    return [*manifests(ARGO / "application.yaml"), generated["spec"]["template"]]


def test_definition_operator_and_resources_come_in_that_order() -> None:
    waves = {
        one["metadata"]["name"]: int(one["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for one in manifests(ARGO / "application.yaml")
    }

    assert waves == {"tair-definition": -2, "tair-operator": -1, "tair-instances-shop": 0}


def test_both_tools_install_the_same_operator_with_the_access_list_of_a_first_install() -> None:
    argocd, flux = operator_values().values()
    example = yaml.safe_load((ROOT / "examples/access-first-install.yaml").read_text())

    # Argo CD applies the CRD before, in a wave of its own.
    assert argocd == flux | {"crds": {"enabled": False}}
    assert flux["access"]["rules"] == example["rules"]


def test_no_example_deletes_a_resource_without_a_person() -> None:
    for one in applications():
        confirms = one["spec"]["source"].get("kustomize", {}).get("commonAnnotations", {})
        assert not one["spec"]["syncPolicy"]["automated"]["prune"] or confirms == {
            "argocd.argoproj.io/sync-options": "Prune=confirm,Delete=confirm"
        }
        assert "finalizers" not in one["metadata"]


def test_no_example_replaces_or_ignores_what_the_manifest_says() -> None:
    for one in applications():
        assert "Replace=true" not in one["spec"]["syncPolicy"]["syncOptions"]
        assert "ServerSideApply=true" in one["spec"]["syncPolicy"]["syncOptions"]
        assert "ignoreDifferences" not in one["spec"]


def test_flux_prunes_no_resource_by_itself() -> None:
    [kustomization] = [one for one in manifests(PACK / "flux/instances.yaml") if "patches" in one["spec"]]
    [patch] = kustomization["spec"]["patches"]
    annotations = yaml.safe_load(patch["patch"])["metadata"]["annotations"]

    assert annotations == {"kustomize.toolkit.fluxcd.io/prune": "disabled"}
    assert patch["target"] == {"group": "tair.alibabacloud.com", "kind": "TairInstance"}
    assert kustomization["spec"]["wait"] is True
    assert kustomization["spec"]["dependsOn"] == [{"name": "tair-operator", "namespace": "flux-system"}]
