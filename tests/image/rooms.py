"""A command in the image's file system as kubelet would start it: read-only, a number as user, no privilege.

Not a container: processes, network and limits are the machine's. What matters here is the
file system, the user, and that nothing else is needed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.image.building import Image

# A mount namespace of its own. $1 is the root, $2 the image's PATH; the folders up to -- are seen read-only at the same
# place inside, as kubelet mounts volumes; the rest is the command.
_ENTER: Final = """
set -e
root=$1 path=$2; shift 2
mount --bind "$root" "$root"
mount -t tmpfs -o mode=0755 tmpfs "$root/tmp"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"; mount --bind "$1" "$root$1"; mount -o remount,bind,ro "$root$1"; shift
done
shift
mount -t proc proc "$root/proc"
mount --bind /dev/null "$root/dev/null"
mount -o remount,ro "$root/tmp"
mount -o remount,bind,ro "$root"
export PATH="$path"
exec setpriv --no-new-privs --bounding-set=-all,+setuid,+setgid,+sys_chroot --inh-caps=-all \\
  chroot --userspec=65532:65532 --groups= "$root" "$@"
"""


def inside(root: Path, image: Image, command: Sequence[str], *, volumes: Sequence[Path] = ()) -> list[str]:
    """Return what runs the command there; it sees the volumes at the places that they have here."""
    path = next(value for value in image.config["Env"] if value.startswith("PATH=")).removeprefix("PATH=")
    start = [_program("unshare"), "--mount", "--propagation", "private", _program("sh"), "-c", _ENTER, "enter"]
    return [*start, str(root), path, *map(str, volumes), "--", *command]


def remove_shells(root: Path) -> list[str]:
    """Remove every shell from a root, and return their names."""
    names = ("sh", "bash", "dash", "rbash", "ash", "busybox", "zsh")
    found = [
        path
        for folder in ("usr/bin", "bin")
        for name in names
        if (path := root / folder / name).is_symlink() or path.exists()
    ]
    for path in found:
        path.unlink(missing_ok=True)
    return sorted({path.name for path in found})


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, name
    return found
