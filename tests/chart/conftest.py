"""The real helm, built from its pinned module once and kept."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweepctl.values.settings import chart_folder
from tests import needs
from tests.testbed.binaries import module, programs

Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def helm_program() -> Path:
    return needs.got(programs, module("helm"), os.environ, print)["helm"]


@pytest.fixture(scope="session")
def helm(helm_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Give a function that runs helm, away from the user's own settings."""
    home = tmp_path_factory.mktemp("helm")
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(helm_program), *arguments],
            env=environ,
            cwd=cwd or chart_folder(),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the chart, for tests that add to it."""
    copy = tmp_path_factory.mktemp("chart") / "isaac-sweep"
    shutil.copytree(chart_folder(), copy)
    return copy
