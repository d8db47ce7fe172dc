"""What the resolvers share: the request's context, pages of a connection, JSON in texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from graphql import GraphQLError, GraphQLResolveInfo

from sweepctl.server import json_texts
from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.collections import Collections
from sweepctl.server.artifacts.versions import Artifacts
from sweepctl.server.bounds import spend
from sweepctl.server.engine.dispatch import Dispatcher
from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.sweeps import Sweeps
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.runs.intake import Intake
from sweepctl.server.store import run_store
from sweepctl.server.store.api_forms import iso_time
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import run_filter, run_order

_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 5_000

Info = GraphQLResolveInfo
Fields = dict[str, Callable[..., Any]]
Node = TypeVar("Node")


@dataclass(frozen=True, slots=True)
class Context:
    """What a request's resolvers work with."""

    database: Database
    presence: Presence
    dispatcher: Dispatcher
    intake: Intake
    sweeps: Sweeps
    files: RunFiles
    blobs: Blobs
    artifacts: Artifacts
    collections: Collections
    now: Callable[[], float]
    base_url: str
    attempt: int | None
    is_shared: bool
    """Whether the client says that several processes write to its run."""
    user: str
    """Who asks, by the name that it gave itself: its default entity too."""
    key_prefix: str
    """The part of the key that W&B shows: what stands before its first dash."""
    is_own_client: bool
    """Whether it is sweepctl that asks, and not W&B's client."""


def context_of(info: Info) -> Context:
    """Give the context of the request that is being answered."""
    context: Context = info.context
    return context


def page(
    items: Callable[[int, int], Sequence[Node]],
    total: Callable[[Info], int],
    first: int | None,
    after: str | None,
    limit: int = _MAX_PAGE_SIZE,
) -> dict[str, Any]:
    """Give one page of a connection; a cursor is the number of items up to it."""
    size = min(first if first and first > 0 else _PAGE_SIZE, limit)
    offset = cursor(after, 0)
    found = items(offset, size + 1)
    spend(len(found))
    nodes = found[:size]
    edges = [{"node": node, "cursor": str(offset + n)} for n, node in enumerate(nodes, 1)]
    page = {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": len(found) > size}
    return {"edges": edges, "pageInfo": page, "totalCount": total}


def cursor(text: str | None, default: int) -> int:
    """Read a cursor that we gave; any other text gives the default."""
    is_one = text is not None and text.isascii() and text.isdigit() and len(text) < 16
    return int(text or 0) if is_one else default


def runs_page(
    info: Info,
    *,
    first: int | None,
    after: str | None,
    order: str | None = None,
    filters: str | None = None,
    **of: int,
) -> dict[str, Any]:
    """Give one page of the runs of a project, a sweep or an agent."""
    where, by = run_filter(filters), run_order(order)
    with context_of(info).database.read() as rows:
        return page(
            lambda offset, count: run_store.runs(
                rows, where=where, order=by, offset=offset, count=count, **of
            ),
            lambda info: run_store.count_runs(rows, where=where, **of),
            first,
            after,
        )


def last_seen_at(kind: str) -> Callable[[Any, Info], str | None]:
    """Give the resolver of the time when an agent or a run was last seen."""

    def resolve(thing: Any, info: Info) -> str | None:
        context = context_of(info)
        ago = context.presence.seconds_ago(kind, thing.pk)
        return iso_time(thing.heartbeat if ago is None else context.now() - ago)

    return resolve


def json_map(text: Any, what: str) -> dict[str, Any]:
    """Read a map from a JSONString, or from JSON itself; a GraphQLError names `what` is wrong."""
    try:
        value = json_texts.parsed(text) if isinstance(text, str) else json_texts.checked(text)
    except json_texts.JsonTextError as error:
        raise GraphQLError(f"{what} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise GraphQLError(f"{what} is not a map: {str(text)[:100]}")
    return value
