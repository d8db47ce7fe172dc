"""Whose bytecode is kept, and where: never that of the user's code, shared only for the image's."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sweepctl_pod.trainer import bytecode
from sweepctl_pod.trainer.bytecode import (
    BytecodeCache,
    SourceFolder,
    mount_points,
    places,
    store_name,
)
from sweepctl_pod.trainer.interpreter import TrainerPython

DIGEST = "sha256:" + "a" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("folders", "own", "mounts", "kept"),
    [
        pytest.param(
            ["/opt/venv/lib/site-packages", "/usr/lib/python3.12"],
            ["/code"],
            ["/", "/code", "/proc"],
            {"/opt/venv/lib/site-packages": True, "/usr/lib/python3.12": True},
            id="the-images-own-are-shared",
        ),
        pytest.param(
            ["/usr/lib/py", "/usr/lib/py/lib-dynload", "/usr/lib/py/site-packages"],
            [],
            ["/"],
            {"/usr/lib/py": True},
            id="one-within-another-goes-with-it",
        ),
        pytest.param(
            ["/opt/trainer/venv", "/usr/lib/py"],
            [],
            ["/", "/opt/trainer"],
            {"/opt/trainer/venv": False, "/usr/lib/py": True},
            id="on-a-volume-this-pod-alone",
        ),
        pytest.param(
            ["/opt/venv"], [], ["/", "/opt/venv/torch"], {"/opt/venv": False}, id="a-volume-in-it"
        ),
        pytest.param(["/code/venv"], ["/code"], ["/"], {}, id="in-the-users-folder"),
        pytest.param(["/opt/venv"], ["/opt/venv/legs"], ["/"], {}, id="the-users-folder-in-it"),
        pytest.param(["/opt/venv"], ["/"], ["/"], {}, id="working-at-the-root"),
        pytest.param(["relative", "/"], [], ["/"], {}, id="no-place-of-packages"),
        pytest.param(["/o/venv"], ["/o/venv2"], ["/", "/o/v"], {"/o/venv": True}, id="near"),
    ],
)
def test_places_are_chosen_by_what_can_be_in_them(
    folders: list[str], own: list[str], mounts: list[str], kept: dict[str, bool]
) -> None:
    found = places(folders, own, [Path(mount) for mount in mounts])
    assert {str(place.folder): place.is_shared for place in found} == kept


def test_links_are_followed_to_the_users_code(tmp_path: Path) -> None:
    code, packages, other = tmp_path / "code", tmp_path / "packages", tmp_path / "other"
    for folder in (code / "legs", packages, other):
        folder.mkdir(parents=True)
    (packages / "legs").symlink_to(code / "legs")
    (tmp_path / "alias").symlink_to(code)
    assert places([str(packages), str(other)], [str(code)], []) == [SourceFolder(other, True)]
    assert places([str(code / "legs")], [str(tmp_path / "alias")], []) == []
    assert places([str(packages)], [], [code]) == [SourceFolder(packages, False)]
    # The standard library around them would take them along.
    library = [str(tmp_path), str(packages), str(other)]
    assert places(library, [str(code)], []) == [SourceFolder(other, True)]
    assert places(library, [], [code]) == [SourceFolder(tmp_path, False)]


def test_mount_points_are_read_as_the_kernel_writes_them() -> None:
    lines = "1 0 0:1 / / rw - overlay overlay rw\n2 1 8:1 /x /my\\040code ro - ext4 /dev/a rw\n"
    assert mount_points(lines) == [Path("/"), Path("/my code")]


@pytest.mark.parametrize(
    ("environ", "is_known"),
    [
        pytest.param({"SWEEPCTL_IMAGE": DIGEST}, True, id="no-code"),
        pytest.param({}, False, id="image-by-tag"),
        pytest.param(
            {"SWEEPCTL_IMAGE": DIGEST, "SWEEPCTL_CODE": "/c", "SWEEPCTL_CODE_REVISION": "r@x"},
            True,
            id="code-by-digest",
        ),
        pytest.param({"SWEEPCTL_IMAGE": DIGEST, "SWEEPCTL_CODE": "/c"}, False, id="code-by-claim"),
        pytest.param(
            {"SWEEPCTL_IMAGE": DIGEST, "SWEEPCTL_PYTHONPATH": "/volume"}, False, id="a-volume"
        ),
    ],
)
def test_a_store_is_shared_where_image_and_code_are_known(
    environ: Mapping[str, str], is_known: bool
) -> None:
    assert (store_name(environ, "cpython-312") is not None) is is_known


def test_image_interpreter_and_code_each_have_a_store_of_their_own(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    git = {
        "SWEEPCTL_IMAGE": DIGEST,
        "SWEEPCTL_CODE": str(tmp_path),
        "SWEEPCTL_CODE_REVISION": "git",
    }
    names = {store_name({"SWEEPCTL_IMAGE": DIGEST}, "cpython-311")}
    names.add(store_name({"SWEEPCTL_IMAGE": DIGEST}, "cpython-312"))
    names.add(store_name({"SWEEPCTL_IMAGE": DIGEST.replace("a", "b")}, "cpython-312"))
    assert store_name(git, "cpython-312") is None
    for head in (COMMIT, COMMIT.replace("0", "f")):
        (tmp_path / ".git" / "HEAD").write_text(f"{head}\n")
        names.add(store_name(git, "cpython-312"))
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert store_name(git, "cpython-312") is None
    assert None not in names
    assert len(names) == 5


class Python(TrainerPython):
    """A trainer's Python that says what a test wants."""

    def __init__(self, **said: Any) -> None:
        super().__init__({})
        self.said: dict[str, Any] | None = {
            "identity": "x",
            "folders": ["/nothing/there"],
            "has_bytecode": False,
            **said,
        }

    def describe(self, argv: object) -> dict[str, Any] | None:
        return self.said


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(bytecode, "_read", lambda path: "1 0 0:1 / / rw\n")
    return {
        "SWEEPCTL_CACHE": str(tmp_path / "cache"),
        "SWEEPCTL_IMAGE": DIGEST,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def given(pod: Mapping[str, str], python: Python) -> dict[str, str]:
    return BytecodeCache(pod, python).environ(["python"], pod)


def test_a_pods_trainer_gets_a_fresh_prefix_with_links_to_what_is_kept(
    pod: dict[str, str], tmp_path: Path
) -> None:
    cache = BytecodeCache(pod, Python())
    first = cache.environ(["python"], pod)
    prefix = Path(first["PYTHONPYCACHEPREFIX"])
    assert "PYTHONDONTWRITEBYTECODE" not in first
    kept = (prefix / "nothing" / "there").resolve()
    assert kept.parents[2] == tmp_path / "cache" / "bytecode"
    (kept / "module.pyc").touch()
    (prefix / "code").mkdir()
    assert cache.environ(["python"], pod) == first
    assert not (prefix / "code").exists()
    assert (prefix / "nothing" / "there" / "module.pyc").exists()
    cache.close()
    assert not prefix.parent.exists()
    assert (kept / "module.pyc").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"SWEEPCTL_CACHE": ""}, {}, id="no-cache-volume"),
        pytest.param({"PYTHONPYCACHEPREFIX": "/mine"}, {}, id="the-users-own"),
        pytest.param({"PYTHONDONTWRITEBYTECODE": ""}, {"has_bytecode": True}, id="the-images-own"),
    ],
)
def test_a_trainer_that_needs_no_cache_is_left_alone(
    changes: dict[str, str], said: dict[str, Any], pod: dict[str, str]
) -> None:
    environ = {**pod, **changes}
    assert given(environ, Python(**said)) == environ


def test_a_python_that_gives_no_answer_is_asked_again(pod: dict[str, str]) -> None:
    python = Python()
    said, python.said = python.said, None
    cache = BytecodeCache(pod, python)
    assert cache.environ(["python"], pod) == pod
    python.said = said
    assert "PYTHONPYCACHEPREFIX" in cache.environ(["python"], pod)


def test_a_cache_volume_that_takes_nothing_keeps_no_trainer_from_starting(
    pod: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "cache").touch()
    assert given(pod, Python()) == pod


def test_stores_that_no_pod_used_for_long_are_removed(pod: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "cache" / "bytecode"
    for name, days in (("old", 40), ("new", 3)):
        (shared / name / "x").mkdir(parents=True)
        then = os.stat(shared).st_mtime - days * 24 * 3600
        os.utime(shared / name, (then, then))
    given(pod, Python())
    kept = {path.name for path in shared.iterdir()}
    assert len(kept) == 2
    assert "new" in kept


@pytest.mark.parametrize("has_bytecode", [True, False])
def test_the_trainers_python_tells_whether_its_packages_have_bytecode(
    has_bytecode: bool, tmp_path: Path
) -> None:
    made = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(tmp_path)]
    subprocess.run(made, check=True)
    (packages,) = tmp_path.glob("lib/python3*/site-packages")
    for name in ("torch", "other"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").touch()
    python = str(tmp_path / "bin" / "python")
    module = "torch" if has_bytecode else "other"
    environ = {"PATH": os.environ["PATH"]}
    subprocess.run([python, "-c", f"import {module}"], env=environ, check=True)
    said = TrainerPython(environ).describe([python, "train.py"])
    assert said is not None
    assert said["has_bytecode"] is has_bytecode
    assert str(packages) in said["folders"]
    assert json.dumps(said)
