"""The grids of sweeps, kept between requests so that each run is read only once.

Who uses them goes one after another. Inside writing transactions they hold runs of those before:
when a commit failed that these shared, `forget` is to be called.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.search.next_params import Grid, Params, PastRun
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.sweep_store import Rows, Sweep

_KEPT = 32


@dataclass(slots=True)
class _Walk:
    spec: Mapping[str, Any]
    grid: Grid
    count: int = 0
    last_run: int = 0


class Grids:
    """The most recently used grids, by sweep."""

    def __init__(self) -> None:
        self._walks: OrderedDict[int, _Walk] = OrderedDict()

    def forget(self) -> None:
        """Read every run again: some that were seen were never stored."""
        self._walks.clear()

    def first_unused(self, rows: Rows, sweep: Sweep) -> Params | None:
        """Give the first point of a sweep's grid that no run has; None when there is none left."""
        walk = self._walks.pop(sweep.pk, None)
        spec = sweep_store.sweep_spec(rows, sweep.pk)
        if walk is None or walk.spec != spec or not self._add_new_runs(rows, sweep, walk):
            walk = _Walk(spec, Grid(spec))
            self._add_new_runs(rows, sweep, walk)
        self._walks[sweep.pk] = walk
        if len(self._walks) > _KEPT:
            self._walks.popitem(last=False)
        return walk.grid.first_unused()

    @staticmethod
    def _add_new_runs(rows: Rows, sweep: Sweep, walk: _Walk) -> bool:
        """Add new runs to the grid; False when a run in it was deleted."""
        for pk, params in run_store.run_params(rows, sweep.pk, walk.last_run):
            walk.grid.mark_used(PastRun(params))
            walk.count += 1
            walk.last_run = pk
        return walk.count == run_store.count_runs(rows, sweep=sweep.pk)
