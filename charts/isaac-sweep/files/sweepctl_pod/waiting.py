"""Work beside the main thread, which waits for whatever happens first: a call's end, a signal.

The main thread never blocks on the network or on the trainer's output: it waits on one `WakeUp`.
Each call is one attempt in a thread of its own; `Backoff` says when the next one is due.
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
from typing import Any, Generic, TypeVar

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import ApiError

T = TypeVar("T")

HOPELESS_AFTER_S = 300.0
LEAVING_MARGIN_S = 3.0
LEAVING_SHARE = 0.1
"""The part of the grace that is not used, at least so many seconds: in a pod one of them is over
before SIGTERM comes (preStop), at its end the kernel kills what is left, and on a node where many
leave at once it takes seconds to say goodbye."""
LAST_WORDS_S = 10.0
"""The part of the time to leave that is kept for W&B."""
LAST_CALLS_EVERY_S = 0.5
_LONGEST_RETRY_AFTER_S = 600.0


class WakeUp:
    """What the main thread sleeps on. Any thread or signal handler may `set` it."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def set(self) -> None:
        """Wake the main thread."""
        with suppress(OSError):  # a full pipe wakes as well as one more byte
            os.write(self._writing, b"!")

    def wait(self, timeout_s: float) -> None:
        """Sleep until `set` is called, at most `timeout_s`; at once if it was called before."""
        select.select([self._reading], [], [], max(0.0, timeout_s))
        with suppress(OSError):
            while os.read(self._reading, 512):
                pass

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reading)
        os.close(self._writing)


class BackgroundCall(Generic[T]):
    """One call in a thread of its own, which wakes the main thread when it ends."""

    def __init__(self, work: Callable[[], T], wake_up: WakeUp) -> None:
        self._work = work
        self._wake_up = wake_up
        self._value: T | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def is_done(self) -> bool:
        """Say whether there is a result."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the result, at most `timeout_s`, whatever else happens; say if it is there."""
        return self._done.wait(max(0.0, timeout_s))

    def result(self) -> T:
        """Give the call's value, or raise its error."""
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
            self._wake_up.set()


class GivenUpError(SweepctlError):
    """Work in a thread that nobody waits for any more, or whose time is over."""


class Limit:
    """How long work in a thread may go on; the main thread may end it sooner."""

    def __init__(self, limit_s: float) -> None:
        """Give `limit_s` from now on."""
        self._until = time.monotonic() + limit_s
        self._over = threading.Event()

    def end(self) -> None:
        """Have the work end at its next look."""
        self._over.set()

    @property
    def left_s(self) -> float:
        """The seconds that are left, at least 0."""
        return 0.0 if self._over.is_set() else max(0.0, self._until - time.monotonic())

    def look(self) -> None:
        """Raise when there is no more time."""
        if self.left_s <= 0:
            raise GivenUpError("the time for it was over")

    def rest(self, seconds: float) -> None:
        """Wait, and raise when there is no more time."""
        self._over.wait(min(seconds, self.left_s))
        self.look()


class Backoff:
    """When to try again: the delay doubles up to a limit, varies, and obeys Retry-After."""

    def __init__(self, first_s: float, longest_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._rng = rng
        self._failures = 0

    def next_s(self, error: SweepctlError) -> float:
        """Give the seconds to wait after this failure."""
        delay_s = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        delay_s *= self._rng.uniform(0.75, 1.25)
        asked_s = error.retry_after_s if isinstance(error, ApiError) else None
        return max(delay_s, min(asked_s or 0.0, _LONGEST_RETRY_AFTER_S))

    def reset(self) -> None:
        """Start again after a success."""
        self._failures = 0


class InterruptedBySignalError(Exception):
    """This process was told to leave while it waited; `call` is what it waited for, if anything."""

    def __init__(self, signum: int, call: BackgroundCall[Any] | None = None) -> None:
        super().__init__(signum)
        self.signum = signum
        self.call = call


class Signals:
    """The order to leave: the signals as they come, and the time by which the process must be gone.

    The one place that knows of it. What waits asks here, and ends by `raise_if_leaving`.
    """

    def __init__(
        self, wake_up: WakeUp, grace_s: float = 30.0, received: list[int] | None = None
    ) -> None:
        """Take `grace_s`, the seconds from the first signal to the end of the process.

        `received` is where an earlier handler notes signals, so that none is lost until `install`.
        """
        self._wake_up = wake_up
        self._grace_s = grace_s
        self._first_at = time.monotonic()
        self._received = [] if received is None else received

    def install(self) -> None:
        """Take the signals, also a SIGINT that a shell has set to be ignored in the background.

        A SIGHUP that is ignored stays so: the process was started by `nohup`.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self.note)

    def note(self, signum: int, _frame: object = None) -> None:
        """Note a signal. The first one starts the time to leave."""
        if not self._received:
            self._first_at = time.monotonic()
        self._received.append(signum)
        self._wake_up.set()

    @property
    def is_leaving(self) -> bool:
        """Whether this process was told to leave."""
        return bool(self._received)

    @property
    def count(self) -> int:
        """How many signals have come; a second one is impatient."""
        return len(self._received)

    @property
    def first(self) -> int | None:
        """The signal that came first; None when there is none."""
        return self._received[0] if self._received else None

    @property
    def last(self) -> int | None:
        """The signal that came last; None when there is none."""
        return self._received[-1] if self._received else None

    @property
    def left_s(self) -> float:
        """The seconds that are left to leave, at least 0: the grace less a margin."""
        return max(0.0, self._first_at + self._usable_s - time.monotonic())

    @property
    def last_words_s(self) -> float:
        """The seconds at the end of that time that are kept for W&B."""
        return min(LAST_WORDS_S, self._usable_s / 2)

    @property
    def training_s(self) -> float:
        """The seconds from the order to leave to the end of what trains."""
        return max(0.0, self._usable_s - self.last_words_s)

    @property
    def _usable_s(self) -> float:
        margin_s = max(LEAVING_MARGIN_S, self._grace_s * LEAVING_SHARE)
        return self._grace_s - min(margin_s, self._grace_s / 5)

    def raise_if_leaving(self, call: BackgroundCall[Any] | None = None) -> None:
        """Raise InterruptedBySignalError when told to leave; `call` is what was waited for."""
        if self._received:
            raise InterruptedBySignalError(self._received[0], call)


class Retrying:
    """Calls that are tried until they work, or until this process is asked to end.

    It prints one line for each change of the API's state, however many attempts there are.
    """

    def __init__(
        self, wake_up: WakeUp, signals: Signals, say: Callable[[str], None], rng: random.Random
    ) -> None:
        self._wake_up = wake_up
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
        """Try until it works. `is_final` says, by error and seconds, when to raise instead."""
        backoff = Backoff(0.5, 30.0, self._rng)
        began = time.monotonic()
        while True:
            try:
                value = self.run(work)
            except ApiError as error:
                if is_final(error, time.monotonic() - began):
                    raise
                self.note_failure(error)
                self.rest(backoff.next_s(error))
            else:
                self.note_success()
                return value

    def run(self, work: Callable[[], T]) -> T:
        """Do work once, in a thread; InterruptedBySignalError when told to leave."""
        self._signals.raise_if_leaving()  # nothing new is begun after that
        call = BackgroundCall(work, self._wake_up)
        self.wait(call, float("inf"))
        return call.result()

    def wait(self, call: BackgroundCall[Any], limit_s: float) -> bool:
        """Wait for a call's end, at most `limit_s`; raise, with the call, when told to leave."""
        until = time.monotonic() + limit_s
        while not call.is_done() and (left_s := until - time.monotonic()) > 0:
            self.sleep(min(left_s, 60.0), call)
        return call.is_done()

    def rest(self, seconds: float) -> None:
        """Wait `seconds`; raise when this process is told to leave."""
        until = time.monotonic() + seconds
        self.sleep(seconds)
        while (left_s := until - time.monotonic()) > 0:
            self.sleep(left_s)

    def sleep(self, timeout_s: float, call: BackgroundCall[Any] | None = None) -> None:
        """Sleep until woken, at most `timeout_s`; raise, with `call`, when told to leave."""
        if not self._signals.is_leaving:
            self._wake_up.wait(timeout_s)
        self._signals.raise_if_leaving(call)

    def note_failure(self, error: SweepctlError) -> None:
        """Print what is wrong, when that is new."""
        if self._trouble is None:
            self._since = time.monotonic()
        if error.message != self._trouble:
            self._trouble = error.message
            self._say(f"{error.line}; trying again until it works")

    def note_success(self) -> None:
        """Print that it works again, when it did not before."""
        if self._trouble is not None:
            self._trouble = None
            self._say(f"the API answers again, after {time.monotonic() - self._since:.0f} s")


class NoAnswerError(SweepctlError):
    """The API gave no answer that can be believed in the time that there was."""


class LastCalls:
    """Calls that must get through: tried until they work, or until the time to leave is over."""

    def __init__(self, retrying: Retrying, signals: Signals, wake_up: WakeUp) -> None:
        self.retrying = retrying
        self._signals = signals
        self._wake_up = wake_up

    def call(self, work: Callable[[], T]) -> T:
        """Call the API until it works; NoAnswerError when the time to leave is over before that.

        One negative answer is not the truth: an ingress answers 404 while its server restarts.
        """
        try:
            return self.retrying.call(work, is_final=_is_hopeless)
        except ApiError as error:
            raise NoAnswerError(error.message, error.hint) from None
        except InterruptedBySignalError as interrupted:
            under_way: BackgroundCall[T] = interrupted.call or BackgroundCall(work, self._wake_up)
        return self._insist(work, under_way, lambda: self._signals.left_s)

    def call_for(self, limit_s: float, work: Callable[[], T]) -> bool:
        """Call the API until it works, at most `limit_s`; say whether it has.

        One that is under way by then goes on, and may still get through.
        """
        until = time.monotonic() + limit_s
        first = BackgroundCall(work, self._wake_up)
        try:
            self._insist(work, first, lambda: max(0.0, until - time.monotonic()))
        except NoAnswerError:
            return False
        return True

    def _insist(
        self, work: Callable[[], T], under_way: BackgroundCall[T], left_s: Callable[[], float]
    ) -> T:
        trouble = "the time to leave was over"
        while under_way.wait(left_s()):
            try:
                return under_way.result()
            except ApiError as error:
                self.retrying.note_failure(error)
                trouble = error.message
            time.sleep(min(LAST_CALLS_EVERY_S, left_s()))
            if left_s() <= 0:
                break
            under_way = BackgroundCall(work, self._wake_up)
        raise NoAnswerError(trouble)

    def rest(self, seconds: float) -> bool:
        """Wait `seconds`; give False when this process is told to leave."""
        try:
            self.retrying.rest(seconds)
        except InterruptedBySignalError:
            return False
        return True


def _is_hopeless(error: ApiError, lasted_s: float) -> bool:
    """Say whether to give up: what is refused, or gone, for minutes stays so."""
    return not error.is_transient and lasted_s > HOPELESS_AFTER_S
