"""Search: which parameters the next run of a sweep gets. Pure: no clock, no I/O, the rng comes in.

The distributions, their defaults and the order of a grid are those of W&B's engine
(https://github.com/wandb/sweeps, `params.py`, `grid_search.py`). It refuses what it cannot search:
bayes, a continuous range in a grid, a parameter that no distribution fits.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from sweepctl.errors import SweepctlError, nearest

Params = dict[str, Any]

METHODS = ("grid", "random")

_MAX_VALUES = 100_000
"""The most values that one parameter of a grid may have."""

_MAX_EXPONENT = 700.0
"""exp() of more than this is no float any more."""

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


class SearchError(SweepctlError):
    """The sweep's configuration cannot be searched; the message names the parameter and why."""


def next_params(
    spec: Mapping[str, Any], runs: Sequence[PastRun], rng: random.Random
) -> Params | None:
    """Choose the parameters of the next run; None when the grid is exhausted."""
    method = _method(spec)
    leaves = _leaves(spec)
    if method == "random":
        return _nested((leaf.path, leaf.parameter.sample(rng)) for leaf in leaves)
    axes = [_axis(leaf) for leaf in leaves]
    numbers = _first_unseen(axes, runs)
    if numbers is None:
        return None
    return _nested(
        (axis.path, axis.values[number]) for axis, number in zip(axes, numbers, strict=True)
    )


def sample(spec: Mapping[str, Any], rng: random.Random) -> Params:
    """Draw one set of parameters at random, whatever the method: what a preview shows."""
    return _nested((leaf.path, leaf.parameter.sample(rng)) for leaf in _leaves(spec))


def expected_run_count(spec: Mapping[str, Any]) -> int | None:
    """Give how many runs the sweep will have; None when it is endless."""
    cap = spec.get("run_cap")
    if _method(spec) == "random":
        return cap
    count = math.prod(len(_axis(leaf).values) for leaf in _leaves(spec))
    return count if cap is None else min(count, cap)


def check(spec: object) -> list[str]:
    """Give warnings about a configuration; a SearchError tells why it cannot be searched."""
    if not isinstance(spec, Mapping):
        raise SearchError(f"a sweep's configuration is a map, not {_named(spec)}")
    method = _method(spec)
    problems = [*_problems_outside_parameters(spec)]
    try:
        leaves = _leaves(spec)
        if method == "grid":
            for leaf in leaves:
                _axis(leaf)
    except SearchError as error:
        problems.append(error.message)
    if problems:
        raise SearchError("; ".join(problems))
    return _warnings(spec)


def _method(spec: Mapping[str, Any]) -> str:
    method = spec.get("method")
    if method == "bayes":
        raise SearchError(
            "method bayes: the embedded server searches by grid or random only;"
            " write `method: random` (with a run_cap), or create this sweep on W&B"
        )
    if method not in METHODS:
        near = nearest(method, METHODS) if isinstance(method, str) else None
        hint = f"; did you mean {near}?" if near else "; write grid or random"
        found = "no method is given" if method is None else f"unknown method {method!r}"
        raise SearchError(found + hint)
    return str(method)


def _problems_outside_parameters(spec: Mapping[str, Any]) -> Iterator[str]:
    cap = spec.get("run_cap")
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
        yield f"run_cap: expected a whole number from 1, found {cap!r}"
    metric = spec.get("metric")
    if metric is not None:
        if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
            yield f"metric: expected a map with a name, found {metric!r}"
        elif metric.get("goal", "minimize") not in ("minimize", "maximize"):
            yield f"metric.goal: expected minimize or maximize, found {metric['goal']!r}"
    command = spec.get("command")
    if command is not None and not isinstance(command, list):
        yield f"command: expected a list of arguments, found {command!r}"


def _warnings(spec: Mapping[str, Any]) -> list[str]:
    found = []
    if spec.get("early_terminate") is not None:
        found.append(
            "early_terminate: the embedded server does not stop runs early yet;"
            " all runs train to their end"
        )
    for key in sorted(str(key) for key in spec if key not in _TOP_LEVEL_KEYS):
        near = nearest(key, _TOP_LEVEL_KEYS)
        found.append(f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else ""))
    for leaf in _leaves(spec):
        if leaf.parameter.distribution in ("log_uniform", "inv_log_uniform", "q_log_uniform"):
            found.append(
                f"{leaf.name}: min and max of {leaf.parameter.distribution} are exponents of e;"
                f" use {leaf.parameter.distribution}_values to give the limits themselves"
            )
    return found


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter with a distribution; `values` are its grid values where it has any."""

    distribution: str
    sample: Callable[[random.Random], Any]
    values: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: tuple[str, ...]
    parameter: _Parameter

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class _Axis:
    path: tuple[str, ...]
    values: Sequence[Any]


def _leaves(spec: Mapping[str, Any]) -> list[_Leaf]:
    """Flatten the parameters in W&B's order: sorted by name at every level."""
    parameters = spec.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise SearchError("parameters: expected a map with at least one parameter")
    return list(_walk(parameters, ()))


def _walk(parameters: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[_Leaf]:
    for name in parameters:
        if not isinstance(name, str):
            raise SearchError(f"parameters: the name {name!r} is not text; put it in quotes")
    for name in sorted(parameters):
        path = (*above, name)
        config = parameters[name]
        shown = ".".join(path)
        if not isinstance(config, Mapping):
            raise SearchError(
                f"{shown}: expected a map such as {{value: {config!r}}}, found {_named(config)}"
            )
        if "parameters" in config:
            nested = config["parameters"]
            if len(config) > 1 or not isinstance(nested, Mapping) or not nested:
                raise SearchError(
                    f"{shown}: a nested parameter holds `parameters`, a map, and nothing else"
                )
            yield from _walk(nested, path)
        else:
            yield _Leaf(path, _parameter(shown, config))


def _nested(pairs: Iterator[tuple[tuple[str, ...], Any]]) -> Params:
    params: Params = {}
    for path, value in pairs:
        place = params
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return params


def _axis(leaf: _Leaf) -> _Axis:
    values = leaf.parameter.values
    if values is None:
        raise SearchError(
            f"{leaf.name}: a grid needs values to try, and {leaf.parameter.distribution} has none;"
            " give `values: [...]` or q_uniform, or use `method: random`"
        )
    if len(values) > _MAX_VALUES:
        raise SearchError(
            f"{leaf.name}: {len(values)} values are too many for a grid (at most {_MAX_VALUES})"
        )
    distinct = {_key(value): value for value in reversed(values)}
    return _Axis(leaf.path, list(reversed(distinct.values())))


def _first_unseen(axes: Sequence[_Axis], runs: Sequence[PastRun]) -> tuple[int, ...] | None:
    """Give the first point of the grid, as numbers of values, that no run has."""
    number_of = [{_key(value): n for n, value in enumerate(axis.values)} for axis in axes]
    seen = set()
    for run in runs:
        point = []
        for axis, numbers in zip(axes, number_of, strict=True):
            number = numbers.get(_key_at(run.params, axis.path))
            if number is None:
                break
            point.append(number)
        else:
            seen.add(tuple(point))
    points = itertools.product(*(range(len(axis.values)) for axis in axes))
    return next((point for point in points if point not in seen), None)


def _key_at(params: Mapping[str, Any], path: Sequence[str]) -> str:
    """Write the value at a path as `_key` does; "" when there is none."""
    value: Any = params
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return ""
        value = value[key]
    return _key(value)


def _key(value: Any) -> str:
    """Write a value so that equal values are written alike: 3e6, 3000000.0 and 3000000 are one."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if type(value) is int:
        return str(value)
    return json.dumps(value, sort_keys=True, default=str)


def _parameter(name: str, config: Mapping[str, Any]) -> _Parameter:
    distribution: Any
    distribution = config["distribution"] if "distribution" in config else _implied(name, config)
    if distribution not in _KEYS:
        near = nearest(str(distribution), _KEYS)
        raise SearchError(
            f"{name}: unknown distribution {distribution!r}"
            + (f"; did you mean {near}?" if near else "")
        )
    required, optional = _KEYS[distribution]
    for key in required:
        if key not in config:
            raise SearchError(f"{name}: {distribution} needs {key!r}")
    for key in config:
        if key != "distribution" and key not in required and key not in optional:
            raise SearchError(
                f"{name}: {distribution} has no key {key!r}"
                f" (it has {', '.join((*required, *optional))})"
            )
    if distribution == "constant":
        value = config["value"]
        return _Parameter(distribution, lambda rng: value, [value])
    if distribution in ("categorical", "categorical_w_probabilities"):
        return _categorical(name, distribution, config)
    return _numeric(name, distribution, config)


_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constant": (("value",), ()),
    "categorical": (("values",), ()),
    "categorical_w_probabilities": (("values", "probabilities"), ()),
    "int_uniform": (("min", "max"), ()),
    "uniform": (("min", "max"), ()),
    "q_uniform": (("min", "max"), ("q",)),
    "log_uniform": (("min", "max"), ()),
    "log_uniform_values": (("min", "max"), ()),
    "q_log_uniform": (("min", "max"), ("q",)),
    "q_log_uniform_values": (("min", "max"), ("q",)),
    "inv_log_uniform": (("min", "max"), ()),
    "inv_log_uniform_values": (("min", "max"), ()),
    "normal": ((), ("mu", "sigma")),
    "q_normal": ((), ("mu", "sigma", "q")),
    "log_normal": ((), ("mu", "sigma")),
    "q_log_normal": ((), ("mu", "sigma", "q")),
    "beta": ((), ("a", "b")),
    "q_beta": ((), ("a", "b", "q")),
}
"""The distributions of W&B: the keys that each needs and the keys that each may have."""


def _implied(name: str, config: Mapping[str, Any]) -> str:
    """Give the distribution that W&B takes when none is named."""
    if "values" in config:
        return "categorical_w_probabilities" if "probabilities" in config else "categorical"
    if "value" in config:
        return "constant"
    if "min" in config and "max" in config:
        whole = all(type(config[key]) is int for key in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise SearchError(
        f"{name}: expected value, values, or min and max (or a distribution), found"
        f" {', '.join(map(str, config)) or 'nothing'}"
    )


def _categorical(name: str, distribution: str, config: Mapping[str, Any]) -> _Parameter:
    values = config["values"]
    if not isinstance(values, list) or not values:
        raise SearchError(
            f"{name}.values: expected a list with at least one value, found {values!r}"
        )
    if distribution == "categorical":
        return _Parameter(distribution, lambda rng: rng.choice(values), values)
    weights = config["probabilities"]
    if not isinstance(weights, list) or len(weights) != len(values):
        raise SearchError(f"{name}.probabilities: expected one number for each of the values")
    for weight in weights:
        if _number(f"{name}.probabilities", weight) < 0:
            raise SearchError(f"{name}.probabilities: {weight!r} is below 0")
    if not math.isclose(sum(weights), 1.0, rel_tol=1e-5, abs_tol=1e-8):
        raise SearchError(f"{name}.probabilities: they sum to {sum(weights):g}, not to 1")
    return _Parameter(distribution, lambda rng: rng.choices(values, weights)[0])


def _numeric(name: str, distribution: str, config: Mapping[str, Any]) -> _Parameter:
    numbers = {
        key: _number(f"{name}.{key}", value)
        for key, value in config.items()
        if key != "distribution"
    }
    if "min" in numbers and numbers["min"] >= numbers["max"]:
        raise SearchError(f"{name}: min {numbers['min']!r} is not less than max {numbers['max']!r}")
    if distribution == "int_uniform":
        for key in ("min", "max"):
            if not isinstance(config[key], int):
                raise SearchError(
                    f"{name}.{key}: int_uniform needs whole numbers, found {config[key]!r}"
                )
        low, high = config["min"], config["max"]
        return _Parameter(distribution, lambda rng: rng.randint(low, high), range(low, high + 1))
    draw = _continuous(name, distribution.removeprefix("q_"), numbers)
    if not distribution.startswith("q_"):
        return _Parameter(distribution, draw)
    step = numbers.get("q", 1.0)
    if step <= 0:
        raise SearchError(f"{name}.q: expected a number above 0, found {step!r}")
    values: Sequence[Any] | None = None
    if distribution == "q_uniform":
        low, high = numbers["min"], numbers["max"]
        count = math.ceil((high - low) / step)
        if count > _MAX_VALUES:
            values = range(count)
        else:
            values = [low + number * step for number in range(count)]
    # round() gives a whole number, so a whole q gives whole numbers and a float q floats: as W&B.
    return _Parameter(distribution, lambda rng: round(draw(rng) / step) * step, values)


def _continuous(
    name: str, distribution: str, numbers: Mapping[str, float]
) -> Callable[[random.Random], float]:
    """Give the function that draws a float from a continuous distribution."""
    if distribution == "uniform":
        return _between(float(numbers["min"]), float(numbers["max"]))
    if distribution in ("log_uniform", "inv_log_uniform"):
        low, high = numbers["min"], numbers["max"]
        if max(abs(low), abs(high)) > _MAX_EXPONENT:
            raise SearchError(
                f"{name}: min and max of {distribution} are exponents of e, and e^{high:g} is no"
                f" float; use {distribution}_values to give the limits themselves"
            )
        if distribution == "inv_log_uniform":
            low, high = -high, -low
        return _exponential(low, high, math.exp(low), math.exp(high))
    if distribution in ("log_uniform_values", "inv_log_uniform_values"):
        low, high = float(numbers["min"]), float(numbers["max"])
        if low <= 0:
            raise SearchError(f"{name}.min: {distribution} needs a number above 0, found {low!r}")
        return _exponential(math.log(low), math.log(high), low, high)
    if distribution == "beta":
        a, b = numbers.get("a", 1.0), numbers.get("b", 1.0)
        if a <= 0 or b <= 0:
            raise SearchError(f"{name}: beta needs a and b above 0")
        return lambda rng: rng.betavariate(a, b)
    return _normal(name, distribution, numbers)


def _normal(
    name: str, distribution: str, numbers: Mapping[str, float]
) -> Callable[[random.Random], float]:
    mu, sigma = float(numbers.get("mu", 0.0)), float(numbers.get("sigma", 1.0))
    if sigma < 0:
        raise SearchError(f"{name}.sigma: expected a number from 0, found {sigma!r}")
    is_log = distribution == "log_normal"
    if is_log and mu + 8 * sigma > _MAX_EXPONENT:
        raise SearchError(
            f"{name}: mu and sigma of log_normal are exponents of e; these are too big"
        )
    unit = NormalDist()

    def draw(rng: random.Random) -> float:
        x = 0.0
        while x == 0.0:
            x = rng.random()
        value = mu + sigma * unit.inv_cdf(x)
        return math.exp(value) if is_log else value

    return draw


def _between(low: float, high: float) -> Callable[[random.Random], float]:
    return lambda rng: min(max(low + rng.random() * (high - low), low), high)


def _exponential(
    low: float, high: float, smallest: float, largest: float
) -> Callable[[random.Random], float]:
    exponent = _between(low, high)
    return lambda rng: min(max(math.exp(exponent(rng)), smallest), largest)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        trap = ""
        if isinstance(value, str):
            with suppress(ValueError):
                trap = f" (YAML 1.1 reads it as text; write {_yaml_float(float(value))})"
        raise SearchError(f"{name}: expected a number, found {_named(value)}{trap}")
    if not math.isfinite(value):
        raise SearchError(f"{name}: expected a finite number, found {value!r}")
    return value


def _yaml_float(value: float) -> str:
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text


def _named(value: object) -> str:
    kinds = {
        str: "text",
        list: "a list",
        dict: "a map",
        bool: "a truth value",
        type(None): "nothing",
    }
    kind = kinds.get(type(value), type(value).__name__)
    return kind if value is None else f"{kind} ({value!r})"
