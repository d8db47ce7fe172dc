"""Changing a sweep that is under way: scale, pause, resume, stop, delete. No run is lost by any.

Each verb is decided by a pure function and carried out by one call; twice is the same as once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sweepctl import manifest
from sweepctl.jobs.agents import index_text, indexes, smallest_size
from sweepctl.jobs.secret import SecretKey
from sweepctl.jobs.submission import Submission, find_submission, job_end
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError
from sweepctl.kube.kinds import Resource
from sweepctl.sweeps.handle import Change
from sweepctl.values.settings import chart
from sweepctl_pod.errors import SweepctlError, UsageError

KUEUE = "kueue.x-k8s.io"
JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"

DELETED_KINDS = (
    "Job",
    "StatefulSet",
    "ServiceMonitor",
    "HTTPRoute",
    "Ingress",
    "Service",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "PersistentVolumeClaim",
)
"""In this order: agents can hand their runs back for as long as there is a server."""
_OF_A_SERVER = ("ServiceMonitor", "HTTPRoute", "Ingress")
"""Kinds that only a server has, and that few users may look at."""


@dataclass(frozen=True, slots=True)
class DeletePlan:
    """What `delete` takes away and what it keeps, in order: (kind, name)."""

    name: str
    namespace: str
    deleted: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str, str], ...]
    """(kind, name, why)"""
    unseen: tuple[str, ...] = ()
    """The kinds that this user may not list, so that things of them may stay."""

    @property
    def has_server(self) -> bool:
        """Whether the server goes too."""
        return any(kind == "StatefulSet" for kind, _ in self.deleted)


def scale(
    cluster: Cluster,
    submission: Submission,
    agents: int,
    *,
    is_open: Callable[[], bool],
    dry_run: bool = False,
) -> Change:
    """Change the number of agents by one patch; runs of agents that go are finished by others."""
    job = _live_job(submission)
    check_size(agents, job, submission, is_open=is_open)
    name = job["metadata"]["name"]
    if job["spec"]["parallelism"] == agents == job["spec"].get("completions"):
        return Change("Job", name, "unchanged")
    # An elastic Indexed Job takes both or none (KEP-3715).
    patch = {"spec": {"parallelism": agents, "completions": agents}}
    cluster.patch("Job", name, patch, submission.namespace, dry_run=dry_run)
    notes = undone_by(submission, "agents", str(agents))
    labels, annotations = _labels(job), job["metadata"].get("annotations") or {}
    if manifest.KUEUE_QUEUE_LABEL in labels and (
        annotations.get(manifest.KUEUE_ELASTIC_ANNOTATION) != "true"
    ):
        notes.append("Kueue admits the Job anew: all its pods stop until then (kueue.elastic)")
    return Change("Job", name, f"scaled to {agents}", tuple(notes))


def pause(cluster: Cluster, submission: Submission, *, dry_run: bool = False) -> Change:
    """Free the GPUs: agents hand their runs back and their pods go."""
    return _suspend(cluster, submission, True, dry_run)


def resume(cluster: Cluster, submission: Submission, *, dry_run: bool = False) -> Change:
    """Let a paused sweep go on."""
    return _suspend(cluster, submission, False, dry_run)


def check_size(
    agents: int, job: Object, submission: Submission, *, is_open: Callable[[], bool]
) -> None:
    """Refuse a number of agents that cannot be, or that leaves nobody for the remaining work."""
    name, here = submission.name, f"-n {submission.namespace}"
    limit = int(chart().schema["properties"]["agents"]["maximum"])
    if agents == 0:
        raise UsageError(
            "a Job of 0 agents counts as finished and cannot go on",
            f"free the GPUs with: sweepctl pause {name} {here}",
        )
    if not 0 < agents <= limit:
        raise UsageError(f"{agents} agents: expected 1 to {limit}")
    smallest = smallest_size(job)
    status = job.get("status") or {}
    ended = {*indexes(status.get("completedIndexes")), *indexes(status.get("failedIndexes"))}
    if agents < smallest and is_open():
        raise UsageError(
            f"the agents 0-{agents - 1} have all ended, and the sweep has work left"
            f" (ended: {index_text(sorted(ended))})",
            f"the smallest size that works: sweepctl scale {name} {smallest} {here}",
        )


def undone_by(submission: Submission, setting: str, value: str) -> list[str]:
    """Say what would undo a change in place: the next upgrade or apply, Argo CD's self-heal."""
    notes = []
    release, application = submission.helm_release, submission.argo_application
    if application is not None:
        notes.append(
            f"Argo CD application {application} sets it back when it heals itself: set"
            f" {setting}: {value} in its source as well"
        )
    elif release is not None:
        notes.append(
            f"Helm release {release}: give its next upgrade --set {setting}={value}, or"
            " --force-conflicts to set it back"
        )
    elif submission.is_from_chart:
        notes.append(
            "it was applied from what helm template prints: give its next rendering --set"
            f" {setting}={value}, or it is set back or refused as a conflict"
        )
    return notes


def plan_delete(cluster: Cluster, name: str, namespace: str, *, data: bool) -> DeletePlan:
    """Find what belongs to a sweep; refuse what Helm or Argo CD manages."""
    check_may_delete(find_submission(cluster, name, namespace))
    selector = manifest.selector_text(name)
    used = _secrets_of_others(cluster, name, namespace)
    deleted: list[tuple[str, str]] = []
    kept: list[tuple[str, str, str]] = []
    unseen: list[str] = []
    for kind in DELETED_KINDS:
        if kind in _OF_A_SERVER and not any(found == "StatefulSet" for found, _ in deleted):
            continue
        things = _listed(cluster, kind, namespace, selector)
        if things is None:
            unseen.append(kind)
        for thing in things or ():
            own = thing["metadata"]["name"]
            if kind == "PersistentVolumeClaim" and not data:
                kept.append((kind, own, "data: --volumes deletes it too"))
            elif kind == "Secret" and own in used:
                kept.append((kind, own, f"used by {used[own]}"))
            elif not thing["metadata"].get("deletionTimestamp"):
                deleted.append((kind, own))
    return DeletePlan(name, namespace, tuple(deleted), tuple(kept), tuple(unseen))


def check_may_delete(submission: Submission) -> None:
    """Refuse what Helm or Argo CD manages: it would come back, or their record would be wrong."""
    name, namespace = submission.name, submission.namespace
    release, application = submission.helm_release, submission.argo_application
    if release is not None:
        raise UsageError(
            f"'{name}' is the Helm release '{release}'", f"helm uninstall {release} -n {namespace}"
        )
    if application is not None:
        raise UsageError(
            f"'{name}' belongs to the Argo CD application '{application}', which brings it back",
            f"take it out of its source, or: argocd app delete {application}",
        )


def delete(
    cluster: Cluster,
    plan: DeletePlan,
    *,
    dry_run: bool,
    on_deleted: Callable[[str, str], None],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Delete what was planned; the server stays until the agents have handed their runs back."""
    is_waited_for = plan.has_server and not dry_run
    for kind, name in plan.deleted:
        if is_waited_for and kind != "Job":
            _await_no_agents(cluster, plan, say, sleep, clock)
            is_waited_for = False
        if cluster.delete(kind, name, plan.namespace, dry_run=dry_run):
            on_deleted(kind, name)


def _suspend(cluster: Cluster, submission: Submission, is_paused: bool, dry_run: bool) -> Change:
    job = _live_job(submission)
    if manifest.KUEUE_QUEUE_LABEL in _labels(job):
        return _activate_workload(cluster, submission, job, not is_paused, dry_run)
    name = job["metadata"]["name"]
    verb = "paused" if is_paused else "resumed"
    if bool(job["spec"].get("suspend")) is is_paused:
        return Change("Job", name, "unchanged")
    patch = {"spec": {"suspend": is_paused}}
    cluster.patch("Job", name, patch, submission.namespace, dry_run=dry_run)
    notes = undone_by(submission, "suspend", str(is_paused).lower())
    return Change("Job", name, verb, tuple(notes))


def _activate_workload(
    cluster: Cluster, submission: Submission, job: Object, is_active: bool, dry_run: bool
) -> Change:
    """Pause a Job that Kueue manages, by its Workload: Kueue would resume the Job itself.

    https://kueue.sigs.k8s.io/docs/concepts/workload/#active
    """
    version = cluster.api_groups().get(KUEUE)
    if version is None:
        raise SweepctlError(
            f"the Job of '{submission.name}' is queued by Kueue, and this cluster has no Kueue",
            "nothing will start it: submit it again with kueue.queue empty",
        )
    workloads = Resource("Workload", "workloads", KUEUE, version)
    selector = f"{JOB_UID_LABEL}={job['metadata']['uid']}"
    found = cluster.list(workloads, submission.namespace, selector=selector)
    if not found:
        raise SweepctlError(
            f"Kueue has no Workload for job/{job['metadata']['name']} yet", "try again in a moment"
        )
    name = found[-1]["metadata"]["name"]
    if bool(found[-1]["spec"].get("active", True)) is is_active:
        return Change("Workload", name, "unchanged")
    patch = {"spec": {"active": is_active}}
    cluster.patch(workloads, name, patch, submission.namespace, dry_run=dry_run)
    return Change("Workload", name, "resumed" if is_active else "paused")


def _live_job(submission: Submission) -> Object:
    job = submission.job
    here = f"-n {submission.namespace}"
    if job is None:
        raise SweepctlError(
            f"'{submission.name}' has no Job yet", "submit it again: that completes it"
        )
    end = job_end(job)
    if end is not None:
        raise SweepctlError(
            f"the Job of '{submission.name}' has ended ({end})",
            "submitting it again starts another on the same sweep, if it has work left;"
            f" see: sweepctl status {submission.name} {here}",
        )
    return job


def _await_no_agents(
    cluster: Cluster,
    plan: DeletePlan,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    selector = manifest.selector_text(plan.name, "agent")
    deadline: float | None = None
    while pods := cluster.list("Pod", plan.namespace, selector=selector):
        if deadline is None:
            grace_s = max(
                float(pod["spec"].get("terminationGracePeriodSeconds") or 30) for pod in pods
            )
            deadline = clock() + grace_s + 30
            say(f"waiting for {len(pods)} agents to hand their runs back …")
        if clock() > deadline:
            say(f"{len(pods)} pods are still there; going on")
            return
        sleep(1)


def _secrets_of_others(cluster: Cluster, name: str, namespace: str) -> dict[str, str]:
    """Give the Secrets that other sweeps of the namespace take their API key from."""
    selector = manifest.selector_text(component="agent")
    found = {}
    for job in _listed(cluster, "Job", namespace, selector) or ():
        owner = _labels(job).get(manifest.INSTANCE_LABEL)
        place: SecretKey | None = Submission(str(owner), namespace, None, (job,)).secret_key
        if owner != name and place is not None:
            found[place.name] = f"sweep {owner}"
    return found


def _listed(cluster: Cluster, kind: str, namespace: str, selector: str) -> list[Object] | None:
    """List what there is of a kind; None when this user may not look."""
    try:
        return cluster.list(kind, namespace, selector=selector)
    except ClusterError as error:
        if error.is_forbidden:
            return None
        if error.status == 404:
            return []  # a kind of an add-on that this cluster lacks
        raise


def _labels(job: Object) -> dict[str, str]:
    return dict(job["metadata"].get("labels") or {})
