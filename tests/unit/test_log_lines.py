"""Lines of pods' logs: none twice, none left out, each to its run."""

from __future__ import annotations

import random

import pytest

from sweepctl.sweeps.log_lines import Resumption, RunFilter, parse_duration_s, split_line
from sweepctl_pod.errors import UsageError


@pytest.mark.parametrize(
    ("raw", "time", "text"),
    [
        (
            "2026-05-01T12:00:00.123456789Z hello world",
            "2026-05-01T12:00:00.123456789Z",
            "hello world",
        ),
        ("2026-05-01T12:00:00.12Z  indented", "2026-05-01T12:00:00.120000000Z", " indented"),
        ("2026-05-01T12:00:00Z ", "2026-05-01T12:00:00.000000000Z", ""),
        ("unable to retrieve logs", "", "unable to retrieve logs"),
    ],
    ids=["nine digits", "zeros left out", "empty", "the kubelet's own"],
)
def test_line_is_parted_from_its_time(raw: str, time: str, text: str) -> None:
    assert split_line(raw) == (time, text)


def at(position: int) -> str:
    return f"2026-05-01T12:00:{position // 10:02}.{position % 10}00000000Z"


@pytest.mark.parametrize("seed", range(20))
def test_every_line_is_shown_once_however_often_the_stream_breaks(seed: int) -> None:
    rng = random.Random(seed)
    log = [(at(i // 3), rng.choice(["same", "other", f"line {i}"])) for i in range(400)]
    # Two streams of one container: neighbours may be written out of the order of their times.
    for i in range(0, 399, 7):
        log[i], log[i + 1] = log[i + 1], log[i]
    shown: list[tuple[str, str]] = []
    resumption = Resumption()
    read = 0
    while read < len(log):
        # The kubelet leaves out what was written before a time.
        since = log[max(0, read - rng.randrange(20, 60))][0]
        read = min(len(log), read + rng.randrange(1, 80))
        resumption.reopened()
        shown += [line for line in log[:read] if line[0] >= since and resumption.is_new(*line)]
    assert shown == log


def test_lines_of_a_rotated_log_are_new() -> None:
    resumption = Resumption()
    assert resumption.is_new(at(1), "before")
    resumption.reopened()
    assert resumption.is_new(at(2), "after the rotation")


def test_the_oldest_lines_are_forgotten_and_still_not_shown_again() -> None:
    resumption = Resumption()
    many = [(f"{i:09}", "x") for i in range(50_000)]
    assert all(resumption.is_new(*line) for line in many)
    resumption.reopened()
    assert not any(resumption.is_new(*line) for line in many)
    assert resumption.is_new("000050001", "x")


LOG = [
    ("agent h-0 of http://s/sweeps/1, overrides in the hydra grammar", False),
    ("run aa starts: python train.py", False),
    ("Iteration 1 of the first", None),
    ("run aa finished: reward = 1", False),
    ("run bb: 4.0 is written as 4.0", True),
    ("run bb starts: python train.py", True),
    ("Iteration 1 of the second", None),
    ("run bb: W&B asks to stop it", True),
    ("run bb handed back: this agent was told to leave", True),
    ("exit 75: told to leave; replace me", False),
]


def test_lines_of_one_run_are_kept_from_its_start_to_its_end() -> None:
    chosen = RunFilter("bb")
    lines = [text if belongs is None else f"sweepctl: {text}" for text, belongs in LOG]
    kept = [text for text in lines if chosen.keeps(text)]
    assert kept == [
        "sweepctl: run bb: 4.0 is written as 4.0",
        "sweepctl: run bb starts: python train.py",
        "Iteration 1 of the second",
        "sweepctl: run bb: W&B asks to stop it",
        "sweepctl: run bb handed back: this agent was told to leave",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("99999999999d", 99999999999 * 86400),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1.5h", 5400),
        ("250ms", 0.25),
    ],
)
def test_length_of_time_is_read_as_kubectl_does(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "5x", "m5"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        parse_duration_s(text, "--timeout")
