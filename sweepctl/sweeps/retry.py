"""Giving runs back that have ended badly: the same run, by its id, with the same parameters.

The embedded server has an operation for it. W&B has none; its own way to hand a run on is that the
run is marked `preempting` and then ends with another code than 0
(https://docs.wandb.ai/guides/runs/resuming, "preemptible sweeps"). So the run is opened once more
and handed back like that, and its record asks the agents for it as well. What became of it is read
afterwards, never assumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from sweepctl.server.server_process import ENTITY
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from sweepctl_pod.wandb.states import (
    ENDED_BADLY,
    ENDED_SWEEPS,
    RunState,
    SweepState,
)

RETRIED = (RunState.FAILED.value, RunState.CRASHED.value)
"""The states of the runs that are given back when none is named."""

QUEUED = "queued"
UNCHANGED = "unchanged"
"""It waits for an agent already."""
NOT_TAKEN = "not queued"
"""The server left it as it was."""

_LOOKS = 6
_LOOK_EVERY_S = 2.0
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one run that was given back."""

    run: str
    was: str
    """Its state before."""
    result: str
    why: str | None = None
    """Why it was not queued, as the server says it."""
    command: tuple[str, ...] = ()
    """What its agent executed, where nobody will but who types it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What became of all of them."""

    sweep: str
    """ENTITY/PROJECT/ID"""
    runs: tuple[Retried, ...]
    notes: tuple[str, ...] = ()

    @property
    def not_taken(self) -> tuple[Retried, ...]:
        """The runs that the server has left as they were."""
        return tuple(each for each in self.runs if each.result == NOT_TAKEN)


def retry_runs(
    api: WandbApi,
    name: SweepName,
    named: Sequence[str],
    states: Collection[str],
    *,
    is_dry: bool,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> Retry:
    """Give runs of a sweep back: those named, else all in one of the states."""
    sweep = find_sweep(api, name)
    chosen = runs_to_retry(sweep, api.runs(sweep), named, states)
    if is_dry or not chosen:
        return Retry(
            sweep.full_name, tuple(Retried(each.id, each.state, QUEUED) for each in chosen)
        )
    done = [_retried(api, sweep, run, sleep, now) for run in chosen]
    is_paused = sweep.state == SweepState.PAUSED
    notes = [f"the sweep is paused: sweepctl resume {sweep.full_name}"] if is_paused else []
    return Retry(sweep.full_name, tuple(done), tuple(notes))


def _retried(
    api: WandbApi,
    sweep: SweepInfo,
    run: RunInfo,
    sleep: Callable[[float], None],
    now: Callable[[], float],
) -> Retried:
    try:
        is_new = api.retry_run(run)
        if is_new is not None:
            return Retried(run.id, run.state, QUEUED if is_new else UNCHANGED)
        if sweep.entity == ENTITY:
            raise SweepctlError("this sweepctl server is of a version that gives no runs back")
        return _handed_back(api, sweep, run, sleep, now)
    except SweepctlError as error:
        if getattr(error, "is_transient", False):
            raise
        return Retried(run.id, run.state, NOT_TAKEN, error.reason)


def runs_to_retry(
    sweep: SweepInfo, runs: Sequence[RunInfo], named: Sequence[str], states: Collection[str]
) -> list[RunInfo]:
    """Choose the runs: those named, which must have ended badly, else all in one of the states."""
    if not named:
        return [run for run in runs if run.state in states]
    known = {run.id: run for run in runs}
    unknown = [run for run in named if run not in known]
    if unknown:
        some = ", ".join([run.id for run in runs if run.state in ENDED_BADLY][:_MOST_NAMED])
        raise SweepctlError(
            f"sweep {sweep.full_name} has no run {', '.join(unknown)}",
            f"those that have ended badly: {some}" if some else "none has ended badly",
        )
    chosen = [known[run] for run in dict.fromkeys(named)]
    refused = [f"run {run.id} is {run.state}" for run in chosen if run.state not in ENDED_BADLY]
    if refused:
        raise UsageError(
            "; ".join(refused), "only a run that has failed, crashed or was killed is given back"
        )
    return chosen


def _check_open(sweep: SweepInfo) -> None:
    """Refuse where opening the sweep again would hand out runs that nobody asked for."""
    name = sweep.full_name
    if sweep.state not in ENDED_SWEEPS:
        return
    if sweep.state != SweepState.FINISHED:
        raise SweepctlError(
            f"sweep {sweep.full_name} is {sweep.state}: it hands out no run any more"
        )
    expected = sweep.run_count_expected
    if expected is None or (sweep.run_count or 0) < expected:
        raise SweepctlError(
            f"sweep {name} was stopped with runs left, which would be handed out as well",
            f"if that is wanted: sweepctl resume {name}, then the same retry again",
        )


def _handed_back(
    api: WandbApi,
    sweep: SweepInfo,
    run: RunInfo,
    sleep: Callable[[float], None],
    now: Callable[[], float],
) -> Retried:
    """Hand a run back as its agent would have, and see what W&B makes of it."""
    _check_open(sweep)
    record = api.run_record(sweep.full_name, run.id)
    if record is not None:
        api.write_record(sweep, run.id, replace(record, retry_asked_at=now()))
    if sweep.state == SweepState.FINISHED:
        api.set_state(sweep, SweepState.RUNNING.value)
    api.hand_back(sweep, run)
    state = ""
    for _ in range(_LOOKS):
        found = api.run(sweep, run.id)
        state = found.state if found is not None else "gone"
        if state == RunState.PREEMPTED:
            return Retried(run.id, run.state, QUEUED)
        sleep(_LOOK_EVERY_S)
    why = f"W&B shows it as {state}, and queues only what it shows as preempted"
    command = record.argv if record is not None else ()
    return Retried(run.id, run.state, NOT_TAKEN, why, command)
