"""The workflows run only where the repository is public; what can be known of them before is known here."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
STEPS = [
    pytest.param(step, id=f"{name}-{job}-{number}")
    for name, workflow in WORKFLOWS.items()
    for job, body in workflow["jobs"].items()
    for number, step in enumerate(body["steps"])
]
# The only secret-like power of a workflow is what it may write.
WRITES = {"release.yml": {"packages", "id-token", "attestations"}}


def test_there_is_a_workflow_for_each_thing_that_is_checked_and_for_the_release() -> None:
    assert set(WORKFLOWS) == {"test.yml", "chart.yml", "image.yml", "release.yml"}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_a_pinned_action_or_a_target_of_the_makefile(step: dict[str, Any]) -> None:
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    command = re.fullmatch(
        r"make (?:--silent )?([a-z-]+)(?: [A-Z_]+=(?:\"[^\"]*\"|\S+))*(?: >> \"\$GITHUB_OUTPUT\")?", step.get("run", "")
    )

    assert ("uses" in step) != ("run" in step)
    if command is None:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
    else:
        assert command.group(1) in targets


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_pinned_action_says_which_version_it_is(path: Path) -> None:
    used = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]

    assert used
    assert [line for line in used if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_write_only_what_it_publishes_and_keeps_no_credentials_in_the_clone(name: str) -> None:
    workflow = WORKFLOWS[name]
    granted = [workflow["permissions"], *(job.get("permissions", {}) for job in workflow["jobs"].values())]
    written = {scope for scopes in granted for scope, level in scopes.items() if level == "write"}
    clones = [
        step
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
    ]

    assert written == WRITES.get(name, set())
    assert [step for step in clones if step.get("with") != {"persist-credentials": False}] == []
    assert "concurrency" in workflow
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_a_release_follows_the_tests_and_reads_no_cache() -> None:
    jobs = WORKFLOWS["release.yml"]["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    commands = [step["run"].split()[1] for step in jobs["publish"]["steps"] if step.get("run", "").startswith("make ")]

    assert jobs["publish"]["needs"] == "test"
    assert "make test" in [step.get("run") for step in jobs["test"]["steps"]]
    assert [step for step in steps if "cache" in step.get("uses", "")] == []
    # Only what was pushed has a digest to sign.
    assert [name for name in commands if name in {"release-image", "chart-push", "sign"}] == [
        "release-image",
        "chart-push",
        "sign",
    ]
