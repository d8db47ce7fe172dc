"""Fixtures of the local tier: the real trainer's environment, and sweeps that end with the test."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.local.local_sweeps import LocalSweep, environment


@pytest.fixture(scope="session")
def trainer_bin() -> str:
    """Give the folder of the real trainer's programs."""
    return needs.trainer()


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
