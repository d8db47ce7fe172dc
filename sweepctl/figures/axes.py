"""Axes: from a value to its place, and the ticks with their labels. Pure numbers, no drawing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MARGIN = 0.04
"""So much of an axis stays free at both ends."""
_LARGEST = 1e300
"""Beyond it no sum of two values is certain to be a number."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A quantity, linear or logarithmic, or the names of categories. Places go from 0 to 1."""

    label: str
    low: float
    high: float
    is_log: bool = False
    names: tuple[str, ...] = ()

    def place(self, value: float) -> float:
        """Say how far along the axis a value stands."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        # Halves: the difference of two huge values is not a number.
        part = (self._scaled(value) / 2 - low / 2) / (high / 2 - low / 2)
        return min(max(part, -0.05), 1.05)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Give at most about `most` places with their labels."""
        if self.names:
            every = math.ceil(len(self.names) / max(most, 1))
            return [(self.place(at), self.names[at]) for at in range(0, len(self.names), every)]
        values = self._log_ticks(most) if self.is_log else self._linear_ticks(most)
        return [(self.place(value), short(value)) for value in values]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 5e-324)) if self.is_log else value

    def _linear_ticks(self, most: int) -> list[float]:
        step = nice_step((self.high / 2 - self.low / 2) / max(most, 1) * 2)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [at * step for at in range(first, min(last, first + 4 * most) + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        low, high = self._scaled(self.low), self._scaled(self.high)
        first, last = math.ceil(low), math.floor(high)
        if last - first >= 1:
            every = math.ceil((last - first + 1) / max(most, 1))
            found = [10.0**power for power in range(first, last + 1, every)]
            if len(found) >= 3 or most < 4:
                return found
        steps = [
            digit * 10.0**power for power in range(first - 1, last + 1) for digit in (1, 2, 3, 5)
        ]
        return [step for step in steps if self.low <= step <= self.high] or [self.low, self.high]


def axis_over(
    values: Iterable[float], label: str, *, is_log: bool = False, from_zero: bool = False
) -> Axis:
    """Make the axis that has room for all values; logarithmic only where all are above 0."""
    found = [min(max(value, -_LARGEST), _LARGEST) for value in values] or [0.0]
    low, high = min(found), max(found)
    if is_log and low > 0:
        low, high = (low / 1.5, high * 1.5) if low == high else (low, high)
        room = (math.log10(high) - math.log10(low)) * _MARGIN
        most, least = min(high * 10**room, _LARGEST), max(low / 10**room, 5e-324)
        return Axis(label, least, max(most, high), is_log=True)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high / 2 - low / 2 <= max(abs(low), abs(high)) * 1e-12:
        room = abs(low) * 0.1 or 1.0  # a constant: its line stands in the middle
        return Axis(label, low - room, high + room)
    room = (high / 2 - low / 2) * 2 * _MARGIN
    is_flush = from_zero and low == 0
    return Axis(label, low if is_flush else low - room, high + room)


def category_axis(names: Sequence[str], label: str) -> Axis:
    """Make the axis of categories; the place of one is that of its number."""
    return Axis(label, -0.5, len(names) - 0.5, names=tuple(names))


def short(value: float) -> str:
    """Write a number for people: four digits are enough for a picture."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return text.replace("-", "\N{MINUS SIGN}")
    mantissa, power = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else (f"{value:.3g}", "")
    text = f"{mantissa}e{int(power)}" if power else mantissa
    return text.replace("-", "\N{MINUS SIGN}")


def nice_step(rough: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((power * nice for nice in (1, 2, 5) if power * nice >= rough * 0.999), power * 10)
