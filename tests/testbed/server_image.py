"""The server target of images/Dockerfile for the nodes, with this checkout and W&B's search engine.

Built without a network, as the file's comment tells: from the wheel of this checkout and from those
of what it needs, in the locked versions, which are fetched once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.testbed.cluster import Cluster
from tests.testbed.images import Image, base_image, build_image
from tests.testbed.layout import Bed, cache_dir
from tests.testbed.lifecycle import load_image

ROOT = Path(__file__).parents[2]
SERVER_IMAGE = "testbed.invalid/server:1"
_KEPT_ARCHIVES = 4
_DOCKERFILE = ROOT / "images" / "Dockerfile"
# Where both pin a package, the search engine's lock goes first: it needs numpy 1.
_LOCKS = (ROOT / "tests" / "contract" / "bayes.lock", ROOT / "requirements.lock")
# The Python of the base image, whatever runs here.
_TARGET = ("--only-binary=:all:", "--python-version=3.11", "--implementation=cp")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def offer_server_image(cluster: Cluster, bed: Bed) -> None:
    """Put the image onto the nodes, once; built again when what it is made of has changed."""
    folder = cache_dir(os.environ) / "images"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"server-{_key()}.tar"
    loaded = bed.root / "server-image"

    def is_loaded() -> bool:
        return loaded.exists() and loaded.read_text() == archive.name

    if is_loaded():  # another process has done it: no waiting for what other checkouts build
        return
    with (folder / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_loaded():
            return
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix=".server-") as work:
                _build(Path(work), archive)
        load_image(cluster, bed, Image(SERVER_IMAGE, archive))
        loaded.write_text(archive.name)


def _build(work: Path, archive: Path) -> None:
    dist = work / "context" / "dist"
    _run([sys.executable, "-m", "uv", "build", "-q", "--wheel", "-o", str(dist), str(ROOT)])
    (wheel,) = dist.glob("sweepctl-*.whl")
    shutil.copytree(_needed_wheels(wheel, archive.parent), dist, dirs_exist_ok=True)
    built = build_image(
        SERVER_IMAGE,
        work / "context",
        work / "server.tar",
        dockerfile=_DOCKERFILE,
        stage="server",
        build_args={
            "SERVER_BASE": f"oci-archive:{base_image(os.environ, print).archive}",
            "PIP_NO_INDEX": "1",
            "EXTRAS": "[bayes]",
        },
    )
    # Those of other checkouts that test at the same time are not made twice.
    for old in sorted(archive.parent.glob("server-*.tar"), key=_age)[_KEPT_ARCHIVES:]:
        old.unlink(missing_ok=True)
    built.archive.replace(archive)


def _age(file: Path) -> float:
    return -file.stat().st_mtime if file.exists() else 0.0


def _needed_wheels(wheel: Path, folder: Path) -> Path:
    """Give the folder of the wheels of all that sweepctl needs and of pip, fetching them once."""
    pins = "".join(f"{name}=={version}\n" for name, version in sorted(_pins().items()))
    needs = (ROOT / "pyproject.toml").read_text()
    key = hashlib.sha256(f"{pins} {needs} {_TARGET} {_PLATFORMS}".encode()).hexdigest()[:16]
    wheels = folder / f"server-wheels-{key}"
    if not wheels.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".wheels-") as work:
            constraints, fetched = Path(work, "constraints.txt"), Path(work, "wheels")
            constraints.write_text(pins)
            download = [sys.executable, "-m", "pip", "download", "-q", "-c", str(constraints)]
            download += [*_TARGET, *(f"--platform={platform}" for platform in _PLATFORMS)]
            _run([*download, "-d", str(fetched), "pip", f"sweepctl[bayes] @ {wheel.as_uri()}"])
            (fetched / wheel.name).unlink()
            fetched.rename(wheels)
    return wheels


def _pins() -> dict[str, str]:
    found: dict[str, str] = {}
    for lock in _LOCKS:
        for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read_text()):
            found.setdefault(name.lower(), version)
    return found


def _key() -> str:
    files = [_DOCKERFILE, ROOT / "pyproject.toml", *_LOCKS]
    for folder in ("sweepctl", "charts"):
        found = (ROOT / folder).rglob("*")
        files += sorted(f for f in found if f.is_file() and "__pycache__" not in f.parts)
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:5])}: {done.stderr.strip()[-2000:]}")
