"""Who may train a run that W&B itself gives back to nobody: claims in its record. Pure.

W&B gives back only the runs that were marked before their agents died. What died without a word is
taken up by another agent, on a file that every agent reads and writes whole, without a lock:

- who takes a run up adds a claim with a higher fence than all before, waits, and reads again;
- of all claims of the newest fence the one of the lowest agent wins, and the others leave the run;
- a write may undo another one made at the same moment: who misses its claim adds it again;
- who trains looks again now and then, and leaves the run when it finds a better claim.

A better claim stays better, so the best of all that were ever made is the one that remains.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweepctl_pod.run_record import Claim, RunRecord
from sweepctl_pod.wandb.states import RunState, SweepState

MAX_LOSSES = 3
"""After how many attempts that were lost, none of which came further, a run is left alone."""

_AT_ONCE: frozenset[str] = frozenset(
    {RunState.RUNNING, RunState.PENDING, RunState.CRASHED, RunState.FAILED}
)
"""States of a run that its agent has not handed back."""
ADOPTABLE: frozenset[str] = _AT_ONCE | {RunState.PREEMPTING, RunState.PREEMPTED}
"""States of a run that may have to be taken up; a failed one where no agent has judged it."""


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """How often claims are looked at; all follow from how long a run may be silent."""

    adopt_after_s: float = 600.0
    """How long a run must be silent until an agent of another host takes it up."""

    @property
    def look_every_s(self) -> float:
        """How often who trains a run looks at its claim, and who is idle at the others' runs."""
        return min(60.0, self.adopt_after_s / 10)

    @property
    def lively_s(self) -> float:
        """How long a run may be silent until who would end waits to see what becomes of it."""
        return self.adopt_after_s / 5

    @property
    def wait_s(self) -> float:
        """How long who has made a claim waits before each look at it."""
        return min(5.0, self.adopt_after_s / 20)

    @property
    def renew_after_s(self) -> float:
        """How old a claim may become: also a run whose trainer sends nothing yet is not silent."""
        return self.adopt_after_s / 2


class Standing(enum.Enum):
    """What a claim is worth, as its agent has just read the record."""

    BEST = enum.auto()
    MISSING = enum.auto()
    """Somebody else's write has undone it; no better one is there."""
    LOST = enum.auto()
    """Another agent has a better one."""


def standing(claims: Iterable[Claim], own: Claim) -> Standing:
    """Say what a claim is worth among those of the record."""
    known = tuple(claims)
    if any(_rank(claim) < _rank(own) for claim in known if claim.agent != own.agent):
        return Standing.LOST
    has_own = any(_rank(claim) == _rank(own) for claim in known)
    return Standing.BEST if has_own else Standing.MISSING


def with_claim(claims: Iterable[Claim], own: Claim) -> tuple[Claim, ...]:
    """Add a claim, or renew it; claims of older fences are left out."""
    others = [claim for claim in claims if claim.agent != own.agent]
    newest = max((claim.fence for claim in [*others, own]), default=own.fence)
    return tuple(sorted((c for c in [*others, own] if c.fence == newest or c == own), key=_rank))


def new_claim(claims: Iterable[Claim], agent: str, now: float, release: str = "") -> Claim:
    """Make a claim that is better than all there are."""
    return Claim(agent, max((claim.fence for claim in claims), default=0) + 1, now, release)


def release_of(environ: Mapping[str, str], machine: str) -> str:
    """Say whose agent this is: a release's in its namespace; outside of one this machine's.

    A sweep may have other agents: on a person's own machine, or in another cluster. Their runs are
    theirs to take up, with their code and their files.
    """
    namespace, name = environ.get("SWEEPCTL_NAMESPACE"), environ.get("SWEEPCTL_NAME")
    return f"{namespace}/{name}" if namespace and name else machine


def best_claim(claims: Iterable[Claim]) -> Claim | None:
    """Give the best of the claims; None when there is none."""
    return min(claims, key=_rank, default=None)


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A run as W&B has it, for the question whether its agent is gone."""

    state: str
    heard_at: float
    """When its trainer last sent something, in seconds since 1970."""
    record: RunRecord | None


def adoptable_after_s(
    run: Abandoned,
    agent: str,
    now: float,
    after_s: float,
    *,
    replaces_host: bool,
    release: str = "",
) -> float | None:
    """Give the seconds after which an agent may take up a run, 0: now; None: it may not at all.

    A run without a claim was never one of ours, and one of another release is left to its agents.
    `replaces_host`: no other agent of the same host
    is alive, as in a Job, where a pod begins when the one before it of the same index is gone. What
    was marked for W&B is W&B's to give back, so that is left to it as long as for any other agent.
    """
    record = run.record
    if run.state not in ADOPTABLE or record is None or not record.claims:
        return None
    if run.state == RunState.FAILED and not _is_unjudged(record):
        return None
    # How far a silent attempt came that counts iterations is asked of W&B when the next begins.
    unknown = [each for each in record.silent(record.next_number) if each.first is None]
    if record.losses + len(unknown) >= MAX_LOSSES:
        return None
    others = [claim for claim in record.claims if claim.agent != agent]
    best = best_claim(record.claims)
    if best is None or best not in others:
        return 0.0  # this agent has claimed it before, and came to no end with that
    if best.release not in ("", release):
        return None
    if replaces_host and run.state in _AT_ONCE and _host(best.agent) == _host(agent):
        return 0.0
    # A claim far in the future was written by a clock that was wrong: it would keep all away for
    # as long. Below that it may be a clock that goes a little ahead of this one.
    believed = [claim.at for claim in others if claim.at <= now + after_s]
    heard_at = max([run.heard_at, *believed])
    return max(0.0, heard_at + after_s - now)


def _is_unjudged(record: RunRecord) -> bool:
    """Say whether the agent of a run's newest attempt has not written how it ended.

    W&B's client calls every run failed whose trainer ends badly, also one that was told to leave
    sooner than the mark `preempting` arrived. Only the agent knows, and it may be killed before it
    says so.
    """
    return bool(record.attempts) and not record.attempts[-1].ended_by


def takes_up_runs(sweep_state: str) -> bool:
    """Say whether the runs of a sweep in this state are to go on: a paused one waits."""
    return sweep_state.upper() not in (SweepState.CANCELED, "CANCELLED", SweepState.PAUSED)


def agent_name(host: str, token: str) -> str:
    """Name an agent's process, so that none after it on the same host has the same name."""
    return f"{host}/{token[:8]}"


def _host(agent: str) -> str:
    return agent.rpartition("/")[0]


def _rank(claim: Claim) -> tuple[int, str]:
    return -claim.fence, claim.agent
