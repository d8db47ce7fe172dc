"""A sweep that was submitted: what there is in the cluster, and the way to its server.

Everything is found by labels, whoever made it: `submit` or Helm. It changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweepctl import manifest
from sweepctl.jobs.secret import SecretKey, read_key
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError
from sweepctl.kube.pod_reasons import condition
from sweepctl.kube.port_forward import forwarded, service_address
from sweepctl.sweeps.api import WandbApi, read_config
from sweepctl.sweeps.names import SweepName, parse_sweep_name
from sweepctl_pod.errors import SweepctlError, nearest
from sweepctl_pod.find_sweep import choose, sweep_key, sweep_place
from sweepctl_pod.stored_form import stored_config
from sweepctl_pod.wandb.client import Connection, connection_from_environ

HELM = "Helm"
ARGO_LABEL = "argocd.argoproj.io/instance"
ARGO_ANNOTATION = "argocd.argoproj.io/tracking-id"
_HELM_RELEASE = "meta.helm.sh/release-name"


@dataclass(frozen=True, slots=True)
class Submission:
    """What is in the cluster under a name; `jobs` from the oldest to the newest."""

    name: str
    namespace: str
    config: Object | None
    jobs: tuple[Object, ...]

    @property
    def job(self) -> Object | None:
        """The Job that counts: the newest that is not going away."""
        staying = [job for job in self.jobs if not job["metadata"].get("deletionTimestamp")]
        known = staying or self.jobs
        return known[-1] if known else None

    @property
    def sweep_text(self) -> str | None:
        """The sweep file, as it was submitted."""
        return self._data.get("sweep.yaml")

    @property
    def sweep_id(self) -> str | None:
        """ENTITY/PROJECT/ID of the sweep, when it is known."""
        job = self.job
        annotations = job["metadata"].get("annotations") or {} if job else {}
        return self._data.get("sweepId") or annotations.get(manifest.SWEEP_ANNOTATION)

    @property
    def api_url(self) -> str | None:
        """The API's address, as the pods know it."""
        return self._data.get("apiUrl")

    @property
    def generation(self) -> int:
        """The generation of the Job that counts; 0 without one."""
        job = self.job
        annotations = job["metadata"].get("annotations") or {} if job else {}
        return int(annotations.get(manifest.GENERATION_ANNOTATION) or (1 if job else 0))

    @property
    def secret_key(self) -> SecretKey | None:
        """Where the Job's pods take the API key from."""
        ref = (self._entry("WANDB_API_KEY").get("valueFrom") or {}).get("secretKeyRef")
        return SecretKey(ref["name"], ref["key"]) if ref else None

    def variable(self, name: str) -> str | None:
        """Give a variable of the Job's pods, when it is set there as it is."""
        return self._entry(name).get("value")

    @property
    def helm_release(self) -> str | None:
        """The Helm release that made it, if one did: Helm itself writes that down."""
        for thing in self._things:
            named = (thing["metadata"].get("annotations") or {}).get(_HELM_RELEASE)
            if named:
                return str(named)
        return None

    @property
    def is_from_chart(self) -> bool:
        """Whether the chart made it: by Helm, or applied from what `helm template` prints."""
        labels = [thing["metadata"].get("labels") or {} for thing in self._things]
        return any(found.get(manifest.MANAGER_LABEL) == HELM for found in labels)

    @property
    def argo_application(self) -> str | None:
        """The Argo CD application that keeps it so, if one does."""
        for thing in self._things:
            metadata = thing["metadata"]
            tracked = (metadata.get("annotations") or {}).get(ARGO_ANNOTATION)
            label = (metadata.get("labels") or {}).get(ARGO_LABEL)
            if tracked or label:
                return str(label or str(tracked).partition(":")[0])
        return None

    def _entry(self, name: str) -> Mapping[str, Any]:
        job = self.job
        containers = job["spec"]["template"]["spec"]["containers"] if job else []
        entries = [entry for each in containers for entry in each.get("env") or []]
        return next((entry for entry in entries if entry["name"] == name), {})

    @property
    def _things(self) -> list[Object]:
        return [thing for thing in (self.config, *reversed(self.jobs)) if thing is not None]

    @property
    def _data(self) -> Mapping[str, str]:
        return (self.config or {}).get("data") or {}


def find_submission(cluster: Cluster, name: str, namespace: str) -> Submission:
    """Read what is in the cluster under a name, which may be nothing."""
    config = cluster.get("ConfigMap", manifest.sweep_config_name(name), namespace)
    jobs = cluster.list("Job", namespace, selector=manifest.selector_text(name, "agent"))
    return Submission(name, namespace, config, tuple(sorted(jobs, key=_age_order)))


def get_submission(cluster: Cluster, name: str, namespace: str) -> Submission:
    """Read a submitted sweep, or say which ones there are."""
    found = find_submission(cluster, name, namespace)
    if found.job is not None or _is_ours(found.config):
        return found
    jobs = cluster.list("Job", namespace, selector=manifest.selector_text(component="agent"))
    known = sorted({job["metadata"]["labels"][manifest.INSTANCE_LABEL] for job in jobs})
    close = nearest(name, known)
    raise ClusterError(
        f"there is no sweep '{name}' in namespace '{namespace}' of context '{cluster.context}'",
        (f"did you mean {close}? " if close else "")
        + (f"it has: {', '.join(known[:20])}" if known else "look elsewhere with -n or --context")
        + "; a sweep of a server is named ENTITY/PROJECT/ID",
        status=404,
    )


def job_end(job: Object) -> str | None:
    """Say how a Job has ended, `Complete` or `Failed`; None while it has not."""
    for kind in ("Complete", "Failed"):
        found = condition(job, kind)
        if found and found.get("status") == "True":
            return kind
    return None


def sweep_name(submission: Submission, api: WandbApi) -> SweepName:
    """Give the name of a submission's sweep at its server.

    Where none is written down (a release of the chart), the agents have found or created the sweep,
    and the sweep's own description says so.
    """
    if submission.sweep_id:
        return parse_sweep_name(submission.sweep_id)
    job, text = submission.job, submission.sweep_text
    if job is not None and text:
        config = stored_config(read_config(text))
        entity, project = sweep_place(
            config, submission.variable("WANDB_ENTITY"), submission.variable("WANDB_PROJECT")
        )
        key = sweep_key(submission.namespace, submission.name, text.encode())
        sweeps = api.sweeps(entity or api.default_entity(), project)
        found = choose(sweeps, key, job["metadata"]["uid"]).sweep
        if found is not None:
            return SweepName(found.entity, found.project, found.id)
    raise SweepctlError(
        f"the sweep of '{submission.name}' is not created yet",
        f"see why: sweepctl status {submission.name} -n {submission.namespace}",
    )


@contextmanager
def open_submission_api(
    cluster: Cluster,
    submission: Submission,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Iterator[WandbApi]:
    """Open the API that keeps a submission's sweep: through a port-forward if it is in there."""
    with open_cluster_api(
        cluster,
        submission.api_url or "",
        submission.namespace,
        submission.secret_key,
        say,
        environ,
    ) as api:
        yield api


@contextmanager
def open_cluster_api(
    cluster: Cluster,
    api_url: str,
    namespace: str,
    secret_key: SecretKey | None,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Iterator[WandbApi]:
    """Open the API that pods know as `api_url`.

    One of the cluster's own Services takes the key that its pods use; any other server takes this
    user's own login, and the pods' key when there is none.
    """
    address = service_address(api_url, namespace)
    if address is None:
        connection = connection_from_environ({**environ, "WANDB_BASE_URL": api_url}, Path.home())
        if connection.api_key is None and secret_key is not None:
            key = read_key(cluster, secret_key, namespace)
            connection = replace(connection, api_key=key)
        yield WandbApi(connection, on_wait=say)
        return
    key = read_key(cluster, secret_key, namespace) if secret_key else None
    with forwarded(cluster, address) as url:
        own = environ.get("WANDB_API_KEY")
        name = f"the server '{address.name}' in namespace '{address.namespace}'"
        yield WandbApi(Connection(url, key or own, name=name), on_wait=say)


def _is_ours(config: Object | None) -> bool:
    labels = config["metadata"].get("labels") or {} if config else {}
    return labels.get(manifest.NAME_LABEL) == manifest.CHART


def _age_order(job: Object) -> tuple[int, str]:
    metadata = job["metadata"]
    annotations = metadata.get("annotations") or {}
    generation = int(annotations.get(manifest.GENERATION_ANNOTATION) or 1)
    return generation, str(metadata.get("creationTimestamp") or "")
