"""What the agents of a sweep are doing in the cluster, as a value: one row for each index of a Job.

Pure: it takes Job, pods and events as the API sends them, the runs, and the time.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sweepctl.kube.pod_reasons import (
    Object,
    Reason,
    agent_end,
    condition,
    pod_index,
    why_failed,
    why_not_created,
    why_pending,
)
from sweepctl.sweeps.status import RunRow
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.wandb.states import HELD_RUNS

FIRST_BACKOFF_S = 10.0
LONGEST_BACKOFF_S = 600.0
"""Delay of the Job controller before it replaces a pod of an index: 10 s × 2^(n-1), at most 10 min
(kubernetes/pkg/controller/job/backoff_utils.go, read in 1.37; no field of a Job changes it)."""

SLOW_START_S = 30.0
"""Pods that have been starting for longer are worth a look at their events."""

_FAILURES = "batch.kubernetes.io/job-index-failure-count"
_IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


class IndexState(str, enum.Enum):
    """What an index of the Job is doing."""

    RUNNING = "Running"
    STARTING = "Starting"
    PENDING = "Pending"
    STOPPING = "Stopping"
    WAITING = "Waiting"
    """Its pod has failed; the replacement comes after the Job controller's back-off."""
    PAUSED = "Paused"
    DONE = "Done"
    FAILED = "Failed"


LIVE = frozenset({IndexState.RUNNING, IndexState.STARTING, IndexState.PENDING, IndexState.WAITING})


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent: its place in the Job, its pod, and the run that it trains."""

    index: int
    name: str
    state: IndexState
    pod: str | None
    node: str | None
    run: RunRow | None
    failures: int
    age_s: float | None
    reason: Reason | None
    due_s: float | None = None
    """Seconds until its pod is replaced."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A sweep's Job at one moment; `agents` has a row for each of its indexes."""

    name: str
    job: str
    namespace: str
    wanted: int
    ready: int
    is_paused: bool
    end: str | None
    """`Complete` or `Failed` when the Job has ended."""
    end_reason: Reason | None
    age_s: float | None
    agents: tuple[AgentRow, ...]

    @property
    def state(self) -> str:
        """Say in a word what the Job is doing."""
        if self.end:
            return self.end
        if self.is_paused:
            return "Paused"
        return "Running" if self.ready else "Pending"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why some agents do not run: each reason once, with all the agents that it stops."""

    indexes: tuple[int, ...]
    state: IndexState
    reason: Reason
    due_s: float | None

    def text(self) -> str:
        """Say it in one line: who, what, why, and when it will be better."""
        who = "agent" if len(self.indexes) == 1 else "agents"
        line = f"{who} {index_text(self.indexes)} {self.state.value}: {self.reason.words}"
        if self.state is not IndexState.WAITING:
            return line
        due = f"in {self.due_s:.0f} s" if self.due_s and self.due_s > 0 else "now"
        return f"{line}; replacement due {due}"


def job_status(
    name: str,
    job: Object,
    pods: Iterable[Object],
    runs: Sequence[RunRow],
    now: datetime,
    events: Sequence[Object] = (),
) -> JobStatus:
    """Put together what a Job, its pods and the sweep's runs say at `now`."""
    spec, status, metadata = job["spec"], job.get("status") or {}, job["metadata"]
    wanted = int(spec.get("parallelism") or 0)
    pods_of = _by_index(pods, metadata)
    running = _runs_by_agent(runs)
    ended = {
        **dict.fromkeys(indexes(status.get("failedIndexes")), IndexState.FAILED),
        **dict.fromkeys(indexes(status.get("completedIndexes")), IndexState.DONE),
    }
    facts = _JobFacts(
        name=name,
        job=metadata["name"],
        is_paused=bool(spec.get("suspend")),
        not_created=why_not_created(_about(events, "Job", metadata), metadata["namespace"]),
        pod_events=[event for event in events if _kind(event) == "Pod"],
        now=now,
    )
    known = set(range(int(spec.get("completions") or wanted))) | set(pods_of)
    end, end_reason = _end(job)
    return JobStatus(
        name=name,
        job=metadata["name"],
        namespace=metadata["namespace"],
        wanted=wanted,
        ready=int(status.get("ready") or 0),
        is_paused=facts.is_paused,
        end=end,
        end_reason=end_reason,
        age_s=_age_s(metadata.get("creationTimestamp"), now),
        agents=tuple(
            _agent(index, pods_of.get(index, []), ended.get(index), running, facts)
            for index in sorted(known)
            if index < wanted or _has_live_pod(pods_of.get(index, []))
        ),
    )


def needs_events(job: Object, pods: Sequence[Object], now: datetime) -> bool:
    """Say whether events can tell more: pods are missing, or have been starting for long."""
    status, spec = job.get("status") or {}, job["spec"]
    if spec.get("suspend") or _end(job)[0]:
        return False
    ended = len(indexes(status.get("completedIndexes"))) + len(indexes(status.get("failedIndexes")))
    live = [pod for pod in pods if _is_live(pod)]
    if len(live) + ended < int(spec.get("parallelism") or 0):
        return True
    return any(
        (pod.get("status") or {}).get("phase") == "Pending"
        and (pod.get("spec") or {}).get("nodeName")
        and (_age_s(pod["metadata"].get("creationTimestamp"), now) or 0) > SLOW_START_S
        for pod in live
    )


def troubles(status: JobStatus) -> list[Trouble]:
    """Group the agents that do not run by reason, most frequent first."""
    groups: dict[tuple[IndexState, str], list[AgentRow]] = {}
    for agent in status.agents:
        if agent.reason is not None:
            groups.setdefault((agent.state, agent.reason.words), []).append(agent)
    found = [
        Trouble(
            tuple(agent.index for agent in group),
            state,
            Reason(words, group[0].reason.hint if group[0].reason else None),
            min((agent.due_s for agent in group if agent.due_s is not None), default=None),
        )
        for (state, words), group in groups.items()
    ]
    return sorted(found, key=lambda trouble: -len(trouble.indexes))


def indexes(text: str | None) -> list[int]:
    """Read the index lists of a Job's status: `0-2,5`."""
    found: list[int] = []
    for part in (text or "").split(","):
        first, _, last = part.strip().partition("-")
        if first:
            found.extend(range(int(first), int(last or first) + 1))
    return found


def index_text(found: Sequence[int]) -> str:
    """Write indexes as a Job's status does: `0-2,5`."""
    parts: list[str] = []
    start = previous = None
    for index in [*sorted(found), None]:
        if previous is not None and index == previous + 1:
            previous = index
            continue
        if start is not None:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = index
    return ",".join(parts)


def smallest_size(job: Object) -> int:
    """Give the least number of agents with which the Job has an index that has not ended."""
    status = job.get("status") or {}
    ended = set(indexes(status.get("completedIndexes"))) | set(indexes(status.get("failedIndexes")))
    index = 0
    while index in ended:
        index += 1
    return index + 1


def replacement_due_s(pod: Object, now: datetime) -> float | None:
    """Give the seconds until the Job controller replaces this failed pod; None when unknown."""
    finished = _finished_at(pod)
    if finished is None:
        return None
    doublings = min(_earlier_failures(pod), 10)
    delay_s: float = min(FIRST_BACKOFF_S * 2**doublings, LONGEST_BACKOFF_S)
    return delay_s - (now - finished).total_seconds()


@dataclass(frozen=True, slots=True)
class _JobFacts:
    name: str
    job: str
    is_paused: bool
    not_created: Reason | None
    pod_events: Sequence[Object]
    now: datetime


def _agent(
    index: int,
    pods: list[Object],
    ended: IndexState | None,
    running: Mapping[str, RunRow],
    facts: _JobFacts,
) -> AgentRow:
    name = f"{facts.job}-{index}"
    live = [pod for pod in pods if _is_live(pod)]
    pod = (live or pods)[-1] if pods else None
    state, reason = _state(pod, ended, bool(live), facts)
    return AgentRow(
        index=index,
        name=name,
        state=state,
        pod=pod["metadata"]["name"] if pod else None,
        node=(pod.get("spec") or {}).get("nodeName") if pod else None,
        run=running.get(name),
        failures=_earlier_failures(pod) if pod else 0,
        age_s=_age_s(pod["metadata"].get("creationTimestamp"), facts.now) if pod else None,
        reason=reason,
        due_s=replacement_due_s(pod, facts.now) if pod and state is IndexState.WAITING else None,
    )


def _state(
    pod: Object | None, ended: IndexState | None, is_live: bool, facts: _JobFacts
) -> tuple[IndexState, Reason | None]:
    if ended is IndexState.FAILED:
        return ended, why_failed(pod, facts.name) if pod else None
    if ended is not None:
        return ended, None
    if pod is not None and (pod.get("status") or {}).get("phase") == "Succeeded":
        return IndexState.DONE, None  # the Job counts it in a moment
    if pod is None or not is_live:
        if facts.is_paused:
            return IndexState.PAUSED, None
        if pod is not None and (pod.get("status") or {}).get("phase") == "Failed":
            return IndexState.WAITING, facts.not_created or why_failed(pod, facts.name)
        return IndexState.PENDING, facts.not_created or Reason("its pod is not created yet")
    if pod["metadata"].get("deletionTimestamp"):
        return IndexState.STOPPING, None
    if (pod.get("status") or {}).get("phase") == "Pending":
        reason = why_pending(pod, facts.pod_events)
        is_starting = bool((pod.get("spec") or {}).get("nodeName")) and reason.hint is None
        return (IndexState.STARTING if is_starting else IndexState.PENDING), reason
    return IndexState.RUNNING, None


def _end(job: Object) -> tuple[str | None, Reason | None]:
    for kind in ("Complete", "Failed"):
        found = condition(job, kind)
        if found and found.get("status") == "True":
            words = " ".join(filter(None, [found.get("reason"), found.get("message")]))
            return kind, Reason(words) if kind == "Failed" else None
    return None, None


def _by_index(pods: Iterable[Object], job: Object) -> dict[int, list[Object]]:
    """Sort a Job's pods by index, each index's pods by age, oldest first."""
    found: dict[int, list[Object]] = {}
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences") or []
        if any(owner.get("uid") == job.get("uid") for owner in owners):
            index = pod_index(pod)
            if index is not None:
                found.setdefault(index, []).append(pod)
    for group in found.values():
        group.sort(
            key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", _earlier_failures(pod))
        )
    return found


def _runs_by_agent(runs: Sequence[RunRow]) -> dict[str, RunRow]:
    """Give the run that each agent has, also before a restarted trainer has reported."""
    return {run.agent: run for run in runs if run.agent and run.state in HELD_RUNS}


def _is_live(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _has_live_pod(pods: Iterable[Object]) -> bool:
    return any(_is_live(pod) for pod in pods)


def _earlier_failures(pod: Object) -> int:
    annotations = pod["metadata"].get("annotations") or {}
    return sum(int(annotations.get(key) or 0) for key in (_FAILURES, _IGNORED_FAILURES))


def _finished_at(pod: Object) -> datetime | None:
    """Give when a pod ended, as the Job controller counts it."""
    ended = agent_end(pod)
    if ended and ended.get("finishedAt"):
        return read_time(ended["finishedAt"])
    ready = condition(pod, "Ready")
    if ready and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return read_time(ready["lastTransitionTime"])
    return read_time(pod["metadata"].get("creationTimestamp"))


def _about(events: Iterable[Object], kind: str, metadata: Object) -> list[Object]:
    return [
        event
        for event in events
        if _kind(event) == kind and event["involvedObject"].get("name") == metadata["name"]
    ]


def _kind(event: Object) -> Any:
    return (event.get("involvedObject") or {}).get("kind")


def _age_s(text: str | None, now: datetime) -> float | None:
    when = read_time(text)
    return (now - when).total_seconds() if when else None
