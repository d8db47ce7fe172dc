"""What containers ask for, as Kubernetes stores it, with the room for an agent's files.

Pure. The chart's helpers `amount`, `emptied` and `resources` compute the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sweepctl.values.rules import DATA_VOLUMES, SIZE, amount

_MAX_MI = 2**40


def quantities(settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Write requests and limits as Kubernetes stores them: texts."""
    return {
        part: {resource: str(amount) for resource, amount in settings[part].items()}
        for part in ("requests", "limits")
    }


def agent_resources(values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Give what one agent asks for, GPUs and the room for its files included, as texts."""
    asked = quantities(values["resources"])
    if not any("ephemeral-storage" in part for part in asked.values()):
        size_mi = sum(math.ceil(amount(size) / 2**20) for size in _emptied_with_the_pod(values))
        if size_mi:
            asked["requests"]["ephemeral-storage"] = _mebibytes(size_mi)
    if values["gpus"]:
        asked["limits"][values["gpuResource"]] = str(values["gpus"])
    return asked


def _emptied_with_the_pod(values: Mapping[str, Any]) -> Iterator[str]:
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
