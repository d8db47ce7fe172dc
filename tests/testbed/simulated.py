"""Hundreds of simulated nodes beside the real ones, by kwok: for scale, never for behaviour.

Off until asked for. Simulated nodes carry a taint, an annotation and as many GPUs as asked; a pod
that is to run on them tolerates the taint, and a Job of 1,000 costs no container.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.testbed.cluster import Cluster, is_ready
from tests.testbed.layout import GPU_RESOURCE, KUBERNETES_VERSION, Bed

OFF = "kwok.off"
MARK = "kwok.x-k8s.io/node"
TOLERATION = {"key": MARK, "operator": "Equal", "value": "fake", "effect": "NoSchedule"}
_STAGES = Path(__file__).parent / "stages.yaml"


def write_files(bed: Bed) -> None:
    """Leave the simulation off until it is asked for."""
    (bed.root / OFF).touch()


def command(bed: Bed, program: Path) -> tuple[str, ...]:
    """The command line of the service that simulates."""
    return (
        str(program),
        f"--config={_STAGES}",
        f"--kubeconfig={bed.component_kubeconfig('kwok')}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={MARK}=fake",
        "--enable-crds=",
        "--v=WARN",
    )


def simulate(cluster: Cluster, bed: Bed, count: int, *, gpus_per_node: int = 8) -> None:
    """Make it so that the cluster has that many simulated nodes, all Ready; 0 ends the simulation.

    Delete the Jobs that run on them first: a pod of a node that is gone waits for garbage
    collection.
    """
    present = node_names(cluster)
    wanted = [f"simulated-{index:03}" for index in range(count)]
    if surplus := sorted(set(present) - set(wanted)):
        cluster.kubectl("delete", "node", "--wait=false", *surplus)
    if not count:
        (bed.root / OFF).touch()
    else:
        (bed.root / OFF).unlink(missing_ok=True)
        lacking = [_node(name, gpus_per_node) for name in wanted if name not in present]
        if lacking:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": lacking})
            cluster.kubectl("create", "-f", "-", stdin=text)

    def is_so() -> bool:
        items = cluster.get("nodes", "-l", f"{MARK}=fake")["items"]
        return sorted(item["metadata"]["name"] for item in items) == wanted and all(
            is_ready(item) for item in items
        )

    cluster.wait_for(f"{count} simulated nodes are Ready", is_so)


def node_names(cluster: Cluster) -> list[str]:
    """The simulated nodes that there are."""
    return [n["metadata"]["name"] for n in cluster.get("nodes", "-l", f"{MARK}=fake")["items"]]


def _node(name: str, gpus: int) -> dict[str, Any]:
    room = {"cpu": "96", "memory": "768Gi", "pods": "250", GPU_RESOURCE: str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {MARK: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                MARK: "fake",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "nvidia.com/gpu.present": "true",
            },
        },
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {
            "capacity": room,
            "allocatable": room,
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "kwok",
                "kernelVersion": "kwok",
                "kubeProxyVersion": f"v{KUBERNETES_VERSION}",
                "kubeletVersion": f"v{KUBERNETES_VERSION}",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "kwok",
                "systemUUID": "",
            },
        },
    }
