"""One training of a library that saves and loads itself: followed from iteration to iteration.

rl_games, skrl and sb3 need only this: their own save, their own load, and to be told where an
iteration ends. What rsl_rl's runner shares with no other library is in `rsl_rl_runner.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.ranks import Ranks
from sweepctl_pod.companion.resuming import Models, Resume, find_resume, load_in_all
from sweepctl_pod.companion.speech import never_breaking, say
from sweepctl_pod.companion.states import put_random, take_random
from sweepctl_pod.companion.training import Trainer, Training, followed_in_all
from sweepctl_pod.companion.wandb_run import HISTORY


@dataclass(frozen=True, slots=True)
class Library:
    """How a library's training is saved and loaded, by its own functions."""

    name: str
    save: Callable[[Path], None]
    load: Callable[[Path], None]
    capture: Callable[[], dict[str, Any]] = dict
    """Give what its own file lacks: numbers, and what torch.save can write."""
    restore: Callable[[Mapping[str, Any]], None] = field(default=lambda counters: None)
    flush: Callable[[], None] = field(default=lambda: None)
    device: Any = "cpu"


class Loop:
    """One call of a library's training function."""

    def __init__(self, orders: Orders, library: Library, start: int, of: int) -> None:
        """Follow the iterations from `start` to `of`, as the user has asked for them."""
        self._orders, self._library = orders, library
        self._start, self._of = start, of
        self._ranks = Ranks(library.device)
        self._training: Training | None = None
        self._is_armed = False
        self.last = start - 1
        """The last complete iteration."""

    @property
    def is_resumed(self) -> bool:
        """Whether the training goes on from a checkpoint."""
        return self.last >= self._start

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train."""
        return self.last >= self._of - 1

    def begin(self, may_resume: bool) -> None:
        """Load the checkpoint to go on from, if there is one, and listen for SIGTERM."""
        note, begun_at = None, time.monotonic()
        if may_resume and self._orders.resume is not None:
            resume = find_resume(self._orders)
            note = self._load(resume)
            if resume is not None and note is None:
                self._go_on(resume)
        load_s = time.monotonic() - begun_at
        trainer = Trainer(
            self._library.name, self._library.save, self._capture, self._arm, self._library.flush
        )
        self._training = followed_in_all(
            lambda: Training(self._orders, trainer, self._ranks, self.last + 1, self._of),
            self._ranks,
        )
        self._training.begin(note, load_s)

    def between(self, last: int) -> None:
        """Do what is due when iteration `last` is complete; the same one counts once."""
        if self._training is not None and last > self.last:
            self.last = last
            with never_breaking("between two iterations"):
                self._training.between(last, is_complete=True)
        elif self._is_armed:
            self.step()

    def step(self) -> None:
        """Leave in the middle of an iteration, where there is no time to wait for its end.

        To be called while actions are drawn: the networks are those of the last complete one.
        """
        if self._is_armed and self._training is not None:
            with never_breaking("in an iteration"):
                self._training.between(self.last, is_complete=False)

    def finish(self, last: int) -> None:
        """Keep the end of the training, where `last` is its last iteration."""
        if self._training is not None and last > self.last:
            self.last = last
            with never_breaking("the last iteration"):
                self._training.came_to_its_end(last)

    def end(self) -> None:
        """Give SIGTERM back."""
        with never_breaking("the end of the training"):
            if self._training is not None:
                self._training.end()

    def _arm(self) -> None:
        self._is_armed = True

    def _capture(self) -> Mapping[str, Any]:
        state: dict[str, Any] = {}
        with never_breaking("the counters of the trainer are not kept"):
            state["counters"] = self._library.capture()
        with never_breaking("the random generators are not kept"):
            state["random"] = take_random()
        with never_breaking("the rows of W&B's history are not kept"):
            state["rows"] = HISTORY.recent()
        return state

    def _load(self, resume: Resume | None) -> str | None:
        why = "no checkpoint is good" if resume is None else self._misfit(resume)
        models = Models(self._library.save, self._library.load)
        return load_in_all(resume, why, models, self._orders, self._ranks)

    def _misfit(self, resume: Resume) -> str | None:
        """Say why a checkpoint is not one of this training: a script may have several."""
        name = f"checkpoint {resume.iteration}"
        if resume.library != self._library.name:
            return f"{name} is not {self._library.name}'s"
        if resume.of != self._of:
            return f"{name} is of a training of {resume.of} iterations, this one has {self._of}"
        return None

    def _go_on(self, resume: Resume) -> None:
        self.last = resume.iteration
        state: dict[str, Any] = {}
        with never_breaking("the counters of the trainer are not restored"):
            state = resume.read_state(self._ranks.own)
            self._library.restore(state.get("counters") or {})
        with never_breaking("the random generators are not restored"):
            if state.get("random"):
                put_random(None, state["random"])
        HISTORY.resume(state.get("rows") or [])
        say(f"going on from checkpoint {self.last}, at iteration {self.last + 1} of {self._of}")


def expect_resume(orders: Orders, library: str) -> None:
    """Have W&B's run go on with the training: these libraries train in one that is open."""
    if orders.resume is not None:
        HISTORY.expect(
            lambda: (found := find_resume(orders)) is not None and found.library == library
        )
