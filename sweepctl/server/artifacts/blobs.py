"""The bytes of artifacts: each content lies on the disk once, under its MD5, for all artifacts.

W&B's client names contents by MD5, uploads what the server does not have, and sends no key there:
as with run files, the address itself is the permission. It is for one method, one content and a
limited time. What comes in is stored under its name only if it is that content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from sweepctl.server.bounds import SIGNED_FOR_S
from sweepctl.server.disk import make_folder, sync
from sweepctl.server.errors import BadMessageError, NotFoundError
from sweepctl.server.runs.files import RunFiles, Upload
from sweepctl.server.store import blob_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.sweep_store import Rows

_FOLDER = "artifacts"
_BLOB = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Blobs:
    """The blobs of one data folder; safe to use from any thread."""

    def __init__(self, database: Database, files: RunFiles, now: Callable[[], float]) -> None:
        self._database = database
        self._files = files
        self._now = now
        self._folder = database.folder / _FOLDER
        self._secret = database.secret()
        # A row and its bytes come and go together, also beside another request.
        self._moving = threading.Lock()

    def url(self, base_url: str, method: str, place: str, name: str = "") -> str:
        """Give the address of what lies at a place, which this method may be used on for a day."""
        until = str(int(self._now() + SIGNED_FOR_S))
        end = f"/{urllib.parse.quote(name, safe='/')}" if name else ""
        return f"{base_url}/{place}/{until}/{self._token(method, place, until)}{end}"

    def is_signed(self, method: str, place: str, until: str, token: str) -> bool:
        """Say whether an address is this server's, for this method, and still valid."""
        is_ours = hmac.compare_digest(self._token(method, place, until).encode(), token.encode())
        return is_ours and until.isdigit() and int(until) >= self._now()

    def keep_file(self, artifact: int, blob: str, upload: Upload) -> None:
        """Take an upload as the content that an artifact was to get."""
        if upload.md5 != blob:
            self._files.discard(upload)
            raise BadMessageError(f"the upload is not the file: its MD5 is {upload.md5}")
        with self._database.read() as rows:
            is_wanted = blob_store.is_wanted(rows, artifact, blob)
        if not is_wanted:
            self._files.discard(upload)
            raise NotFoundError("the artifact was deleted")
        self._keep(blob, upload, lambda tx: None)

    def keep_manifest(self, manifest: int, upload: Upload) -> None:
        """Take an upload as the manifest that a client was to send."""
        with self._database.read() as rows:
            is_wanted = blob_store.find_manifest(rows, manifest) is not None
        if not is_wanted:
            self._files.discard(upload)
            raise NotFoundError("the artifact was deleted")
        self._keep(
            upload.md5, upload, lambda tx: blob_store.fill_manifest(tx, manifest, upload.md5)
        )

    def read(self, blob: str) -> bytes:
        """Give the bytes of a blob, which is there."""
        return self.path(blob).read_bytes()

    def write(self, content: bytes) -> str:
        """Keep a content that this server has made itself, and name it."""
        blob = hashlib.md5(content, usedforsecurity=False).hexdigest()
        path = self._files.incoming()
        with path.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        self._keep(blob, Upload(path, len(content), blob), lambda tx: None)
        return blob

    def path(self, blob: str) -> Path:
        """Give where a blob's bytes lie."""
        return self._folder / blob[:2] / blob

    def remove_unused(self, blobs: Iterable[str]) -> None:
        """Remove those of the blobs that no artifact has any more."""
        with self._moving:
            with self._database.write() as tx:
                unused = blob_store.take_unused(tx, blobs)
            for blob in unused:
                with suppress(OSError):
                    self.path(blob).unlink(missing_ok=True)

    def _keep(self, blob: str, upload: Upload, also: Callable[[Rows], None]) -> None:
        target = self.path(blob)
        try:
            with self._moving:
                if not target.parent.is_dir():
                    make_folder(self._folder.parent, self._folder.name)
                    target.parent.mkdir(exist_ok=True)
                    sync(self._folder)
                os.replace(upload.path, target)
                sync(target.parent)
                with self._database.write() as tx:
                    blob_store.put_blob(tx, blob, upload.size_bytes, self._now())
                    also(tx)
        except BaseException:
            self._files.discard(upload)
            raise

    def _token(self, method: str, place: str, until: str) -> str:
        text = f"{method}\0{place}\0{until}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]


def blob_of(digest: str) -> str:
    """Give the blob that a manifest's digest names; a BadMessageError if it is no MD5 in base64."""
    try:
        blob = base64.b64decode(digest, validate=True).hex()
    except (binascii.Error, ValueError):
        blob = ""
    if _BLOB.fullmatch(blob) is None:
        raise BadMessageError(f"{digest[:80]!r} is no MD5 in base64")
    return blob


def is_blob(text: str) -> bool:
    """Say whether a text can be the name of a blob."""
    return _BLOB.fullmatch(text) is not None
