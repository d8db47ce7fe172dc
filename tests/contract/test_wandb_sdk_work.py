"""What the stock agent and command line leave unsaid: failed starts, leaving, ends, prior runs."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import Sdk
from tests.contract.sweep_of import SweepOf, sweep_file
from tests.serving import ServerProcess, wait_for

BREAKS = """
import os, sys
a = int(sys.argv[1].partition("=")[2])
open("started", "a").write(f"{a}\\n")
if a == 2:
    sys.exit(1)
if a == 3:
    os.abort()
import wandb
run = wandb.init()
run.log({"loss": a})
run.finish()
"""

LEAVES = """
import signal, sys, time, wandb
run = wandb.init()
def leave(*_):
    run.mark_preempting()
    run.finish(exit_code=143)
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
run.log({"loss": 1.0})
open("started", "a").write(run.id + "\\n")
while "go on" not in open("mood").read():
    time.sleep(0.1)
run.finish()
"""


SWEEPCTL = "import runpy; runpy.run_module('sweepctl', run_name='__main__')"


@pytest.fixture
def make_sweep(server: ServerProcess, sdk: Sdk) -> Callable[..., SweepOf]:
    """Give the function that creates a grid by `wandb sweep OPTIONS FILE`."""

    def make(*options: str, **parameters: Any) -> SweepOf:
        spec = sweep_file(sdk.home, "grid", parameters)
        return SweepOf(server, sdk, sdk.cli("sweep", "-p", "p", *options, str(spec)))

    return make


def started(sdk: Sdk) -> list[str]:
    log = sdk.home / "started"
    return log.read_text().split() if log.exists() else []


def test_a_run_that_fails_before_wandb_init_is_handed_out_once(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    (sdk.home / "train.py").write_text(BREAKS)
    sweep = make_sweep(a=[1, 2, 3, 4])
    code, out, err = sdk.end(sdk.start_agent(sweep.path))
    assert code == 0, out + err
    assert started(sdk) == ["1", "2", "3", "4"]
    assert sweep.states == ["finished", "failed", "failed", "finished"]
    assert sweep.state == "FINISHED"
    _, told, _ = sdk.end(sdk.start(SWEEPCTL, "status", sweep.path))
    assert "its trainer ended before it began the run" in told
    _, _, told = sdk.end(sdk.start(SWEEPCTL, "logs", sweep.path))
    assert "`wandb agent` keeps none, its terminal has shown it" in told


def test_a_run_that_a_leaving_agent_hands_back_is_handed_on_at_once(
    start_server: Callable[..., ServerProcess],
    make_sdk: Callable[[str], Sdk],
) -> None:
    server = start_server("--agent-timeout-s", "3600")
    sdk = make_sdk(server.url)
    (sdk.home / "train.py").write_text(LEAVES)
    (sdk.home / "mood").write_text("wait")
    spec = sweep_file(sdk.home, "grid", {"a": [1]})
    sweep = SweepOf(server, sdk, sdk.cli("sweep", "-p", "p", str(spec)))
    leaving = sdk.start_agent(sweep.path, "--forward-signals")
    wait_for("the trainer", lambda: started(sdk), limit_s=60)
    leaving.send_signal(signal.SIGTERM)
    sdk.end(leaving)
    assert sweep.states == ["preempted"]
    (sdk.home / "mood").write_text("go on")
    code, out, err = sdk.end(sdk.start_agent(sweep.path))
    assert code == 0, out + err
    assert sweep.states == ["finished"]
    assert len(started(sdk)) == 2
    assert len(set(started(sdk))) == 1


def test_a_sweep_that_has_ended_is_not_paused_and_says_that_nothing_is_left(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[1])
    sweep.train_one()
    wait_for("the sweep's end", lambda: sweep.state == "FINISHED")
    assert "Cannot pause finished sweep." in sdk.cli("sweep", "--pause", sweep.path, fails=True)
    said = sdk.cli("sweep", "--resume", sweep.path, fails=True)
    assert f"sweep {sweep.id} stays FINISHED: it has had its 1 runs and has none left" in said
    assert sweep.state == "FINISHED"
    bigger = sweep_file(sdk.home, "grid", {"a": [1, 2]})
    sdk.cli("sweep", "--update", sweep.path, str(bigger))
    assert sweep.state == "RUNNING"
    assert sweep.train_one() == {"a": 2}


@pytest.mark.parametrize("option", ["-R", "--prior_run"])
def test_wandb_sweep_counts_prior_runs(
    make_sweep: Callable[..., SweepOf], sdk: Sdk, option: str
) -> None:
    script = "import sys, wandb\n" + "\n".join(
        f"r = wandb.init(project='p', id='r{a}', config={{'a': {a}}})\n"
        f"r.log({{'loss': {a}.5}})\nr.finish()"
        for a in (1, 3)
    )
    sdk.run(script)
    sweep = make_sweep(option, "r1", option, "r3", a=[1, 2, 3])
    assert sweep.ask()["runCount"] == 2
    assert sweep.train_one() == {"a": 2}
    wait_for("the sweep's end", lambda: sweep.state == "FINISHED")
    found = sdk.ask(READ, sweep.path)
    assert found == {"runs": [1, 2, 3], "best": ["r1", 1.5], "expected": 3}


READ = """
import json, sys, wandb
sweep = wandb.Api().sweep(sys.argv[1])
best = sweep.best_run()
print(json.dumps({
    "runs": sorted(run.config["a"] for run in sweep.runs),
    "best": [best.id, best.summary["loss"]], "expected": sweep.expected_run_count,
}))
"""
