"""An operator's ServiceAccount that has Roles in some namespaces and no permission of the cluster."""

from pathlib import Path
from typing import Any, Final

import yaml

from tests.controlplane import ControlPlane
from tests.stage import ROOT

KUSTOMIZE: Final = ROOT / "deploy/kustomize"
RBAC: Final = "rbac.authorization.k8s.io"
HOME: Final = "scoped-system"
"""Where the ServiceAccounts and their Leases are."""

Rule = dict[str, list[str]]


def make_account(plane: ControlPlane, name: str, namespaces: tuple[str, ...]) -> Path:
    """Make a ServiceAccount that may work in these namespaces, and elect a leader by a Lease of its own name."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": HOME}}
    objects: list[dict[str, Any]] = [_namespace(HOME), account, *map(_namespace, namespaces)]
    for namespace in namespaces:
        objects += _granted(name, namespace, _working_rules(namespace))
    objects += _granted(name, HOME, _lease_rules(name))
    plane.apply(yaml.safe_dump_all(objects))
    return plane.kubeconfig_for(name, HOME)


def _working_rules(namespace: str) -> list[Rule]:
    """Return what is shipped for a served namespace, and what publishing and credentials there need."""
    shipped = _shipped("components/served-namespace/rbac.yaml")
    for rule in shipped:
        if rule["resources"] == ["namespaces"]:
            # Nothing is asked about another one, even where a Role could grant it.
            rule["resourceNames"] = [namespace]
    return [
        *shipped,
        _rule("", "secrets", "get", "create", "patch", "delete", names=["tair-endpoint"]),
        _rule("", "secrets", "get", names=["tair-credentials"]),
    ]


def _lease_rules(lease: str) -> list[Rule]:
    """Return what is shipped for the election, with a Lease of another name."""
    shipped = _shipped("base/rbac.yaml")
    return [rule | {"resourceNames": [lease]} if "resourceNames" in rule else rule for rule in shipped]


def _shipped(path: str) -> list[Rule]:
    documents = yaml.safe_load_all((KUSTOMIZE / path).read_text(encoding="utf-8"))
    [role] = [document for document in documents if document["kind"] == "Role"]
    return list(role["rules"])


def _rule(group: str, resource: str, *verbs: str, names: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), "resourceNames": names}


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _granted(account: str, namespace: str, rules: list[Rule]) -> list[dict[str, Any]]:
    metadata = {"name": account, "namespace": namespace}
    reference = {"apiGroup": RBAC, "kind": "Role", "name": account}
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": HOME}]
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": subjects,
        },
    ]
