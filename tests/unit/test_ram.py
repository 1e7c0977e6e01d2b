"""The RAM policies that we ship allow what the client can call, and nothing else."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tair_operator.aliyun.credentials.sts import AUDIENCE
from tair_operator.models import Action
from tair_operator.ports import Detail

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/ram"
CLIENT = ROOT / "operator/tair_operator/aliyun"
ACTION = re.compile(r"(?:Allocate|Assume|Create|Delete|Describe|Modify|Release|Tag)[A-Z][A-Za-z]+")
EXCHANGES = {"AssumeRole", "AssumeRoleWithOIDC"}
TRUSTS = {
    "trust-ecs": "Service",
    "trust-ram-user": "RAM",
    "trust-rrsa": "Federated",
    "trust-service-account": "Federated",
}
WHOLE = "tair-operator"
LOOK = {"DescribeInstances", "DescribeDBInstanceNetInfo"}
PARTS: dict[str, set[str]] = {
    "observe": LOOK,
    # A connection cannot be allocated while TLS is on, so that is asked before.
    "allocate": {Action.ALLOCATE, Detail.TLS},
    # The maintenance window is asked when a release waits for it.
    "release": {Action.RELEASE, Detail.WINDOW},
}


def policy(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content


def actions(name: str) -> list[str]:
    return [action for statement in policy(name)["Statement"] for action in statement["Action"]]


def named_in_the_code() -> set[str]:
    """Return each string below aliyun/ that is shaped like an action: a verb of the cloud's, and more."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(CLIENT.rglob("*.py"))]
    words = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {word for word in words if isinstance(word, str) and ACTION.fullmatch(word)}


def test_the_whole_policy_names_exactly_the_actions_that_the_client_calls() -> None:
    assert named_in_the_code() == LOOK | EXCHANGES
    assert sorted(actions(WHOLE)) == sorted(f"kvstore:{action}" for action in {*LOOK, *Action, *Detail})


def test_what_exchanges_an_identity_is_allowed_for_one_role_and_by_trust() -> None:
    """AssumeRoleWithOIDC is not signed: no policy of a caller is asked, only the trust of the role."""
    [assume] = policy("sts-assume-role")["Statement"]

    assert (assume["Effect"], assume["Action"]) == ("Allow", "sts:AssumeRole")
    assert re.fullmatch(r"acs:ram::\d{16}:role/tair-operator", assume["Resource"])


@pytest.mark.parametrize("name", TRUSTS)
def test_a_trust_policy_names_who_may_take_the_role(name: str) -> None:
    [statement] = policy(name)["Statement"]

    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
    assert [*statement["Principal"]] == [TRUSTS[name]]
    assert "*" not in json.dumps(statement)


@pytest.mark.parametrize(
    ("name", "subject"),
    [("trust-rrsa", "tair-system:tair-operator"), ("trust-service-account", "shop:orders")],
)
def test_a_federated_trust_is_for_one_serviceaccount_of_one_cluster(name: str, subject: str) -> None:
    """Without the subject every pod of the cluster could take the role."""
    [statement] = policy(name)["Statement"]
    conditions = statement["Condition"]["StringEquals"]

    assert set(conditions) == {"oidc:iss", "oidc:aud", "oidc:sub"}
    assert conditions["oidc:aud"] == AUDIENCE
    assert conditions["oidc:sub"] == f"system:serviceaccount:{subject}"


def test_the_trust_of_the_operators_role_names_the_serviceaccount_that_is_installed() -> None:
    base = ROOT / "deploy/kustomize/base"
    account = yaml.safe_load((base / "serviceaccount.yaml").read_text(encoding="utf-8"))["metadata"]["name"]
    namespace = yaml.safe_load((base / "namespace.yaml").read_text(encoding="utf-8"))["metadata"]["name"]
    [statement] = policy("trust-rrsa")["Statement"]

    assert statement["Condition"]["StringEquals"]["oidc:sub"] == f"system:serviceaccount:{namespace}:{account}"


def test_every_file_of_the_folder_is_one_that_is_compared_here() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*PARTS, WHOLE, "sts-assume-role", *TRUSTS}


@pytest.mark.parametrize("name", PARTS)
def test_a_policy_names_what_its_feature_adds(name: str) -> None:
    assert sorted(actions(name)) == sorted(f"kvstore:{action}" for action in PARTS[name])


def test_the_parts_together_are_the_whole() -> None:
    assert sorted(action for name in PARTS for action in actions(name)) == sorted(actions(WHOLE))


@pytest.mark.parametrize("name", [*PARTS, WHOLE])
def test_a_policy_allows_named_actions_on_instances(name: str) -> None:
    content = policy(name)

    assert content["Version"] == "1"
    assert {statement["Effect"] for statement in content["Statement"]} == {"Allow"}
    assert {statement["Resource"] for statement in content["Statement"]} == {"acs:kvstore:*:*:instance/*"}
    assert [action for action in actions(name) if "*" in action] == []
