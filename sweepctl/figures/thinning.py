"""What is drawn where there is too much to draw: fewer runs, and fewer points of a curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sweepctl.figures.facts import counted

T = TypeVar("T")


def thinned(ranked: Sequence[T], most: int, best: int = 10) -> list[T]:
    """Choose from what is ranked: the first `best`, and of the others an even choice."""
    if len(ranked) <= most:
        return list(ranked)
    best = min(best, most)
    others = ranked[best:]
    chosen = most - best
    return [*ranked[:best], *(others[at * len(others) // chosen] for at in range(chosen))]


def thinning_note(drawn: int, of: int, what: str = "run") -> list[str]:
    """Say that not everything is drawn; nothing where it is."""
    if drawn >= of:
        return []
    return [
        f"{drawn:,} of {counted(of, what)} are drawn: the best, and an even choice of the others. "
        "The numbers are those of all."
    ]


def few_points(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Thin a curve so that its peaks stay: of each stretch the lowest and the highest point."""
    if len(points) <= most:
        return list(points)
    stretches = max(most // 2, 1)
    kept: list[tuple[float, float]] = []
    for at in range(stretches):
        part = range(at * len(points) // stretches, (at + 1) * len(points) // stretches)
        low = min(part, key=lambda index: points[index][1])
        high = max(part, key=lambda index: points[index][1])
        kept += [points[index] for index in sorted({low, high})]
    return [points[0], *kept[1:-1], points[-1]]


def smoothed(points: Sequence[tuple[float, float]], weight: float) -> list[tuple[float, float]]:
    """Smooth a curve as W&B and TensorBoard do: a running mean that forgets by `weight`.

    The mean is that of what was seen so far, so the first points are not pulled to 0.
    """
    mean, share, found = 0.0, 0.0, []
    for at, value in points:
        mean = mean * weight + (1 - weight) * value
        share = share * weight + (1 - weight)
        found.append((at, mean / share))
    return found
