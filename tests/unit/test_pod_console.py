"""The agent's output and a run's log: whole, in order, bounded, and in nobody's way."""

import contextlib
import errno
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweepctl_pod.console import Console
from sweepctl_pod.run.trainer_log import TrainerLog


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(fd)


def read_all(console: Console, pipe: tuple[int, int]) -> bytes:
    found: list[bytes] = []

    def read() -> None:
        while block := os.read(pipe[0], 1 << 16):
            found.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    assert console.flush(30)
    os.close(pipe[1])
    reader.join(30)
    return b"".join(found)


def test_trainers_bytes_and_own_lines_keep_their_order_and_begin_on_a_new_line(
    pipe: tuple[int, int],
) -> None:
    console = Console(pipe[1])
    console.say("first")
    console.pass_on(b"a\r\x00\xff half a line")
    console.say("second\nthird")
    console.pass_on(b"end\n")
    assert read_all(console, pipe) == (
        b"sweepctl: first\na\r\x00\xff half a line\nsweepctl: second\nsweepctl: third\nend\n"
    )


def test_reader_who_stalls_holds_nobody_up_and_is_told_what_he_missed(
    pipe: tuple[int, int],
) -> None:
    console = Console(pipe[1], max_waiting_bytes=200_000)
    line = b"x" * 999 + b"\n"
    for _ in range(1000):
        console.pass_on(line)  # a pipe holds 64 KiB: this would wait for ever
    console.say("still here")
    assert not console.flush(0.01)
    passed = read_all(console, pipe)
    kept = passed.count(line)
    left_out = re.findall(rb"^sweepctl: (\d+) bytes of output are left out here", passed, re.M)
    assert kept * 1000 + sum(map(int, left_out)) == 1_000_000
    assert passed.endswith(b"in the run's folder has them\n")
    assert b"sweepctl: still here\n" in passed


def test_output_that_nobody_reads_any_more_is_forgotten(pipe: tuple[int, int]) -> None:
    console = Console(pipe[1])
    os.close(pipe[0])
    for _ in range(100):
        console.pass_on(b"x" * 10_000)
        console.say("hello")
    assert console.flush(30)


def test_log_goes_on_behind_what_an_earlier_attempt_wrote(tmp_path: Path) -> None:
    path = tmp_path / "run" / "trainer.log"
    for text in (b"first\n", b"second\n"):
        log = TrainerLog(path)
        log.write(text)
        log.close()
    assert path.read_bytes() == b"first\nsecond\n"


def test_log_keeps_the_newest_in_two_files_and_says_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trainer.log"
    log = TrainerLog(path, max_bytes=1000)
    lines = [b"line %03d\n" % number for number in range(400)]
    for line in lines:
        log.write(line)
    log.close()
    older = path.with_name("trainer.log.1").read_bytes()
    first, _, newest = path.read_bytes().partition(b"\n")
    assert len(older) <= 1000 >= len(newest)
    kept = older.partition(b"\n")[2] + newest
    assert b"".join(lines).endswith(kept)
    left_out = int(first.split(b"; ")[1].split()[0])
    assert first.startswith(b"sweepctl: the ")
    assert left_out > 1000


def test_piece_that_is_larger_than_the_limit_is_written_whole(tmp_path: Path) -> None:
    log = TrainerLog(tmp_path / "trainer.log", max_bytes=10)
    log.write(b"x" * 100)
    assert (tmp_path / "trainer.log").read_bytes() == b"x" * 100
    log.close()


def test_log_whose_place_for_more_is_gone_stays_open_until_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrainerLog(tmp_path / "trainer.log", max_bytes=10)
    log.write(b"x" * 10)

    def no_room() -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(log, "_open", no_room)
    with pytest.raises(OSError, match="no room"):
        log.write(b"y")
    others = os.open("/dev/null", os.O_RDONLY)  # would get the number of a file closed too early
    log.close()
    os.close(others)
