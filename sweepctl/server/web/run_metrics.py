"""What a run has logged, a page of small figures at a time: its metrics in groups, its machine's.

A run may have 10,000 metrics and a million lines: never more is read than a page shows, from lines
that are spread evenly over the whole history.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.figures import Curve, Figure, logged
from sweepctl.figures.facts import Along
from sweepctl.server.json_texts import stored_object
from sweepctl.server.store import lines
from sweepctl.server.store.sweep_store import Rows
from sweepctl_pod.wandb.summary import MetricKind, read_metric

FIGURES_A_PAGE = 24
MOST_GROUPS = 40
SYSTEM = "system"
_OTHERS = ""
_MOST_LINES, _FEWEST_LINES = 1200, 60
_MOST_CHARACTERS = 6_000_000
"""So much of a history is read for one page of figures."""


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics whose names begin alike: `Train/` and what comes after it."""

    name: str
    keys: Sequence[str]

    @property
    def title(self) -> str:
        """What it is called on a page."""
        return self.name or "without a group"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page of figures; `read` of `of` lines were looked at."""

    figures: Sequence[Figure]
    read: int
    of: int


def metric_keys(types: Any) -> list[str]:
    """Name the metrics of a run's document of keys; those of W&B itself are left out."""
    known = types if isinstance(types, Mapping) else dict.fromkeys(types or (), ())
    return sorted(
        key
        for key, kinds in known.items()
        if not key.startswith("_") and (not kinds or "number" in kinds)
    )


def groups_of(keys: Iterable[str], first: str | None = None) -> list[Group]:
    """Put metrics into groups by what is before their first slash; that of `first` comes first."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(group_of(key), []).append(key)
    wanted = group_of(first) if first else None
    order = sorted(found, key=lambda name: (name != wanted, name == _OTHERS, name))
    return [Group(name, _with_first(found[name], first)) for name in order]


def group_of(key: str) -> str:
    """Name the group of a metric."""
    before, slash, _ = key.partition("/")
    return before if slash else _OTHERS


def system_keys(rows: Rows, run: int) -> list[str]:
    """Name what the client measured of its machine, by its newest lines."""
    found: set[str] = set()
    for _, text in lines.line_tail(rows, run, lines.EVENTS, 20):
        found.update(
            key
            for key, value in stored_object(text).items()
            if not key.startswith("_") and isinstance(value, int | float)
        )
    return sorted(found)


def drawn(
    rows: Rows,
    run: int,
    stream: str,
    keys: Sequence[str],
    *,
    over: Along = "step",
    is_log: bool = False,
) -> Drawn:
    """Draw metrics of a stream, each in a small figure."""
    curves, read, of = curves_of(rows, run, stream, keys)
    figures = [logged(key, curves[key], over=over, is_log=is_log) for key in keys]
    return Drawn(figures, read, of)


def curves_of(
    rows: Rows, run: int, stream: str, keys: Sequence[str]
) -> tuple[dict[str, Curve], int, int]:
    """Read the curves of metrics; give also how many lines were read, of how many."""
    of, length = lines.stream_length(rows, run, stream)
    most = lines.lines_within(_MOST_CHARACTERS, length, most=_MOST_LINES, fewest=_FEWEST_LINES)
    if stream == lines.HISTORY:
        texts = lines.spread_history(rows, run, most)
    else:
        texts = lines.spread_lines(rows, run, stream, most)
    values: dict[str, list[float]] = {key: [] for key in keys}
    steps: dict[str, list[float]] = {key: [] for key in keys}
    times: dict[str, list[float]] = {key: [] for key in keys}
    for at, text in enumerate(texts):
        row = stored_object(text)
        step, time = _number(row.get("_step"), at), _number(row.get("_runtime"), math.nan)
        for key in keys:
            reading = read_metric(row, key)
            if reading.kind in (MetricKind.NUMBER, MetricKind.NAN, MetricKind.INFINITE):
                value = reading.value
                values[key].append(value if isinstance(value, float) else math.nan)
                steps[key].append(step)
                times[key].append(time)
    curves = {key: Curve(values[key], steps[key], times_s=times[key]) for key in keys}
    return curves, len(texts), of


def _with_first(keys: list[str], first: str | None) -> list[str]:
    return [first, *(key for key in keys if key != first)] if first in keys and first else keys


def _number(value: object, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    try:
        return float(value)
    except OverflowError:
        return otherwise
