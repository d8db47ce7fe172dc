"""Disrupting a sweep on purpose: hit an agent that trains, watch its run until it goes on, again.

Where the agents are is a `Scene`: a Job in a cluster, or this machine. Nothing is printed here but
what happens, by `say`; what it cost is the answer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sweepctl.sweeps.disruption import (
    Disruption,
    Kind,
    Look,
    Outcome,
    Target,
    choose,
    late,
    seen,
    with_cost,
)
from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.run_record import RunRecord

LOOK_EVERY_S = 1.0
REFUSED_EVERY_S = 5.0
"""How soon a disruption is tried again that a budget has refused, as `kubectl drain` does."""


class NoTargetError(SweepctlError):
    """There is nothing to disrupt, and there will not be."""


class NotNowError(SweepctlError):
    """A disruption is not allowed at the moment."""


class Scene(Protocol):
    """Where the agents of one sweep are."""

    def check(self, kind: Kind) -> None:
        """Refuse a kind of disruption that there is not here."""

    def targets(self) -> Sequence[Target]:
        """Give the agents that train a run now; a NoTargetError when none will any more."""

    def strike(self, kind: Kind, target: Target, *, is_dry: bool) -> bool:
        """Disrupt one; False when it is gone already, a NotNowError when that is not allowed."""

    def look(self, disruption: Disruption) -> Look:
        """See how a run does that was hit."""

    def record(self, run: str) -> RunRecord | None:
        """Give a run's record, if there is one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: how often, how far apart, and for how long each run is watched."""

    kind: Kind
    count: int
    every_s: float | None
    """From one to the next; None: as soon as the last one's run has gone on."""
    limit_s: float


@dataclass(frozen=True, slots=True)
class Disrupted:
    """What was done, and why that is less than was planned."""

    disruptions: tuple[Disruption, ...]
    problem: str | None = None
    is_interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """Give what a command exits with that did it."""
        if self.is_interrupted:
            return ExitCode.INTERRUPTED
        outcomes = {disruption.outcome for disruption in self.disruptions}
        if self.problem is not None or Outcome.LATE in outcomes:
            return ExitCode.FAILED
        return ExitCode.FAILED_RUNS if Outcome.FAILED in outcomes else ExitCode.DONE


def rehearse(scene: Scene, plan: Plan, rng: random.Random, *, is_asked: bool) -> list[Target]:
    """Give what a plan would hit if all of it came now; `is_asked`: the API is asked as well."""
    scene.check(plan.kind)
    chosen = choose(scene.targets(), plan.count, rng)
    if not chosen:
        raise NoTargetError("no agent trains a run now")
    for target in chosen if is_asked else ():
        scene.strike(plan.kind, target, is_dry=True)
    return chosen


def disrupt(
    scene: Scene,
    plan: Plan,
    rng: random.Random,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> Disrupted:
    """Carry a plan out. Ctrl-C ends it, and what was done until then is the answer."""
    scene.check(plan.kind)
    work = _Work(scene, plan, rng, say, now)
    problem, is_interrupted = None, False
    try:
        while not work.is_done:
            work.step()
            if not work.is_done:
                sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        is_interrupted = True
    except SweepctlError as error:
        problem = error.reason
    return Disrupted(tuple(work.counted()), problem, is_interrupted)


class _Work:
    """A plan under way."""

    def __init__(
        self,
        scene: Scene,
        plan: Plan,
        rng: random.Random,
        say: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._scene = scene
        self._plan = plan
        self._rng = rng
        self._say = say
        self._now = now
        self._all: list[Disruption] = []
        self._due_at = self._waits_since = now()
        self._told = ""

    @property
    def is_done(self) -> bool:
        return len(self._all) >= self._plan.count and not self._open

    @property
    def _open(self) -> list[Disruption]:
        return [disruption for disruption in self._all if not disruption.is_over]

    def step(self) -> None:
        """Look at the runs that were hit, and hit the next one when its time has come."""
        for place, disruption in enumerate(self._all):
            if not disruption.is_over:
                self._all[place] = self._watched(disruption)
        is_next = len(self._all) < self._plan.count and self._now() >= self._due_at
        if is_next and (self._plan.every_s is not None or not self._open):
            self._strike()

    def counted(self) -> list[Disruption]:
        """Give all of them with what they cost; a run's record is read once."""
        records: dict[str, RunRecord | None] = {}
        for disruption in self._all:
            run = disruption.target.run
            if run not in records:
                records[run] = self._record(run)
        return [with_cost(each, records[each.target.run]) for each in self._all]

    def _strike(self) -> None:
        busy = {disruption.target.run for disruption in self._open}
        chosen = choose(self._scene.targets(), 1, self._rng, busy)
        if not chosen:
            return self._wait("no agent trains a run now; waiting for one")
        (target,) = chosen
        record = self._record(target.run)
        at = self._now()
        try:
            is_hit = self._scene.strike(self._plan.kind, target, is_dry=False)
        except NotNowError as error:
            self._due_at = at + REFUSED_EVERY_S
            return self._wait(f"{error.reason}; trying again …")
        if not is_hit:
            return None
        self._told, self._waits_since = "", at
        self._due_at = at + (self._plan.every_s or 0.0)
        number = len(self._all) + 1
        attempt = record.attempt if record else None
        self._all.append(Disruption(number, self._plan.kind, target, at, attempt))
        count = f"{number} of {self._plan.count}"
        self._say(f"{count}: {self._plan.kind.value} {target.place}, which trains run {target.run}")
        return None

    def _wait(self, why: str) -> None:
        """Say once why the next one has to wait; not for ever."""
        if self._open:
            self._waits_since = self._now()
        elif self._now() - self._waits_since >= self._plan.limit_s:
            raise NoTargetError(why.partition(";")[0])
        if why != self._told:
            self._told = why
            self._say(why)

    def _watched(self, disruption: Disruption) -> Disruption:
        now = self._now()
        try:
            look = self._scene.look(disruption)
        except SweepctlError as error:
            if not getattr(error, "is_transient", False):
                raise
            return late(disruption, now, self._plan.limit_s)
        after = late(seen(disruption, look, now), now, self._plan.limit_s)
        if after.is_over:
            self._waits_since = now
            where = f" at {after.went_to}" if after.went_to else ""
            after_s = f"after {after.took_s or 0:.0f} s"
            self._say(f"run {after.target.run}: {after.outcome.value} {after_s}{where}")
        return after

    def _record(self, run: str) -> RunRecord | None:
        try:
            return self._scene.record(run)
        except SweepctlError:
            return None
