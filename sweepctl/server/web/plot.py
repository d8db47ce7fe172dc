"""Where the parts of a small plot stand, in the units of its SVG. Pure: the template draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 42
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """A value to show: where it belongs, what it is called, and the class that styles it."""

    x: float
    y: float
    title: str
    kind: str = ""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot laid out: marks in SVG units, the line through them, the axes."""

    marks: tuple[Mark, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def lay_out(marks: Sequence[Mark], x_label: str) -> Plot | None:
    """Lay out the marks that have finite values; None when there are none."""
    shown = [mark for mark in marks if math.isfinite(mark.x) and math.isfinite(mark.y)]
    if not shown:
        return None
    x_axis = _Axis.over([mark.x for mark in shown], _LEFT, WIDTH - _RIGHT, is_whole=True)
    y_axis = _Axis.over([mark.y for mark in shown], HEIGHT - _BOTTOM, _TOP, is_whole=False)
    placed = tuple(
        Mark(x_axis.place(mark.x), y_axis.place(mark.y), mark.title, mark.kind, mark.link)
        for mark in shown
    )
    line = " ".join(f"{mark.x:g},{mark.y:g}" for mark in placed)
    return Plot(placed, line, x_axis.ticks(), y_axis.ticks(), x_label)


def short(value: float) -> str:
    """Write a number for people: six digits are enough."""
    return f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, is_whole: bool) -> _Axis:
        low, high = min(values), max(values)
        if low == high:
            room = 1.0 if is_whole else max(abs(low) * 0.1, 1e-9)
            low, high = low - room, high + room
        step = _nice_step(high / _TICKS - low / _TICKS)
        return cls(low, high, start, end, max(step, 1.0) if is_whole else step)

    def place(self, value: float) -> float:
        part = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self.start + part * (self.end - self.start), 1)

    def ticks(self) -> tuple[Tick, ...]:
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        numbers = range(first, min(last, first + 3 * _TICKS) + 1)
        return tuple(
            Tick(self.place(number * self.step), short(number * self.step)) for number in numbers
        )


def _nice_step(rough: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((power * nice for nice in (1, 2, 5) if power * nice >= rough), power * 10)
