"""Builds the image for real where no container engine runs: Debian's buildah, with chroot as the isolation.

The base is made here too, by debootstrap, and gets the name of the one that the Dockerfile
names: a minimal Debian with its Python 3.11. It is kept in the user's cache, since
making it takes some minutes. Containers and images live in a storage beside it, so
nothing else on the machine is touched.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.controlplane.binaries import cache_folder

ROOT: Final = Path(__file__).parents[2]
BASE_IMAGE: Final = "docker.io/library/python:3.11-slim"
SUITE: Final = "bookworm"
NAME: Final = "localhost/tair-operator"
# Any fixed time.
EPOCH: Final = 1_700_000_000
# What a machine behind a proxy or a mirror tells pip, and the authorities it trusts.
_OF_THIS_MACHINE: Final = ("/etc/pip.conf", "/etc/ssl/certs")
_BASE_FILE: Final = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
CMD ["python3"]
"""


class BuildError(Exception):
    """The image cannot be built here; the message says what to do about it."""


@dataclass(frozen=True)
class Image:
    """An image: its name, the digest of its manifest, and its configuration."""

    name: str
    digest: str
    layers: list[str]
    config: dict[str, Any]


@dataclass
class Builder:
    """buildah with a storage of its own."""

    folder: Path
    environment: dict[str, str]
    _containers: list[str] = field(default_factory=list)
    _images: list[str] = field(default_factory=list)

    @classmethod
    def open(cls) -> Self:
        """Prepare the storage, and the base where it is not there yet; raises `BuildError`."""
        folder = cache_folder().parent / "image"
        folder.mkdir(parents=True, exist_ok=True)
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n')
        chosen = {"CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot"}
        builder = cls(folder, os.environ | chosen | {"SOURCE_DATE_EPOCH": str(EPOCH)})
        if not builder.buildah("images", "--quiet", "--filter", f"reference={BASE_IMAGE}").strip():
            builder.make_base()
        return builder

    def close(self) -> None:
        """Remove the containers and images; the base stays."""
        for name in self._containers:
            self.buildah("umount", name)
            self.buildah("rm", name)
        for name in self._images:
            self.buildah("rmi", "--force", name)

    def make_base(self) -> None:
        """Make a minimal Debian with Python under the base's name."""
        tree, context = self.folder / "tree", self.folder / "context"
        for path in (tree, context):
            shutil.rmtree(path, ignore_errors=True)
        context.mkdir()
        try:
            include = "ca-certificates,python3,python3-pip"
            run(["debootstrap", "--variant=minbase", f"--include={include}", SUITE, str(tree), mirror()])
            (tree / "usr/bin/python").symlink_to("python3.11")
            run(["tar", "-C", str(tree), "--exclude=./var/cache/apt/*", "-cf", str(context / "base.tar"), "."])
            (context / "Dockerfile").write_text(_BASE_FILE)
            self.buildah("build", "--quiet", "--tag", BASE_IMAGE, str(context))
        finally:
            shutil.rmtree(tree, ignore_errors=True)
            shutil.rmtree(context, ignore_errors=True)

    def build(self, tag: str) -> Image:
        """Build the image from nothing, as `make image` does."""
        name = f"{NAME}:{tag}"
        volumes = [f"--volume {path}:{path}:ro" for path in _OF_THIS_MACHINE if Path(path).exists()]
        arguments = " ".join(["--pull-never", "--no-cache", *volumes])
        make = ["make", "image", "ENGINE=buildah", f"IMAGE={name}", f"IMAGE_ARGS={arguments}"]
        run(make, environment=self.environment)
        self._images.append(name)
        found = json.loads(self.buildah("inspect", "--type", "image", name))
        layers = found["OCIv1"]["rootfs"]["diff_ids"]
        return Image(name, found["FromImageDigest"], layers, found["OCIv1"]["config"])

    def mount(self, image: Image) -> Path:
        """Return the folder with the files of a new container; a change there does not change the image."""
        container = self.buildah("from", "--pull-never", image.name).strip()
        self._containers.append(container)
        return Path(self.buildah("mount", container).strip())

    def buildah(self, *arguments: str) -> str:
        """Run buildah and return what it prints; raises `BuildError`."""
        return run(["buildah", *arguments], environment=self.environment)


def check_tools() -> None:
    """Raise `BuildError` with what is missing."""
    programs = ("buildah", "debootstrap", "unshare", "chroot", "apt-get", "make")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        message = f"{', '.join(missing)}: not found. On Debian: apt install buildah debootstrap util-linux make"
        raise BuildError(message)
    if os.geteuid() != 0:
        message = (
            "Only root can mount the image's file system and change into it: run this as root, in a machine of its own"
        )
        raise BuildError(message)


def mirror() -> str:
    """Return where this machine's apt gets the suite from; raises `BuildError`."""
    listed = run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"])
    places = [words[1] for words in map(str.split, listed.splitlines()) if words[0] == SUITE]
    if not places:
        message = f"apt knows no place with Debian {SUITE}: add it to the sources, then apt update"
        raise BuildError(message)
    return places[0]


def run(command: list[str], *, environment: dict[str, str] | None = None) -> str:
    """Run a program in the repository and return what it prints; raises `BuildError` with the end of its words."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
        raise BuildError(message)
    return done.stdout
