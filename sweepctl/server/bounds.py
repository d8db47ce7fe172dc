"""What one request may cost, at most: every limit of the server, and the account of a request.

What is over a limit is refused with words that name it. A request's computing time is that of its
own thread, so that a busy machine refuses nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sweepctl_pod.errors import SweepctlError

MAX_CONNECTIONS = 10_000
"""Open connections; the file limit of the process may allow fewer."""

MAX_STREAMS = 250
"""Pages that are followed, of those connections; a quarter of them where there may be few."""

HEADER_LIMIT_S = 20.0
"""Seconds for the head of a request, from its first byte or from the connection's beginning."""

IDLE_LIMIT_S = 75
"""Seconds without a request: longer than between two heartbeats, so that one serves for many."""

STALL_LIMIT_S = 60.0
"""Seconds without one byte of a body or of an answer going through."""

BODY_LIMIT_S = 120.0
"""Seconds for the whole body of a request, uploads of files excepted."""

MAX_BODY_BYTES = 64 << 20
"""The body of a request, unpacked, uploads of files excepted."""

MAX_UPLOAD_BYTES = 5 << 30
"""The file of an upload."""

MAX_JSON_VALUES = 500_000
"""The values in one JSON text."""

MAX_JSON_DEPTH = 100
"""How deep they may be nested."""

MAX_CONFIG_CHARACTERS = 4 << 20
"""The configuration of a sweep."""

MAX_RUN_CONFIG_CHARACTERS = 16 << 20
"""The configuration of a run, with all that was added to it."""

MAX_CONFIG_VALUES = 100_000
MAX_CONFIG_DEPTH = 50
MAX_CONFIG_ALIASES = 1_000
"""The aliases of YAML in it."""

MAX_QUERY_CHARACTERS = 100_000
MAX_QUERY_DEPTH = 20
MAX_QUERY_FIELDS = 2_000
"""The fields of a query, fragments written out."""

MAX_CONDITIONS = 2_000
"""The conditions of a filter; a list of `$in` counts as one."""

MAX_CONDITION_DEPTH = 20
MAX_PATTERN_CHARACTERS = 1_000
"""A regular expression."""

MAX_FIELDS_ANSWERED = 1_000_000
"""The fields and lines that an answer is made of."""

MAX_ANSWER_CHARACTERS = 256 << 20

CPU_LIMIT_S = 10.0
"""Computing time."""

SIGNED_FOR_S = 24 * 3600.0
"""How long a signed address of a file holds."""

END_LIMIT_S = 8.0
"""From SIGTERM to the end, whatever requests are under way."""

_CLOCK_EVERY = 64

ending = threading.Event()
"""Set when the server was told to end: requests under way end then."""

_active = threading.local()


class TooCostlyError(SweepctlError):
    """The request asks for more than one request may cost."""


class EndingError(SweepctlError):
    """The server ends; the request may come again to the next one."""


@dataclass(slots=True)
class Account:
    """What a request may still cost; used by one thread."""

    fields: int = MAX_FIELDS_ANSWERED
    characters: int = MAX_ANSWER_CHARACTERS
    until: float = field(default_factory=lambda: time.thread_time() + CPU_LIMIT_S)
    _calls: int = 0

    def spend(self, fields: int, characters: int = 0) -> None:
        """Take what is to be answered off the account."""
        self.fields -= fields
        self.characters -= characters
        self._calls += 1
        if self.fields < 0:
            raise TooCostlyError(
                f"the answer has more than {MAX_FIELDS_ANSWERED} fields and lines: ask for fewer"
                " items (first, samples) or fewer fields"
            )
        if self.characters < 0:
            raise TooCostlyError(
                f"the answer has more than {MAX_ANSWER_CHARACTERS >> 20} MB of text: ask for"
                " fewer items (first, samples) or fewer fields"
            )
        if self._calls % _CLOCK_EVERY == 0:
            self.check()

    def check(self) -> None:
        """Raise if the time is over, or the server ends."""
        if ending.is_set():
            raise EndingError("the server ends")
        if time.thread_time() > self.until:
            raise TooCostlyError(
                f"the request takes more than {CPU_LIMIT_S:g} s of computing time: ask for fewer"
                " items (first, samples), or filter by less"
            )


@contextmanager
def accounted() -> Iterator[Account]:
    """Have all that this thread does in the block taken off one account."""
    outer = getattr(_active, "account", None)
    account = outer or Account()
    _active.account = account
    try:
        yield account
    finally:
        _active.account = outer


def spend(fields: int, characters: int = 0) -> None:
    """Take something off this thread's account, if it has one."""
    account: Account | None = getattr(_active, "account", None)
    if account is not None:
        account.spend(fields, characters)


def check() -> None:
    """Raise if this thread's account is used up, or the server ends."""
    account: Account | None = getattr(_active, "account", None)
    if account is not None:
        account.check()


def is_over() -> bool:
    """Say the same without raising: SQLite asks while it works."""
    try:
        check()
    except SweepctlError:
        return True
    return False
