"""The checkpoint at which a training goes on: checked, and its state read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod import checkpoint
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.saving import state_name
from sweepctl_pod.companion.speech import say


@dataclass(frozen=True, slots=True)
class Resume:
    """A good checkpoint."""

    iteration: int
    model: Path
    library: str = ""
    of: int | None = None
    """The number of iterations of the whole training, where that was known."""

    def read_state(self, rank: int) -> dict[str, Any]:
        """Read what the trainer of one rank does not save; nothing where nothing was kept."""
        path = self.model.with_name(state_name(self.iteration, rank))
        if not path.exists():
            return {}
        # On the CPU: random states are there, and whoever takes a tensor moves it.
        found = sys.modules["torch"].load(path, map_location="cpu", weights_only=False)
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
    return Resume(manifest.iteration, folder / manifest.model, manifest.library, manifest.of)
