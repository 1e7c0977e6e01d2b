"""An operator's ServiceAccount that has Roles in some namespaces and no permission of the cluster."""

from pathlib import Path
from typing import Any, Final

import yaml

from tests.controlplane import ControlPlane

GROUP: Final = "tair.alibabacloud.com"
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
    return [
        _rule(GROUP, "tairinstances", "get", "list", "watch", "patch"),
        _rule(GROUP, "tairinstances/status", "patch"),
        _rule("", "events", "create"),
        _rule("", "namespaces", "get", names=[namespace]),
        _rule("", "secrets", "get", "create", "patch", "delete", names=["tair-endpoint"]),
        _rule("", "secrets", "get", names=["tair-credentials"]),
    ]


def _lease_rules(lease: str) -> list[Rule]:
    group = "coordination.k8s.io"
    return [_rule(group, "leases", "get", "watch", "patch", names=[lease]), _rule(group, "leases", "create")]


def _rule(group: str, resource: str, *verbs: str, names: list[str] | None = None) -> Rule:
    rule = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return rule if names is None else rule | {"resourceNames": names}


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
