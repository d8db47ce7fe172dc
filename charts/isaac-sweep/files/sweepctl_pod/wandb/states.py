"""W&B's words for the states of runs and sweeps, and what each of them means.

Pure. Every part that asks whether a run or a sweep has ended asks here: the pod, the server, the
commands. A state that is none of these words counts as open: nothing is taken for over because
W&B has a new word for it.
"""

from __future__ import annotations

import enum


class _Word(str, enum.Enum):
    """A state that is equal to W&B's word for it, also when it is looked up in a set of words."""

    __hash__ = str.__hash__


class RunState(_Word):
    """W&B's states of a run."""

    PENDING = "pending"
    """An agent has it, and its trainer has not opened it yet."""
    RUNNING = "running"
    PREEMPTING = "preempting"
    """It still runs, and its agent has said that it will hand it back."""
    PREEMPTED = "preempted"
    """It was handed back, and waits for an agent."""
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    """W&B heard nothing of it any more."""
    KILLED = "killed"
    """A person or early termination ended it."""


class SweepState(_Word):
    """W&B's states of a sweep, as they can be asked for."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    """It hands out no new runs; those under way go on."""
    CANCELED = "CANCELED"
    """It hands out no new runs, and those under way are killed."""


TRAINING_RUNS: frozenset[str] = frozenset({RunState.RUNNING, RunState.PREEMPTING})
"""A trainer has opened the run, and it has not ended."""

HELD_RUNS: frozenset[str] = TRAINING_RUNS | {RunState.PENDING}
"""An agent has the run."""

OPEN_RUNS: frozenset[str] = HELD_RUNS | {RunState.PREEMPTED, "queued"}
"""The run is not over; `queued` is W&B Launch's word for one that waits."""

ENDED_WELL: frozenset[str] = frozenset({RunState.FINISHED})
"""The run is over, and its metric counts."""

ENDED_BADLY: frozenset[str] = frozenset({RunState.FAILED, RunState.CRASHED, RunState.KILLED})
"""The run is over, and gave no result."""

ENDED_SWEEPS: frozenset[str] = frozenset(
    {SweepState.FINISHED, SweepState.CANCELED, "CANCELLED", "CRASHED", "FAILED"}
)
"""The sweep hands out no run any more. Some servers write CANCELLED; the last two are theirs."""


RUN_OF_NOBODY = "sweepctl-agent-is-leaving"
"""No run's name: a leaving agent's last heartbeat names it. By that any server lets its runs go and
gives it no other, as it does for a heartbeat without a run; the embedded one takes it for ended."""


def is_open_sweep(state: str) -> bool:
    """Tell whether a sweep in this state hands out runs, now or when it is resumed."""
    return state.upper() not in ENDED_SWEEPS
