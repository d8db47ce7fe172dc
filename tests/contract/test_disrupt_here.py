"""A sweep on this machine is disrupted: the trainer of a real agent dies, and its run goes on."""

import json
import os
import subprocess
import sys

from tests.contract.agents import ROOT, World
from tests.serving import API_KEY, wait_for


def disrupt(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweepctl", "disrupt", *words, "--server", world.server.url],
        env={
            **world.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "WANDB_API_KEY": API_KEY,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_a_trainer_on_this_machine_is_killed_and_its_run_is_trained_to_its_end(
    world: World,
) -> None:
    sweep = world.sweep(world.trainer("log", "note:start", "hang-once"))
    beside = world.sweep(world.trainer("log", "note:beside", "hang"))
    agent, other = world.start(sweep), world.start(beside)
    world.wait_noted("start")
    world.wait_noted("beside")
    wait_for("it runs", lambda: world.run(sweep).state == "running")
    refused = disrupt(world, sweep.full_name, "--kind", "evict")
    assert refused.returncode == 2
    assert "--kind evict is for pods, and this sweep is in no cluster" in refused.stderr
    run = world.run(sweep).id
    tried = disrupt(world, sweep.full_name, "--kind", "crash", "--dry-run=client")
    assert f"crash, run {run} (dry run)" in tried.stdout, tried.stderr
    done = disrupt(world, sweep.full_name, "--kind", "crash", "-o", "json")
    assert done.returncode == 0, done.stderr
    (hit,) = json.loads(done.stdout)["disruptions"]
    assert (hit["run"], hit["outcome"], hit["pod"]) == (run, "finished", None)
    assert agent.wait() == 0
    assert len(world.noted("start")) == 2
    assert world.run(beside).state == "running"
    assert other.process.poll() is None
    ended = disrupt(world, sweep.full_name, "--kind", "crash")
    assert ended.returncode == 1
    assert f"sweep {sweep.full_name} has ended: nothing is trained" in ended.stderr
