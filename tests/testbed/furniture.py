"""What a bed's cluster contains from the start: DNS's permissions, a storage class, volumes."""

from __future__ import annotations

import json
from typing import Any

from tests.testbed.cluster import Cluster, is_ready
from tests.testbed.layout import GPU_RESOURCE, Bed

STORAGE_CLASS = "standard"
RECLAIM = "sweepctl.test/reclaim"
"""Label of the volumes that `reclaim.py` looks after: `recycle` or `delete`."""
_VOLUMES = 96


def put_in(cluster: Cluster, bed: Bed) -> None:
    """Apply what every bed has."""
    for index in range(_VOLUMES):
        folder = bed.volumes / f"volume-{index:02}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods write as a user of their own, and hostPath knows no fsGroup
    cluster.apply(*_dns_permissions(), _storage_class(), *_volumes(bed))


def nodes_are_ready(cluster: Cluster, bed: Bed) -> bool:
    """Tell whether every node is Ready and offers its GPUs, and pods are admitted."""
    account = cluster.run("kubectl", "get", "serviceaccount", "default")
    done = cluster.run("kubectl", "get", "nodes", "-o", "json")
    if account.returncode != 0 or done.returncode != 0:
        return False
    nodes = {item["metadata"]["name"]: item for item in json.loads(done.stdout)["items"]}
    return all(
        node.name in nodes
        and is_ready(nodes[node.name])
        and nodes[node.name]["status"]["allocatable"].get(GPU_RESOURCE, "0") == str(node.gpus)
        for node in bed.nodes
    )


def _dns_permissions() -> list[dict[str, Any]]:
    read = ["get", "list", "watch"]
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "testbed:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": read},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": read,
                },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "testbed:coredns"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "testbed:coredns",
            },
            "subjects": [
                {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "User",
                    "name": "testbed:coredns",
                }
            ],
        },
    ]


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
    }


def _volumes(bed: Bed) -> list[dict[str, Any]]:
    """A stock of volumes in place of a provisioner: every node sees the same folders."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"volume-{index:02}", "labels": {RECLAIM: "recycle"}},
            "spec": {
                "capacity": {"storage": "50Gi"},
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "storageClassName": STORAGE_CLASS,
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(bed.volumes / f"volume-{index:02}"), "type": "Directory"},
            },
        }
        for index in range(_VOLUMES)
    ]
