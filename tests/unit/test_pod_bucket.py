"""A bucket's child process: it is ended when nothing moves, and its own words are what is told."""

import sys
from pathlib import Path

import pytest

from sweepctl_pod.trainer import bucket
from sweepctl_pod.trainer.bucket import Bucket, BucketError
from sweepctl_pod.trainer.in_bucket import MARK

BLOCKS = [bytes(1 << 16)] * 16


@pytest.mark.parametrize(
    ("program", "words", "reason"),
    [
        ("sleep 1000", ("put", "file:///x", "1048576"), "no answer within"),
        ("cat >/dev/null; sleep 1000", ("put", "file:///x", "1048576"), "no answer within"),
        ("sleep 1000", ("get", "file:///x", "/nowhere"), "no answer within"),
        ("sleep 1000", ("list", "file:///x"), "no answer within"),
        ("echo the key has expired >&2", ("put", "file:///x", "1048576"), "the key has expired"),
        ("exit 3", ("list", "file:///x"), "answers nothing: exit code 3"),
        (f"echo '{MARK}[]'", ("list", "file:///x"), "answers nothing"),
        (f"echo '{MARK}" + '{"error": "gone"}\'', ("list", "file:///x"), "gone"),
    ],
)
def test_a_child_that_does_nothing_more_is_ended_and_one_that_failed_says_why(
    program: str, words: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_SILENT_LIMIT_S", "_STALLED_LIMIT_S", "_CUT_OFF_LIMIT_S"):
        monkeypatch.setattr(bucket, limit, 0.3)
    asked = Bucket(lambda: [("/bin/sh", "-c", program)], {"PATH": "/usr/bin:/bin"})
    content = BLOCKS if words[0] == "put" else []
    with pytest.raises(BucketError, match=reason):
        asked.ask(*words, content=content)


def test_a_file_that_comes_slowly_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "_STALLED_LIMIT_S", 3.0)
    path = tmp_path / "file"
    each = f"printf x >>{path}; sleep 0.3; "
    program = f"{each * 12} echo '{MARK}" + '{"answer": "all"}\''
    asked = Bucket(lambda: [("/bin/sh", "-c", program)], {"PATH": "/usr/bin:/bin"})
    assert asked.ask("get", "file:///x", str(path)) == "all"


def test_where_the_trainer_has_no_python_it_is_said_how_to_name_one() -> None:
    with pytest.raises(BucketError, match=r"no Python of the trainer") as caught:
        Bucket(lambda: [], {}).ask("list", "file:///x")
    assert "SWEEPCTL_TRAINER_PYTHON" in (caught.value.hint or "")


def test_a_file_that_is_cut_off_is_removed_and_those_before_it_stay(tmp_path: Path) -> None:
    script = Path(bucket.__file__).with_name("in_bucket.py")
    fsspec = tmp_path / "fsspec.py"
    fsspec.write_text(
        "import os\n"
        "class core:\n"
        "    url_to_fs = staticmethod(lambda uri: (System, uri.removeprefix('file://')))\n"
        "class System:\n"
        "    open, rm = open, os.remove\n"
        "    makedirs = staticmethod(os.makedirs)\n"
    )
    assert script.is_file()
    asked = Bucket(lambda: [(sys.executable, "-S")], {"PYTHONPATH": str(tmp_path)})
    folder = tmp_path / "bucket"
    words = (f"file://{folder}/1.pt", "3", f"file://{folder}/1.json", "10")
    with pytest.raises(BucketError, match="EOFError: 2 bytes of 10 came"):
        asked.ask("put", *words, content=[b"abcde"])
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"1.pt": b"abc"}
