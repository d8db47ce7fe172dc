"""What a sweep is doing, as a value: counts, one row a run, the best so far, what changed since.

Pure: it takes what was read and the time, and gives what is to be shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sweepctl.search.metric import Metric
from sweepctl.sweeps.progress import Phase, eta_s, progress
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.search_seed import seed_in
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from sweepctl_pod.wandb.states import (
    ENDED_BADLY,
    ENDED_SWEEPS,
    ENDED_WELL,
    HELD_RUNS,
    OPEN_RUNS,
    TRAINING_RUNS,
    RunState,
    SweepState,
)
from sweepctl_pod.wandb.summary import duration_s, read_metric, reason_of, unverified_of


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as a line of a table; `metric` is None until it was logged as a number.

    `step` is W&B's last step, `done` of `steps` the iterations; `parameters` are the sweep's own.
    """

    id: str
    state: str
    agent: str | None
    metric: float | None
    step: int | None
    age_s: float | None
    parameters: Mapping[str, Any]
    metric_instead: str | None = None
    """What was logged in the metric's place where that is no finite number: `NaN`, `"7.5"`."""
    reason: str | None = None
    """Why it did not finish, as its agent judged it, else as far as the server knows."""
    duration_s: float | None = None
    phase: Phase | None = None
    """What its trainer is doing, while it is under way."""
    done: int | None = None
    steps: int | None = None
    gpus: tuple[str, ...] = ()
    """The GPUs that its agent has of this machine, where agents have some of their own."""
    record: RunRecord | None = None
    """What became of each of its attempts, where that was read and its agents have told."""


@dataclass(frozen=True, slots=True)
class SweepStatus:
    """A sweep at one moment. `runs` is in the order in which the runs were created.

    `searched` names the parameters that the sweep varies.
    """

    sweep: str
    name: str | None
    state: str
    method: str
    metric: Metric | None
    run_cap: int | None
    runs: tuple[RunRow, ...]
    run_count_expected: int | None = None
    searched: tuple[str, ...] = ()
    seed: int | None = None
    """The seed that its search is repeated from, where it is known."""

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
    def expected(self) -> int | None:
        """Tell how many runs there will be, if there is an end to them."""
        return self.run_cap if self.run_count_expected is None else self.run_count_expected

    @property
    def ended_count(self) -> int:
        """Count the runs that are over."""
        return sum(row.state not in OPEN_RUNS for row in self.runs)

    @property
    def eta_s(self) -> float | None:
        """Tell in how many seconds the sweep will be done; None while that is unknown."""
        if self.expected is None or self.state != SweepState.RUNNING:
            return None
        at_work = [row for row in self.runs if row.state in HELD_RUNS]
        handed_back = sum(row.state in OPEN_RUNS - HELD_RUNS for row in self.runs)
        return eta_s(
            [row.duration_s for row in self.runs if row.state in ENDED_WELL and row.duration_s],
            [row.duration_s or 0.0 for row in at_work],
            waiting=max(0, self.expected - len(self.runs)) + handed_back,
            agents=len(at_work),
        )

    @property
    def has_bad_ends(self) -> bool:
        """Say whether a run ended other than finished."""
        return any(row.state in ENDED_BADLY for row in self.runs)

    @property
    def has_only_bad_ends(self) -> bool:
        """Say whether there are runs, and every one ended other than finished."""
        return bool(self.runs) and all(row.state in ENDED_BADLY for row in self.runs)

    @property
    def has_ended(self) -> bool:
        """Say whether the sweep is over: ended at its server, and no run under way."""
        is_open = any(row.state in OPEN_RUNS for row in self.runs)
        return self.state in ENDED_SWEEPS and not is_open

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
        sweep=sweep.full_name,
        name=sweep.display_name,
        state=sweep.state,
        method=str(config.get("method")),
        metric=metric,
        run_cap=config.get("run_cap"),
        runs=tuple(
            _row(run, metric, config, now)
            for run in sorted(runs, key=lambda run: run.created_at or "")
        ),
        run_count_expected=sweep.run_count_expected,
        searched=tuple(searched_parameters(config)),
        seed=seed_in(sweep.description),
    )


def searched_parameters(config: Mapping[str, Any]) -> list[str]:
    """Name the parameters that the sweep varies, in the order of the file."""
    return [
        str(name)
        for name, form in _parameters(config).items()
        if not (isinstance(form, Mapping) and "value" in form)
    ]


def by_interest(status: SweepStatus) -> list[RunRow]:
    """Order the runs for who watches: under way, then the best, then what else has ended, newest
    first."""
    best = ranked(status.runs, status.metric)
    at_work = [row for row in status.runs if row.state in HELD_RUNS]
    waiting = [row for row in status.runs if row.state in OPEN_RUNS - HELD_RUNS]
    shown = {row.id for row in (*best, *at_work, *waiting)}
    others = [row for row in reversed(status.runs) if row.id not in shown]
    return [*at_work, *waiting, *best, *others]


def with_gpus(status: SweepStatus, gpus: Mapping[str, tuple[str, ...]]) -> SweepStatus:
    """Add to each run the GPUs of its agent; `gpus` has them by the agent's host."""
    runs = tuple(replace(row, gpus=gpus.get(row.agent or "", ())) for row in status.runs)
    return replace(status, runs=runs) if gpus else status


def with_records(status: SweepStatus, records: Mapping[str, RunRecord]) -> SweepStatus:
    """Add to each run its record, by the run's id."""
    runs = tuple(replace(row, record=records.get(row.id)) for row in status.runs)
    return replace(status, runs=runs) if records else status


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


def why_not_finished(run: RunInfo) -> str | None:
    """Say why a run has ended otherwise, or waits to be taken again; None while it goes on.

    Of one that has finished: why that is not the whole truth.
    """
    if run.state in HELD_RUNS:
        return None
    if run.state in ENDED_WELL:
        return unverified_of(run.summary)
    if reason := reason_of(run.summary):
        return reason
    if run.state == RunState.CRASHED:
        return "nothing was heard of it any more"
    if run.state == RunState.FAILED and run.exit_code is not None:
        return f"the trainer ended with exit code {run.exit_code}"
    if run.state == RunState.FAILED and not run.is_started:
        return "its trainer ended before it began the run (it never came to wandb.init)"
    return None


def _parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = config.get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


def _row(run: RunInfo, metric: Metric | None, config: Mapping[str, Any], now: datetime) -> RunRow:
    reading = read_metric(run.summary, metric.name, metric.goal) if metric else None
    created = read_time(run.created_at)
    heard = read_time(run.heartbeat_at)
    known = progress(run.state, run.summary, run.config, config.get("command"))
    return RunRow(
        id=run.id,
        state=run.state,
        agent=run.host,
        metric=reading.number if reading else None,
        step=known.step,
        age_s=(now - created).total_seconds() if created else None,
        parameters={name: run.config[name] for name in _parameters(config) if name in run.config},
        metric_instead=reading.instead if reading else None,
        reason=why_not_finished(run),
        duration_s=None
        if run.state == RunState.PENDING
        else duration_s(
            run.summary,
            is_live=run.state in TRAINING_RUNS,
            created_s=created.timestamp() if created else None,
            heard_s=heard.timestamp() if heard else None,
            now_s=now.timestamp(),
        ),
        phase=known.phase,
        done=known.done,
        steps=known.steps,
    )
