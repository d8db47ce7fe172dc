"""Fixtures of the local tier: the real trainer's environment, and sweeps that end with the test."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.local.local_sweeps import LocalSweep, environment
from tests.testbed import requirements

TOY_LEGS = Path(__file__).resolve().parents[2] / "examples" / "toy_legs"


@pytest.fixture(scope="session")
def trainer_bin() -> str:
    """Give the folder of the real trainer's programs."""
    check = [sys.executable, str(TOY_LEGS / "setup_trainer.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True)
    if result.returncode != 0:
        reason = f"{result.stderr.strip()}: run `make trainer`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
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
    try:
        return requirements.program("tmux", "tmux")
    except requirements.BedUnavailable as problem:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(str(problem))
        raise
