"""What ends one pod, and a command inside it: eviction, deletion, exec.

Each is asked for by the pod's uid where the API takes one, so that a pod which has come in the
place of the one that was meant is never hit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.kube.client import Cluster
from sweepctl.kube.errors import Call, ClusterError
from sweepctl.kube.kinds import RESOURCES
from sweepctl.kube.streams import Upgradable, stream_refusal

_GONE = (404, 409)
"""There is none of that name, or another pod has it now."""


class BudgetError(ClusterError):
    """A PodDisruptionBudget allows no eviction at the moment."""


@dataclass(frozen=True, slots=True)
class PodRef:
    """One pod, and none that has its name after it."""

    name: str
    namespace: str
    uid: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a command in a pod."""

    exit_code: int | None
    """None when its stream broke off, or it did not end in time."""
    out: str
    errors: str


def evict(cluster: Cluster, pod: PodRef, *, dry_run: bool = False) -> bool:
    """Evict a pod by the eviction API, as a drain does; False when it is gone already.

    A BudgetError when a PodDisruptionBudget allows no eviction now.
    """
    call = _call(cluster, "create", "pods/eviction", pod)
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    path = RESOURCES["Pod"].path(pod.namespace, pod.name, "eviction")
    try:
        cluster.send("POST", path, call, _dry(dry_run), body=body, attempts=1)
    except ClusterError as error:
        if error.status == 429 and "disruption budget" in error.message:
            words = error.message.partition(" 429: ")[2] or error.message
            raise BudgetError(
                f"pod {pod.name} is not evicted: {words}",
                f"see: kubectl get poddisruptionbudgets -n {pod.namespace}",
                status=429,
                retry_after_s=error.retry_after_s,
            ) from None
        if error.status in _GONE:
            return False
        raise
    return True


def delete_pod(
    cluster: Cluster, pod: PodRef, *, grace_s: int | None = None, dry_run: bool = False
) -> bool:
    """Delete a pod, with its own grace or another one; False when it is gone already."""
    call = _call(cluster, "delete", "pods", pod)
    body: dict[str, Any] = {"preconditions": {"uid": pod.uid}}
    if grace_s is not None:
        body["gracePeriodSeconds"] = grace_s
    path = RESOURCES["Pod"].path(pod.namespace, pod.name)
    try:
        cluster.send("DELETE", path, call, _dry(dry_run), body=body)
    except ClusterError as error:
        if error.status in _GONE:
            return False
        raise
    return True


def execute(
    cluster: Cluster, pod: PodRef, container: str, command: Sequence[str], limit_s: float = 60.0
) -> Ran:
    """Run a command in a container and give what it printed and its exit code."""
    from kubernetes.client.exceptions import ApiException
    from kubernetes.stream import stream
    from websocket import WebSocketException

    path = RESOURCES["Pod"].path(pod.namespace, pod.name, "exec")
    query = [("command", word) for word in command]
    query += [("container", container), ("stdout", "true"), ("stderr", "true")]
    try:
        opened = stream(Upgradable(cluster.client).get, path, query, _preload_content=False)
        deadline = time.monotonic() + limit_s
        out, errors = "", ""
        while opened.is_open() and time.monotonic() < deadline:
            opened.update(timeout=1)
            out += opened.read_stdout() if opened.peek_stdout() else ""
            errors += opened.read_stderr() if opened.peek_stderr() else ""
        has_ended = not opened.is_open()
        opened.close()
    except (ApiException, WebSocketException, OSError) as error:
        call = _call(cluster, "get", "pods/exec", pod)
        raise stream_refusal(error, call, f"cannot run a command in pod {pod.name}") from error
    return Ran(_exit_code(opened) if has_ended else None, out, errors)


def _exit_code(opened: Any) -> int | None:
    """Read the exit code, which the API server sends last; None when the stream lacks it."""
    try:
        return int(opened.returncode)
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _call(cluster: Cluster, verb: str, resource: str, pod: PodRef) -> Call:
    return Call(verb, resource, "Pod", pod.name, pod.namespace, cluster.server)


def _dry(is_dry: bool) -> dict[str, str]:
    return {"dryRun": "All"} if is_dry else {}
