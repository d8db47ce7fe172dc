"""A disk that is slow or that fails, in front of the real one: `slow_disk.c` by LD_PRELOAD."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("slow_disk.c")


def is_possible() -> bool:
    """Say whether this machine has a C compiler, which the library needs."""
    return shutil.which("cc") is not None


def on_disk(
    folder: Path, *, slow_ms: int = 0, log: Path | None = None, fails: Path | None = None
) -> tuple[str, ...]:
    """Give the words before a command that has such a disk; the library is built in `folder`."""
    library = folder / "slow_disk.so"
    if not library.exists():
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
    files = {"SLOW_DISK_LOG": log, "SLOW_DISK_FAILS": fails}
    named = [f"{name}={path}" for name, path in files.items() if path is not None]
    return ("env", f"LD_PRELOAD={library}", f"SLOW_DISK_MS={slow_ms}", *named)
