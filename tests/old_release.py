"""A release of the version before: its chart, and the pod code as its pods have it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.binaries import module, programs

OLD_CHART = Path(__file__).parent / "data" / "isaac-sweep-with-pod_code.tgz"


def old_objects(folder: Path) -> list[dict[str, Any]]:
    """Render the chart of the version before, by the real helm; raises BedUnavailable."""
    helm = programs(module("helm"), os.environ, print)["helm"]
    done = subprocess.run(
        [str(helm), "template", "legs", str(OLD_CHART), "-n", "robots", "--set", "sweep=a"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [piece for piece in yaml.safe_load_all(done.stdout) if piece]


def old_values() -> dict[str, Any]:
    """Read the values of the chart of the version before."""
    with tarfile.open(OLD_CHART) as chart:
        file = chart.extractfile("isaac-sweep/values.yaml")
        assert file is not None
        found: dict[str, Any] = yaml.safe_load(file)
    return found


def lay_out_old_code(folder: Path) -> Path:
    """Write the old pod code to the places that the old Job's volume gives it."""
    objects = old_objects(folder)
    (job,) = (piece for piece in objects if piece["kind"] == "Job")
    volumes = job["spec"]["template"]["spec"]["volumes"]
    (mounted,) = (each["configMap"] for each in volumes if each["name"] == "pod-code")
    (code,) = (piece for piece in objects if piece["metadata"]["name"] == mounted["name"])
    for item in mounted["items"]:
        file = folder / "old" / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code["data"][item["key"]], encoding="utf-8")
    return folder / "old"
