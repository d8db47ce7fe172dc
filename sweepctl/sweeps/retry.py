"""Giving runs back that have ended badly: the same run, by its id, with the same parameters.

The embedded server has an operation for it. W&B has none; its own way to hand a run on is that the
run is marked `preempting` and then ends with another code than 0
(https://docs.wandb.ai/guides/runs/resuming, "preemptible sweeps"). So the run is opened once more
and handed back like that. What W&B made of it is read afterwards, never assumed: where it is in no
queue it is left open and silent, which the sweep's agents take up as any run that was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from sweepctl.server.server_process import ENTITY
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl_pod.claims import ClaimTimes
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.run_record import RunRecord
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
OPENED = "opened"
"""It is in no queue; an agent takes it up when it has been silent long enough."""
NOT_TAKEN = "not queued"
"""The server left it as it was."""

_ADOPTED_AFTER_S = ClaimTimes().adopt_after_s
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
    """Why it was not queued, or what else is in its way, as the server says it."""
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
    notes = []
    if sweep.state == SweepState.PAUSED:
        notes.append(f"the sweep is paused: sweepctl resume {sweep.full_name}")
    if any(each.result == OPENED for each in done):
        minutes = _ADOPTED_AFTER_S / 60
        who = f"an agent that is there in {minutes:.0f} min takes it up"
        notes.append(f"W&B queued none that is opened: {who}")
    notes += [each.why for each in done if each.why and each.result != NOT_TAKEN]
    return Retry(sweep.full_name, tuple(done), tuple(dict.fromkeys(notes)))


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
        _check_left(record, now())
        api.write_record(sweep, run.id, replace(record, retry_asked_at=now()))
    api.open_run(run)
    api.hand_back(sweep, run)
    result, command = NOT_TAKEN, record.argv if record is not None else ()
    state = _state_after(api, sweep, run, {RunState.PREEMPTED}, sleep)
    if state == RunState.PREEMPTED:
        result = QUEUED
    elif record is not None and record.claims:  # agents take up no other run
        api.open_run(run)
        if _state_after(api, sweep, run, _SILENT, sleep) in _SILENT:
            result = OPENED
    if result == NOT_TAKEN:
        why = f"W&B shows it as {state}, and queues only what it shows as preempted"
        return Retried(run.id, run.state, result, why, command)
    return Retried(run.id, run.state, result, _opened(api, sweep))


def _opened(api: WandbApi, sweep: SweepInfo) -> str | None:
    """Have a finished sweep hand out runs again; give what W&B has against it."""
    if sweep.state != SweepState.FINISHED:
        return None
    try:
        api.set_state(sweep, SweepState.RUNNING.value)
    except SweepctlError as error:
        return f"sweep {sweep.full_name} stays {sweep.state}: {error.message}"
    return None


_SILENT = frozenset({RunState.RUNNING, RunState.CRASHED})
"""The states of a run that nobody trains, until an agent takes it up."""


def _state_after(
    api: WandbApi,
    sweep: SweepInfo,
    run: RunInfo,
    wanted: Collection[str],
    sleep: Callable[[float], None],
) -> str:
    """Give the state that W&B shows, which may take a while to become one of those wanted."""
    state = "gone"
    for look in range(_LOOKS):
        if look:
            sleep(_LOOK_EVERY_S)
        found = api.run(sweep, run.id)
        state = found.state if found is not None else "gone"
        if state in wanted:
            break
    return state


def _check_left(record: RunRecord, now: float) -> None:
    """Refuse a run that may still be trained: W&B shows one as crashed that is only cut off."""
    is_open = bool(record.attempts) and not record.attempts[-1].ended_by
    claimed_at = max((claim.at for claim in record.claims), default=0.0)
    if is_open and now - claimed_at < _ADOPTED_AFTER_S:
        raise SweepctlError(
            f"agent {record.host} has renewed its claim {now - claimed_at:.0f} s ago: it may still"
            " train it"
        )
