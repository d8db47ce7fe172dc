"""Where a test bed keeps things, and the addresses and names inside it. Pure: it makes nothing.

All beds share one cache (binaries, images); each bed has a folder of its own, so several can run at
the same time: they meet nowhere else, since each has its own network namespace.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "1.37.2"

CONTROL_PLANE_IP = "192.0.2.1"  # TEST-NET-1: an address that no real network has
API_PORT = 6443
API_SERVICE_IP = "10.96.0.1"
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.244.0.0/16"
DNS_DOMAIN = "cluster.local"

GPU_RESOURCE = "nvidia.com/gpu"
CGROUP_ROOT = "sweepctl-testbed"
TEST_IMAGE = "testbed.invalid/trainer:1"
GIT_IMAGE = "testbed.invalid/git:1"
PAUSE_IMAGE = "testbed.invalid/pause:1"
TRAINER_HOST_PATH = "/var/lib/sweepctl/trainer"
"""Where a node offers the trainer's environment (exists in the nodes only)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One real node: its own kubelet, containerd and network."""

    index: int
    gpus: int

    @property
    def name(self) -> str:
        return f"node-{self.index}"

    @property
    def ip(self) -> str:
        return f"192.0.2.{10 + self.index}"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.index}.0/24"


@dataclass(frozen=True, slots=True)
class Bed:
    """One test bed: its folders and its nodes."""

    name: str
    cache: Path
    nodes: tuple[Node, ...]

    @property
    def root(self) -> Path:
        return self.cache / "beds" / self.name

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, valid on the host through the relay."""
        return self.root / "kubeconfig"

    @property
    def sweeps_kubeconfig(self) -> Path:
        """The same, with the namespace that `offer` has prepared as the current one."""
        return self.root / "sweeps.kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def volumes(self) -> Path:
        """Folders behind the persistent volumes; every node sees the same ones."""
        return self.root / "volumes"

    @property
    def cgroup(self) -> str:
        """The cgroup, below each hierarchy's root, that all containers of this bed are in."""
        return f"/{CGROUP_ROOT}/{self.name}"

    def node_dir(self, node: Node) -> Path:
        return self.root / node.name

    def component_kubeconfig(self, name: str) -> Path:
        """The kubeconfig of one component, valid inside the bed."""
        return self.certificates / f"{name}.kubeconfig"


def cache_dir(environ: Mapping[str, str]) -> Path:
    """The test bed's cache, outside any checkout: `$SWEEPCTL_CACHE`, else the user's cache."""
    if chosen := environ.get("SWEEPCTL_CACHE"):
        return Path(chosen).absolute() / "testbed"
    base = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME", "/root"), ".cache")
    return Path(base) / "sweepctl" / "testbed"


def bed(name: str, environ: Mapping[str, str], *, nodes: int = 2, gpus_per_node: int = 16) -> Bed:
    """Describe the bed of that name."""
    return Bed(
        name=name,
        cache=cache_dir(environ),
        nodes=tuple(Node(index=i + 1, gpus=gpus_per_node) for i in range(nodes)),
    )
