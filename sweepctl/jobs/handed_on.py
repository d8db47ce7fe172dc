"""Whose run goes on elsewhere: what became of the runs of indexes that failed for good. Pure.

An index of the Job that has failed has no agent any more. Its run is not lost: the records of the
runs tell who has taken it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweepctl.jobs.agents import IndexState, JobStatus
from sweepctl.sweeps.status import RunRow
from sweepctl_pod.wandb.states import ENDED_WELL, HELD_RUNS, OPEN_RUNS, RunState


@dataclass(frozen=True, slots=True)
class HandedOn:
    """The last run of an index that failed, and where it is now."""

    index: int
    run: str
    state: str
    agent: str | None
    """Who has taken it up: the number of an agent of this Job, else a name; None: nobody yet."""

    def text(self) -> str:
        """Say it in one line."""
        where = f" at agent {self.agent}" if self.agent is not None else ""
        if self.state in HELD_RUNS and where:
            what = f"goes on{where}"
        elif self.state in ENDED_WELL:
            what = f"was finished{where}"
        elif self.state in OPEN_RUNS or self.state == RunState.CRASHED:
            what = "waits for another agent"
        else:
            what = f"is {self.state}{where}"
        return f"index {self.index} failed; its run {self.run} {what}"


def handed_on(job: JobStatus, runs: Sequence[RunRow]) -> list[HandedOn]:
    """Give the last run of each index that failed, as far as the runs' records tell."""
    found = []
    for agent in job.agents:
        if agent.state is not IndexState.FAILED:
            continue
        own = [
            (attempt.began_at, row)
            for row in runs
            for attempt in (row.record.attempts if row.record else ())
            if attempt.host == agent.name
        ]
        if own:
            _, row = max(own, key=lambda pair: pair[0])
            found.append(HandedOn(agent.index, row.id, row.state, _now_at(job, agent.name, row)))
    return found


def _now_at(job: JobStatus, name: str, row: RunRow) -> str | None:
    """Say who has had a run last, if that is not the agent of this name."""
    host = row.record.attempts[-1].host if row.record else name
    if host == name:
        return None
    index = host.removeprefix(f"{job.job}-")
    return index if index.isdecimal() else host
