"""The image of sweepctl's server for the nodes, with this checkout's code, made without a registry.

It is the base image and what `pip install sweepctl` would add for the server, installed from the
same locked versions that run here.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.testbed.cluster import Cluster
from tests.testbed.images import Image, base_tar, build_image
from tests.testbed.layout import Bed, cache_dir
from tests.testbed.lifecycle import load_image

ROOT = Path(__file__).parents[2]
SERVER_IMAGE = "testbed.invalid/server:1"
_NEEDS = (
    *("graphql-core", "jinja2", "platformdirs", "pyyaml"),
    *("rich", "starlette", "typer", "uvicorn"),
)
_DOCKERFILE = """\
FROM scratch
ADD base.tar /
COPY site /opt/site
RUN printf '#!/bin/sh\\nexec python3 -m sweepctl "$@"\\n' >/usr/bin/sweepctl
RUN chmod 755 /usr/bin/sweepctl
ENV PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
"""


def offer_server_image(cluster: Cluster, bed: Bed) -> None:
    """Put an image with this checkout's server onto the nodes; built again when it has changed."""
    packages = [f"{name}=={version}" for name, version in sorted(_with_needs(_NEEDS))]
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
    (work / "Dockerfile").write_text(_DOCKERFILE)
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
    digest = hashlib.sha256(f"{_DOCKERFILE} {packages}".encode())
    for file in sorted(site.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(site)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]
