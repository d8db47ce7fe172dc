"""The two ways of the pod code into a pod: mounted from a ConfigMap, or baked into the image."""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.sweeps import (
    ROOT,
    Sweepctl,
    offer_plain_trainer,
    write_sweep,
    write_values,
)
from tests.testbed.cluster import Cluster
from tests.testbed.images import base_image, build_image
from tests.testbed.layout import Bed
from tests.testbed.lifecycle import load_image
from tests.testbed.server_image import offer_server_image

pytestmark = pytest.mark.cluster

BAKED = "testbed.invalid/baked:1"
GAINS = [0.25, 1e-05]


@pytest.fixture(scope="module", autouse=True)
def _images(cluster: Cluster, the_bed: Bed) -> None:
    """Put the server's image onto the nodes, and the trainer target of images/Dockerfile."""
    offer_server_image(cluster, the_bed)
    with tempfile.TemporaryDirectory(prefix="sweepctl-baked-") as work:
        folder = Path(work)
        base = base_image(os.environ, print)
        baked = build_image(
            BAKED,
            ROOT,
            folder / "baked.tar",
            dockerfile=ROOT / "images" / "Dockerfile",
            stage="trainer",
            build_args={"BASE": f"oci-archive:{base.archive}"},
        )
        load_image(cluster, the_bed, baked)


def without_pod_code(job: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a Job what the two ways may differ in: name, image, and the code's mount."""
    job = copy.deepcopy(job)
    for part in (job["metadata"], job["spec"]["template"]["metadata"]):
        part["labels"].pop("sweepctl/job", None)
    job["metadata"].pop("name")
    spec = job["spec"]["template"]["spec"]
    (agent,) = spec["containers"]
    agent.pop("image")
    agent["volumeMounts"] = [each for each in agent["volumeMounts"] if each["name"] != "pod-code"]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] != "pod-code"]
    return job


def mount_paths(job: dict[str, Any]) -> set[str]:
    (agent,) = job["spec"]["template"]["spec"]["containers"]
    return {mount["mountPath"] for mount in agent["volumeMounts"]}


def test_both_ways_have_the_same_manifest_but_for_the_mount_and_train_the_same(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    offer_plain_trainer(cluster, namespace)
    sweepctl = Sweepctl(cluster, namespace, tmp_path)
    write_sweep(tmp_path, GAINS)
    values = str(write_values(tmp_path))
    baked = ("--image", BAKED, "--set", "podCode.mount=false")
    rendered = []
    for name, more in (("mounted", ()), ("baked", baked)):
        options = ("plain.yaml", "-f", values, "--name", "routes", *more)
        text = sweepctl.answer("render", *options)
        rendered.append(next(o for o in yaml.safe_load_all(text) if o["kind"] == "Job"))
        submit = ("submit", "plain.yaml", "--name", name, "-f", values, "--create-secret", *more)
        done = sweepctl(*submit, "--agents", "2", "--wait")
        assert done.returncode == 0, done.stderr
        assert sorted(run["metric"] for run in sweepctl.runs(name)) == sorted(GAINS)
    assert without_pod_code(rendered[0]) == without_pod_code(rendered[1])
    mounts = [
        [
            each["mountPath"]
            for each in job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        ]
        for job in rendered
    ]
    assert set(mounts[0]) - set(mounts[1]) == {"/opt/sweepctl"}


def test_the_server_image_with_the_extra_searches_by_bayes(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    offer_plain_trainer(cluster, namespace)
    sweepctl = Sweepctl(cluster, namespace, tmp_path)
    sweep = yaml.safe_load(write_sweep(tmp_path, GAINS).read_text())
    sweep |= {"method": "bayes", "run_cap": 4}
    sweep["parameters"] = {"task.gain": {"min": 0.5, "max": 2.0}}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(sweep))
    values = str(write_values(tmp_path))
    done = sweepctl("submit", "plain.yaml", "-f", values, "--create-secret", "--wait")
    assert done.returncode == 0, done.stderr
    gains = [run["parameters"]["task.gain"] for run in sweepctl.runs("plain")]
    assert len(set(gains)) == 4
    assert all(0.5 <= gain <= 2.0 for gain in gains)
