"""The rows of runs.

As in `store`, functions take the connection they work on, and what is to become of a run is decided
elsewhere: in `lifecycle`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sweepctl.server.lifecycle import Attempt
from sweepctl.server.store import lines, writers
from sweepctl.server.store.filters import OLDEST_FIRST, TRUE, Sql
from sweepctl.server.store.sweep_store import (
    IS_HELD,
    IS_OPEN,
    Rows,
    columns,
    find_project,
    insert,
    keep_search,
    new_id,
    search_as_before,
    sweep_by_pk,
    sweep_search,
    update,
)
from sweepctl_pod.wandb.states import RunState


@dataclass(frozen=True, slots=True)
class Run:
    """A run without its documents (config, summary), which are read only when needed."""

    pk: int
    project: int
    id: str
    sweep: int | None
    agent: int | None
    last_agent: int | None
    state: RunState
    attempt: int
    losses: int
    false_starts: int
    """How many of the newest attempts in a row were lost before their trainer began the run."""
    queued: float | None
    is_silent: bool
    is_started: bool
    is_preempting: bool
    is_stop_asked: bool
    is_restarted: bool
    exit_code: int | None
    display_name: str | None
    notes: str | None
    description: str | None
    group_name: str | None
    job_type: str | None
    host: str | None
    program: str | None
    commit_hash: str | None
    user_name: str
    tags: str
    created: float
    updated: float
    heartbeat: float
    last_step: int
    lost_step: int
    """The furthest step of the attempts that have ended."""

    @property
    def newest_attempt(self) -> Attempt:
        """What decides about the run."""
        return Attempt(
            state=self.state,
            number=self.attempt,
            losses=self.losses,
            false_starts=self.false_starts,
            is_started=self.is_started,
            is_preempting=self.is_preempting,
            is_stop_asked=self.is_stop_asked,
            exit_code=self.exit_code,
            has_come_on=self.last_step > self.lost_step,
        )


LOCAL_USER = "local"
"""The user who gives no name."""

WITHOUT_SWEEP = Sql("runs.sweep IS NULL")

_IS_PRIOR = "runs.pk IN (SELECT run FROM prior_runs WHERE prior_runs.sweep = ?)"

OF_SWEEP = f"(runs.sweep = ? OR {_IS_PRIOR})"
"""The condition of a sweep's runs, with the prior runs that it counts as its own."""

_RUN = columns(Run, "runs")
_RUN_NAMES = tuple(field.name for field in fields(Run))
_RUN_STATE_AT = _RUN_NAMES.index("state")
_RUN_FLAGS_AT = tuple(
    _RUN_NAMES.index(name)
    for name in ("is_silent", "is_started", "is_preempting", "is_stop_asked", "is_restarted")
)


def _run(row: Sequence[Any]) -> Run:
    values = list(row)
    values[_RUN_STATE_AT] = RunState(values[_RUN_STATE_AT])
    for place in _RUN_FLAGS_AT:
        values[place] = bool(values[place])
    return Run(*values)


def create_run(tx: Rows, given: Mapping[str, Any], now: float) -> Run:
    """Store a new run; without an id it gets one of its own."""
    values = {"id": new_id(), "created": now, "updated": now, "heartbeat": now}
    return run_by_pk(tx, insert(tx, "runs", {**values, **given}))


def run_by_pk(rows: Rows, pk: int) -> Run:
    """Give the run with this key, which is there."""
    return _run(rows.execute(f"SELECT {_RUN} FROM runs WHERE pk = ?", (pk,)).fetchone())


def find_run(
    rows: Rows, *, pk: int | None = None, project: int | None = None, id: str | None = None
) -> Run | None:
    """Find a run by its key, or by its project and id."""
    query = f"SELECT {_RUN} FROM runs WHERE pk = ? OR (project = ? AND id = ?)"
    row = rows.execute(query, (pk, project, id)).fetchone()
    return _run(row) if row else None


def find_run_by_path(rows: Rows, entity: str, project: str, id: str) -> Run | None:
    """Find a run by the names in its address."""
    found = find_project(rows, entity, project)
    return find_run(rows, project=found.pk, id=id) if found else None


def update_run(tx: Rows, pk: int, values: Mapping[str, Any], now: float) -> None:
    """Change a run."""
    update(tx, "runs", pk, {**values, "updated": now})


def runs(
    rows: Rows,
    *,
    project: int | None = None,
    sweep: int | None = None,
    last_agent: int | None = None,
    where: Sql = TRUE,
    order: Sql = OLDEST_FIRST,
    offset: int = 0,
    count: int = -1,
) -> list[Run]:
    """List runs that meet every condition given."""
    condition, arguments = _runs_where(project, sweep, last_agent, where)
    query = (
        f"SELECT {_RUN} FROM runs WHERE {condition} ORDER BY {order.text}"
        f" LIMIT {count:d} OFFSET {offset:d}"
    )
    return [_run(row) for row in rows.execute(query, (*arguments, *order.arguments))]


class RunOutline(NamedTuple):
    """Of a run what a page of all of them shows: a big sweep has thousands."""

    pk: int
    id: str
    display_name: str | None
    state: RunState
    agent: int | None
    attempt: int
    host: str | None
    created: float
    heartbeat: float
    last_step: int


def outlines(rows: Rows, sweep: int) -> list[RunOutline]:
    """List the runs of a sweep, oldest first, in outline."""
    query = (
        "SELECT pk, id, display_name, state, agent, attempt, host, created, heartbeat, last_step"
        f" FROM runs WHERE {OF_SWEEP} ORDER BY pk"
    )
    states = {state.value: state for state in RunState}
    found = rows.execute(query, (sweep, sweep)).fetchall()
    return [RunOutline._make((*row[:3], states[row[3]], *row[4:])) for row in found]


def runs_by_pk(rows: Rows, pks: Sequence[int]) -> dict[int, Run]:
    """Give runs by their keys."""
    query = f"SELECT {_RUN} FROM runs WHERE pk IN (SELECT value FROM json_each(?))"
    found = map(_run, rows.execute(query, (json.dumps(pks),)))
    return {run.pk: run for run in found}


def count_runs(
    rows: Rows,
    *,
    project: int | None = None,
    sweep: int | None = None,
    last_agent: int | None = None,
    where: Sql = TRUE,
) -> int:
    """Count runs that meet every condition given."""
    condition, arguments = _runs_where(project, sweep, last_agent, where)
    query = f"SELECT count(*) FROM runs WHERE {condition}"
    return int(rows.execute(query, arguments).fetchone()[0])


def run_params(rows: Rows, sweep: int, after: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the runs of a sweep with keys above `after`, each with its parameters.

    Those are the ones it was handed out with; for a run that was not, the values of its config.
    """
    query = (
        f"SELECT pk, params, iif(params IS NULL, config, NULL) FROM runs WHERE {OF_SWEEP}"
        " AND pk > ? ORDER BY pk"
    )
    for pk, params, config in rows.execute(query, (sweep, sweep, after)):
        yield pk, _params(params, config)


def settings_texts(rows: Rows, sweep: int, after: int) -> dict[int, tuple[str | None, str | None]]:
    """Give what `settings_in` reads of the runs with keys above `after`, by run.

    Those who were not handed out are always among them: they have the values of their config,
    which may change. What a run was handed out with stays.
    """
    query = (
        f"SELECT pk, params, iif(params IS NULL, config, NULL) FROM runs WHERE {OF_SWEEP}"
        " AND (pk > ? OR params IS NULL)"
    )
    found = rows.execute(query, (sweep, sweep, after))
    return {pk: (params, config) for pk, params, config in found}


def settings_in(texts: tuple[str | None, str | None]) -> dict[str, Any]:
    """Give the parameters that a run was handed out with, else the values of its config."""
    return _params(*texts)


def params_of(rows: Rows, run: int) -> dict[str, Any]:
    """Give the parameters that a run was handed out with."""
    text = rows.execute("SELECT params FROM runs WHERE pk = ?", (run,)).fetchone()[0]
    return _params(text or "{}", None)


def settings_of(rows: Rows, run: int) -> dict[str, Any]:
    """Give the parameters that a run was handed out with, else the values of its config.

    A run that was deleted meanwhile has none.
    """
    query = "SELECT params, iif(params IS NULL, config, NULL) FROM runs WHERE pk = ?"
    row = rows.execute(query, (run,)).fetchone()
    return _params(*row) if row else {}


def _params(params: str | None, config: str | None) -> dict[str, Any]:
    if params is not None:
        return dict(json.loads(params))
    return {
        name: entry["value"]
        for name, entry in json.loads(config or "{}").items()
        if name != "_wandb" and isinstance(entry, Mapping) and "value" in entry
    }


def held_runs(rows: Rows, agent: int) -> list[Run]:
    """List the runs that an agent holds."""
    query = f"SELECT {_RUN} FROM runs WHERE agent = ? ORDER BY pk"
    return [_run(row) for row in rows.execute(query, (agent,))]


def first_queued_run(rows: Rows, sweep: int, host: str) -> Run | None:
    """Give the run that waits to be taken again: one of this host's own first, then the oldest."""
    row = rows.execute(
        f"SELECT {_RUN} FROM runs LEFT JOIN agents ON agents.pk = runs.last_agent"
        " WHERE runs.sweep = ? AND runs.queued IS NOT NULL"
        " ORDER BY agents.host IS NOT ?, runs.queued, runs.pk LIMIT 1",
        (sweep, host),
    ).fetchone()
    return _run(row) if row else None


def agent_host(rows: Rows, run: int) -> str | None:
    """Give the host of the agent that a run was handed out to last."""
    query = "SELECT host FROM agents WHERE pk = (SELECT last_agent FROM runs WHERE pk = ?)"
    row = rows.execute(query, (run,)).fetchone()
    return str(row[0]) if row else None


def is_queued(rows: Rows, sweep: int) -> bool:
    """Say whether a run of the sweep waits to be taken again."""
    query = "SELECT 1 FROM runs WHERE sweep = ? AND queued IS NOT NULL LIMIT 1"
    return rows.execute(query, (sweep,)).fetchone() is not None


def is_open(rows: Rows, sweep: int) -> bool:
    """Say whether a run of the sweep is under way or waits to be taken again."""
    query = f"SELECT 1 FROM runs WHERE sweep = ? AND {IS_OPEN} LIMIT 1"
    return rows.execute(query, (sweep,)).fetchone() is not None


def unfinished_held_runs(rows: Rows, sweep: int) -> list[Run]:
    """List the runs of a sweep that agents hold and that may yet have to be taken again."""
    query = f"SELECT {_RUN} FROM runs WHERE sweep = ? AND agent IS NOT NULL AND {IS_OPEN}"
    return [_run(row) for row in rows.execute(query, (sweep,))]


def live_runs_without_agent(rows: Rows) -> list[Run]:
    """List the live runs that no agent holds and no agent is to take."""
    query = f"SELECT {_RUN} FROM runs WHERE {IS_HELD} AND agent IS NULL AND queued IS NULL"
    return [_run(row) for row in rows.execute(query)]


def write_heartbeats(tx: Rows, kind: str, times: Iterable[tuple[float, int]]) -> None:
    """Store when agents or runs were last seen, as (seconds since 1970, pk).

    `kind` is "agent" or "run".
    """
    table = {"agent": "agents", "run": "runs"}[kind]
    tx.executemany(f"UPDATE {table} SET heartbeat = ? WHERE pk = ?", times)


def history_count(rows: Rows, run: Run) -> int:
    """Count the lines of a run's history; 0 for a run whose trainer has just started again.

    W&B's client writes its first line after as many lines as the server names when it starts.
    """
    return 0 if run.is_restarted else lines.history_count(rows, run.pk)


def run_document(rows: Rows, run: int, name: str) -> str:
    """Give one of a run's JSON documents: config, summary or history_keys."""
    column = {"config": "config", "summary": "summary", "history_keys": "history_keys"}[name]
    return str(rows.execute(f"SELECT {column} FROM runs WHERE pk = ?", (run,)).fetchone()[0])


def run_documents(rows: Rows, sweep: int) -> dict[int, tuple[str, str]]:
    """Give config and summary of a sweep's runs, by run."""
    query = "SELECT pk, config, summary FROM runs WHERE sweep = ?"
    return {pk: (config, summary) for pk, config, summary in rows.execute(query, (sweep,))}


def configs_beside(rows: Rows, sweep: int, run: int, count: int) -> list[str]:
    """Give the configs of the newest other runs of a sweep that have one."""
    query = (
        "SELECT config FROM runs WHERE sweep = ? AND pk != ? AND config != '{}'"
        " ORDER BY pk DESC LIMIT ?"
    )
    return [text for (text,) in rows.execute(query, (sweep, run, count))]


def count_states(rows: Rows, sweep: int) -> dict[str, int]:
    """Count the runs of a sweep by their state."""
    query = f"SELECT state, count(*) FROM runs WHERE {OF_SWEEP} GROUP BY state"
    return dict(rows.execute(query, (sweep, sweep)).fetchall())


def kill_queued_runs(tx: Rows, sweep: int, now: float) -> None:
    """End the runs of a sweep that wait to be taken again."""
    tx.execute(
        "UPDATE runs SET state = ?, queued = NULL, updated = ?"
        " WHERE sweep = ? AND queued IS NOT NULL",
        (RunState.KILLED.value, now, sweep),
    )


def prior_runs(rows: Rows, sweep: int) -> list[Run]:
    """List the runs that a sweep counts among its own and did not hand out."""
    query = f"SELECT {_RUN} FROM runs WHERE {_IS_PRIOR} ORDER BY pk"
    return [_run(row) for row in rows.execute(query, (sweep,))]


def count_as_prior(tx: Rows, sweep: int, runs: Iterable[Run]) -> None:
    """Count runs that a sweep did not hand out among its own."""
    pairs = [(sweep, run.pk) for run in runs if run.sweep != sweep]
    tx.executemany("INSERT OR IGNORE INTO prior_runs (sweep, run) VALUES (?, ?)", pairs)


def delete_run(tx: Rows, pk: int) -> list[str]:
    """Delete a run and everything it streamed; give the places of its files.

    Its id stays taken: what its client still sends must not begin another run.
    """
    run = find_run(tx, pk=pk)
    if run is None:
        return []
    _keep_draws(tx, run.sweep)
    stored = [row[0] for row in tx.execute("SELECT stored FROM files WHERE run = ?", (pk,))]
    writers.forget(tx, pk)
    for table in ("summary_values", "history", "lines", "files", "prior_runs"):
        tx.execute(f"DELETE FROM {table} WHERE run = ?", (pk,))
    tx.execute(
        "INSERT OR IGNORE INTO deleted_runs SELECT project, id FROM runs WHERE pk = ?", (pk,)
    )
    tx.execute("DELETE FROM runs WHERE pk = ?", (pk,))
    return stored


def user_names(rows: Rows, entity: str | None = None) -> list[str]:
    """List the users of the runs of an entity, or of all."""
    query = (
        "SELECT DISTINCT user_name FROM runs JOIN projects ON projects.pk = runs.project"
        " WHERE ?1 IS NULL OR entity = ?1 LIMIT 1000"
    )
    return [name for (name,) in rows.execute(query, (entity,))]


def stored_bytes(rows: Rows, entity: str) -> int:
    """Count the bytes of the files of an entity's runs."""
    query = (
        "SELECT coalesce(sum(size_bytes), 0) FROM files JOIN runs ON runs.pk = files.run"
        " JOIN projects ON projects.pk = runs.project WHERE entity = ?"
    )
    return int(rows.execute(query, (entity,)).fetchone()[0])


def _keep_draws(tx: Rows, sweep: int | None) -> None:
    """Have a sweep remember its draws that went by the number of its runs: one is deleted now."""
    if sweep is not None and sweep_search(tx, sweep) is None:
        id = sweep_by_pk(tx, sweep).id
        keep_search(tx, sweep, search_as_before(id, count_runs(tx, sweep=sweep)))


def was_deleted(rows: Rows, project: int, id: str) -> bool:
    """Say whether a project had a run of this id that was deleted."""
    query = "SELECT 1 FROM deleted_runs WHERE project = ? AND id = ?"
    return rows.execute(query, (project, id)).fetchone() is not None


def _runs_where(
    project: int | None, sweep: int | None, last_agent: int | None, where: Sql
) -> tuple[str, tuple[Any, ...]]:
    parts: list[str] = []
    arguments: list[Any] = []
    for column, value in (("project", project), ("last_agent", last_agent)):
        if value is not None:
            parts.append(f"runs.{column} = ?")
            arguments.append(value)
    if sweep is not None:
        parts.append(OF_SWEEP)
        arguments += [sweep, sweep]
    return " AND ".join([*parts, where.text]), (*arguments, *where.arguments)
