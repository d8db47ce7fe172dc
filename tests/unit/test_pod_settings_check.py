"""Asking which settings the trainer lacks: until there is an answer, and then no more."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from sweepctl_pod.overrides import Override
from sweepctl_pod.run.settings_check import SettingsCheck
from sweepctl_pod.trainer.in_trainer import MARK
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.waiting import WakeUp
from tests.serving import wait_for

Answer = dict[str, list[str]] | None

DIED: Answer = None
"""What the trainer's Python gives when its child ended without a word."""
CANNOT_TELL: Answer = {}
ARGV = ("isaaclab", "train")


class Python:
    """A trainer's Python that gives its answers one after the other, and notes what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[list[str]] = []

    def unknown_settings(self, argv: Sequence[str], paths: Sequence[str]) -> Answer:
        self.asked.append(list(paths))
        return self._answers.pop(0)


def begin(check: SettingsCheck, *paths: str) -> str | None:
    """Begin as a run does and wait for the answer, if there is one to come; give the complaint."""
    check.begin(ARGV, [Override(path, 1.0, path) for path in paths])
    wait_for("the answer", lambda: not check.is_pending(), limit_s=30)
    return check.complaint()


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([DIED, CANNOT_TELL], 2, id="its-child-died-with-the-first-run"),
        pytest.param([DIED, DIED, {"env.gain": ["gains"]}], 3, id="twice"),
        pytest.param([CANNOT_TELL], 1, id="cannot-tell"),
        pytest.param([{"env.gain": ["gains"]}], 1, id="answered"),
    ],
)
def test_settings_are_asked_for_until_there_is_an_answer(answers: list[Answer], asked: int) -> None:
    python = Python(*answers)
    check = SettingsCheck(cast(TrainerPython, python), WakeUp())
    complaints = [begin(check, "env.gain") for _ in range(4)]
    assert python.asked == [["env.gain"]] * asked
    assert complaints[: asked - 1] == [None] * (asked - 1)
    is_wrong = bool(answers[-1])
    wrong = "env.gain: the trainer has no such setting (did you mean env.gains?)"
    assert complaints[asked - 1 :] == [wrong if is_wrong else None] * (5 - asked)


def test_other_settings_are_another_question_and_none_is_no_question() -> None:
    python = Python(CANNOT_TELL, {"env.mass": []})
    check = SettingsCheck(cast(TrainerPython, python), WakeUp())
    assert begin(check) is None
    assert begin(check, "env.gain") is None
    assert begin(check, "env.mass", "env.gain") == "env.mass: the trainer has no such setting"
    assert python.asked == [["env.gain"], ["env.gain", "env.mass"]]


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        pytest.param("kill -KILL $$", 2, id="its-child-is-killed"),
        pytest.param("exit 0", 2, id="ends-without-a-word"),
        pytest.param("exec cat answer", 1, id="cannot-tell"),
    ],
)
def test_real_child_that_dies_is_asked_again(
    first: str, asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answer").write_text("\n" + MARK + '{"error": "no isaaclab_tasks"}\n')
    program = tmp_path / "python"
    program.write_text(
        "#!/bin/sh\n"
        f"echo asked >> asked; if [ $(wc -l < asked) = 1 ]; then {first}; fi; exec cat answer\n"
    )
    program.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "SWEEPCTL_TRAINER_PYTHON": str(program)}
    check = SettingsCheck(TrainerPython(environ), WakeUp())
    assert [begin(check, "env.gain") for _ in range(3)] == [None] * 3
    assert (tmp_path / "asked").read_text().split() == ["asked"] * asked
