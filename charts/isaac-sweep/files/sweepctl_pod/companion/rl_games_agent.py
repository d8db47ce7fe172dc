"""rl_games (1.6) under the companion: an iteration is an epoch, which rl_games counts from 1.

Its own file has networks, normalizers, optimizer, epoch and frame, and the best reward so far.
It is written and read without `save` and `restore`, which print, and try again for half a minute.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import types
from collections.abc import Mapping
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

LIBRARY = "rl_games"
_CLASSES = ("ContinuousA2CBase", "DiscreteA2CBase")
_METHODS = ("get_full_state_weights", "set_full_state_weights", "update_epoch", "env_step")
_COUNTERS = ("last_lr", "entropy_coef")
"""By which the adaptive learning rate and the schedules go on."""
_LAST_EPISODES = ("game_rewards", "game_shaped_rewards", "game_lengths")


def patch(module: types.ModuleType, orders: Orders) -> None:
    """Have every training of this process followed; the first one goes on."""
    classes: list[Any] = [module.__dict__[name] for name in _CLASSES]
    for agent_class in classes:
        parameters = list(inspect.signature(agent_class.train).parameters)
        if parameters != ["self"]:
            raise TypeError(f"{agent_class.__name__}.train takes {', '.join(parameters)}")
        missing = [name for name in _METHODS if not hasattr(agent_class, name)]
        if missing:
            raise TypeError(f"{agent_class.__name__} has no {', '.join(missing)}")
    expect_resume(orders, LIBRARY)
    trainings = 0

    def followed(train: Any) -> Any:
        @functools.wraps(train)
        def training(self: Any) -> Any:
            nonlocal trainings
            trainings += 1
            epochs = _Epochs(self, orders)
            with never_breaking("this training is not followed"):
                epochs.begin(may_resume=trainings == 1)
            try:
                if epochs.is_over:
                    return epochs.say_end()
                result = train(self)
                epochs.finish()
                return result
            finally:
                epochs.end()

        return training

    for agent_class in classes:
        agent_class.train = followed(agent_class.train)


class _Epochs:
    """One call of `train`."""

    def __init__(self, agent: Any, orders: Orders) -> None:
        self._agent, self._orders = agent, orders
        self._replacements = Replacements()
        self._loop: Loop | None = None
        self._best: Any = None

    def begin(self, may_resume: bool) -> None:
        """Load the checkpoint to go on from, and look at each epoch."""
        agent = self._agent
        library = Library(
            LIBRARY,
            self._save,
            self._load,
            self._capture,
            self._restore,
            self._flush,
            getattr(agent, "ppo_device", "cpu"),
        )
        start = int(agent.epoch_num)
        loop = Loop(self._orders, library, start, max(start, self._most()))
        loop.begin(may_resume)
        self._loop = loop
        self._best = agent.last_mean_rewards if loop.is_resumed else None
        self._replacements.replace(agent, "update_epoch", self._next_epoch)
        self._replacements.replace(agent, "env_step", self._at_step)

    @property
    def is_over(self) -> bool:
        """Whether the whole training was over when its process was killed."""
        return self._loop is not None and self._loop.is_resumed and self._loop.is_over

    def say_end(self) -> Any:
        """End as `train` does: it would train one epoch more."""
        with never_breaking("the log is not closed"):
            writer = getattr(self._agent, "writer", None)
            if writer is not None:
                # Where it has written nothing, tensorboardX fails to close at Python's end.
                getattr(writer, "writer", writer).close()
        print("MAX EPOCHS NUM!", flush=True)
        return self._agent.last_mean_rewards, self._agent.epoch_num

    def finish(self) -> None:
        """Keep the end of the training."""
        if self._loop is not None:
            self._loop.finish(int(self._agent.epoch_num) - 1)

    def end(self) -> None:
        """Leave the agent as it was."""
        with never_breaking("the end of the training"):
            self._replacements.undo()
        if self._loop is not None:
            self._loop.end()

    def _most(self) -> int:
        """Give the number of epochs; ValueError where only rewards end the training."""
        agent = self._agent
        limits = []
        if int(agent.max_epochs) > 0:
            limits.append(int(agent.max_epochs))
        if int(getattr(agent, "max_frames", -1)) > 0:
            size = int(agent.batch_size_envs) * int(getattr(agent, "world_size", 1) or 1)
            limits.append(math.ceil(int(agent.max_frames) / size))
        if not limits:
            raise ValueError("rl_games has neither max_epochs nor max_frames")
        return min(limits)

    def _next_epoch(self, before: Any, *args: Any, **kwargs: Any) -> Any:
        agent = self._agent
        if self._best is not None:
            # `train` forgets it, and would write over a better model of before.
            agent.last_mean_rewards, self._best = self._best, None
        if self._loop is not None:
            self._loop.between(int(agent.epoch_num) - 1)
        return before(*args, **kwargs)

    def _at_step(self, before: Any, *args: Any, **kwargs: Any) -> Any:
        if self._loop is not None:
            self._loop.step()
        return before(*args, **kwargs)

    def _save(self, path: Path) -> None:
        agent = self._agent
        whole = agent.get_full_state_weights()
        if self._loop is not None:
            whole["epoch"] = self._loop.last + 1  # in the middle of one it is counted already
        sys.modules["torch"].save(whole, path)

    def _load(self, path: Path) -> None:
        device = getattr(self._agent, "ppo_device", "cpu")
        whole = sys.modules["torch"].load(path, map_location=device, weights_only=False)
        self._agent.set_full_state_weights(whole)

    def _capture(self) -> dict[str, Any]:
        agent = self._agent
        return {
            "own": {n: getattr(agent, n) for n in _COUNTERS if hasattr(agent, n)},
            "episodes": {
                name: (int(meter.current_size), meter.mean.detach().cpu().clone())
                for name in _LAST_EPISODES
                if (meter := getattr(agent, name, None)) is not None
            },
        }

    def _restore(self, counters: Mapping[str, Any]) -> None:
        agent = self._agent
        for name, value in counters.get("own", {}).items():
            setattr(agent, name, value)
        for name, (size, mean) in counters.get("episodes", {}).items():
            meter = getattr(agent, name)
            if meter.mean.numel() == mean.numel():  # its first update gives it another shape
                meter.current_size, meter.mean = size, mean.to(meter.mean.device)

    def _flush(self) -> None:
        writer = getattr(self._agent, "writer", None)
        if writer is not None:
            getattr(writer, "writer", writer).flush()
