"""The access list: it permits nothing by itself, says what to add, and survives a bad edit."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tair_operator.access import AccessFile, AccessFileError, AccessList, parse_access
from tair_operator.ports import Key
from tair_operator.situation import Verb
from tests.builders import EVERYTHING, resource

RULE = {"namespaces": ["shop"], "regions": ["cn-hangzhou"], "instanceIds": ["r-bp1"], "actions": ["Observe"]}
NO_LIST = "Input should be a valid list"
LIST = yaml.safe_dump({"rules": [RULE]})


def permits(*rules: dict[str, Any], **more: Any) -> frozenset[Verb]:  # noqa: ANN401 - goes on to the builder
    return AccessList.model_validate({"rules": list(rules)}).grant(resource(**more)).verbs


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


def test_a_file_that_went_away_keeps_the_last_good_list(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = AccessFile.open(path)
    path.unlink()
    reloaded = file.reload()
    with caplog.at_level(logging.INFO):
        write(path, "rules: []")
        repaired = file.reload()

    assert [reloaded, repaired] == [False, True]
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
