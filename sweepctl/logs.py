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
from dataclasses import dataclass
from typing import Any

from sweepctl import manifest
from sweepctl.cluster.client import Cluster, Object
from sweepctl.cluster.errors import ClusterError
from sweepctl.cluster.pod_reasons import AGENT_CONTAINER, agent_end, pod_index
from sweepctl.errors import UsageError
from sweepctl.log_lines import MARGIN_S, Line, Resumption, RunFilter, split_line

MOST_STREAMS = 50
"""As stern's: more open streams than that are a load on the cluster that should be meant."""

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 10.0


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which lines: of one agent, of one run, of the pods before the present ones, since when."""

    agent: int | None = None
    run: str | None = None
    previous: bool = False
    since_s: float | None = None
    most_streams: int = MOST_STREAMS


def read_logs(cluster: Cluster, name: str, namespace: str, options: LogOptions) -> Iterator[Line]:
    """Give the lines that are there, of all agents, in the order of their times."""
    pods = choose_pods(_list_pods(cluster, name, namespace, options.agent), options)
    _check_count(len(pods), options)
    streams = [_agent_lines(cluster, pods_of_agent, options) for pods_of_agent in pods]
    yield from heapq.merge(*streams, key=lambda line: line.time)


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
        self._queue: queue.Queue[Line] = queue.Queue(maxsize=10_000)
        self._stopped = threading.Event()
        self._seen: set[str] = set()
        self._agents: dict[int, _AgentReader] = {}
        self._is_cut = False

    def lines(self, is_over: Callable[[], bool]) -> Iterator[Line]:
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        asked_at = time.monotonic()
        ended = False
        while True:
            with suppress(queue.Empty):
                yield self._queue.get(timeout=0.2)
                continue
            if ended and all(reader.is_idle() for reader in list(self._agents.values())):
                return
            if not ended and time.monotonic() - asked_at > 2:
                ended = is_over()
                asked_at = time.monotonic()
                if ended:
                    self._look()

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
                self._say(f"{error.message}; trying again …")
                if not error.is_transient:
                    self._stopped.set()
                    return
            self._stopped.wait(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _look(self) -> None:
        for pod in sorted(
            self._cluster.list("Pod", self._namespace, selector=self._selector()), key=_age_order
        ):
            self._offer(pod)

    def _selector(self) -> str:
        return _selector(self._name, self._options.agent)

    def _offer(self, pod: Object) -> None:
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
            self._agents[index] = _AgentReader(self._cluster, index, self._queue, self._stopped)
        self._agents[index].add(pod, self._options.since_s)


class _AgentReader:
    """Reads one agent's pods, each to its end before the next."""

    def __init__(
        self,
        cluster: Cluster,
        index: int,
        lines: queue.Queue[Line],
        stopped: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._index = index
        self._lines = lines
        self._stopped = stopped
        self._pods: queue.Queue[tuple[Object, float | None]] = queue.Queue()
        self._busy = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, pod: Object, since_s: float | None) -> None:
        with self._lock:
            self._busy += 1
            self._pods.put((pod, since_s))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def is_idle(self) -> bool:
        with self._lock:
            return self._busy == 0

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                pod, since_s = self._pods.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                for line in follow_pod(self._cluster, pod, self._index, since_s, self._stopped):
                    self._put(line)
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
    since_s: float | None,
    stopped: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Line]:
    """Give a pod's lines once each, until its agent has ended and all of them are read."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    shown = Resumption()
    last_at: float | None = None
    delay_s = _FIRST_DELAY_S
    while not stopped.is_set():
        reach_s = since_s if last_at is None else clock() - last_at + MARGIN_S
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
            if not error.is_transient and error.status != 400:
                return
        else:
            # A stream that ended by itself is whole only if the agent had ended before it began.
            if had_ended:
                return
        stopped.wait(delay_s if last_at is None or clock() - last_at > 1 else 0.1)
        delay_s = min(2 * delay_s, _LONGEST_DELAY_S)


def _agent_lines(cluster: Cluster, pods: list[Object], options: LogOptions) -> Iterator[Line]:
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
            if error.status != 404 and error.status != 400:
                raise


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
    """Give the pods before the present one; when the last has ended it is itself a previous one."""
    return pods if agent_end(pods[-1]) is not None and len(pods) == 1 else pods[:-1]


def _age_order(pod: Object) -> str:
    return str(pod["metadata"].get("creationTimestamp") or "")
