"""What the machine must offer for a test bed, and what to do where it does not."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CNI_BIN = Path("/usr/lib/cni")

DEBIAN_PACKAGES = {
    "runc": "runc",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
    "cc": "gcc",
    f"{CNI_BIN}/ptp": "containernetworking-plugins",
    f"{CNI_BIN}/host-local": "containernetworking-plugins",
}
"""Command (on PATH, or a path) -> the Debian package that has it."""


class BedUnavailable(Exception):
    """This machine cannot run a test bed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What a machine lacks."""

    reasons: tuple[str, ...]
    packages: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.reasons or self.packages)

    def __str__(self) -> str:
        parts = list(self.reasons)
        if self.packages:
            names = " ".join(self.packages)
            parts.append(f"missing programs: apt-get install --no-install-recommends {names}")
        return "; ".join(parts)


def missing() -> Missing:
    """Find what this machine lacks."""
    reasons = []
    if sys.platform != "linux":
        reasons.append(f"a test bed is Linux namespaces, and this is {sys.platform}")
    elif os.geteuid() != 0:
        reasons.append("a test bed needs root (namespaces, mounts, cgroups): run it with sudo")
    elif (refusal := _namespaces_refused()) is not None:
        reasons.append(f"this machine refuses new namespaces: {refusal}")
    absent = {package for command, package in DEBIAN_PACKAGES.items() if not shutil.which(command)}
    return Missing(tuple(reasons), tuple(sorted(absent)))


def _namespaces_refused() -> str | None:
    if not shutil.which("unshare"):
        return None
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
    )
    return None if probe.returncode == 0 else probe.stderr.strip()


def install_or_explain() -> None:
    """Install what is missing where that is possible; else raise with the reason.

    Raises:
        BedUnavailable: with what is missing and the command that helps.
    """
    lacking = missing()
    if lacking.packages and not lacking.reasons:
        install(*lacking.packages)
        lacking = missing()
    if lacking:
        raise BedUnavailable(str(lacking))


def install(*packages: str) -> None:
    """Install Debian packages where that is possible; else change nothing."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        # Several processes of pytest may lack something at once; apt-get refuses all but one.
        with open(Path(tempfile.gettempdir(), "sweepctl-apt-get.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            print(f"installing {' '.join(packages)}", file=sys.stderr, flush=True)
            _apt_get("update", "-qq")
            _apt_get("install", "-qq", "--no-install-recommends", *packages)


def program(name: str, package: str) -> str:
    """Give the path of a program, installed where that is possible.

    Raises:
        BedUnavailable: with the command that helps.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    if not shutil.which(name, path=path):
        install(package)
    found = shutil.which(name, path=path)
    if found is None:
        raise BedUnavailable(f"no {name} here: apt-get install {package}")
    return found


def _apt_get(*arguments: str) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-y", *arguments],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    if done.returncode != 0:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        print(f"apt-get {arguments[0]} failed: {' '.join(tail)}", file=sys.stderr)
