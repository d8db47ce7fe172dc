"""Sweeps by the stock command line and agent of the real wandb SDK."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.conftest import Sdk
from tests.contract.sweep_of import SweepOf, sweep_file
from tests.serving import ServerProcess, wait_for

TRAINER = """
import json, sys, time, wandb
run = wandb.init()
open("seen.jsonl", "a").write(json.dumps({**dict(run.config), "argv": sys.argv[1:]}) + "\\n")
for n in range(3):
    run.log({"loss": run.config["a"] / (n + 1)})
while run.config.get("wait"):
    run.log({"loss": 5.0})
    time.sleep(0.1)
run.finish()
"""


@pytest.fixture
def make_sweep(server: ServerProcess, sdk: Sdk) -> Callable[..., SweepOf]:
    """Give the function that creates a sweep by `wandb sweep FILE`."""
    (sdk.home / "train.py").write_text(TRAINER)

    def make(method: str = "grid", **parameters: Any) -> SweepOf:
        spec = sweep_file(sdk.home, method, parameters)
        return SweepOf(server, sdk, sdk.cli("sweep", "-p", "p", str(spec)))

    return make


def seen(sdk: Sdk) -> list[dict[str, Any]]:
    lines = (sdk.home / "seen.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_stock_agent_trains_a_grid_and_the_public_api_reads_the_result(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[3, 1, 2], b={"value": 1e-05}, n={"parameters": {"x": {"value": 4}}})
    assert sweep.state == "PENDING"
    first = sdk.end(sdk.start_agent(sweep.path, "--count", "1"))
    assert first[0] == 0, first
    assert sweep.states == ["finished"]
    assert sweep.state == "RUNNING"
    code, out, err = sdk.end(sdk.start_agent(sweep.path))
    assert code == 0, out + err
    assert sweep.state == "FINISHED"
    assert sweep.states == ["finished"] * 3
    assert [run["a"] for run in seen(sdk)] == [3, 1, 2]
    assert seen(sdk)[0] == {
        "a": 3,
        "b": 1e-05,
        "n": {"x": 4},
        "argv": ["--a=3", "--b=1e-05", "--n={'x': 4}"],
    }
    found = sdk.ask(READ, sweep.path, json.dumps([run["name"] for run in sweep.runs]))
    assert found["state"] == "FINISHED"
    assert found["expected"] == 3
    assert found["best"] == [1, pytest.approx(1 / 3)]
    assert found["by_loss"] == [3, 2, 1]
    assert found["below"] == [1]
    assert found["agents"] == [1, 2]
    assert found["agent_runs"] == [1, 2]
    assert found["projects"] == ["p"]
    assert found["sweeps"] == [sweep.id]
    assert found["histories"] == 9


READ = """
import json, sys, wandb
api = wandb.Api()
sweep = api.sweep(sys.argv[1])
best = sweep.best_run()
BELOW = {"config.a.value": {"$lt": 2}}
runs = api.runs("local/p", filters={"sweep": sweep.id}, order="-summary_metrics.loss", per_page=2)
print(json.dumps({
    "state": sweep.state, "expected": sweep.expected_run_count,
    "best": [best.config["a"], best.summary["loss"]],
    "by_loss": [run.config["a"] for run in runs],
    "below": [run.config["a"] for run in api.runs("local/p", filters=BELOW)],
    "agents": [agent.total_runs for agent in sweep.agents()],
    "agent_runs": [len(list(agent.runs())) for agent in sweep.agents()],
    "projects": [project.name for project in api.projects("local")],
    "sweeps": [s.id for s in api.project("p", "local").sweeps()],
    "histories": len(runs.histories(samples=100)),
}))
"""


def test_a_sweep_is_changed_by_wandb_sweep_update(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[1])
    assert sweep.train_one() == {"a": 1}
    wait_for("the sweep's end", lambda: sweep.state == "FINISHED")
    bigger = sweep_file(sdk.home, "grid", {"a": [1, 2]})
    sdk.cli("sweep", "--update", sweep.path, str(bigger))
    sweep.set("--resume")
    assert sweep.train_one() == {"a": 2}
    wait_for("the sweep's end", lambda: sweep.state == "FINISHED")
    assert sweep.ask()["runCountExpected"] == 2


def test_pause_holds_back_new_runs_and_resume_goes_on(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[1, 2])
    sweep.train_one()
    sweep.set("--pause")
    agent = sdk.start_agent(sweep.path)
    wait_for("the second agent", lambda: len(sweep.ask()["agents"]["edges"]) == 2)
    assert sweep.states == ["finished"]
    assert sweep.state == "PAUSED"
    sweep.set("--resume")
    assert sdk.end(agent)[0] == 0
    assert sweep.states == ["finished"] * 2
    assert sweep.state == "FINISHED"


def test_cancel_stops_the_run_and_then_the_agent(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[1, 2], wait={"value": True})
    agent = sdk.start_agent(sweep.path)
    sweep.wait_until_training()
    sweep.set("--cancel")
    code, out, err = sdk.end(agent)
    assert code == 0, out + err
    assert "Agent received command: stop" in err
    assert sweep.state == "CANCELED"
    assert sweep.states == ["killed"]


def test_stop_lets_the_run_end_and_hands_out_no_other(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[1, 2, 3], wait={"value": True})
    agent = sdk.start_agent(sweep.path)
    sweep.wait_until_training()
    sweep.set("--stop")
    assert sweep.state == "FINISHED"
    assert agent.poll() is None
    end_trainer(sweep.runs[0]["name"])
    assert sdk.end(agent)[0] == 0
    assert len(sweep.runs) == 1


def end_trainer(run_id: str) -> None:
    """Kill the process that trains a run: the one whose environment names it."""
    wanted = f"WANDB_RUN_ID={run_id}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if wanted in environ and b"train.py" in command:
            os.kill(int(entry.name), signal.SIGKILL)


def test_a_run_whose_trainer_is_killed_is_taken_again_with_its_id_and_parameters(
    make_sweep: Callable[..., SweepOf], sdk: Sdk
) -> None:
    sweep = make_sweep(a=[1.5], wait={"value": True})
    agent = sdk.start_agent(sweep.path)
    sweep.wait_until_training()
    (run,) = sweep.runs
    end_trainer(run["name"])
    wait_for("the second attempt", lambda: len(seen(sdk)) == 2)
    (again,) = sweep.runs
    assert again["name"] == run["name"]
    assert json.loads(again["config"])["a"]["value"] == 1.5
    assert seen(sdk)[0] == seen(sdk)[1]
    sweep.set("--cancel")
    assert sdk.end(agent)[0] == 0


BAD = {
    "bayes": (
        {"method": "bayes", "metric": {"name": "l"}, "parameters": {"a": {"value": 1}}},
        "parameters: bayes needs one to search, and all of these are constants",
    ),
    "continuous grid": (
        {"method": "grid", "parameters": {"a": {"min": 0.0, "max": 1.0}}},
        "a: a grid needs values to try",
    ),
}


@pytest.mark.parametrize(("document", "message"), BAD.values(), ids=BAD)
def test_wandb_sweep_shows_why_a_sweep_is_refused(
    server: ServerProcess, sdk: Sdk, document: dict[str, Any], message: str
) -> None:
    path = sdk.home / "bad.yaml"
    path.write_text(yaml.safe_dump({"program": "train.py", **document}))
    assert message in sdk.cli("sweep", "-p", "p", str(path), fails=True)
    assert server.graphql('{ project(name: "p") { totalSweeps } }')["project"] is None


def test_wandb_sweep_shows_the_warnings(server: ServerProcess, sdk: Sdk) -> None:
    path = sweep_file(sdk.home, "random", {"a": [1]}, early_stopping={})
    said = sdk.cli("sweep", "-p", "p", str(path))
    assert "unknown key 'early_stopping'" in said
    assert "Creating sweep with ID" in said


def test_two_stock_agents_share_a_grid(make_sweep: Callable[..., SweepOf], sdk: Sdk) -> None:
    sweep = make_sweep(a=[1, 2, 3])
    agents: list[subprocess.Popen[str]] = [sdk.start_agent(sweep.path) for _ in range(2)]
    for agent in agents:
        assert sdk.end(agent)[0] == 0
    assert sorted(run["a"] for run in seen(sdk)) == [1, 2, 3]
    assert sweep.states == ["finished"] * 3
    assert sweep.state == "FINISHED"
