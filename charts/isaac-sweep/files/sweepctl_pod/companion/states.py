"""What the trainer itself does not save: taken from a runner for a checkpoint, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def capture(runner: Any) -> dict[str, Any]:
    """Give what of a runner's state its own checkpoint lacks: what torch.save can write.

    Called at the end of an iteration, before the first action of the next, and perhaps in the
    middle of one when the training is to end.
    """
    return {}


def restore(runner: Any, data: Mapping[str, Any]) -> set[str]:
    """Put back what `capture` gave, after the model is loaded and before the training begins.

    Gives the names of what was restored; with "episode_lengths" among them the trainer does not
    draw them anew.
    """
    return set()
