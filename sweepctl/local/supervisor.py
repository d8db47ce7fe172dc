"""A sweep on this machine, from its creation to its end: the use case behind `local`.

It starts the processes, shows how the runs get on, and ends when the agents have no more work.
Whatever ends it, the runs are handed back first.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sweepctl.local.agent import failure_options, tasks_environ
from sweepctl.local.processes import AGENT_TIMEOUT_S, LocalSweep, ProcessState, agent_environ
from sweepctl.server.server_process import (
    ENTITY,
    agent_logs,
    connection,
    default_data,
    start_server,
    stock_clients,
)
from sweepctl.server.server_process import ServerWish as ServerWish
from sweepctl.sweepfile.load import SweepSpec
from sweepctl.sweeps.api import WandbApi, dashboard_url, read_config
from sweepctl.sweeps.best import RankedRun, best_runs
from sweepctl.sweeps.create import create_sweep, tell_seed
from sweepctl.sweeps.gpus import Wish, plan_gpus
from sweepctl.sweeps.names import parse_sweep_name, project_of
from sweepctl.sweeps.place import find_sweep
from sweepctl.sweeps.status import SweepStatus, sweep_status, with_gpus
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.wandb.client import ApiError, SweepInfo

SETTLE_LIMIT_S = 3.0
READ_EVERY_S = 1.0
TICK_S = 0.1


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
    tasks: Sequence[str] = ()
    """What registers the tasks with Isaac Lab: modules, or folders of projects."""
    server: ServerWish = ServerWish()  # noqa: RUF009 - it is frozen


class ProgressView(Protocol):
    """Where the progress of a local sweep is shown."""

    def note(self, line: str) -> None:
        """Show one line about the processes."""

    def show(self, status: SweepStatus) -> None:
        """Show the sweep as it is now."""

    def end(self, status: SweepStatus, runs: Sequence[RankedRun]) -> None:
        """Show how the sweep ended."""


def run_local(spec: SweepSpec, plan: LocalPlan, view: ProgressView) -> ExitCode:
    """Run a sweep on this machine until its agents are done; give how it ended."""
    failures = failure_options(plan.max_initial_failures)
    gpus = plan_gpus(plan.gpus, plan.agents, os.environ)
    data = (plan.data or default_data()).absolute()
    server, url = start_server(
        data,
        agent_timeout_s=AGENT_TIMEOUT_S,
        wish=plan.server,
    )
    if server is None and plan.server.search_engine is not None:
        view.note("the server that runs here already has its own --search-engine: this one is idle")
    api = WandbApi(connection(url, data=data), on_wait=view.note)
    try:
        sweep = _sweep_of(spec, plan, api, view.note)
    except BaseException:
        if server is not None:
            server.stop()
        raise
    processes = LocalSweep(
        sweep=sweep.full_name,
        server=server,
        url=url,
        data=data,
        logs=agent_logs(data, sweep.id),
        work=data / "work" / sweep.id,
        agent_args=["--grammar", plan.grammar, "--preflight-gpu", plan.gpu, *failures],
        environ={**agent_environ(url, data), **tasks_environ(plan.tasks)},
        gpus=gpus,
        wish=plan.server,
    )
    view.note(f"sweep {processes.sweep}: {dashboard_url(api.connection, sweep)}")
    view.note(f"the agents' output: {processes.logs}/agent-*.log")
    for line in stock_clients(data, url):
        view.note(line)
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
        report = ["sweepctl", "report", processes.sweep, *_data_option(plan), "-o", "report.html"]
        view.note(f"its report:   {shlex.join(report)}")
        have_given_up = all(agent.state is ProcessState.FAILING for agent in processes.agents)
        if status.has_ended or not have_given_up:
            return status.exit_code
        view.note(f"every agent gave up; when that is corrected: {shlex.join(go_on)}")
        return ExitCode.FAILED_RUNS


def _follow(
    processes: LocalSweep,
    api: WandbApi,
    sweep: SweepInfo,
    config: Mapping[str, Any],
    view: ProgressView,
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
    processes: LocalSweep, view: ProgressView, next_commands: Sequence[str]
) -> Iterator[None]:
    """End everything on the way out; at Ctrl-C hand the runs back first, at a second one kill.

    Nobody sees what is said when the terminal is closed, so it is also written beside the agents'
    output. Under `nohup`, which ignores SIGHUP, a closed terminal ends nothing.
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


def _sweep_of(
    spec: SweepSpec, plan: LocalPlan, api: WandbApi, say: Callable[[str], None]
) -> SweepInfo:
    if plan.sweep is not None:
        return find_sweep(api, parse_sweep_name(plan.sweep))
    project = project_of(spec, plan.project)
    sweep = create_sweep(api, spec, ENTITY, project)
    tell_seed(spec, sweep, say)
    return sweep


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
