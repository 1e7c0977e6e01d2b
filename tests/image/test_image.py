"""The image is built here for real, twice, and the operator is started from it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
import yaml

from tests.cluster.tenants import RELEASE, is_ready, make_tenant
from tests.controlplane import ControlPlane
from tests.image.building import EPOCH, ROOT, Builder, Image, run
from tests.image.rooms import inside, remove_shells
from tests.stage import Stage

pytestmark = pytest.mark.timeout(1200)
PYTHON = ["python", "-P", "-m"]
PIN = re.compile(r"^([a-z0-9.-]+)==([^ \\;]+)", re.MULTILINE)


def test_the_same_commit_makes_the_same_bytes(builder: Builder, image: Image) -> None:
    again = builder.build("second")

    assert again.layers == image.layers
    assert again.config == image.config
    assert again.digest == image.digest


def test_the_image_says_what_it_is_and_runs_as_a_number(image: Image) -> None:
    labels = {
        name.rsplit(".", 1)[-1]: value for name, value in image.config["Labels"].items() if "opencontainers" in name
    }

    assert image.config["User"] == "65532:65532"
    assert image.config["Entrypoint"] == [*PYTHON, "tair_operator"]
    assert labels["created"] == "2023-11-14T22:13:20Z"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert labels["version"] == ours()


def test_nothing_in_the_environment_has_a_time_of_its_own_or_belongs_to_the_user(root: Path) -> None:
    files = {path: path.lstat() for path in (root / "venv").rglob("*")}
    timed = [path for path, found in files.items() if found.st_mtime != EPOCH]
    owned = [path for path, found in files.items() if found.st_uid or found.st_gid]
    writable = [path for path, found in files.items() if not path.is_symlink() and found.st_mode & 0o022]

    assert len(files) > 1000
    assert (timed, owned, writable) == ([], [], [])


def test_every_module_is_compiled_and_names_the_hash_of_its_source(root: Path) -> None:
    compiled = [*(root / "venv").rglob("*.pyc")]
    sources = list((root / "venv/lib").rglob("*.py"))
    flags = {path.read_bytes()[4:8] for path in compiled}

    assert len(compiled) == len(sources) > 1000
    # Bit 0: by hash. Bit 1, check the source, is off.
    assert flags == {b"\x01\x00\x00\x00"}


def test_the_environment_has_what_is_pinned_and_no_installer(root: Path) -> None:
    assert installed(root) == pinned() | {"tair-operator": ours()}
    assert {path.name for path in (root / "venv/bin").iterdir() if not path.name.startswith("python")} == {
        "tair-operator",
        "tair-simulator",
    }


def test_the_bill_of_materials_lists_what_is_in_the_image(root: Path) -> None:
    run(["make", "sbom"])
    text = (ROOT / "dist/sbom.cdx.json").read_text(encoding="utf-8")
    bill = json.loads(text)
    listed = {canonical(component["name"]): component["version"] for component in bill["components"]}
    subject = bill["metadata"]["component"]
    run(["make", "sbom"])

    assert listed | {canonical(subject["name"]): subject["version"]} == installed(root)
    assert (ROOT / "dist/sbom.cdx.json").read_text(encoding="utf-8") == text
    assert str(ROOT) not in text


@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_every_requirement_has_a_wheel_for(platform: str, tmp_path: Path) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    options = ["--python-platform", platform, "--python-version", "3.11", "--only-binary", ":all:", "--no-deps"]
    pins = ["--require-hashes", "-r", "requirements/runtime.txt"]
    # Without --dry-run: the wheels are fetched and their hashes compared.
    run(
        [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            sys.executable,
            "--target",
            str(tmp_path / "target"),
            *options,
            *pins,
        ]
    )
    names = {canonical(found.name) for found in distributions(path=[str(tmp_path / "target")])}

    assert names == set(pinned())
    machine = platform.split("-", maxsplit=1)[0]
    assert [path for path in (tmp_path / "target").rglob("*linux-gnu.so") if machine not in path.name] == []


@pytest.fixture
def stage(root: Path, image: Image) -> Iterator[Stage]:
    with ControlPlane() as plane:
        stage = Stage(plane)
        stage.simulator.command = inside(
            root, image, [*PYTHON, "tair_simulator"], volumes=[stage.simulator.seed.parent]
        )
        with stage:
            stage.install()
            yield stage


def test_without_any_shell_a_number_on_a_read_only_root_releases(stage: Stage, image: Image, root: Path) -> None:
    """Operator and simulator both run from the image, which has no shell any more."""
    assert "sh" in remove_shells(root)
    operator = stage.operator("image")
    operator.kubeconfig = readable(operator.kubeconfig, operator.folder)
    operator.command = inside(root, image, image.config["Entrypoint"], volumes=[operator.folder])
    refused = subprocess.run(
        inside(root, image, ["python", "-c", "open('/venv/x', 'w')"]), capture_output=True, text=True, check=False
    )
    with operator:
        status = Path(f"/proc/{operator.pid}/status").read_text(encoding="utf-8")
        tenant = make_tenant(stage)
        tenant.apply(directConnection=True)
        tenant.wait(is_ready)
        tenant.apply(directConnection=False)
        released = tenant.wait(lambda found: is_ready(found) and found["status"]["observedGeneration"] == 2)

    assert released["status"]["directConnection"] == {"state": "Released"}
    assert len(tenant.effective(RELEASE)) == 1
    assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert "Read-only file system" in refused.stderr or "Permission denied" in refused.stderr
    assert refused.returncode == 1


def readable(kubeconfig: Path, folder: Path) -> Path:
    """Copy a kubeconfig and the certificate that it names to where the operator's user may read them."""
    content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    for entry in content["clusters"]:
        authority = Path(entry["cluster"]["certificate-authority"])
        entry["cluster"]["certificate-authority"] = str(folder / authority.name)
        (folder / authority.name).write_bytes(authority.read_bytes())
    copied = folder / "kubeconfig"
    copied.write_text(yaml.safe_dump(content), encoding="utf-8")
    return copied


def installed(root: Path) -> dict[str, str]:
    [packages] = (root / "venv/lib").glob("python3.*/site-packages")
    found: list[Distribution] = [*distributions(path=[str(packages)])]
    return {canonical(distribution.name): distribution.version for distribution in found}


def pinned() -> dict[str, str]:
    """Return what the requirements pin; nothing of it is for another system only."""
    return dict(PIN.findall((ROOT / "requirements/runtime.txt").read_text(encoding="utf-8")))


def ours() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found.group(1)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
