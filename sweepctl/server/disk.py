"""The data folder as files: what is on the disk for good, and what its owner alone may read."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

FOLDERS = ("artifacts", "files", "logs", "work")
"""The folders of a data folder."""

_OTHERS = 0o077


def sync(path: Path) -> None:
    """Have a file on the disk, or the names in a folder: what was replaced does not come back."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(data: Path, name: str) -> Path:
    """Give a folder of a data folder, made for its owner alone, as that is, where it is not yet."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = data / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def close_folders(data: Path) -> list[str]:
    """Close those of our own that others may read; give their names.

    They hold what trainings printed and saved. Earlier versions left them open.
    """
    closed = []
    for name in FOLDERS:
        folder = data / name
        with suppress(OSError):
            seen = folder.lstat()
            is_ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
            if is_ours and seen.st_mode & _OTHERS:
                folder.chmod(0o700)
                closed.append(f"{name}/")
    return closed


def close_file(data: Path, name: str) -> None:
    """Close a file of the folder to others, with what SQLite keeps beside it.

    The data file has the secret that signs the addresses of files. Earlier versions left it open.
    """
    for path in data.glob(f"{name}*"):
        with suppress(OSError):
            if path.is_file() and path.stat().st_mode & _OTHERS:
                path.chmod(0o600)
