"""Jobs, pods and events as the Kubernetes API sends them, for tests of what is made of them.

Shapes and texts were copied from a real cluster (Kubernetes 1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=timezone.utc)
JOB_UID = "5f0c"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(
    agents: int = 3,
    *,
    name: str = "legs-1a2b3c4d",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    suspend: bool = False,
    **status: Any,
) -> dict[str, Any]:
    return {
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "robots",
            "uid": JOB_UID,
            "creationTimestamp": ago(300),
            "labels": {
                "app.kubernetes.io/name": "isaac-sweep",
                "app.kubernetes.io/instance": "legs",
                "app.kubernetes.io/managed-by": "sweepctl",
                **(labels or {}),
            },
            "annotations": dict(annotations or {}),
        },
        "spec": {
            "parallelism": agents,
            "completions": agents,
            "suspend": suspend,
            "template": {"spec": {"containers": [{"name": "agent", "env": []}]}},
        },
        "status": status,
    }


def ended(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {"conditions": [condition]}


def pod(
    index: int = 0,
    phase: str = "Running",
    *,
    age_s: float = 60,
    node: str | None = "node-1",
    waiting: Mapping[str, str] | None = None,
    terminated: Mapping[str, Any] | None = None,
    conditions: list[dict[str, Any]] | None = None,
    failures: int = 0,
    ignored: int = 0,
    deleted: bool = False,
    name: str | None = None,
    **status: Any,
) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}} if phase == "Running" else {}
    if waiting is not None:
        state = {"waiting": dict(waiting)}
    if terminated is not None:
        state = {"terminated": dict(terminated)}
    annotations = {
        "batch.kubernetes.io/job-completion-index": str(index),
        "batch.kubernetes.io/job-index-failure-count": str(failures),
    }
    if ignored:
        annotations["batch.kubernetes.io/job-index-ignored-failure-count"] = str(ignored)
    metadata: dict[str, Any] = {
        "name": name or f"legs-1a2b3c4d-{index}-abcde",
        "namespace": "robots",
        "uid": f"{index}-{age_s}",
        "creationTimestamp": ago(age_s),
        "annotations": annotations,
        "ownerReferences": [{"kind": "Job", "uid": JOB_UID}],
    }
    if deleted:
        metadata["deletionTimestamp"] = ago(1)
    statuses = [{"name": "agent", "image": "nvcr.io/nvidia/isaac-lab:9", "state": state}]
    return {
        "metadata": metadata,
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": statuses if state else [],
            **status,
        },
    }


def unscheduled(message: str, reason: str = "Unschedulable") -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return pod(phase="Pending", node=None, conditions=[condition])


def event(reason: str, message: str, *, kind: str = "Pod", name: str, warns: bool = True) -> Any:
    return {
        "metadata": {"creationTimestamp": ago(5)},
        "involvedObject": {"kind": kind, "name": name},
        "type": "Warning" if warns else "Normal",
        "reason": reason,
        "message": message,
        "lastTimestamp": ago(5),
    }
