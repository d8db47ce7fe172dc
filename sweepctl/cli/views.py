"""How sweeps look on a terminal: the status table, the ranked runs, the live view of `local`.

Values come in ready; nothing is fetched or decided here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweepctl.cli import output
from sweepctl.report import RankedRun
from sweepctl.status import ENDED_BADLY, RunRow, SweepStatus, changes

_MOST_REASONS = 5


def print_status(status: SweepStatus) -> None:
    """Print a sweep as two tables: the sweep, its runs."""
    output.console().print(status_view(status))


def status_view(status: SweepStatus) -> Group:
    """Lay a sweep out as two tables: the sweep, its runs."""
    if not status.runs:
        return Group(sweep_table(status))
    return Group(sweep_table(status), Text(), runs_table(status), *reason_lines(status))


def sweep_table(status: SweepStatus) -> Table:
    """Lay out one line that says what the sweep is doing."""
    best = status.best
    name = status.metric.name if status.metric else "METRIC"
    return output.table(
        ["SWEEP", "STATE", "METHOD", "RUNS", f"BEST {name}"],
        [
            [
                status.sweep,
                status.state,
                status.method,
                runs_line(status),
                f"{output.number(best.metric)} ({best.id})" if best else "<none>",
            ]
        ],
    )


def runs_table(status: SweepStatus) -> Table:
    """Lay out one line for each run."""
    return output.table(
        ["RUN", "STATE", "AGENT", "METRIC", "STEP", "DURATION", "AGE"],
        [
            [
                row.id,
                row.state,
                row.agent or "<none>",
                metric_text(row),
                "<none>" if row.step is None else str(row.step),
                output.age(row.duration_s),
                output.age(row.age_s),
            ]
            for row in status.runs
        ],
    )


def reason_lines(status: SweepStatus) -> list[Text]:
    """Say why runs did not finish, each reason once, and where to read on."""
    groups: dict[tuple[str, str], list[RunRow]] = {}
    for row in status.runs:
        if row.reason is not None:
            groups.setdefault((row.state, row.reason), []).append(row)
    found = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = [Text()] if found else []
    for (state, reason), rows in found[:_MOST_REASONS]:
        names = ", ".join(row.id for row in rows[:3]) + (" …" if len(rows) > 3 else "")
        who = f"run {names}" if len(rows) == 1 else f"{len(rows)} runs ({names})"
        lines.append(Text(f"{who} {state}: {reason}", style="red" if state == "failed" else ""))
    if len(found) > _MOST_REASONS:
        lines.append(Text(f"… and {len(found) - _MOST_REASONS} more reasons: -o json"))
    return lines


def metric_text(row: RunRow) -> str:
    """Write a run's metric: the number, else what was logged in its place, else `<none>`."""
    return row.metric_instead or output.number(row.metric)


def runs_line(status: SweepStatus) -> str:
    """Count the runs in words: `4 finished, 2 running of 6`."""
    parts = [f"{count} {state}" for state, count in sorted(status.counts.items())]
    whole = ", ".join(parts) or "none"
    return f"{whole} of {status.run_cap}" if status.run_cap else whole


def status_data(status: SweepStatus) -> dict[str, Any]:
    """Give a sweep's status as data for `-o json`."""
    best = status.best
    return {
        "sweep": status.sweep,
        "name": status.name,
        "state": status.state,
        "method": status.method,
        "metric": {"name": status.metric.name, "goal": status.metric.goal}
        if status.metric
        else None,
        "run_cap": status.run_cap,
        "counts": status.counts,
        "best": best.id if best else None,
        "runs": [_run_data(row) for row in status.runs],
    }


def print_best(status: SweepStatus, runs: Sequence[RankedRun]) -> None:
    """Print the ranked runs, then the best one's exact values and its command."""
    console = output.console()
    if status.metric is None:
        console.print(f"{status.sweep}: the sweep has no metric, so no run is the best")
        return
    if not runs:
        odd = [row.metric_instead for row in status.runs if row.metric_instead is not None]
        instead = f"; {len(odd)} logged {', '.join(sorted(set(odd))[:3])} instead" if odd else ""
        console.print(f"{status.sweep}: no run has finished with {status.metric.name} yet{instead}")
        return
    searched = list(runs[0].sampled)
    console.print(
        output.table(
            ["RANK", "RUN", status.metric.name, *searched],
            [
                [
                    str(entry.rank),
                    entry.run.id,
                    output.number(entry.run.metric),
                    *(_exact(entry.sampled.get(name)) for name in searched),
                ]
                for entry in runs
            ],
        )
    )
    best = runs[0]
    if not best.overrides:
        console.print(f"\nrun {best.run.id}: its trainer took the parameters from W&B")
        return
    console.print(f"\nrun {best.run.id} gave the trainer:")
    for override in best.overrides:
        if isinstance(override.value, Mapping):
            console.print(f"  {override.path}", markup=False)
            rows = [[f"    {key}", _exact(value)] for key, value in override.value.items()]
            console.print(output.table(["", ""], rows, header=False))
        else:
            console.print(f"  {override.path} = {_exact(override.value)}", markup=False)
    console.print("\nrun it again:")
    console.print(f"  {best.shell_command()}", markup=False)


def best_data(status: SweepStatus, runs: Sequence[RankedRun]) -> dict[str, Any]:
    """Give the ranked runs as data for `-o json`."""
    metric = status.metric
    return {
        "sweep": status.sweep,
        "metric": {"name": metric.name, "goal": metric.goal} if metric else None,
        "runs": [entry.as_dict(metric.name) for entry in runs] if metric else [],
    }


class LocalView:
    """What `local` shows while it runs: a live table on a terminal, else a line for each event."""

    def __init__(self) -> None:
        self._console = output.console()
        self._live: Live | None = None
        self._before: SweepStatus | None = None
        self._unexplained: set[str] = set()

    def __enter__(self) -> LocalView:
        if self._console.is_terminal:
            live = output.console(width=None)
            self._live = Live(console=live, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_live()

    def note(self, line: str) -> None:
        """Show one line about the processes."""
        if self._live is not None:
            self._live.console.print(Text(line))
        else:
            print(line, flush=True)

    def show(self, status: SweepStatus, reasons: Mapping[str, str]) -> None:
        """Show the sweep as it is now; `reasons` says why runs failed."""
        changed = {row.id for row in changes(self._before, status)}
        late = self._unexplained
        self._unexplained = set()
        for row in status.runs:
            is_bad = row.state in ENDED_BADLY
            if row.id in changed and is_bad and row.id not in reasons:
                # The trainer's own report of its end comes before its agent says why.
                self._unexplained.add(row.id)
            elif row.id in late or (row.id in changed and (is_bad or self._live is None)):
                self.note(event_line(row, status, reasons.get(row.id)))
        self._before = status
        if self._live is not None:
            self._live.update(Group(sweep_table(status), Text(), runs_table(status)))

    def end(self, status: SweepStatus, runs: Sequence[RankedRun]) -> None:
        """Show how the sweep ended."""
        self._note_unexplained(status)
        self._stop_live()
        if self._console.is_terminal:
            print_status(status)
        self._console.print()
        print_best(status, runs)
        sys.stdout.flush()

    def _note_unexplained(self, status: SweepStatus) -> None:
        for row in status.runs:
            if row.id in self._unexplained:
                self.note(event_line(row, status, None))
        self._unexplained = set()

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def event_line(row: RunRow, status: SweepStatus, reason: str | None) -> str:
    """Say in one line what became of a run."""
    parts = [f"run {row.id}: {row.state}"]
    if row.agent:
        parts.append(f"on {row.agent}")
    if row.metric is not None and status.metric is not None and row.state == "finished":
        parts.append(f"with {status.metric.name} {output.number(row.metric)}")
    line = " ".join(parts)
    if reason and row.state in ENDED_BADLY:
        line += f": {reason}"
    return f"{line} [{runs_line(status)}]"


def _run_data(row: RunRow) -> dict[str, Any]:
    return {
        "run": row.id,
        "state": row.state,
        "agent": row.agent,
        "metric": row.metric,
        "metric_instead": row.metric_instead,
        "step": row.step,
        "duration_s": row.duration_s,
        "age_s": row.age_s,
        "reason": row.reason,
        "parameters": dict(row.parameters),
    }


def _exact(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
