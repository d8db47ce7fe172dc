"""What figures are made of: the facts of a sweep, from wherever they were read.

Whoever reads a sweep (server, command line, notebook) fills these in. A number that is not finite
counts as not there, everywhere: `SweepFacts.finished` and `Curve.along` are the places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sweepctl.search.metric import Metric
from sweepctl_pod.run_record import Attempt
from sweepctl_pod.wandb.states import ENDED_WELL

Along = Literal["step", "iteration", "time"]
"""What a curve is drawn over; time is hours since the run began."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A run's metric as it was logged, the oldest first; a list that is empty is not recorded."""

    values: Sequence[float]
    steps: Sequence[float] = ()
    iterations: Sequence[float] = ()
    times_s: Sequence[float] = ()
    """Seconds since the run began."""

    def along(self, over: Along) -> list[tuple[float, float]]:
        """Give the points that have both numbers, in the order of x."""
        places = {"step": self.steps, "iteration": self.iterations, "time": self.times_s}[over]
        unit = 3600.0 if over == "time" else 1.0
        pairs = zip(places, self.values, strict=False)
        # Only isfinite for each point: 5,000 runs have half a million of them.
        return sorted((at / unit, y) for at, y in pairs if math.isfinite(at) and math.isfinite(y))


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run. `metric` is its last or best value, as its sweep ranks it."""

    id: str
    state: str
    metric: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    link: str = ""
    """The address of its page, where there is one."""
    created_s: float | None = None
    duration_s: float | None = None
    agent: str = ""
    gpus: int | None = None
    """How many GPUs its agent has; None where that is not recorded."""
    attempts: Sequence[Attempt] = ()

    is_ranked: bool = field(init=False, repr=False)
    """Whether it has finished, with a number as its metric; figures ask for it again and again."""

    def __post_init__(self) -> None:
        is_ranked = self.state in ENDED_WELL and is_number(self.metric)
        object.__setattr__(self, "is_ranked", is_ranked)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """A sweep and its runs, in the order in which the runs were created."""

    metric: Metric | None
    runs: Sequence[RunFacts]
    searched: Sequence[str] = ()
    """The parameters that the sweep varies, in the order of its file."""
    forms: Mapping[str, Any] = field(default_factory=dict)
    """Each parameter as the sweep's config has it: its distribution, base dictionary and so on."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """By the run's id."""
    now_s: float | None = None
    heard_s: Mapping[str, float] = field(default_factory=dict)
    """When each agent was last heard, by its name, where that is known."""

    @property
    def finished(self) -> list[RunFacts]:
        """Give the finished runs whose metric is a number, in the order of their creation."""
        return [run for run in self.runs if run.is_ranked]

    @property
    def ranked(self) -> list[RunFacts]:
        """Give the finished runs, best first."""
        sign = -1.0 if self.metric is not None and self.metric.goal == "maximize" else 1.0
        return sorted(self.finished, key=lambda run: sign * number(run.metric))

    @property
    def metric_name(self) -> str:
        """Name the metric."""
        return self.metric.name if self.metric is not None else "metric"

    @property
    def goal(self) -> str:
        """Say which values are better."""
        return "higher" if self.metric and self.metric.goal == "maximize" else "lower"

    def why_nothing_ranked(self) -> str:
        """Say why there is no ranking; nothing where there is one."""
        if self.metric is None:
            return "The sweep names no metric."
        if not self.runs:
            return "The sweep has no runs yet."
        if self.finished:
            return ""
        if any(run.state in ENDED_WELL for run in self.runs):
            return f"No finished run has logged {self.metric_name} as a number."
        return f"No run has finished yet; the sweep has {counted(len(self.runs), 'run')}."


def is_number(value: object) -> bool:
    """Say whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def number(value: object) -> float:
    """Give a value of which `is_number` is true as a float."""
    assert isinstance(value, (int, float))
    return float(value)


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: `1 run`, `5,000 runs`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
