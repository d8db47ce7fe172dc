"""Hyperband's decisions beside those of W&B's real `sweeps`, on histories of every shape."""

import json
import math
import random
import subprocess
from pathlib import Path
from typing import Any

from sweepctl.search.hyperband import Logged, read_hyperband
from tests.contract.locked_python import locked_python

RULES: tuple[dict[str, Any], ...] = (
    {"min_iter": 1},
    {"min_iter": 3, "eta": 2},
    {"min_iter": 2, "eta": 1.5, "strict": False},
    {"min_iter": 4, "eta": 4, "strict": True},
    {"max_iter": 27, "s": 2, "eta": 3},
    {"max_iter": 27, "s": 9},
    {"max_iter": 40, "s": 3, "eta": 1.7, "strict": False},
    {"max_iter": 5, "s": 2, "eta": 2},
)
NO_NUMBERS = (math.nan, math.inf, -math.inf)


def curve(rng: random.Random) -> list[float]:
    """Draw what a training may log: it falls and is noisy, is equal for long, or makes no sense."""
    level, fall = rng.uniform(-2, 5), rng.choice((0.0, 0.1, 1.0))
    values = []
    for step in range(rng.choice((0, 1, 2, 3, 5, 9, 28, 90))):
        value = level + 3 * math.exp(-fall * step) + rng.choice((0.0, rng.gauss(0, 0.5)))
        values.append(rng.choice(NO_NUMBERS) if rng.random() < 0.05 else round(value, 1))
    return values


def cases(count: int) -> list[dict[str, Any]]:
    rng = random.Random(13)
    drawn = []
    for number in range(count):
        metric = {"name": "loss", "goal": rng.choice(("minimize", "maximize"))}
        runs = [
            {"name": str(n), "is_running": rng.random() < 0.7, "values": curve(rng)}
            for n in range(rng.choice((0, 1, 2, 5, 20)))
        ]
        rules = {"type": "hyperband", **RULES[number % len(RULES)]}
        drawn.append({"spec": {"metric": metric, "early_terminate": rules}, "runs": runs})
    return drawn


def test_the_runs_that_stop_are_those_that_wandb_stops() -> None:
    drawn = cases(800)
    program = str(Path(__file__).with_name("hyperband_of_wandb.py"))
    done = subprocess.run(
        [str(locked_python("bayes")), program],
        input=json.dumps(drawn),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(done.stdout)
    for case, stopped in zip(drawn, theirs, strict=True):
        rules = read_hyperband(case["spec"])
        assert rules is not None
        assert rules.behind([Logged(**run) for run in case["runs"]]) == stopped, case
    assert sum(map(len, theirs)) > 500
