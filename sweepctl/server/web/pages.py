"""Pages for people: the sweeps, one sweep, one run.

They only read, and load nothing from other servers. Addresses are W&B's, so that the links which
its client prints lead here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from sweepctl.server.engine.presence import Presence
from sweepctl.server.errors import NotFoundError
from sweepctl.server.lifecycle import AgentState, Limits
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
from sweepctl.server.store.run_store import Run, RunOutline
from sweepctl.server.store.summary_store import sweep_metric
from sweepctl.server.store.sweep_store import Project, RegisteredAgent, Rows, Sweep
from sweepctl.server.web import wording
from sweepctl.server.web.console import plain
from sweepctl.server.web.plot import Mark, lay_out, short
from sweepctl.server.web.run_table import address, best_run, ranked, run_marks, run_row
from sweepctl.server.web.static_files import address as static_address
from sweepctl_pod.wandb.states import ENDED_SWEEPS, HELD_RUNS, RunState
from sweepctl_pod.wandb.summary import OWN_KEYS, duration_s

_REFRESH_S = 5
_MAX_SWEEPS = 200
_MAX_RUNS = 500
_MAX_RANKED = 250
"""A sweep's best: a page of thousands of runs is written in a tenth of a second."""
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
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("sweepctl.server.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            **{"ago": self._ago, "path": address, "number": _number},
            **{"duration": wording.duration, "static": static_address},
        }

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
        return self._write(
            "sweeps.html", is_live=is_live, only=only, listed=listed, plain=plain, projects=projects
        )

    def sweep(self, entity: str, project: str, sweep_id: str, *, is_held: bool = False) -> str:
        """Write the page of one sweep: its runs with metric and parameters, and a plot of them."""
        with self._database.read() as rows:
            found = sweep_store.find_project(rows, entity, project)
            sweep = sweep_store.find_sweep(rows, id=sweep_id, project=found.pk) if found else None
            if found is None or sweep is None:
                raise NotFoundError(f"no sweep {entity}/{project}/{sweep_id}")
            shows = self._database.changes.shown("sweep", sweep.pk)
            spec = sweep_store.sweep_spec(rows, sweep.pk)
            runs = run_store.outlines(rows, sweep.pk)
            metrics = summary_store.metric_numbers(rows, sweep)
            agents = self._agents(rows, sweep, runs)
            best = best_run(sweep, runs, metrics)
            names = wording.searched(spec)
            records = record_store.records_of_sweep(rows, self._database.folder, sweep.pk)
            first = [run.pk for run in ranked(sweep, runs, metrics)[:_MAX_RANKED]]
            found_runs = run_store.runs_by_pk(rows, first)
            shown = [found_runs[pk] for pk in first if pk in found_runs]
            summaries = {run.pk: summary_store.summary_of(rows, run.pk) for run in shown}
            table = [
                run_row(
                    run,
                    wording.metric(sweep_metric(sweep, summaries[run.pk])),
                    wording.values_at(run_store.settings_of(rows, run.pk), names),
                    run.pk == best,
                    wording.why_not_finished(run, summaries[run.pk], self._limits),
                    self._duration_s(run, summaries[run.pk]),
                    records.get(run.pk),
                )
                for run in shown
            ]
        return self._write(
            "sweep.html",
            is_held=is_held,
            is_live=sweep.state not in ENDED_SWEEPS or any(run.state in HELD_RUNS for run in runs),
            events=address(entity, project, "sweeps", sweep_id, "events"),
            shows=shows,
            sweep=sweep,
            project=found,
            spec=spec,
            names=names,
            parameters=list(wording.parameters(spec["parameters"])),
            states=Counter(run.state.value for run in runs),
            run_count=len(runs),
            agents=agents,
            table=table,
            plot=lay_out(run_marks(found, runs, metrics, best, _MAX_POINTS), "run"),
        )

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
        return self._write(
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

    def missing(self, message: str) -> str:
        """Write the page of what is not there."""
        return self._write("missing.html", is_live=False, message=message)

    def login(self, place: str, problem: str | None) -> str:
        """Write the form that takes the key, to go on to a place then."""
        return self._write("login.html", is_live=False, place=place, problem=problem)

    def logged_in(self, place: str) -> str:
        """Write the page that goes on to a place by itself."""
        page = self._templates.get_template("logged_in.html")
        return page.render(refresh_s=f"0; url={place}", events="", place=place)

    def _write(
        self,
        template: str,
        *,
        is_live: bool,
        is_held: bool = False,
        events: str = "",
        **values: Any,
    ) -> str:
        """Fill a template.

        A live page reloads itself, unless its reader holds it; with scripts only what has no stream
        of `events`.
        """
        refresh_s = _REFRESH_S if is_live and not is_held else None
        page = self._templates.get_template(template)
        return page.render(
            refresh_s=refresh_s, is_held=is_live and is_held, events=events, **values
        )

    def _agents(self, rows: Rows, sweep: Sweep, runs: list[RunOutline]) -> list[dict[str, Any]]:
        held = {run.agent: run for run in runs if run.agent is not None and run.state in HELD_RUNS}
        return [
            {
                "agent": agent,
                "state": self._state(agent, sweep, held.get(agent.pk)),
                "last_seen": self._last_seen(agent),
                "run": held.get(agent.pk),
            }
            for agent in reversed(sweep_store.agents(rows, sweep.pk))
        ]

    def _state(self, agent: RegisteredAgent, sweep: Sweep, run: RunOutline | None) -> str:
        """Give the state of an agent; GONE for a silent one, which W&B's protocol does not know."""
        if agent.state != AgentState.RUNNING or run is not None:
            return agent.state.value
        if sweep.state in ENDED_SWEEPS:
            return AgentState.FINISHED.value
        is_silent = self._now() - self._last_seen(agent) >= self._limits.agent_timeout_s
        return "GONE" if is_silent else agent.state.value

    def _last_seen(self, agent: RegisteredAgent) -> float:
        ago = self._presence.seconds_ago("agent", agent.pk)
        return agent.heartbeat if ago is None else self._now() - ago

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

    def _ago(self, time: float) -> str:
        seconds = max(0, int(self._now() - time))
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds // size} {unit} ago"
        return f"{seconds} s ago"


def _number(value: float | None) -> str:
    return "" if value is None else short(value)


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
