"""The rows of the files that runs uploaded; `runs.files` keeps their bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.server.store.sweep_store import Rows, columns, insert


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a run uploaded; `stored` is its place below the folder of files."""

    pk: int
    run: int
    name: str
    stored: str
    size_bytes: int
    md5: str
    updated: float


_FILE = columns(StoredFile, "files")


def put_file(tx: Rows, run: int, name: str, values: Mapping[str, Any]) -> str | None:
    """Store that a run has a file; give the place of an earlier one of that name."""
    row = tx.execute(
        "DELETE FROM files WHERE run = ? AND name = ? RETURNING stored", (run, name)
    ).fetchone()
    insert(tx, "files", {"run": run, "name": name, **values})
    return row[0] if row else None


def find_file(rows: Rows, run: int, name: str) -> StoredFile | None:
    """Find a run's file by its name."""
    query = f"SELECT {_FILE} FROM files WHERE run = ? AND name = ?"
    row = rows.execute(query, (run, name)).fetchone()
    return StoredFile(*row) if row else None


def files(
    rows: Rows, run: int, names: Sequence[str], pattern: str | None, offset: int, count: int
) -> list[StoredFile]:
    """List a run's files by name: those named, else those like the pattern, else all."""
    query = (
        f"SELECT {_FILE} FROM files WHERE run = ?1"
        " AND (?2 = '[]' OR name IN (SELECT value FROM json_each(?2)))"
        " AND (?3 IS NULL OR name LIKE ?3) ORDER BY name LIMIT ?4 OFFSET ?5"
    )
    found = rows.execute(query, (run, json.dumps(list(names)), pattern, count, offset))
    return [StoredFile(*row) for row in found]


def files_of_sweep(rows: Rows, sweep: int, name: str) -> dict[int, StoredFile]:
    """Give the file of that name of each of a sweep's runs, by run."""
    query = (
        f"SELECT {_FILE} FROM files JOIN runs ON runs.pk = files.run"
        " WHERE runs.sweep = ? AND files.name = ?"
    )
    found = (StoredFile(*row) for row in rows.execute(query, (sweep, name)))
    return {file.run: file for file in found}


def count_files(rows: Rows, run: int) -> int:
    """Count a run's files."""
    query = "SELECT count(*) FROM files WHERE run = ?"
    return int(rows.execute(query, (run,)).fetchone()[0])


def places(rows: Rows) -> list[str]:
    """List the places of all files."""
    return [row[0] for row in rows.execute("SELECT stored FROM files")]


def total_bytes(rows: Rows) -> int:
    """Give how much all files are."""
    return int(rows.execute("SELECT coalesce(sum(size_bytes), 0) FROM files").fetchone()[0])


def delete_files(tx: Rows, pks: Sequence[int]) -> list[str]:
    """Delete the rows of files; give the places of their bytes."""
    stored = []
    for pk in pks:
        row = tx.execute("DELETE FROM files WHERE pk = ? RETURNING stored", (pk,)).fetchone()
        stored += [row[0]] if row else []
    return stored
