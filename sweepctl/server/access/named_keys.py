"""Further keys of a data folder, with names: DATA/keys.json has their hashes alone.

A command changes the file, and a running server sees it at the next request.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl.server.access.allowed import hash_of_key
from sweepctl.server.disk import sync
from sweepctl_pod.errors import SweepctlError, UsageError

_FILE = "keys.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key that somebody or something has: its name, its hash, when it was made."""

    name: str
    hash: bytes
    created: float


def add_key(data: Path, name: str, now: float) -> str:
    """Make a key with a name; give it, for it can be read nowhere afterwards."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a key",
            "letters, digits, and . _ @ - after the first: alice, ci@lab",
        )
    key = secrets.token_hex(20)
    with _changing(data):
        keys = named_keys(data)
        if any(each.name == name for each in keys):
            raise SweepctlError(
                f"there is a key named '{name}' in {data} already",
                "give another name, or revoke that one:"
                f" sweepctl server key revoke {name} {_here(data)}",
            )
        _write(data, [*keys, NamedKey(name, hash_of_key(key), now)])
    return key


def revoke_key(data: Path, name: str) -> None:
    """Take a key away: its next request is refused."""
    if not (data / _FILE).exists():
        raise _unknown(data, name, [])
    with _changing(data):
        keys = named_keys(data)
        kept = [each for each in keys if each.name != name]
        if len(kept) == len(keys):
            raise _unknown(data, name, keys)
        _write(data, kept)


def _unknown(data: Path, name: str, keys: list[NamedKey]) -> SweepctlError:
    known = ", ".join(each.name for each in keys)
    return SweepctlError(
        f"no key named '{name}' in {data}",
        f"there are: {known}" if known else "it has none; another folder is named by --data DIR",
    )


def _here(data: Path) -> str:
    """Give the option that names the folder: without it the same words mean another one's key."""
    return f"--data {shlex.quote(str(data))}"


def named_keys(data: Path) -> list[NamedKey]:
    """Read the keys that have names, the oldest first; none where the folder has none."""
    path = data / _FILE
    try:
        found = json.loads(path.read_text("utf-8"))
        return [
            NamedKey(str(each["name"]), bytes.fromhex(each["sha256"]), float(each["created"]))
            for each in found["keys"]
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SweepctlError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SweepctlError(
            f"{path} is damaged",
            f"remove it, and add the keys anew: sweepctl server key add NAME {_here(data)}",
        ) from error


class WatchedKeys:
    """The hashes of a folder's named keys, read again when the file has changed.

    A file that cannot be read lets nobody in. Safe to use from any thread.
    """

    def __init__(self, data: Path, log: Callable[[str], None]) -> None:
        self._data = data
        self._log = log
        self._seen: Any = None
        self._hashes: tuple[bytes, ...] = ()
        self._reading = threading.Lock()

    def hashes(self) -> tuple[bytes, ...]:
        """Give the hashes of the keys that hold now."""
        try:
            state = (self._data / _FILE).stat()
            now = (state.st_mtime_ns, state.st_ino, state.st_size)
        except OSError:
            return ()
        with self._reading:
            if now != self._seen:
                try:
                    self._hashes = tuple(each.hash for each in named_keys(self._data))
                except SweepctlError as error:
                    self._log(error.message)
                    self._hashes = ()
                self._seen = now
            return self._hashes


@contextmanager
def _changing(data: Path) -> Iterator[None]:
    """Have the file changed by one command at a time."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data / ".keys.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    except OSError as error:
        raise SweepctlError(
            f"cannot write in the data folder {data}: {error.strerror or error}",
            "give a folder that this user may write to: --data DIR",
        ) from error


def _write(data: Path, keys: list[NamedKey]) -> None:
    """Replace the file as a whole: each state of it is another file."""
    forms = [
        {"name": each.name, "sha256": each.hash.hex(), "created": each.created} for each in keys
    ]
    written = data / f".{_FILE}.new"
    written.unlink(missing_ok=True)
    file = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as out:
        json.dump({"keys": forms}, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    written.replace(data / _FILE)
    sync(data)
