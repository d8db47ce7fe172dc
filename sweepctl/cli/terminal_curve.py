"""A curve of the best so far in a few lines of text: braille dots, or ASCII where there are none.

Pure but for `has_braille`, which asks the environment. Numbers come in ready.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.cells import cell_len

HEIGHT = 4
"""Lines of the curve itself, without the one that says what it shows."""

_MOST_COLUMNS = 72
_FEWEST_COLUMNS = 12
_LOG_FROM = 100.0
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python itself sets LC_CTYPE to where the locale is C (PEP 538): the terminal's user said
nothing of it."""

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a cell, by its row and column."""


def has_braille(environ: Mapping[str, str]) -> bool:
    """Say whether a terminal shows braille: it is told to speak UTF-8 and has a font for it."""
    given = [environ.get("LC_ALL"), environ.get("LC_CTYPE"), environ.get("LANG")]
    if given[1] in _COERCED:
        given[1] = None
    spoken = next(filter(None, given), "")
    return "utf" in spoken.lower() and environ.get("TERM") not in ("linux", "vt100", "vt220")


def curve(
    stairs: Sequence[tuple[int, float]], last: int, columns: int, *, is_braille: bool
) -> list[str]:
    """Draw a value that changed at some numbers and holds up to the last; no line where none fits.

    The labels at its left are its highest and lowest value, on a logarithmic scale where the one is
    a hundred times the other.
    """
    values = [value for _, value in stairs]
    low, high = min(values), max(values)
    is_log = low > 0 and high / _LOG_FROM >= low
    labels = [f"{high:.4g}", *[""] * (HEIGHT - 2), f"{low:.4g}"]
    if is_log:
        labels[1] = "log"
    margin = max(map(cell_len, labels)) + 3
    width = min(columns - margin, _MOST_COLUMNS)
    if width < _FEWEST_COLUMNS or low == high:
        return []
    down, across = (4, 2) if is_braille else (1, 1)
    rows = HEIGHT * down
    heights = _heights(stairs, last, width * across, rows, is_log=is_log)
    dots = _joined(heights)
    drawn = _braille(dots, width) if is_braille else _ascii(dots, width)
    return [
        f"{label:>{margin - 1}} {line.rstrip()}" for label, line in zip(labels, drawn, strict=True)
    ]


def _heights(
    stairs: Sequence[tuple[int, float]], last: int, columns: int, rows: int, *, is_log: bool
) -> list[int | None]:
    """Give the row of each column, 0 at the top; None before the first number."""
    scale = math.log if is_log else float
    levels = [scale(value) for _, value in stairs]
    low, high = min(levels), max(levels)
    found: list[int | None] = [None] * columns
    first = stairs[0][0]
    span = max(last - 1, 1)
    at = -1
    for column in range(columns):
        number = 1 + column * span / max(columns - 1, 1)
        while at + 1 < len(stairs) and stairs[at + 1][0] <= number:
            at += 1
        if number >= first:
            # Subtracted before it is divided: the difference of two large numbers is infinite.
            share = high / 2 - levels[at] / 2
            found[column] = round(share / (high / 2 - low / 2) * (rows - 1))
    return found


def _joined(heights: Sequence[int | None]) -> set[tuple[int, int]]:
    """Give (column, row) of every dot; a step from one row to another is a line as well."""
    dots = set()
    before: int | None = None
    for column, row in enumerate(heights):
        if row is None:
            continue
        start = row if before is None else before
        step = 1 if row >= start else -1
        dots |= {(column, between) for between in range(start, row + step, step)}
        before = row
    return dots


def _braille(dots: set[tuple[int, int]], width: int) -> list[str]:
    cells = [[_BRAILLE] * width for _ in range(HEIGHT)]
    for column, row in dots:
        cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return ["".join(" " if c == _BRAILLE else chr(c) for c in line) for line in cells]


def _ascii(dots: set[tuple[int, int]], width: int) -> list[str]:
    return ["".join("*" if (x, y) in dots else " " for x in range(width)) for y in range(HEIGHT)]
