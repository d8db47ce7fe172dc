"""Runs that failed and are given back, by the command line, to a real agent."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sweepctl.sweeps import retry as retry_module
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.retry import QUEUED, RETRIED, retry_runs
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.wandb.client import Connection, RunInfo, SweepInfo
from tests.contract.agents import ROOT, World
from tests.contract.wandb_proper import ProperProxy
from tests.serving import API_KEY, wait_for


def retry(world: World, sweep: SweepInfo, *words: str) -> subprocess.CompletedProcess[str]:
    where = ("--server", world.environ["WANDB_BASE_URL"])
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


def silent_s(run: RunInfo) -> float:
    heard = read_time(run.heartbeat_at)
    assert heard is not None
    return time.time() - heard.timestamp()


class NoRetry(ProperProxy):
    """W&B proper, which refuses what only the embedded server knows, and is no sweepctl server."""

    def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        if b"retryRun" in body:
            refusal = {"message": 'Cannot query field "retryRun" on type "Mutation".'}
            return 400, "application/json", json.dumps({"errors": [refusal]}).encode()
        return super().ask(method, path, body, headers)


@pytest.mark.parametrize(
    "world", [["--agent-timeout-s", "100000", "--run-timeout-s", "100000"]], indirect=True
)
def test_at_wandb_a_failed_run_is_handed_back_and_an_agent_trains_it_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = NoRetry(world.server.url)
    try:
        words = ("note:start", f"signal-once:{signal.SIGTERM:d}", "log")
        sweep = world.sweep(world.trainer(*words))
        world.environ |= {"WANDB_BASE_URL": proxy.url, "SWEEPCTL_ADOPT_AFTER_S": "6"}
        proxy.is_over = True
        assert world.start(sweep).wait() == 0
        failed = world.run(sweep)
        assert failed.state == "failed"
        monkeypatch.setattr(retry_module, "ENTITY", "nobody")  # this one is named local
        api = WandbApi(Connection(proxy.url, API_KEY, "local"))
        name = SweepName("local", "agents", sweep.id)
        done = retry_runs(api, name, [], RETRIED, is_dry=False)
        assert [(each.run, each.result) for each in done.runs] == [(failed.id, QUEUED)], done
        # The proxy has no queue of its own: the run is taken up as one that was lost.
        wait_for("the run is silent", lambda: silent_s(world.run(sweep)) > 2)
        again = world.start(sweep)
        assert again.wait() == 0, again.said
        assert proxy.exits(failed.id)[-2:] == [143, 0]
        assert world.run(sweep).config == failed.config
        first, second = world.noted("start")
        assert first == second
    finally:
        proxy.close()
