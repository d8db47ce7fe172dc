"""The real trainer for pods: its environment as a read-only volume, and a volume for its caches.

The environment is gigabytes, so nothing is copied: each node joins the parts by bind mounts of its
own, in a shape that works where the pod mounts it (`/opt/trainer`):

    python/   the Python that the environment was made with
    venv/     the environment; the test image has /opt/isaaclab-venv pointing here
    code/     the example task: PYTHONPATH=/opt/trainer/code

Pod Security "restricted" forbids hostPath in a pod, not behind a claim.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed.cluster import Cluster
from tests.testbed.furniture import RECLAIM
from tests.testbed.layout import TRAINER_HOST_PATH, Bed, Node
from tests.testbed.node import fstab
from tests.testbed.requirements import BedUnavailable
from tests.testbed.state import in_node

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_legs"
MOUNT_PATH = "/opt/trainer"
CLAIM = "trainer"
CACHE_CLAIM = "caches"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment and where its parts are."""

    root: Path
    python_prefix: Path
    version: str

    @property
    def site_packages(self) -> Path:
        return self.root / "lib" / f"python{self.version}" / "site-packages"


def environment() -> Environment:
    """Find the trainer's environment.

    Raises:
        BedUnavailable: when it is not made yet.
    """
    root = EXAMPLE / ".venv"
    if not (root / "complete").is_file():
        raise BedUnavailable("the trainer's environment is not there: make trainer")
    lines = (root / "pyvenv.cfg").read_text().splitlines()
    settings = {key.strip(): value.strip() for key, _, value in (x.partition("=") for x in lines)}
    version = next(v for k, v in settings.items() if k in ("version_info", "version"))
    prefix = Path(settings["home"]).resolve().parent
    return Environment(root, prefix, ".".join(version.split(".")[:2]))


def offer_trainer(cluster: Cluster, bed: Bed, namespace: str, environ: Mapping[str, str]) -> None:
    """Give a namespace the claims `trainer` (read-only) and `caches` (with a warm Warp cache)."""
    found = environment()
    skeleton = bed.root / "trainer"
    with (bed.root / "trainer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second mount of the skeleton would cover the others
        _write_skeleton(found, skeleton)
        for node in bed.nodes:
            _mount(bed, node, _binds(found, skeleton))
    caches = bed.cache / "trainer-caches"
    _warm(caches, environ)
    cluster.apply(
        *_claimed_volume(namespace, CLAIM, TRAINER_HOST_PATH, "ReadOnlyMany"),
        *_claimed_volume(namespace, CACHE_CLAIM, str(caches), "ReadWriteMany"),
    )


def _mount(bed: Bed, node: Node, binds: Sequence[tuple[Path, str]]) -> None:
    """Mount them in a node now, and at each of its later starts."""
    table = fstab(bed, node)
    if not table.read_text():
        # nofail: a node starts without what a removed checkout had offered.
        lines = (f"{source} {place} none bind,nofail 0 0\n" for source, place in binds)
        table.write_text("".join(lines))
    for source, place in binds:
        if in_node(bed, node, ["mountpoint", "-q", place]).returncode != 0:
            done = in_node(bed, node, ["mount", "--bind", str(source), place])
            if done.returncode != 0:
                raise RuntimeError(f"{node.name}: {done.stderr.strip()}")


def _binds(found: Environment, skeleton: Path) -> list[tuple[Path, str]]:
    packages = f"{TRAINER_HOST_PATH}/venv/lib/python{found.version}/site-packages"
    return [
        (skeleton, TRAINER_HOST_PATH),
        (found.python_prefix, f"{TRAINER_HOST_PATH}/python"),
        (found.site_packages, packages),
        (EXAMPLE, f"{TRAINER_HOST_PATH}/code"),
    ]


def _write_skeleton(found: Environment, skeleton: Path) -> None:
    """Write what differs from the environment on the host: every path that names its place."""
    packages = skeleton / "venv" / "lib" / f"python{found.version}" / "site-packages"
    for folder in (packages, skeleton / "python", skeleton / "code"):
        folder.mkdir(parents=True, exist_ok=True)
    home = f"{MOUNT_PATH}/python/bin"
    about = (
        f"home = {home}",
        f"version = {found.version}",
        "include-system-site-packages = false\n",
    )
    _put(skeleton / "venv" / "pyvenv.cfg", "\n".join(about).encode())
    programs = skeleton / "venv" / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("python", "python3", f"python{found.version}"):
        if not (programs / name).is_symlink():
            (programs / name).symlink_to(f"{home}/python{found.version}")
    for script in (found.root / "bin").iterdir():
        if script.is_symlink() or not script.is_file() or script.read_bytes()[:2] != b"#!":
            continue
        text = script.read_bytes().replace(str(found.root).encode(), b"/opt/isaaclab-venv")
        _put(programs / script.name, text, 0o755)


def _put(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file at once, and only if it differs: pods may be starting from it."""
    if path.exists() and path.read_bytes() == content:
        return
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.chmod(mode)
    part.replace(path)


def _warm(caches: Path, environ: Mapping[str, str]) -> None:
    """Copy the user's Warp cache, so that no pod spends a minute on compiling kernels."""
    home = environ.get("HOME", "/root")
    source = Path(environ.get("WARP_CACHE_PATH") or f"{home}/.cache/warp")
    target = caches / "warp"
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    for path in (caches, target, *target.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def _claimed_volume(namespace: str, claim: str, path: str, mode: str) -> list[dict[str, Any]]:
    """A volume that only this claim of this namespace can have, and the claim."""
    name = f"{claim}-{namespace}"
    shape = {"accessModes": [mode], "storageClassName": ""}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {RECLAIM: "delete"}},
            "spec": {
                **shape,
                "capacity": {"storage": "10Gi"},
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": namespace, "name": claim},
                "hostPath": {"path": path, "type": "Directory"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                **shape,
                "volumeName": name,
                "resources": {"requests": {"storage": "10Gi"}},
            },
        },
    ]
