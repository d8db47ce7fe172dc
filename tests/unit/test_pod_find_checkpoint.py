"""Which checkpoint a run goes on from, over all the places that may have some."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sweepctl_pod.checkpoint import (
    Manifest,
    digest_of,
    local_manifests,
    newest_good,
    write_manifest,
)
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run import find_checkpoint as room
from sweepctl_pod.run.checkpoint_places import numbers_of, of_no_use
from sweepctl_pod.run.find_checkpoint import (
    Search,
    drop_here,
    find_checkpoint,
    only_here,
)
from sweepctl_pod.waiting import GivenUpError, Limit
from sweepctl_pod.wandb.run_files import Look


def put(folder: Path, iteration: int, content: bytes = b"weights") -> Manifest:
    """Write a checkpoint as the companion does."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{iteration}.pt"
    (folder / name).write_bytes(content)
    manifest = Manifest(iteration, {name: digest_of(folder / name)}, model=name)
    write_manifest(manifest, folder)
    return manifest


class Shelf:
    """A place that is a folder, and fails when it is told to."""

    def __init__(self, folder: Path, name: str = "a shelf") -> None:
        self.folder = folder
        self.name = name
        self.away: set[str] = set()
        self.asked: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.away or "all" in self.away:
            raise SweepctlError(f"{what}: no answer")

    def numbers(self) -> list[int]:
        self._ask("numbers")
        return numbers_of([path.name for path in self.folder.iterdir()])

    def manifest(self, iteration: int) -> Manifest | None:
        self._ask(f"manifest {iteration}")
        return local_manifests(self.folder).get(iteration)

    def fetch(self, manifest: Manifest, folder: Path, look: Look) -> None:
        self._ask(f"fetch {manifest.iteration}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in manifest.files:
            look(1)
            if (self.folder / name).exists():
                (folder / name).write_bytes((self.folder / name).read_bytes())

    def store(self, manifest: Manifest, folder: Path, look: Look) -> None:
        raise AssertionError("a search stores nothing")

    def tidy(self, kept: Sequence[int], broken: Sequence[int]) -> None:
        raise AssertionError("a search deletes nothing")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_AGAIN_S", (0.0, 0.0, 0.0))


def searched(folder: Path, *places: Shelf, limit: Limit | None = None) -> Search:
    search = Search()
    find_checkpoint(folder, places, limit or Limit(60), search)
    return search


def chosen(search: Search) -> tuple[int, str] | None:
    return (search.found.manifest.iteration, search.source) if search.found else None


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        pytest.param([], [], None, id="none"),
        pytest.param([3], [], (3, "the run's folder"), id="kept-by-the-volume"),
        pytest.param([], [3], (3, "a shelf"), id="volume-lost"),
        pytest.param([9, 10], [8, 9], (10, "the run's folder"), id="newer-here"),
        pytest.param([9, 10], [10, 20], (20, "a shelf"), id="newer-there"),
        pytest.param([10], [10], (10, "the run's folder"), id="the-same-is-not-fetched"),
    ],
)
def test_the_newest_of_all_places_is_taken(
    here: list[int], there: list[int], expected: tuple[int, str] | None, tmp_path: Path
) -> None:
    folder, shelf = tmp_path / "here", Shelf(tmp_path / "there")
    for iteration in here:
        put(folder, iteration)
    for iteration in there:
        put(shelf.folder, iteration)
    search = searched(folder, shelf)
    assert chosen(search) == expected
    assert search.passed_over == []
    assert search.broken == []
    if expected:
        found = newest_good(folder)
        assert found is not None
        assert found.manifest.iteration == expected[0]
        assert search.kept["a shelf"] == sorted(there, reverse=True)


def test_what_is_broken_everywhere_is_passed_over_and_named(tmp_path: Path) -> None:
    folder, shelf = tmp_path / "here", Shelf(tmp_path / "there")
    for iteration in (5, 7, 8):
        put(folder, iteration)
        put(shelf.folder, iteration)
    (folder / "8.pt").write_bytes(b"half")
    (shelf.folder / "8.pt").unlink()
    (shelf.folder / "8.json").write_text('{"iteration": 8')
    (folder / "7.pt").write_bytes(b"Weights")
    search = searched(folder, shelf)
    assert chosen(search) == (7, "a shelf")
    assert search.broken == [8]
    assert search.passed_over == [
        "checkpoint 8: 8.pt has 4 bytes of 7 in the run's folder; its manifest is broken in a shelf"
    ]
    assert (folder / "7.pt").read_bytes() == b"weights"
    assert search.kept["a shelf"] == [7, 5]


def test_a_checkpoint_that_cannot_be_fetched_is_passed_over_and_not_called_broken(
    tmp_path: Path,
) -> None:
    shelf = Shelf(tmp_path / "there")
    for iteration in (5, 6):
        put(shelf.folder, iteration)
    shelf.away = {"fetch 6"}
    search = searched(tmp_path / "here", shelf)
    assert chosen(search) == (5, "a shelf")
    assert search.passed_over == ["checkpoint 6: fetch 6: no answer in a shelf"]
    assert search.broken == []
    assert shelf.asked.count("fetch 6") == 4


def test_a_place_that_is_away_does_not_keep_the_others_from_being_searched(tmp_path: Path) -> None:
    away, shelf = Shelf(tmp_path / "away", "W&B"), Shelf(tmp_path / "there")
    away.away = {"all"}
    put(shelf.folder, 5)
    search = searched(tmp_path / "here", away, shelf)
    assert chosen(search) == (5, "a shelf")
    assert search.passed_over == ["W&B: numbers: no answer"]


def test_the_time_is_limited_and_what_was_there_is_still_good(tmp_path: Path) -> None:
    folder, shelf = tmp_path / "here", Shelf(tmp_path / "there")
    put(folder, 5)
    put(shelf.folder, 6)
    limit = Limit(60)

    def end(iteration: int) -> None:
        limit.end()

    shelf.manifest = lambda iteration: (end(iteration), Shelf.manifest(shelf, iteration))[1]  # type: ignore[method-assign,func-returns-value]  # one answer that comes too late
    with pytest.raises(GivenUpError):
        searched(folder, shelf, limit=limit)
    assert chosen(only_here(folder)) == (5, "the run's folder")


def test_only_the_named_checkpoints_are_dropped_from_a_folder(tmp_path: Path) -> None:
    for iteration in (1, 11, 12):
        put(tmp_path, iteration)
    (tmp_path / "1.state").touch()
    drop_here(tmp_path, [1, 99])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("11.json", "11.pt", "12.json", "12.pt")
    ]


def test_of_names_only_manifests_are_numbers_and_are_deleted_first() -> None:
    names = ["7.pt", "7.json", "7.state", "17.json", "model_7.json", "x/7.json", "7b.pt", "²7.json"]
    assert numbers_of([*names, "9" * 5000 + ".json", ".json", "-3.json"]) == [7, 17]
    assert of_no_use(names, [17], []) == [["7.json"], ["7.pt", "7.state"]]
    assert of_no_use(names, [], []) == []


@pytest.mark.parametrize(
    ("names", "kept", "broken", "gone"),
    [
        ("", [], [], []),
        ("1.json 1.pt 2.json 2.pt", [1, 2], [], []),
        ("1.json 1.pt 2.json 2.pt 3.json 3.pt", [2, 3], [], ["1.json", "1.pt"]),
        ("0.pt 5.pt 6.json 6.pt 8.json 8.pt", [6, 8], [], ["0.pt", "5.pt"]),
        ("8.json 8.pt 9.pt", [8], [], []),
        ("8.json 8.pt 9.pt 10.json 10.pt", [8], [9, 10], ["10.json", "9.pt", "10.pt"]),
        ("3.json 3.pt", [], [3], ["3.json", "3.pt"]),
        ("3.json 3.pt 4.json 4.pt", [3, 4], [3], []),
        ("notes.txt best.pt 1/2.pt -1.pt 1_0.pt \u0661.pt 8.json 8.pt", [8], [], []),
    ],
    ids=[
        "nothing is there",
        "just those that are kept",
        "an older one",
        "parts of older ones whose agent was killed",
        "a part of a newer one is perhaps another agent's",
        "newer ones of no use",
        "none is kept",
        "one was broken and is whole now",
        "files of others",
    ],
)
def test_what_nobody_will_ask_for_is_told_from_all_else(
    names: str, kept: list[int], broken: list[int], gone: list[str]
) -> None:
    assert [name for group in of_no_use(names.split(), kept, broken) for name in group] == gone
