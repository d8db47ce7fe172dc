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
from sweepctl_pod.companion import ranks
from sweepctl_pod.companion.leaving import Leaving, leave
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.progress import Progress
from sweepctl_pod.companion.saving import Checkpoints, Content
from sweepctl_pod.companion.speech import never_breaking, say


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
    device: Any = "cpu"


class Training:
    """A training that runs: what was done, what was saved, and whether it is to end."""

    def __init__(self, orders: Orders, trainer: Trainer, first: int, of: int) -> None:
        self._orders, self._trainer = orders, trainer
        self._first = first
        self._is_writer = ranks.rank() == 0
        self._checkpoints = Checkpoints(orders, trainer.library, of) if self._is_writer else None
        self._progress = Progress(
            orders.folder / checkpoint.PROGRESS_FILE, trainer.library, first, of, False
        )
        self._leaving = Leaving(orders.leave_within_s, self._patience_s, trainer.arm)
        self._of = of
        self._begun_at = time.monotonic()
        self._saved: tuple[int, Path] | None = None

    def begin(self, note: str | None = None) -> None:
        """Listen for SIGTERM and tell that the training begins."""
        self._progress.note = note
        self._progress.is_listening = self._leaving.listen()
        if self._is_writer:
            with never_breaking("progress is not told"):
                self._progress.write()

    def end(self) -> None:
        """Give back SIGTERM; what is being written is waited for."""
        self._leaving.unlisten()
        if self._is_writer:
            with never_breaking("progress is not told"):
                self._progress.write()
        if self._checkpoints is not None:
            self._checkpoints.wait(30)

    def trainer_saved(self, iteration: int, path: Path) -> None:
        """Note that the trainer has saved its model itself."""
        self._saved = (iteration, path)
        if iteration == self._of - 1:
            # No action follows the last iteration, and closing may take long.
            self.completed(iteration)
            with never_breaking(f"checkpoint {iteration} is not kept"):
                self._keep(iteration, is_last=False)

    def completed(self, iteration: int) -> None:
        """Note that an iteration is complete."""
        now = time.monotonic()
        iteration_s, self._begun_at = now - self._begun_at, now
        if self._is_writer:
            self._progress.tell(iteration, iteration_s)

    def between(self, iteration: int, is_complete: bool) -> None:
        """Do what is due before the first action of an iteration, or of one that is broken off."""
        if is_complete:
            with never_breaking("progress is not told"):
                self.completed(iteration)
        is_asked = self._leaving.asked_at is not None
        if is_complete:
            # In the middle of an iteration the other ranks are not waiting for this one.
            is_asked = ranks.any_of(is_asked, self._trainer.device)
        if is_asked:
            self._leave(iteration, is_complete)
        with never_breaking(f"checkpoint {iteration} is not kept"):
            if self._checkpoints is not None and self._checkpoints.is_due(
                self._has_trainer_saved(iteration)
            ):
                self._keep(iteration, is_last=False)

    def _has_trainer_saved(self, iteration: int) -> bool:
        return self._saved is not None and self._saved[0] == iteration

    def _keep(self, iteration: int, is_last: bool) -> None:
        if self._checkpoints is None:
            return
        source = self._saved[1] if self._saved and self._saved[0] == iteration else None
        content = Content(iteration, self._trainer.save, self._write_state, source)
        self._checkpoints.save(content, is_last)

    def _write_state(self, path: Path) -> None:
        state: dict[str, Any] = {"trainer": {}}
        with never_breaking("the state of the training is not kept"):
            state["trainer"] = dict(self._trainer.capture())
        sys.modules["torch"].save(state, path)

    def _leave(self, iteration: int, is_complete: bool) -> None:
        if iteration >= self._first:
            with never_breaking(f"checkpoint {iteration} is not kept"):
                self._keep(iteration, is_last=True)
                if self._is_writer:
                    say(f"SIGTERM: checkpoint {iteration} is kept, leaving")
        if self._is_writer:
            with never_breaking("progress is not told"):
                self._progress.write()
        leave(self._leaving.left_s())

    def _patience_s(self, within_s: float) -> float:
        """Say how long an iteration may go on after SIGTERM; 0: it is broken off at once."""
        saving_s = self._checkpoints.cost_s * 2 if self._checkpoints is not None else 0.0
        patience_s = within_s / 2 - saving_s
        left_s = self._progress.iteration_s - (time.monotonic() - self._begun_at)
        is_known = self._progress.iteration_s > 0
        return patience_s if is_known and left_s * 1.2 <= patience_s else 0.0
