"""The checkpoint at which a training goes on: checked, and its state read."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod import checkpoint
from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.ranks import Ranks
from sweepctl_pod.companion.saving import state_name
from sweepctl_pod.companion.speech import reason, say


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


@dataclass(frozen=True, slots=True)
class Models:
    """How a library writes its model to a file, and reads one."""

    save: Callable[[Path], None]
    load: Callable[[Path], None]


def load_in_all(
    resume: Resume | None, why: str | None, models: Models, orders: Orders, ranks: Ranks
) -> str | None:
    """Load a checkpoint in all ranks; else say why not, with all as it was before.

    `why` says what speaks against it already. Whatever fails here, every rank comes to the one
    question that all answer together: one that stayed away would hold up the others for ever.
    """
    before: Path | None = None
    try:
        if resume is not None and why is None:
            before = _saved_before(models, orders, ranks)
            models.load(resume.model)
    except Exception as error:  # whatever a disk, or the library, makes of the file
        what = "cannot be loaded" if before is not None else "is not loaded without a way back"
        why = f"checkpoint {resume and resume.iteration} {what}: {reason(error)}"
    try:
        if ranks.most(int(why is not None)):
            why = f"{why or 'another process cannot load the checkpoint'}; from the start"
            say(why)
            if before is not None:
                models.load(before)
    finally:
        if before is not None:
            before.unlink(missing_ok=True)
    return why


def _saved_before(models: Models, orders: Orders, ranks: Ranks) -> Path:
    """Write the model as it is to a file, somewhere; raise why that works nowhere."""
    trouble: Exception | None = None
    for folder in (orders.folder, Path(tempfile.gettempdir())):
        path = folder / f"before-{orders.folder.parent.name}-{ranks.own}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            models.save(path)
        except Exception as error:  # a full disk, or one that cannot be written
            trouble = trouble or error
            with suppress(OSError):
                path.unlink()
        else:
            return path
    raise trouble or OSError("there is no folder")


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
