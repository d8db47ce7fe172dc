"""Hyperband's rules; its decisions are held to W&B's engine in the contract tests."""

import math
from typing import Any

import pytest

from sweepctl.search.distributions import SearchError
from sweepctl.search.hyperband import Logged, read_hyperband


def spec(rules: Any, goal: str = "minimize") -> dict[str, Any]:
    return {"metric": {"name": "loss", "goal": goal}, "early_terminate": rules}


BANDS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "up from min_iter": ({"min_iter": 3, "eta": 2}, (3, 6, 12, 24)),
    "three by default": ({"min_iter": 2}, (2, 6, 18, 54)),
    "down from max_iter": ({"max_iter": 27, "s": 2, "eta": 3}, (3, 9)),
    "until one is left": ({"max_iter": 5, "s": 9, "eta": 2}, (1, 2)),
    "with a fraction": ({"max_iter": 10, "s": 2, "eta": 1.5}, (4, 6)),
}


@pytest.mark.parametrize(("rules", "bands"), BANDS.values(), ids=BANDS)
def test_the_bands_are_wandbs(rules: dict[str, Any], bands: tuple[int, ...]) -> None:
    found = read_hyperband(spec({"type": "hyperband", **rules}))
    assert found is not None
    assert found.bands[: len(bands)] == bands


def test_a_run_is_stopped_at_the_newest_band_that_it_has_reached() -> None:
    rules = read_hyperband(spec({"type": "hyperband", "min_iter": 2, "eta": 2}))
    assert rules is not None
    runs = [
        Logged("behind", True, [9.0, 9.5, 5.0]),
        Logged("ended", False, [9.0, 9.0, 9.0]),
        Logged("before", True, [9.0, 1.0]),
        Logged("young", True, [9.0]),
        Logged("without", True, []),
        Logged("odd", True, [math.nan, 9.0, math.inf, 4.0]),
    ]
    assert rules.behind(runs) == ["behind"]


def test_the_lenient_rule_looks_at_a_runs_best_value() -> None:
    logged = [Logged("a", True, [1.0, 5.0]), Logged("b", True, [2.0, 2.0])]
    strict = {"type": "hyperband", "min_iter": 2, "eta": 3}
    for rules, stopped in ((strict, ["a"]), ({**strict, "strict": False}, [])):
        found = read_hyperband(spec(rules))
        assert found is not None
        assert found.behind(logged) == stopped


BAD: dict[str, tuple[Any, str]] = {
    "no map": ("hyperband", "early_terminate: expected a map"),
    "another type": ({"type": "median"}, "early_terminate.type: write hyperband"),
    "no type": ({"min_iter": 2}, "early_terminate.type: write hyperband"),
    "no iterations": ({"type": "hyperband"}, "early_terminate: hyperband needs min_iter"),
    "max_iter alone": ({"type": "hyperband", "max_iter": 9}, "early_terminate: max_iter needs s"),
    "no band": (
        {"type": "hyperband", "max_iter": 2, "s": 1, "eta": 3},
        "early_terminate: no band lies between 1 and max_iter 2",
    ),
    "eta of one": (
        {"type": "hyperband", "min_iter": 2, "eta": 1},
        "early_terminate.eta: expected a number above 1, found 1",
    ),
    "half an iteration": (
        {"type": "hyperband", "min_iter": 2.5},
        "early_terminate.min_iter: expected a whole number from 1, found 2.5",
    ),
    "text for a number": (
        {"type": "hyperband", "min_iter": "2"},
        "early_terminate.min_iter: expected a whole number from 1, found '2'",
    ),
    "strict is no truth value": (
        {"type": "hyperband", "min_iter": 2, "strict": "yes"},
        "early_terminate.strict: expected true or false, found 'yes'",
    ),
}


@pytest.mark.parametrize(("rules", "message"), BAD.values(), ids=BAD)
def test_rules_that_cannot_be_followed_are_refused(rules: Any, message: str) -> None:
    with pytest.raises(SearchError) as caught:
        read_hyperband(spec(rules))
    assert caught.value.message.startswith(message)


def test_without_rules_nothing_is_stopped() -> None:
    assert read_hyperband({"metric": {"name": "loss"}}) is None
