"""Work beside the main thread, which waits for whatever happens first: a call's end, a signal.

The main thread never blocks on the network or on the trainer's output: it waits on one `Bell`. Each
call is one attempt in a thread of its own; `Backoff` says when the next one is due.
"""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from sweepctl.errors import SweepctlError
from sweepctl.wandb_http import ApiError

T = TypeVar("T")

HOPELESS_AFTER_S = 300.0
_LONGEST_RETRY_AFTER_S = 600.0


class Bell:
    """What the main thread sleeps on; any thread or signal handler may ring it."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def ring(self) -> None:
        """Wake the main thread."""
        with suppress(OSError):  # a full pipe wakes as well as one more byte
            os.write(self._writing, b"!")

    def wait(self, timeout_s: float) -> None:
        """Sleep until the bell rings, or rang since the last wait, or the time is over."""
        select.select([self._reading], [], [], max(0.0, timeout_s))
        with suppress(OSError):
            while os.read(self._reading, 512):
                pass

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reading)
        os.close(self._writing)


class Call(Generic[T]):
    """One call under way in its own thread; it rings the bell at its end."""

    def __init__(self, work: Callable[[], T], bell: Bell) -> None:
        self._work = work
        self._bell = bell
        self._value: T | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def is_done(self) -> bool:
        """Say whether there is a result."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the result a limited time, deaf to the bell; say whether it is there."""
        return self._done.wait(max(0.0, timeout_s))

    def result(self) -> T:
        """Give what the call gave, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set when there was no error

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        self._done.set()
        with suppress(OSError):
            self._bell.ring()


class Backoff:
    """When to try again: doubling, capped, jittered, and never before the API's own Retry-After."""

    def __init__(self, first_s: float, longest_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng
        self._failures = 0

    def next_s(self, error: SweepctlError) -> float:
        """Give the time to wait after this failure."""
        delay_s = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        delay_s *= self._rng.uniform(0.75, 1.25)
        asked_s = error.retry_after_s if isinstance(error, ApiError) else None
        return max(delay_s, min(asked_s or 0.0, _LONGEST_RETRY_AFTER_S))

    def reset(self) -> None:
        """Begin anew after a success."""
        self._failures = 0


class Signals:
    """The signals that ask this process to end: noted as they come, acted on by the main thread."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.received: list[int] = []

    def install(self) -> None:
        """Take the signals, also those that a shell had ignored for a background process."""
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, self._note)

    def _note(self, signum: int, _frame: object) -> None:
        self.received.append(signum)
        self._bell.ring()


class InterruptedBySignalError(Exception):
    """This process was asked to end while it waited."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class Patience:
    """Calls that are tried until they work, or until this process is asked to end.

    One line is said for each change of the API's state, however many attempts there are.
    """

    def __init__(
        self, bell: Bell, signals: Signals, say: Callable[[str], None], rng: random.Random
    ) -> None:
        self._bell = bell
        self._signals = signals
        self._say = say
        self._rng = rng
        self._trouble: str | None = None
        self._since = 0.0

    def call(
        self,
        work: Callable[[], T],
        *,
        is_final: Callable[[ApiError, float], bool] = lambda error, lasted_s: False,
    ) -> T:
        """Try until it works. `is_final` tells, by error and seconds, when to raise it instead."""
        backoff = Backoff(0.5, 30.0, self._rng)
        began = time.monotonic()
        while True:
            under_way = Call(work, self._bell)
            while not under_way.is_done():
                self.sleep(60.0)
            try:
                value = under_way.result()
            except ApiError as error:
                if is_final(error, time.monotonic() - began):
                    raise
                self.note_failure(error)
                wake_at = time.monotonic() + backoff.next_s(error)
                while (left_s := wake_at - time.monotonic()) > 0:
                    self.sleep(left_s)
            else:
                self.note_success()
                return value

    def sleep(self, timeout_s: float) -> None:
        """Wait for the bell, at most so long; raise when this process is asked to end."""
        if not self._signals.received:
            self._bell.wait(timeout_s)
        if self._signals.received:
            raise InterruptedBySignalError(self._signals.received[0])

    def note_failure(self, error: SweepctlError) -> None:
        """Say what is wrong, when that is new."""
        if self._trouble is None:
            self._since = time.monotonic()
        if error.message != self._trouble:
            self._trouble = error.message
            hint = f" ({error.hint})" if error.hint else ""
            self._say(f"{error.message}{hint}; trying again until it works")

    def note_success(self) -> None:
        """Say that it works again, when it did not."""
        if self._trouble is not None:
            self._trouble = None
            self._say(f"the API answers again, after {time.monotonic() - self._since:.0f} s")


class Courier:
    """Calls that must get through: tried until they work; briefly once this process has to go."""

    LAST_WORDS_S = 10.0
    """What is kept of the time to leave for telling W&B."""

    def __init__(
        self, patience: Patience, signals: Signals, bell: Bell, say: Callable[[str], None]
    ) -> None:
        self.patience = patience
        self._signals = signals
        self._bell = bell
        self._say = say
        self._leave_by: float | None = None

    def leave_within(self, seconds: float) -> float:
        """Set when this process must be gone, unless that is set; give it, as monotonic time."""
        if self._leave_by is None:
            self._leave_by = time.monotonic() + seconds
        return self._leave_by

    def call(self, work: Callable[[], T]) -> T | None:
        """Call the API until it works; None when it never will, or there is no time left."""
        if not self._signals.received:
            try:
                return self.patience.call(work, is_final=_is_hopeless)
            except ApiError as error:
                self._say(f"{error.message}; going on without it")
                return None
            except InterruptedBySignalError:
                pass
        leave_by = self.leave_within(self.LAST_WORDS_S)
        while (left_s := leave_by - time.monotonic()) > 0:
            under_way = Call(work, self._bell)
            if not under_way.wait(left_s):
                break
            try:
                return under_way.result()
            except ApiError as error:
                self.patience.note_failure(error)
                if not error.is_transient:
                    break
                time.sleep(min(0.5, max(0.0, leave_by - time.monotonic())))
        return None


def _is_hopeless(error: ApiError, lasted_s: float) -> bool:
    """Tell what no patience mends: what is gone, and a request that is refused as such."""
    is_refused_as_such = not error.is_transient and not error.is_refused
    return error.is_missing or (is_refused_as_such and lasted_s > HOPELESS_AFTER_S)
