"""Answers agents: register, heartbeat. A run is handed out exactly once, in one transaction.

The commands and their rules are W&B's
(https://github.com/wandb/wandb/blob/main/wandb/wandb_agent.py, `_process_command`), with some
fields of our own: `attempt`, the number of the run's attempt, which tells it from earlier ones,
`losses`, and `is_lost` in a `stop` for a run that is another agent's by now.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.search.engine_name import EngineName
from sweepctl.search.next_params import BAYES, Params, next_params, wrapped
from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.results import Results
from sweepctl.server.engine.search_engine import Draw, Engines
from sweepctl.server.engine.work import Work, search_of
from sweepctl.server.errors import NotFoundError
from sweepctl.server.lifecycle import AgentState
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.api_forms import node_id
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import RegisteredAgent, Rows, Sweep
from sweepctl_pod.wandb.states import HELD_RUNS, RUN_OF_NOBODY, RunState, SweepState

Command = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Suggestion:
    """Parameters that an engine chose for a sweep of this configuration."""

    spec: Mapping[str, Any]
    params: Params


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Gives runs to agents; safe to use from any thread. `now` gives seconds since 1970."""

    database: Database
    presence: Presence
    work: Work
    now: Callable[[], float]
    log: Callable[[str], None]
    engines: Engines
    results: Results

    def __post_init__(self) -> None:
        self.database.when_undone(self.work.grids.forget)

    def register(self, sweep_id: str, host: str, *, is_own: bool = True) -> RegisteredAgent:
        """Store a new agent, sweepctl's own or W&B's; a NotFoundError if there is no such sweep."""
        with self.database.write() as tx:
            sweep = sweep_store.find_sweep(tx, id=sweep_id)
            if sweep is None:
                raise NotFoundError(f"no sweep {sweep_id!r}")
            agent = sweep_store.create_agent(tx, sweep.pk, host, self.now(), is_own=is_own)
        self.presence.mark_seen("agent", agent.pk)
        self.presence.mark_idle(agent.pk)
        self.log(f"agent {agent.id} on {host} joined sweep {sweep.id}")
        return agent

    def heartbeat(
        self, agent: int | None, reported: Collection[str]
    ) -> tuple[RegisteredAgent, list[Command]]:
        """Take an agent's report of its runs and give it its commands.

        sweepctl's agent reports every run that it took: one that it leaves out and that never
        started did not reach it, and is handed out again. W&B's agent leaves out runs that ended:
        one that never started has failed, unless this server was down in between. A NotFoundError
        if there is no such agent.
        """
        # Before it is marked as seen, by either way.
        was_here = agent is not None and self.presence.seconds_ago("agent", agent) is not None
        unchanged = self.heartbeat_without_change(agent, reported)
        if unchanged is not None:
            return unchanged
        with self.database.write() as tx:
            found = _known_agent(tx, agent)
            self.presence.mark_seen("agent", found.pk)
            was_delivered = was_here and not found.is_own
            commands = self._commands(tx, found, reported, was_delivered)
        return found, self._suggested_run(found) if commands is None else commands

    def heartbeat_without_change(
        self, agent: int | None, reported: Collection[str]
    ) -> tuple[RegisteredAgent, list[Command]] | None:
        """Do the same where the answer changes no row, as most do; None where it may.

        Such an answer waits for no writer and not for the disk. With reports it takes three
        look-ups, whatever the sweep is.
        """
        if agent is None:
            return None
        with self.database.read() as rows:
            found = sweep_store.find_agent(rows, pk=agent)
            if found is None:
                return None
            unchanged = self._commands_without_change(rows, found, reported)
        if unchanged is None:
            return None
        self.presence.mark_seen("agent", found.pk)
        return found, unchanged

    def _commands_without_change(
        self, rows: Rows, agent: RegisteredAgent, reported: Collection[str]
    ) -> list[Command] | None:
        """Give an agent's commands where that changes no row; else None."""
        sweep = sweep_store.find_sweep(rows, pk=agent.sweep)
        held = run_store.held_runs(rows, agent.pk)
        if sweep is None:
            return None
        if reported:
            if agent.state != AgentState.RUNNING or {run.id for run in held} != set(reported):
                return None
            self.presence.mark_busy(agent.pk)
            is_canceled = sweep.state == SweepState.CANCELED
            return [
                {"type": "stop", "run_id": run.id}
                for run in held
                if is_canceled or run.is_stop_asked
            ]
        if held:
            return None
        self.presence.mark_idle(agent.pk)
        if sweep.state == SweepState.PAUSED:
            return []
        if sweep.state in (SweepState.FINISHED, SweepState.CANCELED):
            return [{"type": "exit"}] if agent.state == AgentState.FINISHED else None
        if self.work.may_be_left(rows, sweep) or not run_store.is_open(rows, sweep.pk):
            return None
        return [] if self._may_get_a_run_back(rows, agent, sweep) else None

    def _suggested_run(self, agent: RegisteredAgent) -> list[Command]:
        """Let the sweep's engine choose an agent's next run; only the engine is locked meanwhile.

        An engine makes one suggestion at a time, so each takes in all runs handed out before.
        """
        with self.database.read() as rows:
            sweep = sweep_store.sweep_by_pk(rows, agent.sweep)
            engine = self.engines.named(EngineName(search_of(rows, sweep).engine))
        with engine.turn() as is_mine:
            if not is_mine:
                return []  # the agent asks again
            with self.database.read() as rows:
                sweep = sweep_store.sweep_by_pk(rows, agent.sweep)
                spec = sweep_store.sweep_spec(rows, sweep.pk)
                search = search_of(rows, sweep)
                past = self.results.brief(rows, sweep)
            draw = Draw(sweep.id, search.seed, search.draws)
            suggestion = _Suggestion(spec, engine.suggest(spec, past, draw))
            with self.database.write() as tx:
                # While the engine worked, the agent may have asked a second time and been served.
                if sweep_store.find_agent(tx, pk=agent.pk) is None or run_store.held_runs(
                    tx, agent.pk
                ):
                    return []
                sweep = sweep_store.sweep_by_pk(tx, agent.sweep)
                return self._next_command(tx, agent, sweep, suggestion) or []

    def _commands(
        self, tx: Rows, agent: RegisteredAgent, reported: Collection[str], was_delivered: bool
    ) -> list[Command] | None:
        """Give an agent's commands; None when the engine is to choose its next run first."""
        sweep = sweep_store.sweep_by_pk(tx, agent.sweep)
        for run in run_store.held_runs(tx, agent.pk):
            if run.id not in reported:
                why = f"agent {agent.id} has ended it"
                self.work.release_run(tx, run, sweep, why, was_delivered=was_delivered)
                sweep = sweep_store.sweep_by_pk(tx, agent.sweep)
        if set(reported) == {RUN_OF_NOBODY}:
            sweep_store.set_agent_state(tx, agent.pk, AgentState.FINISHED)
            return []
        stops = [
            self._stop(tx, agent, sweep, run_id)
            for run_id in reported
            if not self._may_train(tx, agent, sweep, run_id)
        ]
        if reported:
            self.presence.mark_busy(agent.pk)
            sweep_store.set_agent_state(tx, agent.pk, AgentState.RUNNING)
            return stops
        self.presence.mark_idle(agent.pk)
        return self._next_command(tx, agent, sweep)

    def lose_agent(self, tx: Rows, agent: RegisteredAgent, runs: Collection[Run]) -> None:
        """Take the runs from an agent that fell silent."""
        sweep = sweep_store.sweep_by_pk(tx, agent.sweep)
        # One that left after the end of its run, or after handing it back, has lost nothing. Ours
        # lets go of a run as soon as it has judged it.
        lost = {*HELD_RUNS, RunState.FAILED} if agent.is_own else HELD_RUNS
        has_crashed = any(run.state in lost for run in runs)
        state = AgentState.CRASHED if has_crashed else AgentState.FINISHED
        sweep_store.set_agent_state(tx, agent.pk, state)
        for run in runs:
            why = f"agent {agent.id} on {agent.host} is silent"
            self.work.release_run(tx, run, sweep, why, is_silent=True, is_unjudged=agent.is_own)
        self.work.finish_if_done(tx, sweep)

    def _may_train(self, tx: Rows, agent: RegisteredAgent, sweep: Sweep, run_id: str) -> bool:
        """Say whether an agent may go on with a run that it reports."""
        run = run_store.find_run(tx, project=sweep.project, id=run_id)
        if run is None or run.sweep != sweep.pk:
            return False
        if run.agent is None and run.is_silent and run.queued and run.last_agent == agent.pk:
            # It was thought lost, nobody has taken it since, and here it is.
            state = RunState.RUNNING if run.is_started else RunState.PENDING
            fields = {"agent": agent.pk, "state": state.value, "queued": None, "is_silent": 0}
            run_store.update_run(tx, run.pk, fields, self.now())
            self.log(f"run {run.id} goes on: agent {agent.id} is back")
            run = run_store.run_by_pk(tx, run.pk)
        if run.agent is None and run.state == RunState.PREEMPTED and run.last_agent == agent.pk:
            return True  # its trainer has handed it back, and is about to end
        if run.agent != agent.pk:
            return False
        return sweep.state != SweepState.CANCELED and not run.is_stop_asked

    def _stop(self, tx: Rows, agent: RegisteredAgent, sweep: Sweep, run_id: str) -> Command:
        """Tell an agent to stop a run, and whether that is because it has lost it.

        Of a run that it has lost it is to tell nothing: another agent does, or has done so.
        """
        run = run_store.find_run(tx, project=sweep.project, id=run_id)
        is_lost = run is not None and run.sweep == sweep.pk and run.agent != agent.pk
        return {"type": "stop", "run_id": run_id, **({"is_lost": True} if is_lost else {})}

    def _next_command(
        self, tx: Rows, agent: RegisteredAgent, sweep: Sweep, suggestion: _Suggestion | None = None
    ) -> list[Command] | None:
        if sweep.state == SweepState.PAUSED:
            return []
        if sweep.state in (SweepState.FINISHED, SweepState.CANCELED):
            return self._exit(tx, agent)
        queued = run_store.first_queued_run(tx, sweep.pk, agent.host)
        if queued is not None:
            return [self._hand_out(tx, agent, sweep, queued)]
        if sweep.method == BAYES and not self.work.is_capped(tx, sweep):
            if suggestion is None or suggestion.spec != sweep_store.sweep_spec(tx, sweep.pk):
                return None
            params: Params | None = suggestion.params
        else:
            params = self._choose(tx, sweep)
        if params is not None:
            return [self._hand_out(tx, agent, sweep, self._new_run(tx, sweep, params))]
        if self.work.finish_if_done(tx, sweep):
            return self._exit(tx, agent)
        return [] if self._may_get_a_run_back(tx, agent, sweep) else self._exit(tx, agent)

    def _may_get_a_run_back(self, tx: Rows, agent: RegisteredAgent, sweep: Sweep) -> bool:
        """Say whether a run under way may soon need another agent.

        It does when it is being handed back, or when its agent may have died: when that agent sent
        nothing since this one became idle.
        """
        return any(
            run.state in (RunState.PREEMPTING, RunState.PREEMPTED)
            or not self.presence.was_seen_since_idle(run.agent or 0, agent.pk)
            for run in run_store.unfinished_held_runs(tx, sweep.pk)
        )

    def _exit(self, tx: Rows, agent: RegisteredAgent) -> list[Command]:
        sweep_store.set_agent_state(tx, agent.pk, AgentState.FINISHED)
        return [{"type": "exit"}]

    def _choose(self, tx: Rows, sweep: Sweep) -> Params | None:
        if self.work.is_capped(tx, sweep):
            return None
        if sweep.method == "grid":
            return self.work.grids.first_unused(tx, sweep)
        # Seeded by stored data: a server that dies before the commit makes the same choice again.
        search = search_of(tx, sweep)
        rng = random.Random(f"{search.seed}/{search.draws}")
        return next_params(sweep_store.sweep_spec(tx, sweep.pk), [], rng)

    def _new_run(self, tx: Rows, sweep: Sweep, params: Params) -> Run:
        number = run_store.count_runs(tx, sweep=sweep.pk) + 1
        fields = {
            "project": sweep.project,
            "sweep": sweep.pk,
            "state": RunState.PENDING.value,
            "display_name": f"{sweep.display_name or 'sweep'}-{number}",
            "params": json.dumps(params),
            "config": json.dumps(wrapped(params)),
        }
        sweep_store.count_draw(tx, sweep.pk)
        return run_store.create_run(tx, fields, self.now())

    def _hand_out(self, tx: Rows, agent: RegisteredAgent, sweep: Sweep, run: Run) -> Command:
        now = self.now()
        # A run whose trainer never began goes out like a new one: there is nothing to resume.
        was_begun = "_wandb" in json.loads(run_store.run_document(tx, run.pk, "config"))
        fields = {
            "agent": agent.pk,
            "last_agent": agent.pk,
            "attempt": run.attempt + 1,
            "state": RunState.PENDING.value,
            "host": agent.host,
            "queued": None,
            "is_silent": 0,
            "is_started": 0,
            "is_preempting": 0,
            "exit_code": None,
        }
        run_store.update_run(tx, run.pk, fields, now)
        sweep_store.set_agent_state(tx, agent.pk, AgentState.RUNNING)
        if sweep.state == SweepState.PENDING:
            sweep_store.update_sweep(tx, sweep.pk, {"state": SweepState.RUNNING.value}, now)
        self.presence.mark_busy(agent.pk)
        self.log(f"run {run.id} of sweep {sweep.id} goes to agent {agent.id} on {agent.host}")
        return {
            "id": f"{run.id}-{run.attempt + 1}",
            "type": "resume" if was_begun or run.losses else "run",
            "run_id": run.id,
            "args": wrapped(run_store.params_of(tx, run.pk)),
            "program": sweep_store.sweep_spec(tx, sweep.pk).get("program"),
            "run_storage_id": node_id("Run", run.pk),
            "attempt": run.attempt + 1,
            "losses": run.losses,
        }


def _known_agent(rows: Rows, pk: int | None) -> RegisteredAgent:
    found = None if pk is None else sweep_store.find_agent(rows, pk=pk)
    if found is None:
        raise NotFoundError("no such agent: was its sweep deleted?")
    return found
