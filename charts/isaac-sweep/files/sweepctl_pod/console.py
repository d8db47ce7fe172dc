"""The agent's standard output: the trainer's bytes as they come, and the agent's own lines.

The log of a pod is the log of its run, so a trainer's line has no prefix; the agent's own begin
with `sweepctl:`. A thread writes, so that a reader who stalls (Ctrl-S, a slow container runtime)
holds up neither the trainer nor the agent; a line in its place counts the bytes that are missing.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque

from sweepctl_pod.log_lines import PREFIX

MAX_WAITING_BYTES = 16 << 20
"""How many bytes wait for a stalled reader before the rest is left out."""
FLUSH_LIMIT_S = 2.0
"""How long a process that ends waits for the reader of its last lines."""


class Console:
    """Standard output shared by the agent and the thread that passes a trainer's output on."""

    def __init__(self, fd: int = 1, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._fd = fd
        self._max_waiting_bytes = max_waiting_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._left_out_bytes = 0
        self._at_line_start = True
        self._is_open = True
        self._writer: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Write lines of the agent's own."""
        with self._changed:
            self._put(self._own_lines(text))

    def pass_on(self, data: bytes) -> None:
        """Write a trainer's bytes unchanged, or leave them out while too much waits already."""
        with self._changed:
            if self._waiting_bytes + len(data) > self._max_waiting_bytes:
                self._left_out_bytes += len(data)
            elif data:
                self._tell_what_was_left_out()
                self._put(data)

    def flush(self, limit_s: float) -> bool:
        """Wait until everything is written, at most `limit_s`; say whether it is."""
        with self._changed:
            self._tell_what_was_left_out()
            return self._changed.wait_for(
                lambda: not self._waiting_bytes or not self._is_open, limit_s
            )

    def _tell_what_was_left_out(self) -> None:
        if self._left_out_bytes:
            count, self._left_out_bytes = self._left_out_bytes, 0
            self._put(
                self._own_lines(
                    f"{count} bytes of output are left out here: nobody took them;"
                    " trainer.log in the run's folder has them"
                )
            )

    def _own_lines(self, text: str) -> bytes:
        lines = "".join(f"{PREFIX}{line}\n" for line in text.splitlines() or [""])
        return (b"" if self._at_line_start else b"\n") + lines.encode("utf-8", "surrogateescape")

    def _put(self, data: bytes) -> None:
        """Have bytes written, with the lock held."""
        if not self._is_open:
            return
        self._at_line_start = data.endswith((b"\n", b"\r"))
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_on, daemon=True)
            self._writer.start()
        self._changed.notify_all()

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting.popleft()
            is_open = self._write(data)
            with self._changed:
                self._waiting_bytes -= len(data)
                if not is_open:  # nobody reads any more: that is no error
                    self._is_open = False
                    self._waiting.clear()
                    self._waiting_bytes = 0
                self._changed.notify_all()
                if not is_open:
                    return

    def _write(self, data: bytes) -> bool:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                return False
        return True
