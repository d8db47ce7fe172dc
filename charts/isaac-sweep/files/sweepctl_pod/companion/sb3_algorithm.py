"""Stable-Baselines3 (2.x) under the companion: an iteration is a rollout of PPO or A2C.

sb3's own file has parameters and optimizers; how far it is, what VecNormalize has seen, and the
last episodes are kept beside it. Nothing is put on an algorithm: sb3 would save it.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweepctl_pod.companion.library_loop import (
    Library,
    Loop,
    expect_resume,
)
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.replacements import Replacements
from sweepctl_pod.companion.speech import never_breaking

LIBRARY = "sb3"
_LEARN = (
    *("self", "total_timesteps", "callback", "log_interval", "tb_log_name"),
    *("reset_num_timesteps", "progress_bar"),
)
_COUNTERS = ("_n_updates", "_episode_num", "_current_progress_remaining")
_LAST_EPISODES = ("ep_info_buffer", "ep_success_buffer")
_LOGGED = ("name_to_value", "name_to_count", "name_to_excluded")
"""What is logged of an update waits in the logger until the next iteration is."""
_OF_CALLBACKS = ("n_calls", "last_time_trigger", "best_mean_reward", "no_improvement_evals")


def patch(module: types.ModuleType, orders: Orders) -> None:
    """Have every training of this process followed; the first one goes on."""
    algorithm_class: Any = module.__dict__["OnPolicyAlgorithm"]
    learn, set_up = algorithm_class.learn, algorithm_class._setup_learn
    parameters = tuple(inspect.signature(learn).parameters)
    if parameters != _LEARN:
        raise TypeError(f"OnPolicyAlgorithm.learn takes {', '.join(parameters)}")
    expect_resume(orders, LIBRARY)
    running: list[_Rollouts] = []
    trainings = 0

    @functools.wraps(learn)
    def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal trainings
        trainings += 1
        rollouts = _Rollouts(self, orders, may_resume=trainings == 1)
        running.append(rollouts)
        try:
            result = learn(self, *args, **kwargs)
            rollouts.finish()
            return result
        finally:
            running.pop()
            rollouts.end()

    @functools.wraps(set_up)
    def setting_up(self: Any, *args: Any, **kwargs: Any) -> Any:
        total, callback = set_up(self, *args, **kwargs)
        if running and running[-1].is_of(self):
            with never_breaking("this training is not followed"):
                running[-1].begin(int(total), callback)
        return total, callback

    algorithm_class.learn, algorithm_class._setup_learn = followed, setting_up


class _Rollouts:
    """One call of `learn`; its steps are those of all environments together."""

    def __init__(self, algorithm: Any, orders: Orders, may_resume: bool) -> None:
        self._algorithm, self._orders, self._may_resume = algorithm, orders, may_resume
        self._replacements = Replacements()
        self._loop: Loop | None = None
        self._size, self._odd, self._total = 1, 0, 0
        self._callback: Any = None
        self._of_callbacks: list[tuple[str, dict[str, Any]]] = []

    def is_of(self, algorithm: Any) -> bool:
        """Say whether this is the training of an algorithm, and has not begun."""
        return self._algorithm is algorithm and self._callback is None

    def begin(self, total: int, callback: Any) -> None:
        """Go on where the checkpoint was: sb3 has set all up for a training from its start."""
        algorithm, self._callback, self._total = self._algorithm, callback, total
        self._size = int(algorithm.n_steps) * int(algorithm.n_envs)
        self._odd = int(algorithm.num_timesteps) % self._size
        library = Library(
            LIBRARY,
            self._save,
            lambda path: algorithm.set_parameters(str(path), device=algorithm.device),
            self._capture,
            self._restore,
            self._flush,
            algorithm.device,
        )
        start = int(algorithm.num_timesteps) // self._size
        loop = Loop(self._orders, library, start, math.ceil((total - self._odd) / self._size))
        loop.begin(self._may_resume)
        if loop.is_resumed:
            algorithm.num_timesteps = (loop.last + 1) * self._size + self._odd
            # By these sb3 reckons how fast it is.
            algorithm._num_timesteps_at_start = algorithm.num_timesteps
        self._loop = loop
        self._replacements.replace(callback, "on_rollout_start", self._at_rollout_start)
        self._replacements.replace(callback, "on_step", self._at_step)

    def finish(self) -> None:
        """Keep the end of the training, unless a callback has broken it off before."""
        if self._loop is not None and self._algorithm.num_timesteps >= self._total:
            self._loop.finish(self._done - 1)

    def end(self) -> None:
        """Leave the callback as it was."""
        with never_breaking("the end of the training"):
            self._replacements.undo()
        if self._loop is not None:
            self._loop.end()

    @property
    def _done(self) -> int:
        return (int(self._algorithm.num_timesteps) - self._odd) // self._size

    def _at_rollout_start(self, before: Any, *args: Any, **kwargs: Any) -> Any:
        with never_breaking("the callbacks' counters are not kept"):
            self._of_callbacks = _counted(self._callback)
        if self._loop is not None:
            self._loop.between(self._done - 1)
        return before(*args, **kwargs)

    def _at_step(self, before: Any, *args: Any, **kwargs: Any) -> Any:
        result = before(*args, **kwargs)
        if self._loop is not None:
            self._loop.step()
        return result

    def _save(self, path: Path) -> None:
        with path.open("wb") as file:  # by name, sb3 would add `.zip`
            self._algorithm.save(file)

    def _capture(self) -> dict[str, Any]:
        algorithm, logger = self._algorithm, self._algorithm.logger
        return {
            "own": {n: getattr(algorithm, n) for n in _COUNTERS if hasattr(algorithm, n)},
            "normalizers": [_numbers(each) for each in _normalizers(algorithm)],
            "episodes": {n: list(getattr(algorithm, n, None) or ()) for n in _LAST_EPISODES},
            "logged": {n: dict(getattr(logger, n, {})) for n in _LOGGED},
            "callbacks": self._of_callbacks or _counted(self._callback),
        }

    def _restore(self, counters: Mapping[str, Any]) -> None:
        algorithm = self._algorithm
        for name, value in counters.get("own", {}).items():
            setattr(algorithm, name, value)
        pairs = zip(_normalizers(algorithm), counters.get("normalizers", []), strict=False)
        for normalizer, numbers in pairs:
            vars(normalizer).update(numbers)
        environment = getattr(algorithm, "_vec_normalize_env", None)
        if environment is not None:
            # The first observation was normalized before the numbers were there.
            algorithm._last_obs = environment.normalize_obs(environment.get_original_obs())
        for name, episodes in counters.get("episodes", {}).items():
            getattr(algorithm, name).extend(episodes)
        for name, values in counters.get("logged", {}).items():
            getattr(algorithm.logger, name).update(values)
        callbacks = list(_callbacks(self._callback))
        kept = counters.get("callbacks", [])
        if [type(each).__name__ for each in callbacks] == [name for name, _ in kept]:
            for each, (_, numbers) in zip(callbacks, kept, strict=True):
                vars(each).update(numbers)

    def _flush(self) -> None:
        for output in getattr(self._algorithm.logger, "output_formats", ()):
            writer = getattr(output, "writer", None)
            if writer is not None:
                writer.flush()


def _normalizers(algorithm: Any) -> list[Any]:
    """List VecNormalize's running means: of observations (perhaps by key), and of returns."""
    found = []
    environment = getattr(algorithm, "_vec_normalize_env", None)
    for name in ("obs_rms", "ret_rms"):
        each = getattr(environment, name, None)
        by_key = each if isinstance(each, dict) else {"": each}
        found += [by_key[key] for key in sorted(by_key)]
    return [each for each in found if each is not None]


def _numbers(normalizer: Any) -> dict[str, Any]:
    """Give the numbers of a running mean."""
    return {name: getattr(normalizer, name) for name in ("mean", "var", "count")}


def _callbacks(callback: Any) -> Iterator[Any]:
    """List a callback and those within it."""
    yield callback
    for name in ("callback", "callback_on_new_best", "callback_after_eval"):
        inner = vars(callback).get(name)
        if inner is not None:
            yield from _callbacks(inner)
    for inner in vars(callback).get("callbacks", ()):
        yield from _callbacks(inner)


def _counted(callback: Any) -> list[tuple[str, dict[str, Any]]]:
    """Give what the callbacks go by: sb3 begins to count anew."""
    return [
        (
            type(each).__name__,
            {n: v for n in _OF_CALLBACKS if isinstance(v := vars(each).get(n), int | float)},
        )
        for each in _callbacks(callback)
    ]
