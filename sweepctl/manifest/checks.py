"""The rules of Kubernetes that rendered objects must keep before anybody sees them.

Pure. A complaint here means that settings passed the schema which should not have, so each names
the object and the place. The API server's own checks come on top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sweepctl_pod.errors import ExitCode, SweepctlError

Piece = Mapping[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_MAX_HOSTNAME = 63


def check_objects(objects: Sequence[Piece]) -> None:
    """Raise SweepctlError with the first rule that an object breaks."""
    for piece in objects:
        for complaint in _complaints(piece):
            name = f"{piece['kind']}/{piece['metadata']['name']}"
            raise SweepctlError(f"{name} would be refused: {complaint}")
    twice = _twice(f"{piece['kind']}/{piece['metadata']['name']}" for piece in objects)
    if twice:
        raise SweepctlError(f"two objects of one name: {twice}")


def _complaints(piece: Piece) -> Iterator[str]:
    metadata = piece["metadata"]
    if len(metadata["name"]) > 253 or not _NAME.fullmatch(metadata["name"]):
        yield f"metadata.name: {metadata['name']!r} is no name of an object"
    yield from _label_complaints("metadata.labels", metadata["labels"])
    if piece["kind"] in ("Job", "StatefulSet"):
        template = piece["spec"]["template"]
        yield from _label_complaints(
            "spec.template.metadata.labels", template["metadata"]["labels"]
        )
        yield from _pod_complaints(template["spec"])
    if piece["kind"] == "Job":
        yield from _job_complaints(metadata["name"], piece["spec"])


def _label_complaints(place: str, labels: Mapping[str, object]) -> Iterator[str]:
    for key, value in labels.items():
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            yield f"{place}: {key}={value!r} is no label (63 characters, letters and digits)"


def _job_complaints(name: str, spec: Piece) -> Iterator[str]:
    agents = spec["parallelism"]
    if spec["completions"] != agents or agents < 1:
        yield f"completions {spec['completions']} and parallelism {agents} must be equal, and not 0"
    if spec["completionMode"] != "Indexed":
        yield f"completionMode {spec['completionMode']} has no indexes"
    if len(f"{name}-{agents - 1}") > _MAX_HOSTNAME:
        yield f"the host name {name}-{agents - 1} is longer than {_MAX_HOSTNAME} characters"
    rules = spec["podFailurePolicy"]["rules"]
    # A pod that was preempted may have ended with any code: the first rule that fits counts.
    if [rule["action"] for rule in rules] != ["Ignore", "FailIndex", "Ignore"]:
        yield "podFailurePolicy: the rules are not DisruptionTarget, FailIndex, Ignore"
    if "onPodConditions" not in rules[0]:
        yield "podFailurePolicy: DisruptionTarget does not come first"
    codes = [rule["onExitCodes"]["values"] for rule in rules[1:]]
    if codes != [[ExitCode.CONFIGURATION], [ExitCode.HANDED_BACK, ExitCode.NODE_UNFIT]]:
        yield f"podFailurePolicy: {codes} are not the agent's exit codes"
    if spec["template"]["spec"]["restartPolicy"] != "Never":
        yield "podFailurePolicy needs restartPolicy: Never"


def _pod_complaints(spec: Piece) -> Iterator[str]:
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    volumes = [volume["name"] for volume in spec["volumes"]]
    if twice := _twice(container["name"] for container in containers):
        yield f"two containers of the name {twice}"
    if twice := _twice(volumes):
        yield f"two volumes of the name {twice}"
    for container in containers:
        place = f"container {container['name']}"
        if twice := _twice(variable["name"] for variable in container.get("env", ())):
            yield f"{place}: the variable {twice} is set twice"
        mounts = container.get("volumeMounts", ())
        if twice := _twice(mount["mountPath"] for mount in mounts):
            yield f"{place}: two mounts at {twice}"


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
