"""Pages that were written already: while nothing changes, a viewer costs no more than a look.

A page holds as long as nothing was stored, and for some seconds at most, since it tells how long
ago things were. A browser that has it already is told so by its ETag.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_KEPT_BYTES = 32 << 20
"""What all of them take, with what they are kept under: whoever asks chooses that."""
_BESIDES_BYTES = 1000
"""What each takes in memory besides."""
_HOLDS_S = 10.0
_LEVEL = 4
"""Packs as well as the highest level, nearly, in a fraction of the time."""


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A page as it is sent, and the name of this version of it."""

    body: bytes
    packed: bytes
    """The same as gzip."""
    etag: str
    version: int
    until: float
    fresh_until: float
    """Until then it holds whatever is stored: it costs too much to be written all the time."""
    kept_bytes: int
    """What it takes in memory, with what it is kept under."""

    def is_what(self, if_none_match: str | None) -> bool:
        """Say whether a browser that sent this If-None-Match has the page."""
        given = (part.strip().removeprefix("W/") for part in (if_none_match or "").split(","))
        return self.etag in given


class KeptPages:
    """Keeps the pages asked for last; safe to use from any thread.

    `version` counts what was stored; `clock` is monotonic, in seconds.
    """

    def __init__(
        self, version: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._version = version
        self._clock = clock
        self._guard = threading.Lock()
        self._pages: OrderedDict[Hashable, KeptPage] = OrderedDict()
        self._bytes = 0

    def now(self) -> float:
        """Give the time by which pages hold."""
        return self._clock()

    def current(self, key: Hashable, version: Callable[[], int] | None = None) -> KeptPage | None:
        """Give a page that still holds; `version` counts what was stored of what it shows."""
        now = (version or self._version)()
        with self._guard:
            page = self._pages.get(key)
            if page is None or self._clock() > page.until:
                return None
            if page.version != now and self._clock() >= page.fresh_until:
                return None
            self._pages.move_to_end(key)
            return page

    def written(
        self, key: Hashable, write: Callable[[], str], version: Callable[[], int] | None = None
    ) -> KeptPage:
        """Give a page that holds, written now unless it was kept."""
        kept = self.current(key, version)
        if kept is not None:
            return kept
        # What is stored while it is being written may be missing in it.
        now, until = (version or self._version)(), self._clock() + _HOLDS_S
        return self.keep(key, write(), now, until)

    def keep(
        self, key: Hashable, text: str, version: int, until: float, fresh_until: float = 0.0
    ) -> KeptPage:
        """Keep a page that shows what there was at a version."""
        # What an earlier version stored may hold halves of surrogate pairs: UTF-8 has none.
        body = text.encode("utf-8", "replace")
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        packed = gzip.compress(body, _LEVEL, mtime=0)
        taken_bytes = len(body) + len(packed) + _memory_bytes(key) + _BESIDES_BYTES
        page = KeptPage(body, packed, etag, version, until, fresh_until, taken_bytes)
        with self._guard:
            self._drop(key)
            self._pages[key] = page
            self._bytes += page.kept_bytes
            while self._bytes > _KEPT_BYTES:
                self._drop(next(iter(self._pages)))
        return page

    def _drop(self, key: Hashable) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= page.kept_bytes


def _memory_bytes(key: Hashable) -> int:
    parts = key if isinstance(key, tuple) else ()
    return sys.getsizeof(key) + sum(_memory_bytes(part) for part in parts)
