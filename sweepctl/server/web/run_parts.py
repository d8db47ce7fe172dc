"""The parts of a run's page that have addresses of their own: metrics, its machine, media, log.

The page fetches each when it comes into sight; without scripts a link leads to it.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import markupsafe

from sweepctl.figures.facts import counted
from sweepctl.server.errors import NotFoundError
from sweepctl.server.json_texts import stored_object
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store import lines, run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Rows
from sweepctl.server.web import run_media, run_metrics, run_origin
from sweepctl.server.web.console import styled
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.run_metrics import FIGURES_A_PAGE
from sweepctl.server.web.run_table import address

_MOST_NUMBER = 1_000_000
_LINES_A_PAGE = 1000
_MOST_BESIDE = 20
"""So many other runs of the sweep are compared with, fewer where their configurations are large."""

_MOST_CHARACTERS = 4_000_000
_MOST_DIFFERING = 100
_PICTURE_STAYS_S = 6 * 3600


@dataclass(frozen=True, slots=True)
class PartQuery:
    """Which part of what a run has logged is asked for."""

    group: str | None = None
    find: str = ""
    page: int = 1
    is_over_time: bool = False
    is_log: bool = False

    def address(self) -> str:
        """Write it as the query of an address."""
        said = {
            "group": self.group,
            "find": self.find or None,
            "page": str(self.page) if self.page != 1 else None,
            "x": "time" if self.is_over_time else None,
            "log": "1" if self.is_log else None,
        }
        given = {name: value for name, value in said.items() if value is not None}
        return "?" + urllib.parse.urlencode(given, errors="replace")


def read_part_query(given: Mapping[str, str]) -> PartQuery:
    """Read the query of an address; what it says wrongly counts as not said."""
    page = given.get("page", "")
    return PartQuery(
        given.get("group"),
        given.get("find", "")[:200].strip(),
        min(int(page[:7]), _MOST_NUMBER) if page.isascii() and page.isdigit() else 1,
        given.get("x") == "time",
        given.get("log") == "1",
    )


class RunParts:
    """Writes the parts of any run's page."""

    def __init__(self, writer: PageWriter, database: Database, files: RunFiles) -> None:
        self._writer = writer
        self._database = database
        self._files = files

    def metrics(self, entity: str, project: str, run_id: str, query: PartQuery) -> str:
        """Write a page of the metrics of one group, or of those whose names hold a text."""
        with self._database.read() as rows:
            run = found_run(rows, entity, project, run_id)
            sweep = None if run.sweep is None else sweep_store.sweep_by_pk(rows, run.sweep)
            keys = run_metrics.metric_keys(
                json.loads(run_store.run_document(rows, run.pk, "history_keys"))
            )
            title = "Metrics"
            if query.find:
                keys = [key for key in keys if query.find.lower() in key.lower()]
                title = f"Metrics with {query.find!r} in their names"
            elif query.group is not None:
                keys = [key for key in keys if run_metrics.group_of(key) == query.group]
                first = sweep.metric if sweep else None
                keys = [key for group in run_metrics.groups_of(keys, first) for key in group.keys]
                title = query.group or "Metrics without a group"
            return self._figures(rows, entity, project, run, lines.HISTORY, title, keys, query)

    def system(self, entity: str, project: str, run_id: str, query: PartQuery) -> str:
        """Write a page of what the client measured of its machine."""
        with self._database.read() as rows:
            run = found_run(rows, entity, project, run_id)
            keys = run_metrics.system_keys(rows, run.pk)
            query = replace(query, is_over_time=True)
            return self._figures(rows, entity, project, run, lines.EVENTS, "System", keys, query)

    def media(self, entity: str, project: str, run_id: str) -> str:
        """Write the page of the newest images, tables and videos."""
        with self._database.read() as rows:
            run = found_run(rows, entity, project, run_id)

            def at(name: str) -> str:
                # A page that is followed keeps its pictures: their addresses stay for hours.
                return self._files.url("", "GET", run.pk, name, every_s=_PICTURE_STAYS_S)

            shown, more = run_media.media(rows, run.pk, self._files.path, at)
        return self._writer.write(
            "run_media.html",
            is_live=False,
            run=run,
            run_at=address(entity, project, "runs", run.id),
            shown=shown,
            more=more,
        )

    def settings(self, entity: str, project: str, run_id: str) -> str:
        """Write the page of the settings in which a run differs from others of its sweep."""
        with self._database.read() as rows:
            run = found_run(rows, entity, project, run_id)
            own = stored_object(run_store.run_document(rows, run.pk, "config"))
            others: list[dict[str, object]] = []
            if run.sweep is not None:
                room = _MOST_CHARACTERS
                for text in run_store.configs_beside(rows, run.sweep, run.pk, _MOST_BESIDE):
                    if others and len(text) > room:
                        break
                    room -= len(text)
                    others.append(stored_object(text))
        differing, is_cut = run_origin.differing(own, others)
        return self._writer.write(
            "run_settings.html",
            is_live=False,
            run=run,
            run_at=address(entity, project, "runs", run.id),
            differing=differing,
            is_cut=is_cut,
            beside=len(others),
            most=_MOST_DIFFERING,
        )

    def log(self, entity: str, project: str, run_id: str, query: PartQuery) -> str:
        """Write a page of the console."""
        with self._database.read() as rows:
            run = found_run(rows, entity, project, run_id)
            count = lines.line_count(rows, run.pk, lines.CONSOLE)
            pages = max(1, -(-count // _LINES_A_PAGE))
            page = min(max(query.page, 1), pages)
            after = (page - 1) * _LINES_A_PAGE - 1
            texts = lines.line_page(rows, run.pk, lines.CONSOLE, after, _LINES_A_PAGE)
        told = ((number, lines.console_line(text)) for number, text in texts)
        at = address(entity, project, "runs", run.id)
        return self._writer.write(
            "run_log.html",
            is_live=False,
            run=run,
            run_at=at,
            log=[(number, line["level"], styled(line["line"])) for number, line in told],
            count=count,
            page=page,
            pages=[(number, f"{at}/log?page={number}") for number in near(page, pages)],
        )

    def _figures(
        self,
        rows: Rows,
        entity: str,
        project: str,
        run: Run,
        stream: str,
        title: str,
        keys: Sequence[str],
        query: PartQuery,
    ) -> str:
        pages = max(1, -(-len(keys) // FIGURES_A_PAGE))
        page = min(max(query.page, 1), pages)
        shown = keys[(page - 1) * FIGURES_A_PAGE : page * FIGURES_A_PAGE]
        drawn = run_metrics.drawn(
            rows,
            run.pk,
            stream,
            shown,
            over="time" if query.is_over_time else "step",
            is_log=query.is_log,
        )
        notes = []
        if drawn.read < drawn.of:
            notes.append(f"From {drawn.read:,} of {counted(drawn.of, 'line')}, spread evenly.")
        name = "system" if stream == lines.EVENTS else "metrics"
        at = address(entity, project, "runs", run.id, name)
        links = [(number, replace(query, page=number).address()) for number in near(page, pages)]
        return self._writer.write(
            "run_figures.html",
            is_live=False,
            run=run,
            run_at=address(entity, project, "runs", run.id),
            title=title,
            figures=[markupsafe.Markup(figure.html()) for figure in drawn.figures],
            notes=notes,
            count=len(keys),
            page=page,
            pages=[(number, at + link) for number, link in links],
        )


def found_run(rows: Rows, entity: str, project: str, run_id: str) -> Run:
    """Find a run by the names in its address."""
    run = run_store.find_run_by_path(rows, entity, project, run_id)
    if run is None:
        raise NotFoundError(f"no run {entity}/{project}/{run_id}")
    return run


def near(page: int, pages: int) -> list[int]:
    """Choose the pages to link to: all of few, of many the first, the last and those around."""
    if pages <= 12:
        return list(range(1, pages + 1))
    return sorted({1, pages, *range(max(1, page - 3), min(pages, page + 3) + 1)})
