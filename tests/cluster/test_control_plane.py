"""The local control plane is what it says: a real API server, with real access rules, that leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from tests.controlplane import BinariesError, ControlPlane, KubectlError, binaries, find_binaries

ROOT = Path(__file__).resolve().parents[2]
READER = """
apiVersion: v1
kind: Namespace
metadata: {name: reading}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: reading}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: reading}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: reading}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: reading}]
"""
RESTRICTED = """
apiVersion: v1
kind: Namespace
metadata: {name: restricted, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: restricted}
"""
PRIVILEGED_POD = """
apiVersion: v1
kind: Pod
metadata: {name: privileged, namespace: restricted}
spec: {containers: [{name: it, image: it, securityContext: {privileged: true}}]}
"""
WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""


def test_server_is_the_version_that_go_mod_names(control_plane: ControlPlane) -> None:
    version = control_plane.kubectl_json("version")

    assert version["serverVersion"]["gitVersion"] == binaries.kubernetes_version()
    assert version["clientVersion"]["gitVersion"] == binaries.kubernetes_version()


def test_service_account_may_do_what_its_role_says_and_no_more(control_plane: ControlPlane) -> None:
    control_plane.apply(READER)
    kubeconfig = control_plane.kubeconfig_for("reader", "reading")

    assert control_plane.kubectl("auth", "can-i", "get", "configmaps", kubeconfig=kubeconfig) == "yes\n"
    for verb, resource in (("create", "configmaps"), ("get", "secrets"), ("list", "namespaces")):
        with pytest.raises(KubectlError) as refusal:
            control_plane.kubectl("auth", "can-i", verb, resource, kubeconfig=kubeconfig)
        assert refusal.value.returncode == 1
    with pytest.raises(KubectlError, match=r'User "system:serviceaccount:reading:reader" cannot list .* "secrets"'):
        control_plane.kubectl("get", "secrets", kubeconfig=kubeconfig)


def test_pod_security_admission_refuses_what_restricted_forbids(control_plane: ControlPlane) -> None:
    control_plane.apply(RESTRICTED)

    with pytest.raises(KubectlError, match='violates PodSecurity "restricted'):
        control_plane.apply(PRIVILEGED_POD)


def test_resources_of_an_established_definition_can_be_read(control_plane: ControlPlane) -> None:
    control_plane.apply(WIDGETS)
    control_plane.wait_established("widgets.example.com")

    assert control_plane.kubectl_json("get", "widgets", "-A")["items"] == []


def test_data_and_address_survive_an_outage_of_the_api_server() -> None:
    with ControlPlane() as plane:
        server = plane.server
        plane.kubectl("create", "namespace", "lasting")
        plane.stop_api_server()
        with pytest.raises(KubectlError):
            plane.kubectl("get", "namespaces")
        plane.start_api_server()

        assert plane.server == server
        assert plane.kubectl_json("get", "namespace", "lasting")["metadata"]["name"] == "lasting"


def test_nothing_is_left_after_the_end() -> None:
    with ControlPlane() as plane:
        pids = plane.pids
        folder = plane.folder
        kubeconfig_mode = plane.kubeconfig.stat().st_mode & 0o777

    assert sorted(pids) == ["etcd", "kube-apiserver"]
    assert kubeconfig_mode == 0o600
    assert [name for name, pid in pids.items() if is_alive(pid)] == []
    assert not folder.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(how: signal.Signals, short_folder: Path) -> None:
    if how is signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent was killed")
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.controlplane"],
        cwd=ROOT,
        # Without coverage, which would handle SIGTERM before the control plane can.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        | {"TMPDIR": str(short_folder)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with started:
        assert started.stdout
        output = read_until_ready(started.stdout)
        children = children_of(started.pid)
        started.send_signal(how)
        started.wait(timeout=30)

    assert f"export KUBECONFIG={short_folder}/" in output
    assert len(children) == 2
    wait_until(lambda: not any(map(is_alive, children)))
    # Nobody is left to delete the folder of a process that was killed.
    assert len(list(short_folder.iterdir())) == (1 if how is signal.SIGKILL else 0)


def test_missing_binary_in_kubebuilder_assets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "etcd", "exit 0")
    program(tmp_path / "kubectl", "exit 0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    with pytest.raises(BinariesError) as error:
        find_binaries()

    assert str(error.value) == (
        f"KUBEBUILDER_ASSETS is {tmp_path}, and there is no executable kube-apiserver in it.\n"
        "Put etcd, kube-apiserver, kubectl there (setup-envtest does), or unset KUBEBUILDER_ASSETS to have them built."
    )


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take away the binaries, and put a folder for a fake compiler first on PATH."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


FAKE_VERSION = 'test "$1" = version && { echo "go version go1.99.0 linux/amd64"; exit 0; }\n'


def test_failing_build_shows_what_the_compiler_said(empty_cache: Path) -> None:
    program(empty_cache / "go", FAKE_VERSION + "echo 'main.go:7:2: undefined: etcdmain' >&2; exit 3")

    with pytest.raises(BinariesError) as error:
        find_binaries()

    assert re.sub(r"after \d+ s", "after 0 s", str(error.value)) == (
        "etcd did not compile: go ended with 3 after 0 s.\n"
        "    main.go:7:2: undefined: etcdmain\n"
        "Or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kubectl.\n"
        f"The command was, in tests/controlplane/go/etcd: {empty_cache / 'go'} build -mod=readonly -trimpath … ."
    )
    assert list(binaries.cache_folder().iterdir()) == []


def test_full_disk_and_missing_network_have_their_own_advice(empty_cache: Path) -> None:
    program(empty_cache / "go", FAKE_VERSION + "echo 'write x: no space left on device' >&2; exit 1")
    with pytest.raises(BinariesError, match="Free about 5 GiB"):
        find_binaries()
    program(empty_cache / "go", FAKE_VERSION + "echo 'dial tcp 192.0.2.1:443: i/o timeout' >&2; exit 1")
    with pytest.raises(BinariesError, match="Look at the network and GOPROXY"):
        find_binaries()


def test_interrupted_build_goes_on_where_it_was(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binaries, "_SIGN_OF_LIFE_SECONDS", 0.1)
    # The fake compiler writes "$7", which follows -o.
    program(empty_cache / "go", FAKE_VERSION + 'case "$7" in */kubectl) exit 1;; *) echo "$7" > "$7"; sleep 0.3;; esac')
    with pytest.raises(BinariesError, match="kubectl did not compile"):
        find_binaries()
    first = capfd.readouterr().err
    program(empty_cache / "go", FAKE_VERSION + 'echo "$7" > "$7"')
    found = find_binaries()
    second = capfd.readouterr().err

    assert "etcd (1/3): compiling, 0 s" in first
    assert "kube-apiserver (2/3): done in 0 s" in first
    assert "kubectl (1/1): done in 0 s" in second
    assert "etcd (" not in second
    assert found.etcd == binaries.cache_folder() / "etcd"
    assert sorted(path.name for path in binaries.cache_folder().iterdir()) == ["etcd", "kube-apiserver", "kubectl"]


def test_two_processes_do_not_build_at_the_same_time(empty_cache: Path) -> None:
    builds = empty_cache / "builds"
    program(empty_cache / "go", FAKE_VERSION + f'echo "$7" >> {builds}; sleep 0.5; echo "$7" > "$7"')
    command = [sys.executable, "-c", "from tests.controlplane import find_binaries; find_binaries()"]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert len(builds.read_text().splitlines()) == 3
    assert sum("another process is building" in text for text in said) == 1


def test_old_go_is_replaced_by_the_pinned_one(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(target: Path, requirements: Path) -> list[str]:
        asked.append(requirements.name)
        script = f"import pathlib as p; g = p.Path({str(target / 'go/bin/go')!r}); g.parent.mkdir(parents=True)"
        return [sys.executable, "-c", script + f"; g.write_text({source!r}); g.chmod(0o755)"]

    asked: list[str] = []
    source = '#!/bin/sh\necho "$7" > "$7"\n'
    program(empty_cache / "go", 'echo "go version go1.21.4 linux/amd64"')
    monkeypatch.setattr(binaries, "_install_command", install)

    assert find_binaries().kubectl == binaries.cache_folder() / "kubectl"
    assert asked == ["go.txt"]


def program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that ended and that nobody has waited for is not alive either.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def read_until_ready(stream: IO[str]) -> str:
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith("export KUBECONFIG="):
            break
    return "".join(lines)


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in listed.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
