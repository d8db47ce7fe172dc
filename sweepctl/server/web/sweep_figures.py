"""The figures of a sweep's page: each has an address of its own and is fetched when it is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from anyio import to_thread

from sweepctl.figures import (
    Figure,
    best_so_far,
    fleet_timeline,
    gains_of_the_best,
    gpu_hours,
    importance,
    metric_by_parameter,
    metric_over_steps,
    parallel_coordinates,
)
from sweepctl.server.web.measuring import Measuring
from sweepctl.server.web.sweep_content import MOST_CURVES, SweepContent, SweepReader
from sweepctl.server.web.table_query import TableQuery


@dataclass(frozen=True, slots=True)
class Named:
    """A figure of the page, and the parts of the query that change it."""

    name: str
    title: str
    options: tuple[str, ...] = ()
    is_measured: bool = False
    """It takes seconds, in a process apart."""


CURVES = Named("metric-over-steps", "The metric of all runs", ("x", "smooth", "log"))
BEST = Named("best-so-far", "The best so far", ("log",))
PARALLEL = Named("parallel-coordinates", "Parameters side by side")
ABOVE = (CURVES, PARALLEL)
"""What stands above the table of runs, with the best so far, which is part of the page."""

BELOW = (
    Named("importance", "What matters", is_measured=True),
    Named("metric-by-parameter", "The metric by parameter"),
    Named("gains", "Gains of the best run"),
    Named("gpu-hours", "Where the GPU-hours went"),
    Named("fleet", "The agents over time"),
)
FIGURES = {each.name: each for each in (*ABOVE, BEST, *BELOW)}


class SweepFigures:
    """Draws the figures of sweeps. What matters is measured by a process apart, one at a time."""

    def __init__(self, reader: SweepReader) -> None:
        self._reader = reader
        self._measuring = Measuring()
        drawn: Mapping[str, Callable[[SweepContent, TableQuery], Figure]] = {
            "metric-over-steps": self._curves,
            "best-so-far": best_of,
            "parallel-coordinates": lambda content, _: parallel_coordinates(content.facts),
            "metric-by-parameter": lambda content, _: metric_by_parameter(content.facts),
            "gains": lambda content, _: gains_of_the_best(content.facts),
            "gpu-hours": lambda content, _: gpu_hours(reader.with_attempts(content)),
            "fleet": lambda content, _: fleet_timeline(reader.with_attempts(content)),
        }
        self._drawn = drawn

    def close(self) -> None:
        """End what would go on for long: the server ends."""
        self._measuring.close()

    async def figure(self, name: str, content: SweepContent, query: TableQuery) -> Figure:
        """Draw one of `FIGURES`."""
        if FIGURES[name].is_measured:
            facts = content.facts
            found = await self._measuring.measured(facts) if facts.finished else None
            return await to_thread.run_sync(lambda: importance(facts, found))
        return await to_thread.run_sync(lambda: self._drawn[name](content, query))

    def _curves(self, content: SweepContent, query: TableQuery) -> Figure:
        facts = self._reader.with_curves(content)
        over: Any = query.x
        figure = metric_over_steps(facts, over=over, smoothing=query.smooth, is_log=query.is_log)
        of = len(content.facts.runs)
        if len(facts.runs) == of or not figure.svg:
            return figure
        note = (
            f"{MOST_CURVES} of {of:,} runs are read and drawn: the best ten, and an even choice of"
            " the others."
        )
        return replace(figure, notes=[note, *figure.notes])


def best_of(content: SweepContent, query: TableQuery) -> Figure:
    """Draw the best so far."""
    return best_so_far(content.facts, is_log=query.is_log)
