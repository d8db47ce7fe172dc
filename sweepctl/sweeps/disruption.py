"""One disruption of a run: whom it may hit, when the run goes on, and what it cost. Pure.

A disruption takes the pod of an agent, or only the trainer in it, away from a run that it trains.
It is over when the run trains again, wherever that is, or has ended.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.states import ENDED_BADLY, ENDED_WELL, TRAINING_RUNS, RunState


class Kind(str, enum.Enum):
    """What takes the pod away."""

    EVICT = "evict"
    """The eviction API, as `kubectl drain` asks it; PodDisruptionBudgets count."""
    DELETE = "delete"
    """A deletion with the pod's own grace: SIGTERM, then SIGKILL."""
    FORCE = "force"
    """A deletion without any grace."""
    CRASH = "crash"
    """SIGKILL to the trainer's processes; the pod and its agent stay."""


class Outcome(str, enum.Enum):
    """What became of the run that was hit."""

    UNDER_WAY = "waiting"
    AGAIN = "trains again"
    FINISHED = "finished"
    FAILED = "failed"
    LATE = "not in time"
    """It did not train again for as long as somebody watched."""


@dataclass(frozen=True, slots=True)
class Target:
    """An agent that trains a run now, with its pod."""

    agent: str
    """The agent's name, which is the host of its runs: `<job>-<index>` in a Job."""
    run: str
    index: int | None = None
    pod: str | None = None
    uid: str | None = None
    """Tells the pod from one that comes in its place."""
    node: str | None = None

    @property
    def place(self) -> str:
        """Name what is hit."""
        return f"pod {self.pod}" if self.pod else f"agent {self.agent}"

    @property
    def object(self) -> str:
        """Name it as kubectl does."""
        return f"pod/{self.pod}" if self.pod else f"agent/{self.agent}"


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of a run that was hit, at one moment."""

    state: str
    agent: str | None
    step: int | None
    has_pod: bool
    """Whether the pod that was hit still lives."""
    attempt: int | None = None
    """The number of the run's newest attempt, where its record tells."""


@dataclass(frozen=True, slots=True)
class Disruption:
    """One disruption, from its blow to the run's next iteration."""

    number: int
    kind: Kind
    target: Target
    began_at: float
    """Seconds since 1970, as are all times here."""
    attempt: int | None = None
    """The attempt that it ended, where the run's record tells."""
    has_landed: bool = False
    """Whether the pod is gone, or the trainer's processes are."""
    was_let_go: bool = False
    """Whether the run was seen without a trainer since."""
    step: int | None = None
    """The last step that the run had logged when the blow had landed."""
    outcome: Outcome = Outcome.UNDER_WAY
    took_s: float | None = None
    """How long it took until the run trained again, or had ended."""
    went_to: str | None = None
    """The agent that trains the run now."""
    repeated: int | None = None
    """Iterations that were trained a second time; None when that is not known."""
    attempts: int | None = None
    """How many attempts the run has had, where its record tells."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to watch."""
        return self.outcome is not Outcome.UNDER_WAY


def choose(
    found: Sequence[Target], count: int, rng: random.Random, busy: Collection[str] = ()
) -> list[Target]:
    """Draw that many of the targets whose run is not `busy`, or all, each as likely as another."""
    free = [target for target in found if target.run not in busy]
    return rng.sample(free, min(count, len(free)))


def seen(disruption: Disruption, look: Look, now: float) -> Disruption:
    """Give a disruption after another look at its run.

    That a run is `running` proves nothing right after a kill: W&B hears of that late. It trains
    again when it logs another step than at the blow, and somebody else has it, or has it anew.
    """
    if look.state in ENDED_WELL or look.state in ENDED_BADLY - {RunState.CRASHED}:
        outcome = Outcome.FINISHED if look.state in ENDED_WELL else Outcome.FAILED
        return replace(disruption, outcome=outcome, took_s=now - disruption.began_at)
    if not disruption.has_landed:
        if look.has_pod and disruption.kind is not Kind.CRASH:
            return disruption
        disruption = replace(disruption, has_landed=True, step=look.step)
    if look.state not in TRAINING_RUNS:
        return replace(disruption, was_let_go=True)
    if look.step is not None and look.step == disruption.step:
        return disruption
    if look.state != RunState.RUNNING or not _is_anew(disruption, look):
        return disruption
    return replace(
        disruption,
        outcome=Outcome.AGAIN,
        took_s=now - disruption.began_at,
        went_to=look.agent,
    )


def _is_anew(disruption: Disruption, look: Look) -> bool:
    """Say whether it is another attempt that logs."""
    if disruption.was_let_go or look.agent not in (None, disruption.target.agent):
        return True
    if disruption.attempt is None:
        return look.step is not None  # no record will tell
    return look.attempt is not None and look.attempt > disruption.attempt


def late(disruption: Disruption, now: float, limit_s: float) -> Disruption:
    """Give a disruption up that nobody wants to watch any longer."""
    if disruption.is_over or now - disruption.began_at < limit_s:
        return disruption
    return replace(disruption, outcome=Outcome.LATE, took_s=now - disruption.began_at)


def with_cost(disruption: Disruption, record: RunRecord | None) -> Disruption:
    """Add what the run's record tells: its attempts, and what was trained a second time."""
    if record is None:
        return disruption
    repeated = repeated_after(record, disruption.attempt)
    attempts = len(record.attempts) or record.attempt
    return replace(disruption, repeated=repeated, attempts=attempts)


def repeated_after(record: RunRecord, ended: int | None) -> int | None:
    """Count what the attempt after attempt `ended` trained again; None when that is not known."""
    if ended is None:
        return None
    told = [each for each in record.attempts if each.first is not None]
    before = [each for each in told if each.number <= ended]
    after = next((each for each in told if each.number > ended), None)
    if after is None or after.first is None or not before or before[-1].last is None:
        return None
    reached = max(each.last for each in before if each.last is not None)
    return max(0, reached + 1 - after.first)
