"""Backups of a data folder: one tar of database, files and artifacts, also beside a server.

A place of a file or a content never gets other bytes, so it is enough that all which the copied
database names is there. What vanished before it was read was replaced or deleted since the copy:
then the database is copied again, and only what is new is read. The database comes last.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from sweepctl.server.server_process import check_holds_sweeps
from sweepctl.server.store import blob_store, file_store
from sweepctl.server.store.copies import (
    check_room,
    copy_database,
    megabytes,
    size_bytes,
    whole_file,
)
from sweepctl.server.store.database import DATABASE, read_only
from sweepctl_pod.errors import SweepctlError, UsageError

STDOUT = Path("-")

_ENDINGS = (".tar", ".tar.gz", ".tgz")

_ROUNDS = 100
"""How often files may vanish: each round reads only what is new, so the later ones are quick."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    path: str
    size_bytes: int
    database_bytes: int
    files: int
    contents: int
    missing: tuple[str, ...]
    """What the database names and the disk does not have: the backup is as the folder is."""

    @property
    def said(self) -> str:
        """What people are told."""
        what = f"{self.files} files, {self.contents} contents of artifacts"
        return f"backup/{self.path} written: {megabytes(self.size_bytes)} ({what})"


def write_backup(data: Path, target: Path) -> Backup:
    """Write a backup of a data folder to a new file, or to stdout for `-`."""
    check_holds_sweeps(data)
    if target == STDOUT:
        if sys.stdout.isatty():
            raise UsageError("the backup is no text for a terminal", "write `> FILE` after it")
        with tempfile.TemporaryDirectory() as scratch:
            return _fill(data, sys.stdout.buffer, Path(scratch) / DATABASE, "-")
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already", "give a new file, or remove it first")
    if not target.parent.is_dir():
        raise UsageError(f"no folder {target.parent}", f"make it: mkdir -p {target.parent}")
    if not target.name.endswith(_ENDINGS):
        name = f"{target.stem.removesuffix('.tar')}.tar"
        raise UsageError(
            f"{target}: a backup is a tar, compressed by gzip or not: {', '.join(_ENDINGS)}",
            f"name it {target.with_name(name)}",
        )
    copy = target.with_name(f".{target.name}.{os.getpid()}.sqlite")
    try:
        _check_room(data, target.parent)
        with whole_file(target) as part:
            # The database holds the secret that signs addresses.
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                return _fill(data, out, copy, str(target))
    except OSError as error:
        raise SweepctlError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        copy.unlink(missing_ok=True)


def _fill(data: Path, out: IO[bytes], copy: Path, name: str) -> Backup:
    written: dict[str, int] = {}
    missing: set[str] = set()
    with tarfile.open(fileobj=out, mode=_mode(name), format=tarfile.PAX_FORMAT) as tar:
        for _ in range(_ROUNDS):
            database_bytes = _copied(data, copy)
            with read_only(copy.parent, copy.name) as rows:
                named = [
                    *(f"files/{place}" for place in file_store.places(rows)),
                    *(f"artifacts/{blob[:2]}/{blob}" for blob in blob_store.all_blobs(rows)),
                ]
            absent = set()
            for each in named:
                if each not in written and not _add(tar, data, each, written):
                    absent.add(each)
            is_whole, missing = absent <= missing, absent
            if is_whole:  # what is absent was so before, and is still named: it never will be there
                break
        else:
            raise SweepctlError(
                f"files of {data} vanish as quickly as they are read",
                "try again, or end its server",
            )
        tar.add(copy, DATABASE, filter=_plain)
    return Backup(
        path=name,
        size_bytes=tar.offset if name == "-" else out.tell(),
        database_bytes=database_bytes,
        files=sum(each.startswith("files/") for each in written),
        contents=sum(each.startswith("artifacts/") for each in written),
        missing=tuple(sorted(missing)),
    )


def _copied(data: Path, copy: Path) -> int:
    """Copy the database as it was at one moment.

    A file at rest is read without locks, so it is copied again if a server has begun meanwhile.
    """
    for _ in range(_ROUNDS):
        before = _at_rest(data / DATABASE)
        with read_only(data) as rows:
            size = copy_database(rows, copy)
        if before is None or _at_rest(data / DATABASE) == before:
            break
    return size


def _at_rest(path: Path) -> tuple[int, int, int] | None:
    """Tell a file's version while nobody has it open to write; None when somebody may have."""
    if path.with_name(f"{path.name}-wal").exists():
        return None
    seen = path.stat()
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def _add(tar: tarfile.TarFile, data: Path, name: str, written: dict[str, int]) -> bool:
    """Add a file that is there; an open one is read whole, also when its name goes away."""
    try:
        source = (data / name).open("rb")
    except FileNotFoundError:
        return False
    with source:
        member = _plain(tar.gettarinfo(arcname=name, fileobj=source))
        tar.addfile(member, source)
    written[name] = member.size
    return True


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Have a member belong to whoever unpacks it, and be read by no other."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _mode(name: str) -> Literal["w|gz", "w|"]:
    return "w|gz" if name.endswith((".gz", ".tgz")) else "w|"


def _check_room(data: Path, folder: Path) -> None:
    """Refuse what does not fit: the copy of the database lies beside the backup meanwhile."""
    with read_only(data) as rows:
        stored_bytes = file_store.total_bytes(rows) + blob_store.total_bytes(rows)
    needed_bytes = 2 * size_bytes(data / DATABASE) + stored_bytes
    check_room(folder, needed_bytes, "the backup", "give a file on another disk, or `-` for stdout")
