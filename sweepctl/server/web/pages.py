"""Pages for people: the sweeps, one sweep, one run.

They only read, but for the forms of `actions`, and load nothing from other servers. Addresses are
W&B's, so that the links which its client prints lead here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.figures import Figure
from sweepctl.server.engine.presence import Presence
from sweepctl.server.errors import NotFoundError
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store import run_store, summary_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import TRUE, run_order
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project, Sweep
from sweepctl.server.web.actions import Question
from sweepctl.server.web.compare_page import ComparePage
from sweepctl.server.web.page_writer import PageWriter
from sweepctl.server.web.run_page import RunPage
from sweepctl.server.web.run_parts import RunParts
from sweepctl.server.web.sweep_content import SweepContent, SweepReader
from sweepctl.server.web.sweep_figures import Named, SweepFigures
from sweepctl.server.web.sweep_page import SweepPage
from sweepctl.server.web.table_query import TableQuery
from sweepctl_pod.wandb.states import ENDED_SWEEPS, HELD_RUNS, RunState
from sweepctl_pod.wandb.summary import duration_s

_MAX_SWEEPS = 200
_MAX_RUNS = 500


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
        *,
        has_logins: bool = False,
    ) -> None:
        self._database = database
        self._presence = presence
        self._now = now
        self._writer = PageWriter(now, has_logins=has_logins)
        self._run_page = RunPage(self._writer, database, files, limits, self._duration_s)
        self.compare_page = ComparePage(self._writer, database, self._duration_s)
        self.run_parts = RunParts(self._writer, database, files)
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
        """Write the page of one run."""
        return self._run_page.write(entity, project, run_id, metric, is_held=is_held)

    def figure(self, content: SweepContent, named: Named, figure: Figure, query: TableQuery) -> str:
        """Write the page of one figure of a sweep."""
        return self._sweep_page.figure(content, named, figure, query)

    def missing(self, message: str) -> str:
        """Write the page of what is not there."""
        return self._writer.write("missing.html", is_live=False, message=message)

    def question(self, question: Question, token: str) -> str:
        """Write the page that asks before it acts."""
        return self._writer.write("question.html", is_live=False, question=question, token=token)

    def not_done(self, message: str, place: str) -> str:
        """Write the page that says why nothing was done."""
        return self._writer.write("not_done.html", is_live=False, message=message, place=place)

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
