"""The rows of projects, sweeps and agents.

Functions take the connection they work on, so that a caller decides what is one transaction. They
store and find; what is to become of a sweep is decided elsewhere.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sweepctl.server.errors import BadMessageError
from sweepctl.server.lifecycle import AgentState
from sweepctl.server.store.filters import Sql
from sweepctl_pod.search_seed import with_seed
from sweepctl_pod.wandb.states import HELD_RUNS, RunState, SweepState

_MAX_NAME = 128
_ID_LETTERS = string.ascii_lowercase + string.digits

Rows = sqlite3.Connection


def _any_of(*states: RunState | SweepState) -> str:
    return f"({', '.join(repr(state.value) for state in states)})"


_HANDING_OUT = (SweepState.PENDING, SweepState.RUNNING)
_HELD = tuple(state for state in RunState if state in HELD_RUNS)

IS_HELD = f"runs.state IN {_any_of(*_HELD)}"
"""The condition of a run in one of HELD_RUNS. The index runs_live has the same words in this order:
SQLite uses it for no other condition."""

IS_OPEN = (
    "(queued IS NOT NULL OR (agent IS NOT NULL"
    f" AND runs.state IN {_any_of(*_HELD, RunState.PREEMPTED)}))"
)
"""The condition of a run that waits to be taken again, or that an agent has and has not ended."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project; it is created when a client first names it."""

    pk: int
    entity: str
    name: str
    created: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep without its configuration's text."""

    pk: int
    project: int
    id: str
    state: SweepState
    is_exhausted: bool
    method: str
    display_name: str | None
    description: str | None
    metric: str | None
    goal: str
    run_cap: int | None
    run_count_expected: int | None
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class RegisteredAgent:
    """An agent that has registered for the runs of a sweep."""

    pk: int
    id: str
    sweep: int
    host: str
    state: AgentState
    created: float
    heartbeat: float
    is_own: bool
    """Whether it is sweepctl's, which reports every run it took; W&B's leaves out ended runs."""


def columns(kind: type[Any], table: str) -> str:
    """Give the columns that a row's class is made of, for a SELECT."""
    return ", ".join(f"{table}.{field.name}" for field in fields(kind))


_PROJECT = columns(Project, "projects")
_SWEEP = columns(Sweep, "sweeps")
_AGENT = columns(RegisteredAgent, "agents")


def _sweep(row: Sequence[Any]) -> Sweep:
    return replace(Sweep(*row), state=SweepState(row[3]), is_exhausted=bool(row[4]))


def _agent(row: Sequence[Any]) -> RegisteredAgent:
    return replace(RegisteredAgent(*row), state=AgentState(row[4]), is_own=bool(row[7]))


def find_project(rows: Rows, entity: str, name: str) -> Project | None:
    """Find a project by its names."""
    query = f"SELECT {_PROJECT} FROM projects WHERE entity = ? AND name = ?"
    row = rows.execute(query, (entity, name)).fetchone()
    return Project(*row) if row else None


def project_by_pk(rows: Rows, pk: int) -> Project:
    """Give the project with this key, which is there."""
    return Project(*rows.execute(f"SELECT {_PROJECT} FROM projects WHERE pk = ?", (pk,)).fetchone())


def ensure_project(tx: Rows, entity: str, name: str, now: float) -> Project:
    """Find a project by its names, or create it; a BadMessageError says what a name may be."""
    found = find_project(tx, entity, name)
    if found:
        return found
    for text in (entity, name):
        if not text.strip(" .") or len(text) > _MAX_NAME or not text.isprintable():
            raise BadMessageError(
                f"{text[:80]!r} is no name of a project or an entity: 1 to {_MAX_NAME} characters"
                " that can be seen, and not '.' or '..'"
            )
    cursor = tx.execute(
        "INSERT INTO projects (entity, name, created) VALUES (?, ?, ?)", (entity, name, now)
    )
    return Project(_pk(cursor), entity, name, now)


def projects(rows: Rows, entity: str | None = None) -> list[Project]:
    """List the projects, of one entity or of all."""
    query = f"SELECT {_PROJECT} FROM projects WHERE ?1 IS NULL OR entity = ?1 ORDER BY pk"
    return [Project(*row) for row in rows.execute(query, (entity,))]


def create_sweep(tx: Rows, values: Mapping[str, Any], now: float) -> Sweep:
    """Store a new sweep under an id of its own."""
    own = {"id": new_id(), "state": SweepState.PENDING.value, "created": now, "updated": now}
    return sweep_by_pk(tx, insert(tx, "sweeps", {**values, **own}))


def sweep_by_pk(rows: Rows, pk: int) -> Sweep:
    """Give the sweep with this key, which is there."""
    return _sweep(rows.execute(f"SELECT {_SWEEP} FROM sweeps WHERE pk = ?", (pk,)).fetchone())


def find_sweep(
    rows: Rows, *, pk: int | None = None, id: str | None = None, project: int | None = None
) -> Sweep | None:
    """Find a sweep by its key or by its id, in one project or in any."""
    row = rows.execute(
        f"SELECT {_SWEEP} FROM sweeps WHERE (pk = ?1 OR id = ?2) AND (?3 IS NULL OR project = ?3)",
        (pk, id, project),
    ).fetchone()
    return _sweep(row) if row else None


def sweeps(
    rows: Rows, project: int | None, where: Sql, offset: int = 0, count: int = -1
) -> list[Sweep]:
    """List sweeps, newest first."""
    query = (
        f"SELECT {_SWEEP} FROM sweeps WHERE (?1 IS NULL OR project = ?1) AND {where.text}"
        f" ORDER BY pk DESC LIMIT {count:d} OFFSET {offset:d}"
    )
    return [_sweep(row) for row in rows.execute(query, (project, *where.arguments))]


def sweeps_without_work(rows: Rows) -> list[Sweep]:
    """List the sweeps that may run, have as many runs as they expect, and none under way."""
    query = (
        f"SELECT {_SWEEP} FROM sweeps WHERE state IN {_any_of(*_HANDING_OUT)}"
        " AND run_count_expected <= (SELECT count(*) FROM runs WHERE runs.sweep = sweeps.pk)"
        " + (SELECT count(*) FROM prior_runs WHERE prior_runs.sweep = sweeps.pk)"
        f" AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.sweep = sweeps.pk AND {IS_OPEN})"
    )
    return [_sweep(row) for row in rows.execute(query)]


def training_sweeps(rows: Rows) -> list[Sweep]:
    """List the sweeps that have a run under way."""
    query = (
        f"SELECT {_SWEEP} FROM sweeps WHERE pk IN (SELECT sweep FROM runs"
        f" WHERE {IS_HELD} AND runs.state = {RunState.RUNNING.value!r})"
    )
    return [_sweep(row) for row in rows.execute(query)]


def count_sweeps(rows: Rows, project: int, where: Sql) -> int:
    """Count the sweeps of a project."""
    query = f"SELECT count(*) FROM sweeps WHERE project = ? AND {where.text}"
    return int(rows.execute(query, (project, *where.arguments)).fetchone()[0])


def sweep_text(rows: Rows, pk: int) -> str:
    """Give a sweep's configuration as it was sent."""
    return str(rows.execute("SELECT config_text FROM sweeps WHERE pk = ?", (pk,)).fetchone()[0])


@dataclass(frozen=True, slots=True)
class Search:
    """How a sweep is searched, kept with it from its beginning: the engine, the seed.

    `draws` counts the runs that were drawn, also those that were deleted since.
    """

    engine: str
    seed: str
    draws: int


SEARCH = "sweepctl"
"""The key of a `Search` in the stored configuration: none of W&B's."""


def stored_spec(spec: Mapping[str, Any], search: Search) -> str:
    """Write a configuration with how it is searched, as the column `spec` holds it."""
    return json.dumps({**spec, SEARCH: asdict(search)})


def sweep_spec(rows: Rows, pk: int) -> dict[str, Any]:
    """Give a sweep's configuration as it is searched."""
    spec = _stored_spec(rows, pk)
    spec.pop(SEARCH, None)
    return spec


def sweep_search(rows: Rows, pk: int) -> Search | None:
    """Give how a sweep is searched; None of one from before this was kept."""
    kept = _stored_spec(rows, pk).get(SEARCH)
    return None if kept is None else Search(**kept)


def sweep_description(rows: Rows, sweep: Sweep) -> str | None:
    """Give a sweep's description; it names the seed of the search, also one drawn by chance."""
    kept = sweep_search(rows, sweep.pk)
    is_named = kept is not None and kept.seed.isdecimal()  # not of one from before it was kept
    if sweep.method == "grid" or kept is None or not is_named:
        return sweep.description
    return with_seed(sweep.description, int(kept.seed))


def search_as_before(id: str, draws: int) -> Search:
    """Give how a sweep from before this was kept goes on: W&B's engine, random from its own id."""
    return Search("wandb", id, draws)


def keep_search(tx: Rows, pk: int, search: Search) -> None:
    """Keep how a sweep is searched that does not say so yet."""
    text = stored_spec(_stored_spec(tx, pk), search)
    tx.execute("UPDATE sweeps SET spec = ? WHERE pk = ?", (text, pk))


def count_draw(tx: Rows, pk: int) -> None:
    """Count a run that was drawn."""
    query = f"UPDATE sweeps SET spec = json_set(spec, '$.{SEARCH}.draws', ?) WHERE pk = ?"
    search = sweep_search(tx, pk)
    if search is not None:
        tx.execute(query, (search.draws + 1, pk))


def _stored_spec(rows: Rows, pk: int) -> dict[str, Any]:
    text = rows.execute("SELECT spec FROM sweeps WHERE pk = ?", (pk,)).fetchone()[0]
    spec: dict[str, Any] = json.loads(text)
    return spec


def update_sweep(tx: Rows, pk: int, values: Mapping[str, Any], now: float) -> Sweep:
    """Change a sweep."""
    update(tx, "sweeps", pk, {**values, "updated": now})
    return sweep_by_pk(tx, pk)


def create_agent(tx: Rows, sweep: int, host: str, now: float, *, is_own: bool) -> RegisteredAgent:
    """Store a new agent of a sweep."""
    values = {
        "id": new_id(),
        "sweep": sweep,
        "host": host,
        "state": AgentState.RUNNING.value,
        "created": now,
        "heartbeat": now,
        "is_own": int(is_own),
    }
    found = find_agent(tx, pk=insert(tx, "agents", values))
    assert found is not None
    return found


def find_agent(
    rows: Rows, *, pk: int | None = None, id: str | None = None
) -> RegisteredAgent | None:
    """Find an agent by its key or by its id."""
    query = f"SELECT {_AGENT} FROM agents WHERE pk = ? OR id = ?"
    row = rows.execute(query, (pk, id)).fetchone()
    return _agent(row) if row else None


def agents(rows: Rows, sweep: int) -> list[RegisteredAgent]:
    """List the agents of a sweep, oldest first."""
    query = f"SELECT {_AGENT} FROM agents WHERE sweep = ? ORDER BY pk"
    return [_agent(row) for row in rows.execute(query, (sweep,))]


def set_agent_state(tx: Rows, pk: int, state: AgentState) -> None:
    """Change the state of an agent."""
    tx.execute("UPDATE agents SET state = ?2 WHERE pk = ?1 AND state != ?2", (pk, state.value))


def holding_agents(rows: Rows) -> list[int]:
    """List the keys of the agents that hold a run, of all sweeps."""
    query = "SELECT DISTINCT agent FROM runs WHERE agent IS NOT NULL ORDER BY agent"
    return [int(pk) for (pk,) in rows.execute(query)]


def insert(tx: Rows, table: str, values: Mapping[str, Any]) -> int:
    """Store a new row and give its key."""
    marks = ", ".join("?" * len(values))
    query = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
    return _pk(tx.execute(query, tuple(values.values())))


def update(tx: Rows, table: str, pk: int, values: Mapping[str, Any]) -> None:
    """Change a row."""
    settings = ", ".join(f"{name} = ?" for name in values)
    tx.execute(f"UPDATE {table} SET {settings} WHERE pk = ?", (*values.values(), pk))


def _pk(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def new_id() -> str:
    """Make an id as W&B's: eight letters and digits."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
