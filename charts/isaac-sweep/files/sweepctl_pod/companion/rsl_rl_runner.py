"""rsl_rl's OnPolicyRunner under the companion: 5.x, and 1.x to 3.x, whose logger is the runner.

The loop of `learn` is the library's own. `alg.update` tells that an iteration's training is done;
the library then logs and saves, and the first `alg.act` of the next iteration, which is ours for
this one call, is the moment between the two.
"""

from __future__ import annotations

import functools
import inspect
import shutil
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweepctl_pod.companion import states
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.ranks import Ranks
from sweepctl_pod.companion.replacements import Replacements
from sweepctl_pod.companion.resuming import Models, Resume, find_resume, load_in_all
from sweepctl_pod.companion.speech import never_breaking, say
from sweepctl_pod.companion.training import Trainer, Training, followed_in_all
from sweepctl_pod.companion.wandb_run import HISTORY

LIBRARY = "rsl_rl"
_UPLOADING_S = 900.0
"""A model that the trainer saved less than that before a checkpoint may not be with W&B yet."""


def patch(module: types.ModuleType, orders: Orders) -> None:
    """Have every training of this process's runners followed; the first one goes on."""
    runner_class: Any = module.__dict__["OnPolicyRunner"]
    learn = runner_class.learn
    parameters = list(inspect.signature(learn).parameters)
    if parameters != ["self", "num_learning_iterations", "init_at_random_ep_len"]:
        raise TypeError(f"OnPolicyRunner.learn takes {', '.join(parameters)}")
    trainings = 0

    @functools.wraps(learn)
    def followed(
        self: Any, num_learning_iterations: int, init_at_random_ep_len: bool = False
    ) -> Any:
        nonlocal trainings
        trainings += 1
        learning = _Learning(self, orders, num_learning_iterations, init_at_random_ep_len)
        with never_breaking("this training is not followed"):
            learning.begin(may_resume=trainings == 1)
        try:
            return learn(self, learning.count, learning.is_random)
        finally:
            learning.end()

    runner_class.learn = followed


class _Learning:
    """One call of `learn`."""

    def __init__(self, runner: Any, orders: Orders, count: int, is_random: bool) -> None:
        self._runner, self._orders = runner, orders
        self.count, self.is_random = count, is_random
        """What `learn` is told: how many iterations, whether episodes begin at random lengths."""
        self._start = int(getattr(runner, "current_learning_iteration", 0))
        """Where the user's own checkpoint, or none, has the training begin."""
        self._of = self._start + count
        self._last = self._start - 1
        """The last complete iteration."""
        self._ranks = Ranks(getattr(runner, "device", "cpu"))
        self._is_complete = False
        """An update was made since the last time between two iterations."""
        self._is_own_save = False
        self._models: dict[str, tuple[int, float]] = {}
        """The trainer's models of a while, by name: iteration, and when it was saved."""
        self._to_upload: list[tuple[Path, int]] = []
        self._training: Training | None = None
        self._replacements = Replacements()
        self._disarm: Callable[[], None] = lambda: None

    def begin(self, may_resume: bool) -> None:
        """Load the checkpoint to go on from, and follow the training."""
        runner = self._runner
        note, begun_at = None, time.monotonic()
        if may_resume and self._orders.resume is not None:
            resume = find_resume(self._orders)
            note = self._load(resume)
            if resume is not None and note is None:
                self._go_on(resume)
        load_s = time.monotonic() - begun_at
        trainer = Trainer(LIBRARY, self._save, self._capture, self._arm)
        self._training = followed_in_all(
            lambda: Training(self._orders, trainer, self._ranks, self._last + 1, self._of),
            self._ranks,
        )
        self._replacements.replace(runner.alg, "update", self._updating)
        self._replacements.replace(runner, "save", self._saving)
        self._training.begin(note, load_s)

    def end(self) -> None:
        """Leave the runner as it was."""
        with never_breaking("the end of the training"):
            self._disarm()
            self._replacements.undo()
            if self._training is not None:
                self._training.end()

    # The loop

    def _updating(self, before: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = before(*args, **kwargs)
        self._last += 1
        self._is_complete = True
        with never_breaking("the end of an iteration"):
            self._arm()
        return result

    def _arm(self) -> None:
        """Have the next `alg.act`, and only that, begin with what is due between iterations."""
        alg = self._runner.alg
        if getattr(vars(alg).get("act"), "is_of_companion", False):
            return
        before, had = alg.act, "act" in vars(alg)

        def act(*args: Any, **kwargs: Any) -> Any:
            with never_breaking("between two iterations"):
                disarm()
                self._between()
            return before(*args, **kwargs)

        def disarm() -> None:
            if vars(alg).get("act") is act:
                setattr(alg, "act", before) if had else delattr(alg, "act")

        act.is_of_companion = True  # type: ignore[attr-defined]
        alg.act, self._disarm = act, disarm

    def _between(self) -> None:
        is_complete, self._is_complete = self._is_complete, False
        if self._training is None:
            return
        if is_complete:
            self._upload_again()
        with sys.modules["torch"].inference_mode(False):
            self._training.between(self._last, is_complete)

    def _saving(self, before: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._is_own_save:
            # Where no iteration was left to train, this is the only moment.
            with never_breaking("the trainer's newest models are not uploaded again"):
                self._upload_again()
        result = before(path, *args, **kwargs)
        if self._training is not None and not self._is_own_save:
            with never_breaking("a model that the trainer has saved"):
                self._models[Path(path).name] = (self._last, time.time())
                self._training.trainer_saved(self._last, Path(path))
        return result

    # What a checkpoint holds

    def _save(self, path: Path) -> None:
        """Save as the trainer does, with nobody told of the file."""
        runner = self._runner
        # rsl_rl 1.x counts only at the end of `learn`.
        iteration = runner.current_learning_iteration
        with self._silent():
            runner.current_learning_iteration = max(self._last, 0)
            try:
                runner.save(str(path))
            finally:
                runner.current_learning_iteration = iteration

    @contextmanager
    def _silent(self) -> Iterator[None]:
        runner = self._runner
        owners: list[Any] = [getattr(runner, name, None) for name in ("logger", "writer")]
        silenced = [owner for owner in owners if callable(getattr(owner, "save_model", None))]
        # 2.x and 3.x ask for it, and set it only when `learn` has opened the writer.
        is_bare = not hasattr(runner, "logger") and not hasattr(runner, "logger_type")
        self._is_own_save = True
        for owner in silenced:
            owner.save_model = lambda *args, **kwargs: None
        if is_bare:
            runner.logger_type = None
        try:
            yield
        finally:
            self._is_own_save = False
            for owner in silenced:
                del owner.save_model
            if is_bare:
                del runner.logger_type

    def _capture(self) -> Mapping[str, Any]:
        state: dict[str, Any] = {}
        with never_breaking("the state of the trainer is not kept"):
            state["trainer"] = states.capture(self._runner)
        with never_breaking("the rows of W&B's history are not kept"):
            state["rows"] = HISTORY.recent()
        oldest = time.time() - _UPLOADING_S
        state["models"] = [
            (name, number) for name, (number, at) in self._models.items() if at > oldest
        ]
        return state

    # Going on

    def _load(self, resume: Resume | None) -> str | None:
        why = "no checkpoint is good" if resume is None else None
        models = Models(self._save, self._load_file)
        trouble = load_in_all(resume, why, models, self._orders, self._ranks)
        if trouble is not None:
            self._runner.current_learning_iteration = self._start
        return trouble

    def _load_file(self, path: Path) -> None:
        load = self._runner.load
        options = {}
        if "map_location" in inspect.signature(load).parameters:
            options["map_location"] = self._runner.device
        load(str(path), **options)

    def _go_on(self, resume: Resume) -> None:
        """Set the runner to the iteration after the checkpoint's, with the state it had then."""
        runner, iteration = self._runner, resume.iteration
        self._last = min(iteration, self._of - 1)
        self.count = self._of - 1 - self._last
        # The final save takes its name from the last iteration that was trained.
        runner.current_learning_iteration = self._last + (1 if self.count else 0)
        state: dict[str, Any] = {}
        restored: set[str] = set()
        with never_breaking("the state of the trainer is not restored"):
            state = resume.read_state(self._ranks.own)
            restored = states.restore(runner, state.get("trainer") or {})
        HISTORY.resume(state.get("rows") or [])
        with never_breaking("the trainer's newest models are not uploaded again"):
            self._find_models(resume, state.get("models") or [])
        self._count_from_the_start()
        say(f"going on from checkpoint {iteration}, at iteration {self._last + 1} of {self._of}")
        self.is_random = self.is_random and "episode_lengths" not in restored

    def _find_models(self, resume: Resume, models: list[tuple[str, int]]) -> None:
        """Note the trainer's models whose upload may have died with the process before."""
        logger = getattr(self._runner, "logger", self._runner)
        folder = getattr(logger, "log_dir", None)
        if folder is None or self._ranks.own != 0:
            return
        for name, iteration in models:
            file = Path(folder) / Path(name).name
            if not file.exists() and iteration == resume.iteration:
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(resume.model, file)
            if file.exists():
                self._to_upload.append((file, iteration))
                # This attempt may die before they are with W&B as well.
                self._models[file.name] = (iteration, time.time())

    def _upload_again(self) -> None:
        for owner in (getattr(self._runner, "logger", None), getattr(self._runner, "writer", None)):
            upload = getattr(owner, "save_model", None)
            while callable(upload) and self._to_upload:
                file, iteration = self._to_upload.pop()
                with never_breaking(f"{file.name} is not uploaded again"):
                    upload(str(file), iteration)

    def _count_from_the_start(self) -> None:
        """Have the library reckon what is left by the whole training, when it knows its time."""
        runner, start, whole = self._runner, self._start, self._of - self._start
        logger = getattr(runner, "logger", None)

        def log(before: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if "start_it" in kwargs:
                kwargs["start_it"] = start
            return before(*args, **kwargs)

        def log_locals(before: Callable[..., Any], locs: Any, *args: Any, **kwargs: Any) -> Any:
            counted = {"start_iter": start, "num_learning_iterations": whole}
            return before({**locs, **counted}, *args, **kwargs)

        if logger is not None and getattr(logger, "tot_time", None):
            self._replacements.replace(logger, "log", log)
        elif logger is None and getattr(runner, "tot_time", None):
            self._replacements.replace(runner, "log", log_locals)
