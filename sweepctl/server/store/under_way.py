"""The runs of a folder that a client works on, whatever the folder's format."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

from sweepctl.server.store.database import DATABASE, read_only

_LIVE = "state IN ('pending', 'running', 'preempting') AND queued IS NULL"


def runs_under_way(folder: Path) -> frozenset[int]:
    """Give the keys of the runs that a client has begun and not ended; none without a data file."""
    if not (folder / DATABASE).is_file():
        return frozenset()
    with read_only(folder) as rows:
        if not rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
            return frozenset()
        return frozenset(pk for (pk,) in rows.execute(f"SELECT pk FROM runs WHERE {_LIVE}"))


def is_any_under_way(rows: sqlite3.Connection, runs: Collection[int]) -> bool:
    """Say whether one of these runs has not ended."""
    live = rows.execute(f"SELECT pk FROM runs WHERE {_LIVE}")
    return any(pk in runs for (pk,) in live)
