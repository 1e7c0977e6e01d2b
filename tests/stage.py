"""The whole stage: a real API server, the simulated cloud, and the operator as a process of its own.

The demo, the tests against a real API server and the benchmarks stand on it. The
operator runs under the ServiceAccount and RBAC that ``deploy/kustomize/base``
ships, never as an administrator.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.controlplane import ControlPlane
from tests.controlplane.processes import end_process, start_process

ROOT: Final = Path(__file__).parent.parent
BASE: Final = ROOT / "deploy" / "kustomize" / "base"
SEED: Final = ROOT / "examples" / "simulator" / "seed.yaml"
CRD: Final = "tairinstances.tair.alibabacloud.com"
KEY_ID, KEY_SECRET = "demoAccessKeyId", "demoAccessKeySecret"
START_SECONDS: Final = 30.0
# All of it is on this machine: a proxy in the environment is meant for others.
_NO_PROXY: Final = urllib.request.ProxyHandler({})
_DIRECT: Final = urllib.request.build_opener(_NO_PROXY)


class StageError(Exception):
    """A process did not start or did not end; the message has the end of its log."""


@dataclass
class Simulator(AbstractContextManager["Simulator"]):
    """The simulated cloud in a process of its own."""

    folder: Path
    seed: Path = SEED
    command: list[str] = field(default_factory=lambda: [sys.executable, "-P", "-m", "tair_simulator"])
    tls: tuple[Path, Path] | None = None
    """Certificate and key: it then speaks https, and whoever calls it has to trust the certificate."""
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _opener: urllib.request.OpenerDirector = field(init=False)

    def __enter__(self) -> Self:
        """Start it and wait for its address."""
        command = [*self.command, "--host", "127.0.0.1", "--port", "0"]
        self._opener = _DIRECT
        if self.tls is not None:
            command += ["--tls-cert", str(self.tls[0]), "--tls-key", str(self.tls[1])]
            trust = ssl.create_default_context(cafile=self.tls[0])
            self._opener = urllib.request.build_opener(_NO_PROXY, urllib.request.HTTPSHandler(context=trust))
        with (self.folder / "simulator.err").open("wb") as errors:
            self._process = start_process([*command, "--seed", self.seed], stdout=subprocess.PIPE, stderr=errors)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if " on http" not in line:
            message = f"the simulator did not start: {(self.folder / 'simulator.err').read_text()}"
            raise StageError(message)
        self.url = line.rsplit(" ", 1)[-1].strip()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it."""
        if self._process is not None:
            end_process(self._process)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def ledger(
        self, action: str | None = None, instance_id: str | None = None, *, after: int = 0
    ) -> list[dict[str, Any]]:
        """Return the calls that arrived, oldest first; ``after`` leaves out those up to that sequence number."""
        query = {"action": action, "instanceId": instance_id, "after": after}
        given = "&".join(f"{name}={value}" for name, value in query.items() if value)
        return list(self._ask("GET", f"ledger?{given}"))

    def effective(self, action: str, instance_id: str) -> list[dict[str, Any]]:
        """Return the calls of this action that changed the instance."""
        return [entry for entry in self.ledger(action, instance_id) if entry["effective"]]

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances as the cloud has them."""
        return list(self._ask("GET", "instances"))

    def instance(self, instance_id: str) -> dict[str, Any]:
        """Return an instance as the cloud has it."""
        return dict(self._ask("GET", f"instances/{instance_id}"))

    def put_instance(self, instance_id: str, **fields: object) -> None:
        """Create an instance, or change it as somebody else would in the console."""
        self._ask("PUT", f"instances/{instance_id}", fields)

    def put_access_key(self, key_id: str, **fields: object) -> None:
        """Change what an access key may do, as whoever manages RAM would."""
        self._ask("PUT", f"accessKeys/{key_id}", fields)

    def put(self, path: str, **fields: object) -> None:
        """Change something else of the cloud: a role, an identity provider."""
        self._ask("PUT", path, fields)

    def delete_instance(self, instance_id: str) -> None:
        """Delete an instance as somebody else would in the console."""
        self._ask("DELETE", f"instances/{instance_id}")

    def add_fault(self, **fields: object) -> None:
        """Break something."""
        self._ask("POST", "faults", fields)

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are still to come."""
        return list(self._ask("GET", "faults"))

    def clear_faults(self) -> None:
        """Break nothing any more; what is held stays held."""
        self._ask("DELETE", "faults")

    def holds(self) -> list[dict[str, Any]]:
        """Return the calls that a fault of kind hold stops, each with whether it was reached."""
        return list(self._ask("GET", "holds"))

    def let_go(self, hold: str) -> None:
        """Let a held call go on."""
        self._ask("POST", f"holds/{hold}/release")

    def reset(self) -> None:
        """Go back to the seed, with an empty ledger."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_simulator/{path}", data, headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=10) as reply:
                text = reply.read()
        except urllib.error.HTTPError as error:
            message = f"{method} {path}: {error.code} {error.read().decode()}"
            raise StageError(message) from error
        return json.loads(text) if text else None


@dataclass
class OperatorProcess(AbstractContextManager["OperatorProcess"]):
    """The operator as a process of its own."""

    kubeconfig: Path
    cloud: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    access: str = (
        '{rules: [{namespaces: ["*"], regions: ["*"], instanceIds: ["*"], actions: [Observe, Allocate, Release]}]}'
    )
    credentials: dict[str, str] = field(
        default_factory=lambda: {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": KEY_SECRET,
        }
    )
    command: list[str] = field(default_factory=lambda: [sys.executable, "-P", "-m", "tair_operator"])
    address: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file with everything that it logs."""
        return self.folder / "operator.log"

    @property
    def access_file(self) -> Path:
        """The access list; writing it changes what the running operator may do."""
        return self.folder / "access.yaml"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, in order if it can."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                end_process(self._process)

    def start(self) -> None:
        """Start it without waiting."""
        self.access_file.write_text(self.access)
        self.address = f"127.0.0.1:{_free_port()}"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TAIR_OPERATOR_", "ALIBABA_CLOUD_", "KUBE"))
        }
        environment |= self.credentials | {
            "KUBECONFIG": str(self.kubeconfig),
            "TAIR_OPERATOR_ENDPOINT": self.cloud,
            "TAIR_OPERATOR_ALLOW_HTTP": "true",
            "TAIR_OPERATOR_ACCESS_FILE": str(self.access_file),
            "TAIR_OPERATOR_HTTP_ADDRESS": self.address,
        }
        with self.log.open("ab") as log:
            self._process = start_process(self.command, env=environment | self.settings, stdout=log, stderr=log)

    def kill(self) -> None:
        """Kill it at once, as a crash does."""
        if self._process is not None:
            end_process(self._process)

    def wait(self, seconds: float = 30) -> int:
        """Wait until it ends by itself and return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=seconds)

    def exit_code(self) -> int | None:
        """Return the exit code of a process that has ended; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait_ready(self) -> None:
        """Wait until /readyz says yes."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            status, text = self.probe("readyz")
            if status == 200:
                return
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                message = f"the operator is not ready ({text}): {self.log.read_text()[-3000:]}"
                raise StageError(message)
            time.sleep(0.05)

    def probe(self, path: str) -> tuple[int, str]:
        """Ask a path over HTTP; status 0 when nobody answers."""
        try:
            with _DIRECT.open(f"http://{self.address}/{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


class Stage:
    """Control plane and cloud, with the base installed; operators are started on it."""

    def __init__(self, plane: ControlPlane, *, seed: Path = SEED) -> None:
        """Prepare a stage on a control plane that runs."""
        self.plane = plane
        self._temporary = tempfile.TemporaryDirectory(prefix="tair-stage-")
        self.folder = Path(self._temporary.name)
        self.simulator = Simulator(self.folder, seed)
        # For every operator that is started here: what the installation of another scope would set.
        self.settings: dict[str, str] = {}
        self.token_duration = "1h"

    def __enter__(self) -> Self:
        """Start the simulated cloud."""
        self.simulator.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the simulated cloud and remove the folder."""
        self.simulator.__exit__(kind, error, traceback)
        self._temporary.cleanup()

    def install(self, manifests: Path | str = BASE) -> str:
        """Install what deploy/kustomize/base ships, or something else that ships the same, and return kubectl's words.

        No kubelet runs, so no Pod starts.
        """
        words = self.plane.apply(manifests)
        self.plane.wait_established(CRD)
        return words

    def clear(self) -> None:
        """Delete every TairInstance of the cluster, held ones too: no operator may be there to let them go."""
        for found in self.plane.kubectl_json("get", "tair", "--all-namespaces")["items"]:
            metadata = found["metadata"]
            if metadata.get("finalizers"):
                place = ("-n", metadata["namespace"], metadata["name"])
                self.plane.kubectl("patch", "tair", *place, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        self.plane.kubectl("delete", "tair", "--all", "--all-namespaces", "--timeout=60s")

    def operator(self, name: str = "operator", **settings: str) -> OperatorProcess:
        """Return an operator that is not started yet, under the ServiceAccount of the base."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        kubeconfig = self.plane.kubeconfig_for("tair-operator", "tair-system", duration=self.token_duration)
        # A stage sees more releases in a minute than a fleet in a week.
        defaults = {"TAIR_OPERATOR_RELEASE_BUDGET": "0"} | self.settings
        return OperatorProcess(kubeconfig, self.simulator.url, folder, defaults | settings)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
