"""One control plane for the tests here, and one simulated cloud that speaks TLS."""

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


@pytest.fixture(scope="session")
def stage(control_plane: ControlPlane) -> Iterator[Stage]:
    """Install the operator, beside the simulated cloud; a test uses instances of its own."""
    with tls_stage(control_plane) as stage:
        stage.install()
        yield stage


@pytest.fixture(scope="session")
def session_judge(stage: Stage) -> Iterator[Judge]:
    """Judge every version of every status."""
    with Judge(stage.plane, stage.simulator, stage.folder) as judge:
        yield judge


@pytest.fixture
def judge(stage: Stage, session_judge: Judge) -> Iterator[Judge]:
    """Fail the test when a status was wrong at any moment."""
    yield session_judge
    session_judge.catch_up()
    problems = session_judge.take_problems()
    stage.simulator.clear_faults()
    stage.clear()
    session_judge.namespaces.clear()
    assert problems == []
