"""Contradictions between settings: each legal by itself, impossible together.

Pure. Each rule's hint is the YAML that puts it right. The chart fails with the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from sweepctl.sweepfile.document import Path
from sweepctl.values.problems import Finding
from sweepctl_pod.checkpoint_uri import address_trouble

DATA_VOLUMES = ("cache", "runs")
SIZE = re.compile(r"[1-9][0-9]{0,14}(\.[0-9]{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)", re.ASCII)
_UNITS: dict[str, Decimal | int] = {
    "": 1,
    "m": Decimal("0.001"),
    **{unit: 1000**power for power, unit in enumerate("kMGTP", 1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", 1)},
}


def contradictions(tree: Mapping[str, Any]) -> list[Finding]:
    """Find the settings that exclude each other; `tree` has passed the schema."""
    rules = (
        _code,
        _kueue,
        _volumes,
        _certificates,
        _checkpoint,
        _gpus,
        _amounts,
        _server,
        _server_access,
        _names,
        _mounts,
    )
    return [finding for rule in rules for finding in rule(tree)]


def _code(tree: Mapping[str, Any]) -> Iterator[Finding]:
    code = tree["code"]
    sources = {
        "git": code["git"]["repository"],
        "image": code["image"]["reference"],
        "claim": code["claim"]["name"],
    }
    chosen = [source for source, value in sources.items() if value]
    if len(chosen) > 1:
        key = {"git": "repository", "image": "reference", "claim": "name"}[chosen[1]]
        yield Finding(
            ("code", chosen[1], key),
            f"code comes from one place, and code.{chosen[0]} is set as well",
            f'set code: {{{chosen[1]}: {{{key}: ""}}}}',
        )
    git = code["git"]
    if is_ssh(tree) and not git["secretName"]:
        yield Finding(
            ("code", "git", "secretName"),
            "git over ssh needs a key, and code.git.secretName is empty",
            "set code: {git: {secretName: YOUR_SECRET}}, of type kubernetes.io/ssh-auth",
        )
    if git["knownHosts"] and not is_ssh(tree):
        yield Finding(
            ("code", "git", "knownHosts"),
            "code.git.knownHosts is for git over ssh, and code.git.repository is no address of ssh",
            'set code: {git: {knownHosts: ""}}',
        )


def is_ssh(tree: Mapping[str, Any]) -> bool:
    """Tell whether the code comes by git over ssh: ssh://… or USER@HOST:PATH."""
    return re.match(r"https?:|$", tree["code"]["git"]["repository"]) is None


def _kueue(tree: Mapping[str, Any]) -> Iterator[Finding]:
    kueue = tree["kueue"]
    if kueue["elastic"] and kueue["minParallelism"]:
        yield Finding(
            ("kueue", "minParallelism"),
            "an elastic Job is resized by Kueue itself and takes no minParallelism",
            "set kueue: {elastic: true, minParallelism: 0}",
        )
    for key in ("priorityClass", "elastic", "minParallelism"):
        if kueue[key] and not kueue["queue"]:
            yield Finding(
                ("kueue", key),
                f"kueue.{key} does nothing without kueue.queue",
                "set kueue: {queue: YOUR_LOCAL_QUEUE}",
            )
    if kueue["queue"] and kueue["minParallelism"] >= tree["agents"]:
        yield Finding(
            ("kueue", "minParallelism"),
            f"kueue.minParallelism must be less than agents, which is {tree['agents']}",
            f"set kueue: {{minParallelism: {tree['agents'] - 1}}}",
        )
    if kueue["queue"] and tree["suspend"]:
        yield Finding(
            ("suspend",),
            "Kueue itself suspends and resumes a Job of its queue",
            "set suspend: false, and hold the Job by the spec.active of its Workload",
        )


def _volumes(tree: Mapping[str, Any]) -> Iterator[Finding]:
    for name in DATA_VOLUMES:
        volume = tree[name]
        if volume["existingClaim"] and volume["type"] != "pvc":
            yield Finding(
                (name, "existingClaim"),
                f"{name}.existingClaim is not used by an emptyDir",
                f"set {name}: {{type: pvc, existingClaim: {volume['existingClaim']}}}",
            )


def _certificates(tree: Mapping[str, Any]) -> Iterator[Finding]:
    if tree["caBundle"]["configMap"] and tree["caBundle"]["secret"]:
        yield Finding(
            ("caBundle", "secret"),
            "the CA bundle comes from one place, and caBundle.configMap is set as well",
            'set caBundle: {secret: ""}',
        )


def _checkpoint(tree: Mapping[str, Any]) -> Iterator[Finding]:
    uri = (tree.get("checkpoint") or {}).get("uri")  # a release from before it has none
    if uri and (wrong := address_trouble(uri)):
        yield Finding(("checkpoint", "uri"), wrong.message, wrong.hint)


def _gpus(tree: Mapping[str, Any]) -> Iterator[Finding]:
    for part in ("requests", "limits"):
        if tree["gpuResource"] in tree["resources"][part]:
            yield Finding(
                ("resources", part, tree["gpuResource"]),
                "GPUs are asked for by gpus and gpuResource",
                f"set gpus: 1, and leave it out of resources.{part}",
            )


def _amounts(tree: Mapping[str, Any]) -> Iterator[Finding]:
    places: list[tuple[Path, str, Mapping[str, Any]]] = [
        (("resources",), "resources: {{{}}}", tree["resources"]),
        (("server", "resources"), "server: {{resources: {{{}}}}}", tree["server"]["resources"]),
    ]
    for place, setting, resources in places:
        for name, asked in sorted(resources["requests"].items()):
            limit = resources["limits"].get(name)
            if limit is not None and amount(str(asked)) > amount(str(limit)):
                higher = setting.format(f'limits: {{{name}: "{asked}"}}')
                lower = setting.format(f'requests: {{{name}: "{limit}"}}')
                yield Finding(
                    (*place, "requests", name),
                    f"a request of {asked} is above the limit, which is {limit}",
                    f"set {higher}, or {lower}",
                )


def amount(quantity: str) -> float:
    """Read a quantity as a number, so that 500m, 8 and 32Gi can be compared and added."""
    number = quantity.rstrip("".join(_UNITS))
    return float(Decimal(number) * _UNITS[quantity[len(number) :]])


def _server(tree: Mapping[str, Any]) -> Iterator[Finding]:
    if tree["server"]["enabled"] and tree["wandb"]["baseUrl"]:
        yield Finding(
            ("wandb", "baseUrl"),
            "the agents use one server, and server.enabled brings one with it",
            'set wandb: {baseUrl: ""}, or server: {enabled: false}',
        )


def _server_access(tree: Mapping[str, Any]) -> Iterator[Finding]:
    metrics, route = (tree["server"].get(name, {}) for name in ("metrics", "httpRoute"))
    is_asked = metrics.get("serviceMonitor", {}).get("enabled")
    if is_asked and not (metrics["open"] or metrics["secretName"]):
        yield Finding(
            ("server", "metrics", "serviceMonitor", "enabled"),
            "Prometheus would be refused: it has no key, and /metrics is not open",
            "set server: {metrics: {secretName: YOUR_SECRET}}, or server: {metrics: {open: true}}",
        )
    if route.get("enabled") and not route["parentRefs"]:
        yield Finding(
            ("server", "httpRoute", "parentRefs"),
            "an HTTPRoute leads nowhere without a Gateway",
            "set server: {httpRoute: {parentRefs: [{name: YOUR_GATEWAY}]}}",
        )


def _names(tree: Mapping[str, Any]) -> Iterator[Finding]:
    for keys, what in (
        (["extraEnv"], "variable"),
        (["extraVolumes"], "volume"),
        (["sidecars", "initContainers"], "container"),
    ):
        seen: set[str] = set()
        for key, index, item in ((k, n, each) for k in keys for n, each in enumerate(tree[k])):
            if item["name"] in seen:
                message = f"a second {what} of the name {item['name']}"
                yield Finding((key, index, "name"), message, "remove one of the two")
            seen.add(item["name"])


def _mounts(tree: Mapping[str, Any]) -> Iterator[Finding]:
    taken = dict(mount_paths(tree))
    known = [volume["name"] for volume in tree["extraVolumes"]]
    for index, mount in enumerate(tree["extraVolumeMounts"]):
        if mount["name"] not in (*known, *DATA_VOLUMES):
            yield Finding(
                ("extraVolumeMounts", index, "name"),
                f"there is no volume of the name {mount['name']}",
                f"set extraVolumes: [{{name: {mount['name']}, …}}]",
            )
    for path, place in mount_paths(tree):
        if taken[path] != place:
            yield Finding(place, f"something else is mounted at {path}", "mount it elsewhere")


def mount_paths(tree: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """List the paths that settings mount something at in the agent, each with its setting."""
    found: list[tuple[str, Path]] = [
        (path, ("extraVolumeMounts", index, "mountPath"))
        for index, path in enumerate(mount["mountPath"] for mount in tree["extraVolumeMounts"])
    ]
    found.append((tree["cache"]["home"], ("cache", "home")))
    for name in DATA_VOLUMES:
        found += [(path, (name, "paths", n)) for n, path in enumerate(tree[name]["paths"])]
    if any(
        (
            tree["code"]["git"]["repository"],
            tree["code"]["image"]["reference"],
            tree["code"]["claim"]["name"],
        )
    ):
        found.append((tree["code"]["mountPath"], ("code", "mountPath")))
    found += [(path, ()) for path in OWN_MOUNTS]
    return found


OWN_MOUNTS = ("/work", "/tmp", "/dev/shm", "/opt/sweepctl", "/etc/sweepctl")
"""Where the Job mounts its own volumes, whatever is set."""
