"""The care for a data folder of this machine: its backup, its tidying."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweepctl.server.server_process import default_data

if TYPE_CHECKING:
    from sweepctl.server.backup import Backup


def back_up(data: Path | None, target: str) -> Backup:
    """Write a backup of a data folder to a new file, or to stdout for `-`."""
    from sweepctl.server.backup import write_backup  # only here: serving needs none of it

    return write_backup((data or default_data()).absolute(), Path(target))
