"""The page of one sweep: its figures, its runs as the reader wants them, its agents."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import markupsafe

from sweepctl.figures import Figure
from sweepctl.server.engine.presence import Presence
from sweepctl.server.lifecycle import AgentState, Limits
from sweepctl.server.store import record_store, run_store, summary_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import RunOutline
from sweepctl.server.store.summary_store import sweep_metric
from sweepctl.server.store.sweep_store import RegisteredAgent, Rows, Sweep
from sweepctl.server.web import wording
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.run_table import address, best_run
from sweepctl.server.web.sweep_content import SweepContent, SweepReader
from sweepctl.server.web.sweep_figures import ABOVE, BELOW, Named, best_of
from sweepctl.server.web.sweep_table import (
    ATTEMPT,
    CREATED,
    DURATION,
    HOST,
    ROWS,
    RUN,
    STATE,
    STEPS,
    Column,
    Group,
    Line,
    SweepTable,
    texts_of,
)
from sweepctl.server.web.table_query import ALONG, SMOOTHINGS, TableQuery
from sweepctl_pod.wandb.states import ENDED_SWEEPS, HELD_RUNS, OPEN_RUNS

_MOST_AGENTS = 200


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column, with the link that sorts by it."""

    title: str
    is_number: bool
    link: str
    mark: str
    """How the runs are sorted by it: `ascending`, `descending` or not at all."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    id: str
    name: str
    state: str
    why: str | None
    is_best: bool
    cells: tuple[tuple[str, bool], ...]
    """The cells after the run and its state: a text, and whether it stays in one line."""


@dataclass(frozen=True, slots=True)
class Part:
    """A figure that is fetched when it is seen."""

    name: str
    title: str
    address: str
    picture: str


class SweepPage:
    """Writes the pages of sweeps; safe to use from any thread."""

    def __init__(
        self,
        writer: PageWriter,
        database: Database,
        presence: Presence,
        reader: SweepReader,
        limits: Limits,
        now: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._database = database
        self._presence = presence
        self._reader = reader
        self._limits = limits
        self._now = now

    def write(
        self, entity: str, project: str, sweep_id: str, query: TableQuery, *, is_held: bool
    ) -> str:
        """Write the page of a sweep as a query wants it."""
        content = self._reader.content(entity, project, sweep_id)
        sweep, table = content.sweep, SweepTable(content)
        best = best_run(sweep, content.outlines, content.metrics)
        columns, problems = table.shown(query)
        lines, more = table.runs(query)
        over, wrong = table.parameter_to_merge(query.over)
        groups = table.groups(lines, over, query) if over is not None else []
        pages = max(1, math.ceil(len(groups if over else lines) / ROWS))
        page = min(query.page, pages)
        part = slice((page - 1) * ROWS, page * ROWS)
        with self._database.read() as rows:
            agents = self._agents(rows, sweep, content.outlines)
            shown = [] if over else self._rows(rows, content, table, lines[part], columns, best)
        has_endings = any(ended or repeated for *_, ended, repeated in shown)
        return self._writer.write(
            "sweep.html",
            is_held=is_held,
            is_live=sweep.state not in ENDED_SWEEPS
            or any(run.state in HELD_RUNS for run in content.outlines),
            events=address(entity, project, "sweeps", sweep_id, "events"),
            shows=content.shows,
            sweep=sweep,
            has_open_runs=any(run.state in OPEN_RUNS for run in content.outlines),
            project=content.project,
            parameters=list(wording.parameters(content.spec["parameters"])),
            states=Counter(run.state.value for run in content.outlines),
            run_count=len(content.outlines),
            found=len(lines),
            query=query,
            problems=[*query.problems, *problems, *more, *wrong],
            hidden=_hidden(query),
            ranges=[(str(each), query.without(each).address()) for each in query.ranges],
            columns=[(column, column in columns) for column in table.columns],
            has_columns=bool(query.columns),
            seeds=table.seeds,
            alongs=ALONG,
            smoothings=sorted({*SMOOTHINGS, query.smooth}),
            heads=_heads(query, columns, has_endings, table)
            if not over
            else _heads(
                query,
                [*(each for each in table.parameters if each is not over), *table.measured],
                False,
                table,
            ),
            has_state=any(column.name == STATE for column in columns),
            rows=[_row(row, ended, repeated, has_endings) for row, ended, repeated in shown],
            over=over,
            groups=[_group(group, query) for group in groups[part]],
            group_count=len(groups),
            page=page,
            pages=[(number, query.on_page(number).address()) for number in _near(page, pages)],
            best=markupsafe.Markup(best_of(content, query).html()),  # escaped there
            above=[_part(each, content, query) for each in ABOVE],
            below=[_part(each, content, query) for each in BELOW],
            agents=agents[:_MOST_AGENTS],
            agent_count=len(agents),
        )

    def figure(self, content: SweepContent, named: Named, figure: Figure, query: TableQuery) -> str:
        """Write the page of one figure, which the page of the sweep takes its part from."""
        return self._writer.write(
            "figure.html",
            is_live=False,
            shows=content.shows,
            sweep=content.sweep,
            project=content.project,
            named=named,
            figure=markupsafe.Markup(figure.html()),  # escaped there
            data=figure.data,
            query=query,
        )

    def _rows(
        self,
        rows: Rows,
        content: SweepContent,
        table: SweepTable,
        lines: Sequence[Line],
        columns: Sequence[Column],
        best: int | None,
    ) -> list[tuple[Row, str, str]]:
        """Give the lines of the table, each with what ended its attempts and what was repeated."""
        sweep, own = content.sweep, [column for column in columns if column.kind == "parameter"]
        pks = [run.pk for run, _ in lines]
        runs, summaries = run_store.runs_by_pk(rows, pks), summary_store.summaries_of(rows, pks)
        found = []
        for outline, facts in lines:
            run = runs.get(outline.pk)
            if run is None:
                continue  # it was deleted meanwhile
            summary = summaries.get(run.pk, {})
            record = record_store.record_of_run(rows, self._database.folder, run.pk)
            parameters = texts_of(content.settings.get(run.pk, {}), own)
            texts = {
                DURATION: wording.duration(facts.duration_s),
                ATTEMPT: str(run.attempt),
                STEPS: f"{run.last_step + 1}",
                HOST: run.host or "",
                CREATED: self._writer.ago(run.created),
            }
            cells = []
            for column in columns:
                if column.kind == "metric":
                    cells.append((wording.metric(sweep_metric(sweep, summary)), True))
                elif column.kind == "parameter":
                    text = parameters[column.name]
                    cells.append((text, len(text) <= 24))
                elif column.name in texts:
                    cells.append((texts[column.name], True))
            has_more = record is not None and len(record.attempts) > 1
            repeated = record.iterations_repeated if record is not None and has_more else None
            row = Row(
                run.id,
                run.display_name or run.id,
                run.state.value,
                wording.why_not_finished(run, summary, self._limits),
                run.pk == best,
                tuple(cells),
            )
            ended = record.endings if record is not None and has_more else ""
            found.append((row, ended, "" if repeated is None else str(repeated)))
        return found

    def _agents(self, rows: Rows, sweep: Sweep, runs: Sequence[RunOutline]) -> list[dict[str, Any]]:
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


def _heads(
    query: TableQuery, columns: Sequence[Column], has_endings: bool, table: SweepTable
) -> list[Head]:
    is_maximized = table.is_maximized
    heads = []
    for column in columns:
        is_own_number = column.name not in (RUN, STATE, HOST, CREATED)
        highest_first = is_maximized if column.kind == "metric" else column.name == CREATED
        mark = ""
        if column.name == query.sort:
            mark = "descending" if query.is_descending else "ascending"
        elif not query.sort and column is table.metric:
            mark = "descending" if is_maximized else "ascending"
        asked = (
            replace(query, sort=column.name, is_descending=is_maximized)
            if (mark and not query.sort)
            else query
        )
        link = asked.sorted_by(column.name, descends_first=highest_first).address()
        heads.append(Head(column.title, is_own_number, link, mark))
    further = [Head("Ended by", False, "", ""), Head("Repeated", True, "", "")]
    return [*heads, *(further if has_endings else [])]


def _row(row: Row, ended: str, repeated: str, has_endings: bool) -> Row:
    if not has_endings:
        return row
    return replace(row, cells=(*row.cells, (ended, False), (repeated, True)))


def _group(group: Group, query: TableQuery) -> Mapping[str, Any]:
    has_interval = group.high is not None and group.low is not None
    half = ((group.high or 0.0) - (group.low or 0.0)) / 2 if has_interval else None
    where = " ".join(filter(None, (query.where, group.where)))
    return {
        "cells": ["" if cell is None else _text(cell) for cell in group.settings],
        "runs": group.runs,
        "measured": group.measured,
        "mean": "" if group.mean is None else wording.short(group.mean),
        "half": "" if half is None else wording.short(half),
        "low": "" if group.low is None else wording.short(group.low),
        "high": "" if group.high is None else wording.short(group.high),
        "best": "" if group.best is None else wording.short(group.best),
        "link": replace(query, where=where, over="", page=1).address(),
    }


def _text(cell: str | float) -> str:
    if isinstance(cell, float):
        return wording.short(cell)
    return cell if len(cell) <= 60 else cell[:60] + "…"


def _hidden(query: TableQuery) -> list[tuple[str, str]]:
    """Give what a form has to keep that has no field of its own on the page."""
    pairs = [("range", str(each)) for each in query.ranges]
    return (
        [("sort", ("-" if query.is_descending else "") + query.sort), *pairs]
        if (query.sort)
        else pairs
    )


def _near(page: int, pages: int) -> list[int]:
    """Choose the pages that are linked: the first, the last and those around this one."""
    return sorted({1, pages, *range(max(1, page - 2), min(pages, page + 2) + 1)})


def _part(named: Named, content: SweepContent, query: TableQuery) -> Part:
    place = address(
        *(content.project.entity, content.project.name, "sweeps", content.sweep.id),
        *("figures", named.name),
    )
    options = [pair for pair in query.of_curves if pair[0] in named.options]
    asked = "?" + "&".join(f"{name}={value}" for name, value in options) if options else ""
    return Part(named.name, named.title, place + asked, f"{place}.svg{asked}")
