"""The record of how a run was trained, and the command as it stands in it."""

import json
from dataclasses import replace

import pytest

from sweepctl_pod.claims import (
    Abandoned,
    Standing,
    adoptable_after_s,
    new_claim,
    standing,
    with_claim,
)
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.run_record import Attempt, Claim, RunRecord, read_record
from sweepctl_pod.trainer.resolve import resolve


def test_record_is_read_as_it_was_written() -> None:
    record = RunRecord(("a", "ü \ud800", "${envvar:X}"), "hydra", "job-3", 2)
    assert read_record(record.text()) == record
    for text in ("", "[]", "{}", '{"argv": [1]}', "{", json.dumps({"argv": "a b"})):
        assert read_record(text) is None


@pytest.mark.parametrize(
    ("command", "written"),
    [
        (["python", "t.py", "--d=${envvar:D}"], ["python", "t.py", "--d=${envvar:D}"]),
        (["python", "${envvar:D}", "/data"], ["python", "${envvar:D}", "/data"]),
        (["python", "/data", "${envvar:D}"], ["python", "/data", "${envvar:D}"]),
        (
            ["${env}", "python", "-m", "sweepctl.pod.run", "${envvar:L}", "train", "--headless"],
            [
                *("${envvar:L}", "train", "--logger", "wandb", "--log_project_name", "p"),
                *("--run_timestamp", "r1"),
            ],
        ),
        (["t", "${envvar:MACRO}"], ["t"]),
    ],
    ids=str,
)
def test_command_is_kept_as_written_where_it_takes_from_the_environment(
    command: list[str], written: list[str]
) -> None:
    resolved = resolve(
        command,
        program=None,
        parameters=run_parameters({}, {}),
        run_id="r1",
        project="p",
        entity="e",
        grammar=Grammar.LITERAL,
        environ={"D": "/data", "L": "isaaclab", "MACRO": "${args}"},
    )
    assert list(resolved.written) == written


ATTEMPTS = (
    Attempt(1, "job-0", began_at=1.0, ended_at=9.0, ended_by="SIGKILL", first=0, last=9),
    Attempt(2, "job-0", began_at=9.5, ended_at=20.0, ended_by="SIGTERM", first=5, last=14),
    Attempt(3, "job-1", began_at=30.0, first=15),
)


def test_claims_and_attempts_are_read_as_they_were_written() -> None:
    claims = (Claim("job-0/a", 1, 0.5), Claim("job-1/b", 2, 29.5))
    record = RunRecord((), "", "job-1", 3, claims, ATTEMPTS)
    assert read_record(record.text()) == record


def test_what_a_later_version_adds_is_left_out_and_what_is_no_attempt_as_well() -> None:
    form = json.loads(RunRecord(("a",), "", "h", 1, attempts=ATTEMPTS[:1]).text())
    form["attempts"][0]["from_the_future"] = 1
    form["attempts"] += [{"host": "no number"}, "no attempt", None]
    form["claims"] = {"no": "list"}
    read = read_record(json.dumps(form))
    assert read is not None
    assert read.attempts == ATTEMPTS[:1]
    assert read.claims == ()


ENTRY = {"number": 7, "host": "h", "began_at": 5.0, "ended_by": "SIGTERM", "first": 0, "last": 3}
CLAIM = {"agent": "h/a", "fence": 2, "at": 5, "release": "r"}
WRONG = ["x", [], {}, True, float("nan"), float("inf"), 1e300, 10**400, -(10**60), "\ud800"]


@pytest.mark.parametrize("wrong", [*WRONG, None, 1.5, 1])
@pytest.mark.parametrize("name", [*ENTRY, *CLAIM, "attempt", "retry_asked_at", "parameters"])
def test_a_value_of_another_type_counts_as_missing_and_breaks_nothing(
    name: str, wrong: object
) -> None:
    form = json.loads(RunRecord(("a",), "", "h", 1, attempts=ATTEMPTS[:1]).text())
    form["attempts"].append({**ENTRY, name: wrong} if name in ENTRY else ENTRY)
    form["claims"] = [{**CLAIM, name: wrong} if name in CLAIM else CLAIM]
    read = read_record(json.dumps({**form, name: wrong}))
    assert read is not None
    assert all(isinstance(attempt.number, int) for attempt in read.attempts)
    for tried in (read, replace(read, retry_asked_at=4.0)):
        assert tried.losses >= 0
        assert tried.next_number > 0
        assert tried.iterations_repeated is None or tried.iterations_repeated >= 0
        assert isinstance(tried.endings, str)
        tried.silent(tried.next_number)
        again = tried.with_attempt(Attempt(tried.next_number, "h"))
        assert read_record(again.text()) == again
    own = new_claim(read.claims, "h/z", 10.0)
    with_claim(read.claims, own)
    assert standing([*read.claims, own], own) is Standing.BEST
    adoptable_after_s(Abandoned("crashed", 0.0, read), "i/b", 100.0, 10.0, replaces_host=True)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"argv": [' * 50_000, "1e999", "null"], ids=lambda text: text[:20]
)
def test_what_is_no_record_is_none(text: str) -> None:
    assert read_record(text) is None


def test_repeated_iterations_are_those_behind_the_furthest_that_was_reached() -> None:
    assert RunRecord((), "", "h", 3, attempts=ATTEMPTS).iterations_repeated == 5
    assert RunRecord((), "", "h", 2, attempts=ATTEMPTS[1:]).iterations_repeated == 0


@pytest.mark.parametrize(
    ("ends", "losses"),
    [
        ([], 0),
        ([("SIGTERM", None), ("SIGTERM", 3)], 0),
        ([("SIGKILL", None), ("silence", None)], 2),
        ([("SIGKILL", None), ("SIGTERM", None), ("SIGKILL", None)], 2),
        ([("SIGKILL", 5), ("SIGKILL", 9), ("silence", 10)], 1),
        ([("SIGKILL", 5), ("SIGKILL", 5), ("silence", 4)], 3),
        ([("SIGKILL", 5), ("SIGKILL", 5), ("SIGTERM", 6)], 0),
        ([("SIGKILL", 5), ("", None)], 1),
    ],
    ids=str,
)
def test_attempt_is_lost_by_a_kill_or_silence_and_one_that_came_further_makes_good_for_all_before(
    ends: list[tuple[str, int | None]], losses: int
) -> None:
    attempts = tuple(
        Attempt(number, "job-0", ended_by=ended_by, last=last)
        for number, (ended_by, last) in enumerate(ends, start=1)
    )
    assert RunRecord((), "", "h", 1, attempts=attempts).losses == losses


def test_what_is_learned_of_an_attempt_takes_the_place_of_what_was_known_of_it() -> None:
    begun = Attempt(2, "job-0", agent="job-0/b", began_at=7.0)
    record = RunRecord((), "", "h", 1, attempts=ATTEMPTS[:1]).with_attempt(begun)
    ended = Attempt(2, "job-0", agent="job-0/b", began_at=7.0, ended_by="SIGTERM", last=4)
    again = Attempt(3, "job-0", agent="job-0/b", began_at=8.0)
    assert record.with_attempt(ended).with_attempt(again).attempts == (ATTEMPTS[0], ended, again)
    assert record.next_number == 3
    assert record.silent(3) == (begun,)
    assert record.silent(2) == ()


def test_first_numbered_attempt_follows_the_count_of_a_record_without_attempts() -> None:
    assert RunRecord((), "", "h", 4).next_number == 5


@pytest.mark.parametrize(
    ("known", "repeated"),
    [
        ([(None, None)], 0),
        ([(None, None), (None, None)], None),
        ([(0, 9), (None, None), (10, None)], 0),
        ([(0, None), (5, None)], None),
        ([(0, 9), (5, 7), (8, 20)], 7),
        ([], None),
    ],
    ids=["one attempt", "nobody counts", "one began nothing", "silent", "back twice", "no record"],
)
def test_repeated_iterations_are_counted_only_where_the_attempts_tell(
    known: list[tuple[int | None, int | None]], repeated: int | None
) -> None:
    attempts = tuple(
        Attempt(n, "h", first=first, last=last) for n, (first, last) in enumerate(known)
    )
    assert RunRecord((), "", "h", 1, attempts=attempts).iterations_repeated == repeated


def test_endings_are_told_in_their_order_and_counted_where_they_follow_each_other() -> None:
    ends = ("SIGTERM", "SIGKILL", "SIGKILL", "SIGTERM", "")
    attempts = tuple(Attempt(n, "h", ended_by=end) for n, end in enumerate(ends))
    assert RunRecord((), "", "h", 5, attempts=attempts).endings == "SIGTERM, 2 × SIGKILL, SIGTERM"
