"""The runs of a sweep as what learns from them takes them: state, parameters, metric and history.

Each line of a history is read once: the values are kept, and the next call reads only new lines.
Safe to use from any thread.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweepctl.search.hyperband import Logged
from sweepctl.search.next_params import Params, wrapped
from sweepctl.server.store import lines, run_store, summary_store, sweep_store
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.summary_store import metric_number
from sweepctl.server.store.sweep_store import Rows, Sweep
from sweepctl_pod.wandb.states import HELD_RUNS, RunState


@dataclass(slots=True)
class _Series:
    """The values of the metric in the first `lines` lines of an attempt's history."""

    attempt: int
    lines: int = 0
    values: array[float] = field(default_factory=lambda: array("d"))


class Results:
    """The runs of sweeps for bayes and hyperband."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._series: dict[tuple[int, str | None], _Series] = {}

    def logged(self, rows: Rows, sweep: Sweep) -> list[Logged]:
        """Give the sweep's runs with every value of the metric: hyperband counts them."""
        with self._reading:
            return [
                Logged(
                    run.id,
                    _state(run) == RunState.RUNNING,
                    self._values(rows, sweep, run).values.tolist(),
                )
                for run, _, _ in _known(rows, sweep)
            ]

    def brief(self, rows: Rows, sweep: Sweep) -> list[dict[str, Any]]:
        """Give the runs as W&B's `SweepRun`, with the least, greatest and last of the metric.

        Bayes looks at nothing else (https://github.com/wandb/sweeps, `metric_extremum`, `impute`).
        """
        runs = []
        with self._reading:
            for run, params, summary in _known(rows, sweep):
                values = self._values(rows, sweep, run).values
                least = [min(values), max(values), values[-1]] if values else []
                runs.append(_sweep_run(sweep, run, params, summary, least))
        return runs

    def _values(self, rows: Rows, sweep: Sweep, run: Run) -> _Series:
        key = run.pk, sweep.metric
        series = self._series.get(key)
        count = run_store.history_count(rows, run)
        if series is None or series.attempt != run.attempt or series.lines > count:
            series = self._series[key] = _Series(run.attempt)
        if series.lines < count and sweep.metric is not None:
            found = lines.metric_values(rows, run.pk, sweep.metric, series.lines)
            series.values.extend(found)
            series.lines = count
        return series


def _sweep_run(
    sweep: Sweep, run: Run, params: Params, summary: float | None, values: list[float]
) -> dict[str, Any]:
    return {
        "name": run.id,
        "state": _state(run).value,
        "config": wrapped(params),
        "summary_metrics": {} if summary is None else {sweep.metric: summary},
        "history": [{sweep.metric: value} for value in values],
    }


def _state(run: Run) -> RunState:
    """Give a run's state; W&B's scheduler counts one that was asked to stop as stopped."""
    return RunState.KILLED if run.is_stop_asked and run.state in HELD_RUNS else run.state


def _known(rows: Rows, sweep: Sweep) -> Iterator[tuple[Run, Params, float | None]]:
    """Give the sweep's runs with their parameters and their summary's value of the metric.

    A run that lacks a parameter is left out, because the engine refuses it: it is from before the
    sweep, or from before its search space was changed.
    """
    summaries = summary_store.summaries(rows, sweep.pk)
    searched = sweep_store.sweep_spec(rows, sweep.pk)["parameters"]
    for run in run_store.runs(rows, sweep=sweep.pk):
        params = _searched_part(searched, run_store.settings_of(rows, run.pk))
        if params is not None:
            summary = summaries.get(run.pk, {})
            yield run, params, metric_number(sweep, summary)


def _searched_part(searched: Mapping[str, Any], values: object) -> dict[str, Any] | None:
    """Give the values of the parameters that are searched; None when one is missing."""
    if not isinstance(values, Mapping):
        return None
    part = {}
    for name, config in searched.items():
        value = values.get(name)
        if name in values and "parameters" in config:
            value = _searched_part(config["parameters"], value)
        if value is None and (name not in values or "parameters" in config):
            return None
        part[name] = value
    return part
