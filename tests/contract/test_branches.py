"""Runs of W&B's real client that go on from another: forks, rewinds, segments sent one by one."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients import Cells, clients, python_of
from tests.contract.conftest import Sdk
from tests.serving import ServerProcess, sdk_environ

WORK = Path(__file__).with_name("branching_work.py")


class Client:
    """A version of W&B's client, in a folder of its own."""

    def __init__(self, version: str, url: str, folder: Path) -> None:
        self.python = python_of(version)
        self.folder = folder
        self.environ = sdk_environ(url, folder / "home") | {"WANDB_DIR": str(folder)}

    def run(self, *command: str, **more: str) -> str:
        done = subprocess.run(
            [self.python, *command],
            env=self.environ | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self, first: int, count: int, *, mode: str = "online", **how: Any) -> None:
        wanted = json.dumps({"first": first, "count": count, **how})
        self.run(str(WORK), "log", wanted, WANDB_MODE=mode)

    def read(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(str(WORK), "read", run).splitlines()[-1])
        return found


def expected(steps: range) -> dict[str, Any]:
    last = steps[-1]
    losses = [step / 2 for step in steps]
    return {
        "state": "finished",
        "steps": [*steps],
        "losses": losses,
        "hip": last,
        "last": last,
    }


@pytest.mark.parametrize("version", clients("fork"))
def test_a_fork_goes_on_from_a_step_of_its_parent(
    version: str, server: ServerProcess, tmp_path: Path, cells: Cells
) -> None:
    with cells.of(version, "fork"):
        client = Client(version, server.url, tmp_path)
        client.log(0, 6, id="parent")
        client.log(4, 4, id="child", fork_from="parent?_step=3")
        assert client.read("child") == expected(range(8))
        assert client.read("parent") == expected(range(6))
        assert "unknown" not in server.log, server.log


@pytest.mark.parametrize("version", clients("rewind"))
def test_a_rewound_run_goes_on_from_a_step_of_its_own(
    version: str, server: ServerProcess, tmp_path: Path, cells: Cells
) -> None:
    with cells.of(version, "rewind"):
        client = Client(version, server.url, tmp_path)
        client.log(0, 6, id="r")
        client.log(3, 2, id="r", resume_from="r?_step=2")
        assert client.read("r") == expected(range(5))


@pytest.mark.parametrize("version", clients("segments"))
def test_the_segments_of_a_run_are_synced_one_by_one_into_one(
    version: str, server: ServerProcess, tmp_path: Path, cells: Cells
) -> None:
    with cells.of(version, "segments"):
        client = Client(version, server.url, tmp_path)
        for segment in range(2):
            client.log(3 * segment, 3, id="r", says_step=True, mode="offline")
        folders = sorted(tmp_path.glob("wandb/offline-run-*"))
        assert len(folders) == 2
        for folder in folders:
            client.run("-m", "wandb", "sync", str(folder))
        assert client.read("r") == expected(range(6))


def test_wandb_verify_finds_nothing_wrong_but_that_this_is_not_https(
    server: ServerProcess, sdk: Sdk
) -> None:
    said = sdk.cli("verify")
    wrong = [line.partition(".")[0] for line in said.splitlines() if "❌" in line]
    assert wrong == ["Checking requests to base url", "Checking requests made over signed URLs"]
    assert said.count("✅") >= 8, said
