"""One control plane for all tests of a session: starting it takes longer than most of them.

``TAIR_TEST_INSTALL`` says what the operator under test is installed by: the kustomize
base when absent, else the chart, for the whole cluster (``chart``) or for the
namespaces of the tests only (``namespaced``). Its permissions come from there.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.helm import NAMESPACE, Helm
from tests.cluster.tenants import namespaces, upcoming_namespaces
from tests.controlplane import BinariesError, ChartTools, ControlPlane, find_binaries, find_chart_tools
from tests.stage import Stage


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the binaries before the first test: it may take minutes, and its progress should be seen."""
    here = Path(__file__).parent
    if session.config.option.collectonly or not any(here in item.path.parents for item in session.items):
        return
    capture: Any = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            find_binaries()
        except BinariesError as error:
            pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver once; a test uses a Namespace of its own."""
    with ControlPlane() as plane:
        yield plane


INSTALL = os.environ.get("TAIR_TEST_INSTALL", "kustomize")
INSTALLS = ("kustomize", "chart", "namespaced")
# Left out where something else than the base is installed, and why. Applied to the same API server, the base would
# grant everywhere what another installation leaves out.
LEFT_OUT = {
    "test_admission.py": "applies the base, for the policies beside it",
    "test_control_plane.py": "is about the API server",
    "test_crd.py": "is about the definition",
    "test_demo.py": "shows the base",
    "test_deploy.py": "is about the base",
    "test_examples.py": "is about manifests",
    "test_helm.py": "is about the chart",
    "test_helm_and_kustomize.py": "is about both",
    "test_helm_install.py": "installs the chart itself",
    "test_rbac_usage.py": "installs the chart itself, in both scopes",
    "test_tenancy_rbac.py": "applies the base, for the components beside it",
    "test_no_secret_is_ever_spoken": "installs the base, with another seed",
}
NOT_NAMESPACED = {
    # Holds back the watch of the whole cluster.
    "test_the_intent_of_a_stale_view_is_refused_and_nothing_is_called",
    # Their namespaces are their own, and not known when the operator starts.
    "test_a_burst_of_throttling_over_twenty_resources_ends_with_bounded_calls",
    "test_a_deletion_does_not_release_what_another_manifest_claims_whoever_that_is",
    "test_a_fleet_flip_releases_as_many_as_the_budget_holds",
    "test_a_look_that_cannot_be_read_is_no_release",
    "test_a_poisoned_resource_does_not_slow_the_others",
    "test_an_answer_that_was_lost_after_the_effect_is_observed_and_not_resent",
    "test_two_operators_by_mistake_make_one_call_for_each_change",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another installation than that of the base cannot run."""
    if INSTALL not in INSTALLS:
        raise pytest.UsageError(f"TAIR_TEST_INSTALL must be one of {', '.join(INSTALLS)}")
    left_out = {
        "kustomize": set[str](),
        "chart": set(LEFT_OUT),
        "namespaced": LEFT_OUT.keys() | NOT_NAMESPACED,
    }[INSTALL]
    dropped = [item for item in items if {item.path.name, item.name} & left_out]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Install the operator, beside a simulated cloud of this module's own."""
    with Stage(control_plane) as stage:
        if INSTALL == "kustomize":
            stage.install()
        else:
            install_chart(stage, request.getfixturevalue("helm"))
        # What other tests have left behind is about the instances of another cloud.
        stage.clear()
        yield stage


def install_chart(stage: Stage, helm: Helm) -> None:
    """Install what the chart renders, for the whole cluster or for the namespaces of this module's tenants."""
    watched = upcoming_namespaces() if INSTALL == "namespaced" else []
    stage.plane.apply(namespaces(NAMESPACE, *watched))
    stage.settings = {"TAIR_OPERATOR_WATCH_NAMESPACES": ",".join(watched)} if watched else {}
    manifests = helm.render("--set-json", json.dumps({"watchNamespaces": watched}))
    stage.install(yaml.safe_dump_all(each for each in manifests if each["kind"] != "Pod"))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Make a folder whose path leaves room for that of a unix socket, which pytest's ``tmp_path`` does not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def tools() -> ChartTools:
    """Find or build what the tests of the chart run."""
    return find_chart_tools()


@pytest.fixture(scope="session")
def helm(tools: ChartTools, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Be Helm without a cluster: all that lint and template need."""
    return Helm(tools.helm, tmp_path_factory.mktemp("helm"))
