"""The care for a data folder of this machine: its backup, its tidying, its further keys."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sweepctl.server.access.named_keys import NamedKey, add_key, named_keys, revoke_key
from sweepctl.server.server_process import default_data
from sweepctl.server.store.database import DATABASE
from sweepctl_pod.errors import SweepctlError

if TYPE_CHECKING:
    from sweepctl.server.backup import Backup
    from sweepctl.server.prune import Pruned


def back_up(data: Path | None, target: str) -> Backup:
    """Write a backup of a data folder to a new file, or to stdout for `-`."""
    from sweepctl.server.backup import write_backup  # only here: serving needs none of it

    return write_backup(folder_of(data), Path(target))


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was made, and the folder that takes it."""

    key: str = field(repr=False)
    data: Path
    is_new: bool
    """Whether no server has used the folder yet: it may be the wrong one."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as a list shows it."""

    name: str
    made_at: str


def add_server_key(data: Path | None, name: str) -> MadeKey:
    """Make a further key of a data folder."""
    folder = folder_of(data)
    is_new = not (folder / DATABASE).exists()
    return MadeKey(add_key(folder, name, time.time()), folder, is_new)


def list_server_keys(data: Path | None) -> list[ListedKey]:
    """List the further keys of a data folder, the oldest first."""
    folder = folder_of(data)
    if not folder.is_dir():
        raise SweepctlError(f"no folder {folder}", "give the server's: --data DIR")
    return [ListedKey(key.name, _moment(key)) for key in named_keys(folder)]


def revoke_server_key(data: Path | None, name: str) -> None:
    """Take a further key of a data folder away."""
    revoke_key(folder_of(data), name)


def tidy(
    data: Path | None, *, older_than_s: float, with_checkpoints: bool, dry_run: bool
) -> Pruned:
    """Remove what nothing in a data folder needs."""
    from sweepctl.server.prune import prune

    return prune(
        folder_of(data),
        older_than_s=older_than_s,
        with_checkpoints=with_checkpoints,
        dry_run=dry_run,
        now=time.time,
    )


def folder_of(data: Path | None) -> Path:
    """Give the data folder that is meant."""
    return (data or default_data()).absolute()


def _moment(key: NamedKey) -> str:
    return datetime.fromtimestamp(key.created, timezone.utc).isoformat(timespec="seconds")
