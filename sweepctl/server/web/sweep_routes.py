"""The addresses of a sweep's page and of its figures: what was written is kept until it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from functools import partial

from anyio import Lock, to_thread
from starlette.requests import Request
from starlette.responses import Response

from sweepctl.figures import STYLE, Figure
from sweepctl.figures.drawing import safe
from sweepctl.server.bounds import accounted
from sweepctl.server.errors import NotFoundError
from sweepctl.server.store.changes import Changes
from sweepctl.server.web.kept_pages import KeptPage, KeptPages
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.requests import page_response, takes_gzip
from sweepctl.server.web.sweep_figures import FIGURES
from sweepctl.server.web.table_query import TableQuery, read_query

_PICTURE = ".svg"
_HOLDS_S = 60.0
"""A figure of agents at work tells the time."""

_TIMES_ITS_COST = 20
"""A figure is fresh for so long after it was drawn: figures cost a twentieth of a core at most."""

_MOST_FRESH_S = 120.0

_SVG_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Content-Type": "image/svg+xml; charset=utf-8",
}


class SweepRoutes:
    """Answers with the page of a sweep and with its figures."""

    def __init__(self, pages: Pages, kept: KeptPages, changes: Changes) -> None:
        self._pages = pages
        self._kept = kept
        self._changes = changes
        self._turn = Lock()

    async def page(self, request: Request, entity: str, project: str, sweep: str) -> Response:
        """Answer with the page, as its address wants it."""
        query, is_held = _query(request), "hold" in request.query_params
        version = await self._version(entity, project, sweep)
        key = (entity, project, "sweeps", sweep, query.address(), query.problems, is_held)

        def write() -> str:
            return self._pages.sweep(entity, project, sweep, query, is_held=is_held)

        return await kept_page(self._kept, request, key, write, version)

    async def figure(
        self, request: Request, entity: str, project: str, sweep: str, name: str
    ) -> Response:
        """Answer with a figure: as a page, with its numbers, or as a picture alone."""
        is_picture = name.endswith(_PICTURE)
        named = FIGURES.get(name.removesuffix(_PICTURE))
        if named is None:
            known = ", ".join(FIGURES)
            raise NotFoundError(f"a sweep has no figure {name!r}: there are {known}")
        query, version = _query(request), await self._version(entity, project, sweep)
        options = tuple(pair for pair in query.of_curves if pair[0] in named.options)
        key = (entity, project, sweep, named.name, is_picture, options)

        async def drawn() -> KeptPage:
            now, began = version(), time.monotonic()
            content = await to_thread.run_sync(self._pages.reader.content, entity, project, sweep)
            figure = await self._pages.figures.figure(named.name, content, query)
            took = time.monotonic() - began

            def write() -> KeptPage:
                text = (
                    _picture(figure)
                    if is_picture
                    else self._pages.figure(content, named, figure, query)
                )
                done = self._kept.now()
                fresh = done + min(_TIMES_ITS_COST * took, _MOST_FRESH_S)
                return self._kept.keep(key, text, now, done + _HOLDS_S, fresh)

            return await to_thread.run_sync(write)

        page = self._kept.current(key, version)
        if page is None:
            # What takes seconds is done once, however many ask for it meanwhile.
            async with self._turn if named.is_measured else nullcontext():
                page = self._kept.current(key, version) or await drawn()
        return _answer(request, page, _SVG_HEADERS if is_picture else {})

    async def _version(self, entity: str, project: str, sweep: str) -> Callable[[], int]:
        """Give what counts the changes of a sweep."""
        _, found = await to_thread.run_sync(self._pages.reader.find, entity, project, sweep)
        return partial(self._changes.last, "sweep", found.pk)


async def kept_page(
    kept: KeptPages,
    request: Request,
    key: Hashable,
    write: Callable[[], str],
    version: Callable[[], int] | None = None,
) -> Response:
    """Answer with a page, or that the browser has it."""

    def written() -> KeptPage:
        with accounted():
            return kept.written(key, write, version)

    page = kept.current(key, version)
    if page is None:
        page = await to_thread.run_sync(written)
    return _answer(request, page)


def _answer(request: Request, page: KeptPage, further: dict[str, str] | None = None) -> Response:
    headers = {
        "ETag": page.etag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding",
        **(further or {}),
    }
    if page.is_what(request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if takes_gzip(request):
        return page_response(page.packed, headers={**headers, "Content-Encoding": "gzip"})
    return page_response(page.body, headers=headers)


def _query(request: Request) -> TableQuery:
    return read_query(request.query_params.multi_items())


def _picture(figure: Figure) -> str:
    """Give the picture of a figure; where there is none, one that says why."""
    if figure.svg:
        return figure.picture()
    return (
        '<svg class="sf" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 60" role="img">'
        f'<style>{STYLE}</style><text x="8" y="22" class="head">{safe(figure.title)}</text>'
        f'<text x="8" y="44">{safe(figure.says)}</text></svg>'
    )
