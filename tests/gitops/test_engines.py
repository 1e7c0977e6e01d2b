"""The table of verdicts against kstatus, the evaluator of Flux and the Lua of Argo CD themselves."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gitops.cases import CASES, SUSPENDED, WAITS, Expected, Fixture
from tests.gitops.pack import DISCOVERY, HEALTH, PACK, SCRIPTS, act, ask, flux_expressions, manifests
from tests.kstatus import verdict

# The first question may have to wait until the program is built.
pytestmark = pytest.mark.timeout(600)

APPROVE = "tair.alibabacloud.com/approve-release"
RECONCILE = "tair.alibabacloud.com/reconcile-requested-at"


@pytest.fixture(scope="module")
def verdicts() -> dict[str, dict[str, Any]]:
    resources = [resource for resource, _ in CASES.values()]
    asked = {"healthCheckExprs": flux_expressions(), "health": HEALTH, "discovery": DISCOVERY}
    return dict(zip(CASES, ask(resources, **asked)["verdicts"], strict=True))


@pytest.mark.parametrize("name", CASES)
def test_each_tool_says_what_the_table_says(verdicts: dict[str, dict[str, Any]], name: str) -> None:
    found, (_, expected) = verdicts[name], CASES[name]
    offers = frozenset(action for action, shown in found["offered"].items() if not shown["disabled"])

    assert Expected(found["kstatus"], found["argo"]["status"], found["flux"], offers) == Expected(
        expected.kstatus, expected.argo, expected.flux or expected.kstatus, expected.offers
    )


CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "Reconciling", "Stalled", "Suspended", "EndpointMatches"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
            "observedGeneration": st.integers(1, 2),
            "reason": st.just("R"),
        }
    ),
    max_size=4,
)
RESOURCES = st.builds(
    lambda metadata, status: {"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x", **metadata}} | status,
    st.fixed_dictionaries(
        {}, optional={"generation": st.integers(1, 2), "deletionTimestamp": st.just("2026-01-01T00:00:00Z")}
    ),
    st.one_of(
        st.just({}),
        st.fixed_dictionaries(
            {
                "status": st.fixed_dictionaries(
                    {}, optional={"observedGeneration": st.integers(-1, 2), "conditions": CONDITIONS}
                )
            }
        ),
    ),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(RESOURCES, min_size=30, max_size=60))
def test_our_port_of_kstatus_is_of_one_mind_with_kstatus(resources: list[Fixture]) -> None:
    found = [judged["kstatus"] for judged in ask(resources)["verdicts"]]

    assert found == [verdict(resource) for resource in resources]


@pytest.mark.parametrize("path", sorted((PACK / "flux").glob("*.yaml")), ids=lambda path: path.name)
def test_flux_knows_every_field_of_our_examples(path: Any) -> None:  # noqa: ANN401
    written = manifests(path)

    assert ask(manifests=written)["mistakes"] == [""] * len(written)


def test_a_field_that_flux_does_not_know_is_noticed() -> None:
    [right] = [one for one in manifests(PACK / "flux/operator.yaml") if one["kind"] == "HelmRelease"]
    wrong = right | {"spec": right["spec"] | {"dependOn": []}}

    assert 'unknown field "spec.dependOn"' in ask(manifests=[wrong])["mistakes"][0]


@pytest.mark.parametrize(
    ("action", "resource", "patch"),
    [
        ("approve", WAITS, {"metadata": {"annotations": {APPROVE: WAITS["status"]["plan"]["id"]}}}),
        ("suspend", WAITS, {"spec": {"suspend": True}}),
        ("resume", SUSPENDED, {"spec": {"suspend": None}}),
    ],
)
def test_an_action_changes_one_thing(action: str, resource: Fixture, patch: Fixture) -> None:
    assert act(resource, action) == {"patch": patch}


def test_a_request_to_look_again_is_a_new_time() -> None:
    patch = act(WAITS, "reconcile")["patch"]
    [(name, value)] = patch["metadata"].pop("annotations").items()

    assert (name, patch) == (RECONCILE, {"metadata": {}})
    assert value > WAITS["status"]["plan"]["expiresAt"]


def test_an_empty_object_stays_one() -> None:
    """Lua cannot tell it from an empty list, and Argo CD puts it right."""
    resource = WAITS | {"spec": WAITS["spec"] | {"publish": {}}}

    assert act(resource, "suspend") == {"patch": {"spec": {"suspend": True}}}


@pytest.mark.parametrize("name", [name for name, (_, expected) in CASES.items() if "approve" not in expected.offers])
def test_approving_is_refused_wherever_it_is_not_offered(name: str) -> None:
    """The button is only drawn by discovery: whoever calls the API of Argo CD passes it by."""
    resource, _ = CASES[name]

    assert set(ask([resource], actions={"approve": SCRIPTS["approve"]})["verdicts"][0]["results"]["approve"]) == {
        "refused"
    }
