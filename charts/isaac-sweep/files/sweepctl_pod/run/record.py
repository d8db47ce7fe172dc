"""The run's record (run_record.py) at W&B while an agent trains it: read, completed, written.

It is read before each write: an earlier agent may have written it, or one that claims the run now.
Everything here happens beside the training, which goes on whatever goes wrong with the record.
"""

from __future__ import annotations

import signal
import socket
import time
from dataclasses import replace

from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.verdict import KILLED_FROM_OUTSIDE, Ending, Intervention, Verdict
from sweepctl_pod.run_record import (
    KILLED,
    RECORD_FILE,
    SILENCE,
    Attempt,
    RunRecord,
    read_record,
)
from sweepctl_pod.waiting import BackgroundCall, InterruptedBySignalError, Retrying
from sweepctl_pod.wandb.client import WandbClient
from sweepctl_pod.wandb.outputs import Place, file_text, last_step, upload_file

_TRY_S = 5.0
_LAST_WORDS_S = 2.0
"""What the record may take of the time to leave, at most, when all else was said."""


class RecordKeeper:
    """The record of one run, from the start of an attempt to its end."""

    def __init__(self, client: WandbClient, training: Training) -> None:
        """Begin to write that this attempt has begun."""
        self._client = client
        self._training = training
        self._wake_up = training.pod.wake_up
        sweep = training.sweep
        self._place: Place = (sweep.entity, sweep.project, training.run.id)
        host = training.host or socket.gethostname()
        self._attempt = Attempt(
            number=training.run.attempt or 0,
            host=host,
            node=training.pod.environ.get("SWEEPCTL_NODE", ""),
            agent=f"{host}/{training.pod.descendants.marker[:8]}",
            began_at=time.time(),
        )
        self._written: RunRecord | None = None
        self._begin()

    def attempts(self, counted: int) -> int:
        """Count the attempts that were lost, and this one; `counted` where nobody knows better."""
        if self._training.run.losses is not None:
            return self._training.run.losses + 1  # the embedded server counts for all agents
        self._take()
        return counted if self._written is None else self._written.losses + 1

    def end(self, retrying: Retrying, verdict: Verdict, end: TrainerEnd) -> str | None:
        """Write how the attempt has ended; give what is wrong if that does not work.

        The run's end is at W&B by now. To leave in time is worth more than the record.
        """
        signals = self._training.pod.signals
        ended_by = _ended_by(verdict, end, signals.first)
        self._wait(retrying)
        self._attempt = replace(self._attempt, ended_at=time.time(), ended_by=ended_by)
        trouble: str | None = "no answer yet"
        for _ in range(2):
            if not self._call.is_done():
                break
            self._begin()
            self._wait(retrying)
            trouble = self._take()
            if trouble is None or signals.is_leaving:
                break
        return None if signals.is_leaving else trouble

    def _begin(self) -> None:
        """Begin to write what is known by now."""
        attempt = self._attempt
        self._call = BackgroundCall(lambda: self._write(attempt), self._wake_up)

    def _wait(self, retrying: Retrying) -> None:
        try:
            retrying.wait(self._call, _TRY_S)
        except InterruptedBySignalError:
            left_s = self._training.pod.signals.left_s
            self._call.wait(min(_LAST_WORDS_S, left_s / 3))

    def _take(self) -> str | None:
        """Take what the last call has written; give what is wrong where it has not."""
        if not self._call.is_done():
            return "no answer yet"
        try:
            self._written = self._call.result()
        except Exception as error:
            return str(error) or type(error).__name__
        own = [each for each in self._written.attempts if each.is_same_as(self._attempt)]
        self._attempt = replace(self._attempt, number=own[0].number)
        return None

    def _write(self, attempt: Attempt) -> RunRecord:
        """Read the record as it is, complete it, write it, and give it. For any thread."""
        training = self._training
        text = file_text(self._client, self._place, RECORD_FILE)
        present = None if text is None else read_record(text)
        record = RunRecord(
            argv=tuple(training.shown_argv),
            grammar=training.grammar.value,
            host=attempt.host,
            attempt=attempt.number or _number(present, attempt),
            claims=present.claims if present else (),
            attempts=present.attempts if present else (),
            parameters=training.run.config,
            retry_asked_at=present.retry_asked_at if present else None,
        )
        for silent in record.silent(record.attempt):
            last = silent.last
            if silent.first is not None:  # it counted iterations, so steps are iterations
                last = last_step(self._client, self._place)
            record = record.with_attempt(replace(silent, ended_by=SILENCE, last=last))
        record = record.with_attempt(replace(attempt, number=record.attempt))
        upload_file(self._client, self._place, RECORD_FILE, record.text().encode())
        return record


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
