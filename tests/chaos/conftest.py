"""One control plane for the tests here, and a simulated cloud that speaks TLS for each module."""

from collections.abc import Iterator

import pytest

from tests.chaos.scenes import tls_stage
from tests.cluster.watching import Judge
from tests.controlplane import ControlPlane
from tests.stage import Stage


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver once; a test uses a Namespace of its own."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane) -> Iterator[Stage]:
    """Install the operator, beside a simulated cloud of this module's own."""
    with tls_stage(control_plane) as stage:
        stage.install()
        # What other tests have left behind is about the instances of another cloud.
        stage.clear()
        yield stage


@pytest.fixture(scope="module")
def module_judge(stage: Stage) -> Iterator[Judge]:
    """Judge every version of every status."""
    with Judge(stage.plane, stage.simulator, stage.folder) as judge:
        yield judge


@pytest.fixture
def judge(stage: Stage, module_judge: Judge) -> Iterator[Judge]:
    """Fail the test when a status was wrong at any moment."""
    yield module_judge
    module_judge.catch_up()
    problems = module_judge.take_problems()
    stage.clear()
    module_judge.namespaces.clear()
    assert problems == []
