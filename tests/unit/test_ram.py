"""The RAM policy that we ship allows what the client can call, and nothing else."""

import json
import re
from pathlib import Path

from tair_operator.models import Action

ROOT = Path(__file__).parents[2]


def test_the_policy_names_exactly_the_actions_that_the_client_calls() -> None:
    policy = json.loads((ROOT / "deploy/ram/tair-operator.json").read_text(encoding="utf-8"))
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    client = (ROOT / "operator/tair_operator/aliyun/client.py").read_text(encoding="utf-8")
    called = set(re.findall(r'"(Describe[A-Z]\w+)"', client)) | set(Action)

    assert allowed == {f"kvstore:{action}" for action in called}
    assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
