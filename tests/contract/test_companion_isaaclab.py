"""The companion under the agent, in the real Isaac Lab."""

import json
import re
import signal
from typing import Any

import pytest

from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from tests.contract.agents import DEVICE, Agent, World
from tests.serving import wait_for

ITERATIONS = 18 if DEVICE == "cpu" else 150
"""A GPU is done with 18 before anybody can have it leave."""
TRAIN = [
    *("--task", "Toy-Legs", "--num_envs", "16", "--device", DEVICE, f"agent.device={DEVICE}"),
    *("agent.save_interval=4", "--max_iterations", str(ITERATIONS)),
]
PARAMETERS = {"env.scene.robot.actuators.legs.stiffness": {"value": 150.0}}
METRIC = {"name": "Perf/total_fps", "goal": "maximize"}


def progress_of(world: World, sweep: SweepInfo) -> dict[str, Any]:
    path = world.work / world.run(sweep).id / ".sweepctl" / "progress.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def leaves_after(iteration: int, agent: Agent, world: World, sweep: SweepInfo) -> int:
    """Have the agent told to leave when an iteration is complete; give the last one kept."""

    def is_there() -> bool:
        assert agent.process.poll() is None, agent.said
        runs = world.runs(sweep)
        return bool(runs) and int(progress_of(world, sweep).get("iteration", -1)) >= iteration

    wait_for(f"iteration {iteration}", is_there, 300)
    agent.send(signal.SIGTERM)
    assert agent.wait(120) == 75, agent.said
    (kept,) = re.findall(r"SIGTERM: checkpoint (\d+) is kept, leaving", agent.said)
    return int(kept)


def history(world: World, run: RunInfo) -> list[int]:
    asked = f'{{ project(name: "agents") {{ run(name: "{run.id}") {{ history }} }} }}'
    rows = world.client.graphql(asked, {})["project"]["run"]["history"]
    return [json.loads(row)["_step"] for row in rows]


def iterations(agent: Agent) -> list[int]:
    return [
        int(number) for number in re.findall(rf"Learning iteration (\d+)/{ITERATIONS}", agent.said)
    ]


@pytest.mark.trainer
def test_isaac_lab_is_ended_twice_and_trains_no_iteration_twice(real: World) -> None:
    command = ["isaaclab", "train", "--rl_library", "rsl_rl", *TRAIN]
    sweep = real.sweep(command, parameters=PARAMETERS, metric=METRIC)
    first = real.start(sweep, SWEEPCTL_GRACE_S="60")
    kept = leaves_after(5, first, real, sweep)
    assert iterations(first) == list(range(kept + 1)), first.said
    second = real.start(sweep, SWEEPCTL_GRACE_S="60")
    assert leaves_after(kept + 4, second, real, sweep) > kept
    third = real.start(sweep)
    assert third.wait(300) == 0, third.said
    trained = [number for agent in (first, second, third) for number in iterations(agent)]
    assert trained == list(range(ITERATIONS))
    run = real.run(sweep)
    assert run.state == "finished", third.said
    assert history(real, run) == list(range(ITERATIONS))
    folder = real.folder / "logs/rsl_rl/toy_legs" / run.id
    models = {f"model_{number}.pt" for number in (*range(0, ITERATIONS, 4), ITERATIONS - 1)}
    assert {path.name for path in folder.glob("model_*")} == models
    real.nothing_is_left()


@pytest.mark.trainer
def test_isaac_lab_in_two_processes_is_ended_and_goes_on_as_a_whole(two_cpus: World) -> None:
    launcher = ["isaaclab", "train_multigpu", "--nproc_per_node", "2", "--log_all_ranks"]
    command = [*launcher, "--rl_library", "rsl_rl", *TRAIN]
    sweep = two_cpus.sweep(command, parameters=PARAMETERS, metric=METRIC)
    first = two_cpus.start(sweep, SWEEPCTL_GRACE_S="60")
    kept = leaves_after(3, first, two_cpus, sweep)
    two_cpus.nothing_is_left()
    second = two_cpus.start(sweep)
    assert second.wait(600) == 0, second.said
    going_on = f"going on from checkpoint {kept}, at iteration {kept + 1} of {ITERATIONS}"
    assert second.said.count(going_on) == 2, second.said
    assert iterations(second) == list(range(kept + 1, ITERATIONS))
    run = two_cpus.run(sweep)
    assert run.state == "finished", second.said
    assert history(two_cpus, run) == list(range(ITERATIONS))
    two_cpus.nothing_is_left()
