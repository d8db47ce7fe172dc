"""The folders in which buildah works: each goes with its build, or with the next start of tests.

A build that is killed leaves mounts and gigabytes. Whose folder is still in use shows its lock,
which the build's processes hold as well: a number of a process may be another's by now.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "sweepctl-buildah-"
_LOCK = "in-use"


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """Where a build works, and the handle that its processes are to hold."""

    path: Path
    lock: int


@contextmanager
def build_folder() -> Iterator[BuildFolder]:
    """Give a folder for one build; what killed ones have left is cleared away first."""
    clear_left_builds()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as work, open(f"{work}/{_LOCK}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield BuildFolder(Path(work), lock.fileno())


def clear_left_builds() -> list[Path]:
    """Clear away the folders of builds that are gone, with what is mounted there; give them."""
    cleared = []
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        try:
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _unmount(folder)
                shutil.rmtree(folder)
        except OSError:
            continue  # in use, just begun, another user's, or still busy
        cleared.append(folder)
    return cleared


def _unmount(folder: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in sorted(points, reverse=True):
        if point.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
