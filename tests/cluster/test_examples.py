"""Every example, and what the pages show, on a real API server: nothing unknown, nothing pruned, no warning."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tair_operator.access import parse_access
from tair_simulator.seed import read_seed
from tests.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CRD = ROOT / "crds" / "tairinstances.yaml"
SEED = EXAMPLES / "simulator" / "seed.yaml"
ACCESS_LISTS = sorted(EXAMPLES.glob("access*.yaml"))
MANIFESTS = sorted(set(EXAMPLES.glob("*.yaml")) - set(ACCESS_LISTS))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMESPACE = "examples"


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    control_plane.apply(CRD)
    control_plane.wait_established("tairinstances.tair.alibabacloud.com")
    control_plane.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
    return control_plane


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def shown(kinds: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the pages show of these kinds, with a name for each."""
    for page in PAGES:
        blocks = (documents(block) for block in BLOCK.findall(page.read_text(encoding="utf-8")))
        found = (document for block in blocks for document in block if document.get("kind") in kinds)
        yield from ((f"{page.relative_to(ROOT)}-{number}", document) for number, document in enumerate(found))


def apply(plane: ControlPlane, document: dict[str, Any], *options: str) -> dict[str, Any]:
    """Apply a manifest in the namespace of these tests, as strictly as the API server can."""
    strict = ("--server-side", "--validate=strict", "--warnings-as-errors", *options)
    mine = {**document, "metadata": {**document["metadata"], "namespace": NAMESPACE}}
    stored: dict[str, Any] = plane.kubectl_json("apply", *strict, "-f", "-", stdin=json.dumps(mine))
    return stored


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_an_example_is_stored_as_it_is_written(plane: ControlPlane, path: Path) -> None:
    written = documents(path.read_text(encoding="utf-8"))
    stored = [apply(plane, document) for document in written]
    for document in written:
        plane.kubectl("delete", document["kind"], document["metadata"]["name"], "-n", NAMESPACE, "--now")

    resources = [document for document in written if document["kind"] == "TairInstance"]
    assert len(resources) == 1
    assert [document["spec"] for document in stored if document["kind"] == "TairInstance"] == [resources[0]["spec"]]
    assert {document["metadata"]["namespace"] for document in written} == {"shop"}


@pytest.mark.parametrize("path", MANIFESTS + ACCESS_LISTS, ids=lambda path: path.stem)
def test_an_example_says_in_its_first_lines_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[:3] if line.startswith("# ")]

    assert 1 <= len(comment) <= 2
    assert lines[0] == comment[0]


@pytest.mark.parametrize("path", ACCESS_LISTS, ids=lambda path: path.stem)
def test_an_access_list_is_one(path: Path) -> None:
    assert parse_access(path.read_text(encoding="utf-8"), path.name).rules


def test_no_file_is_left_out() -> None:
    used = {*MANIFESTS, *ACCESS_LISTS, SEED}

    assert read_seed(SEED).instances
    assert {path for path in EXAMPLES.rglob("*") if path.is_file()} == used


def test_every_field_of_the_spec_is_in_an_example() -> None:
    version = documents(CRD.read_text(encoding="utf-8"))[0]["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    written = [document for path in MANIFESTS for document in documents(path.read_text(encoding="utf-8"))]
    shown_paths = {path for document in written for path in paths_of("spec", document.get("spec", {}))}

    assert set(schema_paths("spec", spec)) - shown_paths == set()


def paths_of(path: str, value: object) -> Iterator[str]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield f"{path}.{name}"
        yield from paths_of(f"{path}.{name}", inner)


def schema_paths(path: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from schema_paths(f"{path}.{name}", inner)


@pytest.mark.parametrize(
    "document", [pytest.param(document, id=name) for name, document in shown({"TairInstance", "Role", "RoleBinding"})]
)
def test_a_manifest_that_a_page_shows_is_valid(plane: ControlPlane, document: dict[str, Any]) -> None:
    stored = apply(plane, document, "--dry-run=server")

    assert stored.get("spec") == document.get("spec")
    assert stored.get("rules") == document.get("rules")


def commands(start: str) -> list[str]:
    """Return the commands that the pages show and that begin so, each once."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return sorted(set(re.findall(rf"^\$ (kubectl {start}.*)$", text, re.MULTILINE)))


@pytest.mark.parametrize("command", commands("get tair -A -o custom-columns"))
def test_a_command_that_shows_all_resources_shows_them(plane: ControlPlane, command: str) -> None:
    manifest = documents((EXAMPLES / "release-with-guards.yaml").read_text(encoding="utf-8"))[0]
    apply(plane, manifest)
    plan = {"id": "8c61f1a50c2e", "action": "ReleaseDirectConnection", "reason": "Pending"}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": {"plan": plan}}))
    plane.kubectl("patch", "tair", "orders-cache", "-n", NAMESPACE, *patch)
    # What a page filters the lines with has to be there on the reader's machine, and not on this one.
    lines = plane.kubectl(*shlex.split(command.partition(" | ")[0])[1:]).splitlines()
    plane.kubectl("delete", "tair", "orders-cache", "-n", NAMESPACE, "--now")

    values = dict(zip(lines[0].split(), next(line for line in lines if NAMESPACE in line).split(), strict=True))
    wanted = {"NAME": "orders-cache", "PLAN": plan["action"], "ID": plan["id"], "WAITS": "Pending", "REASON": "Pending"}
    assert {name: value for name, value in wanted.items() if name in values}.items() <= values.items()


def test_the_overlay_of_a_first_install_observes(plane: ControlPlane) -> None:
    page = (ROOT / "docs/how-to/first-install.md").read_text(encoding="utf-8")
    patches = next(block for block in BLOCK.findall(page) if block.startswith("patches:"))
    overlay = ROOT / "deploy/kustomize/overlays/example"
    built = documents(plane.kubectl("kustomize", overlay))

    deployment = next(document for document in built if document["kind"] == "Deployment")
    env = {pair["name"]: pair["value"] for pair in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert patches in (overlay / "kustomization.yaml").read_text(encoding="utf-8")
    assert env["TAIR_OPERATOR_MODE"] == "Observe"
    assert env["TAIR_OPERATOR_FIRST_CONTACT_RELEASE"] == "RequireApproval"
    assert "TAIR_OPERATOR_ACCESS_FILE" in env


def test_the_import_of_a_list_of_instances_makes_resources_that_only_observe(
    plane: ControlPlane, tmp_path: Path
) -> None:
    page = (ROOT / "docs/how-to/move-from-a-script.md").read_text(encoding="utf-8")
    script = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    subprocess.run(["bash", "-eu", "-c", script[0]], cwd=tmp_path, check=True)
    made = documents((tmp_path / "tair.yaml").read_text(encoding="utf-8"))
    stored = [apply(plane, document, "--dry-run=server") for document in made]

    assert len(script) == 1
    assert [set(document["spec"]) for document in stored] == [{"instanceId", "regionId"}] * 2
