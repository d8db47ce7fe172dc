"""What a sweep optimizes, for whoever checks, searches or ranks."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A key of a run's summary, and the direction: `minimize` or `maximize`."""

    name: str
    goal: str

    def better(self, one: float, other: float) -> bool:
        """Say whether `one` is better than `other`."""
        return one > other if self.goal == "maximize" else one < other
