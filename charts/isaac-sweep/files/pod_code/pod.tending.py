"""A trainer's life from start to end, with all that may happen meanwhile: heartbeats, signals.

Nothing that goes wrong with a heartbeat harms the run. A signal hands the run back in the order
that W&B understands: the mark `preempting`, the end of the trainer, then (conclude.py) the record.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from sweepctl.pod.calls import Bell, Call, Courier, Signals
from sweepctl.pod.child import Family
from sweepctl.pod.run import SweepTask, Training
from sweepctl.pod.verdict import Intervention
from sweepctl.wandb_http import ApiError, WandbClient

HEARTBEAT_S = 5.0  # W&B takes an agent that is silent for longer for dead
SLOWEST_HEARTBEAT_S = 30.0
STOP_LIMIT_S = 30.0  # the stock agent's WANDB_AGENT_KILL_DELAY
_PREEMPTING_LIMIT_S = 1.0
LAST_WORDS_S = 10.0
"""What is kept of the time to leave for telling W&B."""

Command = dict[str, Any]
Beat = Callable[[str], "list[Command]"]
"""Sends the heartbeat of an agent that trains the named run, and gives W&B's commands."""


def beat_after_s(error: ApiError, every_s: float) -> float:
    """Give the time to the next heartbeat after a failed one: longer only if the API asks for it.

    A server that was away must hear of the run soon, or it gives the run to another agent.
    """
    if error.is_rate_limit or error.retry_after_s:
        return min(max(2 * every_s, error.retry_after_s or 0.0), SLOWEST_HEARTBEAT_S)
    return HEARTBEAT_S


class Tending:
    """Looks after one trainer at a time; without `beat` it is somebody else who tells W&B."""

    def __init__(
        self,
        client: WandbClient,
        courier: Courier,
        signals: Signals,
        bell: Bell,
        family: Family,
        say: Callable[[str], None],
        beat: Beat | None = None,
    ) -> None:
        self._client = client
        self._courier = courier
        self._signals = signals
        self._bell = bell
        self._family = family
        self._say = say
        self._beat = beat
        self._is_unknown = False
        self.must_exit = False
        """Whether W&B said that this agent is to go."""
        self.other_commands: list[Mapping[str, Any]] = []
        """Commands that are not about the run under way."""

    def tend(self, training: Training, sweep: SweepTask) -> None:
        """Start a trainer and look after it until its end."""
        training.start()
        heard = len(self._signals.received)
        if heard:
            training.end(Intervention.LEAVING, 0.0)
        beat: Call[list[Command]] | None = None
        every_s, beat_at = HEARTBEAT_S, time.monotonic() + HEARTBEAT_S
        while not training.has_ended():
            now = time.monotonic()
            due_s = training.poll(now)
            if len(self._signals.received) > heard:
                is_first, heard = heard == 0, len(self._signals.received)
                self._leave(training, sweep, is_first=is_first)
                continue
            if beat is not None and beat.is_done():
                every_s = self._take_answer(beat, training, every_s)
                beat, beat_at = None, now + every_s
                self._family.reap_orphans()
            if self._beat is not None and beat is None and now >= beat_at:
                beat = self._begin_beat(self._beat, training.run.id)
            until_beat_s = beat_at - now if self._beat is not None and beat is None else due_s
            self._bell.wait(min(due_s, until_beat_s))
        if beat is not None:
            # A heartbeat that names the run must not arrive after the one that lets go of it.
            beat.wait(self._client.timeout_s if not self._signals.received else 1.0)

    def _begin_beat(self, beat: Beat, run_id: str) -> Call[list[Command]]:
        return Call(lambda: beat(run_id), self._bell)

    def _take_answer(self, beat: Call[list[Command]], training: Training, every_s: float) -> float:
        """Act on a heartbeat's answer; give the time to the next."""
        try:
            commands = beat.result()
        except ApiError as error:
            if error.is_missing:
                # The next heartbeat without a run finds out whether the sweep itself is gone.
                if not self._is_unknown:
                    self._say("W&B knows this agent no more; the run goes on")
                self._is_unknown = True
            else:
                self._courier.patience.note_failure(error)
            return beat_after_s(error, every_s)
        self._courier.patience.note_success()
        self._is_unknown = False
        for command in commands:
            self._obey(command, training)
        return HEARTBEAT_S

    def _obey(self, command: Command, training: Training) -> None:
        if command.get("type") == "exit":
            self.must_exit = True
            training.end(Intervention.STOPPED, 0.0)
        elif command.get("type") != "stop":
            self.other_commands.append(command)
        elif command.get("run_id") == training.run.id:
            if not training.is_ending:
                self._say(f"run {training.run.id}: W&B asks to stop it")
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
        mark.wait(_PREEMPTING_LIMIT_S)
        left_s = self._signals.left_s
        training.end(Intervention.LEAVING, left_s - min(LAST_WORDS_S, left_s / 2))
