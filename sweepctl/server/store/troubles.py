"""Trouble that lasts is logged when it begins and when it is over, not by each request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

_QUIET_S = 10.0
"""Clients come again sooner than that, so that trouble of which nothing was heard is over."""

_FULL = ("disk is full", "No space left", "quota exceeded", "File too large")


@dataclass(slots=True)
class _Spell:
    message: str
    last_s: float
    writes: int
    count: int = 1


class Troubles:
    """The troubles that last now; safe to use from any thread.

    `writes` counts what was stored: without a success since then, trouble is not over.
    """

    def __init__(self, now: Callable[[], float], writes: Callable[[], int]) -> None:
        self._now = now
        self._writes = writes
        self._spells: dict[str, _Spell] = {}
        self._guard = threading.Lock()

    def note(self, message: str, log: Callable[[str], None]) -> None:
        """Log a trouble unless it lasts already."""
        # A full disk has several words: those of the database, of an upload, of a shared commit.
        kind = "full" if any(words in message for words in _FULL) else message
        with self._guard:
            spell = self._spells.get(kind)
            if spell is not None:
                spell.last_s, spell.writes = self._now(), self._writes()
                spell.count += 1
                return
            self._spells[kind] = _Spell(message, self._now(), self._writes())
        log(message)

    def look(self, log: Callable[[str], None]) -> None:
        """Log which troubles are over."""
        if not self._spells:
            return
        with self._guard:
            over = [
                kind
                for kind, spell in self._spells.items()
                if self._now() - spell.last_s >= _QUIET_S and self._writes() > spell.writes
            ]
            ended = [self._spells.pop(kind) for kind in over]
        for spell in ended:
            log(f"over, after {spell.count} refused requests: {spell.message}")
