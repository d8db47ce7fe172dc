"""Transactions that wait at the same time share one commit, and so one wait for the disk.

Each is a savepoint of the transaction that is on the disk before any of them returns: one that
fails leaves nothing behind and undoes no other. Readers see none of it before.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sweepctl.server.errors import StoreUnavailableError
from sweepctl.server.timings import Timings

_MAX_MEMBERS = 128
_MAX_AGE_S = 0.02
"""After that long an open group takes nobody in: what is done already waits for those after it."""

_LOOK_EVERY_S = 1.0


@dataclass(eq=False, slots=True)
class _Group:
    """What shares one commit; `failure` makes the error of each member."""

    began: float
    members: int = 0
    failure: Callable[[], Exception] | None = None
    is_over: threading.Event = field(default_factory=threading.Event)


class GroupWriter:
    """The one writing connection of a data file; safe to use from any thread.

    `on_undone` is called when a commit failed, so that rows which some members have seen of others
    were never there, and `on_stored` when one has changed something. `version` counts those
    commits, `commits` how long each took, `writes` what they held.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.on_undone: list[Callable[[], None]] = []
        self.on_stored: list[Callable[[], None]] = []
        self.version = 0
        self.writes = 0
        self.commits = Timings()
        self._connection = connection
        self._changes = connection.total_changes
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting = 0
        self._group: _Group | None = None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction; return when the disk has it.

        What the disk refuses is raised as SQLite tells it.
        """
        self._take_turn()
        group: _Group | None = None
        try:
            group = self._joined()
            try:
                self._connection.execute("SAVEPOINT member")
                yield self._connection
                self._connection.execute("RELEASE member")
            except BaseException as error:
                self._undo_member(group, error)
                raise
            group.members += 1
        finally:
            try:
                self._commit_unless_others_follow()
            finally:
                self._turn.release()
        self._await(group)

    def close(self) -> None:
        """Commit what is open, move all of it from the log into the file, and end."""
        with self._turn:
            self._commit()
            with suppress(sqlite3.Error):
                # A log that stays in use (see the connection's timeout) is left as it is.
                self._connection.execute("PRAGMA busy_timeout = 1000")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with suppress(sqlite3.Error):
                self._connection.close()

    def _take_turn(self) -> None:
        """Wait for the connection; whoever has it sees that somebody waits."""
        with self._guard:
            self._waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._guard:
                self._waiting -= 1

    def _joined(self) -> _Group:
        if self._group is None:
            self._connection.execute("BEGIN IMMEDIATE")
            self._group = _Group(time.monotonic())
        return self._group

    def _undo_member(self, group: _Group, error: BaseException) -> None:
        """Take back what one has done; some errors of SQLite take everything back by themselves."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO member")
                self._connection.execute("RELEASE member")
                return
        except sqlite3.Error:
            self._roll_back()
        words = f"what others wrote was undone with it: {error}"
        self._end(lambda: StoreUnavailableError(words))

    def _commit_unless_others_follow(self) -> None:
        group = self._group
        if group is None:
            return
        is_full = group.members >= _MAX_MEMBERS or time.monotonic() - group.began > _MAX_AGE_S
        if is_full or not self._waiting:
            self._commit()

    def _commit(self) -> None:
        if self._group is None:
            return
        began, count = time.monotonic(), self._group.members
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # A full disk may have rolled the transaction back already.
            self._roll_back()
            kind, words = type(error), str(error)
            self._end(lambda: kind(words))
        else:
            if self._connection.total_changes != self._changes:
                self._changes = self._connection.total_changes
                self.version += 1
                self.writes += count
                self.commits.note(time.monotonic() - began)
                for stored in self.on_stored:
                    stored()
            self._end(None)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _end(self, failure: Callable[[], Exception] | None) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        if failure is not None:
            for undone in self.on_undone:
                undone()
        group.failure = failure
        group.is_over.set()

    def _await(self, group: _Group) -> None:
        while not group.is_over.wait(_LOOK_EVERY_S):
            # Whoever was to commit may have been interrupted while it waited for its turn.
            if self._turn.acquire(blocking=False):
                try:
                    if self._group is group:
                        self._commit()
                finally:
                    self._turn.release()
        if group.failure is not None:
            raise group.failure()
