"""How sweeps look on a terminal: the status table, the ranked runs, the live view of `local`.

Values come in ready; nothing is fetched or decided here.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from sweepctl.cli import output, terminal_curve
from sweepctl.cli.output import Lines
from sweepctl.cli.screen import Room, Screen, is_drawable
from sweepctl.sweeps.best import RankedRun
from sweepctl.sweeps.facts import best_so_far
from sweepctl.sweeps.gpus import label as gpu_label
from sweepctl.sweeps.status import RunRow, SweepStatus, by_interest, changes
from sweepctl_pod.wandb.states import ENDED_BADLY, HELD_RUNS

if TYPE_CHECKING:
    from sweepctl.sweeps.seen import SweepLine
    from sweepctl_pod.run_record import Attempt

_SWEEP_COLUMNS = (
    output.Column("SWEEP", 9, elastic=True),
    output.Column("STATE", 8),
    output.Column("METHOD", 1),
    output.Column("RUNS", 7),
    output.Column("ETA", 6),
)
_RUN_COLUMNS = (
    output.Column("RUN", 9),
    output.Column("STATE", 8),
    output.Column("PHASE", 4),
    output.Column("STEP", 5),
    output.Column("METRIC", 6),
    output.Column("TIME", 7),
    output.Column("AGENT", 3, elastic=True),
    output.Column("GPU", 2),
)
_WIDE_COLUMNS = (
    output.Column("AGE", 1),
    output.Column("ATTEMPTS", 1),
    output.Column("ENDED BY", 1),
    output.Column("REPEATED", 1),
)
_HEAD_LINES = 4
"""The sweep's two lines, an empty one, and the titles of the runs."""

_LEAST_FOR_CURVE = 20
"""A terminal of fewer lines shows runs in place of the curve."""

_MOST_REASONS = 5


def print_status(status: SweepStatus) -> None:
    """Print a sweep as two tables: the sweep, its runs."""
    output.console().print(status_view(status))


def status_view(status: SweepStatus, room: Room | None = None, *, wide: bool = False) -> Group:
    """Lay a sweep out as two tables: the sweep, its runs in the order of their creation.

    Where there is only so much room: those under way first, then the best, and how many others.
    """
    width = room.columns if room else None
    head = sweep_table(status, width)
    if not status.runs:
        return Group(head)
    if room is None:
        table = runs_table(status.runs, None, wide=wide)
        return Group(head, Text(), table, *reason_lines(status))
    curve = curve_lines(status, room, sum(row.state in HELD_RUNS for row in status.runs))
    lines = max(2, room.lines - 1 - _HEAD_LINES - len(curve))
    reasons = reason_lines(status)
    if len(status.runs) + len(reasons) <= lines:
        return Group(head, *curve, Text(), runs_table(by_interest(status), width), *reasons)
    shown, rest = _that_fit(status, lines)
    return Group(head, *curve, Text(), runs_table(shown, width), *rest_lines(rest, width))


def curve_lines(status: SweepStatus, room: Room, rows: int) -> list[Text]:
    """Draw the best so far in a few lines, or say why there is no curve; none in little room.

    `rows` matter more, such as of the runs under way: all of them must fit beside it.
    """
    left = room.lines - 1 - _HEAD_LINES - 1 - rows
    if room.lines < _LEAST_FOR_CURVE or left < 1:
        return []
    found = best_so_far(status)
    if isinstance(found, str):
        return [Text(output.shortened(found, room.columns), style="dim")]
    is_braille = terminal_curve.has_braille(os.environ)
    drawn = terminal_curve.curve(found, len(status.runs), room.columns, is_braille=is_braille)
    lines = [Text(), *(Text(line, style="green") for line in drawn)] if drawn else []
    return lines if len(lines) <= left else []


def sweeps_table(lines: Sequence[SweepLine], *, wide: bool) -> Lines:
    """Lay out one line for each sweep of a server."""
    columns = ["SWEEP", "STATE", "METHOD", "RUNS", "NAME", *(["CREATED"] if wide else [])]
    cells = [
        [line.sweep, line.state, line.method, line.runs, line.name]
        + ([line.created_at] if wide else [])
        for line in lines
    ]
    rows = [[str(cell if cell is not None else "<none>") for cell in row] for row in cells]
    return output.table(columns, rows)


def sweep_table(status: SweepStatus, width: int | None = None) -> Lines:
    """Lay out one line that says what the sweep is doing."""
    best = status.best
    name = status.metric.name if status.metric else "METRIC"
    cells = [
        status.sweep,
        status.state,
        status.method,
        progress_text(status.ended_count, status.expected),
        output.age(status.eta_s),
        f"{output.number(best.metric)} ({best.id})" if best else "<none>",
    ]
    return output.fitted_table(
        [*_SWEEP_COLUMNS, output.Column(f"BEST {name}", 5, elastic=True)], [cells], width
    )


def runs_table(rows: Sequence[RunRow], width: int | None = None, *, wide: bool = False) -> Lines:
    """Lay out one line for each run; columns that say nothing here are left out."""
    columns = [*_RUN_COLUMNS, *(_WIDE_COLUMNS if wide else ())]
    cells = [
        [
            row.id,
            row.state,
            row.phase.value if row.phase else "",
            progress_text(row.done, row.steps),
            metric_text(row),
            output.age(row.duration_s),
            row.agent or "<none>",
            gpu_label(row.gpus),
            *([output.age(row.age_s), *attempt_cells(row)] if wide else []),
        ]
        for row in rows
    ]
    said = [place for place, column in enumerate(zip(*cells, strict=True)) if any(column)]
    return output.fitted_table(
        [columns[place] for place in said], [[row[place] for place in said] for row in cells], width
    )


def attempt_cells(row: RunRow) -> list[str]:
    """Write how many attempts a run has had, what ended them, how many iterations it repeated."""
    record = row.record
    if record is None or not record.attempts:
        return ["", "", ""]
    repeated = record.iterations_repeated
    told = "<unknown>" if repeated is None else str(repeated)
    return [str(len(record.attempts)), record.endings, told]


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


def rest_lines(rows: Sequence[RunRow], width: int | None) -> list[Text]:
    """Count the runs that are not shown, and say why the last of them failed."""
    if not rows:
        return []
    line = f"… {len(rows)} more: {counts_text(Counter(row.state for row in rows))}"
    failed = next((row for row in rows if row.state in ENDED_BADLY and row.reason), None)
    if failed is not None:
        line += f"; {failed.id}: {failed.reason}"
    return [Text(line if width is None else output.shortened(line, width))]


def progress_text(done: int | None, whole: int | None) -> str:
    """Write how much is done of how much: `340/1500`, `340` where the whole is not known."""
    if done is None:
        return "<none>"
    return str(done) if whole is None else f"{done}/{whole}"


def counts_text(counts: Mapping[str, int]) -> str:
    """Count runs in words: `4 finished, 2 running`."""
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"


def runs_line(status: SweepStatus) -> str:
    """Count the runs in words: `4 finished, 2 running of 6`."""
    whole = counts_text(status.counts)
    return f"{whole} of {status.expected}" if status.expected else whole


def _that_fit(status: SweepStatus, lines: int) -> tuple[list[RunRow], list[RunRow]]:
    """Choose the runs to show in so many lines, one of which counts the rest; give both.

    However many are under way, the best is among them.
    """
    rows = by_interest(status)
    if len(rows) <= lines:
        return rows, []
    shown = rows[: lines - 1]
    best = status.best
    if best is not None and best not in shown and len(shown) > 1:
        shown[-1] = best
    chosen = {row.id for row in shown}
    return shown, [row for row in rows if row.id not in chosen]


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
        "seed": status.seed,
        "expected": status.expected,
        "ended": status.ended_count,
        "eta_s": status.eta_s,
        "counts": status.counts,
        "best": best.id if best else None,
        "runs": [_run_data(row, status.searched) for row in status.runs],
    }


def print_best(status: SweepStatus, runs: Sequence[RankedRun]) -> None:
    """Print the ranked runs, then the best one's exact values and its command."""
    from sweepctl.sweeps.facts import importance_words

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
    console.print(f"\n{importance_words(status)}", markup=False, highlight=False)
    best = runs[0]
    if best.overrides:
        console.print(f"\nrun {best.run.id} gave the trainer:")
    for override in best.overrides:
        if isinstance(override.value, Mapping):
            console.print(f"  {override.path}", markup=False)
            rows = [[f"    {key}", _exact(value)] for key, value in override.value.items()]
            console.print(output.table(["", ""], rows, header=False))
        else:
            console.print(f"  {override.path} = {_exact(override.value)}", markup=False)
    if best.why_no_command:
        console.print(f"\nno command runs it again: {best.why_no_command}", markup=False)
        return
    how = "" if best.is_recorded else " (by the sweep's command: the run has no record of its own)"
    console.print(f"\nrun it again{how}:")
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
        self._screen = Screen() if is_drawable(sys.stdout) else None
        self._before: SweepStatus | None = None
        self._unexplained: set[str] = set()

    def __enter__(self) -> LocalView:
        if self._screen is not None:
            self._screen.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._screen is not None:
            with output.outliving_the_terminal():
                self._screen.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        """Show one line about the processes."""
        with output.outliving_the_terminal():
            if self._screen is not None:
                self._screen.say(line)
            else:
                print(line, flush=True)

    def show(self, status: SweepStatus) -> None:
        """Show the sweep as it is now."""
        changed = {row.id for row in changes(self._before, status)}
        late = self._unexplained
        self._unexplained = set()
        for row in status.runs:
            if row.id in changed and _is_for_its_agent_to_judge(row, status):
                # The trainer's own report of its end comes before its agent's.
                self._unexplained.add(row.id)
            elif row.id in late or (row.id in changed and self._screen is None):
                self.note(event_line(row, status))
        self._before = status
        if self._screen is not None:
            with output.outliving_the_terminal():
                self._screen.draw(partial(status_view, status))

    def end(self, status: SweepStatus, runs: Sequence[RankedRun]) -> None:
        """Show how the sweep ended."""
        self._note_unexplained(status)
        with output.outliving_the_terminal():
            if self._screen is not None:
                self._screen.wipe()
                print_status(status)
            print()
            print_best(status, runs)
            sys.stdout.flush()

    def _note_unexplained(self, status: SweepStatus) -> None:
        for row in status.runs:
            if row.id in self._unexplained:
                self.note(event_line(row, status))
        self._unexplained = set()


def _is_for_its_agent_to_judge(row: RunRow, status: SweepStatus) -> bool:
    """Say whether a run ended badly, or its agent will say so: it finished without its metric."""
    is_bare = row.state == "finished" and status.metric is not None and row.metric is None
    return is_bare or row.state in ENDED_BADLY


def event_line(row: RunRow, status: SweepStatus) -> str:
    """Say in one line what became of a run."""
    parts = [f"run {row.id}: {row.state}"]
    if row.agent:
        parts.append(f"on {row.agent}")
    if row.metric is not None and status.metric is not None and row.state == "finished":
        parts.append(f"with {status.metric.name} {output.number(row.metric)}")
    line = " ".join(parts)
    if row.reason and (row.state in ENDED_BADLY or row.state == "finished"):
        line += f": {row.reason}"
    return f"{line} [{runs_line(status)}]"


def _run_data(row: RunRow, searched: Sequence[str]) -> dict[str, Any]:
    return {
        "run": row.id,
        "state": row.state,
        "reason": row.reason,
        "agent": row.agent,
        "gpus": list(row.gpus),
        "phase": row.phase.value if row.phase else None,
        "metric": row.metric,
        "metric_instead": row.metric_instead,
        "step": row.step,
        "steps": row.steps,
        "duration_s": row.duration_s,
        "age_s": row.age_s,
        "parameters": {name: row.parameters[name] for name in searched if name in row.parameters},
        "attempts": None if row.record is None else [_attempt_data(a) for a in row.record.attempts],
        "iterations_repeated": row.record.iterations_repeated if row.record else None,
    }


def _attempt_data(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "agent": attempt.host,
        "node": attempt.node or None,
        "began_at": attempt.began_at,
        "ended_at": attempt.ended_at,
        "ended_by": attempt.ended_by or None,
        "first_iteration": attempt.first,
        "last_iteration": attempt.last,
        "waited_from": attempt.waited_from,
        "started_at": attempt.started_at,
        "trained_from": attempt.trained_from,
        "trained_until": attempt.trained_until,
        "first_iteration_after_s": attempt.first_iteration_after_s,
        "gpus": attempt.gpus,
        "gpu": attempt.gpu or None,
    }


def _exact(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
