"""The time as the API has it: one clock for what several machines write and compare.

A node may have another time, or set it at any moment. Each answer of the API says its own.
"""

from __future__ import annotations

import email.utils
import time


class ApiClock:
    """Follows the API's clock from its answers; for any thread."""

    def __init__(self) -> None:
        self._seen: tuple[float, float] | None = None

    def now(self) -> float:
        """Give the seconds since 1970; by this machine's clock before the API has answered."""
        if self._seen is None:
            return time.time()
        theirs, own = self._seen
        return theirs + time.monotonic() - own

    def hear(self, date: str | None) -> None:
        """Take the Date of an answer that has just come."""
        sent = read_http_date(date)
        if sent is not None:
            self._seen = sent, time.monotonic()


def read_http_date(text: str | None) -> float | None:
    """Read a date of HTTP, as seconds since 1970; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
