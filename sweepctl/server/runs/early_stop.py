"""Early termination: looks again and again which runs hyperband stops, and stops them.

Such a run ends like one whose stop button was pressed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sweepctl.search.distributions import SearchError
from sweepctl.search.hyperband import read_hyperband
from sweepctl.server.engine.results import Results
from sweepctl.server.errors import StoreUnavailableError
from sweepctl.server.runs.intake import Intake
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.sweep_store import Sweep


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Checks every sweep that trains."""

    database: Database
    intake: Intake
    results: Results
    log: Callable[[str], None]

    def tick(self) -> None:
        """Check once."""
        with self.database.read() as rows:
            training = sweep_store.training_sweeps(rows)
        for sweep in training:
            try:
                self._stop_runs(sweep)
            except SearchError as error:  # of a sweep from before these rules were checked
                self.log(f"sweep {sweep.id}: nothing is stopped early: {error.message}")

    def _stop_runs(self, sweep: Sweep) -> None:
        with self.database.read() as rows:
            rules = read_hyperband(sweep_store.sweep_spec(rows, sweep.pk))
            if rules is None:
                return
            logged = self.results.logged(rows, sweep)
        ids = rules.behind(logged)
        for id in ids:
            with self.database.read() as rows:
                run = run_store.find_run(rows, project=sweep.project, id=id)
            if run is not None and run.sweep == sweep.pk and not run.is_stop_asked:
                self.log(f"run {run.id} is behind the others of sweep {sweep.id}: hyperband")
                self.intake.ask_stop(run)


class EarlyStopThread:
    """Checks every `interval_s` seconds beside the server until it is stopped."""

    def __init__(
        self, early_stop: EarlyStop, log: Callable[[str], None], *, interval_s: float = 10.0
    ) -> None:
        self._early_stop = early_stop
        self._log = log
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="early stop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                self._early_stop.tick()
            except StoreUnavailableError as error:
                self._early_stop.database.troubles.note(error.message, self._log)
            except Exception as error:  # nobody else would ever look again
                said = f"unexpected error of early stopping: {type(error).__name__}: {error}"
                self._early_stop.database.troubles.note(said, self._log)
