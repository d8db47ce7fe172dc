"""Which sweep a verb means: one that was submitted to a cluster, or one of a server.

Decided by how it is named and by the options, before anything is asked. This is the one place that
decides it: the verbs take the handle that they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweepctl.kube.kubeconfig import has_cluster, open_cluster
from sweepctl.sweeps.handle import ServerSweep
from sweepctl.sweeps.names import SweepName, parse_sweep_name
from sweepctl.sweeps.place import Place, knows_sweeps, open_source
from sweepctl.sweeps.seen import SweepLine, list_sweeps
from sweepctl_pod.errors import UsageError

if TYPE_CHECKING:
    from sweepctl.jobs.cluster_sweep import ClusterSweep
    from sweepctl.jobs.state import JobLine

# What reads a cluster is imported where it is used: sweeps on this machine are shown without.


@dataclass(frozen=True, slots=True)
class SubmittedList:
    """The submitted sweeps of a namespace or of all, and where that is."""

    jobs: Sequence[JobLine]
    where: str


def resolve(
    name: str | None, place: Place, say: Callable[[str], None]
) -> ClusterSweep | ServerSweep:
    """Give the handle of the sweep that a verb means; `say` gets what it waits for."""
    if is_in_cluster(name, place):
        return resolve_submitted(name, place, say)
    return ServerSweep(parse_sweep_name(name), place, say)


def is_in_cluster(
    name: str | None,
    place: Place,
    configured: Callable[[], bool] = has_cluster,
    has_sweeps: Callable[[], bool] = knows_sweeps,
) -> bool:
    """Say whether a verb means a submitted sweep.

    This is the one rule of all verbs. `-n` and `--context` say so; a `/` in the name, `--server`
    and `--data` say otherwise. A bare word is a name in the cluster if there is a kubeconfig, else
    the id of a sweep. No name means W&B or this machine; without those, the cluster.
    """
    if place.wants_cluster and place.wants_server:
        raise UsageError(
            "-n, --context, -A and -l are for sweeps in a cluster, --server and --data for others",
            "leave one of them out",
        )
    if name is not None and "/" in name:
        if place.wants_cluster:
            raise UsageError(
                f"'{name}' names a sweep of a server, and -n or --context a cluster",
                "name the submitted sweep: sweepctl list",
            )
        return False
    if place.wants_cluster:
        return True
    return not place.wants_server and configured() and (name is not None or not has_sweeps())


def resolve_submitted(name: str | None, place: Place, say: Callable[[str], None]) -> ClusterSweep:
    """Open the cluster of a submitted sweep; without a name it must be the only one there."""
    from sweepctl import manifest
    from sweepctl.jobs.cluster_sweep import ClusterSweep
    from sweepctl.jobs.state import list_jobs

    if name is not None and not manifest.is_name(name):
        hint = f"try {manifest.default_name(name)}; all of them: sweepctl list -A"
        if "/" in name:
            hint = "a name with a / is a server's sweep; those of the cluster: sweepctl list -A"
        raise UsageError(f"'{name}' is no name of a submitted sweep", hint)
    cluster = open_cluster(place.context, place.namespace)
    if name is not None:
        return ClusterSweep(cluster, name, cluster.namespace, say)
    names = list(dict.fromkeys(line.name for line in list_jobs(cluster, cluster.namespace, None)))
    if len(names) != 1:
        known = f"it has: {', '.join(names)}" if names else "it has none: sweepctl list -A"
        raise UsageError(f"which sweep of namespace '{cluster.namespace}'?", known)
    return ClusterSweep(cluster, names[0], cluster.namespace, say)


def list_all(place: Place, say: Callable[[str], None]) -> SubmittedList | list[SweepLine]:
    """List the sweeps that there are: the submitted ones of a cluster, or those of a server."""
    if not is_in_cluster(None, place):
        with open_source(place, SweepName(None, None, None), say) as source:
            return list_sweeps(source)
    from sweepctl.jobs.state import list_jobs

    cluster = open_cluster(place.context, place.namespace)
    namespace = None if place.all_namespaces else cluster.namespace
    where = "any namespace" if namespace is None else f"namespace '{namespace}'"
    jobs = list_jobs(cluster, namespace, place.selector)
    return SubmittedList(jobs, f"{where} of context '{cluster.context}'")


def complete_names(incomplete: str) -> list[str]:
    """Give the names of submitted sweeps for the shell; nothing when they cannot be had."""
    from sweepctl.jobs.state import list_jobs

    try:
        cluster = open_cluster()
        found = {line.name for line in list_jobs(cluster, cluster.namespace, None)}
    except Exception:  # whatever it is, the user is typing: it must not show
        return []
    return sorted(name for name in found if name.startswith(incomplete))
