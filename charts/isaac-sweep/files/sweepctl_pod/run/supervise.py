"""One run from its start until W&B was told of its end, by agent and wrapper alike: `train`.

Nothing that goes wrong with a heartbeat harms the run. A signal hands the run back in the order
that W&B understands: the mark `preempting`, the end of the trainer, then (telling.py) the record.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from sweepctl_pod.heartbeats import Answer, Beat, Command, Heartbeats
from sweepctl_pod.run.assignment import SweepTask
from sweepctl_pod.run.end_run import Look, conclude, look
from sweepctl_pod.run.process import Family
from sweepctl_pod.run.record import RecordUpload
from sweepctl_pod.run.training import End, Training
from sweepctl_pod.run.verdict import Intervention, Verdict
from sweepctl_pod.run_record import RECORD_FILE
from sweepctl_pod.waiting import Bell, Call, Courier, InterruptedBySignalError, Signals
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


class Tending:
    """Has one run trained at a time; without `beat` another agent tells W&B that it lives."""

    def __init__(
        self,
        client: WandbClient,
        courier: Courier,
        signals: Signals,
        bell: Bell,
        family: Family,
        say: Callable[[str], None],
        beat: Beat | None = None,
        take: Callable[[Command], None] = lambda command: None,
    ) -> None:
        """`take` gets what W&B says meanwhile that is not about the run."""
        self._client = client
        self._courier = courier
        self._signals = signals
        self._bell = bell
        self._family = family
        self._say = say
        self._beat = beat
        self._take = take
        self._heartbeats: Heartbeats | None = None
        self._is_unknown = False
        self._must_exit = False

    def train(self, training: Training, sweep: SweepTask, attempts: int) -> Trained:
        """Train a run, judge it and tell W&B; `attempts` counts this one as well."""
        run = training.run
        self._must_exit = False
        for note in training.resolved.notes:
            self._say(f"run {run.id}: {note}")
        self._say(f"run {run.id} starts: {shlex.join(training.shown_argv)}")
        number = run.attempt or attempts
        record = RecordUpload(self._client, sweep, training, number, self._bell)
        began = time.monotonic()
        try:
            begun, end = self._try(training, sweep)
            if training.may_try_again(end):
                self._say(f"run {run.id}: {training.evidence.spoilt_start}; trying once more")
                begun, end = self._try(training, sweep)
            lasted_s = time.monotonic() - began
            verdict = conclude(self._client, self._courier, sweep, training, end, [begun], attempts)
            self._say(f"run {run.id} {verdict.ending.value}: {verdict.reason}")
        finally:
            self._let_go(run.id)
        if trouble := record.finish(self._courier.patience):
            self._say(f"run {run.id}: its {RECORD_FILE} is not at W&B: {trouble}")
        return Trained(verdict, lasted_s, self._must_exit)

    def _try(self, training: Training, sweep: SweepTask) -> tuple[Look, End]:
        """Run a trainer to its end; W&B is asked of the run while the rest of it is cleaned up."""
        self._tend(training, sweep)
        begun = look(self._client, sweep, training.run, self._bell)
        least = time.monotonic() + _LEAST_CLEANUP_S
        return begun, training.finish(lambda: self._is_late() and time.monotonic() >= least)

    def _is_late(self) -> bool:
        """Say whether the time to leave is all needed for telling W&B."""
        signals = self._signals
        return bool(signals.received) and signals.left_s <= signals.last_words_s / 2

    def _tend(self, training: Training, sweep: SweepTask) -> None:
        """Start a trainer and look after it until its end; its heartbeats go on until `_let_go`."""
        training.reset()
        if self._beat is not None and self._heartbeats is None:
            self._heartbeats = Heartbeats(self._beat, training.run.id, self._bell)
        try:
            self._courier.patience.run(training.prepare)
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
                self._family.reap_orphans()
            self._bell.wait(due_s)

    def _let_go(self, run_id: str) -> None:
        """End the heartbeats of a run of which W&B was told."""
        heartbeats, self._heartbeats = self._heartbeats, None
        if heartbeats is None:
            return
        # A heartbeat that names the run must not arrive after the one that lets go of it.
        last = heartbeats.end()
        try:
            self._courier.patience.wait(last, self._client.timeout_s)
        except InterruptedBySignalError:
            last.wait(min(1.0, self._signals.left_s))
        for answer in heartbeats.take():
            self._take_answer(answer, run_id, None)

    def _take_answer(self, answer: Answer, run_id: str, training: Training | None) -> None:
        if isinstance(answer, list):
            self._courier.patience.note_success()
            self._is_unknown = False
            for command in answer:
                self._obey(command, run_id, training)
        elif isinstance(answer, ApiError) and answer.is_missing:
            # The next heartbeat without a run finds out whether the sweep itself is gone.
            if not self._is_unknown and training is not None:
                self._say("W&B knows this agent no more; the run goes on")
            self._is_unknown = True
        else:
            self._courier.patience.note_failure(answer)

    def _obey(self, command: Command, run_id: str, training: Training | None) -> None:
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
                self._say(f"run {run_id}: W&B asks to stop it")
            training.end(Intervention.STOPPED, STOP_LIMIT_S)

    def _leave(self, training: Training, sweep: SweepTask, *, is_first: bool) -> None:
        """Hand the run back; a second signal ends it at once."""
        if not is_first:
            training.end(Intervention.LEAVING, 0.0)
            return
        run = training.run
        name = signal.Signals(self._signals.received[-1]).name
        self._say(f"{name}: handing run {run.id} back, {self._signals.left_s:.0f} s left")
        place = (sweep.entity, sweep.project, run.id)
        mark = Call(lambda: self._client.mark_preempting(*place, run.attempt), self._bell)
        mark.wait(min(_PREEMPTING_LIMIT_S, self._signals.left_s / 4))
        left_s = self._signals.left_s
        training.end(Intervention.LEAVING, max(0.0, left_s - self._signals.last_words_s))
