"""The GitOps pack as its users have it, and the questions to the engines that judge it."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from tests.controlplane import find_gitops_oracle
from tests.gitops.cases import ROOT, Fixture

PACK: Final = ROOT / "deploy/gitops"
ARGO: Final = PACK / "argocd"
ACTIONS: Final = ("approve", "reconcile", "resume", "suspend")
HEALTH: Final = (ARGO / "health.lua").read_text()
DISCOVERY: Final = (ARGO / "actions/discovery.lua").read_text()
SCRIPTS: Final = {name: (ARGO / "actions" / name / "action.lua").read_text() for name in ACTIONS}


def manifests(path: Path) -> list[dict[str, Any]]:
    """Return the manifests of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def operator_values() -> dict[str, dict[str, Any]]:
    """Return the values of the chart with which each tool installs the operator."""
    [application] = [one for one in manifests(ARGO / "application.yaml") if "helm" in one["spec"]["source"]]
    [release] = [one for one in manifests(PACK / "flux/operator.yaml") if one["kind"] == "HelmRelease"]
    return {"argocd": application["spec"]["source"]["helm"]["valuesObject"], "flux": release["spec"]["values"]}


def flux_expressions() -> dict[str, str]:
    """Return the healthCheckExprs for a TairInstance."""
    [found] = [
        expressions
        for manifest in manifests(PACK / "flux/instances.yaml")
        for expressions in manifest["spec"].get("healthCheckExprs", [])
    ]
    return dict(found)


def ask(resources: Iterable[Fixture] = (), **more: object) -> dict[str, Any]:
    """Have the engines judge resources; ``more`` is what the program takes beside them."""
    request = json.dumps({"resources": list(resources), **more})
    result = subprocess.run(
        [find_gitops_oracle()], input=request, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def act(resource: Fixture, action: str) -> dict[str, Any]:
    """Return what an action of Argo CD makes of a resource: a merge patch, or why it refuses."""
    [verdict] = ask([resource], actions={action: SCRIPTS[action]})["verdicts"]
    return dict(verdict["results"][action])
