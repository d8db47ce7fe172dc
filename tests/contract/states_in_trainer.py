"""Runs in the trainer's interpreter, which has torch: facts about `states` as JSON, one a test."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "charts" / "isaac-sweep" / "files"))

from sweepctl_pod.companion import states
from sweepctl_pod.companion.slots import MOST_BYTES, Walk, kept, put_back

ENVS = 8
DEVICE = os.environ.get("SWEEPCTL_TEST_DEVICE", "cpu")


class Term:
    """A term of a user's own, with state of every kind."""

    def __init__(self, value: float) -> None:
        self.mean = torch.full((ENVS, 3), value, device=DEVICE)
        self.view = self.mean[:, 0]
        self.count = int(value)
        self.recent = deque([value], maxlen=5)
        self.by_name = {"left": torch.full((ENVS,), value, device=DEVICE), "factor": value}
        self.pair = (
            torch.full((ENVS,), value, device=DEVICE),
            torch.full((ENVS,), value, device=DEVICE),
        )
        self.generator = torch.Generator(DEVICE).manual_seed(int(value))
        self.numpy = numpy.full(3, value)
        self.lazy: Any = None
        self.cfg = TermCfg()
        self.network = torch.nn.Linear(2, 2)
        self.itself = self


class TermCfg:
    """A configuration, as a curriculum changes it."""

    def __init__(self) -> None:
        self.weight = 1.0
        self.params = {"range": (0.0, 1.0)}


class Manager:
    """What Isaac Lab calls a manager."""

    def __init__(self, value: float, active_terms: tuple[str, ...] = ()) -> None:
        self._terms = {"own": Term(value)}
        self.active_terms = active_terms


class Env:
    """What rsl_rl and the companion need of an environment."""

    def __init__(self, value: float, envs: int = ENVS, curriculum: tuple[str, ...] = ()) -> None:
        self.num_envs, self.device = envs, DEVICE
        self.unwrapped = self.env = self
        self.common_step_counter = int(value)
        self.episode_length_buf = torch.full((envs,), int(value), device=DEVICE)
        self.command_manager = Manager(value)
        self.curriculum_manager = Manager(value, curriculum)
        self.my_own = torch.full((envs, 2), value, device=DEVICE)


class Runner:
    """An rsl_rl runner before 4.0: totals are its own."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.alg = type("PPO", (), {})()
        self.alg.learning_rate = env.common_step_counter / 1000
        self.tot_timesteps = env.common_step_counter * 10
        self.tot_time = 0.0


def through_a_file(data: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(data, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def moved(new: Env, data: dict[str, Any]) -> tuple[set[str], list[str]]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        restored = states.restore(Runner(new), data)
    return restored, said.getvalue().splitlines()


def terms_of_a_users_own_are_restored_with_all_they_hold() -> dict[str, Any]:
    old = Env(5)
    term = old.command_manager._terms["own"]
    term.lazy = torch.ones(ENVS)
    drawn = torch.rand(1, generator=term.generator, device=DEVICE)
    data = through_a_file(states.capture(Runner(old)))
    new = Env(1)
    restored, said = moved(new, data)
    found = new.command_manager._terms["own"]
    return {
        "restored": sorted(restored),
        "said": said,
        "values": [
            *(found.mean.unique().tolist(), found.view.unique().tolist(), found.count),
            *(list(found.recent), found.recent.maxlen, found.by_name["factor"]),
            *(found.by_name["left"].unique().tolist(), found.pair[1].unique().tolist()),
            *(found.numpy.tolist(), found.lazy.tolist() == [1.0] * ENVS),
            *(found.view.data_ptr() == found.mean.data_ptr(), new.my_own.unique().tolist()),
        ],
        "draws on": bool(
            torch.rand(1, generator=term.generator, device=DEVICE)
            == torch.rand(1, generator=found.generator, device=DEVICE)
        ),
        "not what was drawn": bool(
            torch.rand(1, generator=found.generator, device=DEVICE) != drawn
        ),
    }


def counters_totals_and_the_learning_rate_are_restored() -> dict[str, Any]:
    data = through_a_file(states.capture(Runner(Env(7))))
    runner = Runner(Env(1))
    states.restore(runner, data)
    return {
        "counter": runner.env.common_step_counter,
        "totals": runner.tot_timesteps,
        "rate": runner.alg.learning_rate,
        "lengths": runner.env.episode_length_buf.unique().tolist(),
    }


def draw() -> list[float]:
    on_device = torch.rand(1, device=DEVICE)
    return [random.random(), float(numpy.random.rand()), float(torch.rand(1)), float(on_device)]


def chance_goes_on_where_it_was() -> dict[str, Any]:
    data = through_a_file(states.capture(Runner(Env(1))))
    drawn = [draw()]
    states.restore(Runner(Env(1)), data)
    drawn.append(draw())
    return {"same": drawn[0] == drawn[1]}


def settings_are_the_configured_ones_unless_a_curriculum_is_at_work() -> dict[str, Any]:
    found = {}
    for curriculum in ((), ("harder",)):
        old = Env(5, curriculum=curriculum)
        cfg = old.command_manager._terms["own"].cfg
        cfg.weight, cfg.params["range"] = 3.0, (-2.0, 2.0)
        new = Env(1, curriculum=curriculum)
        moved(new, through_a_file(states.capture(Runner(old))))
        cfg = new.command_manager._terms["own"].cfg
        found["with" if curriculum else "without"] = [cfg.weight, list(cfg.params["range"])]
    return found


def of_another_number_of_environments_only_what_all_have_is_restored() -> dict[str, Any]:
    data = through_a_file(states.capture(Runner(Env(5))))
    new = Env(1, envs=4)
    restored, said = moved(new, data)
    return {"restored": sorted(restored), "said": said, "counter": new.common_step_counter}


def part_that_fails_is_one_line_and_the_others_are_restored() -> dict[str, Any]:
    data = through_a_file(states.capture(Runner(Env(5))))
    data["parts"]["random"]["torch"] = torch.zeros(3, dtype=torch.uint8)
    restored, said = moved(Env(1), data)
    return {"restored": sorted(restored), "lines": len(said), "said": said[0]}


def runner_of_another_shape_loses_what_it_has_not() -> dict[str, Any]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        data = states.capture(object())
        restored = states.restore(object(), data)
    lines = said.getvalue().splitlines()
    return {"kept": sorted(data["parts"]), "restored": sorted(restored), "lines": len(lines) <= 12}


def data_is_no_state_and_what_all_environments_share_is_stored_once() -> dict[str, Any]:
    class Holder:
        pass

    holder = Holder()
    vars(holder).update(
        motions=torch.zeros(100_000, 7),
        images=torch.zeros(ENVS, MOST_BYTES // 4 // ENVS + 1),
        same=torch.ones(ENVS, 1000),
    )
    found = kept(Walk(ENVS).slots(holder))
    buffer = io.BytesIO()
    torch.save(found, buffer)
    vars(holder)["same"].zero_()
    refused = put_back(Walk(ENVS).slots(holder), through_a_file(found))
    return {
        "kept": sorted(found),
        "is small": len(buffer.getvalue()) < 8000,
        "refused": refused,
        "back": bool((vars(holder)["same"] == 1).all()),
    }


FACTS = (
    terms_of_a_users_own_are_restored_with_all_they_hold,
    counters_totals_and_the_learning_rate_are_restored,
    chance_goes_on_where_it_was,
    settings_are_the_configured_ones_unless_a_curriculum_is_at_work,
    of_another_number_of_environments_only_what_all_have_is_restored,
    part_that_fails_is_one_line_and_the_others_are_restored,
    runner_of_another_shape_loses_what_it_has_not,
    data_is_no_state_and_what_all_environments_share_is_stored_once,
)

if __name__ == "__main__":
    print(json.dumps({fact.__name__: fact() for fact in FACTS}))
