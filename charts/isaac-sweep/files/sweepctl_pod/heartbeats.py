"""The heartbeats of an agent that holds a run: from its start until W&B knows its end.

A thread of their own sends them, so that a slow API, a trainer's record or a stalled reader does
not delay them: a server that hears nothing gives the run to another agent.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.waiting import BackgroundCall, WakeUp
from sweepctl_pod.wandb.client import ApiError

HEARTBEAT_S = 5.0  # W&B takes an agent that is silent for longer for dead
SLOWEST_HEARTBEAT_S = 30.0

Command = dict[str, Any]
Beat = Callable[[str], "list[Command]"]
"""Sends the heartbeat of an agent that trains the named run, and gives W&B's commands."""
Answer: TypeAlias = "list[Command] | SweepctlError"


def beat_after_s(error: SweepctlError, every_s: float) -> float:
    """Give the seconds to the next heartbeat after a failed one: more only if the API asks for it.

    A server that was away must hear of the run soon, or it gives the run to another agent.
    """
    if isinstance(error, ApiError) and (error.is_rate_limit or error.retry_after_s):
        return min(max(2 * every_s, error.retry_after_s or 0.0), SLOWEST_HEARTBEAT_S)
    return HEARTBEAT_S


class Heartbeats:
    """The heartbeats of one run; `take` gives the answers."""

    def __init__(self, beat: Beat, run_id: str, wake_up: WakeUp) -> None:
        """Start them."""
        self._beat = beat
        self._run_id = run_id
        self._wake_up = wake_up
        self._ending = threading.Event()
        self._answers: deque[Answer] = deque()
        self._sending = BackgroundCall(self._send, wake_up)

    def take(self) -> list[Answer]:
        """Give the answers that have come since the last call, oldest first."""
        found = []
        while self._answers:
            found.append(self._answers.popleft())
        return found

    def end(self) -> BackgroundCall[None]:
        """End them. Once the call that this gives is done, no heartbeat is under way."""
        self._ending.set()
        return self._sending

    def _send(self) -> None:
        every_s = HEARTBEAT_S
        while not self._ending.wait(every_s):
            answer: Answer
            try:
                answer, every_s = self._beat(self._run_id), HEARTBEAT_S
            except SweepctlError as error:
                answer, every_s = error, beat_after_s(error, every_s)
            except Exception as error:  # no error may end them: the run would go to another agent
                answer, every_s = SweepctlError(f"a heartbeat failed: {error!r}"), HEARTBEAT_S
            self._answers.append(answer)
            self._wake_up.set()
