"""Why a pod is not running, or has failed, in plain words with the command that helps.

Pure: from the pod as the API sends it (and its events, when they were asked for) to a Reason. The
texts that it takes apart are those of the scheduler, the kubelet and the Job controller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.kube.errors import pod_refusal
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.log_lines import GAVE_UP

Object = Mapping[str, Any]

AGENT_CONTAINER = "agent"

_PULLING = frozenset({"ImagePullBackOff", "ErrImagePull", "RegistryUnavailable"})
_CREATING = frozenset({"ContainerCreating", "PodInitializing", ""})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is as it is, and what to type; `hint` is None when nothing needs doing."""

    words: str
    hint: str | None = None


def why_pending(pod: Object, events: Sequence[Object] = ()) -> Reason:
    """Say why a pod has not started."""
    namespace = pod["metadata"]["namespace"]
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return _unscheduled(scheduled, namespace)
    for status in _container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason and reason not in _CREATING:
            return _waiting(pod, status, reason, str(waiting.get("message") or ""))
    return _ended_before(pod) or _starting(pod, events)


def _ended_before(pod: Object) -> Reason | None:
    """Say which container failed before the agent could start."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    for status in _container_statuses(pod):
        ended = (status.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode") and status["name"] != AGENT_CONTAINER:
            said = _short(str(ended.get("message") or ""))
            return Reason(
                f"container '{status['name']}' ended with exit code {ended['exitCode']}"
                + (f": {said}" if said else ""),
                f"kubectl logs -n {namespace} {name} -c {status['name']}",
            )
    return None


def why_failed(pod: Object, name: str) -> Reason:
    """Say why a pod has failed; `name` is that of the sweep, for the commands."""
    index = pod_index(pod)
    see = f"sweepctl logs {name} --agent {index} --previous -n {pod['metadata']['namespace']}"
    disrupted = condition(pod, "DisruptionTarget")
    if disrupted and disrupted.get("status") == "True":
        return Reason(f"its node was needed or lost: {_disruption(disrupted)}")
    status = pod.get("status") or {}
    ended = agent_end(pod)
    if ended is None:
        if first := _ended_before(pod):
            return first
        text = " ".join(filter(None, [status.get("reason"), status.get("message")]))
        return Reason(text or "it failed before its container started", see)
    said = str(ended.get("message") or "").strip().replace("\n", "; ")
    node = (pod.get("spec") or {}).get("nodeName")
    code = int(ended.get("exitCode") or 0)
    if ended.get("reason") == "OOMKilled":
        return Reason(
            "out of memory: the kernel killed the trainer",
            "raise resources.limits.memory, or train fewer environments at once",
        )
    if code == ExitCode.CONFIGURATION and said.startswith(GAVE_UP):
        return Reason(said, see)
    meanings = {
        int(ExitCode.HANDED_BACK): ("it handed its run back", None),
        int(ExitCode.NODE_UNFIT): (
            "its node is unfit",
            f"keep pods away from it: kubectl cordon {node}" if node else see,
        ),
        int(ExitCode.CONFIGURATION): ("configuration error", see),
        137: ("killed (137): out of memory, or the grace period was over", see),
        143: ("ended by a signal (143)", see),
    }
    words, hint = meanings.get(code, (f"the agent ended with exit code {code}", see))
    return Reason(f"{words}: {said}" if said else words, hint)


def why_not_created(events: Iterable[Object], namespace: str) -> Reason | None:
    """Say why the Job controller creates no pods, from the Job's own events."""
    failed = [event for event in events if event.get("reason") == "FailedCreate"]
    if not failed:
        return None
    newest = max(failed, key=event_time)
    message = str(newest.get("message") or "")
    known = pod_refusal(message, namespace)
    if known:
        return Reason(*known)
    return Reason(f"Kubernetes refuses its pods: {_short(message.partition(': ')[2] or message)}")


def condition(thing: Object, kind: str) -> Object | None:
    """Give one condition of an object's status."""
    conditions = (thing.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), None)


def agent_end(pod: Object) -> Object | None:
    """Give how the agent's container ended, if it has."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status.get("name") == AGENT_CONTAINER:
            ended: Object | None = (status.get("state") or {}).get("terminated")
            return ended
    return None


def pod_index(pod: Object) -> int | None:
    """Give a pod's completion index."""
    key = "batch.kubernetes.io/job-completion-index"
    metadata = pod["metadata"]
    text = (metadata.get("annotations") or {}).get(key) or (metadata.get("labels") or {}).get(key)
    return int(text) if text is not None else None


def event_time(event: Object) -> str:
    """Give when an event was last seen, as text that sorts."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def _unscheduled(scheduled: Object, namespace: str) -> Reason:
    if scheduled.get("reason") == "SchedulingGated":
        return Reason(
            "held back by a scheduling gate, until a queue such as Kueue admits it",
            f"kubectl get workloads -n {namespace}",
        )
    message = str(scheduled.get("message") or "")
    total = re.match(r"0/(\d+) nodes are available", message)
    nodes = f"{total[1]} node{'s' if total[1] != '1' else ''}" if total else "the nodes"
    lacking = list(dict.fromkeys(re.findall(r"Insufficient ([\w./-]*\w)", message)))
    claim = re.search(r'persistentvolumeclaim "([^"]+)" not found', message)
    if claim:
        return Reason(
            f"the claim '{claim[1]}' does not exist",
            f"create it, or name another in the values: kubectl get pvc -n {namespace}",
        )
    if "unbound immediate PersistentVolumeClaims" in message:
        return Reason("its volume claim is not bound", f"kubectl describe pvc -n {namespace}")
    others = []
    if taints := re.findall(r"untolerated taint(?:\(s\)| \{([^}]*)\})", message):
        named = ", ".join(filter(None, dict.fromkeys(taints)))
        others.append(f"taints that it does not tolerate{f' ({named})' if named else ''}")
    if "node affinity/selector" in message:
        others.append("labels that nodeSelector or affinity do not ask for")
    if "were unschedulable" in message:
        others.append("cordons")
    if gpus := [name for name in lacking if "/" in name]:
        words = f"no free {', '.join(gpus)} on {nodes}"
        also = f" (others have {' or '.join(others)})" if others else ""
        return Reason(words + also, "see what is free: sweepctl doctor")
    if lacking:
        return Reason(
            f"not enough free {', '.join(lacking)} on {nodes}",
            "lower resources.requests in the values, or wait",
        )
    if others:
        return Reason(
            f"no node may take it: {nodes} have {' or '.join(others)}",
            "set nodeSelector or tolerations in the values; kubectl describe nodes",
        )
    return Reason(f"no node can take it: {_short(message) or 'not scheduled yet'}")


def _waiting(pod: Object, status: Object, reason: str, message: str) -> Reason:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    image = status.get("image")
    describe = f"kubectl describe pod -n {namespace} {name}"
    if reason in _PULLING:
        if re.search(
            r"unauthorized|denied|forbidden|401|403|authentication required", message, re.I
        ):
            return Reason(
                f"the registry refuses image {image}: no access",
                f"kubectl create secret docker-registry NAME -n {namespace} …,"
                " and name it in image.pullSecrets",
            )
        cause = re.split(r"(?:rpc error: code = \w+ desc = )", message)[-1]
        return Reason(
            f"cannot pull image {image}: {_short(cause) or reason}",
            "check the image's name: submit again with --image",
        )
    if reason == "CrashLoopBackOff":
        last = (status.get("lastState") or {}).get("terminated") or {}
        said = str(last.get("message") or "").strip()
        return Reason(
            f"container '{status['name']}' keeps ending with exit code {last.get('exitCode')}"
            + (f": {_short(said)}" if said else ""),
            f"kubectl logs -n {namespace} {name} -c {status['name']} --previous",
        )
    if reason == "InvalidImageName":
        return Reason(f"'{image}' is no name of an image", "submit again with --image")
    if reason == "ErrImageNeverPull":
        return Reason(
            f"image {image} is not on the node and imagePullPolicy is Never",
            "load it onto the nodes, or set image.pullPolicy to IfNotPresent",
        )
    if reason == "CreateContainerConfigError":
        missing = re.search(r'(secret|configmap) "([^"]+)" not found', message)
        lacks = re.search(r"couldn't find key (\S+) in Secret \S+?/(\S+)", message)
        if lacks:
            return Reason(
                f"the Secret '{lacks[2]}' has no key {lacks[1]}",
                f"kubectl describe secret -n {namespace} {lacks[2]}",
            )
        if missing and missing[1] == "configmap":
            hint = f"kubectl create configmap {missing[2]} -n {namespace} …"
            return Reason(f"the ConfigMap '{missing[2]}' does not exist", hint)
        if missing:
            create = f"kubectl create secret generic {missing[2]} -n {namespace}"
            key = _api_key_in(pod, missing[2])
            return Reason(
                f"the Secret '{missing[2]}' does not exist",
                f"submit again with --create-secret, or: {create} --from-file={key}=KEY_FILE"
                if key
                else f"{create} …",
            )
        if "run as root" in message or "non-numeric user" in message:
            return Reason(
                f"image {image} wants to run as root, which its security profile forbids",
                "set security.runAsUser to the image's own user in the values",
            )
    return Reason(f"{reason}: {_short(message)}" if message else reason, describe)


def _api_key_in(pod: Object, secret: str) -> str | None:
    """Give the key's name where a Secret is the one of the API key."""
    for container in (pod.get("spec") or {}).get("containers") or []:
        for variable in container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
            if variable.get("name") == "WANDB_API_KEY" and reference.get("name") == secret:
                return str(reference.get("key"))
    return None


def _starting(pod: Object, events: Sequence[Object]) -> Reason:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    node = (pod.get("spec") or {}).get("nodeName")
    own = sorted(
        (event for event in events if (event.get("involvedObject") or {}).get("name") == name),
        key=event_time,
    )
    for event in reversed(own):
        message = str(event.get("message") or "")
        if event.get("reason") in ("FailedMount", "FailedAttachVolume"):
            return Reason(
                f"a volume cannot be mounted: {_short(message)}",
                f"kubectl describe pod -n {namespace} {name}",
            )
        if event.get("type") == "Warning":
            return Reason(_short(message), f"kubectl describe pod -n {namespace} {name}")
        if event.get("reason") == "Pulling":
            return Reason(f"pulling its image on {node}: images of 20 GB take minutes")
    return Reason(f"starting on {node}" if node else "not scheduled yet")


def _disruption(disrupted: Object) -> str:
    words = {
        "PreemptionByScheduler": "preempted by a pod of higher priority",
        "DeletionByTaintManager": "its node was tainted",
        "EvictionByEvictionAPI": "evicted, as when a node is drained",
        "DeletionByPodGC": "its node is gone",
        "TerminationByKubelet": "its node was short of resources or shut down",
    }
    reason = str(disrupted.get("reason") or "")
    return words.get(reason, _short(str(disrupted.get("message") or reason)))


def _container_statuses(pod: Object) -> list[Object]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _short(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= 240 else f"{message[:237]}..."
