"""The supervisor of a local sweep: what it makes of an agent's end and of an agent's log."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweepctl.local.processes import AgentProcess, LocalSweep, ProcessState
from sweepctl.server import server_process
from sweepctl_pod.errors import SweepctlError

FAILED = b"sweepctl: run a1 failed: exit code 3\n"


def test_an_agents_log_is_read_on_from_where_it_was_read_to(tmp_path: Path) -> None:
    agent = AgentProcess(0, tmp_path / "agent-0.log")
    agent.read_on()
    agent.log.write_bytes(b"a trainer's line \xff\n" + FAILED + b"sweepctl: run b2 fai")
    agent.read_on()
    with agent.log.open("ab") as log:
        log.write(b"led: no metric\nsweepctl: exit 0: no more work for this agent\n")
    agent.read_on()
    assert agent.last_word == "run b2 failed: no metric"
    assert agent.read_bytes == agent.log.stat().st_size


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, "done"),
        (3, "failing"),
        (1, "waiting"),
        (75, "waiting"),
        (2, "gave up"),
        (76, "gave up"),
        (78, "gave up"),
    ],
)
def test_an_agent_is_started_again_unless_it_would_end_the_same(
    tmp_path: Path, code: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\necho 'sweepctl: the reason'\nexit {code}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    url = "http://127.0.0.1:9"
    sweep = LocalSweep("local/p/s", None, url, tmp_path, tmp_path, tmp_path, [], {}, look_at=1.0)
    sweep.start_agents(1)
    (agent,) = sweep.agents
    deadline = time.monotonic() + 30
    lines: list[str] = []
    while agent.state is ProcessState.RUNNING and time.monotonic() < deadline:
        lines += sweep.tick(0.0)
    assert agent.state.value == state
    assert any("the reason" in line for line in lines) == (state == "gave up")


def test_the_server_of_another_command_is_replaced_when_it_ends(tmp_path: Path) -> None:
    other, url = server_process.start_server(tmp_path / "data", agent_timeout_s=5)
    assert other is not None
    none, same = server_process.start_server(tmp_path / "data", agent_timeout_s=5)
    assert (none, same) == (None, url)
    sweep = LocalSweep("local/p/s", None, url, tmp_path / "data", tmp_path, tmp_path, [], {})
    try:
        assert (sweep.tick(10.0), sweep.server) == ([], None)
        other.stop()
        assert sweep.tick(10.5) == [], "it is not asked at every tick"
        (line,) = sweep.tick(11.0)
        assert line.startswith("the server ended; started again")
        deadline = time.monotonic() + 60
        while not server_process.is_healthy(url) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server_process.live_url(tmp_path / "data") == url
    finally:
        other.stop()
        sweep.stop()


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ([sys.executable, "-c", "raise SystemExit(3)"], {"local": 3, "wait": 3}),
        (["/nowhere/trainer"], {"local": 1}),
    ],
    ids=["every run fails", "no agent can start the trainer"],
)
def test_local_ends_with_the_code_of_wait(
    tmp_path: Path, command: list[str], codes: dict[str, int]
) -> None:
    sweep = {
        "method": "grid",
        "metric": {"name": "r", "goal": "maximize"},
        "command": command,
        "parameters": {"env.a": {"values": [1, 2]}},
    }
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(sweep))
    for verb, code in codes.items():
        named = [str(file)] if verb == "local" else []
        told = subprocess.run(
            [sys.executable, "-m", "sweepctl", verb, *named, "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
        )
        assert told.returncode == code, told
        assert " -o report.html" in told.stderr + told.stdout


def test_local_gives_a_sweep_up_whose_every_run_fails_and_goes_on_when_corrected(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; os.path.exists('corrected') or sys.exit('no such task');"
        "import wandb; run = wandb.init(); run.log({'r': 1.0}); run.finish()"
    )
    sweep = {
        "method": "grid",
        "metric": {"name": "r", "goal": "maximize"},
        "command": [sys.executable, "-c", code],
        "parameters": {"env.a": {"values": [1, 2, 3]}},
    }
    file, data = tmp_path / "sweep.yaml", tmp_path / "data"
    file.write_text(json.dumps(sweep))

    def sweepctl(verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweepctl", verb, *options, "--data", str(data)]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ)

    told = sweepctl("local", "sweep.yaml", "--agents", "2", "--max-initial-failures", "1")
    logs = "".join(f"\n== {log.name}\n{log.read_text()}" for log in data.glob("logs/**/*.log"))
    assert told.returncode == 3, f"{told.returncode}: {told.stdout}{told.stderr}{logs}"
    assert "agent-1: gave up after a run that failed within 60 s" in told.stdout
    assert "its last line: no such task" in told.stdout
    name = json.loads(sweepctl("status", "-o", "json").stdout)["sweep"]
    assert f"its pages:    sweepctl open {name} --data {data}\n" in told.stdout
    assert (
        f"every agent gave up; when that is corrected: sweepctl local sweep.yaml --sweep {name}"
        in told.stdout
    )
    (tmp_path / "corrected").touch()
    assert sweepctl("local", "sweep.yaml", "--sweep", name).returncode == 3
    seen = json.loads(sweepctl("status", name, "-o", "json").stdout)
    assert seen["counts"] == {"failed": 2, "finished": 1}


def test_two_commands_that_start_a_server_at_once_share_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:  # a server ends with the thread that started it
        started = [
            threads.submit(server_process.start_server, tmp_path / "data", agent_timeout_s=5)
            for _ in range(3)
        ]
        found = [each.result() for each in started]
        servers = [server for server, _ in found if server is not None]
        for server in servers:
            server.stop()
    assert len({url for _, url in found}) == 1
    assert len(servers) == 1


def test_a_server_that_cannot_start_says_why_in_its_own_words(tmp_path: Path) -> None:
    log = tmp_path / "data" / "logs" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: of an earlier time\n")
    (tmp_path / "data" / "sweepctl.sqlite").write_text(
        "no database, but a text of some length\n" * 9
    )
    with pytest.raises(SweepctlError, match=r"not start: .*sweepctl\.sqlite") as caught:
        server_process.start_server(tmp_path / "data", agent_timeout_s=5)
    assert str(log) in (caught.value.hint or "")
