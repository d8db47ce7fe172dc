"""The cluster's programs: built from the pinned Go modules in `go/`, or taken from a folder.

A build's folder is named by the hash of all that decides its content (go.mod, go.sum, sources,
flags, Go's version): a finished build is never made twice, a changed pin never uses an old program.
With `KUBEBUILDER_ASSETS` set nothing is built: that folder must hold every program.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.layout import KUBERNETES_VERSION, cache_dir
from tests.testbed.requirements import BedUnavailable

SOURCES = Path(__file__).parent / "go"
_VERSION = "k8s.io/component-base/version"
_KUBERNETES_LDFLAGS = (
    f"-X {_VERSION}.gitVersion=v{KUBERNETES_VERSION} -X {_VERSION}.gitTreeState=clean "
    f"-X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor={KUBERNETES_VERSION.split('.')[1]}"
)


@dataclass(frozen=True, slots=True)
class Module:
    """One Go module with its pins, and the programs built from it."""

    name: str
    programs: Mapping[str, str]
    """Program name -> Go package."""
    ldflags: str = ""


MODULES = (
    Module(
        "kubernetes",
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "coredns": "./coredns",
            "deviceplugin": "./deviceplugin",
            "kwok": "sigs.k8s.io/kwok/cmd/kwok",
        },
        _KUBERNETES_LDFLAGS,
    ),
    # Debian's containerd is 1.6: image volumes, for one, need 2.1.
    Module(
        "containerd",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
        "-X github.com/containerd/containerd/v2/version.Version=v2.4.2",
    ),
    Module(
        "helm",
        {
            "helm": "helm.sh/helm/v4/cmd/helm",
            "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
        },
        # An unstamped helm says it is v4.3 and asks a cluster for no patch release.
        "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
    ),
)


def module(name: str) -> Module:
    """The module of that name."""
    return next(m for m in MODULES if m.name == name)


def programs(
    wanted: Module, environ: Mapping[str, str], say: Callable[[str], None] = lambda line: None
) -> dict[str, Path]:
    """Return the path of every program of a module, building what the cache lacks."""
    if assets := environ.get("KUBEBUILDER_ASSETS"):
        return _from_assets(wanted, Path(assets))
    if shutil.which("go") is None:
        raise BedUnavailable(
            f"no 'go' on PATH to build {', '.join(wanted.programs)} with: install Go 1.26 or "
            "later, or set KUBEBUILDER_ASSETS to a folder with ready-made programs"
        )
    folder = _folder(wanted, environ)
    if not folder.is_dir():
        _build(wanted, folder, say)
    return {program: folder / program for program in wanted.programs}


def is_built(wanted: Module, environ: Mapping[str, str]) -> bool:
    """Tell whether `programs` would have nothing to build (that takes minutes)."""
    if environ.get("KUBEBUILDER_ASSETS") or shutil.which("go") is None:
        return True
    return _folder(wanted, environ).is_dir()


def _folder(wanted: Module, environ: Mapping[str, str]) -> Path:
    return cache_dir(environ) / "bin" / f"{wanted.name}-{_key(wanted)}"


def _from_assets(wanted: Module, assets: Path) -> dict[str, Path]:
    found = {program: assets / program for program in wanted.programs}
    missing = sorted(program for program, path in found.items() if not os.access(path, os.X_OK))
    if missing:
        raise BedUnavailable(
            f"KUBEBUILDER_ASSETS={assets} lacks {', '.join(missing)}: add them, or unset it to "
            "build them from the pinned Go modules"
        )
    return found


def _key(wanted: Module) -> str:
    version = subprocess.run(
        ["go", "env", "GOVERSION", "GOOS", "GOARCH"], capture_output=True, text=True, check=True
    ).stdout
    digest = hashlib.sha256(f"{version}{wanted.ldflags}{wanted.programs}".encode())
    source = SOURCES / wanted.name
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _build(wanted: Module, folder: Path, say: Callable[[str], None]) -> None:
    """Build into a folder beside the wanted one and rename it, under a lock: all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{wanted.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        say(f"building {', '.join(wanted.programs)} (once; minutes when Go's own cache is cold)")
        start_s = time.monotonic()
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for program, package in wanted.programs.items():
            _go_build(wanted, program, package, part / program)
            say(f"  {program}: {time.monotonic() - start_s:.0f} s")
        part.rename(folder)


def _go_build(wanted: Module, program: str, package: str, target: Path) -> None:
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    command += ["-ldflags", f"-s -w {wanted.ldflags}".strip(), "-o", str(target), package]
    environ = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    nice = [] if os.environ.get("CI") else ["nice", "-n", "10"]
    done = subprocess.run(
        [*nice, *command], cwd=SOURCES / wanted.name, env=environ, stderr=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        print(done.stderr[-4000:], file=sys.stderr)
        raise BedUnavailable(f"building {program} failed: see the messages of 'go build' above")
