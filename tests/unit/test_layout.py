"""The rules of the folders, which no linter knows.

Most of them exist since ``operator/`` has the name of a standard module: it may be a
source root but never a package, or ``import collections`` fails for everybody who
stands in the repository's root.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = ROOT / "operator"
PACKAGES = {"tair_operator", "tair_simulator"}
MODULES = sorted(path for package in PACKAGES for path in (SOURCE_ROOT / package).rglob("*.py"))
VAGUE_NAMES = {"base", "common", "constants", "helper", "helpers", "misc", "shared", "util", "utils"}
LONGEST_MODULE = 400


def test_operator_folder_is_only_a_source_root() -> None:
    found = {path.name for path in SOURCE_ROOT.iterdir()} - {"__pycache__"}

    assert found == PACKAGES


def test_standard_operator_module_is_found_from_the_root() -> None:
    result = python("-c", "import collections, operator; print(operator.itemgetter)")

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_package_starts_with_safe_path(package: str) -> None:
    result = python("-P", "-m", package, "--help")

    assert (result.returncode, result.stderr) == (0, "")


def test_no_module_is_named_like_the_standard_operator_or_a_dependency() -> None:
    taken = {"operator", "yaml"} | {name.replace("-", "_") for name in dependencies()}

    assert [path for path in MODULES if module_name(path) in taken] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in MODULES if module_name(path) in VAGUE_NAMES] == []


def test_no_module_is_too_long_to_be_read_in_one_go() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}

    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_file_names_a_path_of_this_machine_or_a_registry() -> None:
    forbidden = [re.escape(str(path)) + r"\b" for path in (ROOT, Path.home()) if len(path.parts) > 1]
    forbidden += [r"(?<![\w.])/(?:home|Users)/(?!nonroot)[\w.-]+/"]
    forbidden += [r"://(?:[\w-]+\.)*(?:files|index|proxy|registry|repo\d?|static|pypi)\.[\w-]"]
    # Markdown may show what a person types; requirements may hold nothing but names, versions and hashes.
    pattern = re.compile("|".join(forbidden))
    found = {
        f"{path.relative_to(ROOT)}:{number}": line
        for path in files()
        for number, line in enumerate(text_lines(path), start=1)
        if pattern.search(line)
    }

    assert found == {}


def test_pinned_requirements_name_no_place() -> None:
    pinned = sorted((ROOT / "requirements").glob("*.txt"))
    found = [line for path in pinned for line in text_lines(path) if re.search(r"://|^--|^-[a-z]\b|@ ", line)]

    assert pinned
    assert found == []


def test_mypy_looks_at_every_folder_with_python_in_it() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in files() if path.suffix == ".py" and path.parent != ROOT}

    assert folders - set(pyproject()["tool"]["mypy"]["files"]) == set()


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def module_name(path: Path) -> str:
    return path.parent.name if path.name == "__init__.py" else path.stem


def dependencies() -> list[str]:
    return [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in pyproject()["project"]["dependencies"]]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def files() -> list[Path]:
    """Return what belongs to the project: what git knows or would add, or all when this is no work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        caches = {".git", ".venv", ".hypothesis", "__pycache__"}
        paths = [p for p in ROOT.rglob("*") if not caches & set(p.parts) and not re.search(r"_cache\b", str(p))]
    return [path for path in paths if path.is_file()]


def text_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
