"""Writes checkpoints of a training: model, state, and last the manifest that makes them good.

The trainer's thread is held up for as long as the model is taken from the trainer's memory;
copying, hashing and deleting are done beside it. Nothing is deleted but files of
`.sweepctl/checkpoints/`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sweepctl_pod import checkpoint
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.speech import never_breaking

_SHARE = 0.005
"""Saving holds up the trainer for at most this share of the time."""

Write = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Content:
    """What one checkpoint is made of; each is written once, to the path it is given."""

    iteration: int
    write_model: Write
    write_state: Write
    models_file: Path | None = None
    """The trainer's own file of the same iteration, which is copied in place of a second save."""


class Checkpoints:
    """The checkpoints of one attempt of a run; ranks but the first write their states alone."""

    def __init__(self, orders: Orders, library: str, of: int, rank: int = 0) -> None:
        self._folder = orders.folder / checkpoint.CHECKPOINTS
        self._orders, self._library, self._of, self._rank = orders, library, of, rank
        self._beside: threading.Thread | None = None
        self._saved_at = time.monotonic()
        self.cost_s = 0.0
        """How long the last one held up the trainer."""
        self.complete: int | None = None
        """The iteration of the newest one of this attempt that has its manifest."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            for part in self._folder.glob("*.part"):
                part.unlink(missing_ok=True)

    def is_due(self, has_trainer_saved: bool) -> bool:
        """Say whether it is time: the trainer has saved, or nobody has for too long."""
        age_s = time.monotonic() - self._saved_at
        is_busy = self._beside is not None and self._beside.is_alive()
        if is_busy or age_s * _SHARE < self.cost_s:
            return False
        return has_trainer_saved or age_s >= self._orders.every_s

    def save(self, content: Content, is_last: bool = False) -> None:
        """Keep a checkpoint; the last of a process is complete when this returns."""
        if self._beside is not None:
            self._beside.join()
        iteration = content.iteration
        if self.complete == iteration:
            return
        began = time.monotonic()
        source, model = content.models_file, self._part(f"{iteration}.pt")
        state = self._part(state_name(iteration, self._rank))
        try:
            with self._all_or_nothing(iteration):
                content.write_state(state)
                if self._rank != 0:
                    state.replace(state.with_suffix(""))
                    return
                if source is None:
                    content.write_model(model)
        finally:  # one that failed is due again as late as one that did not
            self._saved_at = time.monotonic()
            self.cost_s = self._saved_at - began

        def finish() -> None:
            with (
                never_breaking(f"checkpoint {iteration} is not kept"),
                self._all_or_nothing(iteration),
            ):
                if source is not None:
                    # No link: the trainer may write that file once more.
                    shutil.copyfile(source, model)
                self._finish(iteration, is_synced=not is_last)

        if is_last:
            finish()
        else:
            self._beside = threading.Thread(target=finish, name="sweepctl-checkpoint", daemon=True)
            self._beside.start()

    def wait(self, limit_s: float) -> None:
        """Wait for what is being written beside the training."""
        if self._beside is not None:
            self._beside.join(limit_s)

    @contextlib.contextmanager
    def _all_or_nothing(self, iteration: int) -> Iterator[None]:
        """Leave nothing of a checkpoint that failed: the disk may be full, and the trainer's too.

        Another rank's state is its own.
        """
        try:
            yield
        except BaseException:
            names = [state_name(iteration, self._rank)]
            if self._rank == 0:
                names += [f"{iteration}.pt", f"{iteration}.json"]
            is_whole = self.complete == iteration
            for name in names:
                for path in (self._part(name), *(() if is_whole else (self._folder / name,))):
                    with contextlib.suppress(OSError):
                        path.unlink()
            raise

    def _part(self, name: str) -> Path:
        return self._folder / f"{name}.part"

    def _finish(self, iteration: int, is_synced: bool) -> None:
        # An older one of the same iteration is none from the moment that a file of it is replaced.
        (self._folder / f"{iteration}.json").unlink(missing_ok=True)
        model, state = f"{iteration}.pt", state_name(iteration, 0)
        digests = {}
        for name in (model, state):
            part = self._part(name)
            if is_synced:
                _sync(part)
            digests[name] = checkpoint.digest_of(part)
            part.replace(self._folder / name)
        manifest = checkpoint.Manifest(
            iteration=iteration,
            files=digests,
            model=model,
            state=state,
            of=self._of,
            library=self._library,
            attempt=self._orders.attempt,
            written_at=time.time(),
        )
        checkpoint.write_manifest(manifest, self._folder)
        self.complete = iteration
        self._prune(iteration)

    def _prune(self, newest: int) -> None:
        """Delete all but the newest; a higher number belongs to a line that was given up."""
        numbers = sorted({number for number, _ in _files(self._folder)}, reverse=True)
        kept = [number for number in numbers if number <= newest][: self._orders.keep]
        for number, path in _files(self._folder):
            if number not in kept:
                path.unlink(missing_ok=True)


def state_name(iteration: int, rank: int) -> str:
    """Name the file with what the trainer does not save."""
    return f"{iteration}.state" if rank == 0 else f"{iteration}.rank{rank}.state"


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in list(folder.iterdir()):
        number = path.name.partition(".")[0]
        if path.suffix in (".json", ".pt", ".state") and number.isascii() and number.isdigit():
            yield int(number), path


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        os.fsync(file.fileno())
