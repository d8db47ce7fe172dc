"""The data folder: one SQLite file in WAL mode, one writer, many readers.

It owns opening, locking and versions, and turns SQLite's errors into ones that say what to do.
What is committed is on disk (synchronous=FULL). The rows belong to the other files here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sweepctl.server import bounds
from sweepctl.server.errors import BadMessageError, StoreUnavailableError
from sweepctl.server.store.changes import Changes
from sweepctl.server.store.copies import check_room, copy_database, size_bytes
from sweepctl.server.store.filters import SQL_FUNCTIONS
from sweepctl.server.store.formats import (
    OLDER_FORMATS,
    SCHEMA_VERSION,
    create,
    show_as_todays,
    upgrade,
)
from sweepctl.server.store.group_commit import GroupWriter
from sweepctl.server.store.troubles import Troubles
from sweepctl.server.timings import Timings
from sweepctl_pod.errors import SweepctlError

_ASK_EVERY = 1_000
_SECRET = "SELECT value FROM meta WHERE key = 'secret'"
"""After how many instructions of its machine SQLite asks whether it may go on."""

_NOT_THE_DISK = (
    "Expression tree is too large",
    "LIKE or GLOB pattern too complex",
    "no such column",
    "parser stack overflow",
    "string or blob too big",
    "too many",
    "user-defined function raised",
)
"""What SQLite says of a request that it cannot carry out, however often it comes."""

_LOOKED_AT_S = 0.2
"""For how long a lock is tried that may be somebody's who only looks."""

DATABASE = "sweepctl.sqlite"
"""The file of a data folder that holds its rows."""


class Database:
    """One data folder, owned by one process. Reads run beside the one writer.

    `write()` gives the connection inside a transaction: it is committed, with those of others, when
    `write()` returns, and leaves nothing behind when the block raises. Safe to use from any thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.troubles = Troubles(time.monotonic, self.writes)
        self._lock_file = _take_folder(folder)
        self._local = threading.local()
        self._readers = _Readers()
        path = folder / DATABASE
        self._path = path
        with suppress(OSError):  # SQLite says what is wrong with it
            # A new file is its owner's alone from the first byte on, whatever the folder is.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            version = _version_of(path)
            self.kept_before = None if version in (None, SCHEMA_VERSION) else _keep_before(path)
            self._writer = self._connect()
            if version is None:
                create(self._writer)
            else:
                upgrade(self._writer, version)
            self._group_writer = GroupWriter(self._writer)
            self.changes = Changes(self.version)
            self.changes.watch(self._writer)
            self._group_writer.on_stored.append(self.changes.stored)
        except sqlite3.Error as error:
            self._lock_file.close()
            raise _opening_error(path, error) from error
        except BaseException:
            self._lock_file.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the writing connection inside one transaction."""
        with _translated(self._path), self._group_writer.write() as tx:
            yield tx

    def version(self) -> int:
        """Count what was stored since this was opened: while it stays, nothing has changed."""
        return self._group_writer.version

    def writes(self) -> int:
        """Count the writes that were committed since then."""
        return self._group_writer.writes

    @property
    def commits(self) -> Timings:
        """How long their commits took."""
        return self._group_writer.commits

    def when_undone(self, forget: Callable[[], None]) -> None:
        """Have `forget` called when rows that a writer has seen were never stored."""
        self._group_writer.on_undone.append(forget)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's reading connection."""
        with _translated(self._path):
            reader = getattr(self._local, "reader", None)
            if reader is None or self._readers.are_closed:
                self._local.reader = reader = self._readers.open(self._connect)
            yield reader.connection

    def secret(self) -> bytes:
        """Give the secret of this folder, which signs the addresses of files."""
        with self.read() as rows:
            return bytes.fromhex(rows.execute(_SECRET).fetchone()[0])

    def close(self) -> None:
        """Close every connection and free the folder, with all of it in the one file.

        Whoever copies another file over that later must find no log beside it, which SQLite would
        take for the copy's. One that reads beside us may keep the log's file there: empty, then.
        """
        self._readers.close()
        self._group_writer.close()
        self._lock_file.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -16000")
        for name, (count, function) in SQL_FUNCTIONS.items():
            connection.create_function(name, count, function, deterministic=True)
        connection.set_progress_handler(bounds.is_over, _ASK_EVERY)
        return connection


class _Readers:
    """The reading connections, one of each thread. One ends with its thread, or when all do."""

    def __init__(self) -> None:
        # A thread may be collecting garbage, and so closing another's, while it has the guard.
        self._guard = threading.RLock()
        self._open: set[sqlite3.Connection] = set()
        self.are_closed = False

    def open(self, connect: Callable[[], sqlite3.Connection]) -> _Reader:
        with self._guard:
            if self.are_closed:
                raise sqlite3.OperationalError("the server ends")
            connection = connect()
            self._open.add(connection)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -4000")  # there is one a thread
        return _Reader(connection, self.end)

    def end(self, connection: sqlite3.Connection) -> None:
        """Close one; when this returns it is closed, whoever has begun to."""
        with self._guard, suppress(sqlite3.Error):
            self._open.discard(connection)
            connection.close()

    def close(self) -> None:
        """Close all, and open no more."""
        with self._guard:
            self.are_closed = True
            while self._open:
                self.end(self._open.pop())


class _Reader:
    """The reading connection of a thread. It ends with it: threads come and go as requests do."""

    def __init__(
        self, connection: sqlite3.Connection, end: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.connection = connection
        self._end = end

    def __del__(self) -> None:
        self._end(self.connection)


@contextmanager
def read_only(folder: Path, name: str = DATABASE) -> Iterator[sqlite3.Connection]:
    """Give a connection that reads a data folder, also beside a server, and leaves no file there.

    A folder of an older format is read as one of today's. A SweepctlError says why a folder cannot
    be read at all, for example because a newer sweepctl wrote it.
    Without a write-ahead log nobody is writing. Then the file is opened as immutable: SQLite would
    create a log otherwise, and leave it behind.
    """
    path = folder.absolute() / name
    is_at_rest = not path.with_name(f"{path.name}-wal").exists()
    place = f"{path.as_uri()}?mode=ro{'&immutable=1' if is_at_rest else ''}"
    with (
        _translated(path),
        closing(sqlite3.connect(place, uri=True, timeout=30, isolation_level=None)) as connection,
    ):
        version = _checked_version(connection, path)
        if version is None:
            raise SweepctlError(f"{path} is empty", "give another folder: --data DIR")
        if version != SCHEMA_VERSION:
            show_as_todays(connection)
        yield connection


class FolderTakenError(SweepctlError):
    """A server works on the folder."""


@contextmanager
def cared_for(folder: Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """Give a connection that may write, and whether the folder is ours alone meanwhile.

    Otherwise a server works on it, and the connection waits its turn. The folder has today's
    format: an older one is an error, for upgrading is a server's work.
    """
    path = folder / DATABASE
    try:
        version = _version_of(path)
    except sqlite3.Error as error:
        raise _opening_error(path, error) from error
    if version != SCHEMA_VERSION:
        raise SweepctlError(
            f"{path} is of an older format ({version}; this sweepctl writes {SCHEMA_VERSION})",
            f"have a server upgrade it first: sweepctl server --data {folder}",
        )
    lock: _Lock | None = None
    with suppress(FolderTakenError):
        lock = _take_folder(folder)
    try:
        with (
            _translated(path),
            closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA synchronous = FULL")
            yield connection, lock is not None
    finally:
        if lock is not None:
            lock.close()


@dataclass(frozen=True, slots=True)
class _Lock:
    """The lock file of a folder, and the handle of the folder where that can be locked itself."""

    file: IO[str]
    folder: int | None

    def close(self) -> None:
        self.file.close()
        if self.folder is not None:
            os.close(self.folder)


def _take_folder(folder: Path) -> _Lock:
    """Lock the folder for this process: two servers on one folder would hand out runs twice."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_file = (folder / "sweepctl.lock").open("a+")
    except OSError as error:
        raise SweepctlError(
            f"cannot write in the data folder {folder}: {error.strerror or error}",
            "give a folder that this user may write to: --data DIR",
        ) from error
    try:
        _lock_alone(lock_file)
        handle = _lock_itself(folder)
    except OSError as error:
        lock_file.seek(0)
        owner = lock_file.read().strip()
        lock_file.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise SweepctlError(
                f"cannot lock the data folder {folder}: {error.strerror}"
            ) from error
        raise FolderTakenError(
            f"the data folder {folder} is used by another server"
            + (f" (process {owner})" if owner else ""),
            "end that server, or give another folder: --data DIR",
        ) from error
    with suppress(OSError):
        lock_file.truncate(0)
        lock_file.write(str(os.getpid()))
        lock_file.flush()
    return _Lock(lock_file, handle)


def _lock_alone(file: IO[str]) -> None:
    """Lock a file; who only looks whether it is locked has it for a moment (`taken_by`)."""
    deadline = time.monotonic() + _LOOKED_AT_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() > deadline:
                raise
        time.sleep(_LOOKED_AT_S / 10)


def is_taken(folder: Path) -> bool:
    """Say whether a server has the folder now."""
    return taken_by(folder) is not None


def taken_by(folder: Path) -> int | None:
    """Give the process that has the folder now; 0 for one that does not say."""
    try:
        with (folder / "sweepctl.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    return None
                said = file.read(20).strip()
                return int(said) if said.isdigit() else 0
    except OSError as error:
        return 0 if error.errno == errno.EACCES else None
    return None


def _lock_itself(folder: Path) -> int | None:
    """Lock the folder as well, if it can be: a lock file may be deleted, and another made."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return None  # a file system that locks no folders
    return handle


def before_path(path: Path, version: int = SCHEMA_VERSION) -> Path:
    """Give where the copy of a data file lies that was made before it got a format."""
    return path.with_name(f"{path.name}.before-{version}")


def _keep_before(path: Path) -> Path:
    """Copy a file of an older format, which is to be upgraded: that is the way back."""
    kept = before_path(path)
    check_room(
        path.parent,
        # The upgrade itself writes tables anew.
        2 * size_bytes(path),
        f"upgrading {path} to format {SCHEMA_VERSION}, with a copy of it from before,",
        "make room, or go on with the sweepctl that wrote it",
    )
    with closing(sqlite3.connect(path, timeout=30)) as source:
        copy_database(source, kept)
    return kept


def _version_of(path: Path) -> int | None:
    """Give the format of a file, None of a new one; a file of something else is left untouched."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        return _checked_version(connection, path)


def _checked_version(connection: sqlite3.Connection, path: Path) -> int | None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version == SCHEMA_VERSION or version in OLDER_FORMATS:
        return int(version)
    if version > SCHEMA_VERSION:
        raise SweepctlError(
            f"{path} was written by a newer sweepctl (its format is {version},"
            f" this one knows {SCHEMA_VERSION})",
            "upgrade sweepctl, or give another folder: --data DIR",
        )
    if version or tables:
        raise SweepctlError(
            f"{path} is not a data file of sweepctl",
            "give another folder: --data DIR",
        )
    return None


def _opening_error(path: Path, error: sqlite3.Error) -> SweepctlError:
    if isinstance(error, sqlite3.OperationalError):
        return SweepctlError(
            f"cannot open {path}: {error}", "is the disk full, or the folder read-only?"
        )
    return SweepctlError(
        f"{path} is damaged: {error}",
        "move it away to start anew, or bring it back from a backup",
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn trouble of the disk into StoreUnavailableError: the same request may succeed later."""
    try:
        yield
    except sqlite3.OperationalError as error:
        bounds.check()  # it may be that which has interrupted it
        if any(words in str(error) for words in _NOT_THE_DISK):
            raise BadMessageError(f"the data cannot be asked for this: {error}") from error
        raise StoreUnavailableError(f"the data file {path} is not usable now: {error}") from error
    except sqlite3.DataError as error:
        raise BadMessageError(f"a value cannot be stored: {error}") from error
    except sqlite3.DatabaseError as error:
        if type(error) is sqlite3.DatabaseError:
            raise StoreUnavailableError(f"the data file {path} is damaged: {error}") from error
        raise
