"""Helm as a program, and what the tests of the chart ask of what it renders."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.controlplane import ControlPlane

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy/helm/tair-operator"
NAMESPACE, RELEASE_NAME = "tair-system", "tair-operator"
VALUE_SETS: Final = sorted((CHART / "ci").glob("*-values.yaml"))
EVERYTHING: Final = CHART / "ci/everything-values.yaml"
RESTRICTED: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}

Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm refused or failed; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """Helm, with folders and a cluster of its own."""

    program: Path
    folder: Path
    kubeconfig: Path | None = None

    def __call__(self, *arguments: str | Path) -> str:
        """Run it and return what it printed; raises `HelmError`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        for name in ("CACHE", "CONFIG", "DATA"):
            environment[f"HELM_{name}_HOME"] = str(self.folder / name.lower())
        environment["KUBECONFIG"] = str(self.kubeconfig or self.folder / "none")
        command = [self.program, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise HelmError(f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done.stdout

    def refuses(self, *arguments: str | Path) -> str:
        """Run it, expect that it fails, and return what it said."""
        with pytest.raises(HelmError) as failure:
            self(*arguments)
        return str(failure.value)

    def render(self, *arguments: str | Path, name: str = RELEASE_NAME, namespace: str = NAMESPACE) -> list[Manifest]:
        """Render the chart for a cluster that has the Prometheus Operator, and parse the result."""
        server = ("--api-versions", "monitoring.coreos.com/v1")
        text = self("template", name, CHART, "--namespace", namespace, *server, *arguments)
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def make_namespaces(plane: ControlPlane) -> None:
    for name, labels in ((NAMESPACE, RESTRICTED), ("shop", {}), ("team-a", {})):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        plane.kubectl("create", "-f", "-", stdin=json.dumps(namespace))


def only(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    [found] = [each for each in manifests if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
    return found


def values_file(path: Path) -> str:
    return path.stem.removesuffix("-values")


every_value_set = pytest.mark.parametrize("values", VALUE_SETS, ids=values_file)


def environment(deployment: Manifest) -> dict[str, str]:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}
