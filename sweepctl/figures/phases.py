"""What agents did with their time: attempts with their phases, and the waiting between them.

This is the one place that makes stretches of time out of what runs record, for pages, reports and
notebooks alike. Records are of several versions and may be wrong: what a record lacks is not
recorded, and no stretch begins before the one ahead of it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweepctl.figures.curves import kind_of
from sweepctl.figures.facts import RunFacts, SweepFacts, is_number, number
from sweepctl_pod.run_record import SILENCE, Attempt
from sweepctl_pod.wandb.states import HELD_RUNS

WAITING, STARTING, TRAINING, CLOSING = PHASES = ("waiting", "starting", "training", "closing")
_FINISHED = "finished"
_MOST_GPUS = 10_000
_MOST_S = 1e12
"""No time of a run is later, in seconds since 1970, and none lasts longer."""
_ENDS = {_FINISHED: "finished", "failed": "failed", "stopped": "other", "unknown": "other"}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of an agent's time: one of waiting, starting, training and closing."""

    agent: str
    phase: str
    began_s: float
    ended_s: float
    run: str = ""
    gpus: int = 1
    """How many GPUs it took."""

    @property
    def gpu_hours(self) -> float:
        """How much it took of them."""
        return max(self.ended_s - self.began_s, 0.0) / 3600 * self.gpus


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt with the run it is of, what became of it, and its phases."""

    run: RunFacts
    agent: str
    began_s: float
    ended_s: float
    kind: str
    """finished, failed, back, training (it is under way), other."""
    gpus: int | None = None
    """None where that is not recorded."""
    spans: tuple[Span, ...] = ()
    """Starting, training and closing, without a gap; empty where they are not recorded."""
    repeated: float = 0.0
    """Which part of its training was of iterations that an earlier attempt had completed."""

    @property
    def gpu_hours(self) -> float:
        """How much it took, where an agent without a GPU counts as one that has one."""
        return (self.ended_s - self.began_s) / 3600 * (self.gpus or 1)


def tries_of(facts: SweepFacts) -> list[Try]:
    """Give the attempts of all runs; a run that records none counts as one, where it can."""
    found = []
    for run in facts.runs:
        known = [each for each in run.attempts if _time(each.began_at) is not None]
        repeated = _repeated(known)
        for at, attempt in enumerate(known):
            is_last = at + 1 == len(known)
            later = None if is_last else known[at + 1].began_at
            ended = max(_end_of(attempt, later, run, facts), attempt.began_at)
            agent = attempt.host or run.agent
            gpus = _gpus(attempt.gpus, run)
            kind = _kind(attempt, run, is_last=is_last)
            spans = spans_of(attempt, ended, agent, run.label, gpus or 1)
            found.append(Try(run, agent, attempt.began_at, ended, kind, gpus, spans, repeated[at]))
        begun, lasted = _time(run.created_s), _lasted(run)
        if not known and begun is not None and lasted is not None:
            found.append(Try(run, run.agent, begun, begun + lasted, kind_of(run), _gpus(None, run)))
    return found


def spans_of(
    attempt: Attempt, ended_s: float, agent: str, run: str = "", gpus: int = 1
) -> tuple[Span, ...]:
    """Give the phases of an attempt from its beginning to `ended_s`; none where not recorded."""
    first, until = _time(attempt.trained_from), _time(attempt.trained_until)
    started = _time(attempt.started_at)
    if first is None and until is not None:
        first = started  # it does not count its iterations, so its training begins with it
    if first is None:
        tells_phases = started is not None or attempt.waited_from is not None
        never_trained = tells_phases and attempt.ended_at is not None
        if attempt.ended_by == _FINISHED or not (never_trained or attempt.first is not None):
            return ()
        first = until = ended_s  # it never came to train
    marks = [attempt.began_at, first, until if until is not None else ended_s, ended_s]
    for at in range(1, len(marks)):
        marks[at] = min(max(marks[at - 1], marks[at]), ended_s)
    stretches = zip((STARTING, TRAINING, CLOSING), marks, marks[1:], strict=False)
    return tuple(
        Span(agent, phase, began, ended, run, gpus)
        for phase, began, ended in stretches
        if ended > began
    )


def waits_of(facts: SweepFacts, tries: Iterable[Try]) -> list[Span]:
    """Give when agents waited: before each attempt, and after the last one of an agent.

    What comes after the last is known of the agents in `facts.heard_s` alone.
    """
    waits: list[Span] = []
    busy_until: dict[str, float] = {}
    for each in tries:
        if each.agent:
            busy_until[each.agent] = max(busy_until.get(each.agent, 0.0), each.ended_s)
    for run in facts.runs:
        for attempt in run.attempts:
            since, agent = _time(attempt.waited_from), attempt.host or run.agent
            begun = _time(attempt.began_at)
            if since is not None and begun is not None and since < begun:
                gpus = _gpus(attempt.gpus, run) or 1
                waits.append(Span(agent, WAITING, since, begun, gpus=gpus))
    for agent, ended in busy_until.items():
        heard = _time(facts.heard_s.get(agent))
        if heard is not None and heard > ended:
            gpus = max((each.gpus for each in waits if each.agent == agent), default=1)
            waits.append(Span(agent, WAITING, ended, heard, gpus=gpus))
    return waits


def _time(value: float | None) -> float | None:
    """Give a time of a record; None where it is none, or where nothing can be reckoned with it."""
    return number(value) if is_number(value) and 0 < number(value) < _MOST_S else None


def _gpus(told: int | None, run: RunFacts) -> int | None:
    known = (each for each in (told, run.gpus) if each is not None and 0 <= each <= _MOST_GPUS)
    return next(known, None)


def _lasted(run: RunFacts) -> float | None:
    is_some = is_number(run.duration_s) and number(run.duration_s) < _MOST_S
    return max(number(run.duration_s), 0.0) if is_some else None


def _kind(attempt: Attempt, run: RunFacts, *, is_last: bool) -> str:
    if attempt.ended_by:
        return _ENDS.get(attempt.ended_by, "back")
    if is_last:
        return "training" if run.state in HELD_RUNS else kind_of(run)
    return "back"


def _end_of(attempt: Attempt, later: float | None, run: RunFacts, facts: SweepFacts) -> float:
    """Give an attempt's end: where it told none the next one's beginning, now, or as long as the
    run lasted.
    """
    ended = _time(attempt.ended_at)
    if ended is not None:
        return ended
    if later is not None:
        return later
    now = _time(facts.now_s)
    if attempt.ended_by != SILENCE and run.state in HELD_RUNS and now is not None:
        return now
    told = [attempt.began_at + (_lasted(run) or 0.0), attempt.started_at, attempt.trained_from]
    return max((each for each in map(_time, told) if each is not None), default=attempt.began_at)


def _repeated(attempts: Sequence[Attempt]) -> list[float]:
    """Give which part of each attempt's iterations an earlier one had completed."""
    parts, reached = [], -1
    for attempt in attempts:
        part = 0.0
        if attempt.first is not None and attempt.last is not None:
            count = attempt.last - attempt.first + 1
            if count > 0:
                part = min(max(reached + 1 - attempt.first, 0) / count, 1.0)
            reached = max(reached, attempt.last)
        parts.append(part)
    return parts
