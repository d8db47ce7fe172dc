"""From SIGTERM to the agent's exit, with the checkpoint at the server: 1, 10 and 100 MB.

    .venv/bin/python -m benchmarks.leaving [--times N] [--isaaclab]

A real agent, a real embedded server on loopback, a trainer that saves so many bytes on SIGTERM. The
twin of each measurement is a run that saves nothing: what is left is what the checkpoint costs.
`--isaaclab` does it once more with real Isaac Lab, whose networks are made that large: an iteration
that is under way is ended first, the companion saves, and W&B's client ends its run.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sweepctl_pod.checkpoint import REMOTE_FOLDER
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.run_files import list_folder
from tests.contract.agents import World
from tests.serving import ServerProcess, wait_for

SIZES_MB = (0, 1, 10, 100)
WIDTHS = {1: 186, 10: 622, 100: 2036}
"""The hidden layers of actor and critic that make a checkpoint of so many MB, Adam's included."""
GRACE_S = 120
TOY = Path(__file__).parents[1] / "examples" / "toy_legs" / ".venv" / "bin"
ISAACLAB = [
    *("isaaclab", "train", "--rl_library", "rsl_rl", "--task", "Toy-Legs", "--num_envs", "16"),
    *("--device", "cpu", "agent.device=cpu", "--max_iterations", "100000"),
    # Networks of 2,000 neurons a layer would learn themselves to NaN.
    *("agent.algorithm.schedule=fixed", "agent.algorithm.learning_rate=0.000001"),
]


@dataclass(frozen=True, slots=True)
class Left:
    """One agent that was told to leave."""

    took_s: float
    is_sent: bool
    sent_mb: float


def leave(server: ServerProcess, folder: Path, size_mb: int) -> Left:
    """Have the obedient trainer's agent leave."""
    folder.mkdir()
    world = World(server, folder)
    count = f"count:100000:0.02:1000000:{size_mb << 20}"
    sweep = world.sweep(world.trainer("log", count))
    pattern = ["--checkpoint-pattern", "kept/$WANDB_RUN_ID.ckpt"] if size_mb else []
    try:
        world.start(sweep, "--grace-s", str(GRACE_S), *pattern)
        world.wait_noted("step:5")
        return leaves(world, sweep)
    finally:
        world.end()


def leave_isaaclab(server: ServerProcess, folder: Path, size_mb: int) -> Left:
    """Have the agent of a real training leave, at some moment of an iteration."""
    folder.mkdir()
    world = World(server, folder)
    world.environ |= {
        "PATH": f"{TOY}:{world.environ['PATH']}",
        "HOME": str(Path.home()),  # the compiled kernels are kept there
        "WANDB_ERROR_REPORTING": "false",
    }
    width = WIDTHS.get(size_mb, 32)
    layers = [f"agent.{net}.hidden_dims=[{width},{width}]" for net in ("actor", "critic")]
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    parameters = {"env.scene.robot.actuators.legs.stiffness": {"value": 150.0}}
    sweep = world.sweep([*ISAACLAB, *layers], parameters=parameters, metric=metric)
    companion = "on" if size_mb else "off"
    try:
        world.start(sweep, "--grace-s", str(GRACE_S), SWEEPCTL_CHECKPOINT_COMPANION=companion)
        wait_for("a few iterations", lambda: _iteration(world, sweep) >= 3, 600)
        return leaves(world, sweep)
    finally:
        world.end()


def _iteration(world: World, sweep: SweepInfo) -> int:
    (agent,) = world.agents
    if agent.process.poll() is not None:
        raise AssertionError(f"the agent has ended by itself:\n{agent.said[-2000:]}")
    return agent.said.count("Learning iteration")


def leaves(world: World, sweep: SweepInfo) -> Left:
    """Tell the agent to leave; say how long it took and what is at the server."""
    (agent,) = world.agents
    began = time.monotonic()
    agent.send(signal.SIGTERM)
    agent.wait()
    took_s = time.monotonic() - began
    place = (sweep.entity, sweep.project, world.run(sweep).id)
    files = list_folder(world.client, place, REMOTE_FOLDER)
    numbers = [int(Path(f.name).stem) for f in files if f.name.endswith(".json")]
    newest = f"{REMOTE_FOLDER}/{max(numbers, default=0)}."
    sent = sum(file.size_bytes for file in files if file.name.startswith(newest))
    return Left(took_s, bool(numbers), sent / 1e6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how often each is measured")
    parser.add_argument("--isaaclab", action="store_true", help="with real Isaac Lab as well")
    asked = parser.parse_args()
    trainers = {"a trainer that saves at once": leave}
    if asked.isaaclab:
        trainers["Isaac Lab, rsl_rl, 16 robots on the CPU"] = leave_isaaclab
    with tempfile.TemporaryDirectory() as scratch:
        server = ServerProcess(Path(scratch) / "data")
        try:
            for number, (name, way) in enumerate(trainers.items()):
                print(f"{name}\n  checkpoint   SIGTERM to exit, s (median, all)      at the server")
                for size_mb in SIZES_MB:
                    folders = [
                        Path(scratch) / f"{number}-{size_mb}-{time_}"
                        for time_ in range(asked.times)
                    ]
                    report(size_mb, [way(server, folder, size_mb) for folder in folders])
        finally:
            server.stop()


def report(size_mb: int, measured: list[Left]) -> None:
    """Print a line of one size."""
    seconds = [each.took_s for each in measured]
    sent = [each for each in measured if each.is_sent]
    listed = " ".join(f"{took_s:.2f}" for took_s in seconds)
    there = f"{len(sent)} of {len(measured)}" if size_mb else "-"
    if sent:
        there += f", {statistics.median(each.sent_mb for each in sent):.1f} MB"
    name = f"{size_mb} MB" if size_mb else "none"
    print(f"{name:>12}   {statistics.median(seconds):6.2f}   ({listed})   {there}", flush=True)


if __name__ == "__main__":
    main()
