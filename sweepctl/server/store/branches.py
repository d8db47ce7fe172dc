"""The history that a run goes on from: a copy of another run's start, or its own start alone.

W&B's client asks for the first by `fork_from` and for the second, a rewind, by `resume_from`; both
name a step, whose lines are the last that stay.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sweepctl.server.json_texts import stored_object
from sweepctl.server.store import summary_store, writers

_LINES_BACK = 10_000
"""How far back a key's last value is looked for, to make a summary of a history."""


def fork_history(tx: sqlite3.Connection, run: int, parent: int, last_step: int) -> None:
    """Give a new run the history of its parent up to a step, as if it had logged that itself."""
    tx.execute(
        "INSERT INTO history SELECT ?, row_number() OVER (ORDER BY line) - 1, step, text"
        " FROM history WHERE run = ? AND step <= ?",
        (run, parent, last_step),
    )
    query = "UPDATE runs SET history_keys = (SELECT history_keys FROM runs WHERE pk = ?)"
    tx.execute(f"{query} WHERE pk = ?", (parent, run))
    _settle(tx, run, {})


def rewind_history(tx: sqlite3.Connection, run: int, last_step: int) -> None:
    """Take away what a run logged after a step; its files and its console log stay."""
    (known,) = tx.execute("SELECT history_keys FROM runs WHERE pk = ?", (run,)).fetchone()
    (summary,) = tx.execute("SELECT summary FROM runs WHERE pk = ?", (run,)).fetchone()
    logged = {key.partition(".")[0] for key in json.loads(known)} | set(json.loads(known))
    tx.execute("DELETE FROM history WHERE run = ? AND step > ?", (run, last_step))
    writers.forget(tx, run)
    set_by_hand = {key: value for key, value in json.loads(summary).items() if key not in logged}
    _settle(tx, run, set_by_hand)


def _settle(tx: sqlite3.Connection, run: int, summary: dict[str, Any]) -> None:
    """Make a run's last step and its summary those of the history that it has now."""
    last: dict[str, Any] = {}
    query = "SELECT text FROM history WHERE run = ? ORDER BY line DESC LIMIT ?"
    for (text,) in tx.execute(query, (run, _LINES_BACK)):
        last = {**stored_object(text), **last}
    found = tx.execute("SELECT max(step) FROM history WHERE run = ?", (run,)).fetchone()[0]
    step = -1 if found is None else int(found)
    tx.execute("UPDATE runs SET last_step = ?, is_restarted = 0 WHERE pk = ?", (step, run))
    summary_store.write_summary(tx, run, json.dumps({**summary, **last}))
