"""What tests of sweeps in a cluster share: the server's image, a plain trainer, the CLI."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.cluster import Cluster
from tests.testbed.images import Image, base_tar, build_image
from tests.testbed.layout import TEST_IMAGE, Bed, cache_dir
from tests.testbed.lifecycle import load_image

ROOT = Path(__file__).parents[2]
SERVER_IMAGE = "testbed.invalid/server:1"
_SERVER_NEEDS = (
    *("graphql-core", "jinja2", "platformdirs", "pyyaml"),
    *("rich", "starlette", "typer", "uvicorn"),
)
_SERVER_DOCKERFILE = """\
FROM scratch
ADD base.tar /
COPY site /opt/site
RUN printf '#!/bin/sh\\nexec python3 -m sweepctl "$@"\\n' >/usr/bin/sweepctl
RUN chmod 755 /usr/bin/sweepctl
ENV PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
"""


@dataclass(frozen=True, slots=True)
class Sweepctl:
    """The command line against a cluster, as a user runs it."""

    cluster: Cluster
    namespace: str
    folder: Path

    def __call__(
        self, *arguments: str, timeout_s: float = 180, environ: Mapping[str, str] | None = None
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


def offer_server_image(cluster: Cluster, bed: Bed) -> None:
    """Put an image with this checkout's server onto the nodes; built again when it has changed."""
    packages = [f"{name}=={version}" for name, version in sorted(_with_needs(_SERVER_NEEDS))]
    with tempfile.TemporaryDirectory(prefix="sweepctl-server-") as work:
        site = Path(work, "site")
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "sweepctl", site / "sweepctl", ignore=skip)
        shutil.copytree(ROOT / "charts" / "isaac-sweep", site / "sweepctl" / "chart", ignore=skip)
        archive = cache_dir(os.environ) / "images" / f"server-{_key(site, packages)}.tar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with archive.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not archive.exists():
                _install(packages, site)
                _build(Path(work), archive)
    load_image(cluster, bed, Image(SERVER_IMAGE, archive))


def _install(packages: list[str], site: Path) -> None:
    """Install what sweepctl's server imports, for the Python of the image."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"]
    command += ["--target", str(site), "--python-version", "3.11", *packages]
    subprocess.run(command, check=True)


def _build(work: Path, archive: Path) -> None:
    (work / "Dockerfile").write_text(_SERVER_DOCKERFILE)
    shutil.copy(base_tar(os.environ, print), work / "base.tar")
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    build_image(SERVER_IMAGE, work, part)
    for old in archive.parent.glob("server-*.tar"):
        old.unlink()
    part.replace(archive)


def _with_needs(names: Sequence[str]) -> set[tuple[str, str]]:
    """Give the packages and all that they need, each with the version that is installed here."""
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.version(name)
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # a need of another platform or Python
        for need in needs:
            if "extra ==" not in need and (match := re.match(r"[A-Za-z0-9._-]+", need)):
                waiting.append(match[0].lower())
    return set(found.items())


def _key(site: Path, packages: list[str]) -> str:
    digest = hashlib.sha256(f"{_SERVER_DOCKERFILE} {packages}".encode())
    for file in sorted(site.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(site)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def log_sequences(lines: Iterator[str] | list[str]) -> dict[str, list[int]]:
    """Give the numbers that each process of the plain trainer has printed, in order."""
    found: dict[str, list[int]] = {}
    for line in lines:
        if match := re.search(r"process (\w+) line (\d+) ", line):
            found.setdefault(match[1], []).append(int(match[2]))
    return found
