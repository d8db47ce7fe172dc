"""The pages of docs/ on a real cluster: what they tell to type is typed, in order."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.cluster.git_server import offer_repository
from tests.documentation import ROOT, Reader, pages_that_run
from tests.local.local_sweeps import EXAMPLE
from tests.testbed.cluster import Cluster
from tests.testbed.layout import GIT_IMAGE, Bed
from tests.testbed.playground import VALUES
from tests.testbed.server_image import offer_server_image
from tests.testbed.trainer import offer_trainer

pytestmark = [pytest.mark.cluster, pytest.mark.trainer]

INSTEAD = {
    # The bed's image, its embedded server in W&B's place, and small requests.
    "-f values.yaml": "-f values.yaml -f bed.yaml",
    "ref: main": "ref: HEAD",
    # The bed's launcher, and a training that a CPU ends in seconds.
    "/workspace/isaaclab/isaaclab.sh": "isaaclab",
    "- 4096\n": "- 16\n",
    "- 1500\n": "- 7\n  - --device\n  - cpu\n  - agent.device=cpu\n",
    "run_cap: 6": "run_cap: 1",
}


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Give the name of a namespace that the page itself makes."""
    name = f"docs-{uuid.uuid4().hex[:8]}"
    yield name
    cluster.run("kubectl", "-n", name, "delete", "jobs", "--all", "--wait=false")
    cluster.run("kubectl", "delete", "namespace", name, "--wait=false")


def write_project(folder: Path) -> None:
    """Write the user's project as Isaac Lab's template lays it out, with the example's task."""
    package = shutil.copytree(EXAMPLE.parent / "toy_legs", folder / "source/legs/legs/tasks")
    (package.parent / "__init__.py").write_text("from .tasks import *\n")
    (package.parents[1] / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    register = package / "__init__.py"
    register.write_text(register.read_text().replace("Toy-Legs", "My-Legs"))


@pytest.mark.parametrize("page", pages_that_run("cluster"), ids=lambda page: page.stem)
def test_what_a_page_tells_to_type_on_a_cluster_does_what_it_says(
    cluster: Cluster, the_bed: Bed, namespace: str, tmp_path: Path, page: Path
) -> None:
    instead = {**INSTEAD, "robots": namespace}

    def offer() -> None:
        needs.got(offer_trainer, cluster, the_bed, namespace, os.environ)
        if "https://github.com/me/legs.git" in page.read_text():
            project, work = tmp_path / "project", tmp_path / "work"
            write_project(project)
            work.mkdir()
            address = offer_repository(cluster, the_bed, namespace, work, project)
            instead["https://github.com/me/legs.git"] = address

    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "bed.yaml").write_text(
        f"{VALUES.read_text()}code: {{git: {{image: '{GIT_IMAGE}'}}}}\n"
    )
    (folder / "examples").symlink_to(ROOT / "examples")
    offer_server_image(cluster, the_bed)
    programs = Path(sys.executable).parent
    kept = {key: text for key, text in cluster.environ.items() if not key.startswith("WANDB_")}
    environ = {
        **kept,
        "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
        "HOME": str(folder),
        "NGC_API_KEY": "a-key-of-ngc",
    }
    reader = Reader(folder, environ, instead, {"kubectl create namespace": offer})
    reader.follow(page, "cluster")
