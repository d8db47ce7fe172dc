"""How disruptions look: which pods they would hit, and what those that were made have cost.

Values come in ready; nothing is fetched or decided here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweepctl.cli import output

if TYPE_CHECKING:
    from sweepctl.sweeps.disrupt import Disrupted
    from sweepctl.sweeps.disruption import Disruption, Target


def target_data(target: Target, kind: str) -> dict[str, Any]:
    """Give a pod that would be hit as data."""
    return {
        "kind": kind,
        "agent": target.agent,
        "pod": target.pod,
        "node": target.node,
        "run": target.run,
    }


def disrupted_data(done: Disrupted) -> dict[str, Any]:
    """Give what was done as data."""
    return {
        "disruptions": [_disruption_data(each) for each in done.disruptions],
        "problem": done.problem,
        "interrupted": done.is_interrupted,
    }


def disruptions_table(disruptions: Sequence[Disruption], *, wide: bool) -> output.Lines:
    """Lay out one line for each disruption."""
    columns = ["KIND", "POD", "RUN", "OUTCOME", "AFTER", "NOW AT", "REPEATED", "ATTEMPTS"]
    rows = [
        [
            each.kind.value,
            each.target.pod or each.target.agent,
            each.target.run,
            each.outcome.value,
            output.age(each.took_s),
            each.went_to or "<none>",
            _known(each.repeated),
            _known(each.attempts),
        ]
        for each in disruptions
    ]
    if wide:
        columns.insert(2, "NODE")
        for row, each in zip(rows, disruptions, strict=True):
            row.insert(2, each.target.node or "<none>")
    return output.table(columns, rows)


def summary_lines(done: Disrupted) -> list[str]:
    """Sum up what the disruptions cost."""
    made = done.disruptions
    if not made:
        return []
    counts = Counter(each.outcome.value for each in made)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    times = [each.took_s for each in made if each.went_to is not None and each.took_s is not None]
    line = f"{len(made)} {'disruption' if len(made) == 1 else 'disruptions'}: {told}"
    if times:
        line += f"; after {statistics.median(times):.0f} s (median), {max(times):.0f} s at most"
    known = [each.repeated for each in made if each.repeated is not None]
    line += f"; iterations trained again: {sum(known) if known else 'not known'}"
    if known and len(known) < len(made):
        line += f", and not known of {len(made) - len(known)}"
    return [line]


def _disruption_data(each: Disruption) -> dict[str, Any]:
    return {
        **target_data(each.target, each.kind.value),
        "at": each.began_at,
        "outcome": each.outcome.value,
        "took_s": each.took_s,
        "went_to": each.went_to,
        "iterations_repeated": each.repeated,
        "attempts": each.attempts,
    }


def _known(value: int | None) -> str:
    return "<unknown>" if value is None else str(value)
