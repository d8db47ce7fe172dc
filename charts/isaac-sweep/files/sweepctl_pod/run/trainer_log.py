"""A run's `trainer.log`: all that its trainer printed, as long as that fits; then the newest.

A training of weeks prints gigabytes on a volume that checkpoints need. The file is rotated once:
`trainer.log.1` has what came before, and the first line of `trainer.log` says what is left out.
"""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 64 << 20
"""How many bytes each of the two files holds."""


class TrainerLog:
    """The open file; a second attempt of the run adds to the first. For one thread."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Open it; OSError when that fails."""
        self._path = path
        self._max_bytes = max_bytes
        self._left_out_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, data: bytes) -> None:
        """Add to the file; OSError when it cannot take it."""
        if self._size_bytes and self._size_bytes + len(data) > self._max_bytes:
            self._rotate()
        self._append(data)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o644)
        self._size_bytes = os.fstat(self._file).st_size

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._file, rest)
            self._size_bytes += written
            rest = rest[written:]

    def _rotate(self) -> None:
        older = self._path.with_name(self._path.name + ".1")
        before = older.stat().st_size if older.exists() else 0
        os.replace(self._path, older)
        full = self._file
        self._left_out_bytes += before
        kept = f"the {self._size_bytes} bytes before this line are in {older.name}"
        self._open()  # where that fails the full one stays open, for `close`
        os.close(full)
        gone = f"; {self._left_out_bytes} bytes before those are left out"
        self._append(f"sweepctl: {kept}{gone if self._left_out_bytes else ''}\n".encode())
