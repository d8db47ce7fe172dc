"""The work of a sweep: what becomes of a released run, when the sweep is finished or goes on.

Every method but `may_be_left` works inside the writing transaction of its caller, who answers an
agent, a trainer or a person.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sweepctl.server.engine.grids import Grids
from sweepctl.server.lifecycle import Limits, release
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Rows, Search, Sweep
from sweepctl_pod.wandb.states import SweepState


@dataclass(frozen=True, slots=True)
class Work:
    """Decides about the work of sweeps; `now` gives seconds since 1970."""

    limits: Limits
    now: Callable[[], float]
    log: Callable[[str], None]
    grids: Grids = field(default_factory=Grids)
    _read_grids: Grids = field(default_factory=Grids)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def release_run(
        self,
        tx: Rows,
        run: Run,
        sweep: Sweep,
        why: str,
        *,
        is_silent: bool = False,
        was_delivered: bool = False,
        is_unjudged: bool = False,
    ) -> None:
        """Take a run from the agent that held it, and queue it if it is to go on.

        `is_silent`: its agent fell silent instead of saying so. `was_delivered`: its agent has
        certainly received the run. `is_unjudged` as in `release`.
        """
        outcome = release(
            run.newest_attempt,
            self.limits,
            is_canceled=sweep.state == SweepState.CANCELED,
            was_delivered=was_delivered,
            is_unjudged=is_unjudged,
        )
        now = self.now()
        fields = {
            "agent": None,
            "state": outcome.state.value,
            "losses": outcome.losses,
            "false_starts": outcome.false_starts,
            "lost_step": max(run.lost_step, run.last_step),
            "queued": now if outcome.is_queued else None,
            "is_silent": int(is_silent),
        }
        run_store.update_run(tx, run.pk, fields, now)
        if outcome.is_queued:
            self.log(f"run {run.id} waits to be taken again ({outcome.state.value}: {why})")
            # The trainer may have reported the end of the last run, and its agent corrects that.
            self.open_again(tx, sweep_store.sweep_by_pk(tx, sweep.pk))
        elif outcome.state != run.state:
            self.log(f"run {run.id} is {outcome.state.value}: {why}")

    def is_left(self, tx: Rows, sweep: Sweep) -> bool:
        """Say whether the sweep has a run to hand out, whatever its state."""
        if run_store.is_queued(tx, sweep.pk):
            return True
        if self.is_capped(tx, sweep):
            return False
        return sweep.method != "grid" or self.grids.first_unused(tx, sweep) is not None

    def may_be_left(self, rows: Rows, sweep: Sweep) -> bool:
        """Say the same of what is stored, outside a writing transaction."""
        if run_store.is_queued(rows, sweep.pk):
            return True
        if self.is_capped(rows, sweep):
            return False
        if sweep.method != "grid":
            return True
        with self._reading:
            return self._read_grids.first_unused(rows, sweep) is not None

    def is_capped(self, tx: Rows, sweep: Sweep) -> bool:
        """Say whether the sweep has all the runs that it may have."""
        cap = sweep.run_cap
        return cap is not None and run_store.count_runs(tx, sweep=sweep.pk) >= cap

    def finish_if_done(self, tx: Rows, sweep: Sweep) -> bool:
        """Set a sweep FINISHED when it has no more runs to hand out and none under way."""
        if sweep.state not in (SweepState.PENDING, SweepState.RUNNING):
            return False
        expected = sweep.run_count_expected
        if expected is None or run_store.count_runs(tx, sweep=sweep.pk) < expected:
            return False
        if run_store.is_open(tx, sweep.pk) or self.is_left(tx, sweep):
            return False
        values = {"state": SweepState.FINISHED.value, "is_exhausted": 1}
        sweep_store.update_sweep(tx, sweep.pk, values, self.now())
        self.log(f"sweep {sweep.id} is finished")
        return True

    def open_again(self, tx: Rows, sweep: Sweep) -> Sweep:
        """Set a finished sweep RUNNING again when it has more runs to hand out.

        A sweep that a person ended stays as it is.
        """
        if not sweep.is_exhausted or not self.is_left(tx, sweep):
            return sweep
        self.log(f"sweep {sweep.id} goes on: it has more runs to hand out")
        values = {"state": SweepState.RUNNING.value, "is_exhausted": 0}
        return sweep_store.update_sweep(tx, sweep.pk, values, self.now())


def search_of(rows: Rows, sweep: Sweep) -> Search:
    """Give how a sweep is searched, also one from before this was kept."""
    kept = sweep_store.sweep_search(rows, sweep.pk)
    if kept is not None:
        return kept
    return sweep_store.search_as_before(sweep.id, run_store.count_runs(rows, sweep=sweep.pk))
