"""The metric against each parameter, and all parameters side by side (parallel coordinates)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweepctl.figures.axes import Axis, axis_over, short
from sweepctl.figures.curves import run_title
from sweepctl.figures.drawing import LEFT, LETTER, RIGHT, TOP, WIDTH, Panel, picture, text
from sweepctl.figures.facts import RunFacts, SweepFacts, counted, number
from sweepctl.figures.figure import Cell, Figure
from sweepctl.figures.thinning import thinned, thinning_note
from sweepctl.figures.trends import mean_interval, trend
from sweepctl.figures.values import Parameter, parameters

_MOST_PANELS, _IN_A_ROW, _MOST_MARKS = 12, 3, 2400
_MOST_AXES, _MOST_LINES = 9, 300
_LARGEST = 1e150
"""Beyond it squares are no numbers, and no trend is fitted."""


def metric_by_parameter(facts: SweepFacts) -> Figure:
    """Draw the metric of the finished runs against each parameter, with a fitted trend."""
    name, title = "metric-by-parameter", f"{facts.metric_name} by parameter"
    if why := facts.why_nothing_ranked() or _why_no_parameters(facts):
        return Figure(name, title, why)
    ranked = facts.ranked
    found, notes = parameters(facts, ranked)
    if not found:
        return Figure(name, title, _NONE_VARIES, notes=notes)
    shown = found[:_MOST_PANELS]
    drawn = thinned(ranked, max(_MOST_MARKS // len(shown), 100))
    y_axis = axis_over((number(run.metric) for run in drawn), facts.metric_name)
    panels, rows = [], []
    for at, each in enumerate(shown):
        panel = _panel_at(at, each.axis, y_axis)
        fitted = _draw_against(panel, each, ranked, drawn)
        rows += fitted or [(each.name, "all", len(each.values), "no fit", "", "")]
        panels.append(panel)
    if len(found) > len(shown):
        notes.append(f"The first {len(shown)} of {len(found)} parameters are drawn.")
    return Figure(
        name,
        title,
        f"{counted(len(ranked), 'finished run')}; {facts.goal} is better. The line is a local "
        "linear fit; of a category it is the mean with its 95 % interval.",
        picture(panels, title, ["best", "finished", "trend"]),
        [*notes, *thinning_note(len(drawn), len(ranked))],
        ("parameter", "value", "runs", f"{facts.metric_name}: fit or mean", "from", "to"),
        rows,
    )


def parallel_coordinates(facts: SweepFacts) -> Figure:
    """Draw each finished run as a line over all parameters to the metric, the best marked.

    `data` has every run's places on the axes, from 0 to 1000, and what the axes go from and to, for
    a script that brushes.
    """
    name, title = "parallel-coordinates", "Parameters side by side"
    if why := facts.why_nothing_ranked() or _why_no_parameters(facts):
        return Figure(name, title, why)
    ranked = facts.ranked
    found, notes = parameters(facts, ranked)
    if not found:
        return Figure(name, title, _NONE_VARIES, notes=notes)
    if len(found) > _MOST_AXES:
        notes.append(f"The first {_MOST_AXES} of {len(found)} parameters have an axis.")
    metric = axis_over((number(run.metric) for run in ranked), facts.metric_name)
    of_metric = Parameter(facts.metric_name, metric, {run.id: number(run.metric) for run in ranked})
    columns = [*found[:_MOST_AXES], of_metric]
    whole = [run for run in ranked if all(run.id in each.values for each in columns)]
    if len(whole) < len(ranked):
        lacking = counted(len(ranked) - len(whole), "run")
        notes.append(f"{lacking} without a value of each parameter: not shown.")
    if not whole:
        return Figure(name, title, "No finished run has a value of each parameter.", notes=notes)
    places = {run.id: [each.axis.place(each.values[run.id]) for each in columns] for run in whole}
    drawn = thinned(whole, _MOST_LINES, best=30)
    top, height = 62.0, 240.0
    step = (WIDTH - LEFT - RIGHT - 30) / (len(columns) - 1)
    panels = [
        Panel(_NOWHERE, each.axis, left=LEFT + at * step, top=top, width=1, height=height)
        for at, each in enumerate(columns)
    ]
    strong = max(len(whole) // 10, 1)
    rank = {run.id: at for at, run in enumerate(whole)}
    base = Panel(
        Axis("", 0, len(columns) - 1),
        Axis("", 0, 1),
        left=LEFT,
        top=top,
        width=step * (len(columns) - 1),
        height=height,
    )
    faint = "few" if len(drawn) <= 20 else "faint"
    for run in reversed(drawn):
        line = [(float(at), place) for at, place in enumerate(places[run.id])]
        first = rank[run.id] == 0
        more = "bold" if first else "strong" if rank[run.id] < strong else faint
        base.line(line, "best" if first else "finished", run_title(run), more)
    heads = [
        _draw_axis(panel, each.name, step) for panel, each in zip(panels, columns, strict=True)
    ]
    return Figure(
        name,
        title,
        f"Each line is one of {counted(len(whole), 'finished run')}, through its values to its "
        f"{facts.metric_name}; the best tenth is drawn strong.",
        picture([base, *panels], title, ["best", "finished"], more=heads),
        [*notes, *thinning_note(len(drawn), len(whole))],
        ("run", *(each.name for each in columns)),
        [_row(run, columns) for run in whole],
        {
            "axes": [each.name for each in columns],
            "runs": [run.id for run in whole],
            "places": [[round(place * 1000) for place in places[run.id]] for run in whole],
            "scales": [
                {
                    "low": each.axis.low,
                    "high": each.axis.high,
                    "is_log": each.axis.is_log,
                    "names": list(each.axis.names),
                }
                for each in columns
            ],
            "left": LEFT,
            "step": step,
            "top": top,
            "height": height,
        },
    )


_NOWHERE = Axis("", 0, 1)
_NONE_VARIES = "No parameter varies among the finished runs."


def _why_no_parameters(facts: SweepFacts) -> str:
    return "" if facts.searched else "The sweep searches no parameter."


def _panel_at(at: int, x_axis: Axis, y_axis: Axis) -> Panel:
    row, column = divmod(at, _IN_A_ROW)
    gap = 22
    width = (WIDTH - LEFT - RIGHT - gap * (_IN_A_ROW - 1)) / _IN_A_ROW
    top = TOP + 22 + row * 205
    panel = Panel(
        x_axis,
        y_axis if column == 0 else Axis("", y_axis.low, y_axis.high),
        left=LEFT + column * (width + gap),
        top=top,
        width=width,
        height=145,
    )
    panel.frame(x_ticks=3, y_ticks=4, y_labels=column == 0)
    return panel


def _draw_against(
    panel: Panel, each: Parameter, ranked: Sequence[RunFacts], drawn: Sequence[RunFacts]
) -> list[tuple[Cell, ...]]:
    """Draw the runs' marks and what fits them; give the fit as rows."""
    for run in reversed(drawn):
        if run.id in each.values:
            kind = "best" if run is ranked[0] else "finished"
            panel.mark(each.values[run.id], number(run.metric), kind, run_title(run), run.link)
    pairs = [(each.values[run.id], number(run.metric)) for run in ranked if run.id in each.values]
    pairs = [pair for pair in pairs if max(map(abs, pair)) < _LARGEST]
    if each.is_category:
        return _draw_means(panel, each, pairs)
    is_log = each.axis.is_log
    some = thinned(pairs, 400, best=0)
    scaled = [(math.log10(x) if is_log else x, y) for x, y in some]
    line = [(10**x if is_log else x, y) for x, y in trend(scaled)]
    panel.line(line, "trend", f"trend of {each.name}", "bold")
    places = line[:: max(len(line) // 4, 1)] or sorted(pairs)[:5]
    rows: list[tuple[Cell, ...]] = [(each.name, short(x), len(pairs), y, "", "") for x, y in places]
    return rows


def _draw_means(
    panel: Panel, each: Parameter, pairs: Sequence[tuple[float, float]]
) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for at, name in enumerate(each.axis.names):
        values = [y for x, y in pairs if x == at]
        if values:
            mean, low, high = mean_interval(values)
            panel.line([(at, low), (at, high)], "trend", f"{name}: {short(mean)}", "bold")
            panel.line([(at - 0.2, mean), (at + 0.2, mean)], "trend", "", "bold")
            rows.append((each.name, name, len(values), mean, low, high))
    return rows


def _draw_axis(panel: Panel, name: str, room: float) -> str:
    """Draw one upright axis with its ticks, and its name above it."""
    x, bottom = panel.left, panel.top + panel.height
    panel.parts.append(f'<path class="axis" d="M{x:g} {panel.top:g}V{bottom:g}"/>')
    for at, label in panel.y_axis.ticks(5):
        y = round(bottom - at * panel.height, 1)
        panel.parts.append(f'<path class="axis" d="M{x:g} {y:g}h-4"/>')
        most = max(int((room - 8) / LETTER), 3)
        panel.parts.append(text(x - 6, y + 4, label, "end", "halo", most=min(most, 9)))
    most = max(int((room - 16) / LETTER), 4)  # names side by side are told apart by what is between
    above = panel.top - 10
    if x < LEFT + 1:
        return text(4, above, name, "start", "quiet", most=most, tail=True)
    if x > WIDTH - RIGHT - 31:
        return text(WIDTH - 4, above, name, "end", "quiet", most=most, tail=True)
    return text(x, above, name, "middle", "quiet", most=most, tail=True)


def _row(run: RunFacts, columns: Sequence[Parameter]) -> tuple[Cell, ...]:
    cells: list[Cell] = [run.label]
    for each in columns:
        value = each.values[run.id]
        cells.append(each.axis.names[int(value)] if each.is_category else value)
    return tuple(cells)
