"""The addresses of the parts of a run's page and of runs side by side.

What was written is kept until something of it changes.
"""

from __future__ import annotations

from functools import partial

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from sweepctl.server.store.changes import Changes
from sweepctl.server.store.database import Database
from sweepctl.server.web.compare_page import read_names
from sweepctl.server.web.kept_pages import KeptPages
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.run_parts import found_run, read_part_query
from sweepctl.server.web.sweep_routes import kept_page

PARTS = ("metrics", "system", "media", "settings", "log")
"""The parts of a run's page that have addresses."""


class RunRoutes:
    """Answers with parts of the pages of runs."""

    def __init__(self, pages: Pages, kept: KeptPages, changes: Changes, database: Database) -> None:
        self._pages = pages
        self._kept = kept
        self._changes = changes
        self._database = database

    async def part(
        self, request: Request, entity: str, project: str, run: str, part: str
    ) -> Response:
        """Answer with one of `PARTS`."""
        parts, query = self._pages.run_parts, read_part_query(request.query_params)

        def pk() -> int:
            with self._database.read() as rows:
                return found_run(rows, entity, project, run).pk

        def write() -> str:
            match part:
                case "metrics":
                    return parts.metrics(entity, project, run, query)
                case "system":
                    return parts.system(entity, project, run, query)
                case "media":
                    return parts.media(entity, project, run)
                case "settings":
                    return parts.settings(entity, project, run)
            return parts.log(entity, project, run, query)

        version = partial(self._changes.last, "run", await to_thread.run_sync(pk))
        key = (entity, project, "runs", run, part, query)
        return await kept_page(self._kept, request, key, write, version)

    async def compare(self, request: Request, entity: str, project: str) -> Response:
        """Answer with chosen runs side by side."""
        names = read_names(request.query_params.multi_items())
        metric = request.query_params.get("metric") or None
        is_log = "log" in request.query_params

        def write() -> str:
            page = self._pages.compare_page
            return page.write(entity, project, names, metric, is_log=is_log)

        key = (entity, project, "compare", tuple(names), metric, is_log)
        return await kept_page(self._kept, request, key, write)
