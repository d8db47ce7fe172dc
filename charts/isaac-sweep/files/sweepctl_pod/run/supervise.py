"""One run from its start until W&B was told of its end, by agent and wrapper alike: `train`.

Nothing that goes wrong with a heartbeat harms the run. A signal hands the run back in the order
that W&B understands: the mark `preempting`, the end of the trainer, then (posting.py) the record.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from sweepctl_pod import log_lines
from sweepctl_pod.assignment import AssignedSweep
from sweepctl_pod.heartbeats import Answer, Beat, Command, Heartbeats
from sweepctl_pod.run.end_run import RunQuestion, ask_run, end_run
from sweepctl_pod.run.process import Descendants
from sweepctl_pod.run.record import RecordUpload
from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.verdict import Intervention, Verdict
from sweepctl_pod.run_record import RECORD_FILE
from sweepctl_pod.waiting import (
    BackgroundCall,
    InterruptedBySignalError,
    LastCalls,
    Signals,
    WakeUp,
)
from sweepctl_pod.wandb.client import ApiError, WandbClient

STOP_LIMIT_S = 30.0  # the stock agent's WANDB_AGENT_KILL_DELAY
_PREEMPTING_LIMIT_S = 1.0
_LEAST_CLEANUP_S = 1.0
"""What killed processes get to die, however late it is."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run, for whoever had it trained."""

    verdict: Verdict
    lasted_s: float
    must_exit: bool
    """Whether W&B said that this agent is to go."""


class Supervisor:
    """Has one run trained at a time; without `beat` another agent tells W&B that it lives."""

    def __init__(
        self,
        client: WandbClient,
        last_calls: LastCalls,
        signals: Signals,
        wake_up: WakeUp,
        descendants: Descendants,
        say: Callable[[str], None],
        beat: Beat | None = None,
        take: Callable[[Command], None] = lambda command: None,
    ) -> None:
        """`take` gets what W&B says meanwhile that is not about the run."""
        self._client = client
        self._last_calls = last_calls
        self._signals = signals
        self._wake_up = wake_up
        self._descendants = descendants
        self._say = say
        self._beat = beat
        self._take = take
        self._heartbeats: Heartbeats | None = None
        self._is_unknown = False
        self._must_exit = False

    def train(self, training: Training, sweep: AssignedSweep, attempts: int) -> Trained:
        """Train a run, judge it and tell W&B; `attempts` counts this one as well."""
        run = training.run
        self._must_exit = False
        for note in training.resolved.notes:
            self._say(log_lines.run_note(run.id, note))
        self._say(log_lines.run_begins(run.id, shlex.join(training.shown_argv)))
        number = run.attempt or attempts
        record = RecordUpload(self._client, sweep, training, number, self._wake_up)
        began = time.monotonic()
        try:
            begun, end = self._try(training, sweep)
            if training.may_try_again(end):
                self._say(
                    log_lines.run_note(
                        run.id, f"{training.evidence.spoilt_start}; trying once more"
                    )
                )
                begun, end = self._try(training, sweep)
            lasted_s = time.monotonic() - began
            verdict = end_run(
                self._client, self._last_calls, sweep, training, end, [begun], attempts
            )
            self._say(log_lines.run_ends(run.id, verdict.ending.value, verdict.reason))
        finally:
            self._end_heartbeats(run.id)
        if trouble := record.finish(self._last_calls.retrying):
            self._say(log_lines.run_note(run.id, f"its {RECORD_FILE} is not at W&B: {trouble}"))
        return Trained(verdict, lasted_s, self._must_exit)

    def _try(self, training: Training, sweep: AssignedSweep) -> tuple[RunQuestion, TrainerEnd]:
        """Run a trainer to its end; W&B is asked of the run while the rest of it is cleaned up."""
        self._supervise(training, sweep)
        begun = ask_run(self._client, sweep, training.run, self._wake_up)
        least = time.monotonic() + _LEAST_CLEANUP_S
        return begun, training.finish(lambda: self._is_late() and time.monotonic() >= least)

    def _is_late(self) -> bool:
        """Say whether the time to leave is all needed for telling W&B."""
        signals = self._signals
        return bool(signals.received) and signals.left_s <= signals.last_words_s / 2

    def _supervise(self, training: Training, sweep: AssignedSweep) -> None:
        """Start a trainer and watch it until it ends; its heartbeats go on after that."""
        training.reset()
        if self._beat is not None and self._heartbeats is None:
            self._heartbeats = Heartbeats(self._beat, training.run.id, self._wake_up)
        try:
            self._last_calls.retrying.run(training.prepare)
        except InterruptedBySignalError:
            training.end(Intervention.LEAVING, 0.0)
            return
        training.start()
        heard = 0
        while not training.has_ended() and not self._is_late():
            due_s = training.poll(time.monotonic())
            if len(self._signals.received) > heard:
                is_first, heard = heard == 0, len(self._signals.received)
                self._leave(training, sweep, is_first=is_first)
                continue
            for answer in self._heartbeats.take() if self._heartbeats else ():
                self._take_answer(answer, training.run.id, training)
                self._descendants.reap_orphans()
            self._wake_up.wait(due_s)

    def _end_heartbeats(self, run_id: str) -> None:
        """End the heartbeats of a run once W&B knows its end."""
        heartbeats, self._heartbeats = self._heartbeats, None
        if heartbeats is None:
            return
        # A heartbeat that names the run must not arrive after the one that lets go of it.
        last = heartbeats.end()
        try:
            self._last_calls.retrying.wait(last, self._client.timeout_s)
        except InterruptedBySignalError:
            last.wait(min(1.0, self._signals.left_s))
        for answer in heartbeats.take():
            self._take_answer(answer, run_id, None)

    def _take_answer(self, answer: Answer, run_id: str, training: Training | None) -> None:
        if isinstance(answer, list):
            self._last_calls.retrying.note_success()
            self._is_unknown = False
            for command in answer:
                self._act_on(command, run_id, training)
        elif isinstance(answer, ApiError) and answer.is_missing:
            # The next heartbeat without a run finds out whether the sweep itself is gone.
            if not self._is_unknown and training is not None:
                self._say("W&B knows this agent no more; the run goes on")
            self._is_unknown = True
        else:
            self._last_calls.retrying.note_failure(answer)

    def _act_on(self, command: Command, run_id: str, training: Training | None) -> None:
        """Do what W&B says; that the run which is held is to be begun is said too late."""
        if command.get("type") == "exit":
            self._must_exit = True
            if training is not None:
                training.end(Intervention.STOPPED, 0.0)
        elif command.get("type") != "stop":
            if command.get("run_id") != run_id:
                self._take(command)
        elif training is not None and command.get("run_id") == run_id:
            if not training.is_ending:
                self._say(log_lines.run_note(run_id, "W&B asks to stop it"))
            training.end(Intervention.STOPPED, STOP_LIMIT_S)

    def _leave(self, training: Training, sweep: AssignedSweep, *, is_first: bool) -> None:
        """Hand the run back; a second signal ends it at once."""
        if not is_first:
            training.end(Intervention.LEAVING, 0.0)
            return
        run = training.run
        name = signal.Signals(self._signals.received[-1]).name
        self._say(f"{name}: handing run {run.id} back, {self._signals.left_s:.0f} s left")
        place = (sweep.entity, sweep.project, run.id)
        mark = BackgroundCall(
            lambda: self._client.mark_preempting(*place, run.attempt), self._wake_up
        )
        mark.wait(min(_PREEMPTING_LIMIT_S, self._signals.left_s / 4))
        left_s = self._signals.left_s
        training.end(Intervention.LEAVING, max(0.0, left_s - self._signals.last_words_s))
