"""Real Isaac Lab training in real pods under Pod Security "restricted", from submit to best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import refuse
from tests.cluster.sweeps import Sweepctl, offer_server_image, write_values
from tests.testbed.cluster import Cluster
from tests.testbed.layout import Bed
from tests.testbed.requirements import BedUnavailable
from tests.testbed.trainer import CACHE_CLAIM, CLAIM, offer_trainer

pytestmark = [pytest.mark.cluster, pytest.mark.trainer]

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_legs" / "sweep.yaml"
RUNS = 2


def small_example() -> dict[str, Any]:
    """Give the example's sweep with few runs, fewer environments and the fewest iterations."""
    sweep: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    sweep["run_cap"] = RUNS
    command = sweep["command"]
    for flag, value in (("--num_envs", 16), ("--max_iterations", 7)):
        command[command.index(flag) + 1] = value
    return sweep


def trainer_values(folder: Path) -> Path:
    """Write the settings of a pod that finds the trainer's environment on a volume."""
    claims = {"trainer": CLAIM, "caches": CACHE_CLAIM}
    return write_values(
        folder,
        resources={"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}},
        shmSize="1Gi",
        runs={"type": "pvc", "size": "1Gi"},
        pythonPath=["/opt/trainer/code"],
        extraVolumes=[
            *(
                {"name": name, "persistentVolumeClaim": {"claimName": claim}}
                for name, claim in claims.items()
            ),
            {"name": "dot-cache", "emptyDir": {}},
        ],
        extraVolumeMounts=[
            {"name": "trainer", "mountPath": "/opt/trainer", "readOnly": True},
            # Else the kubelet makes this folder for the mount below it, as root.
            {"name": "dot-cache", "mountPath": "/home/agent/.cache"},
            {"name": "caches", "mountPath": "/home/agent/.cache/warp", "subPath": "warp"},
        ],
    )


class _AnyTag(yaml.SafeLoader):
    """Reads the trainer's own record, whose tags name Python's types."""


def _untagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


_AnyTag.add_multi_constructor("tag:yaml.org,2002:python", _untagged)


def test_submitted_sweep_trains_isaac_lab_exactly_as_asked(
    cluster: Cluster, the_bed: Bed, namespace: str, tmp_path: Path
) -> None:
    try:
        offer_trainer(cluster, the_bed, namespace, {"HOME": str(Path.home())})
    except BedUnavailable as problem:
        refuse(str(problem))
    offer_server_image(cluster, the_bed)
    sweepctl = Sweepctl(cluster, namespace, tmp_path)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(small_example(), sort_keys=False))
    values = str(trainer_values(tmp_path))
    done = sweepctl(
        *("submit", "sweep.yaml", "--agents", "2", "-f", values, "--create-secret", "--wait"),
        timeout_s=900,
    )
    story = sweepctl("logs", "toy-legs", "--no-follow").stdout
    assert done.returncode == 0, f"{done.stderr}\n{story[-6000:]}"
    status = sweepctl.status("toy-legs")
    assert status["sweep"]["counts"] == {"finished": RUNS}
    assert all(isinstance(run["metric"], float) for run in status["sweep"]["runs"])

    logs = "".join(
        cluster.kubectl("-n", namespace, "logs", agent["pod"]) for agent in status["agents"]
    )
    assert logs.count("Training time:") == RUNS

    # The trainer's own record of each run, on the volume, holds exactly factor times table.
    claim = cluster.get("-n", namespace, "pvc", "toy-legs-runs")
    volume = the_bed.volumes / claim["spec"]["volumeName"]
    best = json.loads(sweepctl.answer("best", "toy-legs", "-o", "json"))
    assert len(best["runs"]) == RUNS
    table = small_example()["parameters"]["p_gain_leg"]["p_gain_leg_base_dict"]["value"]
    path = "env.scene.robot.actuators.legs.stiffness"
    for run in best["runs"]:
        factor = run["parameters"]["p_gain_leg"]
        wanted = {key: factor * gain for key, gain in table.items()}
        assert run["overrides"][path] == wanted
        (record,) = volume.rglob(f"*{run['run']}*/params/env.yaml")
        setting = yaml.load(record.read_text(), _AnyTag)
        for part in path.split(".")[1:]:
            setting = setting[part]
        assert setting == wanted
