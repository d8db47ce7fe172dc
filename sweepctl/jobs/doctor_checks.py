"""What the settings name must be in the cluster: Secrets, ConfigMaps, disk. Lines of the doctor's.

It only reads. What this user may not look at it says so about, and never guesses.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError
from sweepctl.manifest import agent_resources
from sweepctl.values.rules import amount, is_ssh
from sweepctl.values.settings import Values

DISK = "ephemeral-storage"


class Level(str, enum.Enum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's answer."""

    what: str
    level: Level
    words: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A Secret or ConfigMap that a setting names, and the keys that pods need of it."""

    setting: str
    kind: str
    name: str
    keys: tuple[str, ...] = ()
    create: str = ""
    """How it is made, where that is more than `kubectl create`."""


def check_named(cluster: Cluster, values: Values, namespace: str) -> list[Check]:
    """Look for the Secrets and ConfigMaps that the settings name, but for the API key's."""
    found = []
    for named in named_objects(values.tree):
        try:
            piece = cluster.get(named.kind, named.name, namespace)
        except ClusterError as error:
            if not error.is_forbidden:
                raise
            words = f"{named.setting}: you may not look at {named.kind}s"
            found.append(Check(named.kind, Level.WARNING, words))
            continue
        found.append(_check_named(named, piece, namespace))
    return found


def named_objects(tree: Mapping[str, Any]) -> Iterator[Named]:
    """List what pods cannot start without."""
    for kind, setting in (("ConfigMap", "configMap"), ("Secret", "secret")):
        if name := tree["caBundle"][setting]:
            yield Named(f"caBundle.{setting}", kind, name, (tree["caBundle"]["key"],))
    git = tree["code"]["git"]
    if is_ssh(tree):
        keys = ("ssh-privatekey",) if git["knownHosts"] else ("ssh-privatekey", "known_hosts")
        files = " ".join(f"--from-file={key}=FILE" for key in keys)
        create = f"generic {git['secretName']} --type=kubernetes.io/ssh-auth {files}"
        yield Named("code.git.secretName", "Secret", git["secretName"], keys, create)
    elif git["repository"] and git["secretName"]:
        literals = "--from-literal=username=NAME --from-literal=password=TOKEN"
        create = f"generic {git['secretName']} --type=kubernetes.io/basic-auth {literals}"
        yield Named("code.git.secretName", "Secret", git["secretName"], ("password",), create)
    for index, source in enumerate(tree["envFrom"]):
        for kind in ("ConfigMap", "Secret"):
            reference = source.get(f"{kind[0].lower()}{kind[1:]}Ref")
            if reference and not reference.get("optional"):
                yield Named(f"envFrom[{index}]", kind, reference["name"])


def _check_named(named: Named, piece: Object | None, namespace: str) -> Check:
    kind = named.kind.lower()
    if piece is None:
        create = named.create or f"{'generic ' if kind == 'secret' else ''}{named.name} …"
        return Check(
            named.kind,
            Level.MISSING,
            f"{named.setting}: there is no {named.kind} '{named.name}'",
            f"kubectl create {kind} -n {namespace} {create}",
        )
    known = {**(piece.get("data") or {}), **(piece.get("binaryData") or {})}
    lacking = [key for key in named.keys if key not in known]
    if lacking:
        return Check(
            named.kind,
            Level.MISSING,
            f"{named.setting}: the {named.kind} '{named.name}' has no key '{lacking[0]}'",
            f"it has: {', '.join(known) or 'none'}",
        )
    return Check(named.kind, Level.OK, f"{named.setting}: '{named.name}'")


def check_disk(cluster: Cluster, values: Values) -> list[Check]:
    """Look for nodes with the disk that an agent asks for; nothing where it asks for none."""
    asked = agent_resources(values.tree)["requests"].get(DISK)
    if not asked or not amount(asked):
        return []
    try:
        nodes = cluster.list("Node")
    except ClusterError as error:
        if error.is_forbidden:
            return []
        raise
    offered = disk_offered(nodes, values.at("gpuResource") if values.at("gpus") else None)
    enough = sum(size >= amount(asked) for size in offered)
    if enough or not offered:
        words = f"{enough} of {len(offered)} nodes have the {asked} that an agent asks for"
        return [Check("disk", Level.OK, words)] if offered else []
    return [
        Check(
            "disk",
            Level.MISSING,
            f"an agent asks for {asked} of {DISK}, and no node has more than"
            f" {max(offered) / 2**30:.0f}Gi",
            "lower the limits of what it writes, --set runs.size=10Gi,cache.size=10Gi, or put it on"
            f" claims (type: pvc), or say what to ask for, --set resources.requests.{DISK}=…",
        )
    ]


def disk_offered(nodes: Sequence[Object], resource: str | None) -> list[float]:
    """Give the bytes of disk that each node lets pods have, of those that take an agent."""
    found = []
    for node in nodes:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        takes_agents = resource is None or int(allocatable.get(resource) or 0) > 0
        if DISK in allocatable and takes_agents and not (node["spec"] or {}).get("unschedulable"):
            found.append(amount(str(allocatable[DISK])))
    return found
