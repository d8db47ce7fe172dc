"""Logins of browsers that were ended before their time, and stay so when the server restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from sweepctl.server.store.database import Database

_KEY = "sessions_ended"


class EndedLogins:
    """The names of logins that hold no more, each until it would have ended by itself.

    Safe to use from any thread. `now` is the time of the calendar.
    """

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now
        self._guard = threading.Lock()
        with database.read() as rows:
            found = rows.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
        self._until: dict[str, int] = json.loads(found[0]) if found else {}

    def __contains__(self, name: str) -> bool:
        with self._guard:
            return name in self._until

    def add(self, name: str, until: int) -> None:
        """End a login: what this returns from is on the disk."""
        with self._database.write() as tx:
            with self._guard:
                held = {**self._until, name: until}
                self._until = {each: end for each, end in held.items() if end > self._now()}
                text = json.dumps(self._until)
            tx.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, text))
