"""What a data file holds that nothing needs any more: the rows that pruning finds and deletes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sweepctl.server.store.sweep_store import Rows
from sweepctl_pod.wandb.states import RunState

_STREAMED = ("history", "lines", "summary_values")

CHECKPOINTS = "sweepctl/checkpoints/"
"""Under which name a run's files have what its next attempt goes on from."""


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file that may go."""

    pk: int
    stored: str
    size_bytes: int


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Give the connection inside a transaction of its own, also beside a server."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def runs_without_row(rows: Rows) -> list[int]:
    """List the keys of runs that are gone and of which there are lines or values."""
    found: set[int] = set()
    for table in _STREAMED:
        # Each step jumps to the next run: a table is never read through.
        query = (
            f"WITH RECURSIVE each_run(run) AS (SELECT min(run) FROM {table} UNION ALL"
            f" SELECT (SELECT min(run) FROM {table} WHERE run > each_run.run) FROM each_run"
            " WHERE each_run.run IS NOT NULL)"
            " SELECT run FROM each_run WHERE run IS NOT NULL AND run NOT IN (SELECT pk FROM runs)"
        )
        found.update(row[0] for row in rows.execute(query))
    return sorted(found)


def delete_streamed(tx: Rows, run: int) -> int:
    """Delete the lines and values of a run that is gone; say how many."""
    if tx.execute("SELECT 1 FROM runs WHERE pk = ?", (run,)).fetchone():
        return 0
    tables = (f"DELETE FROM {table} WHERE run = ?" for table in _STREAMED)
    return sum(tx.execute(query, (run,)).rowcount for query in tables)


def old_checkpoints(rows: Rows, before: float, pks: tuple[int, ...] | None = None) -> list[OldFile]:
    """List the checkpoints of runs that finished before a time: no attempt goes on from these.

    Of all, or of those with the given keys that are still so.
    """
    query = (
        "SELECT files.pk, files.stored, files.size_bytes FROM files JOIN runs ON runs.pk = run"
        " WHERE substr(files.name, 1, ?) = ? AND runs.state = ? AND runs.updated < ?"
        " AND runs.agent IS NULL AND runs.queued IS NULL"
    )
    given = (len(CHECKPOINTS), CHECKPOINTS, RunState.FINISHED.value, before)
    found = [OldFile(*row) for row in rows.execute(query, given)]
    return found if pks is None else [file for file in found if file.pk in pks]


def free_bytes(rows: Rows) -> int:
    """Give how much of the file is free for rows to come."""
    (free,) = rows.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = rows.execute("PRAGMA page_size").fetchone()
    return int(free * page_bytes)


def compact(connection: sqlite3.Connection) -> None:
    """Give the free part of the file back to the disk; nobody else may have it open."""
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
