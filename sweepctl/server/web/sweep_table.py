"""The table of a sweep's runs: which runs in which order, and runs that differ by one parameter.

Pure. It takes all runs of the sweep and what the reader asks; a column is a number or a text for
each run.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.figures import RunFacts
from sweepctl.figures.facts import is_number
from sweepctl.figures.trends import mean_interval
from sweepctl.figures.values import Parameter, parameter
from sweepctl.server.store.run_store import RunOutline
from sweepctl.server.web import wording
from sweepctl.server.web.sweep_content import SweepContent
from sweepctl.server.web.table_query import (
    Cell,
    Condition,
    Range,
    TableQuery,
    conditions_text,
    number_in,
    written,
)

ROWS = 100
"""The lines of one page of the table."""

RUN, STATE, DURATION, ATTEMPT, STEPS, HOST, CREATED = (
    *("run", "state", "duration", "attempt", "steps", "host", "created"),
)
_MOST_USUAL = 8
_SEEDS = ("seed", "random_seed", "random-seed")

Line = tuple[RunOutline, RunFacts]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: where its cells come from."""

    name: str
    """As the address has it: that of a parameter which is called like another column has `param.`
    before it."""
    title: str
    kind: str
    """`own`, `metric` or `parameter`."""


@dataclass(frozen=True, slots=True)
class Group:
    """The runs that differ by one parameter alone."""

    settings: tuple[Cell, ...]
    """Of the other parameters, in the order of their columns."""
    runs: int
    measured: int
    """How many of them have finished with a metric."""
    mean: float | None
    low: float | None
    high: float | None
    best: float | None
    where: str
    """The condition that these runs meet."""


class SweepTable:
    """The columns of a sweep, and its runs as a query wants them."""

    def __init__(self, content: SweepContent) -> None:
        self._content = content
        self.is_maximized = content.sweep.goal == "maximize"
        own = [Column(name, name.capitalize(), "own") for name in _OWN]
        metric = content.sweep.metric
        taken = set(_OWN)
        measured = []
        if metric is not None:
            name = f"metric.{metric}" if metric in taken else metric
            taken.add(name)
            measured.append(Column(name, metric, "metric"))
        self.parameters = [
            Column(f"param.{name}" if name in taken else name, name, "parameter")
            for name in content.facts.searched
        ]
        first, last = own[:2], own[2:]
        self.columns = [*first, *measured, *self.parameters, *last]
        self._by_name = {column.name: column for column in self.columns}
        self.metric = measured[0] if measured else None

    @property
    def seeds(self) -> list[Column]:
        """Give the parameters to put runs together by: those that look like a seed come first."""
        return sorted(self.parameters, key=lambda column: not _is_seed(column.title))

    def shown(self, query: TableQuery) -> tuple[list[Column], list[str]]:
        """Give the columns to show, and what is wrong with those that were asked for."""
        if not query.columns:
            usual = {column.name for column in self.parameters[:_MOST_USUAL]}
            return [
                column
                for column in self.columns
                if (column.kind != "parameter" or column.name in usual) and column.name != STEPS
            ], []
        found = [column for column in self.columns if column.name in {RUN, *query.columns}]
        unknown = [name for name in query.columns if name not in self._by_name]
        return found, [self._unknown("column", name) for name in unknown]

    def runs(self, query: TableQuery) -> tuple[list[Line], list[str]]:
        """Give the runs that meet the query, in its order, and what is wrong with it."""
        lines = list(zip(self._content.outlines, self._content.facts.runs, strict=True))
        problems: list[str] = []
        for condition in query.conditions:
            column = self._by_name.get(condition.column)
            if column is None:
                problems.append(self._unknown("where", condition.column))
                continue
            cell = self.cells(column)
            lines = [line for line in lines if condition.holds(cell(line))]
        for wanted in query.ranges:
            keep = self._in_range(wanted)
            if isinstance(keep, str):
                problems.append(keep)
            else:
                lines = [line for line in lines if keep(line)]
        if query.sort and query.sort not in self._by_name:
            problems.append(self._unknown("sort", query.sort))
        column = self._by_name.get(query.sort) or self.metric
        is_descending = query.is_descending if query.sort else self.is_maximized
        return self._sorted(lines, column, is_descending=is_descending), problems

    def groups(self, lines: Sequence[Line], over: Column, query: TableQuery) -> list[Group]:
        """Put runs together that differ by one parameter alone, the best mean first.

        The query may order them by another parameter, or by the mean the other way round.
        """
        others = [column for column in self.parameters if column is not over]
        cells = [self.cells(column) for column in others]
        found: dict[tuple[Cell, ...], list[Line]] = {}
        for line in lines:
            found.setdefault(tuple(cell(line) for cell in cells), []).append(line)
        groups = [self._group(settings, of, others) for settings, of in found.items()]
        is_descending = query.is_descending if query.sort else self.is_maximized
        sign = -1 if is_descending else 1
        groups.sort(key=lambda each: (each.mean is None, sign * (each.mean or 0.0), -each.runs))
        at = next((at for at, each in enumerate(others) if each.name == query.sort), None)
        if at is not None:

            def place(each: Group) -> tuple[float, str]:
                cell = each.settings[at]
                return (cell, "") if isinstance(cell, float) else (math.inf, cell or "")

            groups.sort(key=place, reverse=is_descending)
        return groups

    def column(self, name: str) -> Column | None:
        """Find a column by its name in an address."""
        return self._by_name.get(name)

    def parameter_to_merge(self, name: str) -> tuple[Column | None, list[str]]:
        """Find the parameter that runs are to be put together by."""
        column = self._by_name.get(name)
        if not name or (column is not None and column.kind == "parameter"):
            return column, []
        return None, [self._unknown("over", name, self.parameters)]

    def cells(self, column: Column) -> Callable[[Line], Cell]:
        """Give what reads a column's cell of a run."""
        if column.kind == "metric":
            return lambda line: line[1].metric
        if column.kind == "parameter":
            name = column.title
            return lambda line: cell_of(line[1].parameters.get(name))
        return _OWN[column.name]

    def _sorted(
        self, lines: list[Line], column: Column | None, *, is_descending: bool
    ) -> list[Line]:
        if column is None:
            return lines[::-1]
        cell, sign = self.cells(column), -1 if is_descending else 1
        numbers, texts, without = [], [], []
        for line in lines:
            value = cell(line)
            if isinstance(value, float):
                numbers.append(
                    (
                        sign * value,
                        sign * line[0].pk if column.name == CREATED else line[0].pk,
                        line,
                    )
                )
            elif value is None:
                without.append(line)
            else:
                texts.append((value.casefold(), line))
        numbers.sort(key=lambda each: each[:2])
        texts.sort(key=lambda each: each[0], reverse=is_descending)
        without.sort(key=lambda line: -line[0].pk)
        return [*(each[2] for each in numbers), *(each[1] for each in texts), *without]

    def _in_range(self, wanted: Range) -> Callable[[Line], bool] | str:
        """Give the test that a range is, or say what is wrong with it."""
        among = [*self.parameters, *self.measured]
        column = next((each for each in among if wanted.column in (each.name, each.title)), None)
        if column is None:
            return self._unknown("range", wanted.column, among)
        low, high = number_in(wanted.low), number_in(wanted.high)
        if column.kind == "metric":
            finished = self._content.facts.finished
            return _between(low, high, {run.id: run.metric or 0.0 for run in finished}, wanted)
        axis = parameter(
            column.title,
            self._content.facts.finished,
            self._content.facts.forms.get(column.title),
        )
        if not isinstance(axis, Parameter):
            return f"range {wanted} is left out: {axis}"
        if axis.is_category:
            names = list(axis.axis.names)
            if wanted.low not in names or wanted.high not in names:
                return f"range {wanted} is left out: {column.title} is one of {', '.join(names)}"
            low, high = float(names.index(wanted.low)), float(names.index(wanted.high))
        return _between(low, high, axis.values, wanted)

    def _group(
        self, settings: tuple[Cell, ...], lines: Sequence[Line], others: Sequence[Column]
    ) -> Group:
        metrics = [run.metric for _, run in lines if run.is_ranked and run.metric is not None]
        mean, low, high = mean_interval(metrics) if metrics else (None, None, None)
        better = max if self.is_maximized else min
        conditions = [
            Condition(column.name, "=", written(value))
            for column, value in zip(others, settings, strict=True)
            if value is not None
        ]
        return Group(
            settings,
            len(lines),
            len(metrics),
            mean,
            low if len(metrics) > 1 else None,
            high if len(metrics) > 1 else None,
            better(metrics, default=None),
            conditions_text(conditions),
        )

    @property
    def measured(self) -> list[Column]:
        """Give the column of the metric, where there is one."""
        return [self.metric] if self.metric is not None else []

    def _unknown(self, part: str, name: str, among: Sequence[Column] | None = None) -> str:
        names = [column.name for column in (self.columns if among is None else among)]
        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:20])}"
        return f"{part}: there is no column {name!r}: {hint}"


def cell_of(value: object) -> Cell:
    """Give a parameter's value as a cell."""
    if is_number(value) and isinstance(value, int | float):
        return float(value)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def texts_of(settings: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, str]:
    """Give the cells of a run's parameters as texts, by the column's name."""
    texts = wording.values_at(settings, [column.title for column in columns])
    return {column.name: text for column, text in zip(columns, texts, strict=True)}


def _between(
    low: float | None, high: float | None, places: Mapping[str, float], wanted: Range
) -> Callable[[Line], bool] | str:
    if low is None or high is None:
        return f"range {wanted} is left out: its ends are numbers, like {wanted.column}:0.1..0.5"
    inside = {run for run, place in places.items() if low <= place <= high}
    return lambda line: line[1].id in inside


def _is_seed(name: str) -> bool:
    last = name.replace("/", ".").rpartition(".")[2].lower()
    return last in _SEEDS or last.endswith("_seed")


_OWN: dict[str, Callable[[Line], Cell]] = {
    RUN: lambda line: line[1].label,
    STATE: lambda line: line[1].state,
    DURATION: lambda line: line[1].duration_s,
    ATTEMPT: lambda line: float(line[0].attempt),
    STEPS: lambda line: float(line[0].last_step + 1),
    HOST: lambda line: line[0].host or None,
    CREATED: lambda line: line[0].created,
}
