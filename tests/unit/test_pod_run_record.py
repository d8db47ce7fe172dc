"""The record of how a run was trained, and the command as it stands in it."""

import json

import pytest

from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.run_record import RunRecord, read_record
from sweepctl_pod.trainer.resolve import resolve


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
