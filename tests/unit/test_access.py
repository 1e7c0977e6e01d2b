"""The access list: it permits nothing by itself, says what to add, and survives a bad edit."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tair_operator.access import (
    AccessFile,
    AccessFileError,
    AccessList,
    AccessRule,
    LabelExpression,
    NamespaceSelector,
    parse_access,
)
from tair_operator.models import CredentialsSpec
from tair_operator.ports import Key
from tair_operator.situation import Verb
from tests.builders import EVERYTHING, resource

RULE = {"namespaces": ["shop"], "regions": ["cn-hangzhou"], "instanceIds": ["r-bp1"], "actions": ["Observe"]}
NO_LIST = "Input should be a valid list"
LIST = yaml.safe_dump({"rules": [RULE]})
# What the API server gives every namespace, and a label of ours.
LABELS = {"kubernetes.io/metadata.name": "shop", "env": "test"}
PAGE = Path(__file__).parents[2] / "docs/reference/access-list.md"


def access(*rules: dict[str, Any]) -> AccessList:
    return AccessList.model_validate({"rules": list(rules)})


def permits(*rules: dict[str, Any], **more: Any) -> frozenset[Verb]:  # noqa: ANN401 - goes on to the builder
    return access(*rules).grant(resource(**more)).verbs


def selecting(selector: dict[str, Any], **more: object) -> dict[str, Any]:
    """Return a rule that picks namespaces by their labels only."""
    return {name: value for name, value in RULE.items() if name != "namespaces"} | {
        "namespaceSelector": selector,
        **more,
    }


def requiring(key: str, operator: str, *values: str) -> dict[str, Any]:
    """Return a selector with one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": list(values)} if values else {})]}


def test_an_empty_list_permits_nothing() -> None:
    assert AccessList().grant(resource()).verbs == frozenset()


def test_a_rule_permits_what_it_names() -> None:
    assert permits(RULE | {"actions": ["Observe", "Allocate"]}) == {Verb.OBSERVE, Verb.ALLOCATE}


def test_to_act_includes_to_observe() -> None:
    assert permits(RULE | {"actions": ["Release"]}) == {Verb.OBSERVE, Verb.RELEASE}


def test_rules_add_up() -> None:
    assert permits(RULE | {"actions": ["Allocate"]}, RULE | {"actions": ["Release"]}) == EVERYTHING


@pytest.mark.parametrize(
    "other",
    [
        {"namespaces": ["team"]},
        {"namespaces": ["SHOP"]},
        {"namespaces": ["sho"]},
        {"namespaces": ["shop-*"]},
        {"regions": ["cn-beijing"]},
        {"instanceIds": ["r-bp"]},
        {"instanceIds": ["r-bp1x*"]},
    ],
)
def test_a_rule_for_something_else_permits_nothing(other: dict[str, list[str]]) -> None:
    assert permits(RULE | other) == frozenset()


@pytest.mark.parametrize(
    "pattern",
    [{"namespaces": ["*"]}, {"namespaces": ["team", "sh*"]}, {"regions": ["cn-*"]}, {"instanceIds": ["r-*1"]}],
)
def test_an_asterisk_matches_any_run_of_characters(pattern: dict[str, list[str]]) -> None:
    assert permits(RULE | pattern) == {Verb.OBSERVE}


@pytest.mark.parametrize("pattern", ["sho?", "sh[oa]p", "s.*", "shop$"])
def test_no_other_character_is_special(pattern: str) -> None:
    assert permits(RULE | {"namespaces": [pattern]}) == frozenset()


# --- Labels of the namespace ---


@pytest.mark.parametrize(
    ("selector", "is_match"),
    [
        ({"matchLabels": {"env": "test"}}, True),
        ({"matchLabels": {"env": "test", "kubernetes.io/metadata.name": "shop"}}, True),
        ({"matchLabels": {"env": "test", "team": "red"}}, False),
        ({"matchLabels": {"env": "TEST"}}, False),
        ({"matchLabels": {"env": ""}}, False),
        ({"matchLabels": {"empty": ""}}, True),
        (requiring("env", "In", "prod", "test"), True),
        (requiring("env", "In", "prod"), False),
        (requiring("team", "In", "red"), False),
        (requiring("env", "NotIn", "prod"), True),
        (requiring("env", "NotIn", "prod", "test"), False),
        (requiring("team", "NotIn", "red"), True),
        (requiring("env", "Exists"), True),
        (requiring("empty", "Exists"), True),
        (requiring("team", "Exists"), False),
        (requiring("team", "DoesNotExist"), True),
        (requiring("env", "DoesNotExist"), False),
        ({"matchLabels": {"env": "test"}} | requiring("team", "Exists"), False),
        ({"matchLabels": {"env": "test"}} | requiring("team", "DoesNotExist"), True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}, {"key": "team", "operator": "Exists"}]}, False),
    ],
)
def test_a_selector_matches_as_in_kubernetes(selector: dict[str, Any], is_match: bool) -> None:  # noqa: FBT001
    grant = access(selecting(selector)).grant(resource(), LABELS | {"empty": ""})

    assert grant.verbs == ({Verb.OBSERVE} if is_match else frozenset())


@pytest.mark.parametrize(
    ("namespaces", "env", "is_match"),
    [(["shop"], "test", True), (["shop"], "prod", False), (["team"], "test", False), (["sh*"], "test", True)],
)
def test_names_and_selector_both_have_to_match(namespaces: list[str], env: str, is_match: bool) -> None:  # noqa: FBT001
    rule = selecting({"matchLabels": {"env": env}}, namespaces=namespaces)
    grant = access(rule).grant(resource(), LABELS)

    assert bool(grant.verbs) is is_match


@pytest.mark.parametrize("labels", [None, {}])
@pytest.mark.parametrize("selector", [{"matchLabels": {"env": "test"}}, requiring("env", "NotIn", "prod")])
def test_a_selector_permits_nothing_while_the_labels_are_not_known(
    selector: dict[str, Any], labels: dict[str, str] | None
) -> None:
    """Every namespace has labels, so none at all could not be read: ``NotIn`` must not take that for a match."""
    assert access(selecting(selector)).grant(resource(), labels).verbs == frozenset()


def test_a_rule_without_a_selector_needs_no_labels() -> None:
    assert access(RULE).grant(resource(), None) == access(RULE).grant(resource(), LABELS)


@pytest.mark.parametrize(
    ("rules", "needs"),
    [((), False), ((RULE,), False), ((RULE, selecting({"matchLabels": {"env": "test"}})), True)],
)
def test_the_list_says_whether_it_asks_for_labels(rules: tuple[dict[str, Any], ...], needs: bool) -> None:  # noqa: FBT001
    assert access(*rules).needs_labels is needs


# --- Approval ---

ANY = RULE | {"actions": ["Release"]}
STRICT = ANY | {"approval": "Required"}


@pytest.mark.parametrize(
    ("rules", "requires"),
    [
        ([ANY], False),
        ([ANY | {"approval": "Automatic"}], False),
        ([STRICT], True),
        ([ANY, STRICT], True),
        ([STRICT, ANY], True),
        ([ANY, STRICT | {"namespaces": ["team"]}], False),
        ([ANY, STRICT | {"regions": ["cn-beijing"]}], False),
        ([ANY, STRICT | {"instanceIds": ["r-bp2*"]}], False),
        ([ANY, STRICT | {"namespaceSelector": {"matchLabels": {"env": "test"}}}], True),
        ([ANY, STRICT | {"namespaceSelector": {"matchLabels": {"env": "prod"}}}], False),
    ],
)
def test_one_rule_that_asks_for_an_approval_is_enough(rules: list[dict[str, Any]], requires: bool) -> None:  # noqa: FBT001
    assert access(*rules).grant(resource(), LABELS).requires_approval is requires


@pytest.mark.parametrize("labels", [None, {}])
def test_an_approval_is_asked_for_while_only_the_labels_could_tell(labels: dict[str, str] | None) -> None:
    """Or whoever could keep the labels from being read would release without one."""
    strict = STRICT | {"namespaceSelector": {"matchLabels": {"env": "prod"}}}
    grant = access(ANY, strict).grant(resource(), labels)

    assert grant.verbs == {Verb.OBSERVE, Verb.RELEASE}
    assert grant.requires_approval is True


# --- Credentials of one's own ---

OWN = [CredentialsSpec(secret_name="tair-credentials"), CredentialsSpec(service_account_name="tair-identity")]


@pytest.mark.parametrize("own", OWN)
def test_credentials_of_ones_own_need_no_rule(own: CredentialsSpec) -> None:
    grant = AccessList().grant(resource(credentials=own))

    assert (grant.verbs, grant.requires_approval, grant.are_releases_held) == (EVERYTHING, False, False)


@pytest.mark.parametrize("own", OWN)
def test_the_fleet_switch_holds_releases_with_credentials_of_ones_own_too(own: CredentialsSpec) -> None:
    assert AccessList(releases="Hold").grant(resource(credentials=own)).are_releases_held is True


@pytest.mark.parametrize("own", OWN)
def test_credentials_of_ones_own_do_not_get_around_an_approval(own: CredentialsSpec) -> None:
    grant = access(STRICT).grant(resource(credentials=own))

    assert (grant.verbs, grant.requires_approval) == (EVERYTHING, True)


# --- The switch and the hint ---


@pytest.mark.parametrize(("switch", "are_held"), [("", False), ("releases: Allow", False), ("releases: Hold", True)])
def test_the_fleet_switch_is_in_the_access_list(switch: str, are_held: bool) -> None:  # noqa: FBT001
    assert parse_access(f"rules: []\n{switch}").grant(resource()).are_releases_held is are_held


@pytest.mark.parametrize("namespace", ["shop", "on", "123", "1e3", "null", "0x1f", "2026-01-01"])
def test_the_line_to_add_is_yaml_that_permits_when_it_is_added(namespace: str) -> None:
    """All of these are names that a namespace can have, and YAML reads most of them as something else."""
    wish = resource(key=Key(namespace, "orders"))
    hint = AccessList().grant(wish).hint
    line = hint[hint.index("{") :]

    assert hint.startswith("Whoever runs the operator can add to its access list: {namespaces: [")
    assert parse_access(f"rules:\n- {line}\n").grant(wish).verbs == EVERYTHING


# --- Mistakes ---


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "rules: []\n", "{}"])
def test_an_empty_file_is_an_empty_list(text: str) -> None:
    assert parse_access(text) == AccessList()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [\n  {", "access.yaml, line 2: not valid YAML: expected the node content, but found '<stream end>'"),
        ("rules: \x00", "access.yaml: not valid YAML: unreadable"),
        ("rules: [2026-99-99]", "access.yaml: not valid YAML: month must be in 1..12"),
        ("- rules", "access.yaml: top level: Input should be a valid dictionary or instance of AccessList"),
        ("rule: []", "access.yaml: rule: Extra inputs are not permitted"),
        ("rules: {}", "access.yaml: rules: Input should be a valid list"),
        ("rules:", "access.yaml: rules: Input should be a valid list"),
        ("? [a]\n: 1\n", "access.yaml, line 1: not valid YAML: found unhashable key"),
    ],
)
def test_a_file_that_is_no_access_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(AccessFileError) as caught:
        parse_access(text, "access.yaml")

    assert str(caught.value) == message


def test_all_mistakes_are_reported_at_once() -> None:
    rule = {"namespaces": [], "regions": [""], "actions": ["Destroy"], "verbs": ["*"]}

    with pytest.raises(AccessFileError) as caught:
        parse_access(yaml.safe_dump({"rules": [RULE, rule]}), "access.yaml")

    assert str(caught.value).splitlines() == [
        "access.yaml: rules.1.namespaces: List should have at least 1 item after validation, not 0",
        "access.yaml: rules.1.regions.0: String should have at least 1 character",
        "access.yaml: rules.1.instanceIds: Field required",
        "access.yaml: rules.1.actions.0: Input should be 'Observe', 'Allocate' or 'Release'",
        "access.yaml: rules.1.verbs: Extra inputs are not permitted",
    ]


def test_a_key_that_is_there_twice_is_a_mistake() -> None:
    """YAML takes the last one: a Hold at the top would be undone by the Allow that was there before."""
    with pytest.raises(AccessFileError) as caught:
        parse_access("releases: Hold\nrules: []\nreleases: Allow\n", "access.yaml")

    assert str(caught.value) == "access.yaml, line 3: not valid YAML: key 'releases' is there twice"


NOTHING = "there is nothing behind this key: write a value, or remove the key"
NO_KEY = "is no key of a label: write name or prefix/name, such as kubernetes.io/metadata.name"
NO_VALUE = "is no value of a label: up to 63 letters, digits, '-', '_' and '.'; no patterns"
EMPTY = 'set matchLabels or matchExpressions; for every namespace write namespaces: ["*"]'
COMPARISONS = "Input should be 'In', 'NotIn', 'Exists' or 'DoesNotExist'"
NO_TEXT = "Input should be a valid string"
USELESS = "approval: Required is about releases: add Release to actions, or remove approval"


@pytest.mark.parametrize(
    ("written", "mistakes"),
    [
        ("", ["rules.0: set namespaces, namespaceSelector, or both"]),
        ("namespaces:", [f"rules.0.namespaces: {NOTHING}"]),
        ('namespaces: ["*"], namespaceSelector:', [f"rules.0.namespaceSelector: {NOTHING}"]),
        ("namespaceSelector: {}", [f"rules.0.namespaceSelector: {EMPTY}"]),
        ("namespaceSelector: {matchLabels: {}}", [f"rules.0.namespaceSelector: {EMPTY}"]),
        (
            "namespaceSelector: {matchExpression: []}",
            ["rules.0.namespaceSelector.matchExpression: Extra inputs are not permitted"],
        ),
        (
            "namespaceSelector: {matchLabels: env=test}",
            ["rules.0.namespaceSelector.matchLabels: Input should be a valid dictionary"],
        ),
        (
            # "on" is true, says YAML.
            "namespaceSelector: {matchLabels: {tair: on, a b: c, env: prod*}}",
            [
                f"rules.0.namespaceSelector.matchLabels.tair: {NO_TEXT}",
                f"rules.0.namespaceSelector.matchLabels.a b.[key]: 'a b' {NO_KEY}",
                f"rules.0.namespaceSelector.matchLabels.env: 'prod*' {NO_VALUE}",
            ],
        ),
        (
            "namespaceSelector: {matchExpressions: {key: env, operator: Exists}}",
            [f"rules.0.namespaceSelector.matchExpressions: {NO_LIST}"],
        ),
        (
            "namespaceSelector: {matchExpressions: [{operator: In, values: test}, {key: /env, operator: in}]}",
            [
                "rules.0.namespaceSelector.matchExpressions.0.key: Field required",
                f"rules.0.namespaceSelector.matchExpressions.0.values: {NO_LIST}",
                f"rules.0.namespaceSelector.matchExpressions.1.key: '/env' {NO_KEY}",
                f"rules.0.namespaceSelector.matchExpressions.1.operator: {COMPARISONS}",
            ],
        ),
        (
            "namespaceSelector: {matchExpressions: [{key: a, operator: In}, {key: a, operator: NotIn, values: []}]}",
            [
                "rules.0.namespaceSelector.matchExpressions.0: operator In needs values",
                "rules.0.namespaceSelector.matchExpressions.1: operator NotIn needs values",
            ],
        ),
        (
            "namespaceSelector: {matchExpressions: [{key: env, operator: Exists, values: [test]}]}",
            ["rules.0.namespaceSelector.matchExpressions.0: operator Exists takes no values"],
        ),
        (
            "namespaces: [shop], approval: required",
            ["rules.0.approval: Input should be 'Automatic' or 'Required'"],
        ),
        ("namespaces: [shop], approval: Required", [f"rules.0: {USELESS}"]),
    ],
)
def test_a_mistake_in_a_rule_is_reported_with_its_path(written: str, mistakes: list[str]) -> None:
    rest = "regions: [cn-hangzhou], instanceIds: [r-bp1], actions: [Observe, Allocate]"

    with pytest.raises(AccessFileError) as caught:
        parse_access(f"rules: [{{{rest}, {written}}}]" if written else f"rules: [{{{rest}}}]", "access.yaml")

    assert str(caught.value).splitlines() == [f"access.yaml: {mistake}" for mistake in mistakes]


LONGEST = 63 * "a"


@pytest.mark.parametrize(
    "key", ["env", "a", "A_b.c-1", LONGEST, f"kubernetes.io/{LONGEST}", f"{61 * 'x.'}{131 * 'y'}/n"]
)
def test_a_key_of_a_label_may_be_any_that_kubernetes_takes(key: str) -> None:
    assert NamespaceSelector.model_validate({"matchLabels": {key: "x"}}).matches({key: "x"})


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "env/",
        "-a",
        "a_",
        f"{LONGEST}a",
        "a/b/c",
        "A/b",
        "-a/b",
        "a..b/c",
        f"{63 * 'x.'}{128 * 'y'}/n",
        "é",
        "a\n",
    ],
)
def test_a_key_of_a_label_may_be_nothing_else(key: str) -> None:
    with pytest.raises(ValueError, match="is no key of a label"):
        NamespaceSelector.model_validate({"matchLabels": {key: "x"}})


@pytest.mark.parametrize("value", ["", "a", "1", "A_b.c-1", LONGEST])
def test_a_value_of_a_label_may_be_any_that_kubernetes_takes(value: str) -> None:
    assert NamespaceSelector.model_validate({"matchLabels": {"env": value}}).matches({"env": value})


@pytest.mark.parametrize("value", [" ", "-a", "a_", f"{LONGEST}a", "a/b", "é", "a\n"])
def test_a_value_of_a_label_may_be_nothing_else(value: str) -> None:
    with pytest.raises(ValueError, match="is no value of a label"):
        NamespaceSelector.model_validate({"matchLabels": {"env": value}})


# --- The page about it ---


def keys_of(model: type[AccessList | AccessRule | NamespaceSelector | LabelExpression]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_the_reference_explains_every_key_and_no_other() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    explained = [row.split("`")[1] for row in rows]
    models: list[Any] = [AccessList, AccessRule, NamespaceSelector, LabelExpression]

    assert sorted(explained) == sorted(key for model in models for key in keys_of(model))


def test_the_examples_of_the_reference_are_access_lists() -> None:
    blocks = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    lists = [parse_access(block.split("```")[0]) for block in blocks]

    assert lists
    assert all(each.rules for each in lists)


# --- The file ---


def write(path: Path, text: str) -> None:
    """Write the file, and make sure that its time moves however coarse the clock of the disk is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "access.yaml"
    write(path, LIST)
    return path


def test_a_file_is_read_when_it_is_opened(path: Path) -> None:
    assert AccessFile.open(path).current == parse_access(LIST)


def test_a_file_that_is_not_there_yet_permits_nothing_until_it_is(path: Path) -> None:
    text = path.read_text()
    path.unlink()
    file = AccessFile.open(path)
    at_first = file.current
    path.write_text(text)

    assert at_first == AccessList()
    assert file.reload()
    assert file.current.rules


@pytest.mark.parametrize(("content", "why"), [(None, "Is a directory"), (b"rules: \xff", "not UTF-8")])
def test_a_file_that_cannot_be_read_is_not_opened(path: Path, content: bytes | None, why: str) -> None:
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    with pytest.raises(AccessFileError) as caught:
        AccessFile.open(path)

    assert str(caught.value) == f"{path}: cannot be read: {why}"


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    file = AccessFile.open(path)

    assert [file.reload(), file.reload()] == [False, False]


def test_a_changed_file_is_read_again(path: Path) -> None:
    file = AccessFile.open(path)
    write(path, "rules: []")

    assert [file.reload(), file.reload()] == [True, False]
    assert file.current == AccessList()


def test_a_change_that_means_the_same_is_no_change(path: Path) -> None:
    file = AccessFile.open(path)
    write(path, f"# a comment\n{LIST}")

    assert file.reload() is False


def test_a_bad_edit_keeps_the_last_good_list_and_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = AccessFile.open(path)
    write(path, "rules: nonsense")
    reloads = [file.reload(), file.reload()]

    assert reloads == [False, False]
    assert file.current == parse_access(LIST)
    assert [record.getMessage() for record in caplog.records] == [
        f"The access list is not reloaded, the last good one stays in force: {path}: rules: {NO_LIST}"
    ]


def test_a_bad_edit_can_be_repaired(path: Path) -> None:
    file = AccessFile.open(path)
    write(path, "rules: nonsense")
    file.reload()
    write(path, "rules: []")

    assert file.reload() is True


def test_a_file_that_went_away_keeps_the_last_good_list_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = AccessFile.open(path)
    path.unlink()
    reloads = [file.reload(), file.reload()]
    kept, told = file.current, list(caplog.messages)
    with caplog.at_level(logging.INFO):
        write(path, "rules: []")
        repaired = file.reload()

    assert (reloads, kept, repaired) == ([False, False], parse_access(LIST), True)
    assert len(told) == 1
    assert "The access list was reloaded: 0 rules" in caplog.text


def test_a_file_that_could_not_be_read_for_a_moment_is_read_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = AccessFile.open(path)
    write(path, "rules: []")

    def fail(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        during = file.reload()

    assert [during, file.reload()] == [False, True]


def test_a_mounted_config_map_is_followed_through_its_links(tmp_path: Path) -> None:
    """Kubelet writes a new directory and swaps one link; the times of the file may be the same as before."""
    for name, text in (("..1", LIST), ("..2", LIST.replace("shop", "team"))):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "access.yaml", text)
    data = tmp_path / "..data"
    data.symlink_to("..1")
    (tmp_path / "access.yaml").symlink_to("..data/access.yaml")
    file = AccessFile.open(tmp_path / "access.yaml")

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(data)

    assert file.reload() is True
    assert file.current.rules[0].namespaces == ["team"]


def test_it_is_valid_unless_a_bad_edit_or_a_missing_file_was_not_taken(path: Path) -> None:
    file = AccessFile.open(path)
    good = path.read_text()
    found = [file.is_valid]
    for content in ("rules: 1", good, None, good):
        path.unlink() if content is None else path.write_text(content)
        file.reload()
        found.append(file.is_valid)

    assert found == [True, False, True, False, True]


def test_a_file_that_is_there_again_as_it_was_is_valid_again(path: Path) -> None:
    file = AccessFile.open(path)
    aside = path.rename(path.with_suffix(".aside"))
    file.reload()
    without = file.is_valid
    aside.rename(path)
    file.reload()

    assert (without, file.is_valid) == (False, True)


def test_a_path_that_cannot_even_be_looked_for_is_a_mistake_of_the_settings() -> None:
    with pytest.raises(AccessFileError, match="cannot be read: File name too long"):
        AccessFile.open(Path("a" * 300))
