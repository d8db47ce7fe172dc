"""What W&B's engine is told of a sweep's runs: state, parameters, the metric and its history.

A history is read once: what was read is kept, and only its new lines are read the next time. Not
safe to use from several threads at once: whoever asks the engine holds its turn.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

from sweepctl.server import lines, run_store
from sweepctl.server.lifecycle import LIVE, RunState
from sweepctl.server.run_store import Run
from sweepctl.server.search import wrapped
from sweepctl.server.store import Rows, Sweep
from sweepctl.wandb_summary import read_metric


@dataclass(slots=True)
class _Series:
    """The values of the metric in the first `lines` lines of an attempt's history."""

    attempt: int
    lines: int = 0
    values: array[float] = field(default_factory=lambda: array("d"))


class Results:
    """The runs of sweeps as W&B's `SweepRun` takes them."""

    def __init__(self) -> None:
        self._series: dict[int, _Series] = {}

    def whole(self, rows: Rows, sweep: Sweep) -> list[dict[str, Any]]:
        """Give the sweep's runs with every value of the metric: hyperband counts them."""
        return [
            self._told(rows, sweep, run, summary, self._values(rows, sweep, run).values.tolist())
            for run, summary in _with_summaries(rows, sweep)
        ]

    def brief(self, rows: Rows, sweep: Sweep) -> list[dict[str, Any]]:
        """Give the sweep's runs with the least, the greatest and the last value of the metric.

        Bayes looks at nothing else (https://github.com/wandb/sweeps, `metric_extremum`, `impute`).
        """
        told = []
        for run, summary in _with_summaries(rows, sweep):
            values = self._values(rows, sweep, run).values
            least = [min(values), max(values), values[-1]] if values else []
            told.append(self._told(rows, sweep, run, summary, least))
        return told

    def _told(
        self, rows: Rows, sweep: Sweep, run: Run, summary: float | None, values: list[float]
    ) -> dict[str, Any]:
        # W&B's scheduler takes a run that is to stop for one that has been stopped.
        is_stopped = run.is_stop_asked and run.state in LIVE
        return {
            "name": run.id,
            "state": (RunState.KILLED if is_stopped else run.state).value,
            "config": wrapped(run_store.params_of(rows, run.pk)),
            "summary_metrics": {} if summary is None else {sweep.metric: summary},
            "history": [{sweep.metric: value} for value in values],
        }

    def _values(self, rows: Rows, sweep: Sweep, run: Run) -> _Series:
        series = self._series.get(run.pk)
        count = run_store.history_count(rows, run)
        if series is None or series.attempt != run.attempt or series.lines > count:
            series = self._series[run.pk] = _Series(run.attempt)
        if series.lines < count and sweep.metric is not None:
            found = lines.metric_values(rows, run.pk, sweep.metric, series.lines)
            series.values.extend(found)
            series.lines = count
        return series


def _with_summaries(rows: Rows, sweep: Sweep) -> list[tuple[Run, float | None]]:
    """Give the runs that the sweep handed out, each with its summary's value of the metric."""
    summaries = run_store.summaries(rows, sweep.pk)
    with_params = run_store.runs(rows, sweep=sweep.pk, where=run_store.HANDED_OUT)
    return [
        (run, read_metric(summaries.get(run.pk, {}), sweep.metric or "", sweep.goal).number)
        for run in with_params
    ]
