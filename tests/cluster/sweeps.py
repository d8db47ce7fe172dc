"""What tests of sweeps in a cluster share: a plain trainer, the CLI."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.cluster import Cluster
from tests.testbed.layout import TEST_IMAGE
from tests.testbed.server_image import SERVER_IMAGE

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sweepctl:
    """The command line against a cluster, as a user runs it."""

    cluster: Cluster
    namespace: str
    folder: Path

    def __call__(
        self, *arguments: str, timeout_s: float = 600, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def answer(self, *arguments: str, **more: Any) -> str:
        """Give what it answers, which must be a success."""
        done = self(*arguments, **more)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self, name: str) -> dict[str, Any]:
        """Give a submitted sweep's status as data."""
        found: dict[str, Any] = json.loads(self.answer("status", name, "-o", "json"))
        return found

    def runs(self, name: str) -> list[dict[str, Any]]:
        """Give the runs of a submitted sweep."""
        runs: list[dict[str, Any]] = self.status(name)["sweep"]["runs"]
        return runs

    def command(self, *arguments: str) -> list[str]:
        verb, *rest = arguments
        return [sys.executable, "-m", "sweepctl", verb, "-n", self.namespace, *rest]

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {
            key: value
            for key, value in self.cluster.environ.items()
            if not key.startswith("WANDB_")
        }
        return {**kept, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **(more or {})}


def write_sweep(
    folder: Path, values: list[float], *, steps: int = 4, pause_s: float = 0.1, name: str = "plain"
) -> Path:
    """Write a sweep of the plain trainer: one run for each value."""
    sweep = {
        "name": name,
        "project": "plain",
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "command": ["python3", "/code/trainer.py", f"steps={steps}", f"pause_s={pause_s}"],
        "parameters": {"task.gain": {"values": values}},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(sweep, sort_keys=False))
    return file


def write_values(folder: Path, **changes: Any) -> Path:
    """Write settings that fit the test bed: its images, small requests, GPUs that are not real."""
    repository, _, tag = TEST_IMAGE.rpartition(":")
    server, _, server_tag = SERVER_IMAGE.rpartition(":")
    small = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    values: dict[str, Any] = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "resources": small,
        "shmSize": "64Mi",
        "graceSeconds": 20,
        "preflight": {"gpu": "off"},
        "cache": {"size": "1Gi", "paths": []},
        "runs": {"size": "1Gi"},
        "extraVolumes": [{"name": "trainer-code", "configMap": {"name": "trainer-code"}}],
        "extraVolumeMounts": [{"name": "trainer-code", "mountPath": "/code"}],
        "server": {
            "enabled": True,
            "image": {"repository": server, "tag": server_tag, "pullPolicy": "Never"},
            "resources": small,
        },
        **changes,
    }
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def offer_plain_trainer(cluster: Cluster, namespace: str) -> None:
    """Put the plain trainer's script into a namespace."""
    text = Path(__file__).with_name("plain_trainer.py").read_text()
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "trainer-code"},
            "data": {"trainer.py": text},
        },
        namespace=namespace,
    )


def log_sequences(lines: Iterator[str] | list[str]) -> dict[str, list[int]]:
    """Give the numbers that each process of the plain trainer has printed, in order."""
    found: dict[str, list[int]] = {}
    for line in lines:
        if match := re.search(r"process (\w+) line (\d+) ", line):
            found.setdefault(match[1], []).append(int(match[2]))
    return found
