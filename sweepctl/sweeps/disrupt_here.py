"""Disrupting a sweep whose agents are on this machine: SIGKILL to the trainer of one of them.

Only processes of this user's that belong to a run of the sweep and were started by an agent of
ours: their environment says so. The agents themselves stay.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.disrupt import NoTargetError
from sweepctl.sweeps.disruption import Disruption, Kind, Look, Target
from sweepctl.sweeps.progress import whole_number
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.states import ENDED_SWEEPS, OPEN_RUNS, RunState

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class LocalScene:
    """The agents of a sweep on this machine."""

    api: WandbApi
    info: SweepInfo
    proc: Path = _PROC

    def check(self, kind: Kind) -> None:
        """Refuse what takes a pod."""
        if kind is not Kind.CRASH:
            raise UsageError(
                f"--kind {kind.value} is for pods, and this sweep is in no cluster",
                "its trainers can be killed: --kind crash",
            )

    def targets(self) -> list[Target]:
        """Give the agents whose trainer of a running run is here."""
        info = self.info
        runs = self.api.runs(info)
        state = self.api.sweep(info.entity, info.project, info.id).state
        if state in ENDED_SWEEPS and not any(run.state in OPEN_RUNS for run in runs):
            raise NoTargetError(f"sweep {info.full_name} has ended: nothing is trained")
        here = {run for _, run in self._trainers()}
        return [
            Target(run.host or "", run.id)
            for run in runs
            if run.state == RunState.RUNNING and run.id in here
        ]

    def strike(self, kind: Kind, target: Target, *, is_dry: bool) -> bool:
        """Kill the processes of a run's trainer."""
        found = [pid for pid, run in self._trainers() if run == target.run]
        for pid in () if is_dry else found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def look(self, disruption: Disruption) -> Look:
        """See how a run does that was hit."""
        run = self.api.run(self.info, disruption.target.run)
        if run is None:
            raise SweepctlError(f"run {disruption.target.run} is gone from its sweep")
        record = self.record(run.id)
        step = whole_number(run.summary.get("_step"))
        return Look(run.state, run.host, step, False, record.attempt if record else None)

    def record(self, run: str) -> RunRecord | None:
        """Give a run's record, if there is one."""
        return self.api.run_record(self.info.full_name, run)

    def _trainers(self) -> Iterator[tuple[int, str]]:
        """Give the processes of trainers of this sweep, each with its run."""
        for path in self.proc.iterdir():
            if not path.name.isdigit():
                continue
            try:
                environ = dict(
                    word.partition(b"=")[::2]
                    for word in (path / "environ").read_bytes().split(b"\0")
                )
            except OSError:
                continue
            run = environ.get(b"WANDB_RUN_ID", b"").decode("utf-8", "replace")
            is_ours = b"SWEEPCTL_AGENT" in environ and run
            if is_ours and environ.get(b"WANDB_SWEEP_ID") == self.info.id.encode():
                yield int(path.name), run
