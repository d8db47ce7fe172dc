"""SIGTERM while a training runs: noted with its time, and answered at a good moment."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from sweepctl_pod.companion.speech import never_breaking, say
from sweepctl_pod.errors import SIGTERM_CODE

_UNKNOWN_WITHIN_S = 20.0


class Leaving:
    """The order to leave; `leave_now` is called when there is no time to wait for a better moment.

    `patience_s` says how long the end of the iteration may be waited for.
    """

    def __init__(
        self,
        within_s: float | None,
        patience_s: Callable[[float], float],
        leave_now: Callable[[], None],
    ) -> None:
        self._within_s = _UNKNOWN_WITHIN_S if within_s is None else within_s
        self._patience_s, self._leave_now = patience_s, leave_now
        self._before: Any = None
        self._is_installed = False
        self.asked_at: float | None = None

    def listen(self) -> bool:
        """Handle SIGTERM from now on, in place of whoever did; say whether that is possible."""
        if threading.current_thread() is not threading.main_thread():
            say("the training is not in the main thread: SIGTERM is not handled")
            return False
        self._before = signal.signal(signal.SIGTERM, self._note)
        self._is_installed = True
        return True

    def unlisten(self) -> None:
        """Give SIGTERM back to whoever had it."""
        if self._is_installed:
            self._is_installed = False
            # None: the handler was not installed by Python, and cannot be given back.
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def left_s(self) -> float:
        """Give the time that is left until the process must be gone."""
        asked_at = time.monotonic() if self.asked_at is None else self.asked_at
        return self._within_s - (time.monotonic() - asked_at)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.asked_at is not None:
            return
        self.asked_at = time.monotonic()
        with never_breaking("SIGTERM is answered at the end of the iteration"):
            patience_s = self._patience_s(self._within_s)
            if patience_s <= 0:
                self._leave_now()
            else:
                timer = threading.Timer(patience_s, self._leave_now)
                timer.daemon = True
                timer.start()


def leave(left_s: float, meet: Callable[[], None]) -> None:
    """End the process for good, with W&B's client told of it where that is possible in time.

    `meet` waits for the other processes of the training.
    """
    watchdog = threading.Timer(max(0.1, left_s), os._exit, [SIGTERM_CODE])
    watchdog.daemon = True
    watchdog.start()
    with never_breaking("W&B's client is not closed"):
        wandb = sys.modules.get("wandb")
        if wandb is not None and getattr(wandb, "run", None) is not None:
            wandb.finish(exit_code=SIGTERM_CODE)
    with never_breaking("the other processes are not waited for"):
        meet()
    for stream in (sys.stdout, sys.stderr):
        with never_breaking("output is not flushed"):
            stream.flush()
    os._exit(SIGTERM_CODE)
