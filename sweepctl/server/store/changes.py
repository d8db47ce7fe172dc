"""Who wants to know hears what was stored: which sweeps and runs a commit has changed.

Triggers of the writing connection itself tell it, so that no writer can forget to; they are
temporary and no part of the file. That somebody was heard of again changes nothing.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable
from typing import Literal

Kind = Literal["sweep", "run"]
Key = tuple[Kind, int]

_MOST_KNOWN = 20_000
"""Of so many the last change is known; of others, that it was no later than those."""

_OF_A_RUN = (
    "state, attempt, agent, queued, is_stop_asked, exit_code, display_name, notes, host, summary,"
    " config, params, sweep, tags"
)
"""What the page of a sweep tells of a run. How far it came stands in its summary as well."""

_TRIGGERS = tuple(
    f"CREATE TEMP TRIGGER {name} AFTER {event} ON main.{table} BEGIN SELECT {told}; END"
    for name, event, table, told in (
        ("run_made", "INSERT", "runs", "was_changed(NEW.sweep, NEW.pk)"),
        ("run_gone", "DELETE", "runs", "was_changed(OLD.sweep, OLD.pk)"),
        ("run_changed", f"UPDATE OF {_OF_A_RUN}", "runs", "was_changed(NEW.sweep, NEW.pk)"),
        ("run_went_on", "UPDATE OF last_step", "runs", "was_changed(NULL, NEW.pk)"),
        ("prior_came", "INSERT", "prior_runs", "was_changed(NEW.sweep, NEW.run)"),
        *(
            (f"file_{name}", event, "files", f"was_changed({of_run}, {row}.run)")
            for name, event, row in (
                ("came", "INSERT", "NEW"),
                ("renewed", "UPDATE", "NEW"),
                ("gone", "DELETE", "OLD"),
            )
            for of_run in (f"(SELECT sweep FROM runs WHERE pk = {row}.run)",)
        ),
        ("sweep_made", "INSERT", "sweeps", "was_changed(NEW.pk, NULL)"),
        ("sweep_gone", "DELETE", "sweeps", "was_changed(OLD.pk, NULL)"),
        ("sweep_changed", "UPDATE", "sweeps", "was_changed(NEW.pk, NULL)"),
        ("agent_made", "INSERT", "agents", "was_changed(NEW.sweep, NULL)"),
        ("agent_changed", "UPDATE OF state", "agents", "was_changed(NEW.sweep, NULL)"),
    )
)


def note_run(tx: sqlite3.Connection, run: int) -> None:
    """Tell of a change that no trigger tells of: one for each line of a log would cost too much."""
    tx.execute("SELECT was_changed(NULL, ?)", (run,)).fetchone()


class Changes:
    """The last change of each sweep and run; safe to use from any thread.

    `version` counts commits: a change is named by the commit that it came with.
    """

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._start = secrets.token_hex(4)
        self._guard = threading.Lock()
        self._under_way: set[Key] = set()
        self._last: dict[Key, int] = {}
        self._floor = 0
        self._waiting: dict[Key, list[Callable[[], None]]] = {}

    def watch(self, writer: sqlite3.Connection) -> None:
        """Have a connection tell what it changes."""
        writer.create_function("was_changed", 2, self._note)
        for trigger in _TRIGGERS:
            writer.execute(trigger)

    def stored(self) -> None:
        """Tell what was changed since the last call: now it can be read."""
        if not self._under_way:
            return
        changed, self._under_way = self._under_way, set()
        version = self._version()
        told: list[Callable[[], None]] = []
        with self._guard:
            for key in changed:
                self._last.pop(key, None)
                self._last[key] = version
                told += self._waiting.get(key, ())
            if len(self._last) > _MOST_KNOWN:
                for key in list(self._last)[: _MOST_KNOWN // 2]:
                    self._floor = max(self._floor, self._last.pop(key))
        for tell in told:
            tell()

    def last(self, kind: Kind, pk: int) -> int:
        """Name the last change of a sweep or run: while it stays, nothing has changed."""
        with self._guard:
            return self._last.get((kind, pk), self._floor)

    def shown(self, kind: Kind, pk: int) -> str:
        """Name for browsers what a page shows that is read from now on, also after a restart."""
        return f"{self._start}.{self.last(kind, pk)}"

    def await_change(self, kind: Kind, pk: int, tell: Callable[[], None]) -> Callable[[], None]:
        """Call `tell` after each change from now on, in the thread that wrote; give what ends it.

        It must be quick, and raise nothing.
        """
        with self._guard:
            self._waiting.setdefault((kind, pk), []).append(tell)

        def leave() -> None:
            with self._guard:
                left = [each for each in self._waiting.get((kind, pk), ()) if each is not tell]
                if left:
                    self._waiting[kind, pk] = left
                else:
                    self._waiting.pop((kind, pk), None)

        return leave

    def _note(self, sweep: int | None, run: int | None) -> None:
        if sweep is not None:
            self._under_way.add(("sweep", sweep))
        if run is not None:
            self._under_way.add(("run", run))
