"""The files that a trainer of any kind leaves, kept as checkpoints as soon as they are whole."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from sweepctl_pod.checkpoint import newest_good
from sweepctl_pod.run import kept_files
from sweepctl_pod.run.kept_files import KeptFiles


class Watched:
    """A trainer's working folder, and what is kept of it."""

    def __init__(self, folder: Path, pattern: str = "*.pt") -> None:
        self.working = folder / "working [1]"
        self.working.mkdir(exist_ok=True)
        self.folder = folder / "kept"
        self.pattern = pattern
        self.clock = 1_000_000_000
        self.begin()

    def begin(self, run_id: str = "r1") -> None:
        self.files = KeptFiles(self.pattern, run_id, self.working, self.folder, 2, 1)

    def write(self, name: str, content: bytes) -> Path:
        path = self.working / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.clock += 1
        os.utime(path, (self.clock, self.clock))
        return path

    def write_zip(self, name: str, content: bytes) -> Path:
        path = self.write(name, b"")
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("data.pkl", content)
        self.clock += 1
        os.utime(path, (self.clock, self.clock))
        return path

    @property
    def kept(self) -> tuple[int, bytes] | None:
        found = newest_good(self.folder)
        return (found.manifest.iteration, found.model.read_bytes()) if found else None


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_file_is_kept_when_a_second_look_finds_it_unchanged(watched: Watched) -> None:
    watched.write("a.pt", b"one")
    watched.files.look()
    assert watched.kept is None
    watched.write("a.pt", b"one and more")
    watched.files.look()
    assert watched.kept is None
    watched.files.look()
    assert watched.kept == (0, b"one and more")


def test_a_zip_is_kept_as_soon_as_its_end_is_there(watched: Watched) -> None:
    path = watched.write_zip("a.pt", b"weights" * 100)
    whole = path.read_bytes()
    watched.write("a.pt", whole[:-30])
    for _ in range(3):
        watched.files.look()
    assert watched.kept is None
    watched.write("a.pt", whole)
    watched.files.look()
    assert watched.kept == (0, whole)


def test_what_was_there_before_the_attempt_is_not_its_own(watched: Watched) -> None:
    watched.write("a.pt", b"of an earlier attempt")
    watched.begin()
    for _ in range(2):
        watched.files.look()
    assert watched.kept is None
    watched.write("a.pt", b"new")
    for _ in range(2):
        watched.files.look()
    assert watched.kept == (0, b"new")


def test_writing_into_the_same_file_again_spoils_nothing_that_is_kept(watched: Watched) -> None:
    for number in range(4):
        watched.write("a.pt", f"save {number}".encode())
        for _ in range(2):
            watched.files.look()
    watched.write("a.pt", b"hal")
    assert watched.kept == (3, b"save 3")
    assert sorted(path.name for path in watched.folder.iterdir()) == [
        *("2.json", "2.pt", "3.json", "3.pt")
    ]


def test_of_several_files_the_newest_is_kept_and_the_others_were_overtaken(
    watched: Watched,
) -> None:
    for name in ("step_9.pt", "step_10.pt", "notes.txt"):
        watched.write(name, name.encode())
    for _ in range(4):
        watched.files.look()
    assert watched.kept == (0, b"step_10.pt")


@pytest.mark.parametrize("pattern", ["$WANDB_RUN_ID/*.ckpt", "${WANDB_RUN_ID}/**/*.ckpt"])
def test_the_pattern_names_the_run(pattern: str, tmp_path: Path) -> None:
    watched = Watched(tmp_path, pattern)
    watched.begin("r[1]")
    watched.write("r1/a.ckpt", b"another run's")
    watched.write("r[1]/b.ckpt", b"mine")
    for _ in range(2):
        watched.files.look()
    assert watched.kept == (0, b"mine")


@pytest.mark.parametrize(
    ("was_killed", "is_zip", "is_kept"),
    [(False, False, True), (True, False, False), (True, True, True), (False, True, True)],
)
def test_what_a_killed_trainer_wrote_last_counts_only_when_its_end_is_seen(
    was_killed: bool, is_zip: bool, is_kept: bool, watched: Watched
) -> None:
    (watched.write_zip if is_zip else watched.write)("a.pt", b"the last")
    watched.files.writer_has_ended(was_killed=was_killed)
    watched.files.look()
    assert (watched.kept is not None) is is_kept


def test_numbers_go_on_and_a_suffix_of_ours_is_not_used(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "*")
    watched.write("state.json", b"{}")
    for _ in range(2):
        watched.files.look()
    watched.begin()
    watched.write("weights", b"no suffix")
    for _ in range(2):
        watched.files.look()
    assert watched.kept == (1, b"no suffix")
    assert (watched.folder / "0.checkpoint").read_bytes() == b"{}"


@pytest.mark.parametrize("content", [b"", b"P", b"half of one"])
def test_what_a_kill_left_of_a_file_never_counts_however_often_it_is_looked_at(
    content: bytes, watched: Watched
) -> None:
    watched.write_zip("a.pt", b"whole")
    watched.files.look()
    whole = watched.kept
    assert whole is not None
    watched.write("a.pt", content)
    watched.files.writer_has_ended(was_killed=True)
    for _ in range(3):
        watched.files.look()
    assert watched.kept == whole


@pytest.mark.parametrize("content", [b"", b"half of one"])
def test_what_was_a_zip_counts_only_as_a_whole_one_while_it_trains(
    content: bytes, watched: Watched
) -> None:
    watched.write_zip("a.pt", b"whole")
    watched.files.look()
    whole = watched.kept
    watched.write("a.pt", content)
    for _ in range(3):
        watched.files.look()
    assert watched.kept == whole


def half_a_copy(source: object, target: BinaryIO, size_bytes: int) -> None:
    target.write(b"half")
    no_room()


def no_room(*args: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "name", "fails"),
    [
        (shutil, "copyfileobj", half_a_copy),
        (os, "replace", no_room),
        (kept_files, "write_manifest", no_room),
    ],
)
def test_a_full_disk_is_told_leaves_nothing_and_the_file_is_kept_when_there_is_room(
    owner: object,
    name: str,
    fails: Callable[..., None],
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    watched.write_zip("a.pt", b"one")
    watched.files.look()
    before = sorted(path.name for path in watched.folder.iterdir())
    whole = watched.write_zip("a.pt", b"two").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fails)
        for _ in range(3):
            watched.files.look()
    assert watched.files.trouble is not None
    assert watched.files.trouble.endswith("a.pt is not kept: no space left on device")
    assert sorted(path.name for path in watched.folder.iterdir()) == before
    now += 31.0
    watched.files.look()
    assert watched.kept == (1, whole)
    assert watched.files.trouble is None


def test_a_folder_that_cannot_be_written_is_told_and_ends_nothing(watched: Watched) -> None:
    watched.folder.write_text("a file in the way")
    watched.write_zip("a.pt", b"one")
    watched.files.look()
    assert watched.files.trouble is not None
    assert "a.pt is not kept: " in watched.files.trouble
    watched.folder.unlink()
    watched.files.writer_has_ended(was_killed=False)
    watched.files.look()
    assert watched.kept is not None


@pytest.mark.parametrize("was_killed", [True, False])
def test_a_file_that_is_written_slowly_is_kept_when_its_writer_has_closed_it(
    was_killed: bool, watched: Watched
) -> None:
    with (watched.working / "a.pt").open("wb", buffering=0) as file:
        file.write(b"the first half")
        for _ in range(5):
            watched.files.look()
        assert watched.kept is None
        file.write(b", and the second")
        watched.files.look()
    if was_killed:  # as the kernel closes the files of what it kills
        watched.files.writer_has_ended(was_killed=True)
    for _ in range(3):
        watched.files.look()
    assert (watched.kept is None) is was_killed


def test_a_file_that_stays_open_is_kept_when_it_has_not_changed_for_long(
    watched: Watched,
) -> None:
    with (watched.working / "a.pt").open("wb", buffering=0) as file:
        file.write(b"a database")
        for _ in range(29):
            watched.files.look()
        assert watched.kept is None
        for _ in range(4):
            watched.files.look()
        assert watched.kept == (0, b"a database")


def test_a_file_that_is_only_read_is_whole(watched: Watched) -> None:
    path = watched.write("a.pt", b"one")
    with path.open("rb"):
        for _ in range(2):
            watched.files.look()
    assert watched.kept == (0, b"one")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *(("a.weird suffix", ".checkpoint"), ("a.p\udcff", ".checkpoint")),
        *(("a." + "x" * 40, ".checkpoint"), ("a.part", ".checkpoint"), ("a.", ".checkpoint")),
        *(("a.msgpack", ".msgpack"), ("a.pt-7_b", ".pt-7_b")),
    ],
)
def test_a_name_that_another_system_may_not_take_is_kept_under_a_plain_one(
    name: str, suffix: str, tmp_path: Path
) -> None:
    watched = Watched(tmp_path, "*")
    watched.write(name, b"one")
    for _ in range(2):
        watched.files.look()
    assert watched.kept == (0, b"one")
    assert (watched.folder / f"0{suffix}").exists()
