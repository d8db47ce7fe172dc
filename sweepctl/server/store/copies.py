"""Copies of a data file: whole and consistent, also beside a server, and on the disk when made.

A copy has its name only when it is complete: one that was cut off is a `.part`, which the next one
replaces.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sweepctl.server.disk import sync
from sweepctl_pod.errors import SweepctlError


class NoSpaceError(SweepctlError):
    """What is to be written does not fit."""


def copy_database(source: sqlite3.Connection, target: Path) -> int:
    """Write what `source` holds now to a new file `target`, and give its size in bytes.

    Its owner alone can read it from the first byte on: it has the secret that signs addresses.
    """
    with whole_file(target) as part:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(part)) as written:
            source.backup(written)
    return target.stat().st_size


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give where to write; it becomes `target` when the block ends, and nothing when it raises."""
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        yield part
        sync(part)
        os.replace(part, target)
        sync(target.parent)
    except BaseException as error:
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)
        if _says_full(error):
            raise NoSpaceError(f"cannot write {target}: the disk is full", "make room") from error
        raise


def size_bytes(database: Path) -> int:
    """Give how much a data file takes, with what has not been moved into it yet."""
    log = database.with_name(f"{database.name}-wal")
    return sum(path.stat().st_size for path in (database, log) if path.exists())


def check_room(folder: Path, needed_bytes: int, what: str, hint: str) -> None:
    """Raise a NoSpaceError that names the space needed if a folder's disk has less free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise NoSpaceError(
            f"{what} needs {megabytes(needed_bytes)} free in {folder}, where"
            f" {megabytes(free_bytes)} are free",
            hint,
        )


def megabytes(count_bytes: int) -> str:
    """Say a size as people read it."""
    if count_bytes < 1 << 30:
        return f"{count_bytes / (1 << 20):.1f} MiB"
    return f"{count_bytes / (1 << 30):.1f} GiB"


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error)
