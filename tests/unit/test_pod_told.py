"""What an agent tells of a run: the bounded output, no secrets, the record of its command."""

import json

import pytest

from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run.secret_values import Secrets
from sweepctl_pod.run.transcript import HEAD_BYTES, TAIL_BYTES, Transcript
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.run_record import RunRecord, read_record
from sweepctl_pod.trainer.resolve import resolve

LONG = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("environ", "text", "told"),
    [
        ({"WANDB_API_KEY": LONG}, f"key {LONG}!", "key ***!"),
        ({"HF_TOKEN": LONG}, f"x{LONG}y", "x***y"),
        ({"db_password": LONG}, LONG, "***"),
        ({"AWS_SECRET_ACCESS_KEY": "a+b/c=d?e f"}, "at a%2Bb%2Fc%3Dd%3Fe%20f", "at ***"),
        ({"GOOGLE_CREDENTIALS": f"one-line-a\n{LONG}\n"}, f"{LONG} one-line-a", "*** ***"),
        ({"MY_KEY": "tiny"}, "a tiny one, --k=tiny, tinyness", "a *** one, --k=***, tinyness"),
        ({"MY_KEY": "1"}, "--n=1 1 11", "--n=1 1 11"),
        ({"MY_KEY": "4096"}, "--num_envs 4096", "--num_envs 4096"),
        ({"TOKENIZERS_PARALLELISM": "false"}, "--x=false", "--x=false"),
        ({"MY_KEY": ""}, "all of it", "all of it"),
        ({"PATH": "/usr/bin:/bin"}, "/usr/bin:/bin", "/usr/bin:/bin"),
        ({"A_KEY": LONG, "B_KEY": f"{LONG}-more"}, f"{LONG}-more {LONG}", "*** ***"),
        ({"A_KEY": "(.*)[a]+"}, "the (.*)[a]+ itself", "the *** itself"),
    ],
    ids=str,
)
def test_secrets_are_hidden_and_nothing_else(environ: dict[str, str], text: str, told: str) -> None:
    assert Secrets(environ).hide(text) == told


def test_secret_in_a_command_becomes_its_variable_so_that_it_can_be_repeated() -> None:
    secrets = Secrets({"DB_PASSWORD": LONG, "lower_key": "another-one"})
    assert secrets.hide_in_command(["a", f"--p={LONG}", "another-one"]) == [
        *("a", "--p=${envvar:DB_PASSWORD}", "***")
    ]


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


def test_record_is_read_as_it_was_written() -> None:
    record = RunRecord(("a", "ü \ud800", "${envvar:X}"), "hydra", "job-3", 2)
    assert read_record(record.text()) == record
    for text in ("", "[]", '{"argv": []}', '{"argv": [1]}', "{", json.dumps({"argv": "a b"})):
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
