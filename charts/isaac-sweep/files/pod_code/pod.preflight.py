"""Whether this node can train at all: a GPU that answers, room on the disk, a folder to write to.

Each check gives the reason why not, or None. An unfit node is left (exit code 76) before it spoils
a run; the reason goes to the container's termination message, where `kubectl describe` shows it.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

DEFAULT_MIN_FREE_MB = 200
_NVIDIA_SMI_LIMIT_S = 60
_TERMINATION_MESSAGE_BYTES = 4096  # what Kubernetes keeps of it


def unfit_reason(
    work: Path, *, gpu: str, min_free_mb: int, environ: Mapping[str, str]
) -> str | None:
    """Give the first reason why this node cannot train; None when it can."""
    return (
        unwritable_reason(work)
        or full_disk_reason(work, min_free_mb)
        or (missing_gpu_reason(environ) if gpu == "auto" else None)
    )


def unwritable_reason(work: Path) -> str | None:
    """Say why the work folder cannot be written to."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work):
            return None
    except OSError as error:
        return f"the work folder {work} cannot be written to: {_reason(error)}"


def full_disk_reason(work: Path, min_free_mb: int) -> str | None:
    """Say that the disk of the work folder has too little room left."""
    try:
        free_mb = shutil.disk_usage(work).free // 2**20
    except OSError as error:
        return f"the disk of the work folder {work} does not answer: {_reason(error)}"
    if free_mb >= min_free_mb:
        return None
    return f"the disk of the work folder {work} is full: {free_mb} MB free, {min_free_mb} MB needed"


def missing_gpu_reason(environ: Mapping[str, str]) -> str | None:
    """Say why there is no GPU to train on, as `nvidia-smi -L` sees it."""
    try:
        done = _list_gpus(environ)
    except subprocess.TimeoutExpired:
        return f"the GPU driver hangs: `nvidia-smi -L` gave no answer in {_NVIDIA_SMI_LIMIT_S} s"
    except OSError as error:
        # Some images carry an empty file of that name, which the NVIDIA runtime replaces.
        why = "is no program here" if error.errno == errno.ENOEXEC else _reason(error)
        return f"no GPU: nvidia-smi {why}; without a GPU use --preflight-gpu off"
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0 or "GPU " not in said:
        return f"no GPU: `nvidia-smi -L` says {said.splitlines()[0][:300] if said else 'nothing'!r}"
    return None


def gpu_count(environ: Mapping[str, str]) -> int:
    """Count the GPUs that a trainer sees, as torch does; 0 where nothing tells."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip()])
    try:
        said = _list_gpus(environ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith(b"GPU ") for line in said.splitlines())


def _list_gpus(environ: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["nvidia-smi", "-L"],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_NVIDIA_SMI_LIMIT_S,
        check=False,
    )


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
