"""What a trainer printed, kept within bounds: its beginning and its end, each block with its time.

For a run whose trainer ends before `wandb.init`: W&B has no console log of it. The thread that
passes the output on feeds it; it is read when that thread has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timezone

HEAD_BYTES = 100_000
TAIL_BYTES = 400_000
_LONGEST_LINE = 10_000
_BLOCK_BYTES = 65_536
"""How many bytes are dropped at a time; a longer line is cut."""

Block = tuple[float, bytes]


class Transcript:
    """The first HEAD_BYTES and the last TAIL_BYTES of an output, or a little less."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._head: list[Block] = []
        self._tail: deque[Block] = deque()
        self._head_bytes = 0
        self._tail_bytes = 0
        self._left_out_bytes = 0

    def feed(self, lines: bytes) -> None:
        """Take whole lines of the output, as they come."""
        now = self._clock()
        if not self._tail and self._head_bytes < HEAD_BYTES:
            room = HEAD_BYTES - self._head_bytes
            end = len(lines) if len(lines) <= room else lines.rfind(b"\n", 0, room) + 1
            if end:
                self._head.append((now, lines[:end]))
                self._head_bytes += end
                lines = lines[end:]
        while lines:
            block, lines = _first_lines(lines)
            self._tail.append((now, block))
            self._tail_bytes += len(block)
        while self._tail_bytes > TAIL_BYTES:
            _, gone = self._tail.popleft()
            self._tail_bytes -= len(gone)
            self._left_out_bytes += len(gone)

    def lines(self, hide: Callable[[str], str], whole: str) -> list[str]:
        """Give the lines as W&B's client streams them, without secrets; the gap names `whole`.

        https://github.com/wandb/wandb/blob/main/core/internal/runconsolelogs/filestreamwriter.go
        """
        found = _dated(self._head, hide)
        if self._left_out_bytes:
            gap = f"… {self._left_out_bytes} bytes are left out here; all of it: {whole} …"
            found.append(f"{_time_text(self._tail[0][0])} {gap}")
        return found + _dated(self._tail, hide)

    def last_lines(self, count: int, hide: Callable[[str], str]) -> list[str]:
        """Give the last lines in the same form."""
        return _dated([*self._head, *self._tail][-count:], hide)[-count:]


def dated(text: str, time_s: float) -> str:
    """Write one line as W&B's client streams it."""
    return f"{_time_text(time_s)} {text}"


def _first_lines(lines: bytes) -> tuple[bytes, bytes]:
    """Cut lines after as many as fit into a block, never within a line: a secret may be there."""
    if len(lines) <= _BLOCK_BYTES:
        return lines, b""
    end = lines.rfind(b"\n", 0, _BLOCK_BYTES) + 1 or lines.find(b"\n") + 1 or len(lines)
    return lines[: min(end, _BLOCK_BYTES)], lines[end:]


def _dated(blocks: Iterable[Block], hide: Callable[[str], str]) -> list[str]:
    found = []
    for time_s, block in blocks:
        text = hide(block.decode("utf-8", "replace"))
        for line in text.removesuffix("\n").split("\n"):
            # A carriage return starts the line again, as progress bars do.
            shown = line.rstrip("\r").rpartition("\r")[2]
            found.append(dated(shown[:_LONGEST_LINE], time_s))
    return found


def _time_text(time_s: float) -> str:
    when = datetime.fromtimestamp(time_s, timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f")
