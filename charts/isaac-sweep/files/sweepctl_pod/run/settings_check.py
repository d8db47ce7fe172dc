"""Whether a trainer trains with what it was asked for: by its classes, and by its own record.

Two checks, each polled by the main thread while the trainer runs; their questions run in threads of
their own. Neither takes silence for a good answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sweepctl_pod.errors import SweepctlError, nearest
from sweepctl_pod.overrides import Grammar, Override
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.trainer.settings import Difference, differences
from sweepctl_pod.waiting import BackgroundCall, WakeUp

Record = dict[str, object]

SETTLED_S = 1.0
"""How long the trainer's record must be unchanged to be read: it is written in pieces."""
LOOK_EVERY_S = 0.5


class SettingsCheck:
    """Which overrides name settings that the trainer lacks; the paths are the sweep's.

    Only classes can tell: Isaac Lab 3 sets and records whatever attribute an override names. It
    asks until there is an answer: the child that it asks dies with a training that is stopped
    early.
    """

    def __init__(self, python: TrainerPython, wake_up: WakeUp) -> None:
        self._python = python
        self._wake_up = wake_up
        self._asked: frozenset[str] = frozenset()
        self._call: BackgroundCall[dict[str, list[str]] | None] | None = None

    def begin(self, argv: Sequence[str], overrides: Sequence[Override]) -> None:
        """Ask, unless the same was answered before or is being asked."""
        paths = frozenset(override.path for override in overrides)
        if not paths or (paths == self._asked and (self.is_pending() or self._answer is not None)):
            return
        self._asked = paths
        self._call = BackgroundCall(
            lambda: self._python.unknown_settings(argv, sorted(paths)), self._wake_up
        )

    def is_pending(self) -> bool:
        """Say whether an answer is still to come."""
        return self._call is not None and not self._call.is_done()

    def complaint(self) -> str | None:
        """Give what is wrong, once it is known."""
        lines = []
        for path, names in sorted((self._answer or {}).items()):
            parent, _, leaf = path.rpartition(".")
            near = nearest(leaf, names)
            hint = f" (did you mean {parent}.{near}?)" if near else ""
            lines.append(f"{path}: the trainer has no such setting{hint}")
        return "; ".join(lines) or None

    @property
    def _answer(self) -> dict[str, list[str]] | None:
        if self._call is None or not self._call.is_done():
            return None
        return self._call.result()


class RecordCheck:
    """Whether the trainer's own record (`params/*.yaml`) has what was asked of one start of it."""

    def __init__(
        self,
        python: TrainerPython,
        wake_up: WakeUp,
        argv: Sequence[str],
        overrides: Sequence[Override],
        grammar: Grammar,
    ) -> None:
        self._python = python
        self._wake_up = wake_up
        self._argv = argv
        self._overrides = overrides
        self._grammar = grammar
        self._due_at = time.monotonic() + LOOK_EVERY_S
        self._call: BackgroundCall[Record] | None = None
        self._suspects: list[Difference] = []
        self._has_ended = False
        self.complaint: str | None = None
        """How the record differs, as two readings have found, or the last one."""
        self.unverified: str | None = "there was no time to read its record"
        """Why nobody could read the record; None when it was read and compared."""

    def poll(self, now: float, find_folder: Callable[[], Path | None]) -> float:
        """Do what is due while the trainer runs; give the seconds until something is due.

        It looks for the log folder only as long as it needs the record: the volume may be slow.
        """
        self._take_answer(now)
        if self.unverified is None or self._call is not None:
            return 3600.0
        if now >= self._due_at:
            self._due_at = now + LOOK_EVERY_S
            folder = find_folder()
            if folder is not None and _is_settled(folder):
                self._ask(folder)
        return max(0.01, self._due_at - now)

    def end(self, folder: Path | None) -> None:
        """Read an ended trainer's record if that was not done: a short training leaves no time."""
        if self._has_ended:
            return
        self._has_ended = True
        self._take_answer(time.monotonic())
        if self.unverified is None or self.complaint is not None:
            return
        if folder is None:
            self.unverified = "it named no log folder with params/env.yaml and params/agent.yaml"
        elif self._call is None:
            self._ask(folder)

    def is_pending(self) -> bool:
        """Say whether an answer is still to come."""
        return self._call is not None and not self._call.is_done()

    def take_last_answer(self) -> None:
        """Judge what was read after the end."""
        self._take_answer(time.monotonic())

    def _ask(self, folder: Path) -> None:
        self._call = BackgroundCall(
            lambda: self._python.read_params(self._argv, folder), self._wake_up
        )

    def _take_answer(self, now: float) -> None:
        if self._call is None or not self._call.is_done():
            return
        call, self._call = self._call, None
        try:
            record = call.result()
        except SweepctlError as error:
            self.unverified = error.message
            self._due_at = now + 10 * LOOK_EVERY_S
            return
        found = differences(self._overrides, self._grammar, record)
        if not found:
            self.unverified = None
        elif self._suspects or self._has_ended:
            self.complaint = "; ".join(difference.text() for difference in found)
        else:
            self._due_at = now + 2 * SETTLED_S
        self._suspects = found


def _is_settled(folder: Path) -> bool:
    """Say whether the record, written env first, is there and not being written any more."""
    try:
        status = os.stat(folder / "params" / "agent.yaml")
    except OSError:
        return False
    return status.st_size > 0 and time.time() - status.st_mtime >= SETTLED_S
