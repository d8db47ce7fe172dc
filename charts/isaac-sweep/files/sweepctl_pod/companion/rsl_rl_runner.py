"""rsl_rl's OnPolicyRunner under the companion: 5.x, and 2.x and 3.x, whose logger is the runner.

The loop of `learn` is the library's own. `alg.update` tells that an iteration's training is done;
the library then logs and saves, and the first `alg.act` of the next iteration, which is ours for
this one call, is the moment between the two.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweepctl_pod.companion import states, wandb_run
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.resuming import Resume, find_resume
from sweepctl_pod.companion.speech import never_breaking, reason, say
from sweepctl_pod.companion.training import Trainer, Training

LIBRARY = "rsl_rl"


def patch(module: types.ModuleType, orders: Orders) -> None:
    """Have every training of this process's runners followed."""
    runner_class: Any = module.__dict__["OnPolicyRunner"]
    learn = runner_class.learn
    parameters = list(inspect.signature(learn).parameters)
    if parameters[:2] != ["self", "num_learning_iterations"]:
        raise TypeError(f"OnPolicyRunner.learn takes {parameters}")

    @functools.wraps(learn)
    def followed(
        self: Any, num_learning_iterations: int, init_at_random_ep_len: bool = False
    ) -> Any:
        count, is_random = num_learning_iterations, init_at_random_ep_len
        followed_run = None
        with never_breaking("this training is not followed"):
            followed_run = _Followed(self, orders, count, is_random)
            count, is_random = followed_run.begin()
        try:
            return learn(self, count, is_random)
        finally:
            if followed_run is not None:
                with never_breaking("the end of the training"):
                    followed_run.end()

    runner_class.learn = followed


class _Followed:
    """One call of `learn`."""

    def __init__(self, runner: Any, orders: Orders, count: int, is_random: bool) -> None:
        self._runner, self._orders = runner, orders
        self._count, self._is_random = count, is_random
        self._start = int(runner.current_learning_iteration)
        """Where the user's own checkpoint, or none, has the training begin."""
        self._of = self._start + count
        self._updates = 0
        self._saves_of_ours = False
        self._training: Training | None = None
        self._undo: list[Callable[[], None]] = []

    def begin(self) -> tuple[int, bool]:
        """Load the checkpoint to go on from, and follow the training; give what `learn` is told."""
        runner = self._runner
        resume = find_resume(self._orders)
        note, first = None, self._start
        count, is_random = self._count, self._is_random
        if resume is not None:
            note = self._load(resume)
            if note is None:
                iteration = resume.iteration
                restored = self._restore(resume)
                first = min(iteration + 1, self._of)
                count = self._of - first
                # The final save takes its name from the last iteration that was trained.
                runner.current_learning_iteration = first if count else iteration
                is_random = is_random and "episode_lengths" not in restored
                wandb_run.begin_resumed()
                say(f"going on from checkpoint {iteration}, at iteration {first} of {self._of}")
                self._count_from_the_start()
        trainer = Trainer(
            library=LIBRARY,
            save=self._save,
            capture=lambda: states.capture(runner),
            arm=self._arm,
            device=getattr(runner, "device", "cpu"),
        )
        self._training = Training(self._orders, trainer, first, self._of)
        self._replace(runner.alg, "update", self._updating)
        self._replace(runner, "save", self._saving)
        self._training.begin(note)
        return count, is_random

    def end(self) -> None:
        """Leave the runner as it was."""
        while self._undo:
            self._undo.pop()()
        if self._training is not None:
            self._training.end()

    def _replace(self, owner: Any, name: str, wrapped: Callable[..., Any]) -> None:
        """Put a function of ours, which gets the one before it, on one object."""
        before, had = getattr(owner, name), name in vars(owner)

        @functools.wraps(before)
        def ours(*args: Any, **kwargs: Any) -> Any:
            return wrapped(before, *args, **kwargs)

        def undo() -> None:
            if vars(owner).get(name) is ours:
                setattr(owner, name, before) if had else delattr(owner, name)

        setattr(owner, name, ours)
        self._undo.append(undo)

    def _updating(self, before: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = before(*args, **kwargs)
        self._updates += 1
        self._is_complete = True
        with never_breaking("the end of an iteration"):
            self._arm()
        return result

    _is_complete = False
    """An update was made since the last time between two iterations."""

    def _arm(self) -> None:
        """Have the next `alg.act`, and only that, begin with what is due between iterations."""
        alg = self._runner.alg
        mine = vars(alg).get("act")
        if getattr(mine, "is_of_companion", False):
            return
        before, had = alg.act, mine is not None

        def act(*args: Any, **kwargs: Any) -> Any:
            with never_breaking("between two iterations"):
                if vars(alg).get("act") is act:
                    setattr(alg, "act", before) if had else delattr(alg, "act")
                self._between()
            return before(*args, **kwargs)

        act.is_of_companion = True  # type: ignore[attr-defined]
        alg.act = act

    def _between(self) -> None:
        training = self._training
        if training is None:
            return
        is_complete, self._is_complete = self._is_complete, False
        iteration = int(self._runner.current_learning_iteration)
        if not self._updates:
            iteration = -1  # nothing of this attempt is there to be saved
        with sys.modules["torch"].inference_mode(False):
            training.between(iteration, is_complete)

    def _saving(self, before: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        result = before(path, *args, **kwargs)
        if self._training is not None and not self._saves_of_ours and self._updates:
            with never_breaking("a model that the trainer has saved"):
                iteration = int(self._runner.current_learning_iteration)
                self._training.trainer_saved(iteration, Path(path))
        return result

    def _save(self, path: Path) -> None:
        """Save as the trainer does, with nobody told of the file."""
        with self._silent():
            self._runner.save(str(path))

    @contextmanager
    def _silent(self) -> Iterator[None]:
        runner = self._runner
        owners: list[Any] = [getattr(runner, name, None) for name in ("logger", "writer")]
        silenced = [owner for owner in owners if callable(getattr(owner, "save_model", None))]
        self._saves_of_ours = True
        for owner in silenced:
            owner.save_model = lambda *args, **kwargs: None
        # 2.x and 3.x ask for it, and set it only when they have a folder to log to.
        is_bare = not hasattr(runner, "logger") and not hasattr(runner, "logger_type")
        if is_bare:
            runner.logger_type = None
        try:
            yield
        finally:
            self._saves_of_ours = False
            for owner in silenced:
                del owner.save_model
            if is_bare:
                del runner.logger_type

    def _load(self, resume: Resume) -> str | None:
        """Load a checkpoint; say why not, with the runner as it was before."""
        runner = self._runner
        before = self._orders.folder / "before.part"
        self._save(before)
        try:
            self._load_file(resume.model)
            return None
        except Exception as error:  # whatever torch or the library makes of the file
            note = (
                f"checkpoint {resume.iteration} cannot be loaded, from the start: {reason(error)}"
            )
            say(note)
            self._load_file(before)
            runner.current_learning_iteration = self._start
            return note
        finally:
            before.unlink(missing_ok=True)

    def _load_file(self, path: Path) -> None:
        load = self._runner.load
        options = {}
        if "map_location" in inspect.signature(load).parameters:
            options["map_location"] = self._runner.device
        load(str(path), **options)

    def _restore(self, resume: Resume) -> set[str]:
        with never_breaking("the state of the training is not restored"):
            data = resume.read_state()
            return states.restore(self._runner, data.get("trainer") or {})
        return set()

    def _count_from_the_start(self) -> None:
        """Have the library reckon what is left by the whole training, when it knows its time."""
        runner, start = self._runner, self._start
        logger = getattr(runner, "logger", None)
        if logger is not None and getattr(logger, "tot_time", None):

            def log(before: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                if "start_it" in kwargs:
                    kwargs["start_it"] = start
                return before(*args, **kwargs)

            self._replace(logger, "log", log)
        elif logger is None and getattr(runner, "tot_time", None):

            def log_locals(before: Callable[..., Any], locs: Any, *args: Any, **kwargs: Any) -> Any:
                whole = {"start_iter": start, "num_learning_iterations": self._of - start}
                return before({**locs, **whole}, *args, **kwargs)

            self._replace(runner, "log", log_locals)
