"""The files that runs upload: where their bytes lie, and the signed addresses to put and get them.

W&B's client uploads a file without its key, so the address itself is the permission. A file's name
is data, never a path: its place on the disk is made from a hash of the name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread

from sweepctl.server.bounds import SIGNED_FOR_S
from sweepctl.server.disk import make_folder, sync
from sweepctl.server.errors import FileNameError, NotFoundError
from sweepctl.server.store import file_store, run_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.file_store import StoredFile
from sweepctl.server.store.run_store import Run

_MAX_NAME = 1024
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes of an upload, complete and on the disk, not yet under their name."""

    path: Path
    size_bytes: int
    md5: str


class RunFiles:
    """The run files of one data folder."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now
        self._folder = make_folder(database.folder, "files")
        self._secret = database.secret()
        self._incoming = self._folder / ".incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():
            with suppress(OSError):
                left_over.unlink()

    def url(self, base_url: str, method: str, run: int, name: str, *, every_s: int = 1) -> str:
        """Give the signed address of a run's file: for this method, and for SIGNED_FOR_S.

        It stays the same for `every_s` seconds, and holds so much longer.
        """
        until = str(int(-(-(self._now() + SIGNED_FOR_S) // every_s) * every_s))
        token = f"{until}.{self._signature(method, run, name, until)}"
        return f"{base_url}/storage/{run}/{token}/{urllib.parse.quote(name, safe='/')}"

    def is_signed(self, method: str, run: int, name: str, token: str) -> bool:
        """Say whether the token is this server's, for this method, run and name, and still valid.

        Whoever may get a file may also ask for its head.
        """
        until, _, given = token.partition(".")
        own = self._signature("GET" if method == "HEAD" else method, run, name, until)
        is_ours = hmac.compare_digest(own.encode(), given.encode())
        return is_ours and int(until) >= self._now()

    def incoming(self) -> Path:
        """Make an empty file beside uploads under way, to be moved to its place when whole."""
        handle, temporary = tempfile.mkstemp(dir=self._incoming)
        os.close(handle)
        return Path(temporary)

    async def receive(self, body: AsyncIterator[bytes]) -> Upload:
        """Take an upload's bytes to the disk."""
        handle, temporary = tempfile.mkstemp(dir=self._incoming)
        path, size_bytes, digest = Path(temporary), 0, hashlib.md5(usedforsecurity=False)
        waiting = bytearray()
        try:
            with os.fdopen(handle, "wb") as out:
                async for block in body:
                    waiting += block
                    if len(waiting) >= _BLOCK_BYTES:
                        await to_thread.run_sync(_write, out, digest, bytes(waiting))
                        size_bytes += len(waiting)
                        waiting.clear()
                await to_thread.run_sync(_write, out, digest, bytes(waiting))
                size_bytes += len(waiting)
                await to_thread.run_sync(_sync_file, out)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Upload(path, size_bytes, digest.hexdigest())

    def keep(self, run: Run, name: str, upload: Upload) -> None:
        """Move an upload to its place and record it."""
        stored = _place(run, name)
        target = self._folder / stored
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(upload.path, target)
            sync(target.parent)
            values = {
                "stored": stored,
                "size_bytes": upload.size_bytes,
                "md5": upload.md5,
                "updated": self._now(),
            }
            with self._database.write() as tx:
                if run_store.find_run(tx, pk=run.pk) is None:
                    raise NotFoundError("the run was deleted")
                before = file_store.put_file(tx, run.pk, name, values)
        except BaseException:
            upload.path.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            raise
        if before is not None:
            self.remove([before])

    def discard(self, upload: Upload) -> None:
        """Remove an upload that belongs to no run."""
        upload.path.unlink(missing_ok=True)

    def path(self, file: StoredFile) -> Path:
        """Give where a file's bytes lie."""
        return self._folder / file.stored

    def remove(self, stored: list[str]) -> None:
        """Remove the bytes of files whose rows are gone."""
        for place in stored:
            (self._folder / place).unlink(missing_ok=True)

    def _signature(self, method: str, run: int, name: str, until: str) -> str:
        text = f"{method}\0{run}\0{until}\0{name}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]


def checked_name(name: str) -> str:
    """Give the name back if it can be a run's file; it is relative and goes nowhere upward."""
    parts = name.split("/")
    if not name or len(name) > _MAX_NAME or "\0" in name:
        raise FileNameError(f"{name[:80]!r} is no file name: give 1 to {_MAX_NAME} characters")
    if any(part in ("", ".", "..") for part in parts):
        raise FileNameError(f"{name[:80]!r} is no relative path without '.', '..' and '//'")
    return name


def _place(run: Run, name: str) -> str:
    """Give a place that no upload had before.

    Whoever removes the bytes of a file that was deleted or replaced removes none of a later one.
    """
    own = secrets.token_hex(8)
    return f"{run.pk}-{_plain(run.id)}/{own}-{_plain(name.rpartition('/')[2])}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[-60:]


def _write(out: BinaryIO, digest: hashlib._Hash, block: bytes) -> None:
    out.write(block)
    digest.update(block)


def _sync_file(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())
