"""One control plane for all tests of a session: starting it takes longer than most of them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.helm import Helm
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


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane) -> Iterator[Stage]:
    """Install the base, beside a simulated cloud of this module's own."""
    with Stage(control_plane) as stage:
        stage.install()
        # What other tests have left behind is about the instances of another cloud.
        stage.clear()
        yield stage


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
