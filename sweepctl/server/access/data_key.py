"""The key of a data folder: DATA/key, 40 hexadecimal digits that its owner alone can read.

The server makes it before it listens, and commands of the same user read it there.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from sweepctl.server.disk import sync
from sweepctl_pod.errors import SweepctlError

KEY_FILE = "key"
_FORM = re.compile(r"[0-9a-f]{40}")
_OTHERS = 0o077


def data_key(data: Path) -> str | None:
    """Read the key of a folder; None where it has none, or where it is not ours to read."""
    try:
        text = (data / KEY_FILE).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _FORM.fullmatch(text) else None


def make_key(data: Path) -> str:
    """Give the key of a folder; one without gets one. For the folder's server alone."""
    path = data / KEY_FILE
    try:
        if not path.exists():
            _write_new(path)
        if path.stat().st_mode & _OTHERS:
            # As a copy of the folder may have left it.
            path.chmod(0o600)
    except OSError as error:
        raise SweepctlError(
            f"cannot write the key of the data folder, {path}: {error.strerror or error}",
            "give a folder that this user may write to: --data DIR",
        ) from error
    key = data_key(data)
    if key is None:
        raise SweepctlError(
            f"{path} holds no key: 40 hexadecimal digits are expected",
            "remove the file, and the next start makes one",
        )
    return key


def _write_new(path: Path) -> None:
    """Write a key whole or not at all: the server that has the folder alone does it."""
    written = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        written.unlink()
    file = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, f"{secrets.token_hex(20)}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)
    written.replace(path)
    sync(path.parent)
