"""What a terminal shows of a line that a program printed: no codes, nothing overwritten."""

from __future__ import annotations

import re

_CODES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # colours, cursor
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"  # character sets and the rest
)
"""ECMA-48's control sequences, control strings and escape sequences, also such as break off."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(line: str) -> str:
    """Give the text of a line without what only a terminal understands."""
    text = _CODES.sub("", line)
    # A progress bar writes over itself: what stands there in the end is its last state.
    text = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    return _CONTROLS.sub("", text)
