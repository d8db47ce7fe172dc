"""Pruning: a data folder gives back what nothing needs, and nothing that a run may need.

Beside a server it touches only what no request can bring back: places of files are never used
twice, so one that no row names stays so. Contents of artifacts come back under the same name, and
a database is made smaller by nobody else's leave: that waits until the folder is ours alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sweepctl.server.server_process import check_holds_sweeps
from sweepctl.server.store import blob_store, file_store, leftovers
from sweepctl.server.store.copies import megabytes
from sweepctl.server.store.database import DATABASE, cared_for
from sweepctl.server.store.sweep_store import Rows

_LEAST_AGE_S = 3600.0
"""An upload has its place before it has its row; beside a server no younger file is touched."""


@dataclass(frozen=True, slots=True)
class Freed:
    """One kind of what nothing needs."""

    kind: str
    count: int
    size_bytes: int


@dataclass(slots=True)
class Pruned:
    """What was freed, or would be, and what was left for a reason."""

    is_tried: bool
    freed: list[Freed] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """How much is freed in all."""
        return sum(freed.size_bytes for freed in self.freed)

    @property
    def said(self) -> list[str]:
        """What people are told, a line each."""
        lines = [f"{each.kind}: {each.count}, {megabytes(each.size_bytes)}" for each in self.freed]
        end = "would be freed (dry run)" if self.is_tried else "freed"
        return [*lines, f"{megabytes(self.size_bytes)} {end}"]


def prune(
    data: Path,
    *,
    older_than_s: float,
    with_checkpoints: bool,
    dry_run: bool,
    now: Callable[[], float],
) -> Pruned:
    """Remove what nothing needs and what is older than a time, or with `dry_run` say what that is.

    `with_checkpoints` takes those of finished runs as well.
    """
    check_holds_sweeps(data)
    done = Pruned(is_tried=dry_run)
    with cared_for(data) as (rows, is_alone):
        before = now() - (older_than_s if is_alone else max(older_than_s, _LEAST_AGE_S))
        work = _Work(data, rows, before, done)
        work.streamed_of_deleted_runs()
        if with_checkpoints:
            work.checkpoints()
        work.files_of_no_run()
        work.copies()
        if is_alone:
            work.contents_of_no_artifact()
            work.free_part()
        else:
            done.left += [
                "contents of artifacts, and the database's free part"
                f" ({megabytes(leftovers.free_bytes(rows))}, which new data takes first), are for"
                " when the server has ended"
            ]
    return done


@dataclass(frozen=True, slots=True)
class _Work:
    data: Path
    rows: Rows
    before: float
    done: Pruned

    def streamed_of_deleted_runs(self) -> None:
        gone = leftovers.runs_without_row(self.rows)
        if not self.done.is_tried:
            for run in gone:
                with leftovers.transaction(self.rows) as tx:
                    leftovers.delete_streamed(tx, run)
        self._note("deleted runs with data left", len(gone), 0)

    def checkpoints(self) -> None:
        found = leftovers.old_checkpoints(self.rows, self.before)
        if not self.done.is_tried:
            with leftovers.transaction(self.rows) as tx:
                # Since it was listed, a run may have been handed out again.
                found = leftovers.old_checkpoints(tx, self.before, tuple(f.pk for f in found))
                file_store.delete_files(tx, [file.pk for file in found])
            for file in found:
                (self.data / "files" / file.stored).unlink(missing_ok=True)
        self._note("checkpoints of finished runs", len(found), sum(f.size_bytes for f in found))

    def files_of_no_run(self) -> None:
        folder = self.data / "files"
        there = list(_files(folder))  # before the rows: what comes in meanwhile is in those
        named = set(file_store.places(self.rows))
        left = [path for path in there if str(path.relative_to(folder)) not in named]
        self._remove("files of no run", left)

    def contents_of_no_artifact(self) -> None:
        folder = self.data / "artifacts"
        unused = blob_store.unused_blobs(self.rows)
        if not self.done.is_tried:
            with leftovers.transaction(self.rows) as tx:
                blob_store.take_unused(tx, unused)
        used = {*blob_store.all_blobs(self.rows)} - {*unused}
        self._remove("contents of no artifact", [p for p in _files(folder) if p.name not in used])

    def copies(self) -> None:
        found = self.data.glob(f"{DATABASE}.before-*")
        self._remove("copies from before an upgrade", sorted(found))

    def free_part(self) -> None:
        free_bytes = leftovers.free_bytes(self.rows)
        whole_bytes = (self.data / DATABASE).stat().st_size
        if not free_bytes:
            return
        if shutil.disk_usage(self.data).free < 2 * whole_bytes:
            needed = megabytes(2 * whole_bytes)
            self.done.left.append(f"the database's free part: making it smaller needs {needed}")
            return
        if not self.done.is_tried:
            leftovers.compact(self.rows)
            free_bytes = whole_bytes - (self.data / DATABASE).stat().st_size
        self._note("the database's free part", 1, max(0, free_bytes))

    def _remove(self, kind: str, paths: list[Path]) -> None:
        count = size_bytes = 0
        for path in paths:
            with suppress(FileNotFoundError):
                seen = path.lstat()
                if seen.st_mtime > self.before:
                    continue
                if not self.done.is_tried:
                    path.unlink()
                count, size_bytes = count + 1, size_bytes + seen.st_size
        self._note(kind, count, size_bytes)

    def _note(self, kind: str, count: int, size_bytes: int) -> None:
        if count:
            self.done.freed.append(Freed(kind, count, size_bytes))


def _files(folder: Path) -> Iterator[Path]:
    """Give the files two levels below a folder; those of uploads under way are the server's."""
    for below in (entry for entry in _entries(folder) if entry.name != ".incoming"):
        if below.is_dir(follow_symlinks=False):
            for entry in _entries(Path(below.path)):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except FileNotFoundError:
        return []
