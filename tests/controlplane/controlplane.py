"""One etcd and one kube-apiserver in a temporary folder, as a context manager.

``with ControlPlane() as plane:`` takes two to four seconds. Everything listens on the
loopback address or on unix sockets, everything is deleted at the end, and the
processes die with the one that started them. Programs under test should not use
``plane.kubeconfig``, which may do everything, but ``plane.kubeconfig_for(…)``, which
may do what the RBAC of that ServiceAccount allows.
"""

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

from tests.controlplane.binaries import Binaries, find_binaries
from tests.controlplane.certificates import Certificates, write_certificates
from tests.controlplane.processes import end_process, start_process

_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_PORT_ATTEMPTS: Final = 3
_LINES_SHOWN: Final = 20
# A unix socket's path may have 108 bytes, and macOS has long names for temporary folders.
_LONGEST_TEMPORARY_FOLDER: Final = 60


class ControlPlaneError(Exception):
    """The control plane does not run; the message has the end of the log that says why."""


class KubectlError(Exception):
    """kubectl failed; `stderr` is what it said."""

    def __init__(self, command: str, returncode: int, stderr: str) -> None:
        super().__init__(f"{command} ended with {returncode}: {stderr.strip()}")
        self.returncode = returncode
        self.stderr = stderr


class ControlPlane:
    """A Kubernetes API of one's own, from ``start`` to ``stop``.

    `folder` holds the logs (``etcd.log``, ``kube-apiserver.log``), the data and the kubeconfigs; `keep` leaves it in
    place afterwards. `audited` is a user, such as ``system:serviceaccount:NAMESPACE:NAME``, whose requests are kept for
    `audit`.
    """

    def __init__(self, *, keep: bool = False, audited: str | None = None) -> None:
        self._keep = keep
        self._audited = audited
        self._binaries: Binaries
        self._certificates: Certificates
        self._token = secrets.token_urlsafe(32)
        self._port = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._former_handler: Any = None
        self.folder: Path

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start both processes and return once the API server is ready; raises `ControlPlaneError`."""
        self._binaries = find_binaries()
        self.folder = _make_folder()
        try:
            self._end_in_order_on_sigterm()
            self._certificates = write_certificates(self.folder)
            _write_private(self.folder / "tokens.csv", f'{self._token},admin,admin,"system:masters"\n')
            self._write_audit_policy()
            self._start_etcd()
            self.start_api_server()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the processes and delete the folder; does nothing the second time."""
        # In this order, or the API server fills its log with complaints.
        for name in ("kube-apiserver", "etcd"):
            if process := self._processes.pop(name, None):
                end_process(process)
        if self._former_handler is not None:
            signal.signal(signal.SIGTERM, self._former_handler)
            self._former_handler = None
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start_api_server(self) -> None:
        """Start the API server, on the port it had before if there was one, and wait until it is ready."""
        for attempt in range(_PORT_ATTEMPTS):
            port = self._port or _free_port()
            self._launch("kube-apiserver", *self._api_server_command(port))
            try:
                self._wait_until_ready(port)
            except ControlPlaneError as error:
                self.stop_api_server()
                # Between asking for a free port and using it, somebody else may have taken it.
                if "address already in use" not in str(error) or attempt == _PORT_ATTEMPTS - 1:
                    raise
                continue
            self._port = port
            self._write_kubeconfig(self.kubeconfig, "admin", self._token)
            return

    def stop_api_server(self) -> None:
        """Kill the API server, as an outage does; its data stays for `start_api_server`."""
        if process := self._processes.pop("kube-apiserver", None):
            end_process(process)

    def save(self) -> Path:
        """Take a backup of what etcd has, with both processes down for a moment, and return it for `restore`."""
        copy = Path(tempfile.mkdtemp(prefix="backup-", dir=self.folder)) / "etcd"
        self._restart_etcd(lambda: shutil.copytree(self.folder / "etcd", copy))
        return copy

    def restore(self, backup: Path) -> None:
        """Put a backup in the place of what etcd has: for everybody, time goes back."""

        def replace() -> None:
            shutil.rmtree(self.folder / "etcd")
            shutil.copytree(backup, self.folder / "etcd")

        self._restart_etcd(replace)

    # --- what its users need ------------------------------------------------------------------------------------------

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca_file(self) -> Path:
        """The certificate to verify the API server with."""
        return self._certificates.ca

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator (group system:masters)."""
        return self.folder / "admin.kubeconfig"

    @property
    def kubectl_program(self) -> Path:
        """The kubectl of the same version."""
        return self._binaries.kubectl

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by program name."""
        return {name: process.pid for name, process in self._processes.items()}

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl, as the administrator unless told otherwise, and return its output; raises `KubectlError`."""
        options = ("--kubeconfig", kubeconfig or self.kubeconfig, "--cache-dir", self.folder / "kubectl-cache")
        result = subprocess.run(
            [self._binaries.kubectl, *options, *arguments],
            input=stdin or "",
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=120,
            env={**os.environ, "KUBERC": "off"},
        )
        if result.returncode != 0:
            raise KubectlError(" ".join(["kubectl", *map(str, arguments)]), result.returncode, result.stderr)
        return result.stdout

    def kubectl_json(self, *arguments: str | Path, stdin: str | None = None, kubeconfig: Path | None = None) -> Any:  # noqa: ANN401
        """Run kubectl with ``-o json`` and return what it printed, parsed."""
        return json.loads(self.kubectl(*arguments, "-o", "json", stdin=stdin, kubeconfig=kubeconfig))

    def read(self, path: str) -> Any:  # noqa: ANN401
        """Return the object at a path of the API, None where there is none; raises `ControlPlaneError`.

        For whoever asks again and again: each kubectl takes a tenth of a second of CPU time.
        """
        status, body = self._ask(self._port, path)
        if status == HTTPStatus.NOT_FOUND and '"reason":"NotFound"' in body:
            return None
        if status != HTTPStatus.OK:
            raise ControlPlaneError(f"GET {path}: {status} {body}")
        return json.loads(body)

    def apply(self, manifest: Path | str) -> str:
        """Apply a file, a folder, a kustomization or manifests as text, server-side."""
        apply = ("apply", "--server-side", "--force-conflicts")
        if isinstance(manifest, str):
            return self.kubectl(*apply, "-f", "-", stdin=manifest)
        return self.kubectl(*apply, "-k" if (manifest / "kustomization.yaml").exists() else "-f", manifest)

    def wait_established(self, crd: str, *, seconds: float = 30) -> None:
        """Wait until the resources of a CustomResourceDefinition, named ``plural.group``, can be read."""
        self.kubectl("wait", "--for=condition=Established", f"crd/{crd}", f"--timeout={seconds:.0f}s")
        deadline = time.monotonic() + seconds
        while True:  # the condition comes a moment before the server answers
            try:
                self.kubectl("get", crd, "--all-namespaces")
            except KubectlError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def audit(self) -> list[dict[str, Any]]:
        """Return what the audited user has asked the API server so far, as Events of ``audit.k8s.io/v1``."""
        lines = (self.folder / "audit.log").read_text(encoding="utf-8").splitlines(keepends=True)
        # The last one may be half written.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def kubeconfig_for(self, service_account: str, namespace: str, *, duration: str = "1h") -> Path:
        """Write a kubeconfig with a token of that ServiceAccount, which must exist, and return its path."""
        token = self.kubectl("create", "token", service_account, "--namespace", namespace, "--duration", duration)
        path = self.folder / f"{namespace}.{service_account}.kubeconfig"
        self._write_kubeconfig(path, service_account, token.strip(), namespace)
        return path

    # --- how it is done -----------------------------------------------------------------------------------------------

    def _restart_etcd(self, meanwhile: Callable[[], object]) -> None:
        self.stop_api_server()
        end_process(self._processes.pop("etcd"))
        meanwhile()
        self._start_etcd()
        self.start_api_server()

    def _start_etcd(self) -> None:
        client, peer = f"unix://{self._etcd_socket}", f"unix://{self.folder / 'peer.sock'}"
        self._launch(
            "etcd",
            self._binaries.etcd,
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _api_server_command(self, port: int) -> list[str | Path]:
        files = self._certificates
        return [
            self._binaries.kube_apiserver,
            f"--etcd-servers=unix://{self._etcd_socket}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--tls-cert-file={files.certificate}",
            f"--tls-private-key-file={files.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.service_account_key}",
            f"--service-account-signing-key-file={files.service_account_key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
            # As on every cluster, so that Pod Security Standards are what refuses a privileged Pod.
            "--allow-privileged=true",
            *self._audit_options(),
        ]

    def _audit_options(self) -> list[str]:
        if self._audited is None:
            return []
        return [
            f"--audit-policy-file={self.folder / 'audit-policy.json'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
            # Once the answer is there, its line is too.
            "--audit-log-mode=blocking",
        ]

    def _write_audit_policy(self) -> None:
        rules = [{"level": "Metadata", "users": [self._audited]}, {"level": "None"}]
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
        _write_private(self.folder / "audit-policy.json", json.dumps(policy))

    @property
    def _etcd_socket(self) -> Path:
        return self.folder / "etcd.sock"

    def _launch(self, name: str, *command: str | Path) -> None:
        with self._log(name).open("wb") as log:
            self._processes[name] = start_process(command, cwd=self.folder, stdout=log, stderr=log)

    def _wait_until_ready(self, port: int) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        answer = "no answer"
        while time.monotonic() < deadline:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise ControlPlaneError(f"{name} ended with {process.returncode}.\n{self._tail(name)}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                _, answer = self._ask(port, "/readyz")
                if answer == "ok":
                    return
            time.sleep(_POLL_SECONDS)
        raise ControlPlaneError(
            f"kube-apiserver was not ready after {_READY_SECONDS:.0f} s; /readyz says:\n{answer}\n"
            f"{self._tail('etcd')}\n{self._tail('kube-apiserver')}"
        )

    def _ask(self, port: int | None, path: str) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").splitlines()[-_LINES_SHOWN:]
        return f"The end of {name}.log:\n" + "\n".join(f"    {line}" for line in lines)

    def _write_kubeconfig(self, path: Path, user: str, token: str, namespace: str = "default") -> None:
        cluster = {"server": self.server, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": user, "context": {"cluster": "local", "user": user, "namespace": namespace}}],
            "current-context": user,
        }
        _write_private(path, json.dumps(config, indent=2) + "\n")  # JSON is YAML

    def _end_in_order_on_sigterm(self) -> None:
        """Let SIGTERM end this process as Ctrl-C does, so that the folder is deleted, unless somebody handles it."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._former_handler = signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _make_folder() -> Path:
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_TEMPORARY_FOLDER and sys.platform != "win32":
        parent = "/tmp"
    return Path(tempfile.mkdtemp(prefix="tair-control-plane-", dir=parent))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
