"""How often something took how long, in steps: little is kept, and it can be told at any time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import accumulate

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the steps; what took longer is in one more."""


class Timings:
    """What was measured since the start; safe to use from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def note(self, seconds: float) -> None:
        """Count one more."""
        with self._guard:
            self._counts[bisect_left(BOUNDS_S, seconds)] += 1
            self._sum_s += seconds

    def up_to(self) -> tuple[list[int], float]:
        """Give how many took up to each bound, at last all; and the sum of their seconds."""
        with self._guard:
            return list(accumulate(self._counts)), self._sum_s
