"""skrl (1.4 and 2) under the companion: an iteration is one rollout of its agent, so many steps.

skrl 1 can begin at a later step by itself; skrl 2 counts from 0, so its agent is told the step of
the whole training, by which it schedules, logs and names its checkpoints.
"""

from __future__ import annotations

import functools
import inspect
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

LIBRARY = "skrl"
_OF_AGENT = ("pre_interaction", "act", "record_transition", "post_interaction")
"""What the trainer calls with `timestep` and `timesteps`."""


def patch(module: types.ModuleType, orders: Orders) -> None:
    """Have every training of this process followed; the first one goes on."""
    trainer_class: Any = module.__dict__["Trainer"]
    # skrl 1 trains one agent by the first, skrl 2 by the second.
    name = "single_agent_train" if hasattr(trainer_class, "single_agent_train") else "train"
    train = getattr(trainer_class, name)
    parameters = list(inspect.signature(train).parameters)
    if parameters != ["self"]:
        raise TypeError(f"Trainer.{name} takes {', '.join(parameters)}")
    expect_resume(orders, LIBRARY)
    trainings = 0

    @functools.wraps(train)
    def followed(self: Any) -> Any:
        nonlocal trainings
        trainings += 1
        steps = None
        with never_breaking("this training is not followed"):
            steps = _Steps(self, orders)
            steps.begin(may_resume=trainings == 1)
        try:
            result = train(self)
            if steps is not None:
                steps.finish()
            return result
        finally:
            if steps is not None:
                steps.end()

    setattr(trainer_class, name, followed)


class _Steps:
    """One training, by the steps of its trainer."""

    def __init__(self, trainer: Any, orders: Orders) -> None:
        self._trainer, self._agent = trainer, trainer.agents
        # skrl 1 keeps these in attributes, skrl 2 in its configuration.
        self._is_first_generation = hasattr(trainer, "initial_timestep")
        self._settings = trainer if self._is_first_generation else trainer.cfg
        rollouts = getattr(self._agent, "_rollouts", None)
        if rollouts is None:
            rollouts = getattr(self._agent.cfg, "rollouts", None)
        if not isinstance(rollouts, int) or rollouts < 1:
            raise ValueError(f"skrl's {type(self._agent).__name__} trains by no rollouts")
        self._rollouts, self._whole = rollouts, int(self._settings.timesteps)
        self._first = int(getattr(trainer, "initial_timestep", 0))
        library = Library(
            LIBRARY,
            self._save,
            lambda path: self._agent.load(str(path)),
            self._capture,
            self._restore,
            self._flush,
            getattr(self._agent, "device", "cpu"),
        )
        self._loop = Loop(orders, library, self._first // rollouts, self._whole // rollouts)
        self._replacements = Replacements()
        self._skipped = 0
        """The steps that skrl 2 does not know of."""

    def begin(self, may_resume: bool) -> None:
        """Go on where the checkpoint was, and look at each step."""
        self._loop.begin(may_resume)
        if self._loop.is_resumed:
            done = (self._loop.last + 1) * self._rollouts
            if self._is_first_generation:
                self._trainer.initial_timestep = done
            else:
                self._skipped, self._settings.timesteps = done, self._whole - done
        if self._skipped:
            for name in _OF_AGENT:
                self._replacements.replace(self._agent, name, self._told)
        self._replacements.replace(self._agent, "pre_interaction", self._watched)

    def finish(self) -> None:
        """Keep the end of the training."""
        self._loop.finish(self._whole // self._rollouts - 1)

    def end(self) -> None:
        """Leave trainer and agent as they were."""
        with never_breaking("the end of the training"):
            self._replacements.undo()
            self._settings.timesteps = self._whole
            if self._is_first_generation:
                self._trainer.initial_timestep = self._first
        self._loop.end()

    def _told(self, before: Any, *args: Any, **kwargs: Any) -> Any:
        """Pass a call on with the step of the whole training."""
        if "timestep" in kwargs:
            kwargs["timestep"] = int(kwargs["timestep"]) + self._skipped
            kwargs["timesteps"] = self._whole
        return before(*args, **kwargs)

    def _watched(self, before: Any, *args: Any, **kwargs: Any) -> Any:
        step = int(kwargs["timestep"]) + self._skipped
        if step % self._rollouts == 0:
            self._loop.between(step // self._rollouts - 1)
        else:
            self._loop.step()
        return before(*args, **kwargs)

    def _save(self, path: Path) -> None:
        self._agent.save(str(path))

    def _capture(self) -> dict[str, Any]:
        agent, kept = self._agent, dict[str, Any]()
        if getattr(agent, "scheduler", None):
            kept["scheduler"] = agent.scheduler.state_dict()
        kept["best"] = dict(agent.checkpoint_best_modules)
        kept["tracked"] = {name: list(values) for name, values in agent.tracking_data.items()}
        kept["episodes"] = [list(agent._track_rewards), list(agent._track_timesteps)]
        return kept

    def _restore(self, counters: Mapping[str, Any]) -> None:
        agent = self._agent
        if getattr(agent, "scheduler", None) and counters.get("scheduler"):
            agent.scheduler.load_state_dict(counters["scheduler"])
        if counters.get("best", {}).get("modules"):
            # Not saved: this attempt writes into a folder of its own.
            agent.checkpoint_best_modules.update({**counters["best"], "saved": False})
        for name, values in counters.get("tracked", {}).items():
            agent.tracking_data[name].extend(values)
        rewards, steps = counters.get("episodes") or ((), ())
        agent._track_rewards.extend(rewards)
        agent._track_timesteps.extend(steps)

    def _flush(self) -> None:
        writer = getattr(self._agent, "writer", None)
        flush = getattr(writer, "flush", None)
        if flush is not None:
            flush()
