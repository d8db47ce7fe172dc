"""What runs have logged, whatever it is called: one metric of one run, and of runs side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sweepctl.figures.axes import axis_over, short
from sweepctl.figures.drawing import RIGHT, SMALL, WIDTH, panel, picture, small_panel, text
from sweepctl.figures.facts import Along, Curve, RunFacts, counted
from sweepctl.figures.figure import MOST_ROWS, Cell, Figure
from sweepctl.figures.thinning import few_points

MOST_BESIDE = 10
"""So many runs can still be told apart in one picture."""

_MOST_POINTS = 80
_LENGTHS = {"step": "step", "iteration": "iteration", "time": "hours since the run began"}


def logged(
    name: str,
    curve: Curve,
    *,
    over: Along = "step",
    is_log: bool = False,
    is_small: bool = True,
    kind: str = "finished",
) -> Figure:
    """Draw one metric of one run: small, since many of them stand beside each other, or alone.

    `kind` is the meaning of its line, by the run's state.
    """
    own = f"logged-{re.sub('[^A-Za-z0-9]+', '-', name)}" if is_small else "logged"
    points = curve.along(over)
    skipped = len(curve.values) - len(points)
    notes = [f"{counted(skipped, 'value')} without a finite number: not shown."] if skipped else []
    if not points:
        why = "No finite value was logged." if curve.values else "Nothing was logged."
        return Figure(own, name, why)
    values = [value for _, value in points]
    if is_log and min(values) <= 0:
        notes.append("The axis is not logarithmic: some values are 0 or below.")
        is_log = False
    drawn = few_points(points, _MOST_POINTS if is_small else 5 * _MOST_POINTS)
    x_axis = axis_over((x for x, _ in drawn), _LENGTHS[over] + (" (log)" if is_log else ""))
    y_axis = axis_over((y for _, y in drawn), "" if is_small else name, is_log=is_log)
    plot = small_panel(x_axis, y_axis) if is_small else panel(x_axis, y_axis)
    ticks = 4 if is_small else 6
    plot.frame(x_ticks=ticks, y_ticks=ticks)
    plot.line(drawn, kind, name, "few")
    at, last = points[-1]
    place = f"after {short(at)} hours" if over == "time" else f"at {_LENGTHS[over]} {short(at)}"
    says = f"{short(last)} {place}"
    if len(points) > 1:
        says += f"; from {short(min(values))} to {short(max(values))}"
    drawing = picture([plot], name, width=SMALL if is_small else WIDTH)
    if is_small:
        return Figure(own, name, f"{says}.", drawing, notes)
    rows = few_points(points, MOST_ROWS)
    return Figure(own, name, f"{says}.", drawing, notes, (_LENGTHS[over], name), rows)


def side_by_side(
    name: str,
    runs: Sequence[RunFacts],
    curves: Mapping[str, Curve],
    *,
    over: Along = "step",
    is_log: bool = False,
) -> Figure:
    """Draw one metric of chosen runs in one picture, each with its number in `runs`, from 1."""
    chosen = list(enumerate(runs, start=1))[:MOST_BESIDE]
    found = {
        number: points
        for number, run in chosen
        if run.id in curves and (points := curves[run.id].along(over))
    }
    if not found:
        return Figure("side-by-side", name, f"None of these runs has logged {name} as a number.")
    notes = [f"Run {number} has logged none." for number, _ in chosen if number not in found]
    if len(runs) > len(chosen):
        notes.append(f"The first {MOST_BESIDE} of {len(runs):,} runs are drawn.")
    if is_log and any(value <= 0 for points in found.values() for _, value in points):
        notes.append("The axis is not logarithmic: some values are 0 or below.")
        is_log = False
    drawn = {number: few_points(points, _MOST_POINTS) for number, points in found.items()}
    shown = [point for points in drawn.values() for point in points]
    plot = panel(
        axis_over((x for x, _ in shown), _LENGTHS[over]),
        axis_over((y for _, y in shown), name + (" (log)" if is_log else ""), is_log=is_log),
        right=RIGHT + 22,
    )
    plot.frame()
    for number, points in drawn.items():
        dash = "bold" if number <= 5 else "bold dash"
        plot.line(points, f"run-{number}", f"{number}: {runs[number - 1].label}", dash)
    plot.parts += _numbers(
        {number: (plot.x(points[-1][0]), plot.y(points[-1][1])) for number, points in drawn.items()}
    )
    return Figure(
        "side-by-side",
        f"{name} over {_LENGTHS[over]}",
        f"{counted(len(found), 'run')} by their numbers.",
        picture([plot], name, [(f"run-{number}", str(number)) for number in found]),
        notes,
        ("number", "run", f"last {_LENGTHS[over]}", f"last {name}", "lowest", "highest"),
        [_row(number, runs[number - 1], points) for number, points in found.items()],
    )


def _numbers(ends: Mapping[int, tuple[float, float]]) -> list[str]:
    """Write each number at the end of its line, none upon another."""
    parts, lowest = [], -99.0
    for number, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        lowest = max(y, lowest + 12)
        parts.append(text(x + 5, lowest + 4, str(number), kind="head"))
    return parts


def _row(number: int, run: RunFacts, points: list[tuple[float, float]]) -> tuple[Cell, ...]:
    values = [value for _, value in points]
    return (number, run.label, points[-1][0], values[-1], min(values), max(values))
