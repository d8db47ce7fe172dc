"""The agent's standard output: the trainer's bytes as they come, and the agent's own lines.

The log of a pod is the log of its run, so a trainer's line has no prefix; the agent's own begin
with `sweepctl:`. An output that nobody reads any more is forgotten, never an error.
"""

from __future__ import annotations

import os
import select
import threading

PREFIX = "sweepctl: "
_PATIENCE_S = 1.0


class Console:
    """Standard output shared by the agent and the thread that passes a trainer's output on."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._at_line_start = True
        self._is_open = True

    def say(self, text: str) -> None:
        """Write lines of the agent's own; they are dropped while nobody takes the output."""
        lines = "".join(f"{PREFIX}{line}\n" for line in text.splitlines() or [""])
        data = lines.encode("utf-8", "surrogateescape")
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return
        try:
            if select.select([], [self._fd], [], _PATIENCE_S)[1]:
                self._write(data if self._at_line_start else b"\n" + data)
        except (OSError, ValueError):
            self._is_open = False
        finally:
            self._lock.release()

    def pass_on(self, data: bytes) -> None:
        """Write a trainer's bytes unchanged; waits for the reader, as the trainer itself would."""
        with self._lock:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self._at_line_start = data.endswith((b"\n", b"\r"))
        rest = memoryview(data)
        while rest and self._is_open:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                self._is_open = False
