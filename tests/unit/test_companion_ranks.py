"""What several processes of one training decide together, whatever fails in one of them."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from sweepctl_pod.companion.orders import Orders
from sweepctl_pod.companion.ranks import Ranks
from sweepctl_pod.companion.resuming import Models, Resume, load_in_all
from sweepctl_pod.companion.training import Trainer, Training, followed_in_all

T = TypeVar("T")


class Together(Ranks):
    """Ranks as threads: `most` waits for all, and gives up where one stays away."""

    def __init__(self, own: int, barrier: threading.Barrier, numbers: list[int]) -> None:
        super().__init__()
        self.own, self._barrier, self._numbers = own, barrier, numbers

    def most(self, number: int) -> int:
        self._numbers[self.own] = number
        self._barrier.wait(20)
        most = max(self._numbers)
        self._barrier.wait(20)
        return most


def in_all(work: Callable[[Ranks], T], count: int = 2) -> list[T]:
    barrier, numbers = threading.Barrier(count), [0] * count
    with ThreadPoolExecutor(count) as pool:
        ranks = [Together(own, barrier, numbers) for own in range(count)]
        return list(pool.map(work, ranks))


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orders:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(elsewhere))
    return Orders(tmp_path / "run" / ".sweepctl")


class Model:
    """A model of one rank, and what its library does with it."""

    def __init__(self, saves: str, loads: bool) -> None:
        self.content, self._saves, self._loads = "new", saves, loads

    def save(self, path: Path) -> None:
        path.write_text(self.content)
        if self._saves == "nowhere" or (self._saves == "elsewhere" and path.parent.name != "tmp"):
            raise OSError(28, "No space left on device")

    def load(self, path: Path) -> None:
        self.content = path.read_text() if path.suffix == ".part" else "resumed"
        if path.suffix != ".part" and not self._loads:
            raise RuntimeError("size mismatch")


@pytest.mark.parametrize(
    ("saves", "loads", "why"),
    [
        (("here", "here"), (True, True), None),
        (("elsewhere", "here"), (True, True), None),
        (("here", "here"), (True, False), "cannot be loaded: RuntimeError: size mismatch"),
        (("elsewhere", "elsewhere"), (False, True), "cannot be loaded: RuntimeError"),
        (("nowhere", "here"), (True, True), "without a way back: OSError: [Errno 28]"),
        (("here", "nowhere"), (False, True), "without a way back: OSError: [Errno 28]"),
    ],
)
def test_all_ranks_load_a_checkpoint_or_none_does_and_each_is_as_it_was(
    saves: tuple[str, str], loads: tuple[bool, bool], why: "str | None", orders: Orders
) -> None:
    models = [Model(*pair) for pair in zip(saves, loads, strict=True)]
    resume = Resume(7, orders.folder / "7.pt")

    def load(ranks: Ranks) -> "str | None":
        model = models[ranks.own]
        return load_in_all(resume, None, Models(model.save, model.load), orders, ranks)

    said = in_all(load)
    assert [model.content for model in models] == ["new" if why else "resumed"] * 2
    assert not list(orders.folder.parent.parent.rglob("*.part"))
    if why is None:
        assert said == [None, None]
    else:
        assert all(text and text.endswith("; from the start") for text in said)
        assert any(text and why in text for text in said)


@pytest.mark.parametrize("why", ["no checkpoint is good", "it is another's"])
def test_what_speaks_against_a_checkpoint_in_one_rank_counts_in_all(
    why: str, orders: Orders
) -> None:
    model = Model("here", loads=True)

    def load(ranks: Ranks) -> "str | None":
        resume = None if ranks.own else Resume(7, orders.folder / "7.pt")
        against = why if ranks.own else None
        models = Models(model.save, model.load) if not ranks.own else Models(fails, fails)
        return load_in_all(resume, against, models, orders, ranks)

    assert in_all(load) == [
        "another process cannot load the checkpoint; from the start",
        f"{why}; from the start",
    ]
    assert model.content == "new"


def fails(*_: object) -> None:
    raise AssertionError("nothing is saved or loaded where something speaks against it")


@pytest.mark.parametrize("broken", [(), (0,), (1,), (0, 1)])
def test_all_ranks_follow_a_training_or_none_does(broken: tuple[int, ...], orders: Orders) -> None:
    def make(ranks: Ranks) -> Training:
        if ranks.own in broken:
            raise PermissionError("read-only file system")
        trainer = Trainer("small", lambda path: None, dict, lambda: None)
        return Training(orders, trainer, ranks, 0, 9)

    def follow(ranks: Ranks) -> str:
        try:
            followed_in_all(lambda: make(ranks), ranks)
        except (PermissionError, RuntimeError) as error:
            return str(error)
        return "followed"

    expected = {
        True: [
            "read-only file system" if own in broken else "another process cannot follow it"
            for own in (0, 1)
        ],
        False: ["followed", "followed"],
    }
    assert in_all(follow) == expected[bool(broken)]
