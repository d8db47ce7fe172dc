"""Every feature with every version of W&B's client; `make test-clients` prints the table."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import LACKS, Cells, clients, python_of
from tests.contract.conftest import AGENT_LAUNCHER
from tests.serving import ServerProcess, sdk_environ

WORK = Path(__file__).with_name("clients_work.py")
EXPECTED: dict[str, Any] = {
    "history": [[number, 1 / (number + 1)] for number in range(6)],
    "config and summary": ["a name 😀", "finished", {"lr": 1e-5, "a": [1]}, 7.25, 1 / 6],
    "files": ["kept", ["config.yaml", "kept.txt", "output.log"]],
    "resume": [6, 7, 7.25],
    "media": [
        {
            "table": "table-file",
            "video": "video-file",
            "html": "html-file",
            "histogram": "histogram",
        },
        [True, True, True],
    ],
    "offline sync": [[0, 1, 2, 3], 3, {"lr": 2}, "finished"],
    "preemption": "preempted",
    "public api": [["r"], ["off"], ["r", "off"], 1, ["t", "good"], 3, ["off", "pre", "r"]],
}
RUN = """{ project(name: "p") { run(name: "r") {
  events logLines(first: 100) { edges { node { line } } } } } }"""
ALL = """{ project(name: "p") { runs(order: "+created_at") { edges { node {
  name sweepName state config summaryMetrics history(samples: 1000) exitcode
  files { edges { node { name md5 } } } } } } } }"""
TRAIN = """
import sys, wandb
if sys.argv[1] == "--a=2":
    raise SystemExit("no simulator")  # before wandb.init
run = wandb.init(project="p")
for number in range(3):
    run.log({"loss": run.config.a + number})
open(f"note-{run.config.a}.txt", "w").write(str(run.config.a))
run.save(f"note-{run.config.a}.txt", policy="now")
run.finish()
"""
SPEC = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "program": "train.py",
    "parameters": {"a": {"values": [1, 2, 3]}},
}


@pytest.mark.parametrize("client", clients("history"))
def test_a_client_of_any_version_logs_resumes_syncs_and_reads(
    client: str, server: ServerProcess, tmp_path: Path, cells: Cells
) -> None:
    names = [*EXPECTED, "console output", "system metrics"]
    with cells.of(client, *names) as note:
        _run(tmp_path, server, client, str(WORK))
        found = json.loads((tmp_path / "work" / "found.json").read_text())
        assert not note({name: found[name] == EXPECTED[name] for name in EXPECTED}), found
        run = server.graphql(RUN)["project"]["run"]
        console = [edge["node"]["line"].strip() for edge in run["logLines"]["edges"]]
        is_told = {
            "console output": "a line of its output" in console,
            "system metrics": any("system." in text for text in run["events"]),
        }
        assert not note(is_told), (console, run["events"])
        assert "unknown" not in server.log, server.log


@pytest.mark.parametrize("client", clients("sweep agent"))
def test_the_agent_of_any_version_trains_a_sweep_whose_folder_another_server_takes(
    client: str,
    start_server: Callable[..., ServerProcess],
    tmp_path: Path,
    cells: Cells,
) -> None:
    names = ("sweep agent", "sweep commands", "prior runs", "sync to another server")
    with cells.of(client, *names) as note:
        server = start_server()
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "train.py").write_text(TRAIN)
        (tmp_path / "work" / "sweep.yaml").write_text(json.dumps(SPEC))
        make = ("-m", "wandb", "sweep", "-p", "p")
        made = _run(tmp_path, server, client, *make, "sweep.yaml")
        sweep = made.split("Creating sweep with ID: ")[1].split()[0]
        name, states = f"local/p/{sweep}", []
        _run(tmp_path, server, client, "-c", AGENT_LAUNCHER, "agent", "--count", "1", name)
        for verb in ("--pause", "--resume"):
            _run(tmp_path, server, client, "-m", "wandb", "sweep", verb, name)
            states.append(_state(server, sweep))
        _run(tmp_path, server, client, "-c", AGENT_LAUNCHER, "agent", name)
        states.append(_state(server, sweep))
        runs = _runs(server)
        prior = [word for run in runs[:2] for word in ("-R", run["name"])]
        if client not in LACKS["prior runs"]:
            made = _run(tmp_path, server, client, *make, *prior, "sweep.yaml")
            second = made.split("Creating sweep with ID: ")[1].split()[0]
            assert not note({"prior runs": _state(server, second) == "PENDING 2"})
        # The run that failed before wandb.init is handed out once.
        ends = [(run["sweepName"], run["state"], run["summaryMetrics"].get("loss")) for run in runs]
        is_ok = {
            "sweep agent": ends
            == [(sweep, "finished", 3), (sweep, "failed", None), (sweep, "finished", 5)],
            "sweep commands": states == ["PAUSED 1", "RUNNING 1", "FINISHED 3"],
        }
        assert not note(is_ok), (states, runs)
        other = start_server()
        folders = sorted(str(path) for path in tmp_path.glob("home/wandb/run-*"))
        assert len(folders) == 2
        sync = ("-m", "wandb", "sync")
        told = _run(tmp_path, other, client, *sync, "--help")
        online = ["--no-skip-online"] if "skip-online" in told else []
        _run(tmp_path, other, client, *sync, *online, *folders)
        here, there = _comparable(runs), _comparable(_runs(other))
        assert not note({"sync to another server": here == there}), (here, there)


def _run(folder: Path, server: ServerProcess, client: str, *words: str) -> str:
    python = python_of(client)
    environ = {**sdk_environ(server.url, folder / "home"), "WANDB_SILENT": "false"}
    environ["PATH"] = f"{Path(python).parent}:{environ['PATH']}"
    (folder / "work").mkdir(exist_ok=True)
    done = subprocess.run(
        [python, *words],
        env=environ,
        cwd=folder / "work",
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = done.stderr + done.stdout
    assert done.returncode == 0, said
    return said


def _runs(server: ServerProcess) -> list[dict[str, Any]]:
    nodes = [edge["node"] for edge in server.graphql(ALL)["project"]["runs"]["edges"]]
    return [{**node, "summaryMetrics": json.loads(node["summaryMetrics"])} for node in nodes]


def _state(server: ServerProcess, sweep: str) -> str:
    query = 'query S($s: String) { project(name: "p") { sweep(sweepName: $s) { state runCount } } }'
    found = server.graphql(query, {"s": sweep})["project"]["sweep"]
    return f"{found['state']} {found['runCount']}"


def _comparable(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Give what is to be the same at another server, of the runs that a client has begun.

    Of files that W&B's client makes itself the names: some versions write them anew.
    """
    return {
        run["name"]: {
            "state": run["state"],
            "exitcode": run["exitcode"],
            "config": {
                k: v["value"] for k, v in json.loads(run["config"]).items() if k != "_wandb"
            },
            "summary": {k: v for k, v in run["summaryMetrics"].items() if k != "_wandb"},
            "history": [json.loads(text) for text in run["history"]],
            "files": {
                file["name"]: file["md5"] if file["name"].startswith("note-") else None
                for file in (edge["node"] for edge in run["files"]["edges"])
            },
        }
        for run in runs
        if run["summaryMetrics"]
    }
