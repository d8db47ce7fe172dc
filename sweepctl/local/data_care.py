"""The care for a data folder of this machine: its backup, its tidying, its further keys."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sweepctl.server.access.named_keys import NamedKey, add_key, named_keys, revoke_key
from sweepctl.server.server_process import default_data

if TYPE_CHECKING:
    from sweepctl.server.backup import Backup
    from sweepctl.server.prune import Pruned


def back_up(data: Path | None, target: str) -> Backup:
    """Write a backup of a data folder to a new file, or to stdout for `-`."""
    from sweepctl.server.backup import write_backup  # only here: serving needs none of it

    return write_backup(_folder(data), Path(target))


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was made, and the folder that takes it."""

    key: str = field(repr=False)
    data: Path


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as a list shows it."""

    name: str
    made_at: str


def add_server_key(data: Path | None, name: str) -> MadeKey:
    """Make a further key of a data folder."""
    folder = _folder(data)
    return MadeKey(add_key(folder, name, time.time()), folder)


def list_server_keys(data: Path | None) -> list[ListedKey]:
    """List the further keys of a data folder, the oldest first."""
    return [ListedKey(key.name, _moment(key)) for key in named_keys(_folder(data))]


def revoke_server_key(data: Path | None, name: str) -> None:
    """Take a further key of a data folder away."""
    revoke_key(_folder(data), name)


def tidy(
    data: Path | None, *, older_than_s: float, with_checkpoints: bool, dry_run: bool
) -> Pruned:
    """Remove what nothing in a data folder needs."""
    from sweepctl.server.prune import prune

    return prune(
        _folder(data),
        older_than_s=older_than_s,
        with_checkpoints=with_checkpoints,
        dry_run=dry_run,
        now=time.time,
    )


def _folder(data: Path | None) -> Path:
    return (data or default_data()).absolute()


def _moment(key: NamedKey) -> str:
    return datetime.fromtimestamp(key.created, timezone.utc).isoformat(timespec="seconds")
