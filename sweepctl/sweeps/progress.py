"""How far a run and its sweep are, told from what the server has. Pure.

W&B keeps the last step that a run logged. How many there will be stands in what the trainer wrote
to the run's config (rsl_rl does), else in the command or the parameters. What neither says is not
guessed.
"""

from __future__ import annotations

import enum
import heapq
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TRAINER_CONFIGS = ("train_cfg", "runner_cfg")
"""Where rsl_rl's writers keep the runner's settings: 3.x and later, 2.x."""

_FLAG = "--max_iterations"
_SETTING = "agent.max_iterations"
_OTHER_LIBRARIES = ("rl_games", "skrl", "sb3")
"""Their loggers count frames: the last step is no number of iterations."""


class Phase(str, enum.Enum):
    """What the trainer of a run under way is doing."""

    STARTING = "starting"
    """It has logged nothing yet: the simulator is being started."""
    TRAINING = "training"
    CLOSING = "closing"
    """The last iteration is logged: the simulator is being closed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: `step` is W&B's last step, `steps` how many there will be, if known."""

    phase: Phase | None
    step: int | None
    steps: int | None

    @property
    def done(self) -> int | None:
        """Count the iterations that are done: trainers number them from 0."""
        if self.step is None:
            return 0 if self.phase is Phase.STARTING and self.steps is not None else None
        return self.step if self.steps is None else self.step + 1


def progress(
    state: str, summary: Mapping[str, Any], config: Mapping[str, Any], command: object
) -> Progress:
    """Tell how far a run is from its state, summary and config and its sweep's command."""
    step = whole_number(summary.get("_step"))
    words = [str(word) for word in command] if isinstance(command, (list, tuple)) else []
    steps = _steps(config, words)
    if steps is not None and step is not None and step >= steps:
        steps = None  # it went on from a checkpoint, or counts something else
    if state not in ("pending", "running"):
        return Progress(None, step, steps)
    if step is None or state == "pending":
        return Progress(Phase.STARTING, step, steps)
    is_last = steps is not None and step + 1 == steps
    return Progress(Phase.CLOSING if is_last else Phase.TRAINING, step, steps)


def eta_s(
    finished_s: Sequence[float], open_s: Sequence[float], waiting: int, agents: int
) -> float | None:
    """Tell when a sweep will be done, if its runs take as long as those that have finished.

    `finished_s` are the durations of finished runs, `open_s` how long those under way have been,
    `waiting` is how many nobody has yet, and `agents` how many are at work. None when nothing has
    finished, nobody is at work, or the last runs have taken longer than that already.
    """
    if not finished_s or agents < 1:
        return None
    typical_s = statistics.median(finished_s)
    busy = [max(0.0, typical_s - lasted_s) for lasted_s in open_s]
    free_at = (busy + [0.0] * agents)[:agents]
    heapq.heapify(free_at)
    end_s = 0.0
    for _ in range(waiting):
        end_s = heapq.heappop(free_at) + typical_s
        heapq.heappush(free_at, end_s)
    return max([end_s, *busy]) or None


def whole_number(value: object) -> int | None:
    """Read a whole number that may have come as a float or as text."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value == value and abs(value) < 2**53 else None


def _steps(config: Mapping[str, Any], command: list[str]) -> int | None:
    for name in _TRAINER_CONFIGS:
        written = config.get(name)
        if isinstance(written, Mapping):
            steps = whole_number(written.get("max_iterations"))
            if steps:
                return steps
    if _counts_frames(command):
        return None
    for value in (
        config.get("max_iterations"),  # which ${args} writes as the trainer's flag
        _argument(command, _FLAG),
        config.get(_SETTING),
        _argument(command, _SETTING),
    ):
        steps = whole_number(value)
        if steps:
            return steps
    return None


def _argument(command: list[str], name: str) -> str | None:
    """Give the last value of a flag, written as two words or as one, or of an override."""
    found = None
    for word, following in zip(command, [*command, ""][1:], strict=True):
        if word == name:
            found = following
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def _counts_frames(command: list[str]) -> bool:
    library = _argument(command, "--rl_library")
    return library in _OTHER_LIBRARIES or any(
        f"/{other}/" in word for word in command for other in _OTHER_LIBRARIES
    )
