"""A sweep as it is read at one moment, from whatever keeps it; and what a verb changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sweepctl.server.server_process import ENTITY, agent_logs, default_data
from sweepctl.sweeps import gpus
from sweepctl.sweeps.api import SweepSource, read_config
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl.sweeps.status import SweepStatus, sweep_status, with_gpus


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb did to one object, and what to know about it."""

    kind: str
    name: str
    verb: str
    notes: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        """Name the object as kubectl does."""
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True, slots=True)
class SeenSweep:
    """A sweep as it was read at one moment."""

    status: SweepStatus
    config: Mapping[str, Any]


def read_status(api: SweepSource, name: SweepName, data: Path | None = None) -> SeenSweep:
    """Read a sweep, its config and its runs; of this machine's (in `data`) the agents' GPUs."""
    sweep = find_sweep(api, name)
    config = read_config(sweep.config_text)
    status = sweep_status(sweep, config, api.runs(sweep), datetime.now(timezone.utc))
    if sweep.entity == ENTITY:
        logs = agent_logs(data or default_data(), sweep.id)
        status = with_gpus(status, gpus.recorded(logs))
    return SeenSweep(status, config)
