"""The run's record (run_record.py) at W&B while an agent trains it: read, completed, written.

It is read before each write: an earlier agent may have written it, or one that claims the run now.
Everything here happens beside the training, which goes on whatever goes wrong with the record; only
a better claim in it ends the training.
"""

from __future__ import annotations

import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace

from sweepctl_pod.checkpoint import Progress
from sweepctl_pod.claims import (
    ClaimTimes,
    Standing,
    agent_name,
    best_claim,
    new_claim,
    standing,
    with_claim,
)
from sweepctl_pod.run.checkpoints import progress_in
from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.verdict import KILLED_FROM_OUTSIDE, Ending, Intervention, Verdict
from sweepctl_pod.run_record import (
    KILLED,
    RECORD_FILE,
    SILENCE,
    Attempt,
    Claim,
    RunRecord,
    read_record,
)
from sweepctl_pod.waiting import (
    BackgroundCall,
    InterruptedBySignalError,
    LastCalls,
    NoAnswerError,
    Retrying,
)
from sweepctl_pod.wandb.api_clock import SteadyClock
from sweepctl_pod.wandb.client import WandbClient
from sweepctl_pod.wandb.outputs import Place, file_text, last_step, upload_file

_TRY_S = 5.0
_FIRST_LIMIT_S = 30.0
"""How long the record waits for the first iteration of a trainer that counts them."""
_LOOK_EVERY_S = 5.0
_LAST_WORDS_S = 2.0
"""What the record may take of the time to leave, at most, when all else was said."""


class RecordKeeper:
    """The record of one run, from the start of an attempt to its end."""

    def __init__(
        self,
        client: WandbClient,
        training: Training,
        times: ClaimTimes | None,
        waited_from: float | None = None,
    ) -> None:
        """Begin to write that this attempt has begun; without `times` no claim is made.

        `waited_from`: when the agent began to wait for it, by the API's clock.
        """
        self._client = client
        self._training = training
        self._wake_up = training.pod.wake_up
        sweep = training.sweep
        self._place: Place = (sweep.entity, sweep.project, training.run.id)
        host = training.host or socket.gethostname()
        self._clock = SteadyClock(client.transport.now())
        began_at = self._clock.now()
        self._attempt = Attempt(
            number=training.run.attempt or 0,
            host=host,
            node=training.pod.environ.get("SWEEPCTL_NODE", ""),
            agent=agent_name(host, training.pod.descendants.marker),
            began_at=began_at,
            waited_from=None if waited_from is None else min(waited_from, began_at),
            gpus=training.pod.gpus.count,
            gpu=training.pod.gpus.kind,
        )
        self._counts_since: float | None = None
        self._times = times
        self._left = progress_in(training.folder)
        self._claim = training.run.claim
        self._written: RunRecord | None = None
        self._heard_at = self._looked_at = time.monotonic()
        self.is_lost = False
        """Whether another agent has a better claim to the run."""
        self._begin(is_news=True)
        self._due_at = time.monotonic() + (times.wait_s if times else 0.0)

    @property
    def ended_at(self) -> float:
        """When this attempt has ended: now, where the record does not say it."""
        ended_at = self._attempt.ended_at
        return self._clock.now() if ended_at is None else ended_at

    def goes_on_from(self, checkpoint: int | None) -> None:
        """Note the checkpoint that the trainer is about to go on from; the next write tells it."""
        self._attempt = replace(self._attempt, resumed_from=checkpoint)

    def heard(self) -> None:
        """Note that W&B has answered a heartbeat: after a long silence the claim is looked at."""
        now = time.monotonic()
        if self._times is not None and now - self._heard_at > self._times.look_every_s:
            self._due_at = now
        self._heard_at = now

    def poll(self, now: float) -> float:
        """Look at the claim when that is due; give the seconds until something is due."""
        if self._call.is_done() and self._has_news(now):
            self._begin(is_news=True)  # whoever goes on after a sudden end then knows where it was
        times = self._times
        if times is None or self.is_lost:
            return 3600.0 if self._attempt.trained_from is not None else _LOOK_EVERY_S
        if self._call.is_done() and not self._is_taken:
            if self._take() is None:
                self._due_at = max(self._due_at, now + times.look_every_s)
            else:  # W&B is asked again soon: to train on without a claim is no good
                self._due_at = max(self._due_at, now + times.look_every_s / 4)
        if now >= self._due_at and self._call.is_done():
            self._begin(is_news=False)
        return max(0.05, self._due_at - now) if self._call.is_done() else times.look_every_s

    def attempts(self, counted: int) -> int:
        """Count the attempts that were lost, and this one; `counted` where nobody knows better."""
        self._take()
        if self._written is not None and self._written.is_furthest(self._known()):
            return 1
        if self._training.run.losses is not None:
            return self._training.run.losses + 1  # the embedded server counts for all agents
        return counted if self._written is None else self._written.losses + 1

    def confirm(self, last_calls: LastCalls) -> bool:
        """Look at the claim before the run's end is told; say whether that is this agent's to do.

        After a network's cut the first answer decides, however late it comes: another agent may
        have trained the run to its end meanwhile. Told to leave, this agent has no time for that.
        """
        if self._times is None or self.is_lost:
            return not self.is_lost
        self._wait(last_calls.retrying)
        if self._call.is_done():
            self._take()
        if self._training.pod.signals.is_leaving:
            if self._call.is_done():
                self._begin(is_news=False)
                self._wait(last_calls.retrying)
                self._take()
            return not self.is_lost
        # Reading alone decides: the run's end must not wait for a file that W&B does not take.
        with suppress(NoAnswerError):
            self.is_lost = last_calls.call(self._has_better_claim)
        return not self.is_lost

    def end(self, retrying: Retrying, verdict: Verdict, end: TrainerEnd) -> str | None:
        """Write how the attempt has ended; give what is wrong if that does not work.

        The run's end is at W&B by now. To leave in time is worth more than the record.
        """
        signals = self._training.pod.signals
        ended_by = _ended_by(verdict, end, signals.first)
        self._wait(retrying)
        self._attempt = replace(self._attempt, ended_at=self._clock.now(), ended_by=ended_by)
        trouble: str | None = "no answer yet"
        for _ in range(2):
            if not self._call.is_done() or self.is_lost:
                break
            self._begin(is_news=True)
            self._wait(retrying)
            trouble = self._take()
            if trouble is None or signals.is_leaving:
                break
        return None if signals.is_leaving or self.is_lost else trouble

    def _begin(self, *, is_news: bool) -> None:
        """Begin to read the record, and to write what is known by now where it is not there."""
        attempt, claim = self._known(), self._claim
        self._is_taken = False
        self._call = BackgroundCall(lambda: self._bring(attempt, claim, is_news), self._wake_up)

    def _has_news(self, now: float) -> bool:
        """Say whether to tell now that it trains: once, or sooner where that takes long."""
        if self._attempt.trained_from is not None:
            return False
        progress = self._progress()
        if self._first_iteration(progress) is not None:
            return True
        if progress is None or self._attempt.first is not None:
            return False
        self._counts_since = now if self._counts_since is None else self._counts_since
        return now - self._counts_since >= _FIRST_LIMIT_S

    def _known(self) -> Attempt:
        """Give the attempt with how far it has come by now, and when."""
        attempt, training, progress = self._attempt, self._training, self._progress()
        if progress:
            last = progress.iteration if progress.has_trained else None
            attempt = replace(attempt, first=progress.first, last=last)
        if attempt.trained_from is None:
            attempt = replace(attempt, trained_from=self._at(self._first_iteration(progress)))
        counts = attempt.first is not None or training.counts_iterations
        until = self._at(training.trained_until)
        if until is not None and attempt.trained_from is not None:
            until = max(until, attempt.trained_from)  # it was seen when the training had ended
        elif counts:
            until = None  # it never came to train
        self._attempt = replace(
            attempt, started_at=self._at(training.started_at), trained_until=until
        )
        return self._attempt

    def _first_iteration(self, progress: Progress | None) -> float | None:
        """Say when the first iteration was complete, by the steady clock; None: not yet, or not
        known.
        """
        training = self._training
        started_at, found = training.started_at, training.evidence.iteration_at
        if started_at is None:
            return None
        now = training.trained_until or time.monotonic()  # what it printed may be read later
        if found is None and progress is not None and progress.has_trained:
            told = progress.first_at
            found = told if told is not None and started_at <= told else now
        return None if found is None else min(found, now)

    def _at(self, steady: float | None) -> float | None:
        return None if steady is None else self._clock.at(steady)

    def _progress(self) -> Progress | None:
        """Give what the trainer of this attempt says, and not what an earlier one has left."""
        found = self._training.progress
        return found if found != self._left else None  # by no clock: a node may set its own

    def _wait(self, retrying: Retrying) -> None:
        try:
            retrying.wait(self._call, _TRY_S)
        except InterruptedBySignalError:
            left_s = self._training.pod.signals.left_s
            self._call.wait(min(_LAST_WORDS_S, left_s / 4))

    def _take(self) -> str | None:
        """Take what the last call has found; give what is wrong where it has not."""
        if not self._call.is_done():
            return "no answer yet"
        self._is_taken = True
        try:
            found = self._call.result()
        except Exception as error:
            return str(error) or type(error).__name__
        self._note(found)
        return None

    def _note(self, found: RunRecord | None) -> None:
        """Note what the record says, or that the claim is lost."""
        if found is None:
            self.is_lost = True
            return
        self._written = found
        for claim in found.claims:
            if claim.agent == self._attempt.agent and self._times is not None:
                self._claim = claim
        for attempt in found.attempts:
            if attempt.is_same_as(self._attempt):
                self._attempt = replace(self._attempt, number=attempt.number)

    def _bring(self, attempt: Attempt, claim: Claim | None, is_news: bool) -> RunRecord | None:
        """Read the record, complete and write it where it lacks something, and give it.

        None: another agent has a better claim, and nothing was written. For any thread.
        """
        training = self._training
        text = file_text(self._client, self._place, RECORD_FILE)
        now = self._client.transport.now()
        present = None if text is None else read_record(text)
        claims = present.claims if present else ()
        if self._times is not None:
            claim = claim or _own_claim(claims, attempt.agent, now, training.pod.release)
            found = standing(claims, claim)
            if found is Standing.LOST:
                return None
            # Also a claim of the future: a clock that was wrong, and was set right.
            is_old = not 0 <= now - claim.at < self._times.renew_after_s
            if present is not None and found is Standing.BEST and not is_old and not is_news:
                return present
            claims = with_claim(claims, replace(claim, at=now) if is_old else claim)
        record = RunRecord(
            argv=tuple(training.repeatable_argv),
            grammar=training.grammar.value,
            host=attempt.host,
            attempt=attempt.number or _number(present, attempt),
            claims=claims,
            attempts=present.attempts if present else (),
            parameters=training.run.config,
            retry_asked_at=present.retry_asked_at if present else None,
        )
        for silent in record.silent(record.attempt):
            record = record.with_attempt(self._silenced(silent))
        record = record.with_attempt(replace(attempt, number=record.attempt))
        upload_file(self._client, self._place, RECORD_FILE, record.text().encode())
        return record

    def _has_better_claim(self) -> bool:
        """Ask whether another agent has a better claim to the run. For any thread."""
        text = file_text(self._client, self._place, RECORD_FILE)
        present = None if text is None else read_record(text)
        if present is None or self._claim is None:
            return False
        return standing(present.claims, self._claim) is Standing.LOST

    def _silenced(self, attempt: Attempt) -> Attempt:
        """End an attempt of which nobody heard the end, with how far it is known to have come."""
        known = [attempt.last]
        if attempt.first is not None:  # it counted iterations, so its steps are iterations
            known.append(last_step(self._client, self._place))
            left = self._left
            if left is not None and left.has_trained and left.first == attempt.first:
                known.append(left.iteration)
        last = max((each for each in known if each is not None), default=None)
        return replace(attempt, ended_by=SILENCE, last=last)


def _own_claim(claims: tuple[Claim, ...], agent: str, now: float, release: str) -> Claim:
    """Give an agent's claim: the one that a try to write it may have left, else a new one."""
    best = best_claim(claims)
    if best is not None and best.agent == agent:
        return best
    return new_claim(claims, agent, now, release)


def _number(present: RunRecord | None, attempt: Attempt) -> int:
    """Number an attempt that nobody else numbers."""
    if present is None:
        return 1
    known = [each.number for each in present.attempts if each.is_same_as(attempt)]
    return known[0] if known else present.next_number


def _ended_by(verdict: Verdict, end: TrainerEnd, signum: int | None) -> str:
    """Say in a word what ended an attempt."""
    if verdict.ending in (Ending.HANDED_BACK, Ending.FAILED, Ending.UNKNOWN):
        if end.intervention is Intervention.LEAVING and signum is not None:
            return signal.Signals(signum).name
        if end.intervention is Intervention.NONE and end.exit_code in KILLED_FROM_OUTSIDE:
            return KILLED
    return "unknown" if verdict.ending is Ending.UNKNOWN else str(verdict.ending.value)
