"""Data folders of every format: what each version's server was told, what it answered, its dump.

`python -m tests.data_folders` writes today's format to `tests/data/formats/`. Whoever makes the
next one commits this one's dump first: no later code can write it.
"""

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sweepctl.server.store.database import DATABASE
from tests.serving import ServerProcess

FOLDER = Path(__file__).parent / "data" / "formats"
FORMATS = sorted(int(path.stem) for path in FOLDER.glob("*.sql"))

DEPTH = 150
"""How deep a configuration was nested that versions before 6 took."""

SPEC = {
    "method": "grid",
    "name": "legs",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"a": {"values": [1, 2.0, 3, 4, 5]}},
}
SWEEP = "mutation S($i: UpsertSweepInput!) { upsertSweep(input: $i) { sweep { name } } }"
AGENT = "mutation A($i: CreateAgentInput!) { createAgent(input: $i) { agent { id } } }"
BEAT = "mutation H($i: AgentHeartbeatInput!) { agentHeartbeat(input: $i) { commands } }"
RUN = "mutation R($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
DELETE = "mutation D($i: DeleteRunInput!) { deleteRun(input: $i) { clientMutationId } }"
UPLOAD = (
    "mutation U($i: CreateRunFilesInput!) { createRunFiles(input: $i) { files { uploadUrl } } }"
)
ANSWERS = """{ project(name: "p", entityName: "local") {
  sweeps { edges { node { name displayName state method config description } } }
  runs(order: "+created_at") { edges { node {
    id name displayName state config summaryMetrics historyLineCount tags notes host exitcode
    history(samples: 1000)
    files { edges { node { name sizeBytes } } }
  } } }
} }"""


def fill(server: ServerProcess) -> None:
    """Tell a server of a sweep: two runs have finished, one failed, one is deleted, one trains."""
    sweep = server.graphql(
        SWEEP,
        {"i": {"config": json.dumps(SPEC), "entityName": "local", "projectName": "p"}},
    )["upsertSweep"]["sweep"]["name"]
    place = {"host": "node-1", "entityName": "local", "projectName": "p"}
    agent = server.graphql(AGENT, {"i": {**place, "sweep": sweep}})["createAgent"]["agent"]["id"]
    for number, code in enumerate((0, 0, 1, 0, None), 1):
        said = server.graphql(BEAT, {"i": {"id": agent, "runState": "{}"}})
        (command,) = json.loads(said["agentHeartbeat"]["commands"])
        run = command["run_id"]
        _train(server, run, number, code)
        if number == 4:
            _delete(server, run)


def answers(server: ServerProcess) -> Any:
    """Ask for all that a client can know of what `fill` has told."""
    return server.graphql(ANSWERS)


def dump(folder: Path) -> str:
    """Give the data file of a folder whose server has ended, as SQL."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return "\n".join([*connection.iterdump(), f"PRAGMA user_version = {version};", ""])


def lay(folder: Path, version: int) -> Any:
    """Write the data file of a format as its own server did; give the answers of that server."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript((FOLDER / f"{version}.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return json.loads((FOLDER / f"{version}.json").read_text())


def write(server: ServerProcess) -> None:
    """Fill an empty server, end it, and keep what it said and wrote as its format's fixture."""
    fill(server)
    said = answers(server)
    server.stop()
    written = dump(server.data)
    version = written.rpartition(" = ")[2].rstrip(";\n")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{version}.json").write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
    (FOLDER / f"{version}.sql").write_text(written)


def _train(server: ServerProcess, run: str, number: int, code: int | None) -> None:
    deep: Any = number
    for _ in range(DEPTH):
        deep = [deep]
    given = {"name": run, "entityName": "local", "modelName": "p", "host": "node-1"}
    for more in ({"deep": {"value": deep}}, {}):
        config = json.dumps({"a": {"value": number}, **more})
        change = {**given, "config": config, "displayName": f"legs-{number}"}
        _, said = server.post("/graphql", {"query": RUN, "variables": {"i": change}})
        if not said.get("errors"):
            break
    assert not said.get("errors"), said
    lines = [json.dumps({"_step": step, "loss": step / 7, "d": {"x": step}}) for step in range(3)]
    streamed = {
        "wandb-history.jsonl": lines,
        "wandb-summary.json": [json.dumps({"loss": 0.6 - number / 10, "d": {"x": 2}})],
        "output.log": ["2026-01-01T00:00:00.000000 hello"],
    }
    files = {name: {"offset": 0, "content": content} for name, content in streamed.items()}
    server.stream(f"local/p/{run}", {"files": files})
    _upload(server, run, "config.yaml", b"a:\n")
    if code is not None:
        server.stream(f"local/p/{run}", {"complete": True, "exitcode": code})


def _upload(server: ServerProcess, run: str, name: str, content: bytes) -> None:
    place = {"entityName": "local", "projectName": "p", "runName": run, "files": [name]}
    said = server.graphql(UPLOAD, {"i": place})["createRunFiles"]["files"][0]["uploadUrl"]
    assert server.request("PUT", said, content, key=None)[0] == 200


def _delete(server: ServerProcess, run: str) -> None:
    query = 'query R($r: String!) { project(name: "p") { run(name: $r) { id } } }'
    node = server.graphql(query, {"r": run})["project"]["run"]["id"]
    server.graphql(DELETE, {"i": {"id": node}})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write(ServerProcess(Path(scratch) / "data"))
