"""A terminal that is closed while a local sweep trains in it: a real one, by tmux."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.local.local_sweeps import SWEEPCTL, environment
from tests.local.terminal import Terminal
from tests.serving import wait_for

GATE_TRAINER = """
import os, sys, time, wandb
folder, run = sys.argv[1], os.environ["WANDB_RUN_ID"]
def note(what):
    open(f"{folder}/ledger", "a").write(f"{what} {run}\\n")
with wandb.init() as session:
    note("start")
    while not os.path.exists(f"{folder}/gate"):
        time.sleep(0.1)
    session.log({"score": 1.0})
note("end")
"""


def gated_sweep(folder: Path) -> dict[str, Any]:
    script = folder / "train.py"
    script.write_text(GATE_TRAINER)
    return {
        "project": "terminals",
        "method": "random",
        "run_cap": 2,
        "metric": {"name": "score", "goal": "maximize"},
        "command": [sys.executable, str(script), str(folder)],
        "parameters": {"gain": {"distribution": "uniform", "min": 0.5, "max": 2.0}},
    }


def processes(mark: str) -> list[int]:
    """Find what was started in the terminal and is no shell."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in environ.split(b"\0") and command.startswith(sys.executable.encode()):
            found.append(int(entry.name))
    return found


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """Give what marks this test's processes; what is left of them ends with it."""
    mark = f"HANG_UP_TEST={tmp_path}"
    yield mark
    for pid in processes(mark):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def close_on(tmux: str, tmp_path: Path, mark: str) -> Callable[[str, Callable[[], object]], None]:
    """Give the function that types a line and closes the terminal once something has happened."""

    def run(line: str, moment: Callable[[], object]) -> None:
        name, _, value = mark.partition("=")
        terminal = Terminal(tmp_path, 120, 30, {**environment(tmp_path), name: value})
        try:
            terminal.type("eval", line)
            wait_for("the moment to close the terminal", moment, limit_s=90)
        finally:
            terminal.close()

    return run


@pytest.mark.parametrize(
    ("line", "goes_on"),
    [
        pytest.param("{}", False, id="in-the-foreground"),
        pytest.param("{} 2>&1 | cat", False, id="its-output-in-a-pipe"),
        pytest.param("nohup {} &", True, id="nohup"),
        pytest.param("{} & disown", True, id="disowned-its-terminal-is-gone"),
    ],
)
def test_closed_terminal_ends_a_local_sweep_in_good_order_or_not_at_all(
    line: str,
    goes_on: bool,
    close_on: Callable[[str, Callable[[], object]], None],
    mark: str,
    tmp_path: Path,
) -> None:
    file, data, ledger = tmp_path / "sweep.yaml", tmp_path / "data", tmp_path / "ledger"
    file.write_text(yaml.safe_dump(gated_sweep(tmp_path)))
    command = [*SWEEPCTL, "local", str(file), "--agents", "1", "--data", str(data)]

    def noted(what: str) -> list[str]:
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return [words.split()[1] for words in lines if words.startswith(what)]

    def output() -> str:
        logs = [*data.glob("logs/*/*.log"), *tmp_path.glob("nohup.out")]
        return "\n".join(log.read_text(errors="replace") for log in logs)

    close_on(
        f"cd {shlex.quote(str(tmp_path))}; {line.format(shlex.join(command))}",
        lambda: noted("start"),
    )
    if goes_on:
        (tmp_path / "gate").touch()
    wait_for(f"the end of the sweep's processes: {output()}", lambda: not processes(mark), 90)
    if not goes_on:
        (story,) = [log.read_text() for log in data.glob("logs/*/local.log")]
        assert "handed back" in output()
        (go_on,) = [said for said in story.splitlines() if said.startswith("go on later with: ")]
        (tmp_path / "gate").touch()
        again = shlex.split(go_on.removeprefix("go on later with: sweepctl"))
        done = subprocess.run(
            [*SWEEPCTL, *again], env=environment(tmp_path), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(noted("start")) == (2 if goes_on else 3), output()
    assert len(set(noted("end"))) == len(noted("end")) == 2, output()
