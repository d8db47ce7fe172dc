"""What a report says, whatever it is written in: sentences, figures and tables of plain text.

Pure: from what was read of a sweep to what each form of the document shows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweepctl.figures import (
    Figure,
    SweepFacts,
    best_so_far,
    fleet_timeline,
    gains_of_the_best,
    gpu_hours,
    importance,
    importance_of,
    metric_by_parameter,
    metric_over_steps,
    parallel_coordinates,
)
from sweepctl.figures.facts import counted
from sweepctl.sweeps.best import RankedRun
from sweepctl.sweeps.status import RunRow, SweepStatus, ranked
from sweepctl_pod.wandb.states import ENDED_WELL, OPEN_RUNS

NOT_RECORDED = "not recorded"
_LONGEST_CELL, _LONGEST_REASON, _MOST_REASONS = 60, 400, 100
_MOST_TEXT = 200_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain text; `note` says what it leaves out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What repeats a run, as it is pasted into a shell."""

    rank: int
    run: str
    metric: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the document of a sweep is made of. No secret is in it any more."""

    status: SweepStatus
    figures: tuple[Figure, ...]
    best: Sequence[RankedRun]
    sweep_file: str
    """The sweep as its server keeps it."""
    about: Sequence[tuple[str, str]]
    """Versions and provenance: what, and its value or that it is not recorded."""
    made_at: str
    why_no_commands: str = ""
    """Why nothing can be said of how the best runs are repeated, where that is so."""
    page: str = ""
    """The address of the sweep's own page, where it has one that stays."""

    @property
    def title(self) -> str:
        """Name the sweep."""
        return self.status.name or self.status.sweep

    @property
    def words(self) -> list[str]:
        """Say in a few sentences how the sweep stands."""
        status = self.status
        counts = ", ".join(f"{count:,} {state}" for state, count in sorted(status.counts.items()))
        of = f" of {status.expected:,}" if status.expected else ""
        told = [f"{counted(len(status.runs), 'run')}{of}: {counts or 'none yet'}."]
        if status.metric is None:
            return [*told, "The sweep names no metric, so no run is the best."]
        better = "higher" if status.metric.goal == "maximize" else "lower"
        best = status.best
        if best is None:
            return [*told, f"No run has finished with {status.metric.name} as a number yet."]
        told.append(
            f"The best run is {best.id}: {status.metric.name} {shown(best.metric)} "
            f"({better} is better)."
        )
        matters = next((figure for figure in self.figures if figure.name == "importance"), None)
        return [*told, *([matters.says] if matters else [])]

    def ranking(self, most_cells: int) -> Table:
        """Give the finished runs, best first, with all that the sweep varies, then the others."""
        status = self.status
        names = list(status.searched)
        metric = status.metric.name if status.metric else "metric"
        first = ranked(status.runs, status.metric)
        known = {row.id for row in first}
        rows = [*first, *(row for row in status.runs if row.id not in known)]
        columns = ["rank", "run", "state", metric, "duration", *names]
        most = max(most_cells // len(columns), 10)
        cells = [
            [
                str(at + 1) if at < len(first) else "",
                row.id,
                row.state,
                row.metric_instead or shown(row.metric),
                duration(row.duration_s),
                *(value_text(row.parameters.get(name)) for name in names),
            ]
            for at, row in enumerate(rows[:most])
        ]
        left = len(rows) - len(cells)
        note = f"The first {len(cells):,} of {len(rows):,} runs; all: sweepctl report -o runs.csv"
        return Table(columns, cells, note if left else "")

    def failures(self) -> Table:
        """Give the runs that did not finish by their reason, the most common first."""
        groups: dict[tuple[str, str], list[RunRow]] = {}
        for row in self.status.runs:
            if row.state in OPEN_RUNS or (row.state in ENDED_WELL and row.reason is None):
                continue
            groups.setdefault((row.state, row.reason or NOT_RECORDED), []).append(row)
        found = sorted(groups.items(), key=lambda group: -len(group[1]))
        rows = [
            [
                f"{len(of):,}",
                state,
                cut(reason, _LONGEST_REASON),
                ", ".join(row.id for row in of[:5]) + (" …" if len(of) > 5 else ""),
            ]
            for (state, reason), of in found[:_MOST_REASONS]
        ]
        left = len(found) - len(rows)
        return Table(
            ("runs", "state", "reason", "which"), rows, f"{left} more reasons." if left else ""
        )

    @property
    def without_commands(self) -> str:
        """Say why there are no commands that repeat runs."""
        return self.why_no_commands or self.words[-1]

    def commands(self) -> list[Command]:
        """Give what repeats each of the best runs."""
        note = "by the sweep's command: the run has no record of its own"
        return [
            Command(
                entry.rank,
                entry.run.id,
                shown(entry.run.metric),
                entry.shell_command(),
                "" if entry.is_recorded else note,
            )
            for entry in self.best
        ]

    def file_text(self) -> str:
        """Give the sweep file; a very long one is cut, and says so."""
        if len(self.sweep_file) <= _MOST_TEXT:
            return self.sweep_file
        return f"{self.sweep_file[:_MOST_TEXT]}\n# … cut: {len(self.sweep_file):,} letters in all"


def figures_of(facts: SweepFacts, with_curves: SweepFacts, top: int) -> tuple[Figure, ...]:
    """Draw all figures of a report; `with_curves` has the runs whose curves were read."""
    best = replace(with_curves, runs=with_curves.ranked[:top])
    curves = metric_over_steps(with_curves)
    if len(with_curves.runs) < len(facts.runs):
        note = (
            f"The curves of {len(with_curves.runs):,} of {counted(len(facts.runs), 'run')} were "
            "read: of the best, and of an even choice of the others."
        )
        curves = replace(curves, notes=[*curves.notes, note])
    figures = [best_so_far(facts), curves]
    if best.runs:
        of_best = metric_over_steps(best)
        title = f"Learning curves of the best {counted(len(best.runs), 'run')}"
        figures.append(replace(of_best, name="curves-of-the-best", title=title))
    return (
        *figures,
        importance(facts, importance_of(facts)),
        metric_by_parameter(facts),
        parallel_coordinates(facts),
        gains_of_the_best(facts),
        gpu_hours(facts),
        fleet_timeline(facts),
    )


def value_text(value: object) -> str:
    """Write a parameter's value for people: short, and on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return shown(value)
    if isinstance(value, str):
        return cut(" ".join(value.split()), _LONGEST_CELL)
    return cut(json.dumps(value, ensure_ascii=False, default=str), _LONGEST_CELL)


def shown(number: float | None) -> str:
    """Write a number for people: six significant digits."""
    return "" if number is None else f"{number:.6g}"


def duration(seconds: float | None) -> str:
    """Write how long something took: `1 h 05 min`, `12 min 03 s`, `4 s`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def cut(text: str, most: int) -> str:
    """Cut a text that is too long, and show that by its last character."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
