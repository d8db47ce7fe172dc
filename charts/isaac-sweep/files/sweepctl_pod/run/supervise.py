"""One run from its start until W&B knows its end, by agent and wrapper alike: `train`.

Nothing that goes wrong with a heartbeat harms the run. A signal hands the run back in the order
that W&B understands: the mark `preempting`, the end of the trainer, then (posting.py) the record.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from sweepctl_pod import log_lines
from sweepctl_pod.heartbeats import Answer, Beat, Command, Heartbeats
from sweepctl_pod.run.checkpoint_keeper import CheckpointKeeper
from sweepctl_pod.run.end_run import RunQuestion, ask_run, end_run
from sweepctl_pod.run.record import RecordKeeper
from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.verdict import Intervention, Verdict
from sweepctl_pod.run_record import RECORD_FILE
from sweepctl_pod.waiting import (
    InterruptedBySignalError,
    LastCalls,
    NoAnswerError,
)
from sweepctl_pod.wandb.client import ApiError, WandbClient

STOP_LIMIT_S = 30.0  # the stock agent's WANDB_AGENT_KILL_DELAY
_PREEMPTING_LIMITS_S = (1.0, 5.0)
"""How long the mark is waited for, by the time that is left: meanwhile the training goes on."""
_LEAST_CLEANUP_S = 1.0
"""What killed processes get to die, however late it is."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run."""

    verdict: Verdict
    lasted_s: float
    """The seconds from the trainer's start to its end, a second try included."""
    must_exit: bool
    """Whether W&B said that this agent is to go."""
    ended_at: float
    """When the attempt had ended, by the API's clock, as its record has it."""


def train(
    client: WandbClient,
    last_calls: LastCalls,
    training: Training,
    attempts: int,
    *,
    beat: Beat | None = None,
    take: Callable[[Command], None] = lambda command: None,
    waited_from: float | None = None,
) -> Trained:
    """Train a run, judge it and post its end to W&B; give what came of it.

    `attempts` counts this one as well, for a run whose record does not. `beat` sends a heartbeat
    that names the run; without it another agent says that the run lives. `take` gets each command
    of W&B that is not about this run as soon as it comes: the next heartbeat must name what was
    handed out by it. `waited_from`: when the agent began to wait for it, by the API's clock.
    """
    record = RecordKeeper(
        client,
        training,
        # On the embedded server no claim is needed, and under another agent none is possible.
        training.pod.claim_times if beat is not None and training.run.attempt is None else None,
        waited_from,
    )
    return _Supervisor(client, last_calls, training, record, beat, take).train(attempts)


class _Supervisor:
    """Watches over one run: its trainer, its heartbeats, W&B's commands, the order to leave."""

    def __init__(
        self,
        client: WandbClient,
        last_calls: LastCalls,
        training: Training,
        record: RecordKeeper,
        beat: Beat | None,
        take: Callable[[Command], None],
    ) -> None:
        self._client = client
        self._last_calls = last_calls
        self._training = training
        self._run = training.run
        self._signals = training.pod.signals
        self._wake_up = training.pod.wake_up
        self._say = training.pod.console.say
        self._beat = beat
        self._take = take
        self._heartbeats: Heartbeats | None = None
        self._record = record
        self._is_told = self._is_out_of_touch = False
        self._is_unknown = False
        self._must_exit = False

    def train(self, attempts: int) -> Trained:
        training, run = self._training, self._run
        for note in training.resolved.notes:
            self._say(log_lines.run_note(run.id, note))
        self._say(log_lines.run_begins(run.id, shlex.join(training.shown_argv)))
        self._checkpoints = CheckpointKeeper(self._client, training, attempts)
        record = self._record
        began = time.monotonic()
        try:
            question, end = self._try()
            if training.may_try_again(end) and not record.is_lost:
                again = f"{training.evidence.spoilt_start}; trying once more"
                self._say(log_lines.run_note(run.id, again))
                question, end = self._try()
            lasted_s = time.monotonic() - began
            attempts = record.attempts(attempts)
            verdict = end_run(
                self._client,
                self._last_calls,
                training,
                end,
                question,
                attempts,
                is_ours=self._is_ours,
            )
            self._say(log_lines.run_ends(run.id, verdict.ending.value, verdict.reason))
            # Before the heartbeats end: the run's next agent reads the record.
            if trouble := record.end(self._last_calls.retrying, verdict, end):
                self._say(log_lines.run_note(run.id, f"its {RECORD_FILE} is not at W&B: {trouble}"))
        finally:
            self._end_heartbeats()
        return Trained(verdict, lasted_s, self._must_exit, record.ended_at)

    def _try(self) -> tuple[RunQuestion, TrainerEnd]:
        """Run the trainer to its end; ask W&B about the run while the rest is cleaned up."""
        self._supervise()
        question = ask_run(self._client, self._training)
        least = time.monotonic() + _LEAST_CLEANUP_S
        end = self._training.finish(lambda: self._is_late() and time.monotonic() >= least)
        self._checkpoints.finish(end, self._is_late)
        end = replace(end, has_saved=self._checkpoints.has_saved)
        return question, end

    def _is_late(self) -> bool:
        """Say whether all the time that is left is needed for W&B."""
        signals = self._signals
        return signals.is_leaving and signals.left_s <= signals.last_words_s / 2

    def _supervise(self) -> None:
        """Start the trainer and watch it until it ends; its heartbeats go on after that."""
        training = self._training
        training.reset()
        if self._beat is not None and self._heartbeats is None:
            self._heartbeats = Heartbeats(self._beat, self._run.id, self._wake_up)
        try:
            self._checkpoints.go_on(self._last_calls.retrying)
            self._record.goes_on_from(self._checkpoints.resumed_from)
            self._last_calls.retrying.run(training.prepare)
        except InterruptedBySignalError:
            training.end(Intervention.LEAVING, 0.0)
            return
        training.start()
        self._checkpoints.begin()
        seen = 0
        while not training.has_ended() and not self._is_late():
            due_s = min(training.poll(time.monotonic()), self._record.poll(time.monotonic()))
            if self._record.is_lost:
                self._lose()
            if self._signals.count > seen:
                is_first, seen = seen == 0, self._signals.count
                self._leave(is_first=is_first)
                continue
            self._checkpoints.tell()
            for answer in self._heartbeats.take() if self._heartbeats else ():
                self._take_answer(answer, is_training=True)
                training.pod.descendants.reap_orphans()
            self._wake_up.wait(due_s)

    def _end_heartbeats(self) -> None:
        """End the heartbeats once W&B knows the run's end."""
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
            self._take_answer(answer, is_training=False)

    def _take_answer(self, answer: Answer, *, is_training: bool) -> None:
        if isinstance(answer, list):
            self._last_calls.retrying.note_success()
            self._record.heard()
            self._is_out_of_touch = self._is_unknown = False
            for command in answer:
                self._act_on(command, is_training=is_training)
        elif isinstance(answer, ApiError) and answer.is_missing:
            # The next heartbeat without a run finds out whether the sweep itself is gone.
            if not self._is_unknown and is_training:
                self._say("W&B knows this agent no more; the run goes on")
            self._is_unknown = True
        else:
            self._is_out_of_touch = True
            self._last_calls.retrying.note_failure(answer)

    def _is_ours(self) -> bool:
        """Say whether the run's end is this agent's to tell, however long it was out of touch."""
        for answer in self._heartbeats.take() if self._heartbeats else ():
            self._take_answer(answer, is_training=False)
        beat = self._beat
        if self._is_out_of_touch and beat is not None and not self._signals.is_leaving:
            with suppress(NoAnswerError):
                answer = self._last_calls.call(lambda: beat(self._run.id))
                self._take_answer(answer, is_training=False)
        return self._record.confirm(self._last_calls)

    def _act_on(self, command: Command, *, is_training: bool) -> None:
        """Do what W&B asks for. A command to begin the run that is held comes late, and is none."""
        if command.get("type") == "exit":
            self._must_exit = True
            if is_training:
                self._training.end(Intervention.STOPPED, 0.0)
        elif command.get("is_lost") and command.get("run_id") == self._run.id:
            self._lose()  # the embedded server has given it to another agent
        elif command.get("type") != "stop":
            if command.get("run_id") != self._run.id:
                self._take(command)
        elif is_training and command.get("run_id") == self._run.id:
            if not self._training.is_ending:
                self._say(log_lines.run_note(self._run.id, "W&B asks to stop it"))
            self._training.end(Intervention.STOPPED, STOP_LIMIT_S)

    def _lose(self) -> None:
        """End the trainer of a run that is another agent's by now."""
        self._record.is_lost = True
        if not self._is_told:
            self._is_told = True
            self._say(log_lines.run_note(self._run.id, "another agent has taken it over"))
        self._training.end(Intervention.LOST, 0.0)

    def _leave(self, *, is_first: bool) -> None:
        """Hand the run back; a second signal ends the trainer at once."""
        training, run, signals = self._training, self._run, self._signals
        if not is_first or self._record.is_lost:
            training.end(Intervention.LEAVING, 0.0)
            return
        self._checkpoints.hurry()
        name = signal.Signals(signals.last or signal.SIGTERM).name
        self._say(f"{name}: handing run {run.id} back, {signals.left_s:.0f} s left")
        path = (training.sweep.entity, training.sweep.project, run.id)
        least_s, most_s = _PREEMPTING_LIMITS_S
        self._last_calls.call_for(
            min(max(least_s, signals.left_s / 10), most_s, signals.left_s / 4),
            lambda: self._client.mark_preempting(*path, run.attempt),
        )
        training.end(Intervention.LEAVING, max(0.0, signals.left_s - signals.last_words_s))
