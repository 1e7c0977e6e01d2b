"""The RAM policies that we ship allow what the client can call, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tair_operator.models import Action
from tair_operator.ports import Detail

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/ram"
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


def test_the_whole_policy_names_exactly_the_actions_that_the_client_calls() -> None:
    client = (ROOT / "operator/tair_operator/aliyun/client.py").read_text(encoding="utf-8")
    looked_at = set(re.findall(r'"(Describe[A-Z]\w+)"', client))

    assert looked_at == LOOK
    assert sorted(actions(WHOLE)) == sorted(f"kvstore:{action}" for action in {*LOOK, *Action, *Detail})


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
