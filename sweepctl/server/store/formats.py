"""The formats of the data file: the schema of today, and how a file of each older one becomes it.

A key is never given twice, also after its row was deleted: clients know rows by their keys, in node
ids and in signed addresses, and one whose run is gone must not write into another.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing

from sweepctl.server.store.artifact_schema import ARTIFACT_TABLES
from sweepctl.server.store.writers import WRITER_TABLES

SCHEMA_VERSION = 10

_PRIOR_RUNS = (
    "CREATE TABLE prior_runs (sweep INTEGER NOT NULL REFERENCES sweeps,"
    " run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (sweep, run)) WITHOUT ROWID;"
)

_DELETED_RUNS = (
    "CREATE TABLE deleted_runs (project INTEGER NOT NULL, id TEXT NOT NULL,"
    " PRIMARY KEY (project, id)) WITHOUT ROWID;"
)

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE projects (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, name TEXT NOT NULL,
  created REAL NOT NULL,
  UNIQUE (entity, name)
);
CREATE TABLE sweeps (
  pk INTEGER PRIMARY KEY AUTOINCREMENT,
  project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL, is_exhausted INTEGER NOT NULL DEFAULT 0, method TEXT NOT NULL,
  display_name TEXT, description TEXT,
  metric TEXT, goal TEXT NOT NULL, run_cap INTEGER, run_count_expected INTEGER,
  created REAL NOT NULL, updated REAL NOT NULL,
  config_text TEXT NOT NULL, spec TEXT NOT NULL
);
CREATE INDEX sweeps_of_project ON sweeps (project, pk);
CREATE TABLE agents (
  pk INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  sweep INTEGER NOT NULL REFERENCES sweeps,
  host TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, heartbeat REAL NOT NULL,
  is_own INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX agents_of_sweep ON agents (sweep, pk);
CREATE TABLE runs (
  pk INTEGER PRIMARY KEY AUTOINCREMENT,
  project INTEGER NOT NULL REFERENCES projects, id TEXT NOT NULL,
  sweep INTEGER REFERENCES sweeps, agent INTEGER REFERENCES agents, last_agent INTEGER,
  state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0,
  false_starts INTEGER NOT NULL DEFAULT 0,
  queued REAL, is_silent INTEGER NOT NULL DEFAULT 0, is_started INTEGER NOT NULL DEFAULT 0,
  is_preempting INTEGER NOT NULL DEFAULT 0, is_stop_asked INTEGER NOT NULL DEFAULT 0,
  is_restarted INTEGER NOT NULL DEFAULT 0,
  exit_code INTEGER, display_name TEXT, notes TEXT, description TEXT, group_name TEXT,
  job_type TEXT, host TEXT, program TEXT, commit_hash TEXT,
  user_name TEXT NOT NULL DEFAULT 'local', tags TEXT NOT NULL DEFAULT '[]',
  created REAL NOT NULL, updated REAL NOT NULL, heartbeat REAL NOT NULL,
  last_step INTEGER NOT NULL DEFAULT -1, lost_step INTEGER NOT NULL DEFAULT -1, params TEXT,
  history_keys TEXT NOT NULL DEFAULT '[]', summary TEXT NOT NULL DEFAULT '{}',
  config TEXT NOT NULL DEFAULT '{}',
  UNIQUE (project, id)
);
CREATE INDEX runs_of_project ON runs (project, pk);
CREATE INDEX runs_of_sweep ON runs (sweep, pk) WHERE sweep IS NOT NULL;
CREATE INDEX runs_held ON runs (agent) WHERE agent IS NOT NULL;
CREATE INDEX runs_queued ON runs (sweep, queued) WHERE queued IS NOT NULL;
CREATE INDEX runs_live ON runs (state) WHERE state IN ('pending', 'running', 'preempting');
CREATE TABLE summary_values (
  run INTEGER NOT NULL, key TEXT NOT NULL, value, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE history (
  run INTEGER NOT NULL, line INTEGER NOT NULL, step INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, line)
) WITHOUT ROWID;
CREATE INDEX history_steps ON history (run, step);
CREATE TABLE lines (
  run INTEGER NOT NULL, stream TEXT NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (run, stream, line)
) WITHOUT ROWID;
CREATE TABLE files (
  pk INTEGER PRIMARY KEY AUTOINCREMENT,
  run INTEGER NOT NULL, name TEXT NOT NULL, stored TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, md5 TEXT NOT NULL, updated REAL NOT NULL, UNIQUE (run, name)
);
"""

_UPGRADES = {
    2: ("ALTER TABLE runs ADD COLUMN is_restarted INTEGER NOT NULL DEFAULT 0;",),
    3: ("ALTER TABLE agents ADD COLUMN is_own INTEGER NOT NULL DEFAULT 1;", _PRIOR_RUNS),
    4: ("ALTER TABLE runs ADD COLUMN lost_step INTEGER NOT NULL DEFAULT -1;",),
    5: (_DELETED_RUNS,),
    6: ARTIFACT_TABLES,
    7: WRITER_TABLES,
    8: ("ALTER TABLE runs ADD COLUMN user_name TEXT NOT NULL DEFAULT 'local';",),
    9: ("ALTER TABLE runs ADD COLUMN false_starts INTEGER NOT NULL DEFAULT 0;",),
}
"""The SQL that turns a file of each older format into one of the next format."""

OLDER_FORMATS = frozenset(_UPGRADES)
"""The formats that `upgrade` takes."""

_REUSED_KEYS_UP_TO = 5
"""The last format that gave the key of a deleted row again."""

_KEYED = ("projects", "sweeps", "agents", "runs", "files")
"""The tables of those formats whose keys clients know."""

_ROOM_FOR_DELETED = 1_000_000
"""How many keys are left out after such a format: it does not tell which keys of rows that are gone
somebody still knows, and no folder has had that many rows deleted."""


def create(connection: sqlite3.Connection) -> None:
    """Write the schema into a new file, in one transaction."""
    secret = secrets.token_hex(32)
    connection.executescript(
        f"BEGIN IMMEDIATE; {_SCHEMA} {_PRIOR_RUNS} {_DELETED_RUNS}"
        f" {' '.join((*ARTIFACT_TABLES, *WRITER_TABLES))}"
        f" INSERT INTO meta VALUES ('secret', '{secret}');"
        f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Turn a file of an older format into one of today's, in one transaction."""
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in range(version, SCHEMA_VERSION):
            for statement in _UPGRADES[step]:
                connection.execute(statement)
            if step == _REUSED_KEYS_UP_TO:
                for table in _KEYED:
                    _never_reuse_keys(connection, table)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def show_as_todays(connection: sqlite3.Connection) -> None:
    """Have a file of an older format read like one of today's; the file itself stays as it is.

    What it lacks is laid over it for this connection alone: a table as an empty one, a column with
    its default.
    """
    connection.execute("PRAGMA temp_store = MEMORY")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as today:
        create(today)
        tables = today.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table.startswith("sqlite_"):
                continue
            info = f"PRAGMA main.table_info({table})"
            wanted = {row[1]: row[4] for row in today.execute(info)}
            there = {row[1] for row in connection.execute(info)}
            added = [f"{value} AS {name}" for name, value in wanted.items() if name not in there]
            if not there:
                connection.execute(f"CREATE TEMP TABLE {table} ({', '.join(wanted)})")
            elif added:
                shown = f"SELECT *, {', '.join(added)} FROM main.{table}"
                connection.execute(f"CREATE TEMP VIEW {table} AS {shown}")


def _never_reuse_keys(tx: sqlite3.Connection, table: str) -> None:
    """Copy a table into one that counts its keys on, above all that it may have had."""
    # https://www.sqlite.org/lang_altertable.html#otheralter: SQLite cannot add AUTOINCREMENT.
    query = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type = ? AND sql IS NOT NULL"
    ((made,),) = tx.execute(query, (table, "table")).fetchall()
    indexes = [sql for (sql,) in tx.execute(query, (table, "index")).fetchall()]
    _, _, body = made.partition("(")
    counted = body.replace("INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", 1)
    copy = f"copied_{table}"
    tx.execute(f"CREATE TABLE {copy} ({counted}")
    tx.execute(f"INSERT INTO {copy} SELECT * FROM {table}")
    highest = tx.execute(f"SELECT coalesce(max(pk), 0) FROM {table}").fetchone()[0]
    tx.execute("DELETE FROM sqlite_sequence WHERE name = ?", (copy,))
    tx.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (copy, highest + _ROOM_FOR_DELETED))
    tx.execute(f"DROP TABLE {table}")
    tx.execute(f"ALTER TABLE {copy} RENAME TO {table}")
    for sql in indexes:
        tx.execute(sql)
