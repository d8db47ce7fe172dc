"""Which sweep a verb means: one that was submitted to a cluster, or one of a server.

Decided by how it is named and by the options, before anything is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweepctl.kube.kubeconfig import has_cluster, open_cluster
from sweepctl.sweeps.api import SweepSource, WandbApi
from sweepctl.sweeps.names import SweepName, parse_sweep_name
from sweepctl.sweeps.place import Place, knows_sweeps, open_api, open_source
from sweepctl_pod.errors import UsageError

if TYPE_CHECKING:
    from sweepctl.jobs.submission import Submission
    from sweepctl.kube.client import Cluster

# What reads a cluster is imported where it is used: sweeps on this machine are shown without.


def is_in_cluster(
    name: str | None,
    place: Place,
    configured: Callable[[], bool] = has_cluster,
    has_sweeps: Callable[[], bool] = knows_sweeps,
) -> bool:
    """Say whether a verb means a submitted sweep.

    This is the one rule of all verbs. `-n` and `--context` say so; a `/` in the name, `--server`
    and `--data` say otherwise. A bare word is a name in the cluster for who has one, else the id of
    a sweep. No name means W&B or this machine; for who has neither, the cluster.
    """
    wants_cluster = place.namespace is not None or place.context is not None or place.wants_cluster
    wants_server = place.server is not None or place.data is not None
    if wants_cluster and wants_server:
        raise UsageError(
            "-n, --context, -A and -l are for sweeps in a cluster, --server and --data for others",
            "leave one of them out",
        )
    if name is not None and "/" in name:
        if wants_cluster:
            raise UsageError(
                f"'{name}' names a sweep of a server, and -n or --context a cluster",
                "name the submitted sweep: sweepctl list",
            )
        return False
    if wants_cluster:
        return True
    return not wants_server and configured() and (name is not None or not has_sweeps())


@dataclass(frozen=True, slots=True)
class Target:
    """A submitted sweep, and the cluster that it is in."""

    cluster: Cluster
    name: str
    namespace: str

    def submission(self) -> Submission:
        """Read what is in the cluster."""
        from sweepctl.jobs.submission import get_submission

        return get_submission(self.cluster, self.name, self.namespace)


def open_target(name: str | None, place: Place) -> Target:
    """Open the cluster of a submitted sweep; without a name it must be the only one there."""
    from sweepctl import manifest
    from sweepctl.jobs.state import list_jobs

    if name is not None and not manifest.is_name(name):
        hint = f"try {manifest.default_name(name)}; all of them: sweepctl list -A"
        if "/" in name:
            hint = "a name with a / is a server's sweep; those of the cluster: sweepctl list -A"
        raise UsageError(f"'{name}' is no name of a submitted sweep", hint)
    cluster = open_cluster(place.context, place.namespace)
    if name is not None:
        return Target(cluster, name, cluster.namespace)
    names = list(dict.fromkeys(line.name for line in list_jobs(cluster, cluster.namespace, None)))
    if len(names) != 1:
        known = f"it has: {', '.join(names)}" if names else "it has none: sweepctl list -A"
        raise UsageError(f"which sweep of namespace '{cluster.namespace}'?", known)
    return Target(cluster, names[0], cluster.namespace)


@contextmanager
def open_sweep(
    name: str | None, place: Place, say: Callable[[str], None]
) -> Iterator[tuple[WandbApi, SweepName]]:
    """Open the server of a sweep, submitted or not, and give the sweep's name there."""
    if is_in_cluster(name, place):
        with _open_submitted(name, place, say) as found:
            yield found
        return
    wanted = parse_sweep_name(name)
    with open_api(place, wanted, say) as api:
        yield api, wanted


@contextmanager
def open_to_read(
    name: str | None, place: Place, say: Callable[[str], None]
) -> Iterator[tuple[SweepSource, SweepName]]:
    """Open what keeps a sweep, to read it; data on this machine needs no server for that."""
    if is_in_cluster(name, place):
        with _open_submitted(name, place, say) as found:
            yield found
        return
    wanted = parse_sweep_name(name)
    with open_source(place, wanted, say) as source:
        yield source, wanted


@contextmanager
def _open_submitted(
    name: str | None, place: Place, say: Callable[[str], None]
) -> Iterator[tuple[WandbApi, SweepName]]:
    from sweepctl.jobs.submission import open_submission_api, sweep_name

    target = open_target(name, place)
    submission = target.submission()
    with open_submission_api(target.cluster, submission, say) as api:
        yield api, sweep_name(submission, api)


def complete_names(incomplete: str) -> list[str]:
    """Give the names of submitted sweeps for the shell; nothing when they cannot be had."""
    from sweepctl.jobs.state import list_jobs

    try:
        cluster = open_cluster()
        found = {line.name for line in list_jobs(cluster, cluster.namespace, None)}
    except Exception:  # whatever it is, the user is typing: it must not show
        return []
    return sorted(name for name in found if name.startswith(incomplete))
