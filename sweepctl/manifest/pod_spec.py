"""From settings to the parts of an agent's pod: environment, volumes, mounts, confinement.

Pure. Each function gives a piece of a Kubernetes object as plain data; what the pod code reads
from its environment is decided here and nowhere else. The chart's helpers mirror these functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweepctl.manifest.pod_code import MOUNT_PATH, PodCode, script
from sweepctl.values.rules import DATA_VOLUMES, SIZE, amount, is_ssh
from sweepctl_pod.trainer.environment import THREAD_LIBRARIES

Settings = Mapping[str, Any]
Piece = dict[str, Any]

CONTAINER = "agent"
WORK = "/work"
SWEEP_FOLDER = "/etc/sweepctl"
WANDB_CLOUD = "https://api.wandb.ai"
JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"
PASSWD_ANNOTATION = "sweepctl/passwd"
"""The line of /etc/passwd under which git runs ssh, which works for no user without one."""
_CODE_VOLUME = "/code-volume"
_CODE_KEY = "/etc/sweepctl-key"
_MAX_MI = 2**40
_CLUSTER_HOSTS = "localhost,127.0.0.1,.svc,.cluster.local"


def image(settings: Settings) -> str:
    """Write an image's name: by its digest when there is one, else by its tag."""
    if settings["digest"]:
        return f"{settings['repository']}@{settings['digest']}"
    return f"{settings['repository']}:{settings['tag']}"


def environment(values: Settings, *, name: str, api_url: str) -> list[Piece]:
    """List the agent's variables: the contract with the pod code."""
    plain = {
        "SWEEPCTL_NAME": name,
        "SWEEPCTL_SWEEP": values["sweepId"],
        "SWEEPCTL_SWEEP_FILE": f"{SWEEP_FOLDER}/sweep.yaml",
        "SWEEPCTL_WORK": WORK,
        "SWEEPCTL_GRACE_S": str(values["graceSeconds"]),
        "SWEEPCTL_GRAMMAR": values["grammar"],
        "SWEEPCTL_SETTINGS": values["settings"],
        "SWEEPCTL_PREFLIGHT_GPU": _preflight_gpu(values),
        "SWEEPCTL_MAX_INITIAL_FAILURES": str(values["maxInitialFailures"]),
        "SWEEPCTL_PYTHON": values["interpreter"],
        "SWEEPCTL_PYTHONPATH": ":".join(values["pythonPath"]),
        "SWEEPCTL_TASKS": ":".join(values["code"]["tasks"]),
        "SWEEPCTL_CACHE": f"{values['cache']['home']}/.cache/sweepctl",
        # With a command of its own the container may hold more than its image.
        "SWEEPCTL_IMAGE": "" if values["command"] else values["image"]["digest"],
        "SWEEPCTL_CODE": values["code"]["mountPath"] if _code_source(values) else "",
        "SWEEPCTL_CODE_REVISION": _code_revision(values["code"]),
        "WANDB_BASE_URL": api_url,
        "WANDB_ENTITY": values["wandb"]["entity"],
        "WANDB_PROJECT": values["wandb"]["project"],
        "HOME": values["cache"]["home"],
        "USER": CONTAINER,
        "PYTHONUNBUFFERED": "1",
        "GIT_PYTHON_REFRESH": "quiet",
        "WARP_CACHE_PATH": f"{values['cache']['home']}/.cache/warp",
        "ISAACSIM_ASSET_ROOT": values["assetRoot"],
        "OMNI_KIT_ALLOW_ROOT": "1" if values["security"]["profile"] == "baseline" else "",
        **_network(values),
    }
    return [
        {"name": "SWEEPCTL_NAMESPACE", "valueFrom": _field("metadata.namespace")},
        {"name": "SWEEPCTL_JOB_UID", "valueFrom": _field(f"metadata.labels['{JOB_UID_LABEL}']")},
        {
            "name": "WANDB_API_KEY",
            "valueFrom": {
                "secretKeyRef": {
                    "name": values["wandb"]["secretName"],
                    "key": values["wandb"]["secretKey"],
                }
            },
        },
        *({"name": key, "value": value} for key, value in plain.items() if value),
        *_threads(values),
        *values["extraEnv"],
    ]


def resources(values: Settings) -> Piece:
    """Give what one agent asks for, GPUs and the room for its files included, as texts."""
    asked = quantities(values["resources"])
    if not any("ephemeral-storage" in part for part in asked.values()):
        size_mi = sum(math.ceil(amount(size) / 2**20) for size in _emptied_with_the_pod(values))
        if size_mi:
            asked["requests"]["ephemeral-storage"] = _mebibytes(size_mi)
    if values["gpus"]:
        asked["limits"] = {**asked["limits"], values["gpuResource"]: str(values["gpus"])}
    return asked


def _emptied_with_the_pod(values: Settings) -> Iterator[str]:
    """Give the limits of the emptyDirs on the node's disk: what a pod may write without eviction.

    A node short of disk evicts those first that use more than they asked for.
    """
    yield from (values[name]["size"] for name in DATA_VOLUMES if values[name]["type"] == "emptyDir")
    for volume in values["extraVolumes"]:
        source = volume.get("emptyDir")
        limit = source.get("sizeLimit") if isinstance(source, dict) else None
        if isinstance(limit, str) and SIZE.fullmatch(limit) and source.get("medium") != "Memory":
            yield limit


def _mebibytes(size_mi: int) -> str:
    size_mi = min(size_mi, _MAX_MI)
    return f"{size_mi}Mi" if size_mi % 1024 else f"{size_mi // 1024}Gi"


def quantities(settings: Settings) -> Piece:
    """Write requests and limits as Kubernetes stores them: texts."""
    return {
        part: {resource: str(amount) for resource, amount in settings[part].items()}
        for part in ("requests", "limits")
    }


def volumes(values: Settings, *, name: str, code: PodCode | None, code_name: str) -> list[Piece]:
    """List the pod's volumes."""
    found: list[Piece] = [
        {"name": "cache", **data_volume(values["cache"], f"{name}-cache")},
        {"name": "runs", **data_volume(values["runs"], f"{name}-runs")},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": values["shmSize"]}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "sweep", "projected": {"sources": _sweep_sources(values, name)}},
    ]
    if code is not None:
        items = [{"key": key, "path": path} for key, path in code.paths()]
        found.append({"name": "pod-code", "configMap": {"name": code_name, "items": items}})
    source = _code_source(values)
    if source:
        found.append({"name": "code", **source})
    if is_ssh(values):
        found.append({"name": "code-key", "projected": _code_key(values)})
    return [*found, *values["extraVolumes"]]


def data_volume(settings: Settings, own_claim: str) -> Piece:
    """Give the source of the cache or runs volume."""
    if settings["type"] == "emptyDir":
        return {"emptyDir": {"sizeLimit": settings["size"]}}
    return {"persistentVolumeClaim": {"claimName": settings["existingClaim"] or own_claim}}


def mounts(values: Settings) -> list[Piece]:
    """List where the agent sees its volumes."""
    cache, runs = values["cache"], values["runs"]
    found: list[Piece] = [
        _cache_mount(cache, cache["home"], "home"),
        *(_cache_mount(cache, path, f"image{path}") for path in cache["paths"]),
        {"name": "runs", "mountPath": WORK},
        *({"name": "runs", "mountPath": path, "subPath": path[1:]} for path in runs["paths"]),
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "sweep", "mountPath": SWEEP_FOLDER, "readOnly": True},
    ]
    if values["podCode"]["mount"]:
        found.append({"name": "pod-code", "mountPath": MOUNT_PATH, "readOnly": True})
    code = values["code"]
    if _code_source(values):
        mount: Piece = {"name": "code", "mountPath": code["mountPath"]}
        if code["git"]["repository"]:
            mount["subPath"] = "repository"
        elif code["claim"]["name"]:
            mount["readOnly"] = code["claim"]["readOnly"]
            if code["claim"]["subPath"]:
                mount["subPath"] = code["claim"]["subPath"]
        else:
            mount["readOnly"] = True
        found.append(mount)
    return [*found, *values["extraVolumeMounts"]]


def init_containers(values: Settings) -> list[Piece]:
    """List what starts before the agent: sidecars, the clone of code.git, the user's own."""
    sidecars = [{"restartPolicy": "Always", **sidecar} for sidecar in values["sidecars"]]
    confined = [_confined(values, each) for each in sidecars]
    return [*confined, *_clone(values), *(_confined(values, c) for c in values["initContainers"])]


def pod_annotations(values: Settings) -> dict[str, str]:
    """Give the pod's annotations."""
    found = dict(values["podAnnotations"])
    security = values["security"]
    if is_ssh(values) and security["profile"] == "restricted":
        ids = f"{security['runAsUser']}:{security['runAsGroup']}"
        found[PASSWD_ANNOTATION] = f"git:x:{ids}::/tmp:/bin/sh"
    return found


def pod_security(values: Settings) -> Piece:
    """Give the pod's securityContext: Pod Security's restricted, or baseline by name."""
    security = values["security"]
    shared = {
        "fsGroup": security["fsGroup"],
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if security["profile"] == "baseline":
        return shared
    return {
        "runAsNonRoot": True,
        "runAsUser": security["runAsUser"],
        "runAsGroup": security["runAsGroup"],
        **shared,
    }


def container_security(values: Settings) -> Piece:
    """Give a container's securityContext under the same profile."""
    security = values["security"]
    shared = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": security["readOnlyRootFilesystem"],
    }
    if security["profile"] == "baseline":
        return shared
    return {**shared, "capabilities": {"drop": ["ALL"]}}


def scheduling(values: Settings, selector: Mapping[str, str]) -> Piece:
    """Give the parts of the pod that choose its node; those not set are left out."""
    spread = [
        {"labelSelector": {"matchLabels": dict(selector)}, **constraint}
        for constraint in values["topologySpread"]
    ]
    parts = {
        "priorityClassName": values["priorityClassName"],
        "runtimeClassName": values["runtimeClassName"],
        "schedulerName": values["schedulerName"],
        "nodeSelector": values["nodeSelector"],
        "tolerations": values["tolerations"],
        "affinity": values["affinity"],
        "topologySpreadConstraints": spread,
    }
    return {key: part for key, part in parts.items() if part}


def command(values: Settings) -> list[str]:
    """Give the container's command: the user's own, else the start of the agent."""
    return list(values["command"]) or ["/bin/sh", "-c", script("start.sh")]


def _preflight_gpu(values: Settings) -> str:
    """Say whether the pod looks for a GPU: not when it asked for none."""
    return "auto" if values["preflight"]["gpu"] == "auto" and values["gpus"] else "off"


def _field(path: str) -> Piece:
    return {"fieldRef": {"fieldPath": path}}


def _network(values: Settings) -> dict[str, str]:
    """Give the variables of proxy and certificates, in every spelling that programs read."""
    proxy = values["proxy"]
    found = {}
    if proxy["http"] or proxy["https"]:
        direct = ",".join(filter(None, [proxy["noProxy"], _CLUSTER_HOSTS]))
        found = {"HTTP_PROXY": proxy["http"], "HTTPS_PROXY": proxy["https"], "NO_PROXY": direct}
        found.update({key.lower(): value for key, value in found.items()})
    if values["caBundle"]["configMap"] or values["caBundle"]["secret"]:
        found["SSL_CERT_FILE"] = f"{SWEEP_FOLDER}/ca.crt"
        found["REQUESTS_CA_BUNDLE"] = f"{SWEEP_FOLDER}/ca.crt"
    return found


def _threads(values: Settings) -> list[Piece]:
    """Limit the threads of each library, which see the node's CPUs and not the container's.

    What is not set, the agent divides by the processes that a run's command starts.
    """
    if values["threads"]:
        variables = [f"{library}_NUM_THREADS" for library in THREAD_LIBRARIES]
        return [{"name": name, "value": str(values["threads"])} for name in variables]
    if "cpu" not in values["resources"]["requests"]:
        return []
    request = {"containerName": CONTAINER, "resource": "requests.cpu", "divisor": "1"}
    return [{"name": "SWEEPCTL_CPUS", "valueFrom": {"resourceFieldRef": request}}]


def _sweep_sources(values: Settings, name: str) -> list[Piece]:
    file = {"key": "sweep.yaml", "path": "sweep.yaml"}
    sources: list[Piece] = [{"configMap": {"name": f"{name}-sweep", "items": [file]}}]
    bundle = values["caBundle"]
    for kind in ("configMap", "secret"):
        if bundle[kind]:
            items = [{"key": bundle["key"], "path": "ca.crt"}]
            sources.append({kind: {"name": bundle[kind], "items": items}})
    return sources


def _code_source(values: Settings) -> Piece:
    code = values["code"]
    if code["git"]["repository"]:
        return {"emptyDir": {}}
    if code["image"]["reference"]:
        return {"image": dict(code["image"])}
    if code["claim"]["name"]:
        return {"persistentVolumeClaim": {"claimName": code["claim"]["name"]}}
    return {}


def _code_key(values: Settings) -> Piece:
    """Give the key of git over ssh, and the file by which the user of the clone has a name."""
    name = values["code"]["git"]["secretName"]
    sources: list[Piece] = []
    for key in ("ssh-privatekey", "known_hosts"):
        items = [{"key": key, "path": key}]
        is_optional = key == "known_hosts"
        sources.append({"secret": {"name": name, "items": items, "optional": is_optional}})
    if PASSWD_ANNOTATION in pod_annotations(values):
        items = [{"path": "passwd", **_field(f"metadata.annotations['{PASSWD_ANNOTATION}']")}]
        sources.append({"downwardAPI": {"items": items}})
    return {"sources": sources, "defaultMode": 0o440}


def _confined(values: Settings, container: Piece) -> Piece:
    """Confine a container of the user's own as the agent is, but for what it says itself."""
    own = container.get("securityContext") or {}
    return {**container, "securityContext": {**container_security(values), **own}}


def _code_revision(code: Settings) -> str:
    """Say which code it is, where that is known: `git` leaves it to the clone's own HEAD."""
    if code["git"]["repository"]:
        return "git"
    reference = code["image"]["reference"]
    return str(reference) if "@sha256:" in reference else ""


def _cache_mount(cache: Settings, path: str, folder: str) -> Piece:
    if cache["perAgent"]:
        return {
            "name": "cache",
            "mountPath": path,
            "subPathExpr": f"$(JOB_COMPLETION_INDEX)/{folder}",
        }
    return {"name": "cache", "mountPath": path, "subPath": folder}


def _clone(values: Settings) -> Sequence[Piece]:
    """Give the container that clones code.git; it takes no more room than the agent after it."""
    git = values["code"]["git"]
    if not git["repository"]:
        return []
    network = _network(values)
    plain = {
        "HOME": "/tmp",
        "CODE_REPOSITORY": git["repository"],
        "CODE_REF": git["ref"],
        **network,
    }
    if "SSL_CERT_FILE" in network:
        plain["GIT_SSL_CAINFO"] = network["SSL_CERT_FILE"]
    mounts: list[Piece] = [
        {"name": "code", "mountPath": _CODE_VOLUME},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "sweep", "mountPath": SWEEP_FOLDER, "readOnly": True},
    ]
    if is_ssh(values):
        plain |= {"CODE_KEY": _CODE_KEY, "CODE_KNOWN_HOSTS": git["knownHosts"]}
        mounts.append({"name": "code-key", "mountPath": _CODE_KEY, "readOnly": True})
        if PASSWD_ANNOTATION in pod_annotations(values):
            passwd = {"mountPath": "/etc/passwd", "subPath": "passwd", "readOnly": True}
            mounts.append({"name": "code-key", **passwd})
    env: list[Piece] = [{"name": key, "value": value} for key, value in plain.items() if value]
    if git["secretName"] and not is_ssh(values):
        for variable, key in (("GIT_USERNAME", "username"), ("GIT_PASSWORD", "password")):
            secret = {"name": git["secretName"], "key": key, "optional": key == "username"}
            env.append({"name": variable, "valueFrom": {"secretKeyRef": secret}})
    return [
        {
            "name": "code",
            "image": git["image"] or image(values["image"]),
            "imagePullPolicy": values["image"]["pullPolicy"],
            "command": ["/bin/sh", "-c", script("fetch_code.sh")],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "env": env,
            "resources": quantities(values["resources"]),
            "securityContext": container_security(values),
            "volumeMounts": mounts,
        }
    ]
