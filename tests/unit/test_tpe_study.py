"""What the server's own engine makes of a sweep's runs, and that it repeats itself."""

import random
from typing import Any

import pytest
from optuna.trial import TrialState

from sweepctl.server.engine.tpe_process.study import FIRST_RUNS, SweepStudy, outcome

SPEC: dict[str, Any] = {
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {
        "x": {"min": -1.0, "max": 1.0},
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
        "n": {"min": 1, "max": 64},
        "c": {"values": ["a", "b"]},
        "k": {"value": "{}"},
    },
}
Run = dict[str, Any]


def run(name: str, params: dict[str, Any], state: str = "running", *values: float) -> Run:
    return {
        "name": name,
        "state": state,
        "config": {key: {"value": value} for key, value in params.items()},
        "summary_metrics": {"loss": values[-1]} if values else {},
        "history": [{"loss": value} for value in values],
    }


OUTCOMES: dict[str, tuple[str, tuple[float, ...], dict[str, Any], tuple[TrialState, Any]]] = {
    "trains": ("running", (1.0,), {}, (TrialState.RUNNING, None)),
    "waits": ("pending", (), {}, (TrialState.RUNNING, None)),
    "was handed back": ("preempted", (1.0,), {}, (TrialState.RUNNING, None)),
    "finished": ("finished", (3.0, 1.0, 2.0), {}, (TrialState.COMPLETE, 1.0)),
    "finished, maximized": (
        "finished",
        (3.0, 1.0),
        {"goal": "maximize"},
        (TrialState.COMPLETE, -3.0),
    ),
    "finished without a number": ("finished", (float("nan"),), {}, (TrialState.PRUNED, None)),
    "failed": ("failed", (0.1,), {}, (TrialState.PRUNED, None)),
    "crashed": ("crashed", (), {}, (TrialState.PRUNED, None)),
    "was stopped": ("killed", (0.1,), {}, (TrialState.PRUNED, None)),
    "failed, counts as its best": (
        "failed",
        (0.1, 0.3),
        {"impute": "best"},
        (TrialState.COMPLETE, 0.1),
    ),
    "failed, counts as its last": (
        "failed",
        (0.1, 0.3),
        {"impute": "latest"},
        (TrialState.COMPLETE, 0.3),
    ),
    "trains, counts already": (
        "running",
        (0.1, 0.3),
        {"impute_while_running": "latest"},
        (TrialState.COMPLETE, 0.1),
    ),
}


@pytest.mark.parametrize(("state", "values", "more", "expected"), OUTCOMES.values(), ids=OUTCOMES)
def test_what_a_run_is_to_the_search_is_wandbs_rule(
    state: str,
    values: tuple[float, ...],
    more: dict[str, Any],
    expected: tuple[TrialState, Any],
) -> None:
    assert outcome(run("r", {}, state, *values), {**SPEC["metric"], **more}) == expected


def loss(params: dict[str, Any]) -> float:
    return float((params["x"] - 0.3) ** 2 + (params["c"] != "b") + abs(params["n"] - 9) / 64)


def searched(count: int, seed: str = "7", *, agents: int = 4, forgets: int = 0) -> list[Run]:
    """Search with some agents at once, some runs failing; start the engine anew now and then."""
    study, runs, rng = SweepStudy(SPEC), list[Run](), random.Random(1)
    for number in range(count):
        if forgets and number % forgets == 0:
            study = SweepStudy(SPEC)
        params = study.suggest(runs, seed, number)
        runs.append(run(str(number), params))
        if number >= agents:
            ended = runs[number - agents]
            of_it = {key: each["value"] for key, each in ended["config"].items()}
            state, value = ("failed", ()) if rng.random() < 0.2 else ("finished", (loss(of_it),))
            runs[number - agents] = run(ended["name"], of_it, state, *value)
    return runs


def params_of(runs: list[Run]) -> list[Any]:
    return [each["config"] for each in runs]


def test_a_search_is_repeated_from_its_seed_also_by_an_engine_that_was_started_anew() -> None:
    once = params_of(searched(40))
    assert params_of(searched(40, forgets=7)) == once
    assert params_of(searched(40, seed="8")) != once


def test_no_two_runs_are_equal_though_sixteen_are_asked_for_at_once() -> None:
    study, runs = SweepStudy(SPEC), searched(FIRST_RUNS + 6)
    for number in range(16):
        runs.append(run(f"more {number}", study.suggest(runs, "7", len(runs))))
    assert len({str(each["config"]) for each in runs}) == len(runs)


def test_a_space_of_few_points_is_used_up_before_a_point_comes_again() -> None:
    small = {**SPEC, "parameters": {"a": {"values": [1, 2, 3]}, "b": {"min": 1, "max": 4}}}
    study, runs = SweepStudy(small), list[Run]()
    for number in range(14):
        params = study.suggest(runs, "7", number)
        runs.append(run(str(number), params, "finished", float(params["a"] * params["b"])))
    assert len({str(each["config"]) for each in runs[:12]}) >= 11


def test_runs_that_are_gone_or_changed_are_forgotten() -> None:
    runs = searched(20)
    for changed in (runs[1:], [run("new", {"x": 0.0, "lr": 0.1, "n": 3, "c": "a"}), *runs]):
        study = SweepStudy(SPEC)
        study.suggest(runs, "7", 20)
        assert study.suggest(changed, "7", 21) == SweepStudy(SPEC).suggest(changed, "7", 21)


def test_a_sweep_of_single_values_alone_gives_them() -> None:
    alone = {**SPEC, "parameters": {"c": {"values": ["a"]}}}
    assert SweepStudy(alone).suggest([], "7", 0) == {"c": "a"}
