"""What the agent asks of the companion: one variable of the trainer's environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "SWEEPCTL_COMPANION"
EVERY_S, KEEP = 600.0, 2


@dataclass(frozen=True, slots=True)
class Orders:
    """Where to write, how often to save, how long leaving may take, where to go on."""

    folder: Path
    """The folder `.sweepctl` of the run."""
    every_s: float = EVERY_S
    """A checkpoint is never older than that, at the end of an iteration."""
    leave_within_s: float | None = None
    """From SIGTERM to the end of the process; None: not known."""
    keep: int = KEEP
    """So many checkpoints are kept."""
    attempt: int = 1
    resume: Path | None = None
    """The manifest of the checkpoint at which the training goes on."""


def read_orders(text: str) -> Orders:
    """Read the variable; ValueError, TypeError or KeyError for what is none."""
    form = json.loads(text)
    leave, resume, every = (form.get(name) for name in ("leave_within_s", "resume", "every_s"))
    return Orders(
        folder=Path(form["folder"]),
        every_s=EVERY_S if every is None else float(every),
        leave_within_s=None if leave is None else float(leave),
        keep=max(1, int(form.get("keep") or KEEP)),
        attempt=int(form.get("attempt") or 1),
        resume=Path(resume) if resume else None,
    )
