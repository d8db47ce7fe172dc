"""The reaper: takes runs from silent agents, and ends silent runs that no agent holds.

`tick` checks once; a thread repeats it. `presence` measures the silence, without the time in which
this server was down, or in which the reaper itself could not run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sweepctl.server.engine.dispatch import Dispatcher
from sweepctl.server.engine.presence import Presence
from sweepctl.server.errors import StoreUnavailableError
from sweepctl.server.lifecycle import Limits
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl_pod.wandb.states import RunState

_FLUSH_EVERY_S = 30.0


@dataclass(slots=True)
class Reaper:
    """Checks how long everyone is silent; `clock` is the clock of `presence`."""

    database: Database
    presence: Presence
    dispatcher: Dispatcher
    limits: Limits
    clock: Callable[[], float]
    now: Callable[[], float]
    interval_s: float = 1.0
    _looked: float | None = field(default=None, init=False)
    _flushed: float = field(default=float("-inf"), init=False)

    def tick(self) -> None:
        """Check once."""
        at = self.clock()
        if self._looked is not None and at - self._looked > 10 * self.interval_s + 5:
            self.presence.reset()
        self._looked = at
        self._reap_agents()
        self._reap_runs()
        self._finish_sweeps()
        if at - self._flushed >= _FLUSH_EVERY_S:
            self.flush()
            self._flushed = at

    def flush(self) -> None:
        """Store when everyone was last seen, for people to see."""
        seen = self.presence.take_unflushed()
        if not seen:
            return
        now = self.now()
        with self.database.write() as tx:
            for kind in ("agent", "run"):
                times = [(now - ago, pk) for what, pk, ago in seen if what == kind]
                run_store.write_heartbeats(tx, kind, times)

    def _reap_agents(self) -> None:
        with self.database.read() as rows:
            holders = sweep_store.holding_agents(rows)
        for pk in holders:
            if self._silence_s("agent", pk) < self.limits.agent_timeout_s:
                continue
            with self.database.write() as tx:
                agent = sweep_store.find_agent(tx, pk=pk)
                # An agent that dies alone leaves a trainer that still sends lines of its run.
                silent = [
                    run
                    for run in run_store.held_runs(tx, pk)
                    if self._silence_s("run", run.pk) >= self.limits.agent_timeout_s
                ]
                is_silent = self._silence_s("agent", pk) >= self.limits.agent_timeout_s
                if agent is not None and silent and is_silent:
                    self.dispatcher.lose_agent(tx, agent, silent)

    def _reap_runs(self) -> None:
        with self.database.read() as rows:
            alone = run_store.live_runs_without_agent(rows)
        for run in alone:
            if self._silence_s("run", run.pk) < self.limits.run_timeout_s:
                continue
            with self.database.write() as tx:
                current = run_store.find_run(tx, pk=run.pk)
                if current is not None and current.state == run.state and current.agent is None:
                    fields = {"state": RunState.CRASHED.value}
                    run_store.update_run(tx, run.pk, fields, self.now())
                    self.dispatcher.log(f"run {run.id} is crashed: nothing was heard of it")

    def _finish_sweeps(self) -> None:
        """Finish sweeps whose last run ended when no agent was left to ask for more."""
        with self.database.read() as rows:
            without_work = sweep_store.sweeps_without_work(rows)
        for sweep in without_work:
            with self.database.write() as tx:
                self.dispatcher.work.finish_if_done(tx, sweep_store.sweep_by_pk(tx, sweep.pk))

    def _silence_s(self, kind: str, pk: int) -> float:
        return self.presence.silence_s(kind, pk)


class ReaperThread:
    """Runs a reaper beside the server until it is stopped."""

    def __init__(self, reaper: Reaper, log: Callable[[str], None]) -> None:
        self._reaper = reaper
        self._log = log
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and store when everyone was last seen."""
        self._stopped.set()
        self._thread.join()
        try:
            self._reaper.flush()
        except StoreUnavailableError as error:
            self._log(error.message)

    def _run(self) -> None:
        while not self._stopped.wait(self._reaper.interval_s):
            try:
                self._reaper.tick()
                self._reaper.database.troubles.look(self._log)
            except StoreUnavailableError as error:
                self._reaper.database.troubles.note(error.message, self._log)
            except Exception as error:  # nobody else would ever look again
                said = f"unexpected error of the reaper: {type(error).__name__}: {error}"
                self._reaper.database.troubles.note(said, self._log)
