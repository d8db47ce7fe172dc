"""W&B's distributions: what each needs, how it is sampled, which values a grid takes from it. Pure.

Defaults, kinds of numbers and rounding are those of W&B's engine
(https://github.com/wandb/sweeps, `params.py` and `config/schema.json`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from sweepctl_pod.errors import SweepctlError, nearest
from sweepctl_pod.json_text import number_text

MAX_VALUES = 100_000
"""The most values that one parameter of a grid may have."""

_MAX_WHOLE = 2**63 - 1
_MAX_EXPONENT = 700.0
"""exp() of more than this is no float any more."""


class SearchError(SweepctlError):
    """The sweep's configuration cannot be searched; the message names the parameter and why."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter with a distribution; `values` are its grid values where it has any."""

    distribution: str
    sample: Callable[[random.Random], Any]
    values: Sequence[Any] | None = None


def read_parameter(name: str, config: Mapping[str, Any]) -> Parameter:
    """Read one parameter; a SearchError names it and what is wrong."""
    distribution: Any
    distribution = config["distribution"] if "distribution" in config else _implied(name, config)
    if not isinstance(distribution, str) or distribution not in _KEYS:
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
        return Parameter(distribution, lambda rng: value, [value])
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


def _categorical(name: str, distribution: str, config: Mapping[str, Any]) -> Parameter:
    values = config["values"]
    if not isinstance(values, list) or not values:
        raise SearchError(
            f"{name}.values: expected a list with at least one value, found {values!r}"
        )
    if distribution == "categorical":
        return Parameter(distribution, lambda rng: rng.choice(values), values)
    weights = config["probabilities"]
    if not isinstance(weights, list) or len(weights) != len(values):
        raise SearchError(f"{name}.probabilities: expected one number for each of the values")
    for weight in weights:
        if _number(f"{name}.probabilities", weight) < 0:
            raise SearchError(f"{name}.probabilities: {weight!r} is below 0")
    if not math.isclose(sum(weights), 1.0, rel_tol=1e-5, abs_tol=1e-8):
        raise SearchError(f"{name}.probabilities: they sum to {sum(weights):g}, not to 1")
    return Parameter(distribution, lambda rng: rng.choices(values, weights)[0])


def _numeric(name: str, distribution: str, config: Mapping[str, Any]) -> Parameter:
    numbers = {
        key: _number(f"{name}.{key}", value)
        for key, value in config.items()
        if key != "distribution"
    }
    if "min" in numbers and numbers["min"] >= numbers["max"]:
        raise SearchError(f"{name}: min {numbers['min']!r} is not less than max {numbers['max']!r}")
    if "min" in numbers and not math.isfinite(float(numbers["max"]) - float(numbers["min"])):
        raise SearchError(f"{name}: min and max are too far apart for a float")
    if distribution == "int_uniform":
        for key in ("min", "max"):
            if not isinstance(config[key], int):
                raise SearchError(
                    f"{name}.{key}: int_uniform needs whole numbers, found {config[key]!r}"
                )
        low, high = config["min"], config["max"]
        return Parameter(distribution, lambda rng: rng.randint(low, high), range(low, high + 1))
    draw = _continuous(name, distribution.removeprefix("q_"), numbers)
    if not distribution.startswith("q_"):
        return Parameter(distribution, draw)
    step = numbers.get("q", 1.0)
    if step <= 0:
        raise SearchError(f"{name}.q: expected a number above 0, found {step!r}")
    values: Sequence[Any] | None = None
    if distribution == "q_uniform":
        low, high = numbers["min"], numbers["max"]
        count = math.ceil(min((high - low) / step, MAX_VALUES + 1))
        values = [low + number * step for number in range(count)]
    return Parameter(distribution, lambda rng: rounded(draw(rng), step), values)


def rounded(value: float, step: float) -> float:
    """Round to a multiple; a whole step gives whole numbers and a float step floats, as W&B."""
    steps = value / step
    return round(steps) * step if math.isfinite(steps) else value


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
    if not math.isfinite(abs(mu) + 10 * sigma):
        raise SearchError(f"{name}: mu and sigma are too big for a float")
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
                trap = f" (YAML 1.1 reads it as text; write {number_text(float(value))})"
        raise SearchError(f"{name}: expected a number, found {named(value)}{trap}")
    if isinstance(value, int) and abs(value) > _MAX_WHOLE:
        raise SearchError(f"{name}: a whole number of {len(str(value))} digits is too big")
    if not math.isfinite(value):
        raise SearchError(f"{name}: expected a finite number, found {value!r}")
    return value


def named(value: object) -> str:
    """Write what a value is, for a message."""
    kinds = {
        str: "text",
        list: "a list",
        dict: "a map",
        bool: "a truth value",
        type(None): "nothing",
    }
    kind = kinds.get(type(value), type(value).__name__)
    return kind if value is None else f"{kind} ({value!r})"
