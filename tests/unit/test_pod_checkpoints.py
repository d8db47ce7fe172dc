"""What a trainer is told of checkpoints in its environment."""

import json
import os
from pathlib import Path

import pytest

from sweepctl_pod.checkpoint import Found, Manifest
from sweepctl_pod.run import checkpoints
from sweepctl_pod.run.checkpoints import (
    CheckpointRule,
    checkpoint_environ,
    checkpoints_folder,
    forget_progress,
    progress_in,
)
from sweepctl_pod.trainer.launchers import TrainerKind

FOLDER = Path("/work/r1")
FOUND = Found(Manifest(14, {}, model="14.pt"), checkpoints_folder(FOLDER))


def told(
    environ: dict[str, str], found: Found | None = None, rule: CheckpointRule | None = None
) -> dict[str, str]:
    rule = rule or CheckpointRule()
    return checkpoint_environ(environ, rule, FOLDER, found, attempt=2, leave_within_s=100)


@pytest.fixture
def companion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkpoints, "COMPANION_PATH", tmp_path)
    return tmp_path


def test_the_companion_is_told_where_to_go_on_from_and_how_to_work(companion: Path) -> None:
    environ = told({"PYTHONPATH": f"/mine{os.pathsep}/yours"}, FOUND)
    assert json.loads(environ["SWEEPCTL_COMPANION"]) == {
        "folder": "/work/r1/.sweepctl",
        "every_s": 600.0,
        "leave_within_s": 75.0,
        "keep": 2,
        "attempt": 2,
        "resume": "/work/r1/.sweepctl/checkpoints/14.json",
    }
    assert environ["PYTHONPATH"].split(os.pathsep) == [str(companion), "/mine", "/yours"]
    assert environ["SWEEPCTL_CHECKPOINT"] == "/work/r1/.sweepctl/checkpoints/14.pt"


@pytest.mark.parametrize(
    ("rule", "trainer", "works"),
    [
        (CheckpointRule(), TrainerKind.PLAIN, True),
        (CheckpointRule(pattern="*.pt"), TrainerKind.PLAIN, False),
        (CheckpointRule(pattern="*.pt"), TrainerKind.ISAACLAB3, True),
        (CheckpointRule(companion=False), TrainerKind.ISAACLAB3, False),
    ],
)
def test_a_script_whose_own_files_are_named_goes_on_without_the_companion(
    rule: CheckpointRule, trainer: TrainerKind, works: bool
) -> None:
    assert rule.of(trainer).companion is works


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        ("/mine", ["/mine"]),
        (":/mine", ["", "/mine"]),
        ("/mine:", ["/mine", ""]),
        ("/a::/b", ["/a", "", "/b"]),
        (".:OWN:/b", [".", "/b"]),
        (":", ["", ""]),
    ],
)
def test_the_users_own_path_stays_also_the_working_folder_that_an_empty_entry_means(
    given: str, expected: list[str], companion: Path
) -> None:
    environ = told({"PYTHONPATH": given.replace("OWN", str(companion))})
    assert environ["PYTHONPATH"].split(os.pathsep) == [str(companion), *expected]


def test_another_try_is_told_anew(companion: Path) -> None:
    environ = told(told({}, FOUND))
    assert environ["PYTHONPATH"] == str(companion)
    assert json.loads(environ["SWEEPCTL_COMPANION"])["resume"] is None
    assert environ["SWEEPCTL_CHECKPOINT"] == ""


@pytest.mark.parametrize("rule", [CheckpointRule(companion=False), CheckpointRule()])
def test_without_the_companion_only_the_checkpoint_is_named(
    rule: CheckpointRule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path if not rule.companion else tmp_path / "older pod code has no such folder"
    monkeypatch.setattr(checkpoints, "COMPANION_PATH", there)
    assert told({"PYTHONPATH": "/mine"}, rule=rule) == {
        "PYTHONPATH": "/mine",
        "SWEEPCTL_CHECKPOINT": "",
    }


def test_what_an_earlier_attempt_said_of_its_progress_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / ".sweepctl" / "progress.json"
    assert progress_in(tmp_path) is None
    file.parent.mkdir()
    file.write_text('{"iteration": 3, "first": 0}')
    progress = progress_in(tmp_path)
    assert progress is not None
    assert progress.iteration == 3
    forget_progress(tmp_path)
    forget_progress(tmp_path)
    assert progress_in(tmp_path) is None
