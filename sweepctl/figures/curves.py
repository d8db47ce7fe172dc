"""The metric over the length of training, of all runs; and the best so far, run by run."""

from __future__ import annotations

from sweepctl.figures.axes import axis_over, short
from sweepctl.figures.drawing import panel, picture
from sweepctl.figures.facts import Along, RunFacts, SweepFacts, counted, number
from sweepctl.figures.figure import Cell, Figure
from sweepctl.figures.thinning import few_points, smoothed, thinned, thinning_note
from sweepctl_pod.wandb.states import ENDED_BADLY, ENDED_WELL, HELD_RUNS

_MOST_CURVES, _MOST_POINTS = 120, 80
_LENGTHS = {"step": "step", "iteration": "iteration", "time": "hours since the run began"}


def metric_over_steps(
    facts: SweepFacts, *, over: Along = "step", smoothing: float = 0.0, is_log: bool = False
) -> Figure:
    """Draw the metric of all runs over steps, iterations or time, the best run marked.

    `smoothing` is from 0 (none) to below 1, the weight of what came before.
    """
    title = f"{facts.metric_name} over {_LENGTHS[over]}"
    found = {
        run.id: points
        for run in facts.runs
        if run.id in facts.curves and (points := facts.curves[run.id].along(over))
    }
    if not found:
        why = "The sweep names no metric." if facts.metric is None else _why_no_curve(facts, over)
        return Figure("metric-over-steps", title, why)
    notes = []
    if is_log and any(value <= 0 for points in found.values() for _, value in points):
        notes.append("The axis is not logarithmic: some values are 0 or below.")
        is_log = False
    ranked = facts.ranked
    best = next((run for run in ranked if run.id in found), None)
    known = {run.id for run in ranked}
    order = [*ranked, *(run for run in facts.runs if run.id not in known)]
    order = [run for run in order if run.id in found]
    drawn = thinned(order, _MOST_CURVES)
    lines = {
        run.id: few_points(smoothed(found[run.id], min(max(smoothing, 0.0), 0.999)), _MOST_POINTS)
        for run in drawn
    }
    shown = [point for points in lines.values() for point in points]
    name = facts.metric_name + (f", smoothed by {short(smoothing)}" if smoothing > 0 else "")
    plot = panel(
        axis_over((x for x, _ in shown), _LENGTHS[over]),
        axis_over((y for _, y in shown), name + (" (log)" if is_log else ""), is_log=is_log),
    )
    plot.frame()
    few = "few" if len(drawn) <= 20 else ""
    for run in reversed(drawn):
        is_best = run is best
        kind = "best" if is_best else kind_of(run)
        plot.line(lines[run.id], kind, run_title(run), "bold" if is_best else few)
    missing = sum(run.id not in found for run in facts.runs)
    if missing:
        notes.append(f"{counted(missing, 'run')} of {len(facts.runs):,} logged no such curve.")
    kinds = sorted({kind_of(run) for run in drawn if run is not best}, key=list(_KINDS).index)
    says = f"{counted(len(found), 'run')} logged {facts.metric_name}."
    if best is not None:
        at, value = max(found[best.id])
        says += (
            f" The best, {best.label}, stands at {short(value)} at {_LENGTHS[over]} {short(at)}."
        )
    return Figure(
        "metric-over-steps",
        title,
        says,
        picture([plot], title, [*(["best"] if best else []), *kinds]),
        [*notes, *thinning_note(len(drawn), len(order))],
        (
            "run",
            "state",
            f"last {_LENGTHS[over]}",
            f"last {facts.metric_name}",
            "lowest",
            "highest",
        ),
        [_curve_row(run, found[run.id]) for run in order],
    )


def best_so_far(facts: SweepFacts, *, is_log: bool = False) -> Figure:
    """Draw each finished run's metric in the order of creation, and the best up to there."""
    title = f"Best {facts.metric_name} so far"
    if why := facts.why_nothing_ranked():
        return Figure("best-so-far", title, why)
    places = [(at, run) for at, run in enumerate(facts.runs, start=1) if run.is_ranked]
    better = improvements(facts)
    best, stairs = number(better[0][1].metric), []
    for at, run in better:
        stairs += [(float(at), best), (float(at), number(run.metric))]
        best = number(run.metric)
    stairs.append((float(len(facts.runs)), best))
    drawn = thinned(places, 600, best=0)
    values = [number(run.metric) for _, run in places]
    is_log = is_log and min(values) > 0
    plot = panel(
        axis_over([1.0, *(float(at) for at, _ in places)], "run, in the order of creation"),
        axis_over(values, facts.metric_name + (" (log)" if is_log else ""), is_log=is_log),
    )
    plot.frame()
    for at, run in drawn:
        plot.mark(at, number(run.metric), "finished", run_title(run), run.link)
    plot.line(stairs, "best", more="bold")
    last_at, last = better[-1]
    plot.mark(last_at, best, "best", run_title(last), last.link)
    times = counted(len(better) - 1, "time")
    since = (
        f"{times} a run was better than all before it" if better[1:] else "none was better since"
    )
    without = len(facts.runs) - len(places)
    notes = [f"{counted(without, 'run')} without a final metric: not shown."] if without else []
    return Figure(
        "best-so-far",
        title,
        f"The best of {counted(len(places), 'finished run')} is {short(best)}, by {last.label}, "
        f"number {last_at:,}; {since} ({facts.goal} is better).",
        picture([plot], title, [("best", "best so far"), "finished"]),
        [*notes, *thinning_note(len(drawn), len(places))],
        ("number", "run", facts.metric_name),
        [(at, run.label, number(run.metric)) for at, run in better],
    )


def improvements(facts: SweepFacts) -> list[tuple[int, RunFacts]]:
    """Give each finished run that was better than all before it, with its number from 1 on."""
    found: list[tuple[int, RunFacts]] = []
    best: float | None = None
    for at, run in enumerate(facts.runs, start=1):
        if run.is_ranked:
            value = number(run.metric)
            if best is None or (facts.metric and facts.metric.better(value, best)):
                best = value
                found.append((at, run))
    return found


_KINDS = ("finished", "training", "failed", "other")


def kind_of(run: RunFacts) -> str:
    """Name the meaning of a run's mark by its state."""
    if run.state in ENDED_WELL:
        return "finished"
    if run.state in HELD_RUNS:
        return "training"
    return "failed" if run.state in ENDED_BADLY else "other"


def run_title(run: RunFacts) -> str:
    """Say which run a mark is, and its metric."""
    value = short(number(run.metric)) if run.is_ranked else run.state
    return f"{run.label}: {value}"


def _curve_row(run: RunFacts, points: list[tuple[float, float]]) -> tuple[Cell, ...]:
    values = [value for _, value in points]
    return (run.label, run.state, points[-1][0], values[-1], min(values), max(values))


def _why_no_curve(facts: SweepFacts, over: Along) -> str:
    if not facts.runs:
        return "The sweep has no runs yet."
    if over != "step" and any(curve.along("step") for curve in facts.curves.values()):
        return f"The {_LENGTHS[over]} of the points is not recorded."
    return f"No run has logged a history of {facts.metric_name}: the curve is not recorded."
