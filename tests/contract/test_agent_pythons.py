"""The pod code alone, in a bare interpreter of every Python that a trainer image may have."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweepctl.manifest.pod_code import pod_code
from tests import needs
from tests.contract.agents import World

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
IMPORT_ALL = """
import json, sys
class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.stdlib_module_names or name.split(".")[0] == "sweepctl_pod":
            return None
        raise ImportError(f"{name} is neither the standard library nor sweepctl_pod")
sys.meta_path.insert(0, OnlyThese())
sys.path.insert(0, sys.argv[1])
import importlib, pathlib
for file in sorted(pathlib.Path(sys.argv[1]).glob("sweepctl_pod/**/*.py")):
    importlib.import_module(".".join(file.relative_to(sys.argv[1]).with_suffix("").parts))
print(json.dumps(sorted(sys.modules)))
"""


def interpreter(version: str) -> str:
    """Find an interpreter of a version: this one, the PATH's, pyenv's, uv's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return os.path.realpath(sys.executable)
    places = [
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"),
        *Path.home().glob(f".local/share/uv/python/cpython-{version}.*/bin/python{version}"),
    ]
    found = next((str(place) for place in places), None) or shutil.which(f"python{version}")
    if found is None:
        needs.lacks(f"no Python {version} here")
    return found


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Give a folder with what a pod is given, nothing else."""
    carried = pod_code()
    for key, place in carried.paths():
        file = tmp_path / "code" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(carried.files[key], encoding="utf-8")
    return tmp_path / "code"


@pytest.mark.parametrize("version", VERSIONS)
def test_pod_code_imports_nothing_but_the_standard_library(version: str, code: Path) -> None:
    command = [interpreter(version), "-S", "-E", "-c", IMPORT_ALL, str(code)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout)
    assert "sweepctl_pod.agent" in modules
    assert "sweepctl_pod.trainer.in_trainer" in modules
    assert not {"yaml", "wandb", "site"} & set(modules)


@pytest.mark.parametrize("version", VERSIONS)
def test_agent_trains_under_every_python_without_site_packages(
    version: str, code: Path, world: World
) -> None:
    world.environ["PYTHONPATH"] = str(code)
    python = interpreter(version)
    sweep = world.sweep(world.trainer("escape", "log"), run_cap=2)
    name = f"local/agents/{sweep.id}"
    agent = world.start_command([python, "-S", str(code), "--sweep", name])
    assert agent.wait() == 0, agent.said
    assert [run.state for run in world.runs(sweep)] == ["finished"] * 2, agent.said
    assert "Warning" not in agent.said
    world.nothing_is_left()
