"""The agent's own decisions, with everything around it scripted and the clock moved on."""

import errno
import os
import time
from pathlib import Path

import pytest

from sweepctl_pod.errors import ExitCode
from sweepctl_pod.heartbeats import Heartbeats
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run import training
from sweepctl_pod.run.settings_check import RecordCheck
from sweepctl_pod.run.training import Training
from sweepctl_pod.run.verdict import Intervention
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.waiting import WakeUp
from tests.unit.agent_in_process import (
    CONFIG,
    DOWN,
    GONE,
    INGRESS,
    REFUSED,
    FakeChild,
    Stage,
    run_command,
    run_info,
)

EXIT = [{"type": "exit"}]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_run_is_taken_trained_and_told(stage: Stage) -> None:
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act() is ExitCode.DONE
    assert "run r1 finished: loss = 1.5" in stage.text
    assert stage.exit_records() == [("r1", 0)]
    assert stage.client.let_go == [["sweepctl-agent-is-leaving"]]


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        pytest.param([None, None, run_info()], 0, "finished: loss", id="null-twice"),
        pytest.param([INGRESS] * 9 + [run_info()], 0, "finished: loss", id="ingress-for-a-while"),
        pytest.param([REFUSED, DOWN, run_info()], 0, "finished: loss", id="refused-then-down"),
        pytest.param([None], None, "it was deleted at W&B", id="null-for-ever"),
        pytest.param([REFUSED], None, "W&B gave no answer", id="refused-for-ever"),
    ],
)
def test_no_verdict_without_an_answer_that_can_be_believed(
    answers: list[object], code: int | None, said: str, stage: Stage
) -> None:
    stage.client.script |= {"heartbeat": [run_command("r1"), EXIT], "run": answers}
    end = stage.act()
    assert said in stage.text
    assert stage.exit_records() == ([] if code is None else [("r1", code)])
    looks = [at for name, at in stage.client.asked if name == "run"]
    if answers == [None]:
        assert looks[-1] - looks[0] >= 30
        assert len(looks) > 3
    assert end is (ExitCode.FAILED if "no answer" in said else ExitCode.DONE)


def test_failure_of_the_trainer_needs_no_answer_about_the_run(stage: Stage) -> None:
    FakeChild.exit_codes = [3]
    stage.client.script |= {"heartbeat": [run_command("r1"), EXIT], "run": [REFUSED]}
    stage.act()
    assert "run r1 failed: the trainer ended with exit code 3" in stage.text
    assert stage.exit_records() == [("r1", 3)]


@pytest.mark.parametrize(
    ("error", "code", "least_s"),
    [
        pytest.param(GONE, ExitCode.DONE, 30, id="the-api-says-so"),
        pytest.param(INGRESS, ExitCode.HANDED_BACK, 3600, id="an-ingress-says-so"),
        pytest.param(DOWN, ExitCode.HANDED_BACK, 3600, id="nobody-says-anything"),
    ],
)
def test_idle_agent_goes_home_only_when_the_api_itself_says_that_its_sweep_is_gone(
    error: Exception, code: ExitCode, least_s: float, stage: Stage
) -> None:
    began = stage.clock.now_s
    stage.clock.at(3700, stage.term)
    info = stage.client.sweep("lab", "legs", "s1")
    missing = GONE if error is GONE else error
    stage.client.script |= {"heartbeat": [run_command("r1"), missing], "sweep": [info, error]}
    assert stage.act() is code
    assert stage.clock.now_s - began >= least_s


def test_run_that_an_answer_hands_out_after_the_signal_is_handed_back(stage: Stage) -> None:
    def late() -> list[dict[str, object]]:
        stage.term()
        return run_command("r7")

    FakeChild.exit_codes = [None]
    stage.client.script["heartbeat"] = [[], late]
    assert stage.act() is ExitCode.HANDED_BACK
    assert "run r7 handed back" in stage.text
    assert stage.exit_records() == [("r7", 143)]
    assert stage.client.posted[0] == {"run": "r7", "preempting": True}


def test_signal_while_training_marks_the_run_before_its_end(stage: Stage) -> None:
    FakeChild.exit_codes = [None]
    stage.clock.at(60, stage.term)
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act() is ExitCode.HANDED_BACK
    assert stage.client.posted[0] == {"run": "r1", "preempting": True}
    assert stage.exit_records() == [("r1", 143)]
    assert "exit 75" in stage.text


def test_last_words_are_tried_to_the_end_of_the_grace_and_no_longer(stage: Stage) -> None:
    FakeChild.exit_codes = [None]
    heard: list[float] = []
    stage.clock.at(60, lambda: (stage.term(), heard.append(stage.clock.now_s)))  # type: ignore[arg-type, func-returns-value]
    stage.client.script |= {"heartbeat": [run_command("r1"), EXIT], "post": [REFUSED]}
    assert stage.act() is ExitCode.HANDED_BACK
    assert "run r1 left as W&B has it: it was to be handed back" in stage.text
    assert 20 <= stage.clock.now_s - heard[0] <= 30
    assert stage.exit_records() == []


def test_processes_that_do_not_die_hold_up_no_agent_that_is_told_to_leave(stage: Stage) -> None:
    FakeChild.exit_codes, FakeChild.is_undying = [None], True
    heard: list[float] = []
    stage.clock.at(60, lambda: (stage.term(), heard.append(stage.clock.now_s)))  # type: ignore[arg-type, func-returns-value]
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act() is ExitCode.HANDED_BACK
    assert "its time was over before pid 77 was dead" in stage.text
    assert stage.clock.now_s - heard[0] <= 28
    assert stage.exit_records() == [("r1", 143)]


@pytest.mark.parametrize(
    ("number", "code", "record"),
    [
        (errno.ENOENT, ExitCode.CONFIGURATION, 143),
        (errno.ENOEXEC, ExitCode.CONFIGURATION, 143),
        (errno.EAGAIN, ExitCode.NODE_UNFIT, 1),
        (errno.ENOMEM, ExitCode.NODE_UNFIT, 1),
        (errno.ESTALE, ExitCode.NODE_UNFIT, 1),
    ],
)
def test_what_keeps_a_trainer_from_starting_is_the_commands_fault_or_the_nodes(
    number: int, code: ExitCode, record: int, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_child(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(training, "Child", no_child)
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act() is code
    assert os.strerror(number).lower() in stage.text
    assert stage.exit_records() == [("r1", record)]


def test_work_folder_that_fails_is_no_fault_of_the_command(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(training: Training) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Training, "_write_files", no_room)
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act() is ExitCode.NODE_UNFIT
    assert "r1: no space left on device" in stage.text


COLD = b"Exiting app because of dependency solver failure\n"


def test_trainer_that_removed_its_own_folder_has_no_full_disk(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("tempfile.tempdir", str(gone))
    FakeChild.exit_codes, FakeChild.prints = [1], [b"No space left on device\n"]
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act("--work", str(tmp_path / "work")) is ExitCode.DONE
    assert "run r1 failed: the trainer ended with exit code 1" in stage.text


@pytest.fixture
def isaaclab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIG, "command", ["isaaclab", "train"])


@pytest.mark.usefixtures("isaaclab")
def test_second_try_begins_with_nothing_of_the_first(stage: Stage) -> None:
    FakeChild.exit_codes, FakeChild.prints = [1, None], [COLD]
    stage.clock.at(60, stage.term)
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act("--grammar", "literal") is ExitCode.HANDED_BACK
    assert "trying once more" in stage.text
    assert "run r1 handed back: this agent was told to leave" in stage.text
    assert stage.exit_records() == [("r1", 143)]


@pytest.mark.usefixtures("isaaclab")
@pytest.mark.parametrize("is_told", ["stop", "leave"])
def test_what_comes_at_the_end_of_a_spoilt_first_try_holds_for_the_run(
    is_told: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeChild.exit_codes, FakeChild.prints = [1, None], [COLD]
    ended = Training.has_ended

    def has_ended(training: Training) -> bool:
        found = ended(training)
        if found and not training.is_ending and is_told:
            if is_told == "stop":
                training.end(Intervention.STOPPED, 30)
            else:
                stage.term()
                training.end(Intervention.LEAVING, 10)
        return found

    monkeypatch.setattr(Training, "has_ended", has_ended)
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    stage.act("--grammar", "literal")
    if is_told == "stop":
        assert "run r1 failed: the trainer ended with exit code 1" in stage.text
        assert "trying once more" not in stage.text
    else:
        assert "run r1 handed back: this agent was told to leave" in stage.text
        assert FakeChild.exit_codes == [None]  # no second trainer was started


def test_run_handed_out_beside_the_one_in_training_is_held_at_once_and_trained_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [[*run_command("r1"), *run_command("r2")], run_command("r2")]
    named: list[object] = []

    def take(beats: Heartbeats) -> list[object]:
        if told:
            stage.client.script["register"] = ["agent1"]
            found = told.pop(0)
            named.append(beats._beat("r1"))
            return [found]
        beats._beat("r1")
        return []

    monkeypatch.setattr(Heartbeats, "take", take)
    FakeChild.exit_codes = [None, 0]
    stage.clock.at(60, lambda: setattr(FakeChild, "is_undying", False))
    stage.clock.at(30, stage.term)
    stage.client.script["heartbeat"] = [run_command("r1"), EXIT]
    assert stage.act() is ExitCode.HANDED_BACK
    assert ["r1", "r2"] in stage.client.let_go
    assert sorted(stage.exit_records()) == [("r1", 143), ("r2", 143)]


def test_agent_that_is_forgotten_again_and_again_asks_no_faster_than_it_beats(
    stage: Stage,
) -> None:
    stage.clock.at(100, stage.term)
    stage.client.script["heartbeat"] = [GONE]
    stage.act()
    assert sum(name == "register" for name, _ in stage.client.asked) < 25


def test_agent_whose_first_runs_fail_at_once_gives_up(stage: Stage) -> None:
    FakeChild.exit_codes = [1, 1, 1, 1]
    stage.client.script["heartbeat"] = [run_command(f"r{n}") for n in range(9)]
    assert stage.act() in (ExitCode.FAILED_RUNS, ExitCode.CONFIGURATION)
    assert len(stage.exit_records()) == 3


def test_key_that_is_refused_from_the_start_is_a_configuration_error_after_minutes(
    stage: Stage,
) -> None:
    began = stage.clock.now_s
    stage.client.script["sweep"] = [REFUSED]
    assert stage.act() is ExitCode.CONFIGURATION
    assert stage.clock.now_s - began >= 300
    assert stage.client.let_go == []


def test_log_folder_is_looked_for_no_longer_than_the_record_is(tmp_path: Path) -> None:
    wake_up = WakeUp()
    check = RecordCheck(TrainerPython({}), wake_up, ["isaaclab", "train"], [], Grammar.LITERAL)
    looks: list[None] = []

    def find_folder() -> Path:
        looks.append(None)
        return tmp_path

    check.poll(time.monotonic() + 10, find_folder)
    check.unverified = None
    assert check.poll(time.monotonic() + 20, find_folder) > 60
    assert len(looks) == 1
    wake_up.close()
