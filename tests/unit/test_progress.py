"""How far a run and its sweep are: phases, iterations, and when a sweep will be done."""

from typing import Any

import pytest

from sweepctl.sweeps.progress import Phase, eta_s, progress

TRAIN = ["isaaclab", "train", "--rl_library", "rsl_rl"]
SKRL = ["isaaclab", "train", "--rl_library", "skrl", "--max_iterations", "50"]
SB3 = ["python", "scripts/reinforcement_learning/sb3/train.py", "--max_iterations=50"]


@pytest.mark.parametrize(
    ("config", "command", "steps"),
    [
        ({"train_cfg": {"max_iterations": 300}}, [*TRAIN, "--max_iterations", "50"], 300),
        ({"runner_cfg": {"max_iterations": 300.0}}, TRAIN, 300),
        ({"train_cfg": {}, "env_cfg": {"max_iterations": 9}}, TRAIN, None),
        ({}, [*TRAIN, "--max_iterations", 50], 50),
        ({}, [*TRAIN, "--max_iterations=50"], 50),
        ({}, [*TRAIN, "--max_iterations"], None),
        ({}, [*TRAIN, "agent.max_iterations=70"], 70),
        ({}, [*TRAIN, "agent.max_iterations=70", "--max_iterations", "50"], 50),
        ({"agent.max_iterations": 90}, [*TRAIN, "agent.max_iterations=70"], 90),
        ({"agent.max_iterations": 90}, [*TRAIN, "--max_iterations", "50"], 50),
        ({"max_iterations": 20}, ["python", "t.py", "${args}"], 20),
        ({}, [*TRAIN, "--max_iterations", "many"], None),
        ({}, [*TRAIN, "--max_iterations", "0"], None),
        ({}, SKRL, None),
        ({}, SB3, None),
        ({}, ["python", "train.py"], None),
        ({}, [], None),
    ],
    ids=str,
)
def test_iterations_are_what_the_trainer_wrote_else_what_it_was_told(
    config: dict[str, Any], command: list[object], steps: int | None
) -> None:
    assert progress("running", {"_step": 7}, config, command).steps == steps


@pytest.mark.parametrize(
    ("state", "step", "steps", "phase", "done"),
    [
        ("pending", None, 100, Phase.STARTING, 0),
        ("running", None, 100, Phase.STARTING, 0),
        ("running", None, None, Phase.STARTING, None),
        ("running", 0, 100, Phase.TRAINING, 1),
        ("running", 98, 100, Phase.TRAINING, 99),
        ("running", 99, 100, Phase.CLOSING, 100),
        ("running", 100, 100, Phase.TRAINING, 100),  # it went on from a checkpoint
        ("running", 5, None, Phase.TRAINING, 5),
        ("running", "5", None, Phase.TRAINING, 5),
        ("running", float("nan"), None, Phase.STARTING, None),
        ("preempting", 5, 100, None, 6),
        ("preempted", 5, 100, None, 6),
        ("finished", 99, 100, None, 100),
        ("failed", None, 100, None, None),
    ],
)
def test_a_run_starts_trains_and_closes(
    state: str, step: object, steps: int | None, phase: Phase | None, done: int | None
) -> None:
    config = {"train_cfg": {"max_iterations": steps}}
    seen = progress(state, {} if step is None else {"_step": step}, config, TRAIN)
    assert (seen.phase, seen.done) == (phase, done)


@pytest.mark.parametrize(
    ("finished", "at_work", "waiting", "agents", "eta"),
    [
        ([], [3.0], 5, 1, None),
        ([60.0], [], 5, 0, None),
        ([60.0], [20.0], 0, 1, 40.0),
        ([60.0], [20.0], 2, 1, 160.0),
        ([60.0], [20.0, 50.0], 2, 2, 100.0),
        ([60.0], [20.0, 50.0], 3, 2, 130.0),
        ([50.0, 60.0, 900.0], [0.0], 1, 1, 120.0),
        ([60.0], [70.0], 0, 1, None),
        ([60.0], [70.0], 1, 1, 60.0),
    ],
)
def test_the_end_is_reckoned_from_finished_runs_and_the_agents_at_work(
    finished: list[float], at_work: list[float], waiting: int, agents: int, eta: float | None
) -> None:
    assert eta_s(finished, at_work, waiting, agents) == eta
