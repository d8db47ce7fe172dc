"""Reading a sweep from whatever keeps it: its status, its best runs, its list, its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepctl.server.server_process import ENTITY, agent_logs, default_data
from sweepctl.sweeps import gpus
from sweepctl.sweeps.api import SweepSource, WandbApi, read_config
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl.sweeps.records import RecordReader
from sweepctl.sweeps.status import SweepStatus, sweep_status, with_gpus
from sweepctl_pod.errors import ExitCode

if TYPE_CHECKING:
    from sweepctl.sweeps.best import RankedRun
    from sweepctl_pod.overrides import Grammar

READ_EVERY_S = 10.0
"""How often a sweep is read that somebody waits for."""


@dataclass(frozen=True, slots=True)
class SeenSweep:
    """A sweep as it was read at one moment."""

    status: SweepStatus
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SweepLine:
    """One sweep in a server's list."""

    sweep: str
    """ENTITY/PROJECT/ID"""
    name: str | None
    state: str
    method: str | None
    runs: int | None
    created_at: str | None


def read_status(
    api: SweepSource,
    name: SweepName,
    data: Path | None = None,
    records: RecordReader | None = None,
) -> SeenSweep:
    """Read a sweep, its config and its runs; for one of this machine (in `data`) also the GPUs.

    With `records` also what became of each attempt of a run.
    """
    sweep = find_sweep(api, name)
    config = read_config(sweep.config_text)
    status = sweep_status(sweep, config, api.runs(sweep), datetime.now(timezone.utc))
    if sweep.entity == ENTITY:
        logs = agent_logs(data or default_data(), sweep.id)
        status = with_gpus(status, gpus.recorded(logs))
    if records is not None:
        status = records.add_to(status, api)
    return SeenSweep(status, config)


def read_best(
    source: SweepSource, name: SweepName, top: int, grammar: Grammar | None, recorded: int
) -> tuple[SweepStatus, Sequence[RankedRun]]:
    """Rank a sweep's finished runs; the commands of the first `recorded` are those on record."""
    from sweepctl.sweeps.best import best_runs  # only here: no other reader resolves commands

    seen = read_status(source, name)
    runs = best_runs(
        seen.status,
        seen.config,
        top=top,
        grammar=grammar,
        record_of=partial(source.run_record, seen.status.sweep),
        recorded=recorded,
    )
    return seen.status, runs


def list_sweeps(source: SweepSource) -> list[SweepLine]:
    """List the sweeps of a server, the newest first."""
    entity = source.default_entity()
    found = [
        sweep for project in source.projects(entity) for sweep in source.sweeps(entity, project)
    ]
    found.sort(key=lambda sweep: sweep.created_at or "", reverse=True)
    return [
        SweepLine(
            sweep=sweep.full_name,
            name=sweep.display_name,
            state=sweep.state,
            method=sweep.method,
            runs=sweep.run_count,
            created_at=sweep.created_at,
        )
        for sweep in found
    ]


def wait_for_sweep_end(
    api: WandbApi,
    read: Callable[[], SeenSweep],
    *,
    timeout_s: float | None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[ExitCode, str]:
    """Wait for the end of a sweep that is in no cluster."""
    deadline = clock() + timeout_s if timeout_s is not None else math.inf
    while True:
        status = read().status
        if status.has_ended:
            return runs_verdict(status)
        if clock() >= deadline:
            return ExitCode.FAILED, f"{status.sweep} at {api.where} has not ended yet"
        sleep(min(READ_EVERY_S, deadline - clock()))


def runs_verdict(status: SweepStatus) -> tuple[ExitCode, str]:
    """Give the exit code of a sweep that has ended, and how its runs ended."""
    return status.exit_code, f"sweep {status.sweep} has ended: {counted_runs(status) or 'no runs'}"


def counted_runs(status: SweepStatus) -> str:
    """Count the runs by state: `4 finished, 2 running`; nothing where there are none."""
    return ", ".join(f"{count} {state}" for state, count in sorted(status.counts.items()))
