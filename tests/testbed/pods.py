"""Manifests of the pods that tests run on the bed. Pure."""

from __future__ import annotations

from typing import Any

from tests.testbed.layout import GPU_RESOURCE, TEST_IMAGE

UNTIL_TERMINATED = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75));"
    "print('here', flush=True); time.sleep(600)"
)


def pod_spec(command: list[str], *, gpus: int = 0, node: str | None = None) -> dict[str, Any]:
    """A pod that meets Pod Security "restricted"."""
    container = {
        "name": "agent",
        "image": TEST_IMAGE,
        "imagePullPolicy": "Never",
        "command": command,
        "resources": {"limits": {GPU_RESOURCE: str(gpus)}} if gpus else {},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 10,
        "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }


def pod(name: str, spec: dict[str, Any], labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod with that specification."""
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
