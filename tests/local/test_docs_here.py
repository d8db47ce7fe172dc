"""The pages on this machine: what they tell to type is typed, in order."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.documentation import ROOT, Reader, pages_that_run
from tests.local.local_sweeps import EXAMPLE, environment

INSTEAD = {
    # A training that a CPU ends in seconds.
    "- 4096\n": "- 16\n",
    "run_cap: 2": "run_cap: 1",
    "- 1500\n": "- 7\n  - --device\n  - cpu\n  - agent.device=cpu\n",
}
TRAINS = "docs/workstation.md"


def write_project(folder: Path) -> None:
    """Write the user's project, with the example's task under another name."""
    package = shutil.copytree(EXAMPLE.parent / "toy_legs", folder / "source/legs/legs/tasks")
    (package.parent / "__init__.py").write_text("from .tasks import *\n")
    (package.parents[1] / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    register = package / "__init__.py"
    register.write_text(register.read_text().replace("Toy-Legs", "My-Legs"))


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.trainer] * (page == ROOT / TRAINS))
        for page in pages_that_run("here")
    ],
)
def test_what_a_page_tells_to_type_on_this_machine_does_what_it_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    programs = [str(Path(sys.executable).parent)]
    if page == ROOT / TRAINS:
        programs.append(request.getfixturevalue("trainer_bin"))
    port = free_port()
    instead = {
        **INSTEAD,
        "0.0.0.0:8080": f"127.0.0.1:{port}",
        "127.0.0.1:8080": f"127.0.0.1:{port}",
        "server.example.org:8080": f"127.0.0.1:{port}",
    }
    folder = tmp_path / "legs"
    folder.mkdir()
    write_project(folder)
    shutil.copy(ROOT / "sweep.yaml", folder)
    environ = {
        **environment(tmp_path, os.pathsep.join(programs)),
        "SWEEPCTL_DATA": str(tmp_path / "data"),
    }
    environ.pop("KUBECONFIG", None)
    Reader(folder, environ, instead).follow(page, "here")
