"""The times of attempts: what the API's answers tell of its clock, and what follows from them."""

import itertools
import json
from collections.abc import Sequence
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl_pod.run_record import Attempt, RunRecord, read_record
from sweepctl_pod.wandb.api_clock import ApiClock, SteadyClock

START = 1_795_704_590.0
"""The API's time when the steady clock was 0."""


class Steady:
    """A steady clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def date(seconds: float) -> str:
    """Write a time as an answer has it: in whole seconds, rounded down."""
    return formatdate(int(seconds), usegmt=True)


STEPS = st.lists(
    st.tuples(st.floats(0, 30), st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(STEPS)
def test_time_of_the_api_never_goes_back_while_its_clock_is_not_set_back(
    answers: Sequence[tuple[float, float, float]],
) -> None:
    steady = Steady()
    clock = ApiClock(steady)
    times: list[float] = []
    for rest_s, took_s, share in answers:
        steady.at += rest_s
        if times:
            times.append(clock.now())
        made_at = START + steady.at + took_s * share
        steady.at += took_s
        clock.hear(date(made_at), took_s)
        times.append(clock.now())
        assert -1.0 - took_s - 1e-3 < times[-1] - (START + steady.at) < 1e-3
    # A float of this size has steps of 2.4e-7.
    assert all(later - earlier > -1e-6 for earlier, later in itertools.pairwise(times))


def test_many_answers_tell_the_time_better_than_the_last_one() -> None:
    steady = Steady()
    clock = ApiClock(steady)
    for at in (0.0, 0.35, 0.7, 1.05, 1.4, 1.99):
        steady.at = at
        clock.hear(date(START + at))
    assert abs(clock.now() - (START + 1.99)) < 1e-3


@pytest.mark.parametrize("by_s", [60.0, 3600.0, 86_400.0 * 365])
def test_clock_that_was_wrong_and_was_set_right_is_followed_both_ways(by_s: float) -> None:
    for jump in (by_s, -by_s):
        steady = Steady()
        clock = ApiClock(steady)
        clock.hear(date(START))
        steady.at = 10.0
        clock.hear(date(START + 10.0 + jump), 0.1)
        assert abs(clock.now() - (START + 10.0 + jump)) < 1.0


def test_answer_without_a_date_changes_nothing() -> None:
    steady = Steady()
    clock = ApiClock(steady)
    clock.hear(date(START))
    for text in (None, "", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT"):
        clock.hear(text)
        assert clock.now() == START


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(-1e6, 1e6)), max_size=10),
    st.floats(0, 5),
)
def test_attempt_never_ends_before_it_began_whatever_the_clocks_say(
    answers: Sequence[tuple[float, float]], last_s: float
) -> None:
    steady = Steady()
    api = ApiClock(steady)
    api.hear(date(START))
    attempt = SteadyClock(api.now(), steady)
    began = attempt.now()
    times: list[float] = []
    for lasted_s, jump in answers:
        steady.at += lasted_s
        api.hear(date(START + steady.at + jump))
        times.append(attempt.now())
    steady.at += last_s
    times.append(attempt.now())
    assert [began, *times] == sorted([began, *times])
    assert times[-1] - began == pytest.approx(steady.at, abs=1e-3)


def test_record_of_an_agent_with_a_worse_clock_is_read_in_order() -> None:
    wrong = Attempt(1, "job-0", began_at=1795704596.0011718, ended_at=1795704596.000161)
    form = json.loads(RunRecord((), "", "job-0", 1).text())
    form["attempts"] = [{"number": 1, "host": "job-0", "began_at": wrong.began_at}]
    form["attempts"][0]["ended_at"] = wrong.ended_at
    read = read_record(json.dumps(form))
    assert read is not None
    assert read.attempts[0].ended_at == read.attempts[0].began_at == wrong.began_at
