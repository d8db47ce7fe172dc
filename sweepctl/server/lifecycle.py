"""What an event makes of a run, and the states of agents. Pure: it decides only.

A run is held by an agent from the moment it is handed out until the agent's heartbeat leaves it
out (or the agent falls silent). Only then may it be handed out again, so no run trains twice at
once. The states of runs and sweeps are W&B's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sweepctl_pod.errors import SIGTERM_CODE
from sweepctl_pod.wandb.states import HELD_RUNS, RunState


class AgentState(str, enum.Enum):
    """The states of an agent, as far as the server knows."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    CRASHED = "CRASHED"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the server waits for a silent agent or run, and how often it tries a run."""

    agent_timeout_s: float = 60.0
    """Seconds of silence after which the runs of an agent go to others."""
    run_timeout_s: float = 300.0
    """Seconds of silence after which a run that no agent holds has crashed."""
    attempts: int = 3
    """How many attempts in a row may be lost, none coming further, before the run fails."""
    false_starts: int = 10
    """How often in a row a run may be lost before its trainer begins it, before the run fails."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the server knows about the newest attempt of a run when something happens to it."""

    state: RunState
    number: int
    losses: int
    is_started: bool
    is_preempting: bool
    is_stop_asked: bool
    exit_code: int | None
    false_starts: int = 0
    """How often in a row, up to the attempt before, it was lost before its trainer began it."""
    has_come_on: bool = False
    """Whether the run has a step that no attempt had reached that was lost."""


@dataclass(frozen=True, slots=True)
class Release:
    """What becomes of a run that its agent no longer has."""

    state: RunState
    is_queued: bool
    losses: int
    false_starts: int = 0


def state_after_exit(attempt: Attempt, exit_code: int) -> RunState:
    """Give the state of a run after its exit record.

    As at W&B, a run that was marked preempting and ends badly is preempted.
    """
    if exit_code == 0:
        return RunState.FINISHED
    if attempt.is_stop_asked:
        return RunState.KILLED
    return RunState.PREEMPTED if attempt.is_preempting else RunState.FAILED


def release(
    attempt: Attempt,
    limits: Limits,
    *,
    is_canceled: bool,
    was_delivered: bool = False,
    is_unjudged: bool = False,
) -> Release:
    """Decide what becomes of a run that its agent released, or that was lost with its agent.

    An orderly hand-back (marked preempting, and ended by SIGTERM or without an exit record) may
    happen any number of times; every other unfinished end counts against the attempts, and one that
    came further than all before makes good for them: a run that goes on from its checkpoints comes
    to its end, however often its node dies. An attempt that was lost before its trainer began the
    run counts for itself, and only those in a row do, unless the run `was_delivered`: then its
    trainer failed earlier, and so has the run. `is_unjudged`: its agent fell silent before it
    said what to make of the trainer's end, which W&B's client calls failed whatever the reason: a
    trainer that was told to leave may do so sooner than the mark of that arrives.
    """
    is_lost = attempt.state == RunState.FAILED and is_unjudged
    if attempt.state not in HELD_RUNS and attempt.state != RunState.PREEMPTED and not is_lost:
        return Release(attempt.state, False, attempt.losses)
    if is_canceled or attempt.is_stop_asked:
        return Release(RunState.KILLED, False, attempt.losses)
    if attempt.state == RunState.PENDING and not attempt.is_started:
        false_starts = attempt.false_starts + 1
        if was_delivered or false_starts >= limits.false_starts:
            return Release(RunState.FAILED, False, attempt.losses, false_starts)
        return Release(RunState.PENDING, True, attempt.losses, false_starts)
    is_orderly = attempt.is_preempting and attempt.exit_code in (None, SIGTERM_CODE)
    losses = (0 if attempt.has_come_on else attempt.losses) + (0 if is_orderly else 1)
    if losses >= limits.attempts:
        return Release(RunState.FAILED, False, losses)
    return Release(RunState.PREEMPTED if attempt.is_preempting else RunState.CRASHED, True, losses)


def is_stale(attempt: Attempt, number: int | None) -> bool:
    """Say whether a record belongs to an earlier attempt of the run than its newest.

    sweepctl's agent makes every client of its run send the number of the attempt. Without a number
    nobody can tell, except in one case: a run that was handed out again and whose trainer has not
    started yet cannot have sent anything.
    """
    if number is not None:
        return number != attempt.number
    return attempt.state == RunState.PENDING and attempt.number > 1
