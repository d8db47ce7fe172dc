"""Retrying: when to try again, what is said about it, and what a signal changes."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from sweepctl_pod import heartbeats
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.heartbeats import Command, Heartbeats, beat_after_s
from sweepctl_pod.waiting import (
    BackgroundCall,
    Backoff,
    InterruptedBySignalError,
    LastCalls,
    NoAnswerError,
    Retrying,
    Signals,
    WakeUp,
)
from sweepctl_pod.wandb.client import ApiError

DOWN = ApiError("cannot reach http://api: connection refused")
REFUSED = ApiError("http://api answered 401", "check WANDB_API_KEY", status=401)


class Clock:
    """A time of its own: it passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sweepctl_pod.waiting.time", clock)
    return clock


class Scene:
    """A wake_up, signals and retrying, with what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.wake_up = WakeUp()
        self.signals = Signals(self.wake_up, grace_s=30)
        self.retrying = Retrying(self.wake_up, self.signals, self.said.append, random.Random(1))
        self.last_calls = LastCalls(self.retrying, self.signals, self.wake_up)

    def signal(self, signum: int, grace_s: float = 30) -> None:
        self.signals._grace_s = grace_s
        self.signals.note(signum)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(Backoff, "next_s", lambda self, error: 0.0)
    scene = Scene()
    yield scene
    scene.wake_up.close()


def failing(*errors: Exception, then: object = "done") -> Callable[[], object]:
    left = list(errors)

    def work() -> object:
        if left:
            raise left.pop(0)
        return then

    return work


def test_call_is_tried_until_it_works_and_each_change_is_said_once(scene: Scene) -> None:
    assert scene.retrying.call(failing(DOWN, DOWN, DOWN, REFUSED, REFUSED)) == "done"
    assert scene.said == [
        "cannot reach http://api: connection refused; trying again until it works",
        "http://api answered 401 (check WANDB_API_KEY); trying again until it works",
        "the API answers again, after 0 s",
    ]


def test_call_that_works_says_nothing(scene: Scene) -> None:
    assert scene.retrying.call(failing()) == "done"
    assert scene.said == []


def test_final_error_is_raised_and_another_is_not(scene: Scene) -> None:
    with pytest.raises(ApiError, match="401"):
        scene.retrying.call(failing(DOWN, REFUSED), is_final=lambda error, _: error.is_refused)


def test_error_that_is_not_the_apis_is_not_tried_again(scene: Scene) -> None:
    with pytest.raises(ZeroDivisionError):
        scene.retrying.call(failing(ZeroDivisionError()))


def test_signal_ends_the_waiting_for_a_call_that_hangs(scene: Scene) -> None:
    gate = threading.Event()
    threading.Timer(0.05, scene.signal, [signal.SIGTERM]).start()
    with pytest.raises(InterruptedBySignalError):
        scene.retrying.call(gate.wait)
    gate.set()


@pytest.mark.parametrize(
    "error", [DOWN, REFUSED, ApiError("no run r1", status=404)], ids=["down", "refused", "gone"]
)
def test_last_calls_are_made_to_the_end_of_the_time_whatever_the_answer(
    error: ApiError, scene: Scene, clock: Clock
) -> None:
    scene.signal(signal.SIGTERM, grace_s=30)
    tried_at_s = []

    def work() -> None:
        tried_at_s.append(clock.now_s)
        raise error

    with pytest.raises(NoAnswerError, match=error.message):
        scene.last_calls.call(work)
    assert scene.signals.left_s == 0
    assert tried_at_s == [0.5 * number for number in range(54)]
    assert [line.split(" (")[0].split(";")[0] for line in scene.said] == [error.message]


@pytest.mark.parametrize(
    ("errors", "has_worked", "tries"),
    [
        pytest.param([], True, 1, id="at once"),
        pytest.param([DOWN, REFUSED], True, 3, id="late"),
        pytest.param([DOWN] * 20, False, 10, id="never"),
    ],
)
def test_a_call_for_a_while_is_tried_until_it_works_or_the_while_is_over(
    errors: list[Exception], has_worked: bool, tries: int, scene: Scene, clock: Clock
) -> None:
    scene.signal(signal.SIGTERM)
    tried, work = [], failing(*errors)

    def counted() -> object:
        tried.append(1)
        return work()

    assert scene.last_calls.call_for(5.0, counted) == has_worked
    assert len(tried) == tries


def test_a_call_for_a_while_that_hangs_goes_on_when_the_while_is_over(scene: Scene) -> None:
    gate, done = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(30)
        done.set()

    assert not scene.last_calls.call_for(0.05, work)
    gate.set()
    assert done.wait(30)


@pytest.mark.parametrize(
    "error", [DOWN, REFUSED, ApiError("no run r1", status=404)], ids=["down", "refused", "gone"]
)
def test_last_call_that_gets_through_late_counts(error: ApiError, scene: Scene) -> None:
    scene.signal(signal.SIGTERM)
    assert scene.last_calls.call(failing(error)) == "done"


def test_answer_of_a_call_under_way_is_heard_out_after_a_signal(scene: Scene) -> None:
    gate = threading.Event()
    calls = []

    def work() -> str:
        calls.append(1)
        gate.wait(30)
        return "done"

    def leave() -> None:
        scene.signal(signal.SIGTERM)
        gate.set()

    threading.Timer(0.05, leave).start()
    assert scene.last_calls.call(work) == "done"
    assert calls == [1]


def test_one_negative_answer_is_asked_again(scene: Scene) -> None:
    gone = ApiError("no run r1", status=404)
    assert scene.last_calls.call(failing(gone, REFUSED, gone)) == "done"


def test_what_is_refused_for_minutes_is_given_up_untold(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweepctl_pod.waiting.HOPELESS_AFTER_S", 0.0)
    with pytest.raises(NoAnswerError, match="401"):
        scene.last_calls.call(failing(DOWN, DOWN, REFUSED))


def test_time_to_leave_is_the_grace_less_a_margin_from_the_first_signal(
    scene: Scene, clock: Clock
) -> None:
    scene.signal(signal.SIGTERM, grace_s=100)
    clock.sleep(7)
    scene.signal(signal.SIGINT, grace_s=100)
    assert scene.signals.left_s == 83
    usual = Signals(scene.wake_up, grace_s=20, received=[signal.SIGTERM])
    assert usual.left_s == pytest.approx(17)
    short = Signals(scene.wake_up, grace_s=1, received=[signal.SIGTERM])
    assert short.left_s == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("signum", "was_ignored", "is_taken"),
    [
        (signal.SIGHUP, True, False),
        (signal.SIGHUP, False, True),
        (signal.SIGINT, True, True),
        (signal.SIGTERM, True, True),
    ],
)
def test_nohup_is_respected_and_what_a_shell_ignores_for_background_jobs_is_not(
    signum: int, was_ignored: bool, is_taken: bool, scene: Scene
) -> None:
    before = {kind: signal.getsignal(kind) for kind in (15, 2, 1)}
    try:
        signal.signal(signum, signal.SIG_IGN if was_ignored else signal.SIG_DFL)
        scene.signals.install()
        assert (signal.getsignal(signum) == scene.signals.note) == is_taken
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def test_delays_double_to_a_cap_with_jitter_and_respect_the_api() -> None:
    backoff = Backoff(1.0, 30.0, random.Random(7))
    delays = [backoff.next_s(DOWN) for _ in range(12)]
    for number, delay in enumerate(delays):
        assert 0.75 * min(30, 2**number) <= delay <= 1.25 * min(30, 2**number)
    assert len(set(delays)) == 12
    assert backoff.next_s(ApiError("slow down", status=429, retry_after_s=90)) == 90
    assert backoff.next_s(ApiError("slow down", status=429, retry_after_s=1e9)) == 600
    backoff.reset()
    assert backoff.next_s(DOWN) <= 1.25


@pytest.mark.parametrize(
    ("error", "every_s", "next_s"),
    [
        pytest.param(DOWN, 5, 5, id="unreachable"),
        pytest.param(DOWN, 30, 5, id="unreachable-after-a-limit"),
        pytest.param(ApiError("x", status=503), 5, 5, id="trouble"),
        pytest.param(ApiError("x", status=429), 5, 10, id="limit"),
        pytest.param(ApiError("x", status=429), 20, 30, id="limit-again"),
        pytest.param(ApiError("x", status=429, retry_after_s=17), 5, 17, id="limit-with-time"),
        pytest.param(ApiError("x", status=503, retry_after_s=900), 5, 30, id="time-beyond-the-cap"),
    ],
)
def test_heartbeats_of_a_run_slow_down_only_when_the_api_asks(
    error: ApiError, every_s: float, next_s: float
) -> None:
    assert beat_after_s(error, every_s) == next_s


def test_bell_that_rang_before_the_wait_is_not_missed() -> None:
    wake_up = WakeUp()
    for _ in range(100_000):  # more than a pipe holds
        wake_up.set()
    wake_up.wait(1000)
    call = BackgroundCall(lambda: os.getpid(), wake_up)
    wake_up.wait(1000)
    assert call.wait(10)
    assert call.result() == os.getpid()
    wake_up.close()


def test_wait_for_a_hanging_heartbeat_ends_for_a_signal(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_S", 0.01)
    is_asked, answer = threading.Event(), threading.Event()

    def beat(run_id: str) -> list[Command]:
        is_asked.set()
        answer.wait(30)
        return []

    beats = Heartbeats(beat, "r1", scene.wake_up)
    assert is_asked.wait(10)
    threading.Timer(0.1, scene.signal, [signal.SIGTERM]).start()
    with pytest.raises(InterruptedBySignalError):
        scene.retrying.wait(beats.end(), 30)
    answer.set()


def test_heartbeats_go_on_whatever_one_of_them_comes_to(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_S", 0.01)
    told = iter([RecursionError("deep"), KeyError("id"), DOWN])
    answers: list[object] = []

    def beat(run_id: str) -> list[Command]:
        if error := next(told, None):
            raise error
        return [{"type": "stop", "run_id": run_id}]

    beats = Heartbeats(beat, "r1", scene.wake_up)
    while len(answers) < 4:
        scene.wake_up.wait(10)
        answers += beats.take()
    assert beats.end().wait(10)
    assert [type(answer) for answer in answers[:4]] == [
        SweepctlError, SweepctlError, ApiError, list
    ]  # fmt: skip
