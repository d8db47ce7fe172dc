"""PID 1 of one machine of the test bed: the bed itself, and each node inside it.

A machine is a set of Linux namespaces (processes, mounts, host name, network) with this program as
its first process. It runs the plan's setup commands, starts the services, each as soon as what it
waits for is there, restarts what ends and reaps orphans. When it dies, the kernel kills every
process of the machine and drops its mounts: so nothing can be left behind, whatever killed it. It
runs as a plain file (`python -I machine.py PLAN`), so it imports only the standard library.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESTART_DELAY_S = 1.0
ADOPTED = b"1"


@dataclass(frozen=True, slots=True)
class Service:
    """One long-lived process of a machine."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    after: str = ""
    """What must answer first: `tcp:HOST:PORT`, `unix:PATH`, or nothing."""
    pass_fds: tuple[int, ...] = ()
    """Open files that the service inherits."""
    unless: str = ""
    """A file: while it exists the service is off (a node without power, the simulated nodes)."""

    @property
    def is_off(self) -> bool:
        return bool(self.unless) and Path(self.unless).exists()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a machine does, as data."""

    hostname: str
    setup: tuple[tuple[str, ...], ...]
    services: tuple[Service, ...]
    log_dir: str
    status_file: str

    def to_json(self) -> str:
        """Write the plan as the file that a machine is started with."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read a plan file."""
        data = json.loads(text)
        services = tuple(_service(service) for service in data.pop("services"))
        setup = tuple(tuple(command) for command in data.pop("setup"))
        return Plan(setup=setup, services=services, **data)


def _service(data: dict[str, Any]) -> Service:
    lists = {"argv": tuple(data["argv"]), "pass_fds": tuple(data["pass_fds"])}
    return Service(**{**data, **lists})


def answers(address: str) -> bool:
    """Tell whether something accepts connections at `tcp:HOST:PORT` or `unix:PATH`."""
    kind, _, place = address.partition(":")
    host, _, port = place.rpartition(":")
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(place if kind == "unix" else (host, int(port)))
        except OSError:
            return False
    return True


class Machine:
    """Runs one plan until it is told to stop."""

    def __init__(self, plan: Plan, lifeline_fd: int | None) -> None:
        self._plan = plan
        self._lifeline_fd = lifeline_fd
        self._running: dict[int, Service] = {}
        self._due_s = {service.name: 0.0 for service in plan.services}
        self._starts = {service.name: 0 for service in plan.services}
        self._last_exit: dict[str, int] = {}

    def run(self) -> int:
        """Set the machine up and look after its services; SIGTERM ends it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
        socket.sethostname(self._plan.hostname)
        for command in self._plan.setup:
            done = subprocess.run(command, capture_output=True, text=True, preexec_fn=_unblock)
            if done.returncode != 0:
                print(f"setup failed: {' '.join(command)}: {done.stderr.strip()}", flush=True)
                return 1
        while True:
            self._reap()
            self._start_due()
            if self._is_abandoned():
                return 1
            is_settled = self._lifeline_fd is None and not self._is_any_pending()
            caught = signal.sigtimedwait(
                {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}, 0.5 if is_settled else 0.05
            )
            if caught is not None and caught.si_signo != signal.SIGCHLD:
                return 0

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            service = self._running.pop(pid, None)
            if service is not None:
                code = os.waitstatus_to_exitcode(status)
                print(f"{service.name} ended with {code}", flush=True)
                self._last_exit[service.name] = code
                self._due_s[service.name] = time.monotonic() + RESTART_DELAY_S
                self._write_status()

    def _start_due(self) -> None:
        for service in self._plan.services:
            is_running = service in self._running.values()
            is_off = service.is_off
            if is_running and is_off:
                pid = next(pid for pid, other in self._running.items() if other is service)
                os.kill(pid, signal.SIGKILL)
            if is_running or is_off or time.monotonic() < self._due_s[service.name]:
                continue
            if service.after and not answers(service.after):
                continue
            with open(Path(self._plan.log_dir, f"{service.name}.log"), "ab") as log:
                process = subprocess.Popen(
                    service.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **service.env},
                    pass_fds=service.pass_fds,
                    preexec_fn=_unblock,
                )
            self._running[process.pid] = service
            self._starts[service.name] += 1
            process.returncode = 0  # reaped here, never by Popen
            self._write_status()

    def _is_any_pending(self) -> bool:
        running = {service.name for service in self._running.values()}
        return any(s.name not in running and not s.is_off for s in self._plan.services)

    def _is_abandoned(self) -> bool:
        """Notice that `up` died before it handed the machine over."""
        if self._lifeline_fd is None or not select.select([self._lifeline_fd], [], [], 0)[0]:
            return False
        is_adopted = os.read(self._lifeline_fd, 1) == ADOPTED
        os.close(self._lifeline_fd)
        self._lifeline_fd = None
        return not is_adopted

    def _write_status(self) -> None:
        names = {service.name: pid for pid, service in self._running.items()}
        status = {
            name: {"pid": names.get(name), "starts": starts, "last_exit": self._last_exit.get(name)}
            for name, starts in self._starts.items()
        }
        part = Path(f"{self._plan.status_file}.part")
        part.write_text(json.dumps(status, indent=1))
        part.replace(self._plan.status_file)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def main(argv: list[str]) -> int:
    """Run the plan file named first; the second argument is the lifeline's file descriptor."""
    plan = Plan.from_json(Path(argv[0]).read_text())
    return Machine(plan, int(argv[1]) if len(argv) > 1 else None).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
