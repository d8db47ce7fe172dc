"""What a bed holds of its host: processes, known by pid and start time, and cgroups of its own.

Nothing here acts on a process or a cgroup that the bed did not make.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process, told apart from a later one with the same pid by when it started."""

    pid: int
    start_ticks: int

    @staticmethod
    def of(pid: int) -> Process | None:
        """The process with that pid now; None when there is none, or only a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat[stat.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else Process(pid, int(fields[19]))

    @property
    def is_alive(self) -> bool:
        return Process.of(self.pid) == self

    def kill(self) -> None:
        """Kill it, if it is still the same process."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.is_alive:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)

    def descendants(self) -> Iterator[Process]:
        """Every process below this one, parents first."""
        for pid in _children(self.pid):
            child = Process.of(pid)
            if child is not None:
                yield child
                yield from child.descendants()

    @property
    def is_init(self) -> bool:
        """Tell whether it is the first process of its process namespace."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        return len(pids) > 2 and pids[-1] == "1"

    @property
    def command(self) -> tuple[str, ...]:
        try:
            text = Path(f"/proc/{self.pid}/cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return ()
        return tuple(text.rstrip("\0").split("\0"))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = Path(f"/proc/{pid}/task/{task}/children").read_text()
                found += [int(child) for child in text.split()]
    return found


def wait_until_gone(processes: list[Process], timeout_s: float) -> list[Process]:
    """Wait for processes to end; return those that are still there at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while processes := [process for process in processes if process.is_alive]:
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.02)
    return processes


_CPU_SHARES = {"cpu.shares": "3072", "cpu.weight": "300"}
"""Three times the default, by version 1 and by version 2: the tests themselves need some too."""


def cgroup_hierarchies() -> list[Path]:
    """The root of every cgroup hierarchy here: one with version 2, many with version 1."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(m[1]) for m in mounts if m[2] in ("cgroup", "cgroup2") and Path(m[1]).is_dir()]


def make_cgroup(path: str) -> None:
    """Make a cgroup of that path in every hierarchy, with more of a busy processor than most.

    However many processes run beside a bed, its kubelets' deadlines are those of a whole machine.
    """
    for root in cgroup_hierarchies():
        place = root
        for part in path.strip("/").split("/"):
            place /= part
            place.mkdir(exist_ok=True)
            for name, share in _CPU_SHARES.items():
                if (place / name).exists():
                    (place / name).write_text(share)


def remove_cgroup(path: str, timeout_s: float = 10) -> list[Path]:
    """Remove a cgroup and all below it, everywhere; return what could not be removed."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        left = [root / path.lstrip("/") for root in cgroup_hierarchies()]
        left = [top for top in left if top.exists() and not _remove_tree(top)]
        if not left or time.monotonic() > deadline_s:
            return left
        time.sleep(0.05)  # the kernel empties a killed group a moment later


def remove_empty_cgroup(path: str) -> None:
    """Remove a cgroup where it has no child: the root of all beds, when the last one leaves."""
    for root in cgroup_hierarchies():
        with contextlib.suppress(OSError):
            (root / path.lstrip("/")).rmdir()


def _remove_tree(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
