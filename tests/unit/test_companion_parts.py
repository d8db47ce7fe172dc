"""Parts of the companion by themselves: checkpoints on disk, the rows of W&B's history."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from sweepctl_pod.checkpoint import newest_good
from sweepctl_pod.companion.orders import Orders, read_orders
from sweepctl_pod.companion.saving import Checkpoints, Content
from sweepctl_pod.companion.wandb_run import History


def content(iteration: int, source: Path | None = None) -> Content:
    def model(path: Path) -> None:
        assert source is None, "the trainer has saved already"
        path.write_text(f"model {iteration}")

    return Content(iteration, model, lambda path: path.write_text("state"), source)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_newest_checkpoints_are_kept_and_nothing_else_is_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Orders(tmp_path, keep=2), "rsl_rl", 100)
    mine = ["notes.txt", "best.pt", "10.onnx"]
    for name in mine:
        (tmp_path / "checkpoints" / name).write_text("the user's")
    for iteration in (10, 20, 30):
        checkpoints.save(content(iteration))
    checkpoints.wait(10)
    kept = [f"{iteration}.{kind}" for iteration in (20, 30) for kind in ("json", "pt", "state")]
    assert names(tmp_path) == sorted([*kept, *mine])
    found = newest_good(tmp_path / "checkpoints")
    assert found is not None
    assert (found.manifest.iteration, found.manifest.of) == (30, 100)
    assert found.model.read_text() == "model 30"


def test_a_higher_number_than_the_newest_save_belongs_to_a_line_that_was_given_up(
    tmp_path: Path,
) -> None:
    for iterations in ((10, 20), (15,)):
        checkpoints = Checkpoints(Orders(tmp_path), "rsl_rl", 100)
        for iteration in iterations:
            checkpoints.save(content(iteration), is_last=True)
    assert names(tmp_path) == [
        f"{number}.{kind}" for number in (10, 15) for kind in ("json", "pt", "state")
    ]


def test_the_trainers_own_file_is_copied_and_not_saved_again(tmp_path: Path) -> None:
    file = tmp_path / "model_7.pt"
    file.write_text("the trainer's")
    checkpoints = Checkpoints(Orders(tmp_path), "rsl_rl", 100)
    checkpoints.save(content(7, file), is_last=True)
    file.write_text("written again")
    assert (tmp_path / "checkpoints" / "7.pt").read_text() == "the trainer's"


def test_a_save_that_dies_in_the_middle_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Orders(tmp_path), "rsl_rl", 100)
    checkpoints.save(content(1), is_last=True)

    def dies(path: Path) -> None:
        path.write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        checkpoints.save(Content(2, dies, lambda path: None), is_last=True)
    found = newest_good(tmp_path / "checkpoints")
    assert found is not None
    assert found.manifest.iteration == 1
    Checkpoints(Orders(tmp_path), "rsl_rl", 100)
    assert not list(tmp_path.rglob("*.part")), "the next attempt clears what is left"


@pytest.mark.parametrize("part", ["state", "model", "copy", "manifest"])
@pytest.mark.parametrize("is_last", [True, False])
def test_a_save_that_fails_leaves_no_part_of_it_and_is_not_tried_at_each_iteration(
    part: str, is_last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(Orders(tmp_path, every_s=60), "rsl_rl", 100)
    checkpoints.save(content(1), is_last=True)
    before = names(tmp_path)

    def full(path: Path, *_: Any) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    def fine(path: Path) -> None:
        path.write_text("fine")

    source = tmp_path / "is not there" if part == "copy" else None
    if part == "manifest":
        monkeypatch.setattr(Path, "replace", lambda path, target: full(target))
    saved = Content(2, full if part == "model" else fine, full if part == "state" else fine, source)
    with contextlib.suppress(OSError):
        checkpoints.save(saved, is_last=is_last)
    checkpoints.wait(10)
    assert names(tmp_path) == before
    assert not checkpoints.is_due(has_trainer_saved=False)


def test_saving_takes_half_a_percent_of_the_time_however_often_the_trainer_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    checkpoints = Checkpoints(Orders(tmp_path, every_s=60), "rsl_rl", 100)
    assert checkpoints.is_due(has_trainer_saved=True)

    def slow(path: Path) -> None:
        nonlocal now
        now += 0.5
        path.write_text("model")

    checkpoints.save(Content(1, slow, lambda path: path.write_text("")), is_last=True)
    assert checkpoints.cost_s == 0.5
    now += 99
    assert not checkpoints.is_due(has_trainer_saved=True)
    assert not checkpoints.is_due(has_trainer_saved=False)
    now += 2
    assert checkpoints.is_due(has_trainer_saved=False)


def test_orders_are_read_with_their_defaults() -> None:
    assert read_orders('{"folder": "/a", "leave_within_s": null, "resume": null}') == Orders(
        Path("/a")
    )
    text = '{"folder": "/a", "every_s": 5, "leave_within_s": 9.5, "keep": 0, "resume": "/b/3.json"}'
    assert read_orders(text) == Orders(Path("/a"), 5.0, 9.5, 2, 1, Path("/b/3.json"))
    assert read_orders('{"folder": "/a", "every_s": 0}').every_s == 0, "as often as it may"


class Run:
    def __init__(self, history: History, starting_step: int = 0, offline: bool = False) -> None:
        self.history, self.starting_step, self.offline = history, starting_step, offline
        self.sent: list[tuple[int, dict[str, Any]]] = []

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.history.takes(self, step, values):
            self.sent.append((step, values))


def rows(*steps: int) -> list[tuple[int, dict[str, Any]]]:
    return [(step, {"loss": step / 2}) for step in steps]


def test_a_first_training_sends_everything_and_remembers_it() -> None:
    history = History()
    run = Run(history)
    history.opened(run)
    for step in range(3):
        run.log({"loss": step / 2}, step)
        run.log({"reward": 1.0, "video": object()}, step)
    assert len(run.sent) == 6
    assert history.recent() == [(step, {"loss": step / 2, "reward": 1.0}) for step in range(3)]


@pytest.mark.parametrize(
    ("starting_step", "sent"),
    [(8, [8, 9, 10, 11]), (10, [10, 11]), (13, []), (0, [7, 8, 9, 10, 11])],
    ids=["lacks-two", "has-all", "has-more", "has-nothing"],
)
def test_a_resumed_training_sends_each_step_that_w_and_b_lacks_once(
    starting_step: int, sent: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    history = History()
    history.resume(rows(7, 8, 9))
    run = Run(history, starting_step)
    history.opened(run)
    for step in (10, 11):
        run.log({"loss": step / 2}, step)
    assert [step for step, _ in run.sent] == sent
    assert dict(run.sent) == dict(rows(*sent))
    run.log({"loss": 7.0}, 14)
    said = capsys.readouterr().err
    assert ("has the steps 10 to 11 of an earlier attempt: not sent again" in said) == (
        starting_step == 13
    )


def test_rows_are_not_sent_to_another_run_nor_to_one_that_is_offline() -> None:
    history = History()
    history.resume(rows(7, 8, 9))
    offline = Run(history, offline=True)
    history.opened(offline)
    other = Run(history)
    history.opened(other)
    other.log({"loss": 0.0}, 1)
    assert offline.sent == []
    assert other.sent == [(1, {"loss": 0.0})]


def test_the_rows_that_are_remembered_are_bounded() -> None:
    history = History()
    run = Run(history)
    history.opened(run)
    for step in range(5000):
        run.log({"loss": 1.0}, step)
    kept = [step for step, _ in history.recent()]
    assert kept == list(range(5000))[-len(kept) :]
    assert 900 <= len(kept) <= 1000
