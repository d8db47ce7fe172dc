"""The logs of all agents of a sweep as one: followed across broken streams and replaced pods.

A thread for each pod reads its container's log and puts lines into one queue. No line is shown
twice and none is left out: a stream that breaks is opened again a little before its last line, and
a pod that ended is read to its end before its agent's next one is. Nothing is decided about runs.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from sweepctl import manifest
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError
from sweepctl.kube.pod_reasons import AGENT_CONTAINER, agent_end, pod_index
from sweepctl.sweeps.log_lines import (
    MARGIN_S,
    Line,
    LogOptions,
    Resumption,
    RunFilter,
    split_line,
)
from sweepctl_pod.errors import UsageError

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 10.0


def read_logs(cluster: Cluster, name: str, namespace: str, options: LogOptions) -> Iterator[Line]:
    """Give the lines that are there, of all agents, in the order of their times.

    A log that cannot be read (its node is down) is an error, raised after all the others are given.
    """
    pods = choose_pods(_list_pods(cluster, name, namespace, options.agent), options)
    _check_count(len(pods), options)
    lost: dict[int, ClusterError] = {}
    streams = [_agent_lines(cluster, pods_of_agent, options, lost) for pods_of_agent in pods]
    yield from heapq.merge(*streams, key=lambda line: line.time)
    if lost:
        index, error = min(lost.items())
        others = f" and of {len(lost) - 1} more" if lost.keys() - {index} else ""
        words = f"the log of agent {index}{others} cannot be read whole: {error.message}"
        raise ClusterError(words, error.hint, status=error.status)


def follow_logs(
    cluster: Cluster,
    name: str,
    namespace: str,
    options: LogOptions,
    *,
    say: Callable[[str], None],
    is_over: Callable[[], bool],
) -> Iterator[Line]:
    """Give all agents' lines as they come, until `is_over` and every pod is read to its end."""
    follower = _Follower(cluster, name, namespace, options, say)
    filters: dict[int, RunFilter] = {}
    try:
        for line in follower.lines(is_over):
            if options.run is not None:
                chosen = filters.setdefault(line.agent, RunFilter(options.run))
                if not chosen.keeps(line.text):
                    continue
            yield line
    finally:
        follower.stop()


def choose_pods(pods: Sequence[Object], options: LogOptions) -> list[list[Object]]:
    """Give each agent's pods, oldest first; with `previous` only those before the present one."""
    by_agent: dict[int, list[Object]] = {}
    for pod in sorted(pods, key=_age_order):
        index = pod_index(pod)
        if index is not None:
            by_agent.setdefault(index, []).append(pod)
    groups = [by_agent[index] for index in sorted(by_agent)]
    if not options.previous:
        return groups
    return [earlier for earlier in map(_earlier, groups) if earlier]


def has_started(pod: Object) -> bool:
    """Say whether a pod's agent has run, so that there is a log."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status.get("name") == AGENT_CONTAINER:
            state = status.get("state") or {}
            return "running" in state or "terminated" in state
    return False


class _Follower:
    """Watches the pods of a sweep and has a thread read each agent's, one pod after the other."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        namespace: str,
        options: LogOptions,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._namespace = namespace
        self._options = options
        self._say = say
        since_s = options.since_s
        self._since_at = None if since_s is None else time.monotonic() - since_s
        self._queue: queue.Queue[Line] = queue.Queue(maxsize=10_000)
        self._stopped = threading.Event()
        self._offering = threading.Lock()
        self._seen: set[str] = set()
        self._agents: dict[int, _AgentReader] = {}
        self._is_cut = False
        self._refusal: ClusterError | None = None

    def lines(self, is_over: Callable[[], bool]) -> Iterator[Line]:
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        asked_at = time.monotonic()
        ended = False
        while True:
            # Asked before the queue is: who is idle then has put its last line there.
            is_read = ended and all(reader.is_idle() for reader in list(self._agents.values()))
            with suppress(queue.Empty):
                yield self._queue.get(timeout=0.2)
                continue
            if self._refusal is not None:
                raise self._refusal
            if is_read:
                return
            if not ended and time.monotonic() - asked_at > 2:
                ended = is_over() and self._look()
                asked_at = time.monotonic()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        selector = self._selector()
        delay_s = _FIRST_DELAY_S
        while not self._stopped.is_set():
            try:
                for kind, pod in self._cluster.watch("Pod", self._namespace, selector=selector):
                    delay_s = _FIRST_DELAY_S
                    if kind != "DELETED":
                        self._offer(pod)
                    if self._stopped.is_set():
                        return
            except ClusterError as error:
                if not error.is_transient:
                    self._refuse(error)
                    return
                self._say(f"{error.message}; trying again …")
            self._stopped.wait(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _refuse(self, error: ClusterError) -> None:
        self._refusal = error

    def _look(self) -> bool:
        """Look for pods that the watch has not shown yet; False while the API is away."""
        selector = self._selector()
        try:
            pods = self._cluster.list("Pod", self._namespace, selector=selector)
        except ClusterError as error:
            if not error.is_transient:
                raise
            return False
        for pod in sorted(pods, key=_age_order):
            self._offer(pod)
        return True

    def _selector(self) -> str:
        return _selector(self._name, self._options.agent)

    def _offer(self, pod: Object) -> None:
        with self._offering:
            self._take(pod)

    def _take(self, pod: Object) -> None:
        uid, index = pod["metadata"]["uid"], pod_index(pod)
        if uid in self._seen or index is None or not has_started(pod):
            return
        self._seen.add(uid)
        if index not in self._agents:
            if len(self._agents) >= self._options.most_streams:
                if not self._is_cut:
                    self._say(
                        f"more than {self._options.most_streams} agents: the others are not shown;"
                        " raise --max-log-requests or choose one with --agent"
                    )
                self._is_cut = True
                return
            self._agents[index] = _AgentReader(
                self._cluster, index, self._since_at, self._queue, self._stopped, self._refuse
            )
        self._agents[index].add(pod)


class _AgentReader:
    """Reads one agent's pods, each to its end before the next."""

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        since_at: float | None,
        lines: queue.Queue[Line],
        stopped: threading.Event,
        on_refusal: Callable[[ClusterError], None],
    ) -> None:
        self._cluster = cluster
        self._index = index
        self._since_at = since_at
        self._lines = lines
        self._stopped = stopped
        self._on_refusal = on_refusal
        self._pods: queue.Queue[Object] = queue.Queue()
        self._busy = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, pod: Object) -> None:
        with self._lock:
            self._busy += 1
            self._pods.put(pod)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def is_idle(self) -> bool:
        with self._lock:
            return self._busy == 0

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                pod = self._pods.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                lines = follow_pod(self._cluster, pod, self._index, self._since_at, self._stopped)
                for line in lines:
                    self._put(line)
            except ClusterError as error:
                self._on_refusal(error)
            finally:
                with self._lock:
                    self._busy -= 1

    def _put(self, line: Line) -> None:
        while not self._stopped.is_set():
            try:
                self._lines.put(line, timeout=0.5)
                return
            except queue.Full:
                continue


def follow_pod(
    cluster: Cluster,
    pod: Object,
    index: int,
    since_at: float | None,
    stopped: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Line]:
    """Give a pod's lines once each, until its agent has ended and all of them are read.

    Those from before `since_at`, by the clock, are left out.
    """
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    shown = Resumption()
    last_at: float | None = None
    delay_s = _FIRST_DELAY_S
    while not stopped.is_set():
        from_at = since_at if last_at is None else last_at - MARGIN_S
        reach_s = None if from_at is None else clock() - from_at
        had_ended = _has_ended(cluster, name, namespace)
        shown.reopened()
        try:
            for raw in cluster.log(name, namespace, AGENT_CONTAINER, follow=True, since_s=reach_s):
                written, text = split_line(raw)
                last_at = clock()
                delay_s = _FIRST_DELAY_S
                if shown.is_new(written, text):
                    yield Line(index, written, text)
        except ClusterError as error:
            if error.status in (400, 404) and had_ended:
                return  # the pod is gone, or its log with its node
            if not error.is_transient and error.status not in (400, 404):
                raise
        else:
            # A stream that ended by itself is whole only if the agent had ended before it began.
            if had_ended:
                return
        stopped.wait(delay_s if last_at is None or clock() - last_at > 1 else 0.1)
        delay_s = min(2 * delay_s, _LONGEST_DELAY_S)


def _agent_lines(
    cluster: Cluster, pods: list[Object], options: LogOptions, lost: dict[int, ClusterError]
) -> Iterator[Line]:
    chosen = RunFilter(options.run) if options.run is not None else None
    for pod in pods:
        if not has_started(pod):
            continue
        metadata = pod["metadata"]
        index = pod_index(pod)
        try:
            stream = cluster.log(
                metadata["name"],
                metadata["namespace"],
                AGENT_CONTAINER,
                follow=False,
                since_s=options.since_s,
            )
            for raw in stream:
                written, text = split_line(raw)
                if chosen is None or chosen.keeps(text):
                    yield Line(index or 0, written, text)
        except ClusterError as error:
            if error.status in (400, 404):
                continue
            if error.status is None or not error.is_transient:
                raise
            lost[index or 0] = error


def _list_pods(cluster: Cluster, name: str, namespace: str, agent: int | None) -> list[Object]:
    return cluster.list("Pod", namespace, selector=_selector(name, agent))


def _selector(name: str, agent: int | None) -> str:
    selector = manifest.selector_text(name, "agent")
    if agent is None:
        return selector
    return f"{selector},batch.kubernetes.io/job-completion-index={agent}"


def _check_count(count: int, options: LogOptions) -> None:
    if count > options.most_streams:
        raise UsageError(
            f"{count} agents have logs, more than --max-log-requests {options.most_streams}",
            "raise it, or choose an agent with --agent",
        )


def _has_ended(cluster: Cluster, name: str, namespace: str) -> bool:
    try:
        pod: Any = cluster.get("Pod", name, namespace)
    except ClusterError:
        return False
    return pod is None or agent_end(pod) is not None


def _earlier(pods: list[Object]) -> list[Object]:
    """Give the pods before the present one; a last pod that has ended is itself a previous one."""
    phase = (pods[-1].get("status") or {}).get("phase")
    has_ended = phase in ("Succeeded", "Failed") or agent_end(pods[-1]) is not None
    return pods if has_ended else pods[:-1]


def _age_order(pod: Object) -> str:
    return str(pod["metadata"].get("creationTimestamp") or "")
