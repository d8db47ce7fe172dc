"""Search: which parameters the next run of a sweep gets. Pure: the caller gives the `rng`.

The order of a grid is that of W&B's engine (https://github.com/wandb/sweeps, `grid_search.py`). It
refuses what cannot be searched: a continuous range in a grid, a parameter that no distribution
fits. Bayes is checked here and left to an engine of the server.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.search.distributions import MAX_VALUES, Parameter, SearchError, named, read_parameter
from sweepctl_pod.errors import nearest

Params = dict[str, Any]

BAYES = "bayes"
METHODS = ("grid", "random", BAYES)

MAX_RUNS = 2**31 - 1
"""The most runs that W&B's whole numbers can count."""

_WEIGHTED = "categorical_w_probabilities"

_TOP_LEVEL_KEYS = frozenset(
    {
        "apiVersion",
        "kind",
        "controller",
        "description",
        "program",
        "job",
        "image_uri",
        "entity",
        "project",
        "method",
        "command",
        "name",
        "run_cap",
        "metric",
        "metrics",
        "scheduler",
        "early_terminate",
        "parameters",
    }
)


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that the sweep already has; `params` are the ones it was handed out with."""

    params: Mapping[str, Any]


def next_params(
    spec: Mapping[str, Any], runs: Sequence[PastRun], rng: random.Random
) -> Params | None:
    """Choose the parameters of the next run; None when the grid is exhausted.

    A SearchError says why the configuration cannot be searched.
    """
    method = _method(spec)
    if method == BAYES:
        raise SearchError("method bayes: an engine that learns chooses its parameters")
    if method == "random":
        return nested((leaf.path, leaf.parameter.sample(rng)) for leaf in leaves(spec))
    grid = Grid(spec)
    for run in runs:
        grid.mark_used(run)
    return grid.first_unused()


class Grid:
    """The points of a grid in W&B's order, and which of them runs have used.

    Used points are only added, so the search continues from the point that it found last.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._axes = [_axis(leaf) for leaf in leaves(spec)]
        self._numbers = [
            {key_of(value): number for number, value in enumerate(axis.values)}
            for axis in self._axes
        ]
        self._used: set[tuple[int, ...]] = set()
        self._points = itertools.product(*(range(len(axis.values)) for axis in self._axes))
        self._point = next(self._points, None)

    def mark_used(self, run: PastRun) -> None:
        """Mark the point of a run as used; a run off the grid marks none."""
        point = []
        for axis, numbers in zip(self._axes, self._numbers, strict=True):
            number = numbers.get(key_of(value_at(run.params, axis.path)))
            if number is None:
                return
            point.append(number)
        self._used.add(tuple(point))

    def first_unused(self) -> Params | None:
        """Give the first point that no run has; None when there is none left."""
        while self._point is not None and self._point in self._used:
            self._point = next(self._points, None)
        if self._point is None:
            return None
        return nested(
            (axis.path, axis.values[number])
            for axis, number in zip(self._axes, self._point, strict=True)
        )


def wrapped(params: Mapping[str, Any]) -> dict[str, Any]:
    """Give parameters in W&B's form of a config: {name: {"value": v}}."""
    return {name: {"value": value} for name, value in params.items()}


def expected_run_count(spec: Mapping[str, Any]) -> int | None:
    """Give how many runs the sweep will have; None when it is endless, or beyond counting."""
    cap = spec.get("run_cap")
    if _method(spec) in ("random", BAYES):
        return cap
    count = math.prod(len(_axis(leaf).values) for leaf in leaves(spec))
    count = count if cap is None else min(count, cap)
    return count if count <= MAX_RUNS else None


def check_config(spec: object) -> list[str]:
    """Give warnings about a configuration; a SearchError says why it cannot be searched."""
    if not isinstance(spec, Mapping):
        raise SearchError(f"a sweep's configuration is a map, not {named(spec)}")
    method = _method(spec)
    problems = [*_problems_outside_parameters(spec), *_problems_of_parameters(spec, method)]
    if problems:
        raise SearchError("; ".join(problems))
    return _warnings(spec)


def _method(spec: Mapping[str, Any]) -> str:
    method = spec.get("method")
    if method not in METHODS:
        near = nearest(method, METHODS) if isinstance(method, str) else None
        hint = f"; did you mean {near}?" if near else "; write grid, random or bayes"
        found = "no method is given" if method is None else f"unknown method {method!r}"
        raise SearchError(found + hint)
    return str(method)


def probabilities(spec: Mapping[str, Any]) -> list[str]:
    """Name the parameters whose values have probabilities: W&B's engine for bayes takes none."""
    return [x.name for x in leaves(spec) if x.parameter.distribution == _WEIGHTED]


def _problems_outside_parameters(spec: Mapping[str, Any]) -> Iterator[str]:
    cap = spec.get("run_cap")
    if cap is not None and (type(cap) is not int or not 1 <= cap <= MAX_RUNS):
        yield f"run_cap: expected a whole number from 1, found {cap!r}"
    metric = spec.get("metric")
    if metric is None:
        if spec.get("method") == BAYES:
            yield "metric: bayes needs one to learn from; write metric: {name: ..., goal: ...}"
        elif spec.get("early_terminate") is not None:
            yield "metric: early_terminate needs one to compare runs by"
    if metric is not None:
        if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
            yield f"metric: expected a map with a name, found {metric!r}"
        elif metric.get("goal", "minimize") not in ("minimize", "maximize"):
            yield f"metric.goal: expected minimize or maximize, found {metric['goal']!r}"
    command = spec.get("command")
    if command is not None and not isinstance(command, list):
        yield f"command: expected a list of arguments, found {command!r}"


def _problems_of_parameters(spec: Mapping[str, Any], method: str) -> Iterator[str]:
    parameters = spec.get("parameters")
    searched = 0
    several = parameters if isinstance(parameters, Mapping) and parameters else {None: None}
    for name in several:
        alone = {"parameters": parameters if name is None else {name: several[name]}}
        try:
            for leaf in leaves(alone):
                if method == "grid":
                    _axis(leaf)
                searched += leaf.parameter.distribution != "constant"
        except SearchError as error:
            searched += 1
            yield error.message
    if method == BAYES and not searched:
        yield "parameters: bayes needs one to search, and all of these are constants"


def _warnings(spec: Mapping[str, Any]) -> list[str]:
    found = []
    for key in sorted(str(key) for key in spec if key not in _TOP_LEVEL_KEYS):
        near = nearest(key, _TOP_LEVEL_KEYS)
        found.append(f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else ""))
    for leaf in leaves(spec):
        if leaf.parameter.distribution in ("log_uniform", "inv_log_uniform", "q_log_uniform"):
            found.append(
                f"{leaf.name}: min and max of {leaf.parameter.distribution} are exponents of e;"
                f" use {leaf.parameter.distribution}_values to give the limits themselves"
            )
    return found


@dataclass(frozen=True, slots=True)
class Leaf:
    """One parameter, where it lies in nested ones, and as it was written."""

    path: tuple[str, ...]
    parameter: Parameter
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its path with dots."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class _GridAxis:
    path: tuple[str, ...]
    values: Sequence[Any]


def leaves(spec: Mapping[str, Any]) -> list[Leaf]:
    """Flatten the parameters in W&B's order: sorted by name at every level."""
    parameters = spec.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise SearchError("parameters: expected a map with at least one parameter")
    return list(_walk(parameters, ()))


def _walk(parameters: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[Leaf]:
    for name in parameters:
        if not isinstance(name, str):
            raise SearchError(f"parameters: the name {name!r} is not text; put it in quotes")
    for name in sorted(parameters):
        path = (*above, name)
        config = parameters[name]
        shown = ".".join(path)
        if not isinstance(config, Mapping):
            raise SearchError(
                f"{shown}: expected a map such as {{value: {config!r}}}, found {named(config)}"
            )
        if "parameters" in config:
            inner = config["parameters"]
            if len(config) > 1 or not isinstance(inner, Mapping) or not inner:
                raise SearchError(
                    f"{shown}: a nested parameter holds `parameters`, a map, and nothing else"
                )
            yield from _walk(inner, path)
        else:
            yield Leaf(path, read_parameter(shown, config), config)


def nested(pairs: Iterable[tuple[tuple[str, ...], Any]]) -> Params:
    """Give parameters with nested ones in maps of their own."""
    params: Params = {}
    for path, value in pairs:
        place = params
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return params


def _axis(leaf: Leaf) -> _GridAxis:
    values = leaf.parameter.values
    if values is None:
        raise SearchError(
            f"{leaf.name}: a grid needs values to try, and {leaf.parameter.distribution} has none;"
            " give `values: [...]` or q_uniform, or use `method: random`"
        )
    if len(values) > MAX_VALUES:
        raise SearchError(f"{leaf.name}: a grid takes at most {MAX_VALUES} values of a parameter")
    distinct: dict[str, Any] = {}
    for value in values:
        distinct.setdefault(key_of(value), value)
    return _GridAxis(leaf.path, list(distinct.values()))


MISSING = object()
"""What `value_at` gives where there is nothing."""


def value_at(params: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Give the value at a path of nested parameters."""
    value: Any = params
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def key_of(value: Any) -> str:
    """Write a value so that equal values are written alike: 3e6, 3000000.0 and 3000000 are one."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if type(value) is int:
        return str(value)
    return "" if value is MISSING else json.dumps(value, sort_keys=True, default=str)
