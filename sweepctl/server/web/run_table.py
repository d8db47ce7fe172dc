"""The runs of a sweep side by side: which one is best, and where the page of something is. Pure.

`metrics` gives the sweep's metric by run; a run without a finite number is not in it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping

from sweepctl.server.store.run_store import RunOutline
from sweepctl.server.store.sweep_store import Sweep
from sweepctl_pod.wandb.states import RunState


def address(*names: str) -> str:
    """Give the path of a page from the names in it."""
    return "/" + "/".join(urllib.parse.quote(name, safe="") for name in names)


def _is_better(sweep: Sweep, value: float, than: float) -> bool:
    return value > than if sweep.goal == "maximize" else value < than


def best_run(sweep: Sweep, runs: Iterable[RunOutline], metrics: Mapping[int, float]) -> int | None:
    """Give the finished run with the best metric, the first of equals; None if there is none."""
    best: int | None = None
    for run in runs:
        value = metrics.get(run.pk)
        if value is None or run.state != RunState.FINISHED:
            continue
        if best is None or _is_better(sweep, value, metrics[best]):
            best = run.pk
    return best
