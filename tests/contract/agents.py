"""Agents as processes of their own, on a real embedded server, with trainers that obey."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepctl_pod.wandb.client import Connection, RunInfo, SweepInfo, WandbClient
from tests.serving import API_KEY, ServerProcess, wait_for

ROOT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join([str(ROOT), str(ROOT / "charts" / "isaac-sweep" / "files")])
"""The PYTHONPATH of a Python without site-packages that is to find our code."""
TRAINER = Path(__file__).with_name("plain_trainer.py")
DEVICE = os.environ.get("SWEEPCTL_TEST_DEVICE", "cpu")
"""Where the real trainer trains; `cuda:0` on a machine that has a GPU (`make test-gpu`)."""
PARAMETERS = {"env.gain": {"distribution": "uniform", "min": 0.5, "max": 2.0}}


def hear_all_signals() -> None:
    """Take back what a shell or nohup, of whoever runs the tests, has had ignored."""
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


class Agent:
    """One agent process; what it said is in `said`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.log = folder / f"agent-{len(list(folder.glob('agent-*.log')))}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environ,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=hear_all_signals,
            )

    @property
    def raw(self) -> bytes:
        return self.log.read_bytes()

    @property
    def said(self) -> str:
        return self.raw.decode("utf-8", "replace")

    def says(self, text: str, limit_s: float = 120) -> None:
        """Wait until the agent said something."""
        wait_for(f"{text!r} in:\n{self.said}", lambda: text in self.said, limit_s)

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self, limit_s: float = 180) -> int:
        """Wait for the agent's end and give its exit code."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no end within {limit_s:g} s:\n{self.said}") from None


def family(agent: Agent) -> list[int]:
    """Give the processes of an agent, itself first."""
    found = [agent.process.pid]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def freeze(agent: Agent) -> list[int]:
    """Stop an agent and all that it started, as a node does that sleeps."""
    pids = family(agent)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def thaw(pids: list[int]) -> None:
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


class World:
    """A server, a folder, and what runs there."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.ledger = folder / "ledger"
        self.work = folder / "work"
        self.client = WandbClient(Connection(server.url, API_KEY, "local"))
        self.agents: list[Agent] = []
        self.environ = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "PYTHONPATH": SOURCES,
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": API_KEY,
            "SWEEPCTL_WORK": str(self.work),
            "SWEEPCTL_PREFLIGHT_GPU": "off",
            "SWEEPCTL_MIN_FREE_MB": "1",
            "SWEEPCTL_BELIEVED_AFTER_S": "1",
            "TERMINATION_LOG": str(folder / "termination-log"),
        }

    def trainer(self, *words: str) -> list[str]:
        """Give the command of the obedient trainer."""
        return [sys.executable, "-S", str(TRAINER), str(self.ledger), *words]

    def sweep(self, command: Sequence[str], **config: Any) -> SweepInfo:
        """Create a sweep of one run (or `run_cap`) of a command."""
        whole = {
            "method": "random",
            "run_cap": 1,
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": PARAMETERS,
            "command": list(command),
            **config,
        }
        text = json.dumps({key: value for key, value in whole.items() if value is not None})
        return self.client.create_sweep("local", "agents", text)

    def start(self, sweep: SweepInfo, *options: str, **environ: str) -> Agent:
        """Start an agent of a sweep."""
        name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
        return self.start_command(
            [sys.executable, "-S", "-m", "sweepctl_pod", "--sweep", name, *options], **environ
        )

    def start_command(self, command: Sequence[str], **environ: str) -> Agent:
        self.agents.append(Agent(command, {**self.environ, **environ}, self.folder))
        return self.agents[-1]

    def runs(self, sweep: SweepInfo) -> list[RunInfo]:
        """Give the sweep's runs, oldest first."""
        return list(self.client.runs(sweep.entity, sweep.project, sweep.id))

    def run(self, sweep: SweepInfo) -> RunInfo:
        """Give the sweep's only run."""
        (run,) = self.runs(sweep)
        return run

    def noted(self, what: str) -> list[list[str]]:
        """Give the ledger's lines of one kind, as words."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == what]

    def wait_noted(self, what: str, count: int = 1) -> None:
        """Wait until trainers noted something so many times."""
        wait_for(
            f"{count} × {what} in the ledger:\n" + "\n".join(a.said for a in self.agents),
            lambda: len(self.noted(what)) >= count,
        )

    def stop_run(self, run: RunInfo) -> None:
        """Press W&B's stop button."""
        self.client.graphql(
            "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }",
            {"id": run.node_id},
        )

    def left_behind(self) -> list[str]:
        """List the processes that belong to this world, by their folder in the command line."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes()
                environ = (path / "environ").read_bytes()
                state = (path / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            mine = f"HOME={self.folder}".encode() in environ.split(b"\0")
            if mine and state != b"Z" and int(path.name) != self.server.pid:
                found.append(f"{path.name} {command.replace(bytes(1), b' ').decode()}")
        return found

    def nothing_is_left(self) -> None:
        """Wait until no process of this world but the server is there."""
        try:
            wait_for("no process left", lambda: not self.left_behind(), 15)
        except AssertionError:
            raise AssertionError("\n".join(self.left_behind())) from None

    def end(self) -> None:
        """End what a failed test left running."""
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.send(signal.SIGKILL)
                agent.process.wait()
