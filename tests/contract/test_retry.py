"""Runs that failed and are given back, by the command line, to a real agent."""

import json
import os
import signal
import subprocess
import sys

from sweepctl_pod.wandb.client import SweepInfo
from tests.contract.agents import ROOT, World
from tests.serving import API_KEY


def retry(world: World, sweep: SweepInfo, *words: str) -> subprocess.CompletedProcess[str]:
    where = ("--server", world.server.url)
    return subprocess.run(
        [sys.executable, "-m", "sweepctl", "retry", sweep.full_name, *words, *where],
        env={
            **world.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "WANDB_API_KEY": API_KEY,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_failed_run_is_trained_again_as_it_was_and_its_sweep_ends_again(world: World) -> None:
    sweep = world.sweep(world.trainer("note:start", f"signal-once:{signal.SIGTERM:d}", "log"))
    assert world.start(sweep).wait() == 0
    failed = world.run(sweep)
    assert (failed.state, world.client.sweep("local", "agents", sweep.id).state) == (
        *("failed", "FINISHED"),
    )
    tried = retry(world, sweep, "--dry-run=client")
    assert (tried.returncode, tried.stdout) == (0, f"run/{failed.id} queued (dry run)\n")
    assert world.run(sweep).state == "failed"
    done = retry(world, sweep)
    assert (done.returncode, done.stdout) == (0, f"run/{failed.id} queued\n"), done.stderr
    assert retry(world, sweep, failed.id).stdout == ""
    again = world.start(sweep)
    assert again.wait() == 0, again.said
    assert (world.run(sweep).state, world.run(sweep).config) == ("finished", failed.config)
    first, second = world.noted("start")
    assert first == second
    assert world.client.sweep("local", "agents", sweep.id).state == "FINISHED"
    refused = retry(world, sweep, failed.id)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"error: run {failed.id} is finished" in refused.stderr
    nothing = retry(world, sweep, "-o", "json")
    assert nothing.returncode == 0
    assert json.loads(nothing.stdout)["runs"] == []
