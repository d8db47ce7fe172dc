"""Pages for people: the sweeps, one sweep, one run.

They only read, and load nothing from other servers. Addresses are W&B's, so that the links which
its client prints lead here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.figures import Figure
from sweepctl.server.engine.presence import Presence
from sweepctl.server.errors import NotFoundError
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store import (
    file_store,
    lines,
    record_store,
    run_store,
    summary_store,
    sweep_store,
)
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import TRUE, run_order
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project, Sweep
from sweepctl.server.web import wording
from sweepctl.server.web.console import plain
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.plot import Mark, lay_out, short
from sweepctl.server.web.run_table import address
from sweepctl.server.web.sweep_content import SweepContent, SweepReader
from sweepctl.server.web.sweep_figures import Named, SweepFigures
from sweepctl.server.web.sweep_page import SweepPage
from sweepctl.server.web.table_query import TableQuery
from sweepctl_pod.wandb.states import ENDED_SWEEPS, HELD_RUNS, RunState
from sweepctl_pod.wandb.summary import OWN_KEYS, duration_s

_MAX_SWEEPS = 200
_MAX_RUNS = 500
_MAX_POINTS = 1000
_LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class SweepTableRow:
    """A line of the table of sweeps."""

    sweep: Sweep
    project: Project
    states: Mapping[str, int]
    best: float | None


class Pages:
    """Writes the pages; safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        presence: Presence,
        files: RunFiles,
        now: Callable[[], float],
        limits: Limits,
    ) -> None:
        self._database = database
        self._presence = presence
        self._files = files
        self._now = now
        self._limits = limits
        self._writer = PageWriter(now)
        self.reader = SweepReader(database, presence, now)
        self._sweep_page = SweepPage(self._writer, database, presence, self.reader, limits, now)
        self.figures = SweepFigures(self.reader)

    def sweeps(self, entity: str | None = None, project: str | None = None) -> str:
        """Write the page that lists the sweeps, of one project or of all, newest first."""
        with self._database.read() as rows:
            only = None
            if entity is not None and project is not None:
                only = sweep_store.find_project(rows, entity, project)
                if only is None:
                    raise NotFoundError(f"no project {entity}/{project}")
            found = sweep_store.sweeps(rows, only.pk if only else None, TRUE, 0, _MAX_SWEEPS)
            listed = [
                SweepTableRow(
                    sweep,
                    sweep_store.project_by_pk(rows, sweep.project),
                    run_store.count_states(rows, sweep.pk),
                    summary_store.best_loss(rows, sweep, only_finished=True),
                )
                for sweep in found
            ]
            plain = run_store.runs(
                rows,
                project=only.pk if only else None,
                where=run_store.WITHOUT_SWEEP,
                order=run_order("-created_at"),
                count=_MAX_RUNS,
            )
            projects = {run.project: sweep_store.project_by_pk(rows, run.project) for run in plain}
        is_live = any(item.sweep.state not in ENDED_SWEEPS for item in listed) or any(
            run.state in HELD_RUNS for run in plain
        )
        return self._writer.write(
            "sweeps.html", is_live=is_live, only=only, listed=listed, plain=plain, projects=projects
        )

    def sweep(
        self,
        entity: str,
        project: str,
        sweep_id: str,
        query: TableQuery = TableQuery(),  # noqa: B008
        *,
        is_held: bool = False,
    ) -> str:
        """Write the page of one sweep as a query wants it."""
        return self._sweep_page.write(entity, project, sweep_id, query, is_held=is_held)

    def run(
        self, entity: str, project: str, run_id: str, metric: str | None, *, is_held: bool = False
    ) -> str:
        """Write the page of one run: its metric over the steps, config, summary, log, files."""
        with self._database.read() as rows:
            run = run_store.find_run_by_path(rows, entity, project, run_id)
            if run is None:
                raise NotFoundError(f"no run {entity}/{project}/{run_id}")
            shows = self._database.changes.shown("run", run.pk)
            sweep = None if run.sweep is None else sweep_store.sweep_by_pk(rows, run.sweep)
            keys = json.loads(run_store.run_document(rows, run.pk, "history_keys"))
            keys = [key for key in keys if not key.startswith("_")]
            shown = metric or _first(sweep.metric if sweep else None, keys)
            points = lines.metric_points(rows, run.pk, shown, _MAX_POINTS) if shown else []
            config = json.loads(run_store.run_document(rows, run.pk, "config"))
            summary = json.loads(run_store.run_document(rows, run.pk, "summary"))
            tail = lines.line_tail(rows, run.pk, lines.CONSOLE, _LOG_LINES)
            files = file_store.files(rows, run.pk, [], None, 0, _MAX_RUNS)
            agent = sweep_store.find_agent(rows, pk=run.last_agent) if run.last_agent else None
            parameters = run_store.params_of(rows, run.pk)
            record = record_store.record_of_run(rows, self._database.folder, run.pk)
        marks = [Mark(step, value, f"step {step}: {short(value)}") for step, value in points]
        log = [_shown(lines.console_line(text)) for _, text in tail]
        return self._writer.write(
            "run.html",
            is_held=is_held,
            is_live=run.state in HELD_RUNS,
            events=address(entity, project, "runs", run_id, "events"),
            shows=shows,
            run=run,
            project=Project(run.project, entity, project, 0.0),
            sweep=sweep,
            agent=agent,
            keys=keys,
            metric=shown,
            plot=lay_out(marks, "step"),
            parameters=wording.values(parameters),
            config=_rest_of(config, parameters),
            summary={
                key: wording.value(value)
                for key, value in sorted(summary.items())
                if not key.startswith(("_", OWN_KEYS))
            },
            log=log,
            why=wording.why_not_finished(run, summary, self._limits, _last_line(log)),
            trouble=wording.sweep_metric_trouble(sweep, summary),
            duration_s=self._duration_s(run, summary),
            attempts=record.attempts if record else (),
            repeated=record.iterations_repeated if record else None,
            files=[(file, self._files.url("", "GET", run.pk, file.name)) for file in files],
        )

    def figure(self, content: SweepContent, named: Named, figure: Figure, query: TableQuery) -> str:
        """Write the page of one figure of a sweep."""
        return self._sweep_page.figure(content, named, figure, query)

    def missing(self, message: str) -> str:
        """Write the page of what is not there."""
        return self._writer.write("missing.html", is_live=False, message=message)

    def login(self, place: str, problem: str | None) -> str:
        """Write the form that takes the key, to go on to a place then."""
        return self._writer.write("login.html", is_live=False, place=place, problem=problem)

    def logged_in(self, place: str) -> str:
        """Write the page that goes on to a place by itself."""
        return self._writer.forward("logged_in.html", place)

    def _duration_s(self, run: Run, summary: Mapping[str, Any]) -> float | None:
        if run.state == RunState.PENDING:
            return None
        ago = self._presence.seconds_ago("run", run.pk)
        return duration_s(
            summary,
            is_live=run.state in HELD_RUNS,
            created_s=run.created,
            heard_s=run.heartbeat if ago is None else self._now() - ago,
            now_s=self._now(),
        )


def _rest_of(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, wording.Value]:
    return {
        name: wording.value(
            entry["value"] if isinstance(entry, Mapping) and "value" in entry else entry
        )
        for name, entry in sorted(config.items())
        if name not in parameters and name != "_wandb"
    }


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "line": plain(line["line"])}


def _last_line(log: list[dict[str, Any]]) -> str:
    """Give the last line of a console that is not blank."""
    said = (str(line["line"]).strip() for line in reversed(log))
    return next(filter(None, said), "")


def _first(wanted: str | None, keys: list[str]) -> str | None:
    if wanted is not None and (wanted in keys or wanted.partition(".")[0] in keys):
        return wanted
    return keys[0] if keys else None
