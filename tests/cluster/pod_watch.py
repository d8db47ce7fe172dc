"""What becomes of each pod of a namespace, as the API tells it while it happens."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.testbed.cluster import Cluster

HANDED_BACK = 75
_UNKNOWN = "ContainerStatusUnknown"
_REFUSED = "UnexpectedAdmissionError"
"""A kubelet that is started anew while it evicts a pod for want of memory, which gives no grace,
admits the pod again, has no devices yet, and writes this in place of the eviction."""
_SIGNAL_LIMIT_S = 5.0
"""So long after the API a pod may not know that it is told to leave, and end by itself."""


@dataclass
class Seen:
    """One pod, as it was last seen."""

    item: dict[str, Any]
    is_gone: bool = False
    told_at: float | None = None
    """When it was first told to leave, its grace not included: the last word is the kubelet's."""
    has_run: bool = False
    """Whether any word of it said so."""

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def host(self) -> str:
        """The name under which its agent is known: JOB-INDEX."""
        labels = self.item["metadata"]["labels"]
        index = labels.get("batch.kubernetes.io/job-completion-index", "")
        return f"{labels.get('batch.kubernetes.io/job-name', self.name)}-{index}"

    @property
    def instance(self) -> str:
        return str(self.item["metadata"]["labels"].get("app.kubernetes.io/instance", ""))

    @property
    def is_running(self) -> bool:
        return not self.is_leaving and self.item["status"]["phase"] == "Running"

    @property
    def is_coming(self) -> bool:
        return not self.is_leaving and self.item["status"]["phase"] == "Pending"

    @property
    def has_ended(self) -> bool:
        """Whether none of its containers may run any more."""
        return self.is_gone or self.item["status"]["phase"] in ("Succeeded", "Failed")

    @property
    def age_s(self) -> float:
        """Give the seconds since its node took it."""
        began = self.item["status"].get("startTime")
        return time.time() - epoch_of(began) if began else 0.0

    @property
    def is_leaving(self) -> bool:
        return self.is_gone or "deletionTimestamp" in self.item["metadata"]

    @property
    def disruption(self) -> str:
        """Why Kubernetes took it away, where it says so."""
        conditions = self.item["status"].get("conditions", ())
        found = (c.get("reason", "") for c in conditions if c["type"] == "DisruptionTarget")
        return next(found, "")

    @property
    def taken_at(self) -> float | None:
        """When it was told to leave, or Kubernetes noted that it took it away."""
        if self.told_at is not None:
            return self.told_at
        conditions = self.item["status"].get("conditions", ())
        found = (c["lastTransitionTime"] for c in conditions if c["type"] == "DisruptionTarget")
        at = next(found, None)
        return epoch_of(at) if at else None

    @property
    def ended(self) -> dict[str, Any] | None:
        """How its agent's container ended."""
        for status in self.item["status"].get("containerStatuses", ()):
            if status["name"] == "agent" and "terminated" in status["state"]:
                return dict(status["state"]["terminated"])
        return None


class PodWatch:
    """Follows the pods of a namespace in a thread of its own until the block ends."""

    def __init__(self, cluster: Cluster, namespace: str, selector: str) -> None:
        self._command = [
            *(str(cluster.programs.get("kubectl", "kubectl")), "-n", namespace, "get", "pods"),
            *("-l", selector, "--watch", "--output-watch-events", "-o", "json"),
        ]
        self._environ = cluster.environ
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}
        self._is_over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> PodWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join(10)

    def pods(self) -> dict[str, Seen]:
        """Give all pods that there were, by UID."""
        with self._lock:
            return dict(self._seen)

    def _follow(self) -> None:
        while not self._is_over.is_set():
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._take(json.loads(line))
            self._process.wait()
            self._is_over.wait(1)

    def _take(self, event: dict[str, Any]) -> None:
        item = event["object"]
        if item.get("kind") != "Pod":
            return
        with self._lock:
            uid = item["metadata"]["uid"]
            before = self._seen.get(uid)
            told_at = (before.told_at if before else None) or _told_at(item)
            has_run = item["status"]["phase"] == "Running" or bool(before and before.has_run)
            self._seen[uid] = Seen(item, event["type"] == "DELETED", told_at, has_run)


def wrong_exit(seen: Seen, allowed: set[int | None]) -> str | None:
    """Say what is wrong with a pod's exit status; `allowed` is what was done to it besides."""
    ended = seen.ended
    code = None if ended is None else int(ended["exitCode"])
    finished = ended and ended.get("finishedAt")  # none when the node cannot tell any more
    ended_at = epoch_of(finished) if finished else None
    if code in allowed:
        return None
    told_at = seen.told_at
    is_told = told_at is not None or seen.disruption != ""
    if code == HANDED_BACK and is_told:
        return None
    is_late = told_at is not None and ended_at is not None and ended_at > told_at + _SIGNAL_LIMIT_S
    if code == 0 and not is_late:
        return None
    if ended is None and not (seen.is_leaving and seen.has_run):
        return None  # it has not ended yet, or no container of it ever began
    if ended and ended.get("reason") == _UNKNOWN and not seen.has_run:
        return None  # Kubernetes' own 137: its node never came to start it
    if code == 137 and seen.item["status"].get("reason") == _REFUSED:
        return None
    why = f" ({seen.disruption})" if seen.disruption else ""
    after = ""
    if ended_at is not None and seen.taken_at is not None:
        after = f" {ended_at - seen.taken_at:.0f} s before its end"
    told = f"told to leave{after}" if is_told else "not told to leave"
    reason = f" {ended['reason']}" if ended and ended.get("reason") else ""
    return f"{seen.name}: {code}{reason}, {told}{why}"


def _told_at(item: dict[str, Any]) -> float | None:
    metadata = item["metadata"]
    if "deletionTimestamp" not in metadata:
        return None
    grace_s = metadata.get("deletionGracePeriodSeconds") or 0
    return epoch_of(metadata["deletionTimestamp"]) - grace_s


def epoch_of(text: str) -> float:
    """Read a time as Kubernetes writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
