"""Tells the agent how far the training is: `progress.json`, so that no output has to be parsed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepctl_pod.checkpoint import write_whole

_PAUSE_S = 1.0
"""Between two writings, where iterations are shorter."""


@dataclass(slots=True)
class Progress:
    """One training's progress: iterations count from 0, `iteration` is the last complete one."""

    file: Path
    library: str
    first: int
    """The first iteration of this attempt."""
    of: int
    """The iterations of the whole training."""
    is_listening: bool = False
    """SIGTERM is handled: this process will save and leave with a code that is not 0."""
    note: str | None = None
    load_s: float = 0.0
    """How long the checkpoint took to load, its check included."""
    iteration: int = field(init=False)
    iteration_s: float = field(default=0.0, init=False)
    first_at: float | None = field(default=None, init=False)
    """When the first iteration of this attempt was complete, by the machine's steady clock."""
    _written: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self.iteration = self.first - 1

    @property
    def is_due(self) -> bool:
        """Whether the file was written long enough ago."""
        return time.monotonic() - self._written >= _PAUSE_S

    def write(self) -> None:
        """Write the file, whole."""
        self._written = time.monotonic()
        write_whole(self.file, json.dumps(self._form()))

    def _form(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "of": self.of,
            "iteration_s": round(self.iteration_s, 4),
            "load_s": round(self.load_s, 3),
            "at": round(time.time(), 3),
            "pid": os.getpid(),
            "library": self.library,
            "is_listening": self.is_listening,
            "first": self.first,
            "first_at": self.first_at,
            "note": self.note,
        }
