"""Real Isaac Lab training in real pods, by submit and by the chart, under "restricted"."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sweepctl.values.settings import chart_folder
from tests import needs
from tests.cluster.git_server import offer_repository
from tests.cluster.sweeps import Sweepctl
from tests.local.local_sweeps import EXAMPLE, read_record, setting, toy_sweep
from tests.testbed.cluster import Cluster
from tests.testbed.layout import GIT_IMAGE, Bed
from tests.testbed.playground import VALUES, prepare

pytestmark = [pytest.mark.cluster, pytest.mark.trainer]

RUNS = 3
NAME = "toy-legs"


@pytest.fixture
def ready(cluster: Cluster, the_bed: Bed, namespace: str) -> None:
    """Have all in the namespace that the settings of the test bed name."""
    needs.got(prepare, cluster, the_bed, namespace, os.environ)


@pytest.fixture
def sweepctl(cluster: Cluster, namespace: str, ready: None, tmp_path: Path) -> Sweepctl:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(toy_sweep(RUNS), sort_keys=False))
    return Sweepctl(cluster, namespace, tmp_path)


def test_submitted_sweep_trains_isaac_lab_exactly_as_asked(
    sweepctl: Sweepctl, the_bed: Bed
) -> None:
    done = sweepctl(
        *("submit", "sweep.yaml", "--agents", "3", "--wait"),
        environ={"SWEEPCTL_VALUES": str(VALUES)},
        timeout_s=900,
    )
    check_training(sweepctl, the_bed, done)


def test_installed_release_trains_isaac_lab_exactly_as_asked(
    sweepctl: Sweepctl, the_bed: Bed
) -> None:
    """The agents create the sweep: nobody has told them an id."""
    sweep = f"sweep={sweepctl.folder / 'sweep.yaml'}"
    settings = ("-f", str(VALUES), "--set", "agents=3", "--set-file", sweep)
    install = ("helm", "install", NAME, str(chart_folder()), "-n", sweepctl.namespace, *settings)
    installed = sweepctl.cluster.run(*install)
    assert installed.returncode == 0, installed.stderr
    check_training(sweepctl, the_bed, sweepctl("wait", NAME, timeout_s=900))


def test_task_of_a_git_repository_trains_with_no_image_built(
    sweepctl: Sweepctl, cluster: Cluster, the_bed: Bed, namespace: str, tmp_path: Path
) -> None:
    """The image knows nothing of the task: Isaac Lab finds it in the clone."""
    project = tmp_path / "project"
    package = shutil.copytree(EXAMPLE.parent / "toy_legs", project / "source/stilts/stilts/tasks")
    (package.parent / "__init__.py").write_text("from .tasks import *\n")
    (package.parents[1] / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    register = package / "__init__.py"
    register.write_text(register.read_text().replace("Toy-Legs", "Stilts"))
    sweep = toy_sweep(1)
    sweep["command"] = ["Stilts" if word == "Toy-Legs" else word for word in sweep["command"]]
    (sweepctl.folder / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))

    address = offer_repository(cluster, the_bed, namespace, tmp_path, project)
    code = f"code.git.repository={address},code.git.image={GIT_IMAGE},code.tasks={{/code}}"
    done = sweepctl(
        *("submit", "sweep.yaml", "--wait", "--set", code),
        environ={"SWEEPCTL_VALUES": str(VALUES)},
        timeout_s=900,
    )
    check_training(sweepctl, the_bed, done, runs=1)


def check_training(
    sweepctl: Sweepctl,
    the_bed: Bed,
    done: subprocess.CompletedProcess[str],
    runs: int = RUNS,
) -> None:
    """Hold what the trainer wrote of every run against what the sweep file asks for."""
    story = sweepctl("logs", NAME, "--no-follow").stdout
    assert done.returncode == 0, f"{done.stderr}\n{story[-6000:]}"
    status = sweepctl.status(NAME)
    assert status["sweep"]["counts"] == {"finished": runs}
    assert all(isinstance(run["metric"], float) for run in status["sweep"]["runs"])

    cluster, namespace = sweepctl.cluster, sweepctl.namespace
    logs = [cluster.kubectl("-n", namespace, "logs", agent["pod"]) for agent in status["agents"]]
    assert "".join(logs).count("Training time:") == runs

    # The trainer's own record of each run, on the volume, holds exactly factor times table.
    claim = cluster.get("-n", namespace, "pvc", f"{NAME}-runs")
    volume = the_bed.volumes / claim["spec"]["volumeName"]
    best = json.loads(sweepctl.answer("best", NAME, "-o", "json"))
    assert len(best["runs"]) == runs
    table = toy_sweep(runs)["parameters"]["p_gain_leg"]["p_gain_leg_base_dict"]["value"]
    path = "env.scene.robot.actuators.legs.stiffness"
    for run in best["runs"]:
        factor = run["parameters"]["p_gain_leg"]
        wanted = {key: factor * gain for key, gain in table.items()}
        assert run["overrides"][path] == wanted
        (record,) = volume.rglob(f"*{run['run']}*/params/env.yaml")
        assert setting(read_record(record), path) == wanted
