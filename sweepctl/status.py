"""What a sweep is doing, as a value: counts, one row a run, the best so far, what changed since.

Pure: it takes what was read and the time, and gives what is to be shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sweepctl.errors import ExitCode
from sweepctl.wandb_http import RunInfo, SweepInfo

ENDED_WELL = frozenset({"finished"})
ENDED_BADLY = frozenset({"failed", "crashed", "killed"})
OPEN_RUNS = frozenset({"running", "pending", "preempting", "preempted", "queued"})
ENDED_SWEEP = frozenset({"FINISHED", "CANCELED", "CRASHED", "FAILED"})


@dataclass(frozen=True, slots=True)
class Metric:
    """What the sweep optimises: a key of the run's summary, and the direction."""

    name: str
    goal: str

    def better(self, one: float, other: float) -> bool:
        """Say whether `one` is better than `other`."""
        return one > other if self.goal == "maximize" else one < other


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as a line of a table; `metric` is None until it was logged as a number."""

    id: str
    state: str
    agent: str | None
    metric: float | None
    step: int | None
    age_s: float | None
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """A sweep at one moment. `runs` is in the order in which the runs were created."""

    sweep: str
    name: str | None
    state: str
    method: str
    metric: Metric | None
    run_cap: int | None
    runs: tuple[RunRow, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Count the runs by state."""
        return dict(Counter(row.state for row in self.runs))

    @property
    def best(self) -> RunRow | None:
        """Give the finished run with the best metric."""
        rows = ranked(self.runs, self.metric)
        return rows[0] if rows else None

    @property
    def has_bad_ends(self) -> bool:
        """Say whether a run ended other than finished."""
        return any(row.state in ENDED_BADLY for row in self.runs)

    @property
    def has_ended(self) -> bool:
        """Say whether the sweep is over: ended at its server, and no run under way."""
        is_open = any(row.state in OPEN_RUNS for row in self.runs)
        return self.state in ENDED_SWEEP and not is_open

    @property
    def exit_code(self) -> ExitCode:
        """Give what a command that has seen the sweep to its end exits with."""
        if not self.has_ended:
            return ExitCode.FAILED
        return ExitCode.FAILED_RUNS if self.has_bad_ends else ExitCode.DONE


def metric_of(config: Mapping[str, Any]) -> Metric | None:
    """Give the metric of a sweep's config; W&B's default goal is to minimise."""
    metric = config.get("metric")
    if not isinstance(metric, Mapping) or not metric.get("name"):
        return None
    return Metric(str(metric["name"]), str(metric.get("goal", "minimize")))


def sweep_status(
    sweep: SweepInfo, config: Mapping[str, Any], runs: Sequence[RunInfo], now: datetime
) -> SweepStatus:
    """Put together what a sweep, its config and its runs say at `now`."""
    metric = metric_of(config)
    return SweepStatus(
        sweep=f"{sweep.entity}/{sweep.project}/{sweep.id}",
        name=sweep.display_name,
        state=sweep.state,
        method=str(config.get("method")),
        metric=metric,
        run_cap=config.get("run_cap"),
        runs=tuple(
            _row(run, metric, now) for run in sorted(runs, key=lambda run: run.created_at or "")
        ),
    )


def ranked(rows: Sequence[RunRow], metric: Metric | None) -> list[RunRow]:
    """Order the finished runs that have the metric, best first."""
    if metric is None:
        return []
    sign = -1 if metric.goal == "maximize" else 1
    found = [
        (sign * row.metric, row)
        for row in rows
        if row.state in ENDED_WELL and row.metric is not None
    ]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def changes(before: SweepStatus | None, after: SweepStatus) -> list[RunRow]:
    """Give the runs that are new or whose state changed between two moments."""
    known = {row.id: row.state for row in before.runs} if before else {}
    return [row for row in after.runs if known.get(row.id) != row.state]


def metric_value(summary: Mapping[str, Any], name: str) -> float | None:
    """Read a metric from a run's summary: by its flat name, else along its dots as W&B nests."""
    value: Any = summary.get(name)
    if value is None and "." in name:
        value = summary
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("last", value.get("min", value.get("max")))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _row(run: RunInfo, metric: Metric | None, now: datetime) -> RunRow:
    step = run.summary.get("_step")
    return RunRow(
        id=run.id,
        state=run.state,
        agent=run.host,
        metric=metric_value(run.summary, metric.name) if metric else None,
        step=int(step) if isinstance(step, (int, float)) else None,
        age_s=_age_s(run.created_at, now),
        parameters=run.config,
    )


def _age_s(created_at: str | None, now: datetime) -> float | None:
    if not created_at:
        return None
    try:
        when = datetime.fromisoformat(created_at.replace("Z", "+00:00"))
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return (now - when).total_seconds()
