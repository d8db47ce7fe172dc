"""SIGKILL at random moments under load: what was acknowledged is there, once.

`make test-kills` does it two hundred times.
"""

import hashlib
import http.client
import json
import os
import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

from sweepctl.server.store.database import DATABASE
from tests import data_folders
from tests.serving import ServerProcess

KILLS = int(os.environ.get("SWEEPCTL_KILLS", "8"))
LONGEST_LIFE_S = 0.8
WRITERS = 4


@dataclass
class Load:
    """Clients that go on through every kill, and write down what the server acknowledged."""

    server: ServerProcess
    ending: Event = field(default_factory=Event)
    lines: dict[str, list[str]] = field(default_factory=dict)
    printed: dict[str, list[str]] = field(default_factory=dict)
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def ask(
        self, path: str, body: Any, method: str = "POST", attempt: int | None = None
    ) -> dict[str, Any] | None:
        """Send one request until it is acknowledged; None when the load ends before that."""
        headers = {} if attempt is None else {"X-Sweepctl-Attempt": str(attempt)}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        while not self.ending.is_set():
            try:
                status, _, said = self.server.request(method, path, raw, headers)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if status == 200:
                answer = json.loads(said or b"{}") if method == "POST" else {}
                assert not answer.get("errors"), answer
                return dict(answer)
            if status != 503:
                self.trouble.append(f"{path}: {status} {said[:200]!r}")
                return None
        return None

    def graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any] | None:
        said = self.ask("/graphql", {"query": query, "variables": {"i": given}})
        return said["data"] if said else None

    def stream(self, run: str, rng: Random) -> None:
        """Log one run: history, console and summary, line after line."""
        mine = self.lines.setdefault(run, [])
        said = self.printed.setdefault(run, [])
        while not self.ending.is_set():
            at = len(mine)
            new = [
                json.dumps({"_step": at + n, "x": rng.random()}) for n in range(rng.randint(1, 5))
            ]
            printed = [f"2026-01-01T00:00:00.000000 line {at} of {run}"]
            body = {
                "wandb-history.jsonl": {"offset": at, "content": new},
                "output.log": {"offset": len(said), "content": printed},
                "wandb-summary.json": {"offset": 0, "content": [new[-1]]},
            }
            if self.ask(f"/files/local/p/{run}/file_stream", {"files": body}) is None:
                return
            mine += new
            said += printed

    def upload(self, run: str, rng: Random) -> None:
        """Upload files to one run, each under a name of its own."""
        number = 0
        while not self.ending.is_set():
            number += 1
            name, content = f"f{number}", rng.randbytes(rng.randint(1, 50_000))
            place = {"entityName": "local", "projectName": "p", "runName": run, "files": [name]}
            said = self.graphql(data_folders.UPLOAD, place)
            if said is None:
                return
            address = said["createRunFiles"]["files"][0]["uploadUrl"]
            if self.ask(address, content, "PUT") is not None:
                self.files[run, name] = hashlib.md5(content, usedforsecurity=False).hexdigest()

    def agent(self, sweep: str, host: str) -> None:
        """Take the sweep's runs one by one, and end each."""
        place = {"entityName": "local", "projectName": "p", "host": host, "sweep": sweep}
        said = self.graphql(data_folders.AGENT, place)
        running: str | None = None
        while said is not None and not self.ending.is_set():
            state = json.dumps({running: "running"} if running else {})
            beat = {"id": said["createAgent"]["agent"]["id"], "runState": state}
            heard = self.graphql(data_folders.BEAT, beat)
            if heard is None:
                return
            for command in json.loads(heard["agentHeartbeat"]["commands"]):
                if command["type"] not in ("run", "resume"):
                    continue
                running = command["run_id"]
                self.taken.append(running)
                end = {"complete": True, "exitcode": 0}
                stream = f"/files/local/p/{running}/file_stream"
                if self.ask(stream, end, attempt=command["attempt"]) is None:
                    return
                self.ended.append(running)
            running = None


def test_every_acknowledged_line_file_and_run_outlives_random_kills_once(
    server: ServerProcess,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = Random(seed)
    spec = {"method": "random", "parameters": {"a": {"min": 0.0, "max": 1.0}}}
    sweep = server.graphql(
        data_folders.SWEEP,
        {"i": {"config": json.dumps(spec), "entityName": "local", "projectName": "p"}},
    )["upsertSweep"]["sweep"]["name"]
    load = Load(server)
    runs = [f"w{number}" for number in range(WRITERS)]
    for run in runs:
        named = {"name": run, "modelName": "p", "entityName": "local", "host": "h"}
        server.graphql(data_folders.RUN, {"i": named})
    threads = [
        *(Thread(target=load.stream, args=(run, Random(rng.random()))) for run in runs),
        Thread(target=load.upload, args=(runs[0], Random(seed))),
        *(Thread(target=load.agent, args=(sweep, host)) for host in ("a1", "a2")),
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0, LONGEST_LIFE_S))
            server.kill()
            server.start()
    finally:
        load.ending.set()
        for thread in threads:
            thread.join()
    server.kill()
    assert load.trouble == []
    check(server.data, load)


def check(data: Path, load: Load) -> None:
    """Compare what the folder has with what was acknowledged, line by line."""
    acknowledged = sum(map(len, load.lines.values())) + sum(map(len, load.printed.values()))
    print(f"{KILLS} kills, {acknowledged} lines, {len(load.files)} files, {len(load.ended)} runs")
    assert acknowledged
    with closing(sqlite3.connect(data / DATABASE)) as rows:
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = dict(rows.execute("SELECT id, pk FROM runs").fetchall())
        for table, known in (("history", load.lines), ("lines", load.printed)):
            for run, expected in known.items():
                query = f"SELECT line, text FROM {table} WHERE run = ? ORDER BY line"
                found = rows.execute(query, (keys[run],)).fetchall()
                assert [line for line, _ in found] == list(range(len(found)))
                assert [text for _, text in found][: len(expected)] == expected
                assert len(found) - len(expected) <= 5, "a block that nobody was told of"
        for (run, name), digest in load.files.items():
            query = "SELECT stored FROM files WHERE run = ? AND name = ?"
            ((stored,),) = rows.execute(query, (keys[run], name)).fetchall()
            content = (data / "files" / stored).read_bytes()
            assert hashlib.md5(content, usedforsecurity=False).hexdigest() == digest
        states = dict(rows.execute("SELECT id, state FROM runs").fetchall())
        assert len(set(load.taken)) == len(load.taken), "a run was handed out twice"
        assert {states[run] for run in load.ended} <= {"finished"}
