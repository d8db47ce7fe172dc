"""Search: the order of grids and the kinds of numbers are those of W&B's `sweeps` 0.3.0."""

import json
import math
import random
import statistics
from typing import Any

import pytest

from sweepctl.search.next_params import PastRun, check_config, expected_run_count, next_params
from sweepctl_pod.errors import SweepctlError


def grid(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"method": "grid", "parameters": parameters}
    past: list[PastRun] = []
    while (params := next_params(spec, past, random.Random(0))) is not None:
        past.append(PastRun(params))
        assert len(past) < 1000
    return [dict(run.params) for run in past]


def draws(parameter: dict[str, Any], count: int = 2000) -> list[Any]:
    spec = {"method": "random", "parameters": {"p": parameter}}
    rng = random.Random(7)
    return [(next_params(spec, [], rng) or {})["p"] for _ in range(count)]


GRIDS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "last name varies fastest": (
        {"b": {"values": [1, 2]}, "a": {"values": ["x", 1.5]}, "c": {"value": 7}},
        [
            {"a": "x", "b": 1, "c": 7},
            {"a": "x", "b": 2, "c": 7},
            {"a": 1.5, "b": 1, "c": 7},
            {"a": 1.5, "b": 2, "c": 7},
        ],
    ),
    "whole range, both ends": (
        {"a": {"min": 1, "max": 3}},
        [{"a": 1}, {"a": 2}, {"a": 3}],
    ),
    "q_uniform without its end": (
        {"a": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}},
        [{"a": 0.0}, {"a": 0.25}, {"a": 0.5}, {"a": 0.75}],
    ),
    "q_uniform of whole numbers": (
        {"a": {"distribution": "q_uniform", "min": 0, "max": 10, "q": 3}},
        [{"a": 0}, {"a": 3}, {"a": 6}, {"a": 9}],
    ),
    "q_uniform steps by a float 1.0 unless told": (
        {"a": {"distribution": "q_uniform", "min": 0, "max": 2}},
        [{"a": 0.0}, {"a": 1.0}],
    ),
    "equal values count once": (
        {"a": {"values": [1, 2, 1, 1.0, True, "1"]}},
        [{"a": 1}, {"a": 2}, {"a": True}, {"a": "1"}],
    ),
    "values that are lists and maps": (
        {"a": {"values": [[1, 2], {"k": 1}, None]}},
        [{"a": [1, 2]}, {"a": {"k": 1}}, {"a": None}],
    ),
    "nested parameters": (
        {"n": {"parameters": {"z": {"values": [1, 2]}, "y": {"parameters": {"q": {"value": 0}}}}}},
        [{"n": {"y": {"q": 0}, "z": 1}}, {"n": {"y": {"q": 0}, "z": 2}}],
    ),
    "constants alone are one run": ({"a": {"value": 1}}, [{"a": 1}]),
}


@pytest.mark.parametrize(("parameters", "expected"), GRIDS.values(), ids=GRIDS)
def test_grid_visits_each_point_once_in_wandb_order(
    parameters: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    visited = grid(parameters)
    assert json.dumps(visited, sort_keys=True) == json.dumps(expected, sort_keys=True)
    spec = {"method": "grid", "parameters": parameters}
    assert expected_run_count(spec) == len(expected)
    assert expected_run_count({**spec, "run_cap": 1}) == 1


def test_grid_goes_on_where_a_point_is_missing_whatever_the_order_of_the_past() -> None:
    spec = {"method": "grid", "parameters": {"a": {"values": [1, 2, 3]}, "b": {"values": [0, 1]}}}
    points = grid(dict(spec["parameters"]))  # type: ignore[arg-type]
    for missing in points:
        past = [PastRun(point) for point in reversed(points) if point != missing]
        past += [*past[:2], PastRun({"a": 99, "b": 0}), PastRun({})]
        assert next_params(spec, past, random.Random(0)) == missing


def test_grid_knows_a_float_again_that_came_back_as_a_whole_number() -> None:
    spec = {"method": "grid", "parameters": {"a": {"values": [1.0, 3e6, 0.5]}}}
    assert next_params(spec, [PastRun({"a": 1}), PastRun({"a": 3000000})], random.Random(0)) == {
        "a": 0.5
    }


def test_a_grid_of_many_points_is_not_laid_out_in_memory() -> None:
    parameters = {f"p{n}": {"values": list(range(100))} for n in range(9)}
    spec = {"method": "grid", "parameters": parameters}
    assert next_params(spec, [], random.Random(0)) == dict.fromkeys(parameters, 0)
    assert expected_run_count(spec) is None


NUMBERS: dict[str, tuple[dict[str, Any], type, float, float, float]] = {
    # distribution: kind, least, most, median
    "uniform": ({"min": 1, "max": 2}, float, 1, 2, 1.5),
    "q_uniform": ({"min": 0.0, "max": 1.0, "q": 0.1}, float, 0, 1, 0.5),
    "int_uniform": ({"min": 1, "max": 5}, int, 1, 5, 3),
    "log_uniform": ({"min": -3, "max": 1}, float, math.exp(-3), math.exp(1), math.exp(-1)),
    "log_uniform_values": ({"min": 1e-4, "max": 1e-2}, float, 1e-4, 1e-2, 1e-3),
    "q_log_uniform": ({"min": 0, "max": 4, "q": 0.5}, float, 1, 54.5, math.exp(2)),
    "q_log_uniform_values": ({"min": 1, "max": 100, "q": 1}, int, 1, 100, 10),
    "inv_log_uniform": ({"min": 0, "max": 2}, float, math.exp(-2), 1, math.exp(-1)),
    "inv_log_uniform_values": ({"min": 0.1, "max": 10}, float, 0.1, 10, 1),
    "normal": ({"mu": 3, "sigma": 2}, float, -9, 15, 3),
    "q_normal": ({"mu": 3, "sigma": 2, "q": 0.5}, float, -9, 15, 3),
    "log_normal": ({"mu": 1, "sigma": 0.5}, float, 0, 100, math.e),
    "q_log_normal": ({"mu": 1, "sigma": 0.5, "q": 0.1}, float, 0, 100, math.e),
    "beta": ({"a": 2, "b": 2}, float, 0, 1, 0.5),
    "q_beta": ({"a": 2, "b": 2, "q": 0.1}, float, 0, 1, 0.5),
}


@pytest.mark.parametrize("distribution", NUMBERS)
def test_random_draws_the_right_kind_of_number_from_the_right_range(distribution: str) -> None:
    config, kind, least, most, median = NUMBERS[distribution]
    found = draws({"distribution": distribution, **config})
    assert {type(value) for value in found} == {kind}
    assert least <= min(found)
    assert max(found) <= most
    spread = statistics.stdev(found)
    assert statistics.median(found) == pytest.approx(median, abs=0.12 * spread + 1e-9)
    assert len(set(found)) > (1000 if not distribution.startswith(("q_", "int")) else 4)


IMPLIED: dict[str, tuple[dict[str, Any], set[type]]] = {
    "two whole bounds": ({"min": 1, "max": 5}, {int}),
    "two float bounds": ({"min": 1.0, "max": 5.0}, {float}),
    "one float bound": ({"min": 1, "max": 5.5}, {float}),
    "values": ({"values": [1, "a", 2.5]}, {int, str, float}),
    "probabilities": ({"values": [1, 2.5], "probabilities": [0.5, 0.5]}, {int, float}),
    "value": ({"value": [1, 2]}, {list}),
}


@pytest.mark.parametrize(("config", "kinds"), IMPLIED.values(), ids=IMPLIED)
def test_a_parameter_without_distribution_gets_the_one_wandb_takes(
    config: dict[str, Any], kinds: set[type]
) -> None:
    assert {type(value) for value in draws(config)} == kinds


def test_probabilities_weigh_the_values() -> None:
    found = draws({"values": ["a", "b", "c"], "probabilities": [0.7, 0.3, 0.0]})
    assert found.count("c") == 0
    assert found.count("a") / len(found) == pytest.approx(0.7, abs=0.05)


def test_random_is_repeated_by_the_same_rng_and_endless() -> None:
    spec = {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}}
    first, second = (next_params(spec, [], random.Random("s/3")) for _ in range(2))
    assert first == second
    assert next_params(spec, [], random.Random("s/4")) != first
    assert expected_run_count(spec) is None


BAD: dict[str, tuple[object, str]] = {
    "no map": ([1], "a sweep's configuration is a map, not a list ([1])"),
    "no method": ({"parameters": {"a": {"value": 1}}}, "no method is given; write grid, random"),
    "misspelt method": ({"method": "gird"}, "unknown method 'gird'; did you mean grid?"),
    "bayes without a metric": (
        {"method": "bayes", "parameters": {"a": {"values": [1]}}},
        "metric: bayes needs one to learn from",
    ),
    "bayes over constants alone": (
        {"method": "bayes", "metric": {"name": "l"}, "parameters": {"a": {"value": 1}}},
        "parameters: bayes needs one to search",
    ),
    "early termination without a metric": (
        {
            "method": "random",
            "early_terminate": {"type": "hyperband", "min_iter": 3},
            "parameters": {"a": {"values": [1]}},
        },
        "metric: early_terminate needs one",
    ),
    "no parameters": ({"method": "random"}, "parameters: expected a map with at least one"),
    "empty parameters": ({"method": "random", "parameters": {}}, "parameters: expected a map"),
    "cap of zero": (
        {"method": "random", "run_cap": 0, "parameters": {"a": {"value": 1}}},
        "run_cap: expected a whole number from 1, found 0",
    ),
    "cap of true": (
        {"method": "random", "run_cap": True, "parameters": {"a": {"value": 1}}},
        "run_cap: expected a whole number from 1, found True",
    ),
    "metric is text": (
        {"method": "random", "metric": "loss", "parameters": {"a": {"value": 1}}},
        "metric: expected a map with a name, found 'loss'",
    ),
    "goal": (
        {
            "method": "random",
            "metric": {"name": "l", "goal": "min"},
            "parameters": {"a": {"value": 1}},
        },
        "metric.goal: expected minimize or maximize, found 'min'",
    ),
    "command is text": (
        {"method": "random", "command": "python x", "parameters": {"a": {"value": 1}}},
        "command: expected a list of arguments, found 'python x'",
    ),
}

BAD_PARAMETERS: dict[str, tuple[str, object, str]] = {
    "bare number": ("random", 3, "p: expected a map such as {value: 3}, found int (3)"),
    "empty map": ("random", {}, "p: expected value, values, or min and max"),
    "min alone": ("random", {"min": 1}, "p: expected value, values, or min and max"),
    "min above max": ("random", {"min": 2, "max": 1}, "p: min 2 is not less than max 1"),
    "min is max": ("random", {"min": 1.0, "max": 1.0}, "p: min 1.0 is not less than max 1.0"),
    "YAML 1.1 trap": (
        "random",
        {"min": "1e-4", "max": 1.0},
        "p.min: expected a number, found text ('1e-4') (YAML 1.1 reads it as text; write 0.0001)",
    ),
    "YAML 1.1 trap, small": (
        "random",
        {"min": "1e-7", "max": 1.0},
        "write 1.0e-07)",
    ),
    "infinite": ("random", {"min": 0.0, "max": math.inf}, "p.max: expected a finite number"),
    "huge whole number": ("random", {"min": 0, "max": 10**400}, "a whole number of 401 digits"),
    "too far apart": ("random", {"min": -1e308, "max": 1e308}, "too far apart"),
    "misspelt distribution": (
        "random",
        {"distribution": "unifrom", "min": 0, "max": 1},
        "p: unknown distribution 'unifrom'; did you mean uniform?",
    ),
    "distribution is a list": (
        "random",
        {"distribution": ["uniform"], "min": 0, "max": 1},
        "p: unknown distribution ['uniform']",
    ),
    "unknown key": (
        "random",
        {"min": 0, "max": 1, "step": 2},
        "p: int_uniform has no key 'step' (it has min, max)",
    ),
    "lacking key": ("random", {"distribution": "uniform", "min": 0}, "p: uniform needs 'max'"),
    "empty values": ("grid", {"values": []}, "p.values: expected a list with at least one value"),
    "values is text": ("grid", {"values": "ab"}, "p.values: expected a list"),
    "probabilities do not sum to 1": (
        "random",
        {"values": [1, 2], "probabilities": [0.5, 0.6]},
        "p.probabilities: they sum to 1.1, not to 1",
    ),
    "too few probabilities": (
        "random",
        {"values": [1, 2], "probabilities": [1]},
        "p.probabilities: expected one number for each",
    ),
    "negative probability": (
        "random",
        {"values": [1, 2], "probabilities": [1.5, -0.5]},
        "p.probabilities: -0.5 is below 0",
    ),
    "log of zero": (
        "random",
        {"distribution": "log_uniform_values", "min": 0, "max": 1},
        "p.min: log_uniform_values needs a number above 0, found 0.0",
    ),
    "log_uniform trap": (
        "random",
        {"distribution": "log_uniform", "min": 1, "max": 1000},
        "p: min and max of log_uniform are exponents of e, and e^1000 is no float;"
        " use log_uniform_values",
    ),
    "float bounds of int_uniform": (
        "random",
        {"distribution": "int_uniform", "min": 0.5, "max": 2},
        "p.min: int_uniform needs whole numbers, found 0.5",
    ),
    "q of zero": (
        "random",
        {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0},
        "p.q: expected a number above 0",
    ),
    "negative sigma": ("random", {"distribution": "normal", "sigma": -1}, "p.sigma: expected"),
    "nested with more": (
        "random",
        {"parameters": {"x": {"value": 1}}, "value": 1},
        "p: a nested parameter holds `parameters`, a map, and nothing else",
    ),
    "fault inside a nested one": (
        "random",
        {"parameters": {"x": {"min": 3, "max": 1}}},
        "p.x: min 3 is not less than max 1",
    ),
    "continuous in a grid": (
        "grid",
        {"min": 0.0, "max": 1.0},
        "p: a grid needs values to try, and uniform has none",
    ),
    "weighted in a grid": (
        "grid",
        {"values": [1, 2], "probabilities": [0.5, 0.5]},
        "p: a grid needs values to try, and categorical_w_probabilities has none",
    ),
    "too many values": (
        "grid",
        {"min": 0, "max": 10**9},
        "p: a grid takes at most 100000 values of a parameter",
    ),
    "endless small steps": (
        "grid",
        {"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-300},
        "p: a grid takes at most 100000 values of a parameter",
    ),
}


@pytest.mark.parametrize(("spec", "message"), BAD.values(), ids=BAD)
def test_a_bad_configuration_is_refused_with_what_is_wrong(spec: object, message: str) -> None:
    with pytest.raises(SweepctlError) as caught:
        check_config(spec)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("method", "config", "message"), BAD_PARAMETERS.values(), ids=BAD_PARAMETERS
)
def test_a_bad_parameter_is_refused_by_its_name(method: str, config: object, message: str) -> None:
    with pytest.raises(SweepctlError) as caught:
        check_config({"method": method, "parameters": {"p": config}})
    assert message in caught.value.message


def test_every_bad_parameter_is_named_at_once() -> None:
    parameters = {"a": 1, "b": {"min": 2, "max": 1}, "c": {"value": 1}, "d": {"values": []}}
    with pytest.raises(SweepctlError) as caught:
        check_config({"method": "random", "run_cap": 0, "parameters": parameters})
    starts = [part.split(":")[0] for part in caught.value.message.split("; ")]
    assert starts == ["run_cap", "a", "b", "d.values"]


WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"metrc": {"name": "x"}}, "unknown key 'metrc'; did you mean 'metric'?"),
    "exponents": (
        {"parameters": {"a": {"distribution": "log_uniform", "min": -3, "max": -1}}},
        "use log_uniform_values to give the limits themselves",
    ),
}


@pytest.mark.parametrize(("more", "warning"), WARNED.values(), ids=WARNED)
def test_what_is_legal_but_probably_wrong_is_warned_of(more: dict[str, Any], warning: str) -> None:
    (found,) = check_config({"method": "random", "parameters": {"a": {"value": 1}}, **more})
    assert warning in found
