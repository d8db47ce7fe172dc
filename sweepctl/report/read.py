"""Reads a sweep for its report, from wherever it is kept: W&B, a server, a data folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib import metadata
from typing import Any

import yaml

from sweepctl.figures import Curve
from sweepctl.figures.facts import RunFacts, SweepFacts, is_number, number
from sweepctl.figures.thinning import thinned
from sweepctl.report.content import NOT_RECORDED, Report, figures_of
from sweepctl.report.secrets import Hiding
from sweepctl.sweeps.api import SweepSource, WandbApi, dashboard_url
from sweepctl.sweeps.best import RankedRun, best_runs
from sweepctl.sweeps.facts import sweep_facts
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl.sweeps.records import RecordReader
from sweepctl.sweeps.seen import SeenSweep, read_status
from sweepctl.sweeps.status import RunRow, SweepStatus
from sweepctl_pod.wandb.client import SweepInfo

_MOST_CURVES = 120
"""So many runs' curves are read: as many as a figure draws."""
_POINTS, _POINTS_OF_BEST = 60, 500


@dataclass(frozen=True, slots=True)
class Reading:
    """A sweep as it was read for a report, without secrets."""

    seen: SeenSweep
    sweep: SweepInfo
    best: Sequence[RankedRun]
    read_s: float
    """When it was read, in seconds since 1970."""
    why_no_commands: str = ""


class ReportReader:
    """Reads the report of one sweep, again and again for as long as it is followed."""

    def __init__(self, top: int, environ: Mapping[str, str] = os.environ) -> None:
        self._top = top
        self._environ = environ
        self._records = RecordReader()
        self._curves: dict[str, tuple[str, Curve]] = {}
        """By run: its state then and its curve."""

    def status(self, source: SweepSource, name: SweepName) -> Reading:
        """Read the sweep, its runs and what repeats the best of them; no figures yet."""
        sweep = find_sweep(source, name)
        seen = read_status(source, SweepName(sweep.entity, sweep.project, sweep.id))
        seen = replace(seen, status=self._records.add_to(seen.status, source))
        best, why = self._best(source, seen)
        return _without_secrets(Reading(seen, sweep, best, time.time(), why), source, self._environ)

    def _best(self, source: SweepSource, seen: SeenSweep) -> tuple[Sequence[RankedRun], str]:
        """Rank the best runs with their commands, or say why no command can be made."""
        best = best_runs(
            seen.status,
            seen.config,
            top=self._top,
            record_of=partial(source.run_record, seen.status.sweep),
            recorded=self._top,
        )
        if why := next((each.why_no_command for each in best if each.why_no_command), None):
            return [], f"What repeats a run is not known: {why}."
        return best, ""

    def report(self, source: SweepSource, name: SweepName) -> Report:
        """Read all that the document shows."""
        return self.document(source, self.status(source, name))

    def facts(self, source: SweepSource, name: SweepName) -> SweepFacts:
        """Read what figures are made of: all runs, and the curves of those that are drawn."""
        reading = self.status(source, name)
        facts = facts_of(reading)
        return replace(facts, curves=self._with_curves(source, reading.sweep, facts).curves)

    def document(self, source: SweepSource, reading: Reading) -> Report:
        """Read the curves as well, and draw the figures."""
        status = reading.seen.status
        facts = facts_of(reading)
        chosen = self._with_curves(source, reading.sweep, facts)
        return Report(
            status=status,
            figures=figures_of(facts, chosen, self._top),
            best=reading.best,
            why_no_commands=reading.why_no_commands,
            sweep_file=sweep_file(reading),
            about=about(reading, source),
            made_at=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            page=page_of(source, reading.sweep),
        )

    def _with_curves(self, source: SweepSource, sweep: SweepInfo, facts: SweepFacts) -> SweepFacts:
        """Choose the runs whose curves are drawn, and read those that may have gone on."""
        first = facts.ranked
        known = {run.id for run in first}
        order = [*first, *(run for run in facts.runs if run.id not in known)]
        chosen = thinned(order, _MOST_CURVES, best=max(self._top, 10))
        if facts.metric is not None:
            best = [run for run in first[: self._top] if self._is_stale(run)]
            others = [run for run in chosen if run not in best and self._is_stale(run)]
            for runs, points in ((best, _POINTS_OF_BEST), (others, _POINTS)):
                metric = facts.metric.name
                found = read_curves(source, sweep, [run.id for run in runs], metric, points)
                self._curves |= {run.id: (run.state, found[run.id]) for run in runs}
        shown = {run.id for run in chosen}
        curves = {run: curve for run, (_, curve) in self._curves.items() if run in shown}
        runs = [run for run in facts.runs if run.id in shown]
        return replace(facts, runs=runs, curves={run: c for run, c in curves.items() if c.values})

    def _is_stale(self, run: RunFacts) -> bool:
        known = self._curves.get(run.id)
        return known is None or known[0] != run.state or run.state == "running"


def facts_of(reading: Reading) -> SweepFacts:
    """Give a reading's facts, with the times that tell what agents did."""
    status = reading.seen.status
    facts = sweep_facts(status, reading.seen.config)
    created = {row.id: reading.read_s - row.age_s for row in status.runs if row.age_s is not None}
    runs = [replace(run, created_s=created.get(run.id)) for run in facts.runs]
    # Of a sweep that has ended nobody waits any more.
    return replace(facts, runs=runs, now_s=None if status.has_ended else reading.read_s)


def read_curves(
    source: SweepSource, sweep: SweepInfo, runs: Sequence[str], metric: str, points: int
) -> dict[str, Curve]:
    """Read the curve of each run in at most so many points; an empty one where there is none."""
    rows = source.histories(sweep, runs, ["_step", "_runtime", metric], points) if runs else {}
    bare = [run for run in runs if not rows.get(run)]
    if bare:  # a trainer without W&B's own client logs no time
        rows |= source.histories(sweep, bare, ["_step", metric], points)
    return {run: curve_of(rows.get(run, []), metric) for run in runs}


def curve_of(rows: Sequence[Mapping[str, Any]], metric: str) -> Curve:
    """Make a curve of rows of a history."""
    found = [row for row in rows if is_number(row.get(metric)) and is_number(row.get("_step"))]
    times = [row.get("_runtime") for row in found]
    return Curve(
        [number(row[metric]) for row in found],
        [number(row["_step"]) for row in found],
        times_s=[number(time) for time in times] if all(map(is_number, times)) else (),
    )


def sweep_file(reading: Reading) -> str:
    """Give the sweep's config as its server keeps it; JSON, which may be one line, as YAML."""
    text = reading.sweep.config_text
    if text and not text.lstrip().startswith("{"):
        return text
    written: str = yaml.safe_dump(
        dict(reading.seen.config), sort_keys=False, allow_unicode=True, width=100
    )
    return written


def about(reading: Reading, source: SweepSource) -> list[tuple[str, str]]:
    """Tell versions and provenance, each as far as it is recorded."""
    status, config = reading.seen.status, reading.seen.config
    records = [row.record for row in status.runs if row.record is not None]
    attempts = [attempt for record in records for attempt in record.attempts]
    command = config.get("command")
    words = " ".join(map(str, command)) if isinstance(command, (list, tuple)) else ""
    seed = str(status.seed) if status.seed is not None else ""
    told = [
        ("report made by", f"sweepctl {metadata.version('sweepctl')}"),
        ("sweep", status.sweep),
        ("kept by", source.where),
        ("created at", reading.sweep.created_at),
        ("state", status.state.lower()),
        ("search", status.method),
        ("seed of the search", seed),
        ("program", config.get("program")),
        ("command", words),
        ("agents' hosts", _some(attempt.host for attempt in attempts)),
        ("nodes", _some(attempt.node for attempt in attempts)),
        ("GPUs of an agent", _some(f"{each.gpus} × {each.gpu}" for each in attempts if each.gpu)),
        ("GPUs of this machine", _some(gpu for row in status.runs for gpu in row.gpus)),
        ("attempts", str(len(attempts)) if attempts else ""),
        ("code, image and versions of the trainer", ""),
    ]
    return [(name, str(value or NOT_RECORDED)) for name, value in told]


def _some(names: Iterable[str]) -> str:
    found = sorted({name for name in names if name})
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return ", ".join(found[:8]) + more


def page_of(source: SweepSource, sweep: SweepInfo) -> str:
    """Give the sweep's page; none where the server is only here while we read."""
    if not isinstance(source, WandbApi) or source.connection.name:
        return ""
    return dashboard_url(source.connection, sweep)


def _without_secrets(reading: Reading, source: SweepSource, environ: Mapping[str, str]) -> Reading:
    """Hide secrets in every text of what was read."""
    key = source.connection.api_key if isinstance(source, WandbApi) else None
    status, config = reading.seen.status, reading.seen.config
    texts = [row.parameters for row in status.runs[:200]]
    hiding = Hiding(environ, key, config, reading.sweep.config_text, *texts)

    def row(old: RunRow) -> RunRow:
        reason = old.reason and hiding.text(old.reason)
        return replace(old, parameters=hiding.value(old.parameters), reason=reason)

    hidden: SweepStatus = replace(
        status, name=status.name and hiding.text(status.name), runs=tuple(map(row, status.runs))
    )
    best = [
        replace(
            entry,
            run=row(entry.run),
            sampled=hiding.value(entry.sampled),
            command=hiding.command(entry.command),
        )
        for entry in reading.best
    ]
    hidden_config = hiding.value(config)
    # A file may write the same secret in another way, quoted or over two lines.
    text = hiding.text(reading.sweep.config_text) if hidden_config == config else ""
    sweep = replace(reading.sweep, config_text=text)
    why = hiding.text(reading.why_no_commands)
    seen = SeenSweep(hidden, hidden_config)
    return replace(reading, seen=seen, sweep=sweep, best=best, why_no_commands=why)
