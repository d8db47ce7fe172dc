"""The agent's own decisions, with everything around it scripted and the clock moved on."""

from pathlib import Path

import pytest
from agent_in_process import (
    DOWN,
    GONE,
    INGRESS,
    REFUSED,
    FakeChild,
    Stage,
    run_command,
    run_info,
)

from sweepctl.errors import ExitCode

EXIT = [{"type": "exit"}]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(FakeChild, "exit_codes", [])
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
