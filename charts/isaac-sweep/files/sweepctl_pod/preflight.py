"""Whether this node can train at all: a GPU that answers, room on the disk, a folder to write to.

Each check gives the reason why not, or None. The agent leaves an unfit node (exit code 76) before
it spoils a run; the reason goes to the container's termination message, for `kubectl describe`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweepctl_pod.errors import SweepctlError

DEFAULT_MIN_FREE_MB = 200
GPU_NAME = re.compile(r"\d+|GPU-[\w-]+|MIG-[\w/-]+")
"""A GPU or a MIG device as CUDA_VISIBLE_DEVICES names it."""
_LISTED = re.compile(r"^GPU (\d+): (.+?) \(UUID: (GPU-[\w-]+)\)", re.MULTILINE)
_MOST_LETTERS = 200
_NVIDIA_SMI_LIMIT_S = 60
_TERMINATION_MESSAGE_BYTES = 4096  # what Kubernetes keeps of it


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that an agent has, as far as that is known without asking anew."""

    count: int | None = None
    kind: str = ""
    """What they are called; several names with commas between."""


def check_node(
    work: Path, *, gpu: str, min_free_mb: int, environ: Mapping[str, str]
) -> tuple[str | None, Gpus]:
    """Give the first reason why this node cannot train, None when it can; and its GPUs."""
    reason = unwritable_reason(work) or full_disk_reason(work, min_free_mb)
    if reason is not None or gpu != "auto":
        return reason, seen_gpus(environ)
    try:
        return None, seen_gpus(environ, listed_gpus(environ))
    except SweepctlError as error:
        return error.reason, Gpus()


def unwritable_reason(work: Path) -> str | None:
    """Say why the work folder cannot be written to."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work):
            return None
    except OSError as error:
        return f"the work folder {work} cannot be written to: {_reason(error)}"


def full_disk_reason(work: Path, min_free_mb: int) -> str | None:
    """Say that the disk of the work folder has less than `min_free_mb` MB of room."""
    try:
        free_mb = shutil.disk_usage(work).free // 2**20
    except OSError as error:
        return f"the disk of the work folder {work} does not answer: {_reason(error)}"
    if free_mb >= min_free_mb:
        return None
    return f"the disk of the work folder {work} is full: {free_mb} MB free, {min_free_mb} MB needed"


class NoProgramError(SweepctlError):
    """There is no nvidia-smi here: this machine has no GPU."""


def listed_gpus(environ: Mapping[str, str], limit_s: float = _NVIDIA_SMI_LIMIT_S) -> str:
    """Give the lines of `nvidia-smi -L`; SweepctlError with the reason why it lists no GPU."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"`nvidia-smi -L` gave no answer in {limit_s:g} s"
        raise SweepctlError(f"the GPU driver hangs: {why}") from None
    except OSError as error:
        # Some images carry an empty file of that name, which the NVIDIA runtime replaces.
        why = "is no program here" if error.errno == errno.ENOEXEC else _reason(error)
        hint = "without a GPU use --preflight-gpu off"
        raise NoProgramError(f"no GPU: nvidia-smi {why}", hint) from None
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0 or "GPU " not in said:
        line = said.strip().splitlines()[0][:300] if said.strip() else "nothing"
        raise SweepctlError(f"no GPU: `nvidia-smi -L` says {line!r}")
    return said


def gpu_count(environ: Mapping[str, str]) -> int:
    """Count the GPUs that a trainer sees, as torch does; 0 where that is unknown."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len(visible_gpus(visible))
    try:
        listed = listed_gpus(environ)
    except SweepctlError:
        return 0
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def seen_gpus(environ: Mapping[str, str], listing: str = "") -> Gpus:
    """Tell the GPUs by CUDA_VISIBLE_DEVICES, and by what `nvidia-smi -L` has listed."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    names = None if visible is None else visible_gpus(visible)
    listed = [(found[1], found[3], found[2]) for found in _LISTED.finditer(listing)]
    kinds = [
        kind
        for number, uuid, kind in listed
        if names is None or number in names or any(uuid.startswith(name) for name in names)
    ]
    count = len(names) if names is not None else len(listed) or None
    return Gpus(count, ", ".join(dict.fromkeys(kinds))[:_MOST_LETTERS])


def visible_gpus(text: str) -> tuple[str, ...]:
    """Read CUDA_VISIBLE_DEVICES as CUDA does, which ignores all from the first unknown name on."""
    names: list[str] = []
    for name in text.split(","):
        if not GPU_NAME.fullmatch(name.strip()):
            break
        names.append(name.strip())
    return tuple(dict.fromkeys(names))


def write_termination_message(reason: str, environ: Mapping[str, str]) -> None:
    """Leave the reason where Kubernetes looks for it; outside a container there is no such file."""
    path = environ.get("TERMINATION_LOG") or "/dev/termination-log"
    if not os.path.exists(path):
        return
    try:
        with open(path, "wb") as file:
            file.write(reason.encode("utf-8", "replace")[:_TERMINATION_MESSAGE_BYTES])
    except OSError:
        return


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
