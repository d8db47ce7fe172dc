"""What a training is told of checkpoints, and what it tells: its environment, its progress.

The companion runs in the trainer's process, by a folder of PYTHONPATH that is named here and
imported nowhere in the agent. An image with older pod code has no such folder: then nothing of it
is set, and the trainer trains as ever.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sweepctl_pod.checkpoint import (
    CHECKPOINTS,
    OWN_FOLDER,
    PROGRESS_FILE,
    Found,
    Progress,
    read_progress,
)
from sweepctl_pod.trainer.launchers import TrainerKind

CHECKPOINT_VARIABLE = "SWEEPCTL_CHECKPOINT"
"""Names the newest good checkpoint to any trainer; empty where there is none."""
COMPANION_VARIABLE = "SWEEPCTL_COMPANION"
"""Tells the companion how to work, as JSON."""
COMPANION_PATH = Path(__file__).parents[1] / "pythonpath"
_TRAINERS_SHARE = 0.75
"""The part of the time to leave within which the trainer saves: the rest is for the upload."""


@dataclass(frozen=True, slots=True)
class CheckpointRule:
    """How the checkpoints of all runs are made and kept."""

    companion: bool = True
    """Whether the companion works in the trainer's process."""
    every_s: float = 600.0
    """The longest time that Isaac Lab trains without saving."""
    keep: int = 2
    """How many checkpoints of ours there are of a run, in each place."""
    pattern: str = ""
    """The files that a trainer without the companion leaves to go on from."""
    uri: str = ""
    """A bucket folder that keeps them, in place of the files of the run at W&B."""

    def of(self, trainer: TrainerKind) -> CheckpointRule:
        """Give the rule of a trainer: one whose own files are named goes on by itself from them.

        Both would number their checkpoints in one folder, and load them one after the other.
        """
        is_by_itself = bool(self.pattern) and trainer is TrainerKind.PLAIN
        return replace(self, companion=self.companion and not is_by_itself)


def own_folder(run_folder: Path) -> Path:
    """Give the folder of a run's folder in which all is ours."""
    return run_folder / OWN_FOLDER


def checkpoints_folder(run_folder: Path) -> Path:
    """Give the folder of a run's checkpoints."""
    return own_folder(run_folder) / CHECKPOINTS


def progress_in(run_folder: Path) -> Progress | None:
    """Read how far a training has come; None where the companion has said nothing."""
    try:
        return read_progress((own_folder(run_folder) / PROGRESS_FILE).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def forget_progress(run_folder: Path) -> None:
    """Remove what an earlier attempt said."""
    with suppress(OSError):
        (own_folder(run_folder) / PROGRESS_FILE).unlink()


def checkpoint_environ(
    environ: Mapping[str, str],
    rule: CheckpointRule,
    run_folder: Path,
    found: Found | None,
    *,
    attempt: int,
    leave_within_s: float,
) -> dict[str, str]:
    """Give a trainer's environment with where to go on from, for the companion and for any other.

    `leave_within_s` is the time from SIGTERM until the trainer is killed.
    """
    told = {**environ, CHECKPOINT_VARIABLE: str(found.model) if found else ""}
    if not rule.companion or not COMPANION_PATH.is_dir():
        return told
    words = {
        "folder": str(own_folder(run_folder)),
        "every_s": rule.every_s,
        "leave_within_s": round(leave_within_s * _TRAINERS_SHARE, 3),
        "keep": rule.keep,
        "attempt": attempt,
        "resume": str(found.folder / found.manifest.name) if found else None,
    }
    own, given = str(COMPANION_PATH), environ.get("PYTHONPATH", "")
    # An empty entry stays: to Python it is the working folder, as in `:/code`, which
    # `$PYTHONPATH:/code` gives where there was none.
    others = [path for path in given.split(os.pathsep) if path != own] if given else []
    return {
        **told,
        COMPANION_VARIABLE: json.dumps(words),
        "PYTHONPATH": os.pathsep.join([own, *others]),
    }
