"""A picture on the terminal that is drawn over and over, in place: nothing scrolls or flickers.

Only the lines that changed are written, each over what stood there; nothing is wiped before it is
drawn. The picture comes in as a function of the room that there is.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, NamedTuple

from sweepctl.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_TO_THE_END_OF_LINE, _ALL_BELOW, _HOME = "\x1b[K", "\x1b[J", "\x1b[H"
_LOOK_EVERY_S = 0.2


class Room(NamedTuple):
    """How much a terminal can show."""

    columns: int
    lines: int


View = Callable[[Room], "RenderableType"]


class Screen:
    """The lower part of a terminal, for one picture; lines said meanwhile scroll away above it.

    Use it as a context: at its end the last picture stays, unless it was wiped.
    """

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._room: Room | None = None
        self._shown: list[str] = []
        self._view: View | None = None

    def __enter__(self) -> Screen:
        self._write(_HIDE_CURSOR)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The terminal has written ^C where the next line begins.
        self._write(_SHOW_CURSOR + ("\n" if kind is KeyboardInterrupt else ""))

    def draw(self, view: View) -> None:
        """Draw a picture over the one before."""
        self._view = view
        room = self._measure()
        start = ""
        if self._room is not None and room != self._room:
            # The terminal has moved what stood there, nobody knows where to.
            self._shown, start = [], _HOME + _ALL_BELOW
        self._room = room
        lines = _lines(view(room), room)
        if lines != self._shown:
            self._write(start + _up(self._shown) + _over(self._shown, lines))
        self._shown = lines

    def say(self, line: str) -> None:
        """Print a line for good, above the picture."""
        lines = "".join(f"{each}\n" for each in self._shown)
        self._write(f"{_up(self._shown)}{_ALL_BELOW}{line}\n{lines}")

    def wipe(self) -> None:
        """Take the picture away."""
        self._write(_up(self._shown) + _ALL_BELOW)
        self._shown = []

    def rest(self, seconds: float) -> None:
        """Wait; draw again at once when the terminal gets another size."""
        for _ in range(round(seconds / _LOOK_EVERY_S)):
            time.sleep(_LOOK_EVERY_S)
            if self._view is not None and self._measure() != self._room:
                self.draw(self._view)

    def _measure(self) -> Room:
        try:
            found = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            found = shutil.get_terminal_size()
        return Room(found.columns or 80, found.lines or 24)

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()


def is_drawable(out: IO[str]) -> bool:
    """Say whether pictures can be drawn in place: on a terminal that can move its cursor."""
    return out.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown")


def _lines(picture: RenderableType, room: Room) -> list[str]:
    """Lay a picture out in lines no wider than the terminal, and one less than it has."""
    console = output.console(width=room.columns)
    with console.capture() as laid:
        console.print(picture, soft_wrap=False, no_wrap=True, overflow="ellipsis", crop=True)
    return laid.get().splitlines()[: max(1, room.lines - 1)]


def _up(lines: list[str]) -> str:
    return f"\x1b[{len(lines)}A\r" if lines else ""


def _over(before: list[str], after: list[str]) -> str:
    """Write lines over those before; what is the same stays untouched."""
    written = [
        "\n"
        if number < len(before) and before[number] == line
        else f"{line}{_TO_THE_END_OF_LINE}\n"
        for number, line in enumerate(after)
    ]
    return "".join(written) + (_ALL_BELOW if len(after) < len(before) else "")
