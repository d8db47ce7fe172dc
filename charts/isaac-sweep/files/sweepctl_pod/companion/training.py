"""One training as the companion follows it: from iteration to iteration, whatever the library.

Between two iterations, when the trainer itself has logged and saved, `between()` tells the
progress, keeps a checkpoint that is due, and ends the process where SIGTERM has asked for that.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod import checkpoint
from sweepctl_pod.companion.leaving import Leaving, leave
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.progress import Progress
from sweepctl_pod.companion.ranks import Ranks
from sweepctl_pod.companion.saving import Checkpoints, Content
from sweepctl_pod.companion.speech import never_breaking, say

_GO_ON, _SAVE, _LEAVE = range(3)
"""What is due between two iterations; the most that any rank asks for is done by all."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """What the companion needs of a library's training loop."""

    library: str
    save: Callable[[Path], None]
    """Write the model as the trainer does, without telling anybody."""
    capture: Callable[[], Mapping[str, Any]]
    """Give what the trainer does not save."""
    arm: Callable[[], None]
    """Have `between` called before the next action is drawn."""
    flush: Callable[[], None] = lambda: None
    """Write out what the trainer has logged and still holds."""


class Training:
    """A training that runs: what was done, what was saved, and whether it is to end."""

    def __init__(self, orders: Orders, trainer: Trainer, ranks: Ranks, first: int, of: int) -> None:
        self._trainer, self._ranks = trainer, ranks
        self._first, self._of = first, of
        self._is_writer = ranks.own == 0
        self._checkpoints = Checkpoints(orders, trainer.library, of, ranks.own)
        file = orders.folder / checkpoint.PROGRESS_FILE
        self._progress = Progress(file, trainer.library, first, of)
        self._leaving = Leaving(orders.leave_within_s, self._patience_s, trainer.arm)
        self._begun_at = time.monotonic()
        self._saved: tuple[int, Path] | None = None

    def begin(self, note: str | None = None, load_s: float = 0.0) -> None:
        """Listen for SIGTERM and tell that the training begins."""
        self._progress.note, self._progress.load_s = note, load_s
        self._progress.is_listening = self._leaving.listen()
        self._tell()

    def end(self) -> None:
        """Give back SIGTERM; what is being written is waited for."""
        self._leaving.unlisten()
        self._progress.is_listening = False
        self._tell()
        self._checkpoints.wait(30)

    def trainer_saved(self, iteration: int, path: Path) -> None:
        """Note that the trainer has saved its model itself."""
        self._saved = (iteration, path)
        if iteration == self._of - 1:
            self.came_to_its_end(iteration)

    def came_to_its_end(self, iteration: int) -> None:
        """Keep the last iteration: no action follows it, and closing may take long."""
        if iteration > self._progress.iteration:
            self._completed(iteration)
            self._tell()
            self._keep(iteration, is_last=False)

    def between(self, iteration: int, is_complete: bool) -> None:
        """Do what is due before the first action of an iteration, or of one that is broken off.

        `iteration` is the last complete one.
        """
        if is_complete:
            self._completed(iteration)
        due = self._due(iteration)
        if is_complete:
            # In the middle of an iteration the other ranks do not wait for this one.
            due = self._ranks.most(due)
        if due == _LEAVE:
            self._leave(iteration, is_complete)
        elif due == _SAVE:
            self._keep(iteration, is_last=False)

    def _due(self, iteration: int) -> int:
        if self._leaving.asked_at is not None:
            return _LEAVE
        has_saved = self._saved is not None and self._saved[0] == iteration
        return _SAVE if self._is_writer and self._checkpoints.is_due(has_saved) else _GO_ON

    def _completed(self, iteration: int) -> None:
        now = time.monotonic()
        iteration_s, self._begun_at = now - self._begun_at, now
        self._progress.iteration, self._progress.iteration_s = iteration, iteration_s
        self._progress.first_at = self._progress.first_at or now
        if self._progress.is_due:
            self._tell()

    def _tell(self) -> None:
        if self._is_writer:
            with never_breaking("progress is not told"):
                self._progress.write()

    def _keep(self, iteration: int, is_last: bool) -> None:
        with never_breaking(f"checkpoint {iteration} is not kept"):
            source = self._saved[1] if self._saved and self._saved[0] == iteration else None
            content = Content(iteration, self._trainer.save, self._write_state, source)
            self._checkpoints.save(content, is_last)

    def _write_state(self, path: Path) -> None:
        sys.modules["torch"].save(dict(self._trainer.capture()), path)

    def _leave(self, iteration: int, is_complete: bool) -> None:
        if iteration >= self._first:
            self._keep(iteration, is_last=True)
            if self._is_writer and self._checkpoints.complete == iteration:
                say(f"SIGTERM: checkpoint {iteration} is kept, leaving")
        self._tell()
        with never_breaking("what was logged is not written out"):
            self._trainer.flush()

        def meet() -> None:
            # The launcher kills all when one is gone: rank 0 closes W&B's run first.
            if is_complete:
                self._ranks.most(_LEAVE)

        leave(self._leaving.left_s(), meet)

    def _patience_s(self, within_s: float) -> float:
        """Say how long an iteration may go on after SIGTERM; 0: it is broken off at once."""
        patience_s = within_s / 2 - 2 * self._checkpoints.cost_s
        left_s = self._progress.iteration_s - (time.monotonic() - self._begun_at)
        is_near = self._progress.iteration_s > 0 and left_s * 1.2 <= patience_s
        return patience_s if is_near or self._ranks.are_several else 0.0


def followed_in_all(make: Callable[[], Training], ranks: Ranks) -> Training:
    """Make a training that all ranks follow; an error in all of them where one cannot.

    One that is followed by some alone would wait for ever for the others' answers.
    """
    training, trouble = None, None
    try:
        training = make()
    except Exception as error:  # such as a folder that cannot be written
        trouble = error
    if ranks.most(int(training is None)) or training is None:
        raise trouble or RuntimeError("another process cannot follow it")
    return training
