"""The time as the API has it: one clock for what several machines write and compare.

A node may have another time, or set it at any moment. Each answer of the API says its own, in whole
seconds and rounded down, so an answer tells the least that the time may be. What comes later than
an answer is told to be later too.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

_ROUNDED_S = 1.0
_UNLIKE_S = 2.0
"""So much may the clocks of the API's own machines differ."""


class ApiClock:
    """Follows the API's clock from its answers; for any thread."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._ahead_s: float | None = None
        """By how much the API's time is ahead of the steady one, as far as its answers show."""

    def now(self) -> float:
        """Give the seconds since 1970; by this machine's clock before the API has answered."""
        ahead_s = self._ahead_s
        return time.time() if ahead_s is None else ahead_s + self._steady()

    def hear(self, date: str | None, took_s: float = 0.0) -> None:
        """Take the Date of an answer that has just come, and that was asked for `took_s` ago.

        The newest answer is not the best: one of 9.99 says 9, and one of 9.00 said so as well. The
        time goes back only where an answer shows that the API's clock was set back.
        """
        sent = read_http_date(date)
        if sent is None:
            return
        least, known = sent - self._steady(), self._ahead_s
        is_set_back = known is not None and least + took_s + _ROUNDED_S + _UNLIKE_S < known
        if known is None or least > known or is_set_back:
            self._ahead_s = least


class SteadyClock:
    """The times of one attempt: they begin at the API's time, and go on by this machine's steady
    clock, which nobody sets. So nothing ends before it began.
    """

    def __init__(self, began_at: float, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._ahead_s = began_at - steady()

    def now(self) -> float:
        """Give the seconds since 1970."""
        return self.at(self._steady())

    def at(self, steady: float) -> float:
        """Give a moment of the steady clock as seconds since 1970."""
        return self._ahead_s + steady


def read_http_date(text: str | None) -> float | None:
    """Read a date of HTTP, as seconds since 1970; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
