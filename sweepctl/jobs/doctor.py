"""Is this cluster able to run a sweep, and what is missing: a line for each thing, with what to do.

It only reads; if wanted, one pod asks the server from inside. What it cannot look at it says so
about, and never guesses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweepctl import manifest
from sweepctl.jobs.change import KUEUE
from sweepctl.jobs.doctor_checks import Check, Level, check_disk, check_named
from sweepctl.jobs.secret import SecretKey
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError, role_advice
from sweepctl.kube.kinds import Access, Resource
from sweepctl.kube.pod_reasons import agent_end, why_pending
from sweepctl.values.settings import Values, chart
from sweepctl_pod.errors import SweepctlError

NEEDED: tuple[tuple[Access, str], ...] = (
    (Access("get", "configmaps"), "submit"),
    (Access("create", "configmaps"), "submit"),
    (Access("patch", "configmaps"), "submit"),
    (Access("get", "serviceaccounts"), "submit"),
    (Access("create", "serviceaccounts"), "submit"),
    (Access("patch", "serviceaccounts"), "submit"),
    (Access("get", "jobs", "batch"), "submit"),
    (Access("list", "jobs", "batch"), "status"),
    (Access("create", "jobs", "batch"), "submit"),
    (Access("patch", "jobs", "batch"), "scale"),
    (Access("delete", "jobs", "batch"), "delete"),
    (Access("get", "pods"), "status"),
    (Access("list", "pods"), "status"),
    (Access("watch", "pods"), "logs"),
    (Access("get", "pods", subresource="log"), "logs"),
    (Access("list", "events"), "status"),
    (Access("list", "configmaps"), "delete"),
    (Access("delete", "configmaps"), "delete"),
    (Access("list", "serviceaccounts"), "delete"),
    (Access("delete", "serviceaccounts"), "delete"),
)
HELPFUL: tuple[tuple[Access, str], ...] = (
    (Access("get", "secrets"), "a server inside the cluster"),
    # A websocket is a GET; Kubernetes 1.35 and later check "create" on top.
    (Access("get", "pods", subresource="portforward"), "a server inside the cluster"),
    (Access("create", "pods", subresource="portforward"), "a server inside the cluster"),
    (Access("create", "pods"), "submit's check of quota and Pod Security"),
    (Access("delete", "pods"), "doctor's look at the server from a pod"),
)

_PROBE = Path(__file__).parents[1] / "manifest" / "templates" / "probe.sh"
_PROBE_LIMIT_S = 120.0


def examine(
    cluster: Cluster,
    values: Values,
    namespace: str,
    *,
    probe: bool,
    on_check: Callable[[Check], None],
) -> list[Check]:
    """Look at everything a sweep needs, in the order in which things would fail."""
    found: list[Check] = []

    def add(checks: Iterable[Check]) -> None:
        for check in checks:
            found.append(check)
            on_check(check)

    add([check_api(cluster)])
    add([check_namespace(cluster, namespace)])
    add(check_permissions(cluster, namespace))
    add(check_nodes(cluster, values))
    add(check_disk(cluster, values))
    add(check_classes(cluster, values))
    add(check_secrets(cluster, values, namespace))
    add(check_named(cluster, values, namespace))
    add(check_kueue(cluster, values, namespace))
    if probe:
        add([probe_server(cluster, values, namespace)])
    return found


def check_api(cluster: Cluster) -> Check:
    """Look at the API: does it answer, is it new enough."""
    version = cluster.version()
    words = f"{cluster.server} (context {cluster.context}) is Kubernetes {version}"
    oldest = chart().oldest_kubernetes
    found, wanted = ([int(n) for n in re.findall(r"\d+", v)[:2]] for v in (version, oldest))
    if found < wanted:
        return Check("API", Level.MISSING, words, f"sweepctl needs Kubernetes {oldest} or later")
    return Check("API", Level.OK, words)


def check_namespace(cluster: Cluster, namespace: str) -> Check:
    """Look at the namespace and its Pod Security level."""
    try:
        found = cluster.get("Namespace", namespace)
    except ClusterError as error:
        if error.is_forbidden:
            return Check("namespace", Level.WARNING, f"{namespace}: you may not look at it")
        raise
    if found is None:
        return Check(
            "namespace",
            Level.MISSING,
            f"'{namespace}' does not exist",
            f"kubectl create namespace {namespace}",
        )
    labels = found["metadata"].get("labels") or {}
    level = labels.get("pod-security.kubernetes.io/enforce", "privileged")
    return Check("namespace", Level.OK, f"{namespace}, Pod Security enforces '{level}'")


def check_permissions(cluster: Cluster, namespace: str) -> list[Check]:
    """Ask the API what this user may do, each thing by SelfSubjectAccessReview."""
    user = cluster.user()
    who = f"user '{user}'" if user else "you"
    lacking = [access for access, _ in NEEDED if not cluster.may(access, namespace)]
    useful = [(access, why) for access, why in HELPFUL if not cluster.may(access, namespace)]
    wanted = [*lacking, *(access for access, _ in useful)]
    advice = "ask an administrator for:\n" + role_advice(_rules(wanted), user, namespace)
    found = [
        Check(
            "permissions", Level.WARNING, f"no {access.verb} {access.full_name}: needed for {why}"
        )
        for access, why in useful
    ]
    if lacking:
        names = ", ".join(f"{' '.join(verbs)} {name}" for name, verbs in _rules(lacking))
        words = f"{who} may not: {names}"
        found.append(Check("permissions", Level.MISSING, words, advice))
    elif useful:
        found[-1] = replace(found[-1], hint=advice)
    else:
        found.append(Check("permissions", Level.OK, f"{who} may do all that the verbs need"))
    return found


def check_nodes(cluster: Cluster, values: Values) -> list[Check]:
    """Count the GPUs of the nodes, and how many of them are free."""
    resource = values.at("gpuResource")
    try:
        nodes = cluster.list("Node")
    except ClusterError as error:
        if error.is_forbidden:
            words = f"you may not list nodes: not known who offers {resource}"
            return [Check("GPUs", Level.WARNING, words)]
        raise
    offered = gpus_offered(nodes, resource)
    if not offered:
        return [
            Check(
                "GPUs",
                Level.MISSING,
                f"none of {len(nodes)} nodes offers {resource}",
                "install NVIDIA's device plug-in or GPU operator, or name another resource with"
                " --set gpuResource=…; for training without GPUs: --set gpus=0",
            )
        ]
    try:
        pods = cluster.list("Pod", fields="spec.nodeName!=")
        used: dict[str, int] | None = gpus_used(pods, resource)
    except ClusterError as error:
        if not error.is_forbidden:
            raise
        used = None
    total = sum(offered.values())
    words = f"{len(offered)} of {len(nodes)} nodes offer {total} {resource}"
    if used is None:
        return [Check("GPUs", Level.OK, f"{words}; how many are free you may not see")]
    free = sum(max(0, count - used.get(node, 0)) for node, count in offered.items())
    level = Level.OK if free else Level.WARNING
    hint = None if free else "pods wait until one is free: kubectl get pods -A -o wide"
    return [Check("GPUs", level, f"{words}, {free} free", hint)]


def check_classes(cluster: Cluster, values: Values) -> list[Check]:
    """Look for the RuntimeClass that the values name, or that NVIDIA's operator makes."""
    wanted = values.at("runtimeClassName")
    try:
        known = [each["metadata"]["name"] for each in cluster.list("RuntimeClass")]
    except ClusterError as error:
        if error.is_forbidden:
            return []
        raise
    if wanted and wanted not in known:
        hint = f"it has: {', '.join(known) or 'none'}"
        return [Check("runtime class", Level.MISSING, f"there is no '{wanted}'", hint)]
    if not wanted and "nvidia" in known:
        return [
            Check(
                "runtime class",
                Level.WARNING,
                "the cluster has one named 'nvidia', and the values name none",
                "if it is not the nodes' default: --set runtimeClassName=nvidia",
            )
        ]
    return [Check("runtime class", Level.OK, wanted or "the nodes' default")]


def check_secrets(cluster: Cluster, values: Values, namespace: str) -> list[Check]:
    """Look for the Secrets that pods need: the API key, and those for pulling the image."""
    place = SecretKey(values.at("wandb.secretName"), values.at("wandb.secretKey"))
    found = []
    try:
        secret = cluster.get("Secret", place.name, namespace)
        found.append(_api_key(secret, place, namespace))
        for name in values.at("image.pullSecrets"):
            is_there = cluster.get("Secret", name, namespace) is not None
            found.append(
                Check("pull secret", Level.OK, name)
                if is_there
                else Check(
                    "pull secret",
                    Level.MISSING,
                    f"'{name}' does not exist",
                    f"kubectl create secret docker-registry {name} -n {namespace} …",
                )
            )
    except ClusterError as error:
        if not error.is_forbidden:
            raise
        return [Check("Secrets", Level.WARNING, "you may not look at them")]
    if not values.at("image.pullSecrets") and values.at("image.repository").startswith("nvcr.io/"):
        found.append(
            Check(
                "pull secret",
                Level.OK,
                f"none named: {manifest.image(values.at('image'))} must be open to all, or your"
                " nodes have a login",
            )
        )
    return found


def check_kueue(cluster: Cluster, values: Values, namespace: str) -> list[Check]:
    """Look for Kueue when the values ask for a queue."""
    queue = values.at("kueue.queue")
    version = cluster.api_groups().get(KUEUE)
    if not queue:
        words = "is installed; no queue is asked for" if version else "not installed, not asked for"
        return [Check("Kueue", Level.OK, words)]
    if version is None:
        hint = "install Kueue, or leave kueue.queue empty"
        return [Check("Kueue", Level.MISSING, "is not installed", hint)]
    resource = Resource("LocalQueue", "localqueues", KUEUE, version)
    try:
        queues = cluster.list(resource, namespace)
    except ClusterError as error:
        if not error.is_forbidden:
            raise
        return [Check("Kueue", Level.WARNING, error.message, error.hint)]
    names = [each["metadata"]["name"] for each in queues]
    if queue not in names:
        hint = f"the namespace has: {', '.join(names) or 'none'}"
        return [Check("Kueue", Level.MISSING, f"no LocalQueue '{queue}'", hint)]
    return [Check("Kueue", Level.OK, f"LocalQueue '{queue}'")]


def probe_server(
    cluster: Cluster,
    values: Values,
    namespace: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Check:
    """Ask the server from a pod of the trainer's image, which is removed again."""
    if values.at("server.enabled"):
        return Check("server from a pod", Level.OK, "submit makes it in the cluster itself")
    plan = manifest.plan_job(values, "method: random\n", "doctor", namespace)
    pod = probe_pod(plan)
    try:
        made = cluster.create(pod)
    except SweepctlError as error:
        return Check("server from a pod", Level.WARNING, f"not asked: {error.message}", error.hint)
    name = made["metadata"]["name"]
    try:
        found = _probed(cluster, plan, made, sleep, clock)
    finally:
        left = _removed(cluster, name, namespace)
    return found if left is None or found.level is Level.MISSING else left


def _probed(
    cluster: Cluster,
    plan: manifest.JobPlan,
    made: Object,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Check:
    deadline = clock() + _PROBE_LIMIT_S
    while agent_end(made) is None:
        if clock() > deadline:
            reason = why_pending(made)
            return Check("server from a pod", Level.WARNING, reason.words, reason.hint)
        sleep(1)
        made = cluster.get("Pod", made["metadata"]["name"], plan.namespace) or made
    ended: Any = agent_end(made) or {}
    words = str(ended.get("message") or "").strip()
    if ended.get("exitCode") == 0:
        return Check("server from a pod", Level.OK, f"{plan.api_url} {words}")
    return Check(
        "server from a pod",
        Level.MISSING,
        f"{plan.api_url}: {words or 'no answer'}",
        "check network policies, DNS, the proxy and caBundle settings",
    )


def _removed(cluster: Cluster, pod: str, namespace: str) -> Check | None:
    try:
        cluster.delete("Pod", pod, namespace)
    except ClusterError as error:
        words = f"pod/{pod}, which asked, stays: {error.message}"
        return Check("server from a pod", Level.WARNING, words, error.hint)
    return None


def probe_pod(plan: manifest.JobPlan) -> Object:
    """Give a pod like an agent's, without GPU, volumes and code, that asks the server once."""
    job = manifest.render(plan)[-1]
    template = job["spec"]["template"]
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    wanted = (*proxies, "SSL_CERT_FILE", "WANDB_INSECURE_DISABLE_SSL")
    agent = template["spec"]["containers"][0]
    env = [each for each in agent["env"] if each["name"] in wanted]
    spec = {
        key: template["spec"][key]
        for key in ("securityContext", "imagePullSecrets", "tolerations", "nodeSelector")
        if key in template["spec"]
    }
    container = {
        "name": manifest.CONTAINER,
        "image": agent["image"],
        "imagePullPolicy": agent["imagePullPolicy"],
        "command": ["/bin/sh", "-c", _PROBE.read_text("utf-8")],
        "env": [*env, {"name": "URL", "value": plan.api_url}],
        "securityContext": {**agent["securityContext"], "readOnlyRootFilesystem": True},
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
    }
    sources = next(v for v in template["spec"]["volumes"] if v["name"] == "sweep")["projected"]
    bundle = [each for each in sources["sources"] if plan.sweep_name not in _names(each)]
    if bundle:
        spec["volumes"] = [{"name": "bundle", "projected": {"sources": bundle}}]
        mount = {"name": "bundle", "mountPath": manifest.SWEEP_FOLDER, "readOnly": True}
        container["volumeMounts"] = [mount]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "sweepctl-doctor-", "namespace": plan.namespace},
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }


def _names(source: Object) -> list[str]:
    return [part["name"] for part in source.values()]


def gpus_offered(nodes: Sequence[Object], resource: str) -> dict[str, int]:
    """Count a resource on each node that offers it and takes pods."""
    found = {}
    for node in nodes:
        count = int(((node.get("status") or {}).get("allocatable") or {}).get(resource) or 0)
        if count and not (node.get("spec") or {}).get("unschedulable"):
            found[node["metadata"]["name"]] = count
    return found


def gpus_used(pods: Sequence[Object], resource: str) -> dict[str, int]:
    """Count what the pods that have not ended hold of a resource, by node."""
    used: dict[str, int] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        asked = sum(
            int(((each.get("resources") or {}).get("limits") or {}).get(resource) or 0)
            for each in pod["spec"]["containers"]
        )
        if asked:
            node = pod["spec"].get("nodeName", "")
            used[node] = used.get(node, 0) + asked
    return used


def _api_key(secret: Object | None, place: SecretKey, namespace: str) -> Check:
    if secret is None:
        return Check(
            "API key",
            Level.MISSING,
            f"there is no Secret '{place.name}'",
            "submit with --create-secret, or: kubectl create secret generic"
            f" {place.name} -n {namespace} --from-file={place.key}=FILE",
        )
    if place.key not in (secret.get("data") or {}):
        known = ", ".join(secret.get("data") or {}) or "none"
        return Check(
            "API key",
            Level.MISSING,
            f"the Secret '{place.name}' has no key '{place.key}'",
            f"it has: {known}; name one with --set wandb.secretKey=…",
        )
    return Check("API key", Level.OK, f"Secret '{place.name}', key '{place.key}'")


def _rules(lacking: Sequence[Access]) -> list[tuple[str, list[str]]]:
    verbs: dict[str, list[str]] = {}
    for access in lacking:
        verbs.setdefault(access.full_name, []).append(access.verb)
    return sorted(verbs.items())
