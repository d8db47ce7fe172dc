"""The records of a sweep's runs, as they are read for people: at once, or each that is worth it.

The embedded server gives all in one answer. W&B is asked for each run's file, several at a time: it
allows about 200 requests a minute, so only the runs of most interest are asked for, and what is
known of one is kept while it cannot have changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sweepctl.sweeps.api import SweepSource
from sweepctl.sweeps.status import RunRow, SweepStatus, by_interest, with_records
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.states import OPEN_RUNS, RunState

MOST_ASKED = 60
"""So many runs are asked for one by one, two requests each."""

_AT_ONCE = 8
_FRESH_S = 60.0


class RecordReader:
    """Reads the records of one sweep again and again, for as long as somebody looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[str, float, RunRecord | None]] = {}
        """By run: its state then, when it was asked for, and what there was."""

    def add_to(self, status: SweepStatus, source: SweepSource) -> SweepStatus:
        """Add to each run what its record tells."""
        try:
            found = source.run_records(status.sweep)
        except SweepctlError:
            return status  # the rest of the picture does not depend on it
        if found is None:
            found = self._asked_for(source, status.sweep, by_interest(status))
        return with_records(status, found)

    def _asked_for(
        self, source: SweepSource, sweep: str, rows: Sequence[RunRow]
    ) -> dict[str, RunRecord]:
        chosen = [row for row in rows if row.state != RunState.PENDING][:MOST_ASKED]
        stale = [row for row in chosen if not self._is_fresh(row)]
        if stale:
            with ThreadPoolExecutor(min(_AT_ONCE, len(stale))) as pool:
                records = pool.map(lambda row: _record(source, sweep, row.id), stale)
            for row, record in zip(stale, records, strict=True):
                self._known[row.id] = (row.state, self._clock(), record)
        kept = {row.id: self._known[row.id][2] for row in chosen}
        return {run: record for run, record in kept.items() if record is not None}

    def _is_fresh(self, row: RunRow) -> bool:
        known = self._known.get(row.id)
        if known is None or known[0] != row.state:
            return False
        return row.state not in OPEN_RUNS or self._clock() - known[1] < _FRESH_S


def _record(source: SweepSource, sweep: str, run: str) -> RunRecord | None:
    try:
        return source.run_record(sweep, run)
    except SweepctlError:
        return None
