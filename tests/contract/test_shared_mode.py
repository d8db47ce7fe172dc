"""Several processes of W&B's real client that write into one run at the same time."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients import Cells, clients, python_of
from tests.serving import ServerProcess, sdk_environ

WORK = Path(__file__).with_name("shared_work.py")
NAMES = ("0", "1", "2")
RUN = """{ project(name: "p") { run(name: "together") {
  state config summaryMetrics history events
  files { edges { node { name } } } logLines(first: 1000) { edges { node { line } } } } } }"""


@pytest.mark.parametrize("client", clients("shared mode"))
def test_each_process_of_a_shared_run_keeps_what_it_logs(
    client: str, server: ServerProcess, tmp_path: Path, cells: Cells
) -> None:
    with cells.of(client, "shared mode"):
        _check_together(_run_together(client, server, tmp_path, "shared"))


def _check_together(run: dict[str, Any]) -> None:
    history = [json.loads(text) for text in run["history"]]
    assert [line["_step"] for line in history] == list(range(60))
    console = [edge["node"]["line"] for edge in run["logLines"]["edges"]]
    events = " ".join(run["events"])
    summary, config = json.loads(run["summaryMetrics"]), json.loads(run["config"])
    files = {edge["node"]["name"] for edge in run["files"]["edges"]}
    for name in NAMES:
        assert [line[f"loss {name}"] for line in history if f"loss {name}" in line] == [*range(20)]
        said = [line.partition("line ")[2] for line in console if line.endswith(f" of {name}")]
        assert said == [f"{number} of {name}" for number in range(20)]
        assert f"/l:{name}" in events
        assert (summary[f"loss {name}"], summary[f"result {name}"]) == (19, name)
        assert config[f"of {name}"]["value"] == name
        assert {f"file {name}.txt", f"output_{name}.log"} <= files
    assert (run["state"], summary["last"], summary["_step"]) == ("finished", 19, 59)


def _run_together(client: str, server: ServerProcess, folder: Path, mode: str) -> dict[str, Any]:
    work = folder / "work"
    work.mkdir()
    started = [
        subprocess.Popen(
            [python_of(client), str(WORK), name, str(len(NAMES)), mode],
            env=sdk_environ(server.url, folder / f"home-{name}"),
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in NAMES
    ]
    for process in started:
        said = process.communicate(timeout=180)[0]
        assert process.returncode == 0, said
    assert "unknown" not in server.log, server.log
    return dict(server.graphql(RUN)["project"]["run"])
