"""The page of one run: what it is, its metrics, settings, command, log, attempts, files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import markupsafe

from sweepctl.figures import Figure, RunFacts, logged
from sweepctl.figures.curves import kind_of
from sweepctl.server.json_texts import stored_object
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store import file_store, lines, record_store, run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.file_store import StoredFile
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project, Rows
from sweepctl.server.web import run_metrics, run_origin, wording
from sweepctl.server.web.console import plain, styled
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.run_metrics import MOST_GROUPS
from sweepctl.server.web.run_parts import PartQuery, found_run
from sweepctl.server.web.run_table import address
from sweepctl_pod.wandb.states import HELD_RUNS
from sweepctl_pod.wandb.summary import OWN_KEYS

_MAX_FILES = 500
_LOG_LINES = 200
_MOST_LINKS = 60
_MOST_READ_BYTES = 1 << 20
_METADATA = "wandb-metadata.json"


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
            run = found_run(rows, entity, project, run_id)
            shows = self._database.changes.shown("run", run.pk)
            sweep = None if run.sweep is None else sweep_store.sweep_by_pk(rows, run.sweep)
            spec = None if run.sweep is None else sweep_store.sweep_spec(rows, run.sweep)
            keys = run_metrics.metric_keys(
                json.loads(run_store.run_document(rows, run.pk, "history_keys"))
            )
            shown = metric or _first(sweep.metric if sweep else None, keys)
            figure = _figure(rows, run, shown) if shown else None
            config = json.loads(run_store.run_document(rows, run.pk, "config"))
            summary = json.loads(run_store.run_document(rows, run.pk, "summary"))
            tail = lines.line_tail(rows, run.pk, lines.CONSOLE, _LOG_LINES)
            log_count = lines.line_count(rows, run.pk, lines.CONSOLE)
            files = file_store.files(rows, run.pk, [], None, 0, _MAX_FILES)
            file_count = file_store.count_files(rows, run.pk)
            agent = sweep_store.find_agent(rows, pk=run.last_agent) if run.last_agent else None
            parameters = run_store.params_of(rows, run.pk)
            record = record_store.record_of_run(rows, self._database.folder, run.pk)
            has_system = lines.line_count(rows, run.pk, lines.EVENTS) > 0
            has_media = bool(file_store.files(rows, run.pk, [], "media/%", 0, 1))
            of_checkpoints = file_store.files(
                rows, run.pk, [], f"{run_origin.CHECKPOINTS}%", 0, _MAX_FILES
            )
            metadata = file_store.find_file(rows, run.pk, _METADATA)
        log = [
            (number, line["level"], styled(line["line"]))
            for number, line in ((number, lines.console_line(text)) for number, text in tail)
        ]
        groups = run_metrics.groups_of(keys, sweep.metric if sweep else None)
        at = address(entity, project, "runs", run_id)
        return self._writer.write(
            "run.html",
            is_held=is_held,
            is_live=run.state in HELD_RUNS,
            events=f"{at}/events",
            shows=shows,
            run=run,
            run_at=at,
            project=Project(run.project, entity, project, 0.0),
            sweep=sweep,
            agent=agent,
            keys=keys[:_MOST_LINKS],
            key_count=len(keys),
            metric=shown,
            figure=markupsafe.Markup(figure.html()) if figure else None,
            groups=[
                (group, f"{at}/metrics{PartQuery(group=group.name).address()}")
                for group in groups[:MOST_GROUPS]
            ],
            group_count=len(groups),
            has_system=has_system,
            has_media=has_media,
            command=run_origin.command_of(record, spec, parameters, (entity, project, run.id)),
            scaled=run_origin.scaled_from_base(parameters),
            checkpoint=run_origin.newest_checkpoint(of_checkpoints, self._text_of),
            provenance=run_origin.provenance(
                stored_object(self._text_of(metadata)) if metadata else {},
                config,
                record,
                run.host,
                run.commit_hash,
            ),
            parameters=wording.values(parameters),
            config=_rest_of(config, parameters),
            summary={
                key: wording.value(value)
                for key, value in sorted(summary.items())
                if not key.startswith(("_", OWN_KEYS))
            },
            log=log,
            log_count=log_count,
            why=wording.why_not_finished(run, summary, self._limits, _last_line(tail)),
            trouble=wording.sweep_metric_trouble(sweep, summary),
            duration_s=self._duration_s(run, summary),
            attempts=record.attempts if record else (),
            repeated=record.iterations_repeated if record else None,
            files=[(file, self._files.url("", "GET", run.pk, file.name)) for file in files],
            file_count=file_count,
        )

    def _text_of(self, file: StoredFile) -> str:
        """Read a small file of a run; what is larger, or gone in this moment, is empty."""
        if file.size_bytes > _MOST_READ_BYTES:
            return ""
        try:
            return self._files.path(file).read_text("utf-8", "replace")
        except OSError:
            return ""


def _figure(rows: Rows, run: Run, metric: str) -> Figure:
    curves, _, _ = run_metrics.curves_of(rows, run.pk, lines.HISTORY, [metric])
    kind = kind_of(RunFacts(run.id, run.state.value))
    return logged(metric, curves[metric], is_small=False, kind=kind)


def _rest_of(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, wording.Value]:
    return {
        name: wording.value(
            entry["value"] if isinstance(entry, Mapping) and "value" in entry else entry
        )
        for name, entry in sorted(config.items())
        if name not in parameters and name != "_wandb"
    }


def _last_line(tail: Sequence[tuple[int, str]]) -> str:
    """Give the last line of a console that is not blank."""
    said = (plain(lines.console_line(text)["line"]).strip() for _, text in reversed(tail))
    return next(filter(None, said), "")[:1000]


def _first(wanted: str | None, keys: list[str]) -> str | None:
    if wanted is not None and (wanted in keys or wanted.partition(".")[0] in keys):
        return wanted
    return keys[0] if keys else None
