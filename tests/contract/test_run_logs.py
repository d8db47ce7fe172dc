"""`logs` of sweeps that are in no cluster: what runs printed, wherever it is kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.agents import World

TRAINER = """
import sys
print("reading motions")
sys.exit("FileNotFoundError: motions.npz")
"""


def sweepctl(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "sweepctl", *words],
        env={**environ, "HOME": str(home), "KUBECONFIG": "/nowhere", "NO_COLOR": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_logs_at_a_server_are_what_agents_uploaded(world: World) -> None:
    sweep = world.sweep(world.trainer("say:reading motions", "say:no such file", "exit:2"))
    agent = world.start(sweep)
    agent.wait()
    run = world.run(sweep).id
    named = ["logs", f"local/agents/{sweep.id}", "--server", world.server.url]
    whole = sweepctl(*named, home=world.folder)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout == f"{run} | reading motions\n{run} | no such file\n"
    one = sweepctl(*named, "--run", run, home=world.folder)
    assert (one.returncode, one.stdout) == (0, "reading motions\nno such file\n")
    said = "the trainer ended with exit code 2; its last line: no such file"
    assert one.stderr == f"run {run} failed: {said}\n"
    unknown = sweepctl(*named, "--run", "nobody", home=world.folder)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == f"error: sweep {sweep.id} has no run nobody\n  it has {run}\n"


@pytest.mark.parametrize("option", ["--agent=0", "--previous", "--since=1h", "--follow"])
def test_what_can_be_asked_of_pods_alone_is_refused_elsewhere(option: str, tmp_path: Path) -> None:
    asked = sweepctl("logs", "local/legs/abc", "--data", "data", option, home=tmp_path)
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr.startswith(f"error: {option.partition('=')[0]} is for the logs of pods")
    assert "--run RUN" in asked.stderr


def test_logs_that_were_not_uploaded_are_an_error_that_says_where_they_are(world: World) -> None:
    sweep = world.sweep(world.trainer("say:private", "exit:2"))
    named = ["logs", f"local/agents/{sweep.id}", "--server", world.server.url]
    none = sweepctl(*named, home=world.folder)
    assert (none.returncode, none.stdout) == (1, "")
    assert "has no runs yet" in none.stderr
    world.start(sweep, WANDB_CONSOLE="off", SWEEPCTL_HOST="gpu-7").wait()
    run = world.run(sweep).id
    for words in ([], ["--run", run]):
        silent = sweepctl(*named, *words, home=world.folder)
        assert (silent.returncode, silent.stdout) == (1, "")
        assert f"there is no output of {run}" in silent.stderr
        assert "its agent on gpu-7 keeps all of it in RUN/trainer.log" in silent.stderr


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """Give the data folder of a local sweep whose trainer fails before it logs anything."""
    (tmp_path / "train.py").write_text(TRAINER)
    config = {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"env.gain": {"values": [1.0, 2.0]}},
        "command": [sys.executable, "train.py"],
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(config))
    words = ["local", "sweep.yaml", "--agents", "1", "--data", "data"]
    done = sweepctl(*words, home=tmp_path)
    reason = "the trainer ended with exit code 1; its last line: FileNotFoundError: motions.npz"
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.count(f": failed on {os.uname().nodename}-0: {reason}") == 2, done.stdout
    return tmp_path


def test_local_run_that_fails_before_it_logs_says_why_everywhere(failed: Path) -> None:
    at = ["--data", "data"]
    status = sweepctl("status", *at, home=failed)
    reason = "the trainer ended with exit code 1; its last line: FileNotFoundError: motions.npz"
    assert f"failed: {reason}" in status.stdout
    assert max(len(line) for line in status.stdout.partition("\n\n")[2].splitlines()[:3]) <= 80
    rows = json.loads(sweepctl("status", *at, "-o", "json", home=failed).stdout)["runs"]
    assert [row["reason"] for row in rows] == [reason] * 2
    assert all(0 <= row["duration_s"] < 60 for row in rows)
    logs = sweepctl("logs", *at, "--run", rows[0]["run"], home=failed)
    assert logs.stdout == "reading motions\nFileNotFoundError: motions.npz\n"
    assert logs.stderr == f"run {rows[0]['run']} failed: {reason}\n"
    both = sweepctl("logs", *at, home=failed)
    assert both.stdout.count(" | reading motions\n") == 2
    for log in (failed / "data" / "work").rglob("trainer.log"):
        log.unlink()
    for log in (failed / "data" / "logs").rglob("agent-*.log"):
        log.unlink()
    assert sweepctl("logs", *at, home=failed).stdout == both.stdout
