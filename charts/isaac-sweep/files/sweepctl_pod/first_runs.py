"""Whether an agent should give up: its first runs all failed at once, and none has succeeded.

Pure. An agent that cannot train anything (a wrong trainer, a missing package) would otherwise fail
every run of its sweep in a minute. The runs of earlier pods of the same index count as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sweepctl_pod.log_lines import GAVE_UP
from sweepctl_pod.run.verdict import Ending
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.wandb.client import RunInfo
from sweepctl_pod.wandb.states import RunState

DEFAULT_LIMIT = 3
QUICK_S = 60.0
"""A run that lasted longer has shown that its trainer starts. Both as in the stock agent."""


class FirstRuns:
    """The first runs of an agent, as far as they show whether it can train at all."""

    def __init__(self, limit: int) -> None:
        """Give up after `limit` runs; 0 never does."""
        self._limit = limit
        self._failed = 0
        self._is_proven = limit == 0

    @property
    def is_in_doubt(self) -> bool:
        """Whether runs have failed at once and none has shown that this agent can train."""
        return self._failed > 0 and not self._is_proven

    @property
    def is_hopeless(self) -> bool:
        """Whether it is time to give up."""
        return self.is_in_doubt and self._failed >= self._limit

    def note(self, ending: Ending, lasted_s: float) -> None:
        """Note a run that has ended; one that was soon stopped or handed back shows nothing."""
        if ending is Ending.FINISHED or lasted_s > QUICK_S:
            self._is_proven = True
        elif ending is Ending.FAILED:
            self._failed += 1

    def note_earlier(self, runs: Iterable[RunInfo]) -> None:
        """Note the runs of an earlier process, as the API has them."""
        for run in runs:
            ending = _ENDINGS.get(run.state)
            if ending is not None and not self._is_proven:
                self.note(ending, _lasted_s(run))

    def reason(self, last: str) -> str:
        """Say why this agent gives up; `last` is the reason of the last run."""
        within = f"failed within {QUICK_S:g} s of"
        if self._failed == 1:
            return f"{GAVE_UP} a run that {within} its start: {last}"
        return f"{GAVE_UP} {self._failed} runs that all {within} their start; the last: {last}"


def limit_of(text: str) -> int:
    """Read the number of failed runs after which to give up; `off` is 0. ValueError otherwise."""
    limit = 0 if text.strip().lower() == "off" else int(text)
    if limit < 0:
        raise ValueError(f"{limit} is less than 0")
    return limit


def default_limit(environ: Mapping[str, str]) -> str:
    """Give the limit where nobody sets one: that of the stock agent's own variables."""
    if environ.get("WANDB_AGENT_DISABLE_FLAPPING", "").lower() == "true":
        return "off"
    return environ.get("WANDB_AGENT_MAX_INITIAL_FAILURES") or str(DEFAULT_LIMIT)


_ENDINGS: dict[str, Ending] = {
    RunState.FINISHED: Ending.FINISHED,
    RunState.FAILED: Ending.FAILED,
    RunState.KILLED: Ending.STOPPED,
    RunState.CRASHED: Ending.HANDED_BACK,
}


def _lasted_s(run: RunInfo) -> float:
    """Give the time from a run's start to its last sign of life; 0 where there was none."""
    begun, heard = read_time(run.created_at), read_time(run.heartbeat_at)
    return (heard - begun).total_seconds() if begun and heard else 0.0
