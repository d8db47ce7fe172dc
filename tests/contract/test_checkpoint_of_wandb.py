"""Isaac Lab's own `--checkpoint wandb:ENTITY/PROJECT/RUN`, of a run of a sweep on our server."""

import re

import pytest

from tests.contract.agents import World
from tests.serving import wait_for

WORDS = [
    "--rl_library",
    "rsl_rl",
    "--task",
    "Toy-Legs",
    "--num_envs",
    "16",
    "--device",
    "cpu",
    "agent.device=cpu",
]
METRIC = {"name": "Perf/total_fps", "goal": "maximize"}
RATE = {"agent.algorithm.learning_rate": {"value": 1e-4}}


def trained(world: World, *more: str) -> tuple[str, str]:
    """Train the one run of a sweep; give its id and what its agent said."""
    command = ["isaaclab", "train", *WORDS, "--max_iterations", "2", *more]
    sweep = world.sweep(command, parameters=RATE, metric=METRIC)
    agent = world.start(sweep)
    assert agent.wait(300) == 0, agent.said
    assert world.run(sweep).state == "finished", agent.said
    return world.run(sweep).id, agent.said


@pytest.mark.trainer
def test_a_run_of_a_sweep_is_trained_further_and_played_by_its_name(real: World) -> None:
    first, said = trained(real, "agent.save_interval=1")
    name = f"wandb:local/agents/{first}"
    assert name in said, "Isaac Lab prints it"
    _, said = trained(real, "--resume", "--checkpoint", f"{name}?checkpoint=1")
    assert f"logs/wandb_checkpoints/agents/{first}/model_1.pt" in said
    assert re.findall(r"Learning iteration (\d+)/", said) == ["1", "2"]
    play = real.start_command(
        ["isaaclab", "play", *WORDS, "--checkpoint", name], PYTHONUNBUFFERED="1"
    )
    policy = real.folder / "logs/wandb_checkpoints/agents" / first / "exported/policy.pt"
    is_over = lambda: policy.is_file() or play.process.poll() is not None  # noqa: E731
    wait_for("a policy that is played", is_over, 300)
    assert policy.is_file(), play.said
    assert f"logs/wandb_checkpoints/agents/{first}/model_1.pt" in play.said
