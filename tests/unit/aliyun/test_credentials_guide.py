"""docs/how-to/credentials.md and deploy/ram say what is so: messages, settings, policies and manifests."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tair_operator.models import ANNOTATION_ROLE, Reason, TairInstanceSpec
from tair_operator.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/how-to/credentials.md").read_text(encoding="utf-8")
SOURCES = [
    *(ROOT / "operator/tair_operator/aliyun/credentials").glob("*.py"),
    ROOT / "operator/tair_operator/aliyun/errors.py",
    ROOT / "operator/tair_operator/cluster/identities.py",
]
DOCUMENTS = [
    document for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) for document in yaml.safe_load_all(block)
]
ROWS = [line.strip("| ").split(" | ") for line in GUIDE.splitlines() if re.match(r"\| [^|]+ \| `[A-Z]\w+` \| `", line)]


def source() -> str:
    """Return the code with its messages in one piece and a pair of braces for each inserted value."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in SOURCES)
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\{[^{}\n]*\}", "{}", joined).replace("{{}}", "{}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_message_that_the_guide_shows_is_one_of_the_code(row: list[str]) -> None:
    _, reason, message = row
    words = [re.escape(part) for part in message.strip("`").split("{}")]
    pattern = ".{0,40}?".join(words)

    assert re.search(pattern, source()), message
    assert reason.strip("`") in set(Reason)


def test_the_guide_shows_more_than_twenty_of_them() -> None:
    assert len(ROWS) > 20


def test_every_setting_that_the_guide_names_exists_and_none_of_credentials_is_left_out() -> None:
    named = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}[A-Z_]+", GUIDE)}
    about_credentials = {name for name in Settings.model_fields if re.search(r"credentials|role|oidc|sts_region", name)}

    assert named <= set(Settings.model_fields)
    assert about_credentials <= named


def test_the_manifests_grant_what_the_operator_asks_for_and_only_by_name() -> None:
    roles = [document for document in DOCUMENTS if document["kind"] == "Role"]
    bound = [document["roleRef"]["name"] for document in DOCUMENTS if document["kind"] == "RoleBinding"]
    rules = [rule for role in roles for rule in role["rules"]]

    # Two of one name would replace each other.
    assert [role["metadata"]["name"] for role in roles] == bound == ["tair-operator-secret", "tair-operator-token"]
    assert [(rule["resources"], rule["verbs"], len(rule["resourceNames"])) for rule in rules] == [
        (["secrets"], ["get"], 1),
        (["serviceaccounts"], ["get"], 1),
        (["serviceaccounts/token"], ["create"], 1),
    ]


def test_the_resources_of_the_guide_are_valid_and_name_what_is_there() -> None:
    specs = [
        TairInstanceSpec.model_validate(document["spec"])
        for document in DOCUMENTS
        if document["kind"] == "TairInstance"
    ]
    named = {
        name
        for spec in specs
        if spec.credentials is not None
        for name in (spec.credentials.secret_name, spec.credentials.service_account_name)
        if name is not None
    }
    annotated = [document for document in DOCUMENTS if ANNOTATION_ROLE in document["metadata"].get("annotations", {})]

    assert named == {"tair-keys", "orders"} <= {document["metadata"]["name"] for document in DOCUMENTS}
    assert [document["metadata"]["name"] for document in annotated] == ["orders"]


@pytest.mark.parametrize("file", sorted((ROOT / "deploy/ram").glob("trust-*.json")), ids=lambda file: file.name)
def test_a_trust_policy_lets_one_kind_of_caller_assume_the_role(file: Path) -> None:
    policy = json.loads(file.read_text(encoding="utf-8"))
    (statement,) = policy["Statement"]

    assert policy["Version"] == "1"
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
    assert list(statement["Principal"]) in [["Federated"], ["RAM"], ["Service"]]
    assert f"deploy/ram/{file.name}" in GUIDE


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("trust-rrsa.json", "system:serviceaccount:tair-system:tair-operator"),
        ("trust-service-account.json", "system:serviceaccount:shop:orders"),
    ],
)
def test_a_trust_policy_for_tokens_pins_audience_issuer_and_subject(name: str, subject: str) -> None:
    (statement,) = json.loads((ROOT / "deploy/ram" / name).read_text(encoding="utf-8"))["Statement"]
    conditions = statement["Condition"]["StringEquals"]

    assert (conditions["oidc:aud"], conditions["oidc:sub"]) == ("sts.aliyuncs.com", subject)
    assert conditions["oidc:iss"].startswith("https://")
