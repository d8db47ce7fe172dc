"""The processes of a sweep on this machine: the agents and the embedded server, kept alive.

What died is started again: a killed server or agent costs time, never a run. No run is judged here:
the agents and the server do that.
"""

from __future__ import annotations

import enum
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sweepctl.server.disk import make_folder
from sweepctl.server.server_process import (
    ServerProcess,
    ServerWish,
    connection,
    die_with_parent,
    is_listening,
)
from sweepctl.sweeps.gpus import GpuPlan, record
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.log_lines import EXIT, GAVE_UP, PREFIX
from sweepctl_pod.options import agent_host

MAX_RESTARTS = 6
"""How often an agent that keeps dying is started again: the Job's backoffLimitPerIndex."""

AGENT_TIMEOUT_S = 15.0
"""When the server gives an agent's runs to others: shorter than in a cluster, nothing is far."""

_HOPELESS = (ExitCode.INVALID, ExitCode.NODE_UNFIT, ExitCode.CONFIGURATION)
"""How an agent ends that would end so again."""

STOP_LIMIT_S = 40.0
SERVER_LOOK_EVERY_S = 1.0
_OWN_LINE = PREFIX.encode()
_LAST_LINE = f"{PREFIX}{EXIT}".encode()


class ProcessState(str, enum.Enum):
    """What has become of the process of one agent."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILING = "failing"
    """Every run that it took has failed."""
    GAVE_UP = "gave up"


@dataclass(slots=True)
class AgentProcess:
    """One agent: its process now, how often it died, and where its output goes."""

    index: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    state: ProcessState = ProcessState.WAITING
    restarts: int = 0
    start_at: float = 0.0
    exit_code: int | None = None
    read_bytes: int = 0
    last_word: str = ""

    @property
    def name(self) -> str:
        """The name in tables and messages."""
        return f"agent-{self.index}"

    def read_on(self) -> None:
        """Read what is new in the log, for the agent's own lines."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(self.read_bytes)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self.read_bytes += len(line)
                if line.startswith(_OWN_LINE) and not line.startswith(_LAST_LINE):
                    said = line.decode("utf-8", "replace").rstrip()
                    self.last_word = said.removeprefix(PREFIX)


@dataclass(slots=True)
class LocalSweep:
    """The processes of one local sweep.

    `tick` is to be called several times a second; it starts again what died and gives one line for
    each thing that happened. `stop` hands the runs back and ends everything.
    """

    sweep: str
    server: ServerProcess | None
    """None while another command's server over the same data is used."""
    url: str
    data: Path
    logs: Path
    work: Path
    agent_args: Sequence[str]
    environ: Mapping[str, str]
    agents: list[AgentProcess] = field(default_factory=list)
    look_at: float = 0.0
    """When the server is to be looked at next."""
    gpus: GpuPlan | None = None
    wish: ServerWish = ServerWish()  # noqa: RUF009 - it is frozen

    @property
    def gpus_by_host(self) -> dict[str, tuple[str, ...]]:
        """The GPUs of each agent that has some of its own, by its host."""
        shares = self.gpus.agents if self.gpus else ()
        hosts = (agent_host(self.environ, index) for index in range(len(shares)))
        return {host: names for host, names in zip(hosts, shares, strict=True) if names}

    def start_agents(self, count: int) -> None:
        """Start `count` agents."""
        for name in ("logs", "work"):
            make_folder(self.data, name)
        self.logs.mkdir(exist_ok=True)
        record(self.logs, self.gpus_by_host)
        for index in range(count):
            agent = AgentProcess(index, self.logs / f"agent-{index}.log")
            self.agents.append(agent)
            self._start(agent)

    def is_over(self) -> bool:
        """Say whether no agent runs and none will be started again."""
        return not any(
            agent.state in (ProcessState.RUNNING, ProcessState.WAITING) for agent in self.agents
        )

    def tick(self, now: float) -> list[str]:
        """Start again what died; give a line for each thing that happened."""
        lines = self._supervise_server(now)
        for agent in self.agents:
            lines += self._supervise(agent, now)
        return lines

    def stop(self) -> None:
        """Ask the agents to hand their runs back, wait for that, and kill what does not end."""
        running = [agent.process for agent in self.agents if agent.process is not None]
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.server is not None:
            self.server.stop()

    def kill(self) -> None:
        """End every process at once; the runs are given back when the server is next started."""
        for agent in self.agents:
            if agent.process is not None:
                agent.process.kill()
                agent.process.wait()
        if self.server is not None:
            self.server.stop()

    def _supervise_server(self, now: float) -> list[str]:
        """Have a server at the sweep's address: ours, or another command's over the same data."""
        if now < self.look_at or (self.server is not None and not self.server.is_dead()):
            return []
        self.look_at = now + SERVER_LOOK_EVERY_S
        if is_listening(self.url):
            self.server = None
            return []
        port = urlsplit(self.url).port
        self.server = ServerProcess(
            self.data,
            agent_timeout_s=AGENT_TIMEOUT_S,
            port=port,
            wish=self.wish,
        )
        self.server.spawn()
        return [f"the server ended; started again (pid {self.server.pid})"]

    def _supervise(self, agent: AgentProcess, now: float) -> list[str]:
        if agent.state is ProcessState.WAITING and now >= agent.start_at:
            self._start(agent)
            return [f"{agent.name}: started again (pid {_pid(agent)})"]
        if agent.state is not ProcessState.RUNNING or agent.process is None:
            return []
        code = agent.process.poll()
        if code is None:
            return []
        agent.process, agent.exit_code = None, code
        if code in (ExitCode.DONE, ExitCode.FAILED_RUNS):
            agent.read_on()
            # By its exit code: the last words of an agent may be lost on a disk that stalls.
            has_failed = code == ExitCode.FAILED_RUNS
            agent.state = ProcessState.FAILING if has_failed else ProcessState.DONE
            has_given_up = has_failed and agent.last_word.startswith(GAVE_UP)
            return [f"{agent.name}: {agent.last_word}"] if has_given_up else []
        if code in _HOPELESS or agent.restarts >= MAX_RESTARTS:
            agent.state = ProcessState.GAVE_UP
            agent.read_on()
            why = f": {agent.last_word}" if agent.last_word else ""
            return [f"{agent.name}: gave up ({_meaning(code)}){why}", f"  its log: {agent.log}"]
        agent.restarts += 1
        agent.state = ProcessState.WAITING
        agent.start_at = now + min(2.0 ** (agent.restarts - 1), 30.0) - 1.0
        return [f"{agent.name}: ended ({_meaning(code)})"]

    def _start(self, agent: AgentProcess) -> None:
        command = [
            *(sys.executable, "-m", "sweepctl_pod", "--sweep", self.sweep),
            *("--index", str(agent.index), "--work", str(self.work), "--asker", "person"),
            *self.agent_args,
        ]
        with agent.log.open("ab") as log:
            agent.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **self.environ,
                    **(self.gpus.environ_of(agent.index) if self.gpus else {}),
                },
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        agent.state = ProcessState.RUNNING


def agent_environ(url: str, data: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment of agents that work for the embedded server of `data` at `url`."""
    server = connection(url, environ, data=data)
    return {
        **environ,
        "WANDB_BASE_URL": server.base_url,
        "WANDB_API_KEY": server.api_key or "",
        "WANDB_ERROR_REPORTING": "false",
    }


def _meaning(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    with suppress(ValueError):
        return f"exit {code}, {ExitCode(code).name.lower().replace('_', ' ')}"
    return f"exit {code}"


def _pid(agent: AgentProcess) -> int | None:
    return agent.process.pid if agent.process else None
