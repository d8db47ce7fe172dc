"""Checkpoints on disk: which is the newest good one, and what is wrong with the newer ones."""

import json
from pathlib import Path

import pytest

from sweepctl_pod.checkpoint import (
    MANIFEST_BYTES,
    Manifest,
    digest_of,
    local_manifests,
    newest_good,
    read_manifest,
    read_progress,
    trouble_with,
)


def write(folder: Path, iteration: int, content: bytes = b"weights") -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{iteration}.pt"
    (folder / name).write_bytes(content)
    manifest = Manifest(iteration, {name: digest_of(folder / name)}, model=name, of=40)
    (folder / manifest.name).write_text(manifest.text())
    return manifest


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = write(tmp_path, 14)
    assert read_manifest(manifest.text()) == manifest
    assert trouble_with(manifest, tmp_path) is None


def test_no_folder_and_an_empty_one_have_no_checkpoint(tmp_path: Path) -> None:
    assert newest_good(tmp_path / "none") is None
    assert newest_good(tmp_path) is None


def test_the_newest_is_the_one_of_the_highest_iteration_not_of_the_last_name(
    tmp_path: Path,
) -> None:
    for iteration in (9, 100, 20):
        write(tmp_path, iteration)
    found = newest_good(tmp_path)
    assert found is not None
    assert found.manifest.iteration == 100
    assert found.model == tmp_path / "100.pt"
    assert found.passed_over == ()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: (at / "9.pt").write_bytes(b"weig"), "9.pt has 4 bytes of 7"),
        (lambda at: (at / "9.pt").write_bytes(b"weighty"), "another SHA-256"),
        (lambda at: (at / "9.pt").unlink(), "9.pt: no such file"),
        (lambda at: (at / "9.json").write_text('{"iteration": 9'), "its manifest is broken"),
        (lambda at: (at / "9.json").write_bytes(b"\xff\xfe"), "its manifest is broken"),
        (lambda at: (at / "9.json").write_text(""), "its manifest is broken"),
    ],
    ids=["cut off", "another content", "no file", "half a manifest", "no text", "empty"],
)
def test_a_newer_one_that_is_not_good_is_passed_over_and_named(
    tmp_path: Path, spoil: object, said: str
) -> None:
    write(tmp_path, 4)
    write(tmp_path, 9)
    assert callable(spoil)
    spoil(tmp_path)
    found = newest_good(tmp_path)
    assert found is not None
    assert found.manifest.iteration == 4
    assert len(found.passed_over) == 1
    assert said in found.passed_over[0]


@pytest.mark.parametrize(
    "name",
    [
        *("../x.pt", "/etc/passwd", "", ".", "a\\b", "a\0"),
        *("2.json", "x.part", "a" * 300, "\ud800.pt"),
    ],
)
def test_a_manifest_that_names_a_file_elsewhere_or_one_that_cannot_be_is_broken(name: str) -> None:
    files = {name: {"size_bytes": 1, "sha256": "0"}}
    text = json.dumps({"iteration": 1, "model": name, "files": files})
    assert read_manifest(text) is None


WHOLE = '{"iteration": 1, "model": "a", "files": {"a": {"size_bytes": 1, "sha256": "0"}}}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "[" * 100_000, '{"files":' * 100_000),
        WHOLE.replace(': 1, "model"', ': 1e999, "model"'),
        WHOLE.replace(': 1, "sha256"', ': 1e999, "sha256"'),
        WHOLE.replace(': 1, "model"', ': NaN, "model"'),
        WHOLE.replace('"model": "a"', '"model": ["a"]'),
        WHOLE.replace('"model": "a"', '"model": "b"'),
        WHOLE.replace('"files"', '"written_at": "noon", "files"'),
    ],
    ids=lambda text: text[:70],
)
def test_what_is_no_manifest_is_broken_and_older_ones_count(text: str, tmp_path: Path) -> None:
    assert read_manifest(WHOLE) is not None
    assert read_manifest(text) is None
    write(tmp_path, 4)
    (tmp_path / "9.json").write_text(text)
    found = newest_good(tmp_path)
    assert found is not None
    assert found.manifest.iteration == 4


def test_a_manifest_without_end_is_broken(tmp_path: Path) -> None:
    (tmp_path / "9.json").write_text(WHOLE[:-1] + " " * MANIFEST_BYTES + "}")
    assert local_manifests(tmp_path)[9] is None


def test_other_files_of_the_folder_are_no_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 3)
    for name in ("x.json", "7.json.part", "7.pt", "-1.json"):
        (tmp_path / name).write_text("{}")
    found = newest_good(tmp_path)
    assert found is not None
    assert found.manifest.iteration == 3
    assert found.passed_over == ()


def test_progress_is_read_as_the_companion_writes_it() -> None:
    form = {
        **{"iteration": 14, "of": 40, "iteration_s": 0.5, "at": 1.5, "pid": 7, "first": 10},
        **{"library": "rsl_rl", "is_listening": True, "note": None, "of_a_later_version": 1},
    }
    progress = read_progress(json.dumps(form))
    assert progress is not None
    assert (progress.iteration, progress.first, progress.of) == (14, 10, 40)
    assert progress.is_listening
    assert progress.has_trained
    assert progress.first_at is None, "an earlier companion tells none"
    told = read_progress(json.dumps({**form, "first_at": 12.5}))
    assert told is not None
    assert told.first_at == 12.5
    begun = read_progress(json.dumps({**form, "iteration": 9}))
    assert begun is not None
    assert not begun.has_trained


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"iteration": "x"}', '{"iteration": 1', "1e999", "[" * 100_000],
    ids=lambda text: text[:70],
)
def test_what_is_no_progress_tells_nothing(text: str) -> None:
    assert read_progress(text) is None
