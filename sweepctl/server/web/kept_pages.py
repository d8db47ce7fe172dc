"""Pages that were written already: while nothing changes, a viewer costs no more than a look.

A page holds as long as nothing was stored, and for some seconds at most, since it tells how long
ago things were. A browser that has it already is told so by its ETag.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_KEPT_BYTES = 32 << 20
_HOLDS_S = 10.0


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A page as it is sent, and the name of this version of it."""

    body: bytes
    etag: str
    version: int
    until: float

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

    def current(self, key: Hashable) -> KeptPage | None:
        """Give a page that still holds."""
        with self._guard:
            page = self._pages.get(key)
            if page is None or page.version != self._version() or self._clock() > page.until:
                return None
            self._pages.move_to_end(key)
            return page

    def written(self, key: Hashable, write: Callable[[], str]) -> KeptPage:
        """Give a page that holds, written now unless it was kept."""
        kept = self.current(key)
        if kept is not None:
            return kept
        # What is stored while it is being written may be missing in it.
        version, until = self._version(), self._clock() + _HOLDS_S
        # What an earlier version stored may hold halves of surrogate pairs: UTF-8 has none.
        body = write().encode("utf-8", "replace")
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        page = KeptPage(body, etag, version, until)
        with self._guard:
            self._drop(key)
            self._pages[key] = page
            self._bytes += len(body)
            while self._bytes > _KEPT_BYTES:
                self._drop(next(iter(self._pages)))
        return page

    def _drop(self, key: Hashable) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= len(page.body)
