"""What there is of everything, for those who watch a server: one look for all sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sweepctl.server.lifecycle import AgentState
from sweepctl.server.store.sweep_store import IS_HELD, Rows


@dataclass(frozen=True, slots=True)
class WatchedAgent:
    """An agent that has not ended, as far as is known."""

    pk: int
    sweep: int
    heartbeat: float
    has_run: bool


def runs_by_state(rows: Rows) -> dict[int, dict[str, int]]:
    """Count the runs of every sweep by their state."""
    found: dict[int, dict[str, int]] = {}
    query = "SELECT sweep, state, count(*) FROM runs WHERE sweep IS NOT NULL GROUP BY sweep, state"
    for sweep, state, count in rows.execute(query):
        found.setdefault(sweep, {})[state] = count
    return found


def sweeps_by_state(rows: Rows) -> dict[str, int]:
    """Count the sweeps by their state."""
    return dict(rows.execute("SELECT state, count(*) FROM sweeps GROUP BY state").fetchall())


def watched_agents(rows: Rows) -> Iterator[WatchedAgent]:
    """Give the agents that have not ended, of all sweeps."""
    query = (
        "SELECT pk, sweep, heartbeat, pk IN (SELECT agent FROM runs"
        f" WHERE {IS_HELD} AND agent IS NOT NULL) FROM agents WHERE state = ?"
    )
    for pk, sweep, heartbeat, has_run in rows.execute(query, (AgentState.RUNNING.value,)):
        yield WatchedAgent(pk, sweep, heartbeat, bool(has_run))
