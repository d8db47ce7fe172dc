"""What is kept of a trainer's output for its run: bounded, dated, without secrets."""

import pytest

from sweepctl_pod.run.secret_values import Secrets
from sweepctl_pod.run.transcript import HEAD_BYTES, TAIL_BYTES, Transcript

LONG = "sk-0123456789abcdef"


def test_short_output_is_told_whole_with_its_times() -> None:
    times = iter([0.0, 1.5, 86400.0])
    transcript = Transcript(lambda: next(times))
    transcript.feed(b"one\ntwo\n")
    transcript.feed(b"10%\r20%\r100%\n\xff\n")
    transcript.feed(b"no end")
    assert transcript.lines(str, "/log") == [
        "1970-01-01T00:00:00.000000 one",
        "1970-01-01T00:00:00.000000 two",
        "1970-01-01T00:00:01.500000 100%",
        "1970-01-01T00:00:01.500000 \ufffd",
        "1970-01-02T00:00:00.000000 no end",
    ]
    assert transcript.last_lines(2, str)[0].endswith(" \ufffd")
    assert Transcript().lines(str, "/log") == []


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_long_output_keeps_its_beginning_and_end_and_counts_the_rest(block: int) -> None:
    transcript = Transcript(lambda: 0.0)
    lines = [b"line %06d\n" % number for number in range(200_000)]
    for start in range(0, len(lines), block):
        transcript.feed(b"".join(lines[start : start + block]))
    told = [line.partition(" ")[2] for line in transcript.lines(str, "/log")]
    gap = next(place for place, line in enumerate(told) if "left out" in line)
    kept = [line.encode() + b"\n" for line in (*told[:gap], *told[gap + 1 :])]
    head, tail = kept[:gap], kept[gap:]
    assert (head, tail) == (lines[: len(head)], lines[-len(tail) :])
    left_out = sum(map(len, lines)) - sum(map(len, kept))
    assert f"… {left_out} bytes are left out here; all of it: /log …" == told[gap]
    assert 0.9 * HEAD_BYTES < sum(map(len, head)) <= HEAD_BYTES
    assert 0.8 * TAIL_BYTES < sum(map(len, tail)) <= TAIL_BYTES


def test_endless_lines_are_cut_where_no_secret_can_stick_out() -> None:
    transcript = Transcript(lambda: 0.0)
    secrets = Secrets({"A_KEY": LONG})
    for _ in range(3):
        transcript.feed(b"x" * 9_990 + LONG.encode() + b"y" * 900_000)
    told = transcript.lines(secrets.hide, "/log")
    assert max(map(len, told)) < 11_000
    assert not [line for line in told if "sk-" in line]
