"""Would the cluster take it? Asked before anything is made, so that nothing is left half-made.

Each question goes to the API, by reading or by a dry run. What this user may not ask is skipped:
the first write shows it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from sweepctl.jobs.secret import SecretKey
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError
from sweepctl_pod.errors import SweepctlError


def check_namespace(cluster: Cluster, namespace: str) -> None:
    """Refuse a namespace that does not exist."""
    try:
        found = cluster.get("Namespace", namespace)
    except ClusterError as error:
        if error.is_forbidden:
            return
        raise
    if found is None:
        raise ClusterError(
            f"namespace '{namespace}' does not exist",
            f"choose another with -n, or: kubectl create namespace {namespace}",
        )


def check_secret(
    cluster: Cluster, place: SecretKey, namespace: str, *, may_make: bool, is_servers: bool = False
) -> bool:
    """Refuse a Secret for the API key that lacks the key, or does not exist; say whether it does.

    The server's own is never made. One that this user may not look at counts as existing.
    """
    try:
        secret = cluster.get("Secret", place.name, namespace)
    except ClusterError as error:
        if error.is_forbidden:
            return True
        raise
    if secret is None and not may_make:
        how = "make it from your own W&B login with --create-secret, or:\n"
        raise SweepctlError(
            f"the Secret '{place.name}' with the API key does not exist in namespace '{namespace}'",
            ("make it: " if is_servers else how)
            + f"kubectl create secret generic {place.name} -n {namespace}"
            f" --from-file={place.key}=FILE",
        )
    if secret is not None and place.key not in (secret.get("data") or {}):
        known = ", ".join(secret.get("data") or {}) or "none"
        setting = "server.apiKeys" if is_servers else "wandb"
        raise SweepctlError(
            f"the Secret '{place.name}' has no key '{place.key}' (it has: {known})",
            f"name another with --set {setting}.secretName=…,{setting}.secretKey=…",
        )
    return secret is not None


def try_pod(cluster: Cluster, job: Object) -> None:
    """Refuse a Job whose pods the namespace would not admit; makes none.

    A Job itself is always admitted; quota, Pod Security and missing classes would stop its pods one
    by one, later and unseen.
    """
    pod = copy.deepcopy(job["spec"]["template"])
    pod.update(apiVersion="v1", kind="Pod")
    pod["metadata"].update(
        namespace=job["metadata"]["namespace"], generateName=f"{job['metadata']['name']}-"
    )
    pod["spec"].pop("serviceAccountName", None)  # not there yet
    try:
        cluster.create(pod, dry_run=True)
    except ClusterError as error:
        if not error.is_forbidden or " may not create pods" not in error.message:
            raise


def missing_gpus(cluster: Cluster, resource: str) -> Iterable[str]:
    """Say when no node offers a resource; that is no error, since an autoscaler may bring one."""
    try:
        nodes = cluster.list("Node")
    except ClusterError as error:
        if error.is_forbidden:
            return []
        raise
    if any(int((node["status"].get("allocatable") or {}).get(resource) or 0) for node in nodes):
        return []
    return [
        f"no node offers {resource} now: the pods stay Pending until one does"
        " (sweepctl doctor shows what there is)"
    ]
