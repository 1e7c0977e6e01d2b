"""The few facts about the image that must not get lost, read from the Dockerfile as instructions."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    """One instruction: its name in capitals, and the rest with the lines joined."""

    name: str
    rest: str


def test_the_second_stage_is_the_image() -> None:
    assert [stage[0].rest for stage in stages()] == ["${PYTHON_IMAGE} AS builder", "${PYTHON_IMAGE}"]


def test_runs_as_a_number_that_is_not_root() -> None:
    """With runAsNonRoot, kubelet refuses a user that is a name, since it cannot tell who that is."""
    user, group = only("USER", stages()[-1]).split(":")

    assert int(user) > 0
    assert int(group) > 0


def test_starts_without_a_shell_and_without_the_working_folder_on_the_path() -> None:
    last = stages()[-1]

    assert json.loads(only("ENTRYPOINT", last)) == ["python", "-P", "-m", "tair_operator"]
    assert [instruction.name for instruction in last if instruction.name in {"RUN", "CMD", "SHELL"}] == []


def test_installs_only_wheels_whose_hash_is_pinned() -> None:
    runtime, build, ours = [words for words in runs(stages()[0]) if "install" in words]

    assert {"--require-hashes", "--only-binary", ":all:", "requirements/runtime.txt"} <= set(runtime)
    assert {"--require-hashes", "--only-binary", ":all:", "requirements/build.txt"} <= set(build)
    assert {"--no-deps", "--no-index"} <= set(ours)
    # What pip compiles would name the time of the build.
    assert [words for words in (runtime, build, ours) if "--no-compile" not in words] == []


def test_compiles_by_hash_and_gives_every_file_one_time() -> None:
    found = [" ".join(words) for words in runs(stages()[0])]

    assert "python -m compileall -q --invalidation-mode unchecked-hash /venv/lib" in found
    # The last step, or a later one would leave a time of its own.
    assert found[-1].startswith("find /venv -exec touch")


def test_its_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert f"VERSION={project['version']}" in [one.rest for one in stages()[-1] if one.name == "ARG"]


def test_has_the_labels_that_tell_where_it_comes_from() -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", only("LABEL", stages()[-1])))

    assert labels == {
        *("title", "description", "licenses", "version"),
        *("revision", "created", "source", "base.name"),
    }


def test_takes_from_the_folder_what_the_ignore_file_lets_through_and_nothing_else() -> None:
    sources = [
        source
        for stage in stages()
        for instruction in stage
        if instruction.name in {"COPY", "ADD"} and not instruction.rest.startswith("--from=")
        for source in instruction.rest.split()[:-1]
    ]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    assert sorted(sources) == sorted(allowed)
    assert all((ROOT / source).exists() for source in sources)


def stages() -> list[list[Instruction]]:
    """Split the Dockerfile at each FROM; what is before the first is left out."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def instructions() -> list[Instruction]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name.upper(), " ".join(rest.split())) for name, rest in pairs]


def only(name: str, stage: list[Instruction]) -> str:
    [rest] = [instruction.rest for instruction in stage if instruction.name == name]
    return rest


def runs(stage: list[Instruction]) -> list[list[str]]:
    lines = [instruction.rest for instruction in stage if instruction.name == "RUN"]
    return [shlex.split(command) for line in lines for command in line.split("&&")]
