"""A trainer as a process: its own session, its output passed on, nothing of it left at its end.

A trainer is a tree of processes (launcher scripts, wandb's service, data loaders), and the GPU
memory of any of them is held until that one is dead. `Descendants` finds them: as PID 1, or as
subreaper, this process becomes the parent of all that lose theirs.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sweepctl_pod.console import Console
from sweepctl_pod.run.trainer_log import TrainerLog

MARKER = "SWEEPCTL_AGENT"
"""The environment variable by which the processes of one agent's trainers are known."""

_PR_SET_CHILD_SUBREAPER = 36
_READ_BYTES = 1 << 16
_PROMPT_S = 0.5
_OWN_LIMIT_S = 2.0
"""What processes of the agent's own get at its end: one may be tidying a bucket."""
_LONGEST_LINE_BYTES = 1 << 20


class Descendants:
    """The descendants of this process: the trainer's are killed, those that were here are not.

    Its methods are for the main thread, but for `own`.
    """

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self._spared = set(_children())
        self._own: set[int] = set()
        self._guard = threading.Lock()
        self._is_reaper = become_subreaper()

    def spare(self, pid: int) -> None:
        """Neither kill nor reap this process."""
        self._spared.add(pid)

    def forget(self, pid: int) -> None:
        """Undo `spare` once the process is reaped: the kernel may give its id to another."""
        self._spared.discard(pid)

    @contextmanager
    def own(
        self, start: Callable[[], subprocess.Popen[bytes]]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process of this agent's own work, which no trainer's end may harm.

        For any thread, which waits for the process's end before it leaves the block.
        """
        with self._guard:  # between its start and its name here it would be a leftover
            process = start()
            self._own.add(process.pid)
        try:
            yield process
        finally:
            with self._guard:
                self._own.discard(process.pid)

    def finish_own(self, left_s: float) -> None:
        """Wait a moment for this agent's own processes; from then on they are leftovers."""
        until = time.monotonic() + min(_OWN_LIMIT_S, left_s / 2)
        while self._own and time.monotonic() < until:
            time.sleep(0.02)
        with self._guard:
            self._own.clear()

    def kill_leftovers(self, is_over: Callable[[], bool]) -> list[int]:
        """Kill every descendant that is not spared, until none is left or the time is over.

        Gives the ids of those that would not die: a process stuck in the kernel, on a sick GPU.
        """
        while True:
            with self._guard:
                leftovers = self._leftovers()
                for pid in leftovers:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
            if not leftovers or is_over():
                return leftovers
            self._reap(leftovers)
            # Their own children become ours only when they are gone: look again, then wait.
            with self._guard:
                again = self._leftovers()
            if again == leftovers:
                time.sleep(0.005)

    def reap_orphans(self) -> None:
        """Reap the dead among the orphans of this process; leave the living alone."""
        zombies = [pid for pid, state in _processes() if state[:1] == [b"Z"]]
        with self._guard:
            leftovers = self._leftovers()
        self._reap([pid for pid in leftovers if pid in zombies])

    def _leftovers(self) -> list[int]:
        found = _children() if self._is_reaper else [*_children(), *marked(self.marker)]
        return [pid for pid in found if pid not in self._spared | self._own]

    def _reap(self, pids: Sequence[int]) -> None:
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


class Guardian:
    """The agent's side of the watcher that kills the trainer after a killed agent; best effort."""

    def __init__(self, descendants: Descendants) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        script = Path(__file__).with_name("guardian.py")
        environ = {key: value for key, value in os.environ.items() if key != MARKER}
        if os.getpid() == 1:
            return  # with PID 1 the kernel itself ends all others
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-E", str(script), descendants.marker],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            descendants.spare(self._process.pid)

    def watch(self, group: int) -> None:
        """Name the process group that must die with this process; 0 names none."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                os.write(self._process.stdin.fileno(), f"{group}\n".encode())

    def dismiss(self, limit_s: float) -> None:
        """End the watcher, which kills what is left once more; wait for that at most `limit_s`."""
        if self._process is not None and self._process.stdin is not None:
            self.watch(0)
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, limit_s))


class Child:
    """One trainer process from its start to the death of the last of its group."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str],
        descendants: Descendants,
        console: Console,
        log: Path,
        on_lines: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        """Start it; OSError when there is no such program, or it cannot be run."""
        self._descendants = descendants
        self._console = console
        self._on_lines = on_lines
        self._on_end = on_end
        self._log = _open_log(log)
        self._ended = threading.Event()
        self._output_over = threading.Event()
        self.log_failed: OSError | None = None
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(argv),
                env={**environ, MARKER: descendants.marker},
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        except (OSError, ValueError):
            os.close(reading)
            if self._log is not None:
                self._log.close()
            raise
        finally:
            os.close(writing)
        descendants.spare(self._process.pid)
        self._output = reading
        self._pump = threading.Thread(target=self._pass_output_on, daemon=True)
        self._pump.start()
        threading.Thread(target=self._wait_for_end, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Say whether the process itself has ended; others of its group may be alive."""
        if not self._ended.is_set():
            with suppress(ChildProcessError):
                flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
                return os.waitid(os.P_PID, self._process.pid, flags) is not None
        return True

    def output_is_over(self) -> bool:
        """Say whether all its output was read; a process outside the group may keep it open."""
        return self._output_over.is_set()

    def group_is_alive(self) -> bool:
        """Say whether any process of the group is alive; zombies are not."""
        group = str(self.pid).encode()
        return any(state[2:3] == [group] and state[0] != b"Z" for _, state in _processes())

    def signal_group(self, signum: int) -> None:
        """Send a signal to the whole group."""
        # The leader is not reaped before `finish`, so the id cannot belong to another group yet.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)

    def finish(self, is_over: Callable[[], bool]) -> tuple[int, list[int]]:
        """Kill what is left and read the rest of the output; give exit code and undying processes.

        Undying are those that are not dead when the time is over. The exit code is Popen's:
        negative for a signal.
        """
        self.signal_group(signal.SIGKILL)
        while not self._ended.wait(0.1) and not is_over():
            pass
        undying = [] if self._ended.is_set() else [self.pid]
        if not undying:
            self._process.wait()
            self._descendants.forget(self.pid)
            undying = self._descendants.kill_leftovers(is_over)
        self._pump.join(5.0 if not undying else 0.1)
        return self._process.returncode if not undying else -signal.SIGKILL, undying

    def _wait_for_end(self) -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._ended.set()
        self._on_end()

    def _pass_output_on(self) -> None:
        """Pass whole lines on as they come, and a part of one, such as a prompt, after a moment."""
        line, shown = b"", 0
        while True:
            if shown < len(line) and not select.select([self._output], [], [], _PROMPT_S)[0]:
                self._pass(line[shown:])
                shown = len(line)
            block = os.read(self._output, _READ_BYTES)
            line += block
            end = max(line.rfind(b"\n"), line.rfind(b"\r")) + 1
            if not block or (not end and len(line) > _LONGEST_LINE_BYTES):
                end = len(line)
            if end:
                # Evidence first: a disk or a reader that hangs must not keep it from being seen.
                # Each line is looked at whole, in however many pieces it came.
                self._on_lines(line[:end])
                self._pass(line[shown:end])
                line, shown = line[end:], 0
            if not block:
                break
        os.close(self._output)
        if self._log is not None:
            with suppress(OSError):
                self._log.close()
        self._output_over.set()
        self._on_end()

    def _pass(self, data: bytes) -> None:
        self._console.pass_on(data)
        if self._log is not None and self.log_failed is None:
            try:
                self._log.write(data)
            except OSError as error:
                self.log_failed = error


def become_subreaper() -> bool:
    """Make this process the parent of its orphaned descendants, as PID 1 is; say whether it is."""
    if os.getpid() == 1:
        return True
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _open_log(path: Path) -> TrainerLog | None:
    try:
        return TrainerLog(path)
    except OSError:
        return None


def _children() -> list[int]:
    """List the direct children of this process: as the kernel lists them, else by their parent."""
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                listed = Path(f"/proc/self/task/{task}/children").read_bytes()
                found += [int(pid) for pid in listed.split()]
    except OSError:
        # A kernel without CONFIG_PROC_CHILDREN, or a thread that has just ended.
        parent = str(os.getpid()).encode()
        return [pid for pid, state in _processes() if state[1:2] == [parent]]
    return found


def marked(marker: str) -> list[int]:
    """List the processes that carry an agent's marker in their environment."""
    wanted = f"{MARKER}={marker}".encode()
    found = []
    for pid, _ in _processes():
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _processes() -> Iterator[tuple[int, list[bytes]]]:
    """Give every process with its fields of /proc/PID/stat from the third on (proc_pid_stat(5))."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit():
            with suppress(OSError):
                stat = Path(f"/proc/{name}/stat").read_bytes()
                yield int(name), stat.rpartition(b")")[2].split()
