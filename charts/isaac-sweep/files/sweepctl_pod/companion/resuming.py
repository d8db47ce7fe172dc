"""The checkpoint at which a training goes on: checked, and its state read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod import checkpoint
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.speech import say


@dataclass(frozen=True, slots=True)
class Resume:
    """A good checkpoint."""

    iteration: int
    model: Path
    state: Path | None

    def read_state(self) -> dict[str, Any]:
        """Read what the trainer does not save."""
        if self.state is None:
            return {}
        # On the CPU: random states are there, and whoever takes a tensor moves it.
        found = sys.modules["torch"].load(self.state, map_location="cpu", weights_only=False)
        return found if isinstance(found, dict) else {}


def find_resume(orders: Orders) -> Resume | None:
    """Give the checkpoint that the agent names, or an older one when that is not good."""
    path = orders.resume
    if path is None:
        return None
    try:
        manifest = checkpoint.read_manifest(path.read_text("utf-8"))
        why = "its manifest is broken"
    except (OSError, UnicodeDecodeError) as error:
        manifest, why = None, str(error)
    if manifest is not None:
        trouble = checkpoint.trouble_with(manifest, path.parent)
        if trouble is None:
            return _resume(manifest, path.parent)
        why = trouble
    say(f"checkpoint {path.stem} is not good: {why}")
    found = checkpoint.newest_good(path.parent)
    return None if found is None else _resume(found.manifest, found.folder)


def _resume(manifest: checkpoint.Manifest, folder: Path) -> Resume:
    state = None if manifest.state is None else folder / manifest.state
    return Resume(manifest.iteration, folder / manifest.model, state)
