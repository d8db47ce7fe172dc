"""What a metric does along a parameter: a smooth line through scattered runs, or means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_GRID = 25
_FEWEST = 8
"""Fewer runs give no trend worth a line."""
_NEAREST = 0.6
"""This share of the runs, the nearest, decides where the line is at a place."""

_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's t at 0.975 for 1 to 30 degrees of freedom."""


def trend(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Fit a line through points by local linear regression (LOESS, tricube weights).

    It is empty where the points are too few or stand all at one place. x is as it is to be drawn:
    the logarithm where the axis has one.
    """
    places = sorted(x for x, _ in points)
    if len(points) < _FEWEST or places[0] == places[-1]:
        return []
    nearest = max(int(len(points) * _NEAREST), 4)
    line = []
    for step in range(_GRID):
        at = places[0] + (places[-1] - places[0]) * step / (_GRID - 1)
        reach = sorted(abs(x - at) for x, _ in points)[nearest - 1] * 1.001 or 1e-12
        weighed = [
            ((1 - (abs(x - at) / reach) ** 3) ** 3, x - at, y)
            for x, y in points
            if abs(x - at) < reach
        ]
        line.append((at, _level(weighed)))
    return [(x, y) for x, y in line if math.isfinite(y)]


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the mean and its 95 % interval (Student's); of one value the interval is the value."""
    count = len(values)
    mean = math.fsum(value / count for value in values)  # the sum itself may be beyond all numbers
    if count < 2 or not math.isfinite(mean):
        return mean, mean, mean
    try:
        half = _student(count - 1) * statistics.stdev(values) / math.sqrt(count)
    except OverflowError:
        half = math.inf
    return mean, mean - half, mean + half


def _student(freedom: int) -> float:
    """Give how many standard errors hold 95 % of few values: three seeds tell less than 1.96."""
    return _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 1.96 + 2.4 / freedom


def _level(weighed: Sequence[tuple[float, float, float]]) -> float:
    """Give the height at 0 of the line that fits the weighed points best."""
    total = math.fsum(w for w, _, _ in weighed)
    mean_x = math.fsum(w * x for w, x, _ in weighed) / total
    mean_y = math.fsum(w * (y / total) for w, _, y in weighed)
    spread = math.fsum(w * (x - mean_x) ** 2 for w, x, _ in weighed)
    if spread <= 1e-12 * total:
        return mean_y
    slope = math.fsum(w * (x - mean_x) * (y - mean_y) for w, x, y in weighed) / spread
    return mean_y - slope * mean_x
