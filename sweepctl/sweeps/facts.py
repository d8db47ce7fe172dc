"""A sweep's status as the facts that figures are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweepctl.figures import Curve, RunFacts, SweepFacts, importance_of, improvements
from sweepctl.figures.axes import short
from sweepctl.sweeps.status import RunRow, SweepStatus


def sweep_facts(
    status: SweepStatus,
    config: Mapping[str, Any] | None = None,
    curves: Mapping[str, Curve] | None = None,
) -> SweepFacts:
    """Give the facts of a sweep as it was read; `config` tells the parameters' distributions."""
    forms = (config or {}).get("parameters")
    return SweepFacts(
        metric=status.metric,
        runs=tuple(map(_run_facts, status.runs)),
        searched=status.searched,
        forms=forms if isinstance(forms, Mapping) else {},
        curves=curves or {},
    )


def importance_words(status: SweepStatus) -> str:
    """Say in a sentence which parameter matters most, or why that cannot be said."""
    return importance_of(sweep_facts(status)).words


def best_so_far(status: SweepStatus) -> list[tuple[int, float]] | str:
    """Give the number of each run that was better than all before it, and its metric.

    Where that is no curve, a sentence says why.
    """
    facts = sweep_facts(status)
    if why := facts.why_nothing_ranked():
        return why
    found = [(at, run.metric) for at, run in improvements(facts) if run.metric is not None]
    count, value = len(facts.finished), short(found[0][1])
    if count == 1:
        return f"One run has finished, with {facts.metric_name} {value}: a curve begins with two."
    if len(found) == 1:
        said = f"None of {count:,} finished runs is better than the first"
        return f"{said}: {facts.metric_name} {value}."
    return found


def _run_facts(row: RunRow) -> RunFacts:
    return RunFacts(
        id=row.id,
        state=row.state,
        metric=row.metric,
        parameters=row.parameters,
        duration_s=row.duration_s,
        agent=row.agent or "",
        gpus=len(row.gpus) or None,
        attempts=row.record.attempts if row.record is not None else (),
    )
