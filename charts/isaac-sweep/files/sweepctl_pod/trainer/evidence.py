"""What a trainer's output and files show: its log folder, its end, its known start-up troubles.

`Evidence.feed` reads the stream as it passes; it prints and writes nothing. It looks for lines of
Isaac Lab's training scripts (isaaclab_rl/entrypoints/backends in 3.x, scripts/
reinforcement_learning in 2.x) and of rsl_rl's logger.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from sweepctl_pod.trainer.launchers import SCRIPT_LIBRARIES, TrainerKind

_RANK = rb"^(?:\[[\w.-]+\]:)?"
"""What `torchrun --tee` puts before a line of one of its processes: [default0]:"""
_ENDED = re.compile(
    _RANK + rb"(?:Training time: [0-9.]+ seconds"
    rb"|MAX (?:EPOCHS|FRAMES) NUM!|(?:Maximum reward achieved\. )?Network won!)",  # rl_games
    re.MULTILINE,
)
_BAR = re.compile(rb"(\d{1,3})%\|[^|\r\n]*\| \d+/\d+ \[")
"""The progress bar over skrl's timesteps; the last one on its line counts."""
_ITERATION = re.compile(rb"Learning iteration (\d{1,18})/(\d{1,18})")
_LOG_ROOT = re.compile(
    _RANK + rb"\[INFO\] Logging experiment in directory: ([^\r\n]+)", re.MULTILINE
)
_LOG_NAME = re.compile(
    _RANK + rb"Exact experiment name requested from command line: ([^\r\n]+)", re.MULTILINE
)
_DISK_FULL = re.compile(os.strerror(errno.ENOSPC).encode() + rb"|\[Errno 28\]")
_ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")

_UNKNOWN_TASK = re.compile(
    # https://github.com/Farama-Foundation/Gymnasium/blob/main/gymnasium/error.py
    rb"gymnasium\.error\.(?:NameNotFound|NamespaceNotFound|VersionNotFound|UnregisteredEnv): "
    # Isaac Lab 3 reads the library to train with from the task's own registration.
    rb"|: error: the following argument is required: --rl_library"
)

_BROKEN_BYTECODE = re.compile(
    # A node that went down while it wrote: Python trusts what a file's header says of the rest.
    _RANK + rb"(?:EOFError: marshal data too short|ValueError: bad marshal data)",
    re.MULTILINE,
)

COLD_START_SIGNATURES = (
    # The extension registry was not reachable or not synchronised yet:
    # https://github.com/isaac-sim/IsaacLab/issues/1441, https://github.com/isaac-sim/IsaacLab/pull/6894
    re.compile(rb"Exiting app because of dependency solver failure"),
    re.compile(rb"\[omni\.ext\.plugin\] Failed to resolve extension dependencies"),
    # Kit crashed while it built its caches: https://github.com/isaac-sim/IsaacSim/issues/431
    re.compile(rb"\[carb\.graphics-vulkan\.plugin\] VkResult: ERROR_DEVICE_LOST"),
    re.compile(rb"\[carb\.crashreporter-breakpad\.plugin\] \[crash\] A crash has occurred"),
)
"""How Isaac Sim's start-up fails in a fresh container and works at the second try."""

_TAIL_BYTES = 4096


class Evidence:
    """What one trainer process has shown so far; fed by the thread that passes its output on."""

    def __init__(self, trainer: TrainerKind, steady: Callable[[], float] = time.monotonic) -> None:
        self._trainer = trainer
        self._steady = steady
        self.iteration_at: float | None = None
        """When the first line of an iteration came, by the steady clock."""
        self.ended_at: float | None = None
        """When the line came by which `said_its_end` knows the end, by the steady clock."""
        self._said_its_end = False
        self._bar: int | None = None
        self._iteration: tuple[int, int] | None = None
        self._log_root: str | None = None
        self._log_name: str | None = None
        self._cold_start: str | None = None
        self._tail = b""
        self.said_disk_full = False
        self.task_is_unknown = False
        self.bytecode_is_broken = False

    def feed(self, lines: bytes) -> None:
        """Read whole lines of the trainer's output."""
        self._tail = (self._tail + lines)[-_TAIL_BYTES:]
        if not self.said_disk_full and _DISK_FULL.search(lines):
            self.said_disk_full = True
        if root := _LOG_ROOT.search(lines):
            self._log_root = os.fsdecode(root[1].strip())
        if name := _LOG_NAME.search(lines):
            self._log_name = os.fsdecode(name[1].strip())
        if not self.task_is_unknown and _UNKNOWN_TASK.search(lines):
            # Behind a shell, say, the traceback before it shows it.
            self.task_is_unknown = (
                self._trainer is not TrainerKind.PLAIN or b"isaaclab" in self._tail
            )
        if not self.bytecode_is_broken and _BROKEN_BYTECODE.search(lines):
            self.bytecode_is_broken = True
        if _ENDED.search(lines):
            self.ended_at = self.ended_at or self._steady()
            self._said_its_end = True
        for found in _BAR.finditer(lines):
            self._bar = int(found[1])
        for found in _ITERATION.finditer(lines):
            self.iteration_at = self.iteration_at or self._steady()
            self._iteration = int(found[1]), int(found[2])
        if self._cold_start is None:
            for signature in COLD_START_SIGNATURES:
                if seen := signature.search(lines):
                    self._cold_start = seen[0].decode("utf-8", "replace")

    @property
    def is_isaaclab(self) -> bool:
        """Whether Isaac Lab's own lines were seen, whatever the command looks like."""
        return self._log_root is not None

    @property
    def said_its_end(self) -> bool:
        """Whether the line was seen that Isaac Lab prints when training, and all else, is over."""
        return self._said_its_end and not self._may_go_on

    @property
    def cold_start(self) -> str | None:
        """Which of Isaac Sim's known start-up failures was seen, if training had not begun."""
        return self._cold_start if self._iteration is None else None

    @property
    def spoilt_start(self) -> str | None:
        """Give what spoilt a start that is likely to work at the second try."""
        if self.cold_start is not None:
            return "Isaac Sim's cold start failed"
        return "bytecode in the cache was broken" if self.bytecode_is_broken else None

    @property
    def last_line(self) -> str:
        """The last line that says something, for the reason of a failure."""
        lines = _ANSI.sub(b"", self._tail).decode("utf-8", "replace").splitlines()
        said = [line.strip() for line in lines if line.strip(" \t-=*#_│╭╮╰╯─")]
        # W&B's client takes its leave after the traceback that says why.
        own = [line for line in said if not line.startswith("wandb:")] or said
        return own[-1][:300] if own else ""

    def log_folder(self) -> Path | None:
        """Find the run's log folder: named by the run where it could be, else as it was printed."""
        if self._log_root is None or self._log_name is None:
            return None
        root = Path(self._log_root)
        exact = root / self._log_name
        if os.path.isdir(exact):
            return exact
        # <name>_<run name>: rsl_rl appends the second part without printing it.
        try:
            found = sorted(root.glob(f"{_escaped(self._log_name)}_*"), key=lambda at: len(at.name))
        except (OSError, ValueError, NotImplementedError):  # what was printed is no path here
            return None
        return next((path for path in found if os.path.isdir(path)), None)

    def shows_end(self) -> bool:
        """Say whether training came to its own end.

        Isaac Lab exits 0 on SIGINT and, under Kit, after masked exceptions: what counts is the line
        that follows the training. Where 2.x has none it is the model saved after the last
        iteration, or skrl's progress, where that is shown. Where the command hides the trainer, its
        lines and its place among the logs say that it is Isaac Lab's.
        """
        if self._has_come_to_its_end():
            return True
        folder = self.log_folder()
        library = "".join(folder.parts[-3:-2]) if folder is not None else ""
        if self._trainer is TrainerKind.PLAIN and library not in SCRIPT_LIBRARIES:
            return True
        return library == "skrl" and self._bar is None

    def proves_end(self) -> bool:
        """Say whether something was seen that only the end of the whole training leaves."""
        return not self._may_go_on and self._has_come_to_its_end()

    @property
    def _may_go_on(self) -> bool:
        """Whether the command is a script that may do more than train."""
        return self._trainer is TrainerKind.PLAIN

    def _has_come_to_its_end(self) -> bool:
        if self._said_its_end:
            return True
        folder = self.log_folder()
        if folder is None:
            return False
        if folder.parts[-3:-2] == ("skrl",):  # logs/<library>/<experiment>/<run>
            return self._bar == 100
        if folder.parts[-3:-2] == ("sb3",):
            return os.path.isfile(folder / "model.zip")
        if self._iteration is None:
            return False
        last = self._iteration[1] - 1
        return any(os.path.isfile(folder / f"model_{number}.pt") for number in (last, last + 1))


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)
