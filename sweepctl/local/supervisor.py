"""A sweep on this machine: the embedded server and the agents as processes that are kept alive.

The supervisor starts what died (a killed server or agent costs time, never a run) and ends when the
agents have no more work. It judges no run: the agents and the server do.
"""

from __future__ import annotations

import enum
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from sweepctl.server import process as embedded
from sweepctl.server.engine.sweeps_engine import INSTALL_HINT, find_python
from sweepctl.sweepfile.load import SweepSpec
from sweepctl.sweeps import place as launch
from sweepctl.sweeps.api import WandbApi, dashboard_url, read_config
from sweepctl.sweeps.best import RankedRun, best_runs
from sweepctl.sweeps.gpus import GpuPlan, Wish, plan_gpus, record
from sweepctl.sweeps.status import SweepStatus, sweep_status, with_gpus
from sweepctl_pod.errors import ExitCode, UsageError
from sweepctl_pod.first_runs import GAVE_UP
from sweepctl_pod.options import agent_host
from sweepctl_pod.wandb.client import ApiError, SweepInfo

MAX_RESTARTS = 6
"""How often an agent that keeps dying is started again: the Job's backoffLimitPerIndex."""

AGENT_TIMEOUT_S = 15.0
"""When the server gives an agent's runs to others: shorter than in a cluster, nothing is far."""

_HOPELESS = (ExitCode.INVALID, ExitCode.NODE_UNFIT, ExitCode.CONFIGURATION)
"""How an agent ends that would end so again."""

STOP_LIMIT_S = 40.0
SETTLE_LIMIT_S = 3.0
READ_EVERY_S = 1.0
SERVER_LOOK_EVERY_S = 1.0
TICK_S = 0.1


class AgentState(str, enum.Enum):
    """What has become of one agent."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILING = "failing"
    """Its first runs all failed at once."""
    GAVE_UP = "gave up"


@dataclass(slots=True)
class AgentProcess:
    """One agent: its process now, how often it died, and where its output goes."""

    index: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    state: AgentState = AgentState.WAITING
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
                if line.startswith(b"sweepctl: ") and not line.startswith(b"sweepctl: exit "):
                    said = line.decode("utf-8", "replace").rstrip()
                    self.last_word = said.removeprefix("sweepctl: ")


@dataclass(slots=True)
class LocalSweep:
    """The processes of one local sweep.

    `tick` is to be called several times a second; it starts again what died and gives one line for
    each thing that happened. `stop` hands the runs back and ends everything.
    """

    sweep: str
    server: embedded.ServerProcess | None
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

    @property
    def gpus_by_host(self) -> dict[str, tuple[str, ...]]:
        """The GPUs of each agent that has some of its own, by its host."""
        shares = self.gpus.agents if self.gpus else ()
        hosts = (agent_host(self.environ, index) for index in range(len(shares)))
        return {host: names for host, names in zip(hosts, shares, strict=True) if names}

    def start_agents(self, count: int) -> None:
        """Start `count` agents."""
        self.logs.mkdir(parents=True, exist_ok=True)
        record(self.logs, self.gpus_by_host)
        for index in range(count):
            agent = AgentProcess(index, self.logs / f"agent-{index}.log")
            self.agents.append(agent)
            self._start(agent)

    def is_over(self) -> bool:
        """Say whether no agent runs and none will be started again."""
        return not any(
            agent.state in (AgentState.RUNNING, AgentState.WAITING) for agent in self.agents
        )

    def tick(self, now: float) -> list[str]:
        """Start again what died; give a line for each thing that happened."""
        lines = self._tend_server(now)
        for agent in self.agents:
            lines += self._tend(agent, now)
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

    def _tend_server(self, now: float) -> list[str]:
        """Have a server at the sweep's address: ours, or another command's over the same data."""
        if now < self.look_at or (self.server is not None and not self.server.is_dead()):
            return []
        self.look_at = now + SERVER_LOOK_EVERY_S
        if embedded.is_listening(self.url):
            self.server = None
            return []
        port = urlsplit(self.url).port
        self.server = embedded.ServerProcess(self.data, agent_timeout_s=AGENT_TIMEOUT_S, port=port)
        self.server.spawn()
        return [f"the server ended; started again (pid {self.server.pid})"]

    def _tend(self, agent: AgentProcess, now: float) -> list[str]:
        if agent.state is AgentState.WAITING and now >= agent.start_at:
            self._start(agent)
            return [f"{agent.name}: started again (pid {_pid(agent)})"]
        if agent.state is not AgentState.RUNNING or agent.process is None:
            return []
        code = agent.process.poll()
        if code is None:
            return []
        agent.process, agent.exit_code = None, code
        if code in (ExitCode.DONE, ExitCode.FAILED_RUNS):
            agent.read_on()
            is_failing = agent.last_word.startswith(GAVE_UP)
            agent.state = AgentState.FAILING if is_failing else AgentState.DONE
            return [f"{agent.name}: {agent.last_word}"] if is_failing else []
        if code in _HOPELESS or agent.restarts >= MAX_RESTARTS:
            agent.state = AgentState.GAVE_UP
            agent.read_on()
            why = f": {agent.last_word}" if agent.last_word else ""
            return [f"{agent.name}: gave up ({_meaning(code)}){why}", f"  its log: {agent.log}"]
        agent.restarts += 1
        agent.state = AgentState.WAITING
        agent.start_at = now + min(2.0 ** (agent.restarts - 1), 30.0) - 1.0
        return [f"{agent.name}: ended ({_meaning(code)})"]

    def _start(self, agent: AgentProcess) -> None:
        command = [
            *(sys.executable, "-m", "sweepctl_pod.agent", "--sweep", self.sweep),
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
                    "SWEEPCTL_AGENT_NAME": agent.name,
                },
                start_new_session=True,
                preexec_fn=embedded.die_with_parent,
            )
        agent.state = AgentState.RUNNING


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """What the user asked of `local`."""

    agents: int
    project: str | None
    data: Path | None
    sweep: str | None
    grammar: str
    gpu: str
    max_initial_failures: str | None
    gpus: Wish


class View(Protocol):
    """Where the progress of a local sweep is shown."""

    def note(self, line: str) -> None:
        """Show one line about the processes."""

    def show(self, status: SweepStatus) -> None:
        """Show the sweep as it is now."""

    def end(self, status: SweepStatus, runs: Sequence[RankedRun]) -> None:
        """Show how the sweep ended."""


def run_local(spec: SweepSpec, plan: LocalPlan, view: View) -> ExitCode:
    """Run a sweep on this machine until its agents are done; give how it ended."""
    failures = launch.failure_options(plan.max_initial_failures)
    gpus = plan_gpus(plan.gpus, plan.agents, os.environ)
    if plan.sweep is None:
        check_searchable(spec)
    data = (plan.data or embedded.default_data()).absolute()
    server, url = embedded.start_server(data, agent_timeout_s=AGENT_TIMEOUT_S)
    api = WandbApi(embedded.connection(url, data=data), on_wait=view.note)
    try:
        sweep = _sweep_of(spec, plan, api)
    except BaseException:
        if server is not None:
            server.stop()
        raise
    processes = LocalSweep(
        sweep=f"{sweep.entity}/{sweep.project}/{sweep.id}",
        server=server,
        url=url,
        data=data,
        logs=embedded.agent_logs(data, sweep.id),
        work=data / "work" / sweep.id,
        agent_args=["--grammar", plan.grammar, "--preflight-gpu", plan.gpu, *failures],
        environ=agent_environ(url),
        gpus=gpus,
    )
    view.note(f"sweep {processes.sweep}: {dashboard_url(api.connection, sweep)}")
    view.note(f"the agents' output: {processes.logs}/agent-*.log")
    for line in gpus.notes:
        view.note(line)
    go_on = ["sweepctl", "local", spec.argument, "--sweep", processes.sweep, *_data_option(plan)]
    pages = shlex.join(["sweepctl", "open", processes.sweep, *_data_option(plan)])
    with _interruptible(
        processes, view, [f"go on later with: {shlex.join(go_on)}", f"its pages: {pages}"]
    ):
        processes.start_agents(plan.agents)
        config = read_config(sweep.config_text)
        _follow(processes, api, sweep, config, view)
        status = _settled(processes, api, sweep, config)
        view.show(status)
        best = _best_runs(api, status, config)
        view.end(status, best)
        verb = "best" if best else "status"
        again = shlex.join(["sweepctl", verb, processes.sweep, *_data_option(plan)])
        view.note(f"\nsee it again: {again}")
        view.note(f"its pages:    {pages}")
        have_given_up = all(agent.state is AgentState.FAILING for agent in processes.agents)
        if status.has_ended or not have_given_up:
            return status.exit_code
        view.note(f"every agent gave up; when that is corrected: {shlex.join(go_on)}")
        return ExitCode.FAILED_RUNS


def check_searchable(spec: SweepSpec, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse, before anything is made, a sweep that needs an engine which is not here."""
    if spec.method == "bayes" and find_python(environ) is None:
        raise UsageError(
            "method bayes needs W&B's search engine (the package sweeps), which is not here",
            f"{INSTALL_HINT}; or write method: random",
        )


def _follow(
    processes: LocalSweep,
    api: WandbApi,
    sweep: SweepInfo,
    config: Mapping[str, Any],
    view: View,
) -> None:
    quick = WandbApi(api.connection, patience_s=0)
    read_at = 0.0
    while not processes.is_over():
        now = time.monotonic()
        for line in processes.tick(now):
            view.note(line)
        if now >= read_at:
            # A server that is being restarted is read again at the next turn.
            with suppress(ApiError):
                view.show(_read(processes, quick, sweep, config))
            read_at = now + READ_EVERY_S
        time.sleep(TICK_S)


@contextmanager
def _interruptible(
    processes: LocalSweep, view: View, next_commands: Sequence[str]
) -> Iterator[None]:
    """End everything on the way out; at Ctrl-C hand the runs back first, at a second one kill.

    What is said when the terminal is closed nobody sees: it stands beside the agents' output as
    well. Under `nohup`, which has SIGHUP ignored, that ends nothing.
    """
    terminated = signal.signal(signal.SIGTERM, _raise_interrupt)
    hung_up = signal.getsignal(signal.SIGHUP)
    if hung_up is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _raise_interrupt)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        is_hung_up = interrupt.args == (signal.SIGHUP,)
        why = "the terminal was closed" if is_hung_up else "interrupted"
        how = "" if is_hung_up else "; press Ctrl-C again to end at once"
        lines = [f"{why}: handing the runs back{how}", *next_commands]
        if is_hung_up:
            _leave_behind(processes.logs / "local.log", lines)
        with suppress(OSError):
            for line in lines:
                view.note(line)
        raise
    finally:
        signal.signal(signal.SIGTERM, terminated)
        try:
            processes.stop()
        except KeyboardInterrupt:
            processes.kill()
        signal.signal(signal.SIGHUP, hung_up)


def _raise_interrupt(number: int, frame: object) -> None:
    if number == signal.SIGHUP:
        # The kernel sends one and the shell another.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def _leave_behind(log: Path, lines: Sequence[str]) -> None:
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _sweep_of(spec: SweepSpec, plan: LocalPlan, api: WandbApi) -> SweepInfo:
    if plan.sweep is not None:
        return launch.find_sweep(api, launch.parse_sweep_name(plan.sweep))
    project = launch.project_of(spec, plan.project)
    return launch.create_sweep(api, spec, embedded.ENTITY, project)


def _read(
    processes: LocalSweep, api: WandbApi, sweep: SweepInfo, config: Mapping[str, Any]
) -> SweepStatus:
    fresh = api.sweep(sweep.entity, sweep.project, sweep.id)
    status = sweep_status(fresh, config, api.runs(fresh), datetime.now(timezone.utc))
    return with_gpus(status, processes.gpus_by_host)


def _settled(
    processes: LocalSweep, api: WandbApi, sweep: SweepInfo, config: Mapping[str, Any]
) -> SweepStatus:
    """Read a sweep whose agents are gone: its server takes a moment to see that it has ended."""
    deadline = time.monotonic() + SETTLE_LIMIT_S
    while True:
        status = _read(processes, api, sweep, config)
        if status.has_ended or time.monotonic() >= deadline:
            return status
        time.sleep(TICK_S)


def _best_runs(
    api: WandbApi, status: SweepStatus, config: Mapping[str, Any]
) -> Sequence[RankedRun]:
    """Rank the runs; the command of the best one is shown."""
    record_of = partial(api.run_record, status.sweep)
    return best_runs(status, config, top=10, record_of=record_of, recorded=1)


def _data_option(plan: LocalPlan) -> list[str]:
    return ["--data", str(plan.data)] if plan.data else []


def agent_environ(url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment of agents that work for an embedded server at `url`."""
    connection = embedded.connection(url, environ)
    return {
        **environ,
        "WANDB_BASE_URL": connection.base_url,
        "WANDB_API_KEY": connection.api_key or "",
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
