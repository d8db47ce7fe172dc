"""Takes up the runs that an agent lost without a word and that W&B gives back to nobody.

`claims` decides; here is what it costs to know: one listing of the sweep's open and failed runs,
and the record of each that is silent or has failed, a few at a look. A replaced pod looks once, for
what the pod before it had; an agent looks when it would otherwise be idle or end, once a minute,
and more rarely while there is nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from sweepctl_pod import log_lines
from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.claims import (
    ADOPTABLE,
    Abandoned,
    ClaimTimes,
    Standing,
    adoptable_after_s,
    new_claim,
    standing,
    takes_up_runs,
    with_claim,
)
from sweepctl_pod.run_record import RECORD_FILE, Claim, RunRecord, read_record
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.waiting import Retrying
from sweepctl_pod.wandb.client import ApiError, RunInfo, WandbClient
from sweepctl_pod.wandb.outputs import file_text, upload_file
from sweepctl_pod.wandb.states import RunState

T = TypeVar("T")

_LOOKS_TO_WIN = 2
"""How often a claim must be found the best, a wait apart, until its agent trains."""
_MAX_TRIES = 8
_MAX_RECORDS = 8
"""How many records one look reads at most: W&B takes about 200 requests a minute."""
_LONGEST_PAUSE = 5
"""How many times the usual pause lies between two looks where nothing is open."""


@dataclass(frozen=True, slots=True)
class _Found:
    run: RunInfo
    record: RunRecord


class Adopter:
    """Finds and takes up runs for one agent, on the main thread; a signal ends its waits."""

    def __init__(
        self,
        client: WandbClient,
        retrying: Retrying,
        agent: str,
        host: str,
        times: ClaimTimes,
        say: Callable[[str], None],
        *,
        replaces_host: bool,
        release: str,
    ) -> None:
        """Take the name of this agent's process; `replaces_host` and `release` as in `claims`."""
        self._client = client
        self._retrying = retrying
        self._agent = agent
        self._host = host
        self._times = times
        self._say = say
        self._replaces_host = replaces_host
        self._release = release
        self._idle_since: float | None = None
        self._next_look = 0.0
        self._pauses = 1
        self._has_looked = False
        self._is_expecting = False
        """Whether a run is silent that may turn out to be abandoned."""
        self._judged: set[tuple[str, str | None]] = set()
        """Failed runs that are left alone, with when they were last heard of: until they are heard
        of again their records need no second look."""

    def of_earlier_pod(self, sweep: AssignedSweep) -> AssignedRun | None:
        """Take up what the pod before this one, of the same index, has left; None where nothing."""
        if not self._replaces_host:
            return None
        return self._ask(lambda: self._adopt(sweep, at_start=True))

    def while_idle(self, sweep: AssignedSweep) -> AssignedRun | None:
        """Take up a run for an agent that has none, when a look is due."""
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
            self._next_look = now + self._times.look_every_s
        if now < self._next_look:
            return None
        return self._look(sweep)

    def before_end(self, sweep: AssignedSweep) -> tuple[AssignedRun | None, bool]:
        """Take up a run for an agent that W&B needs no more; say whether it is to wait for one.

        It waits while a run of the sweep is silent that may turn out to be abandoned.
        """
        if not self._has_looked or time.monotonic() >= self._next_look:
            run = self._look(sweep)
            return run, run is None and self._is_expecting
        return None, self._is_expecting

    def busy(self) -> None:
        """Note that this agent has a run."""
        self._idle_since, self._next_look, self._pauses = None, 0.0, 1
        self._has_looked = False

    def _look(self, sweep: AssignedSweep) -> AssignedRun | None:
        self._has_looked = True
        run = self._ask(lambda: self._adopt(sweep, at_start=False))
        self._pauses = 1 if self._is_expecting else min(2 * self._pauses, _LONGEST_PAUSE)
        self._next_look = time.monotonic() + self._pauses * self._times.look_every_s
        return run

    def _ask(self, work: Callable[[], AssignedRun | None]) -> AssignedRun | None:
        """Do what needs W&B's answers; without one there is nothing to take up now."""
        try:
            return work()
        except ApiError as error:
            self._retrying.note_failure(error)
            return None

    def _adopt(self, sweep: AssignedSweep, *, at_start: bool) -> AssignedRun | None:
        self._is_expecting = False
        place = (sweep.entity, sweep.project, sweep.id)
        runs = self._call(lambda: list(self._client.runs(*place, states=sorted(ADOPTABLE))))
        if not runs or not takes_up_runs(self._call(lambda: self._client.sweep(*place)).state):
            return None
        now, read = self._client.transport.now(), 0
        for run in sorted(runs, key=lambda run: _order(run, now)):
            silent_s = now - _heard_at(run, now)
            is_silent = silent_s >= self._times.adopt_after_s
            may_turn_out = silent_s >= self._times.lively_s
            has_failed = run.state == RunState.FAILED
            if may_turn_out and not is_silent and not has_failed:
                self._is_expecting = True
            may_be_own = at_start and (
                run.host == self._host or (run.host is None and not has_failed)
            )
            is_wanted = may_be_own or is_silent or (has_failed and may_turn_out)
            mark = (run.id, run.heartbeat_at)
            if mark in self._judged or not is_wanted or read >= _MAX_RECORDS:
                continue
            read += 1
            found = self._read(sweep, run)
            due_s = None if found is None else self._due_s(found, now)
            if found is None or due_s is None:
                if has_failed:
                    self._judged.add(mark)
                continue
            if due_s == 0.0 and (adopted := self._claim(sweep, found)) is not None:
                return adopted
            self._is_expecting = True
        return None

    def _due_s(self, found: _Found, now: float) -> float | None:
        return adoptable_after_s(
            Abandoned(found.run.state, _heard_at(found.run, now), found.record),
            self._agent,
            now,
            self._times.adopt_after_s,
            replaces_host=self._replaces_host,
            release=self._release,
        )

    def _read(self, sweep: AssignedSweep, run: RunInfo) -> _Found | None:
        place = (sweep.entity, sweep.project, run.id)
        text = self._call(lambda: file_text(self._client, place, RECORD_FILE))
        record = None if text is None else read_record(text)
        return None if record is None else _Found(run, record)

    def _claim(self, sweep: AssignedSweep, found: _Found) -> AssignedRun | None:
        """Claim a run; give it when the claim is the best, and None when another agent's is."""
        now = self._client.transport.now()
        own = new_claim(found.record.claims, self._agent, now, self._release)
        silent_s = now - _heard_at(found.run, now)
        note = f"nothing was heard of it for {silent_s:.0f} s; claiming it"
        self._say(log_lines.run_note(found.run.id, note))
        self._write(sweep, found, own)
        looks = 0
        for _ in range(_MAX_TRIES):
            self._retrying.rest(self._times.wait_s)
            again = self._read(sweep, found.run)
            worth = standing(again.record.claims if again else (), own)
            if worth is Standing.LOST:
                self._say(log_lines.run_note(found.run.id, "another agent takes it up"))
                return None
            if worth is Standing.MISSING:
                looks = 0
                self._write(sweep, again or found, own)
                continue
            looks += 1
            if looks == _LOOKS_TO_WIN:
                return self._assigned(sweep, again or found, own)
        return None

    def _write(self, sweep: AssignedSweep, found: _Found, own: Claim) -> None:
        record = replace(found.record, claims=with_claim(found.record.claims, own))
        place, content = (sweep.entity, sweep.project, found.run.id), record.text().encode()
        self._call(lambda: upload_file(self._client, place, RECORD_FILE, content))

    def _assigned(self, sweep: AssignedSweep, found: _Found, own: Claim) -> AssignedRun | None:
        """Give the run as W&B would hand it out, unless it has ended by now."""
        place = (sweep.entity, sweep.project, found.run.id)
        run = self._call(lambda: self._client.run(*place))
        if run is None or run.state not in ADOPTABLE:
            return None
        config: Mapping[str, object] | None = found.record.parameters
        if config is None:  # an older agent kept none: the run's config has more than these
            config = {name: run.config[name] for name in sweep.parameters if name in run.config}
        return AssignedRun(run.id, config, claim=own, was_begun=True)

    def _call(self, work: Callable[[], T]) -> T:
        """Ask W&B once; a passing trouble ends this look, and the next one asks again."""
        return self._retrying.run(work)


def _order(run: RunInfo, now: float) -> tuple[bool, float]:
    """Put what has been silent longest first; then failed runs, most of which are judged, the
    newest first.
    """
    heard_at = _heard_at(run, now)
    return (True, -heard_at) if run.state == RunState.FAILED else (False, heard_at)


def _heard_at(run: RunInfo, now: float) -> float:
    """Give when W&B last heard of a run, in seconds since 1970; one not begun: since it exists."""
    times = (read_time(run.heartbeat_at), read_time(run.created_at))
    return max((each.timestamp() for each in times if each is not None), default=now)
