"""The space of a search that learns: every distribution of W&B's has its axis, draw for draw."""

import math
import random
from collections import Counter
from typing import Any

import pytest

from sweepctl.search.distributions import SearchError, read_parameter
from sweepctl.search.quantiles import quantiles
from sweepctl.search.space import BLOCK, Space

CONTINUOUS: dict[str, dict[str, Any]] = {
    "uniform": {"min": -1.5, "max": 2},
    "log_uniform": {"min": -7.0, "max": 1.0},
    "log_uniform_values": {"min": 1e-5, "max": 3.0},
    "inv_log_uniform": {"min": -7.0, "max": 1.0},
    "inv_log_uniform_values": {"min": 1e-5, "max": 3.0},
    "normal": {"mu": 2.0, "sigma": 0.5},
    "log_normal": {"mu": -1.0, "sigma": 2},
    "beta": {"a": 2.0, "b": 5.0},
}
ROUNDED: dict[str, dict[str, Any]] = {
    "q_uniform": {"min": 0, "max": 10, "q": 3},
    "q_log_uniform": {"min": -2.0, "max": 3.0, "q": 1},
    "q_log_uniform_values": {"min": 0.01, "max": 20.0, "q": 0.25},
    "q_normal": {"mu": 0.5, "sigma": 2.0, "q": 1},
    "q_log_normal": {"mu": 1.0, "sigma": 0.5, "q": 0.5},
    "q_beta": {"a": 0.5, "b": 0.5, "q": 0.125},
}
EVERY = {**CONTINUOUS, **ROUNDED}
SHARES = [0.001, 0.1, 0.25, 0.5, 0.77, 0.9, 0.999]


@pytest.mark.parametrize("distribution", CONTINUOUS)
def test_a_value_has_the_quantile_that_it_was_made_from(distribution: str) -> None:
    found = quantiles("p", distribution, CONTINUOUS[distribution])
    for share in SHARES:
        assert found.of(found.at(share)) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("distribution", ROUNDED)
def test_a_rounded_value_comes_back_from_the_middle_of_what_is_rounded_to_it(
    distribution: str,
) -> None:
    found = quantiles("p", distribution, ROUNDED[distribution])
    for value in {found.at(share) for share in SHARES}:
        again = found.at(found.of(value))
        assert (again, type(again)) == (value, type(value))


@pytest.mark.parametrize("distribution", EVERY)
def test_quantiles_are_those_of_the_runs_that_random_search_draws(distribution: str) -> None:
    config = {"distribution": distribution, **EVERY[distribution]}
    sample, rng = read_parameter("p", config).sample, random.Random(1)
    drawn = sorted(float(sample(rng)) for _ in range(4000))
    found = quantiles("p", distribution, config)
    made = sorted(float(found.at((n + 0.5) / 4000)) for n in range(4000))
    # The Kolmogorov-Smirnov distance, ties counted together; 0.03 is passed once in 600 at chance.
    for value in drawn[:: 4000 // 50]:
        below = [sum(x <= value for x in values) / 4000 for values in (drawn, made)]
        assert abs(below[0] - below[1]) < 0.03


EXTREMES: dict[str, tuple[str, dict[str, Any]]] = {
    "a normal without width": ("normal", {"mu": 3.0, "sigma": 0}),
    "a normal's tails": ("normal", {}),
    "a beta that is nearly all at its ends": ("beta", {"a": 1e-3, "b": 1e-3}),
    "a steep beta": ("beta", {"a": 1e5, "b": 3.0}),
    "exponents at a float's limits": ("log_uniform", {"min": -700, "max": 700}),
}


@pytest.mark.parametrize(("distribution", "config"), EXTREMES.values(), ids=EXTREMES)
def test_the_ends_of_the_quantiles_are_finite_values(
    distribution: str, config: dict[str, Any]
) -> None:
    found = quantiles("p", distribution, config)
    for share in (0.0, 1e-300, 0.5, 1.0):
        value = found.at(share)
        assert math.isfinite(value)
        assert 0 <= found.of(value) <= 1


NESTED = {
    "gain": {"min": 0.5, "max": 2.0},
    "k": {"value": {"fixed": [1]}},
    "only": {"values": ["one"]},
    "deep": {"parameters": {"n": {"min": -3, "max": 4}, "c": {"values": [[1], [2], "x"]}}},
}


def test_nested_parameters_and_constants_come_back_as_they_were_written() -> None:
    space = Space({"parameters": NESTED})
    assert [axis.path for axis in space.axes] == [("deep", "c"), ("deep", "n"), ("gain",)]
    params = space.params((1, -3, 0.5))
    assert params == {
        "gain": 1.25,
        "k": {"fixed": [1]},
        "only": "one",
        "deep": {"n": -3, "c": [2]},
    }
    assert space.point(params) == (1, -3, 0.5)


OUTSIDE: dict[str, tuple[dict[str, Any], tuple[Any, ...] | None]] = {
    "a number beyond the limits": ({"gain": 7, "deep": {"n": 99, "c": "x"}}, (2, 4, 1.0)),
    "a value that is not searched": ({"gain": 1, "deep": {"n": 0, "c": "y"}}, None),
    "text for a number": ({"gain": "1", "deep": {"n": 0, "c": "x"}}, None),
    "a parameter that is missing": ({"deep": {"n": 0, "c": "x"}}, None),
    "no number": ({"gain": math.nan, "deep": {"n": 0, "c": "x"}}, None),
}


@pytest.mark.parametrize(("params", "point"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_lies_outside_of_the_space_is_brought_to_its_edge_or_left_out(
    params: dict[str, Any], point: tuple[Any, ...] | None
) -> None:
    assert Space({"parameters": NESTED}).point(params) == point


def test_the_first_runs_are_drawn_by_the_probabilities_and_what_has_none_never() -> None:
    weighted = {"values": ["a", "b", "never", "b"], "probabilities": [0.5, 0.25, 0.0, 0.25]}
    space = Space({"parameters": {"p": weighted, "q": {"min": 1, "max": 2}}})
    drawn = Counter(space.params(space.drawn("7", n))["p"] for n in range(BLOCK * 10))
    assert drawn == {"a": BLOCK * 5, "b": BLOCK * 5}
    assert ["p.probabilities" in note for note in space.notes] == [True]


def test_sixteen_draws_in_a_row_are_spread_over_every_axis() -> None:
    space = Space({"parameters": {name: {"min": 0.0, "max": 1.0} for name in "abc"}})
    for first in (0, BLOCK):
        points = [space.drawn("7", number) for number in range(first, first + BLOCK)]
        for axis in range(3):
            assert sorted(int(point[axis] * BLOCK) for point in points) == list(range(BLOCK))
    assert space.drawn("7", 3) == space.drawn("7", 3) != space.drawn("8", 3)


UNMAPPED: dict[str, tuple[dict[str, Any], str]] = {
    "a whole number that is no float": (
        {"min": 0, "max": 2**53 + 1},
        "p: bayes takes whole numbers up to 9007199254740992, found 9007199254740993",
    ),
    "a beta too steep to sum": (
        {"distribution": "beta", "a": 2e6, "b": 1},
        "p: bayes takes a and b of beta up to 1e+06, found 2e+06",
    ),
}


@pytest.mark.parametrize(("config", "message"), UNMAPPED.values(), ids=UNMAPPED)
def test_what_has_no_axis_is_said_by_its_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError) as caught:
        Space({"parameters": {"p": config}})
    assert caught.value.message.startswith(message)
