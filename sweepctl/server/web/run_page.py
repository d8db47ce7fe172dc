"""The page of one run: its metrics over the steps, settings, summary, log, attempts, files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sweepctl.server.errors import NotFoundError
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store import file_store, lines, record_store, run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project
from sweepctl.server.web import wording
from sweepctl.server.web.console import plain
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.plot import Mark, lay_out, short
from sweepctl.server.web.run_table import address
from sweepctl_pod.wandb.states import HELD_RUNS
from sweepctl_pod.wandb.summary import OWN_KEYS

_MAX_FILES = 500
_MAX_POINTS = 1000
_LOG_LINES = 200


class RunPage:
    """Writes the page of any run; `duration_s` tells how long one took."""

    def __init__(
        self,
        writer: PageWriter,
        database: Database,
        files: RunFiles,
        limits: Limits,
        duration_s: Callable[[Run, Mapping[str, Any]], float | None],
    ) -> None:
        self._writer = writer
        self._database = database
        self._files = files
        self._limits = limits
        self._duration_s = duration_s

    def write(
        self, entity: str, project: str, run_id: str, metric: str | None, *, is_held: bool
    ) -> str:
        """Write the page."""
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
            files = file_store.files(rows, run.pk, [], None, 0, _MAX_FILES)
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
