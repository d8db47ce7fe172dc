"""Fixtures of the local tier: the real trainer's environment, and sweeps that end with the test."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.local.local_sweeps import LocalSweep, environment

TOY_LEGS = Path(__file__).resolve().parents[2] / "examples" / "toy_legs"


@pytest.fixture(scope="session")
def trainer_bin() -> str:
    """Give the folder of the real trainer's programs."""
    check = [sys.executable, str(TOY_LEGS / "setup_trainer.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True)
    if result.returncode != 0:
        needs.lacks(f"{result.stderr.strip()}: run `make trainer`")
    return str(TOY_LEGS / ".venv" / "bin")


@pytest.fixture(scope="module")
def start_sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalSweep]]:
    """Give the function that starts sweeps, each in a folder of its own."""
    started: list[LocalSweep] = []

    def start(
        sweep: Mapping[str, Any], agents: int = 2, path: str = "", folder: Path | None = None
    ) -> LocalSweep:
        folder = folder or tmp_path_factory.mktemp("sweep")
        started.append(LocalSweep(folder, sweep, environment(folder, path), agents))
        return started[-1]

    yield start
    for sweep in started:
        sweep.end()


@pytest.fixture(scope="session")
def tmux() -> str:
    """Give the terminal that tests drive; it is installed where that is possible."""
    return needs.program("tmux", "tmux")
