"""What a run's summary holds: the sweep's metric, why the run ended as it did, how long it took.

Ring 0, pure. The one place that reads a metric, for verdict, status, ranking, search and the pages.
A metric counts when it is a finite number. NaN, an infinity or anything else is no result: the
agent fails the run and says so, and a run that another agent finished with it is listed as finished
with `NaN` in the metric's place, is not ranked, and gives the search no value.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OWN_KEYS = "sweepctl/"
"""The beginning of our own keys, which no trainer logs."""

REASON_KEY = f"{OWN_KEYS}reason"
"""The key of the reason why a run did not simply finish."""

UNVERIFIED = "settings unverified"
"""The beginning of the reason of a run that finished with settings that nobody could read."""

_LONGEST_REASON = 2000
_NOT_FINITE = {"nan": math.nan, "infinity": math.inf, "-infinity": -math.inf}
"""How W&B's API writes what JSON has no word for; its client sends the bare words."""

_AGGREGATES = {
    "minimize": ("best", "last", "min", "max", "mean"),
    "maximize": ("best", "last", "max", "min", "mean"),
}
"""The aggregates of `define_metric`, in the order in which one of them is taken for the run."""


class MetricKind(enum.Enum):
    """What a summary holds in a metric's place."""

    NUMBER = enum.auto()
    MISSING = enum.auto()
    NAN = enum.auto()
    INFINITE = enum.auto()
    OTHER = enum.auto()
    """A text, a truth value, a list, a map: nothing that can be compared."""


@dataclass(frozen=True, slots=True)
class MetricReading:
    """A metric as it was read; `number` is there for the kind NUMBER alone."""

    kind: MetricKind
    value: object = None

    @property
    def number(self) -> float | None:
        """The finite number, if it is one."""
        return self.value if isinstance(self.value, float) and self.is_number else None

    @property
    def is_number(self) -> bool:
        """Whether runs can be compared by it."""
        return self.kind is MetricKind.NUMBER

    @property
    def is_missing(self) -> bool:
        """Whether nothing was logged."""
        return self.kind is MetricKind.MISSING

    @property
    def instead(self) -> str | None:
        """What is there in place of a number, in short: `NaN`, `-Infinity`, `"7.5"`, `[1, 2]`."""
        if self.is_number or self.is_missing:
            return None
        text = json.dumps(self.value, ensure_ascii=False, default=str)
        return text if len(text) <= 40 else text[:39] + "…"


def read_metric(
    summary: Mapping[str, Any], name: str, goal: str | None = "minimize"
) -> MetricReading:
    """Read a metric: by its flat name, else along its dots, as W&B nests.

    Of the aggregates of `define_metric` it takes `best`, else `last`, else the goal's own.
    """
    value = _aggregate(value_at(summary, name), goal)
    if isinstance(value, str):
        value = _NOT_FINITE.get(value.strip().lower(), value)
    if value is None:
        return MetricReading(MetricKind.MISSING)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return MetricReading(MetricKind.OTHER, value)
    number = _as_float(value)
    if math.isnan(number):
        return MetricReading(MetricKind.NAN, number)
    if math.isinf(number):
        return MetricReading(MetricKind.INFINITE, number)
    return MetricReading(MetricKind.NUMBER, number)


def metric_keys(name: str) -> tuple[str, ...]:
    """Give the dotted keys of a summary under one of which a metric stands."""
    return (name, *(f"{name}.{part}" for part in _AGGREGATES["minimize"]))


def metric_trouble(summary: Mapping[str, Any], name: str, reading: MetricReading) -> str | None:
    """Say what is wrong with a metric that was logged and is no finite number.

    None if it is a finite number, or is missing.
    """
    step = _whole(summary.get("_step"))
    at_step = "" if step is None else f" at step {step}"
    if reading.kind is MetricKind.NAN:
        return f"metric {name} is NaN{at_step}: the training diverged, or it divides by zero"
    if reading.kind is MetricKind.INFINITE:
        return f"metric {name} is {reading.instead}{at_step}: the training diverged"
    if reading.kind is not MetricKind.OTHER:
        return None
    shown, value = reading.instead, reading.value
    if isinstance(value, str):
        return f"metric {name} is the text {shown}{at_step}, no number: log float(…)"
    if isinstance(value, bool):
        return f"metric {name} is {shown}{at_step}, no number: log 1.0 or 0.0"
    if isinstance(value, Mapping):
        inner = next((key for key, part in value.items() if _is_number(part)), None)
        hint = f"write metric.name: {name}.{inner}" if inner else "log a number"
        return f"metric {name} is a map{at_step}, no number: {hint}"
    return f"metric {name} is {shown}{at_step}, no number: log one"


def reason_of(summary: Mapping[str, Any]) -> str | None:
    """Give why the agent judged the run as it did."""
    reason = summary.get(REASON_KEY)
    return reason if isinstance(reason, str) and reason else None


def unverified_of(summary: Mapping[str, Any]) -> str | None:
    """Give the reason of a run that finished unverified; None for any other reason."""
    reason = reason_of(summary)
    return reason if reason and reason.startswith(UNVERIFIED) else None


def with_reason(summary: Mapping[str, Any], reason: str | None, trained_s: float) -> dict[str, Any]:
    """Give a summary with the agent's reason in it; None takes an earlier one out.

    `trained_s` goes into W&B's own keys where the trainer did not come so far as to write it.
    """
    kept = {key: value for key, value in summary.items() if key != REASON_KEY}
    if reason is None:
        return kept
    whole_s = max(0, round(trained_s))
    own = kept.get("_wandb")
    kept.setdefault("_runtime", whole_s)
    kept["_wandb"] = {"runtime": whole_s, **(own if isinstance(own, Mapping) else {})}
    return {**kept, REASON_KEY: reason[:_LONGEST_REASON]}


def runtime_s(summary: Mapping[str, Any]) -> float | None:
    """Give how many seconds the trainer says it ran, up to its last log line."""
    own = summary.get("_wandb")
    said = [summary.get("_runtime"), own.get("runtime") if isinstance(own, Mapping) else None]
    found = [_as_float(value) for value in said if _is_number(value)]
    return max(filter(math.isfinite, found), default=None)


def duration_s(
    summary: Mapping[str, Any],
    *,
    is_live: bool,
    created_s: float | None,
    heard_s: float | None,
    now_s: float,
) -> float | None:
    """Give how long a run has trained; times are seconds since 1970.

    The trainer's own figure leaves out the time between two attempts. A run that never logged
    lasted from when it was handed out until it was last heard of.
    """
    said = runtime_s(summary)
    until_s = now_s if is_live else heard_s
    if said is not None:
        spoke_s = summary.get("_timestamp")
        since_s = now_s - _as_float(spoke_s) if is_live and _is_number(spoke_s) else 0.0
        return said + max(0.0, since_s)
    return None if created_s is None or until_s is None else max(0.0, until_s - created_s)


def value_at(summary: Mapping[str, Any], name: str) -> object:
    """Give what stands under a name, flat or along its dots; None when there is nothing."""
    if summary.get(name) is not None:
        return summary[name]
    found: object = summary
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _aggregate(value: object, goal: str | None) -> object:
    """Give the one of `define_metric`'s aggregates that stands for a run."""
    if not isinstance(value, Mapping):
        return value
    for key in _AGGREGATES["maximize" if goal == "maximize" else "minimize"]:
        if value.get(key) is not None:
            return value[key]
    return value or None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
