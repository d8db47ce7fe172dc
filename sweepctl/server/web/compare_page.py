"""The page that compares chosen runs: their metric in one picture, their numbers and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import markupsafe

from sweepctl.figures import Curve, Figure, RunFacts, side_by_side
from sweepctl.figures.facts import is_number
from sweepctl.figures.logged import MOST_BESIDE
from sweepctl.server.errors import NotFoundError
from sweepctl.server.store import lines, record_store, run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project, Rows, Sweep
from sweepctl.server.web import run_metrics, run_origin, wording
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.run_table import address
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.states import HELD_RUNS
from sweepctl_pod.wandb.summary import OWN_KEYS, read_metric

_MOST_ROWS = 300
_MOST_KEYS = 400


@dataclass(frozen=True, slots=True)
class Compared:
    """A run beside others; `number` tells which one it is in the pictures."""

    number: int
    run: Run
    sweep: Sweep | None
    link: str
    duration_s: float | None
    record: RunRecord | None
    summary: Mapping[str, Any]
    settings: Mapping[str, str]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: a name, and what each run has there."""

    name: str
    cells: Sequence[str]

    @property
    def differs(self) -> bool:
        """Say whether the runs have not all the same there."""
        return len(set(self.cells)) > 1


class ComparePage:
    """Writes the page of any chosen runs of a project; `duration_s` tells how long one took."""

    def __init__(
        self,
        writer: PageWriter,
        database: Database,
        duration_s: Callable[[Run, Mapping[str, Any]], float | None],
    ) -> None:
        self._writer = writer
        self._database = database
        self._duration_s = duration_s

    def write(
        self, entity: str, project: str, names: Sequence[str], metric: str | None, *, is_log: bool
    ) -> str:
        """Write the page; runs that are not there are named, not shown."""
        with self._database.read() as rows:
            owner = sweep_store.find_project(rows, entity, project)
            if owner is None:
                raise NotFoundError(f"no project {entity}/{project}")
            ids = list(dict.fromkeys(names))
            found = {
                id: run
                for id in ids[: 4 * MOST_BESIDE]
                if (run := run_store.find_run_by_path(rows, entity, project, id)) is not None
            }
            chosen = list(found.values())[:MOST_BESIDE]
            runs = [self._compared(rows, at, run, owner) for at, run in enumerate(chosen, start=1)]
            keys = sorted({key for each in runs for key in each.keys})
            first = next((each.sweep.metric for each in runs if each.sweep), None)
            shown = metric or first or (keys[0] if keys else None)
            figure = _figure(rows, runs, shown, is_log=is_log) if shown and runs else None
        return self._writer.write(
            "compare.html",
            is_live=False,
            has_more=any(each.run.state in HELD_RUNS for each in runs),
            project=owner,
            problems=_problems(ids, list(found), len(runs)),
            runs=runs,
            ids=[each.run.id for each in runs],
            metric=shown,
            is_log=is_log,
            keys=keys[:_MOST_KEYS],
            figure=markupsafe.Markup(figure.html()) if figure else None,
            metrics=_metrics(runs, first)[:_MOST_ROWS],
            settings=_settings(runs),
            most=_MOST_ROWS,
        )

    def _compared(self, rows: Rows, number: int, run: Run, owner: Project) -> Compared:
        summary = json.loads(run_store.run_document(rows, run.pk, "summary"))
        config = json.loads(run_store.run_document(rows, run.pk, "config"))
        keys = json.loads(run_store.run_document(rows, run.pk, "history_keys"))
        settings = run_origin.leaves({**run_store.settings_of(rows, run.pk), **config})
        return Compared(
            number,
            run,
            None if run.sweep is None else sweep_store.sweep_by_pk(rows, run.sweep),
            address(owner.entity, owner.name, "runs", run.id),
            self._duration_s(run, summary),
            record_store.record_of_run(rows, self._database.folder, run.pk),
            summary,
            settings,
            run_metrics.metric_keys(keys),
        )


def read_names(given: Sequence[tuple[str, str]]) -> list[str]:
    """Read the runs of an address: `runs=a,b`, `runs=a&runs=b`."""
    said = [value for name, value in given if name == "runs"]
    return [part.strip() for value in said for part in value.split(",") if part.strip()]


def _problems(ids: Sequence[str], found: Sequence[str], shown: int) -> list[str]:
    told = []
    missing = [id for id in ids[: 4 * MOST_BESIDE] if id not in found]
    if not ids:
        told.append("No runs are chosen: mark two or more in the table of a sweep.")
    if missing:
        names = ", ".join(id[:60] for id in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        told.append(f"This project has no run {names}{more}.")
    if len(ids) > MOST_BESIDE and shown == MOST_BESIDE:
        told.append(f"{len(ids)} runs are chosen: the first {MOST_BESIDE} are shown.")
    if shown == 1:
        told.append("One run alone has nothing to be compared with: choose another one.")
    return told


def _figure(rows: Rows, runs: Sequence[Compared], metric: str, *, is_log: bool) -> Figure:
    curves: dict[str, Curve] = {}
    for each in runs:
        found, _, _ = run_metrics.curves_of(rows, each.run.pk, lines.HISTORY, [metric])
        curves[each.run.id] = found[metric]
    facts = [
        RunFacts(each.run.id, each.run.state.value, name=each.run.display_name or "")
        for each in runs
    ]
    return side_by_side(metric, facts, curves, is_log=is_log)


def _metrics(runs: Sequence[Compared], first: str | None) -> list[Line]:
    """Give the last values of what any of the runs has in its summary, the sweep's metric first."""
    names = {
        name
        for each in runs
        for name, value in each.summary.items()
        if not name.startswith(("_", OWN_KEYS)) and (is_number(value) or isinstance(value, str))
    }
    if first is not None:
        names.add(first)
    order = sorted(names, key=lambda name: (name != first, name))
    return [
        Line(name, [wording.metric(read_metric(each.summary, name)) for each in runs])
        for name in order
    ]


def _settings(runs: Sequence[Compared]) -> tuple[list[Line], list[Line]]:
    """Give the settings in which the runs differ, and those in which they do not."""
    names = sorted({name for each in runs for name in each.settings})
    told = [Line(name, [each.settings.get(name, "") for each in runs]) for name in names]
    return [line for line in told if line.differs], [line for line in told if not line.differs]
