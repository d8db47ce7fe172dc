"""The runs of a sweep side by side: which one is best, their order, their marks in a plot. Pure.

`metrics` gives the sweep's metric by run; a run without a finite number is not in it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from sweepctl.server.store import lines
from sweepctl.server.store.run_store import Run, RunOutline
from sweepctl.server.store.sweep_store import Project, Sweep
from sweepctl.server.web.plot import Mark, short
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.states import RunState


@dataclass(frozen=True, slots=True)
class RunTableRow:
    """A line of the table of runs."""

    run: Run
    metric: str
    """The number in short, else what was logged in its place."""
    parameters: tuple[str, ...]
    is_best: bool
    why: str | None
    """Why it did not finish."""
    duration_s: float | None
    endings: str
    """What ended its attempts, as its agents told."""
    repeated: int | None
    """Iterations that were trained more than once."""


def run_row(
    run: Run,
    metric: str,
    parameters: tuple[str, ...],
    is_best: bool,
    why: str | None,
    duration_s: float | None,
    record: RunRecord | None,
) -> RunTableRow:
    """Give the line of a run; its agents' record tells what became of its attempts."""
    has_more = record is not None and len(record.attempts) > 1
    return RunTableRow(
        run,
        metric,
        parameters,
        is_best,
        why,
        duration_s,
        endings=record.endings if record is not None and has_more else "",
        repeated=record.iterations_repeated if record is not None and has_more else None,
    )


def address(*names: str) -> str:
    """Give the path of a page from the names in it."""
    return "/" + "/".join(urllib.parse.quote(name, safe="") for name in names)


def _is_better(sweep: Sweep, value: float, than: float) -> bool:
    return value > than if sweep.goal == "maximize" else value < than


def best_run(sweep: Sweep, runs: list[RunOutline], metrics: Mapping[int, float]) -> int | None:
    """Give the finished run with the best metric, the first of equals; None if there is none."""
    best: int | None = None
    for run in runs:
        value = metrics.get(run.pk)
        if value is None or run.state != RunState.FINISHED:
            continue
        if best is None or _is_better(sweep, value, metrics[best]):
            best = run.pk
    return best


def ranked(sweep: Sweep, runs: list[RunOutline], metrics: Mapping[int, float]) -> list[RunOutline]:
    """Put the best first, of equals the eldest; runs without a metric come last, newest first."""
    sign = -1 if sweep.goal == "maximize" else 1

    def rank(run: RunOutline) -> tuple[bool, float, int]:
        value = metrics.get(run.pk)
        return (True, 0.0, -run.pk) if value is None else (False, sign * value, run.pk)

    return sorted(runs, key=rank)


def run_marks(
    project: Project,
    runs: list[RunOutline],
    metrics: Mapping[int, float],
    best: int | None,
    count: int,
) -> list[Mark]:
    """Give a mark, with its link, for at most `count` of the runs that have a metric."""
    of_runs = address(project.entity, project.name, "runs")
    numbered = [(number, run) for number, run in enumerate(runs, 1) if run.pk in metrics]
    chosen = [numbered[number] for number in lines.spread(len(numbered), count)]
    return [
        Mark(
            number,
            metrics[run.pk],
            f"{run.display_name or run.id}: {short(metrics[run.pk])}",
            "best" if run.pk == best else run.state.value,
            f"{of_runs}{address(run.id)}",
        )
        for number, run in chosen
    ]
