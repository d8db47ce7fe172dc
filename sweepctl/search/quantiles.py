"""W&B's continuous distributions as quantiles: the value at a share of the whole, and back. Pure.

A search that learns works in these: every distribution is uniform there, so that what W&B would
draw most often takes most of the room. A `q_` distribution is the one below it, rounded; a rounded
value stands for the middle of all that is rounded to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from sweepctl.search.distributions import SearchError, rounded

_UNIT = NormalDist()
_LEAST = 2.0**-53
"""The quantile nearest to 0 that is used: at 0 itself a normal distribution has no value."""
_MAX_BETA = 1e6
"""Above this `a` or `b` the sums below take too many terms."""
_MAX_TERMS = 10_000
_HALVINGS = 120


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The value `at` a quantile from 0 to 1, and the quantile `of` a value."""

    at: Callable[[float], Any]
    of: Callable[[float], float]


def quantiles(name: str, distribution: str, config: Mapping[str, Any]) -> Quantiles:
    """Give those of a checked parameter; a SearchError says why it has none."""
    continuous = _continuous(name, distribution.removeprefix("q_"), config)
    if not distribution.startswith("q_"):
        return continuous
    step = config.get("q", 1.0)

    def middle(value: float) -> float:
        low, high = value - step / 2, value + step / 2
        return (continuous.of(low) + continuous.of(high)) / 2

    return Quantiles(lambda share: rounded(continuous.at(share), step), middle)


def _continuous(name: str, distribution: str, config: Mapping[str, Any]) -> Quantiles:
    if distribution == "uniform":
        return _linear(float(config["min"]), float(config["max"]))
    if distribution in ("log_uniform", "inv_log_uniform"):
        low, high = float(config["min"]), float(config["max"])
        if distribution == "inv_log_uniform":
            low, high = -high, -low
        return _logarithmic(low, high, math.exp(low), math.exp(high))
    if distribution in ("log_uniform_values", "inv_log_uniform_values"):
        low, high = float(config["min"]), float(config["max"])
        return _logarithmic(math.log(low), math.log(high), low, high)
    if distribution in ("normal", "log_normal"):
        mu, sigma = float(config.get("mu", 0.0)), float(config.get("sigma", 1.0))
        normal = _normal(mu, sigma)
        if distribution == "normal":
            return normal
        return Quantiles(
            lambda share: math.exp(normal.at(share)),
            lambda value: normal.of(math.log(value)) if value > 0 else 0.0,
        )
    a, b = float(config.get("a", 1.0)), float(config.get("b", 1.0))
    if max(a, b) > _MAX_BETA:
        raise SearchError(
            f"{name}: bayes takes a and b of beta up to {_MAX_BETA:g}, found {max(a, b):g};"
            " write distribution: normal, which is the same then"
        )
    return Quantiles(lambda share: _beta_value(a, b, share), lambda value: _beta_share(a, b, value))


def _linear(low: float, high: float) -> Quantiles:
    def at(share: float) -> float:
        return min(max(low + share * (high - low), low), high)

    return Quantiles(at, lambda value: _within((value - low) / (high - low)))


def _logarithmic(low: float, high: float, smallest: float, largest: float) -> Quantiles:
    exponent = _linear(low, high)
    return Quantiles(
        lambda share: min(max(math.exp(exponent.at(share)), smallest), largest),
        lambda value: exponent.of(math.log(value)) if value > 0 else 0.0,
    )


def _normal(mu: float, sigma: float) -> Quantiles:
    if sigma == 0:
        return Quantiles(lambda share: mu, lambda value: 0.5)
    return Quantiles(
        lambda share: mu + sigma * _UNIT.inv_cdf(min(max(share, _LEAST), 1 - _LEAST)),
        lambda value: _UNIT.cdf((value - mu) / sigma),
    )


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _beta_value(a: float, b: float, share: float) -> float:
    """Give the value at a quantile of a beta distribution, by halving where it must be."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _beta_share(a, b, middle) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_share(a: float, b: float, value: float) -> float:
    """Give the quantile of a value: the regularized incomplete beta function."""
    if value <= 0 or value >= 1:
        return 0.0 if value <= 0 else 1.0
    whole = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(whole + a * math.log(value) + b * math.log1p(-value))
    # The fraction converges quickly on one side of the mean only.
    if value < (a + 1) / (a + b + 2):
        return _within(front * _fraction(a, b, value) / a)
    return _within(1 - front * _fraction(b, a, 1 - value) / b)


def _fraction(a: float, b: float, x: float) -> float:
    """Sum the continued fraction of the incomplete beta function, by Lentz's method.

    https://dlmf.nist.gov/8.17#v
    """
    tiny = 1e-300

    def above_zero(value: float) -> float:
        return value if abs(value) > tiny else tiny

    c, d = 1.0, 1 / above_zero(1 - (a + b) * x / (a + 1))
    result = d
    for n in range(1, _MAX_TERMS):
        even = n * (b - n) * x / ((a + 2 * n - 1) * (a + 2 * n))
        odd = -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1))
        for term in (even, odd):
            d = 1 / above_zero(1 + term * d)
            c = above_zero(1 + term / c)
            result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return result
