"""What a terminal shows of a line that a program printed: its colours, and nothing overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CODES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # colours, cursor
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"  # character sets and the rest
)
"""ECMA-48's control sequences, control strings and escape sequences, also such as break off."""

_COLOUR = re.compile(r"(?:\x1b\[|\x9b)([0-9;:]*)m")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_MOST_LETTERS = 4000
_MOST_PIECES = 200
"""Of one line: a line of a megabyte, or with a colour for each letter, shows its beginning."""

_MOST_READ = 1 << 16
"""Letters of a line that are looked at, codes included."""

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_FORMS = {1: "bold", 2: "faint", 3: "italic", 4: "underlined"}
_LEVELS = (0, 95, 135, 175, 215, 255)
_SHADES = (
    *((0, 0, 0), (205, 49, 49), (13, 188, 121), (229, 229, 16)),
    *((36, 114, 200), (188, 63, 188), (17, 168, 205), (229, 229, 229)),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A text of one look; `kind` is the classes that give it, out of a fixed few."""

    text: str
    kind: str = ""


def plain(line: str) -> str:
    """Give the text of a line without what only a terminal understands."""
    text = _CODES.sub("", line)
    # A progress bar writes over itself: what stands there in the end is its last state.
    text = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    return _CONTROLS.sub("", text)


def styled(line: str) -> tuple[Piece, ...]:
    """Give the pieces of a line with their colours, cut where it is very long."""
    cut = max(0, len(line) - _MOST_READ)
    # What was written over is at the beginning of such a line, what counts at its end.
    line = line[-_MOST_READ:] if cut and "\r" in line else line[:_MOST_READ]
    pieces: list[Piece] = []
    for text, kind in _looks(_last_state(line)):
        if pieces and pieces[-1].kind == kind:
            pieces[-1] = Piece(pieces[-1].text + text, kind)
        else:
            pieces.append(Piece(text, kind))
    return _cut(pieces, cut)


def _last_state(line: str) -> str:
    """Take off what was written over; the colours that it set stay."""
    parts = line.split("\r")
    kept = len(parts) - 1
    while kept > 0 and not _CODES.sub("", parts[kept]).strip():
        kept -= 1
    before = [found.group() for part in parts[:kept] for found in _COLOUR.finditer(part)]
    return "".join(before[-20:]) + parts[kept]


def _looks(line: str) -> Iterator[tuple[str, str]]:
    colour, forms, at = "", frozenset[str](), 0
    for code in _CODES.finditer(line):
        if text := _CONTROLS.sub("", line[at : code.start()]):
            yield text, " ".join([*([colour] if colour else []), *sorted(forms)])
        at = code.end()
        if found := _COLOUR.fullmatch(code.group()):
            colour, forms = _after(found.group(1), colour, forms)
    if text := _CONTROLS.sub("", line[at:]):
        yield text, " ".join([*([colour] if colour else []), *sorted(forms)])


def _after(said: str, colour: str, forms: frozenset[str]) -> tuple[str, frozenset[str]]:
    """Give the look that a code asks for; a background is not shown, nor what is not known."""
    numbers = [int(part[:6]) if part else 0 for part in said.replace(":", ";").split(";")[:32]]
    at = 0
    while at < len(numbers):
        number = numbers[at]
        at += 1
        if number == 0:
            colour, forms = "", frozenset()
        elif number in _FORMS:
            forms |= {_FORMS[number]}
        elif number == 22:
            forms -= {"bold", "faint"}
        elif number in (23, 24):
            forms -= {_FORMS[number - 20]}
        elif 30 <= number <= 37 or 90 <= number <= 97:
            colour = _NAMES[number % 10]
        elif number == 39:
            colour = ""
        elif number in (38, 48):
            given, used = _further(numbers[at:])
            at += used
            colour = given if number == 38 else colour
    return colour, forms


def _further(rest: list[int]) -> tuple[str, int]:
    """Give the nearest of the eight colours to one of 256 or of 16 million, and what it took."""
    if rest[:1] == [5] and len(rest) >= 2:
        number = rest[1]
        if number < 16:
            return _NAMES[number % 8], 2
        if number >= 232:
            return ("white" if number > 243 else "black"), 2
        cube = number - 16
        return _nearest(*(_LEVELS[cube // size % 6] for size in (36, 6, 1))), 2
    if rest[:1] == [2] and len(rest) >= 4:
        return _nearest(*rest[1:4]), 4
    return "", len(rest)


def _nearest(red: int, green: int, blue: int) -> str:
    def distance(shade: tuple[int, int, int]) -> int:
        return sum((a - b) ** 2 for a, b in zip(shade, (red, green, blue), strict=True))

    return _NAMES[min(range(8), key=lambda at: distance(_SHADES[at]))]


def _cut(pieces: list[Piece], more: int) -> tuple[Piece, ...]:
    length = sum(len(piece.text) for piece in pieces) + more
    if length <= _MOST_LETTERS and len(pieces) <= _MOST_PIECES:
        return tuple(pieces)
    kept, room = [], _MOST_LETTERS
    for piece in pieces[:_MOST_PIECES]:
        if room <= 0:
            break
        kept.append(Piece(piece.text[:room], piece.kind))
        room -= len(piece.text)
    left = length - sum(len(piece.text) for piece in kept)
    return (*kept, Piece(f" … and {left:,} letters more", "faint"))
