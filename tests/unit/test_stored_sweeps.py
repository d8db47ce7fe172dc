"""A data folder read without a server: the same as its server tells, and no trace of it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.store.database import DATABASE, Database
from sweepctl.server.stored_sweeps import StoredSweeps
from sweepctl.sweeps.api import SweepSource, WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import Place, find_sweep, open_source
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run_record import RECORD_FILE, Attempt, RunRecord
from sweepctl_pod.wandb.client import Connection, WandbClient
from sweepctl_pod.wandb.outputs import end_body, upload_file
from tests.serving import API_KEY, ServerProcess

SWEEP = {
    "method": "random",
    "run_cap": 5,
    "name": "Beine – é",
    "description": "of legs",
    "metric": {"name": "a.b", "goal": "maximize"},
    "command": ["python", "train.py"],
    "parameters": {"env.x": {"min": 0.0, "max": 1.0}, "c": {"value": [1, 2.0]}},
}
GRID = {"method": "grid", "parameters": {"x": {"values": [1, 2]}}}


def fill(server: ServerProcess) -> str:
    """Make two projects, and in one of them a sweep with runs of every kind; give its name."""
    client = WandbClient(Connection(base_url=server.url, api_key=API_KEY, entity="local"))
    client.create_sweep("local", "arms", json.dumps(GRID))
    sweep = client.create_sweep("local", "legs", json.dumps(SWEEP), "of legs", "Beine – é")
    agent = client.register_agent("local", "legs", sweep.id, "legs-0")
    for code in (0, 1, None):
        (command,) = client.heartbeat(agent, [])
        run = str(command["run_id"])
        server.graphql(
            "mutation M($name: String, $config: JSONString) { upsertBucket(input: {name: $name,"
            ' entityName: "local", modelName: "legs", config: $config, host: "legs-0",'
            ' displayName: "run é"}) { bucket { id } } }',
            {"name": run, "config": json.dumps({"env_cfg": {"value": {"x": [1, None]}}})},
        )
        summary = json.dumps({"_step": 3, "a": {"b": 0.5}, "n": float("nan")})
        files = {"wandb-summary.json": {"offset": 0, "content": [summary]}}
        client.post_file_stream("local", "legs", run, {"files": files})
        printed = [
            "2026-05-01T12:00:00.000001 streamed é",
            "ERROR 2026-05-01T12:00:01.5 bad",
            "odd",
        ]
        files = {"output.log": {"offset": 0, "content": printed}}
        client.post_file_stream("local", "legs", run, {"files": files})
        if code is not None:
            upload_file(client, ("local", "legs", run), "output.log", f"hello {run}\n\nx".encode())
            attempts = (
                Attempt(1, "legs-0", "node-1", "legs-0/a", 5.0, 9.5, "SIGTERM", 0, 41),
                Attempt(2, "legs-1", began_at=12.0, first=42),
            )
            record = RunRecord(("python", "t.py"), "hydra", "legs-0", 2, attempts=attempts)
            upload_file(client, ("local", "legs", run), RECORD_FILE, record.text().encode())
        if code is not None:
            client.post_file_stream("local", "legs", run, end_body(code))
    return f"local/legs/{sweep.id}"


def everything(source: SweepSource) -> Any:
    """Read all that can be read."""
    told: list[Any] = []
    entity = source.default_entity()
    for project in source.projects(entity):
        for sweep in source.sweeps(entity, project):
            assert source.sweep(entity, project, sweep.id) == sweep
            # When a run was last heard of is known to a server before it is written.
            runs = [replace(run, heartbeat_at=None) for run in source.runs(sweep)]
            logs = [source.run_log(sweep, run.id) for run in runs]
            name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
            records = [source.run_record(name, run.id) for run in runs]
            told.append((sweep, [(run, repr(run.summary)) for run in runs], logs, records))
            at_once = source.run_records(name) or {}
            # A server leaves out the commands, which nobody needs of all runs at once.
            told.append({run: replace(at_once[run], argv=()) for run in sorted(at_once)})
    return [repr(entry) for entry in told]


def test_a_folder_says_what_its_server_says_while_that_runs_and_after(
    server: ServerProcess,
) -> None:
    fill(server)
    api = WandbApi(Connection(base_url=server.url, api_key=API_KEY, entity="local"))
    said = everything(api)
    assert len(said) == 4
    assert "ended_by='SIGTERM'" in str(said[3])
    assert "hello" in str(said)
    assert "streamed é" in str(said)
    assert "RunRecord(" in str(said)
    assert everything(StoredSweeps(server.data)) == said
    server.stop()
    assert everything(StoredSweeps(server.data)) == said


def test_a_folder_whose_server_was_killed_is_read_whole(server: ServerProcess) -> None:
    fill(server)
    said = everything(StoredSweeps(server.data))
    server.kill()
    assert everything(StoredSweeps(server.data)) == said


def test_reading_a_folder_leaves_no_trace_in_it(server: ServerProcess) -> None:
    fill(server)
    server.stop()
    before = {path: path.stat().st_mtime_ns for path in server.data.rglob("*")}
    everything(StoredSweeps(server.data))
    assert {path: path.stat().st_mtime_ns for path in server.data.rglob("*")} == before


def test_a_folder_that_may_only_be_read_is_read(server: ServerProcess, tmp_path: Path) -> None:
    fill(server)
    server.stop()
    said = everything(StoredSweeps(server.data))
    for path in (server.data, *server.data.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert everything(StoredSweeps(server.data)) == said
    finally:
        for path in (server.data, *server.data.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_what_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    Database(tmp_path).close()
    source = StoredSweeps(tmp_path)
    assert source.projects("local") == []
    assert source.sweeps("local", "legs") == []
    with pytest.raises(
        SweepctlError, match=f"no sweep local/legs/abc in the data folder {tmp_path}"
    ):
        source.sweep("local", "legs", "abc")
    with pytest.raises(SweepctlError, match="no sweeps at the data folder") as caught:
        find_sweep(source, SweepName(None, None, None))
    assert "sweepctl init" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("version", "message"),
    [(99, "written by a newer sweepctl"), (1, "not a data file of sweepctl")],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, version: int, message: str) -> None:
    Database(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(SweepctlError, match=message):
        StoredSweeps(tmp_path).projects("local")


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""], ids=["another", "empty"])
def test_a_file_of_something_else_is_no_traceback(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    with (
        pytest.raises(SweepctlError),
        open_source(Place(data=tmp_path), SweepName(None, None, None), lambda line: None) as source,
    ):
        find_sweep(source, SweepName(None, None, None))


HEAVY = (
    "graphql",
    "kubernetes",
    "uvicorn",
    "starlette",
    "jinja2",
    "jsonschema",
    "asyncio",
    "wandb",
)


@pytest.mark.parametrize("verb", ["status", "best", "list", "logs"])
def test_reading_a_folder_imports_nothing_that_serves_or_clusters_need(
    server: ServerProcess, verb: str
) -> None:
    """How quick these verbs are hangs on what they import: less than 0.4 s of CPU."""
    name = fill(server)
    server.stop()
    arguments = [verb, *([] if verb == "list" else [name]), "--data", str(server.data)]
    program = (
        "import sys\nfrom sweepctl.cli import main\n"
        f"sys.argv = ['sweepctl', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(sorted(set({HEAVY!r}) & {{name.partition('.')[0] for name in sys.modules}}),"
        " file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout
