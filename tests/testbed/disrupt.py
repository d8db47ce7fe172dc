"""Ways to take a pod away, as clusters do it: each on the bed's real kubelets and controllers.

Every function does one thing and undoes what it did to the node before it returns. What becomes of
the pod is for who asked: nothing here knows of sweeps. The processes of a container are found by
its id, after which containerd names their cgroup.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import lifecycle
from tests.testbed.cluster import Cluster, is_ready
from tests.testbed.host import Process
from tests.testbed.layout import GPU_RESOURCE, Bed, Node
from tests.testbed.pods import pod, pod_spec
from tests.testbed.requirements import BedUnavailable
from tests.testbed.state import first_process, in_node, node_process

URGENT = "sweepctl-test-urgent"
_TAINT = "sweepctl.test/out"
_CUT_TABLE = "sweepctl-cut"


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod that something happens to."""

    name: str
    uid: str
    node: str
    ip: str
    containers: tuple[str, ...]
    """The ids of its containers."""


class Disruptor:
    """What can happen to the pods and nodes of one bed, and to one namespace's."""

    def __init__(self, cluster: Cluster, bed: Bed, namespace: str, selector: str) -> None:
        self.cluster = cluster
        self.bed = bed
        self.namespace = namespace
        self.selector = selector
        """Whose pods they are: on a drain, all others stay."""
        self._kubelet_file = threading.Lock()

    # one pod

    def evict(self, victim: Victim) -> None:
        """Evict a pod by the API, as a drain and an autoscaler do."""
        metadata = {"name": victim.name, "namespace": self.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{victim.name}/eviction"
        self.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))

    def delete(self, victim: Victim) -> None:
        """Delete a pod, with its grace."""
        self._kubectl("delete", "pod", victim.name, "--wait=false")

    def force(self, victim: Victim) -> None:
        """Delete a pod from the API at once, whatever its node says."""
        self._kubectl("delete", "pod", victim.name, "--force", "--grace-period=0", "--wait=false")

    def kill(self, victim: Victim) -> None:
        """Kill the container's first process, as the kernel or a runtime in trouble does."""
        for process in self.processes(victim):
            if process.is_init:
                process.kill()

    def hog(self, victim: Victim, program: str) -> None:
        """Have the trainer take memory (SIGUSR1) until the kernel kills it for the pod's limit."""
        for process in self.processes(victim):
            if any(program in word for word in process.command):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGUSR1)

    def cut(self, victim: Victim, for_s: float) -> None:
        """Cut a pod's network for a while: its packets are dropped, its connections stay open."""
        node = self.node(victim.node)
        table = f"{_CUT_TABLE}-{victim.uid[:8]}"
        drop = [
            f"add rule ip {table} every ip {end} {victim.ip} drop" for end in ("saddr", "daddr")
        ]
        hook = "{ type filter hook forward priority -50; }"
        rules = [f"add table ip {table}", f"add chain ip {table} every {hook}", *drop]
        self._in_node(node, "nft", "; ".join(rules))
        try:
            time.sleep(for_s)
        finally:
            with contextlib.suppress(BedUnavailable):  # it was switched off, its rules with it
                self._in_node(node, "nft", f"add table ip {table}; delete table ip {table}")

    # one node

    def drain(self, node: Node) -> None:
        """Drain a node of the pods of the selector, and let pods come again."""
        options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=200s")
        try:
            self.cluster.kubectl("drain", node.name, *options, f"--pod-selector={self.selector}")
        except RuntimeError:
            # A Job keeps an index's failed pod until it replaces it, ten minutes later at most.
            if self.pods(node):
                raise
        finally:
            self.cluster.kubectl("uncordon", node.name)

    def taint(self, node: Node) -> None:
        """Taint a node so that nothing may run on it, until its pods are gone."""
        self.cluster.kubectl("taint", "node", node.name, f"{_TAINT}=now:NoExecute")
        try:
            self._wait_for("the taint manager has moved all pods", lambda: not self.pods(node))
        finally:
            self.cluster.kubectl("taint", "node", node.name, f"{_TAINT}-")

    def preempt(self, node: Node) -> None:
        """Have a more urgent pod take one GPU more than the node has free or is about to have."""
        value = {"value": 1_000_000, "globalDefault": False, "description": "tests"}
        metadata = {"name": URGENT}
        kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        self.cluster.apply({**kind, "metadata": metadata, **value})
        self._wait_for("a pod stays on the node", lambda: self._staying_gpus(node))
        free = node.gpus - self._staying_gpus(node)
        spec = pod_spec(["sleep", "600"], gpus=free + 1, node=node.name)
        name = f"urgent-{node.name}-{time.time_ns()}"
        urgent = pod(
            name, {**spec, "priorityClassName": URGENT, "terminationGracePeriodSeconds": 1}
        )
        self.cluster.apply(urgent, namespace=self.namespace)
        try:
            self._wait_for(
                "the urgent pod runs", lambda: self._pod(name)["status"]["phase"] == "Running"
            )
        finally:
            self._kubectl("delete", "pod", name, "--wait=false")

    def pressure(self, node: Node) -> None:
        """Have the kubelet find that its node has too little memory, until it has evicted a pod."""
        before = self._evicted(node)

        def is_over() -> object:
            return self._evicted(node) - before or not self.pods(node)

        with self._kubelet_told(node, "memory.available", "99%"):
            self._wait_for("the kubelet has evicted a pod", is_over)
        if self._evicted(node) == before:
            raise RuntimeError(f"{node.name}: all its pods left before its kubelet evicted any")
        self._wait_for("the node says that it has memory", lambda: self._takes_pods(node))

    def restart_kubelet(self, node: Node) -> None:
        """End the kubelet; the node's first process starts another."""

        def has_killed_it() -> bool:
            found = [p for p in self._of_node(node) if p.command[0].endswith("/kubelet")]
            for process in found:
                process.kill()
            return bool(found)

        # One that was ended just now is started again first.
        self._wait_for("the node has a kubelet", has_killed_it)

    def power(self, node: Node, off_s: float) -> None:
        """Cut a node's power and let it come back."""
        lifecycle.power_off(self.bed, node)
        try:
            time.sleep(off_s)
        finally:
            lifecycle.power_on(self.bed, node)
        self._await(node)

    def vanish(self, node: Node) -> None:
        """Cut a node's power and delete it, as a cloud does; garbage collection takes its pods."""
        lifecycle.power_off(self.bed, node)
        try:
            self.cluster.kubectl("delete", "node", node.name)
            self._wait_for("its pods are collected", lambda: not self.pods(node))
        finally:
            lifecycle.power_on(self.bed, node)
        self._await(node)

    # the rest of the cluster

    def restart_api(self) -> None:
        """Kill the API server, which is started again."""
        for process in first_process(self.bed).descendants():
            if process.command and process.command[0].endswith("/kube-apiserver"):
                process.kill()

    # what there is

    def node(self, name: str) -> Node:
        """Give the node of that name."""
        return next(node for node in self.bed.nodes if node.name == name)

    def pods(self, node: Node | None = None) -> list[dict[str, Any]]:
        """Give the pods of the selector, or those of one node, that have not ended."""
        on = ("--field-selector", f"spec.nodeName={node.name}") if node else ()
        found = self.cluster.get("-n", self.namespace, "pods", "-l", self.selector, *on)
        return [item for item in found["items"] if _is_there(item)]

    def _on(self, node: Node) -> list[dict[str, Any]]:
        """Give the pods of a node that have not ended, whosever they are."""
        found = self.cluster.get("pods", "-A", "--field-selector", f"spec.nodeName={node.name}")
        return [item for item in found["items"] if _is_there(item)]

    def _staying_gpus(self, node: Node) -> int:
        """Count the GPUs of a node's pods that are not told to leave."""
        return sum(_gpus(item) for item in self._on(node) if not _leaves(item))

    def _evicted(self, node: Node) -> set[str]:
        """Give the pods that the node's kubelet has evicted, by UID."""
        on = ("--field-selector", f"spec.nodeName={node.name}")
        found = self.cluster.get("-n", self.namespace, "pods", "-l", self.selector, *on)
        pods = [item for item in found["items"] if item["status"].get("reason") == "Evicted"]
        return {item["metadata"]["uid"] for item in pods}

    def processes(self, victim: Victim) -> list[Process]:
        """Give the processes of a pod's containers."""
        found = self.by_container()
        return [process for each in victim.containers for process in found.get(each, ())]

    def by_container(self) -> dict[str, list[Process]]:
        """Give the processes of all containers of the bed, but for the pause program, by its id."""
        found: dict[str, list[Process]] = {}
        for node in self.bed.nodes:
            with contextlib.suppress(BedUnavailable):  # the node is off
                for process in self._of_node(node):
                    place = _cgroup(process)
                    if "/kubepods/" in place and process.command != ("/pause",):
                        found.setdefault(place.rpartition("/")[2], []).append(process)
        return found

    @contextlib.contextmanager
    def _kubelet_told(self, node: Node, signal_name: str, threshold: str) -> Iterator[None]:
        """Have a node's kubelet work with another threshold for as long as the block runs."""
        file = self.bed.node_dir(node) / "kubelet.json"
        with self._kubelet_file:
            usual = file.read_text()
            told = json.loads(usual)
            told["evictionHard"][signal_name] = threshold
            try:
                file.write_text(json.dumps(told))
                self.restart_kubelet(node)
                yield
            finally:
                file.write_text(usual)
                self.restart_kubelet(node)

    def _of_node(self, node: Node) -> Iterator[Process]:
        yield from (p for p in node_process(self.bed, node).descendants() if p.command)

    def _takes_pods(self, node: Node) -> bool:
        found = self._node(node)
        return bool(found and is_ready(found) and not found["spec"].get("taints"))

    def _await(self, node: Node) -> None:
        def is_there() -> bool:
            found = self._node(node)
            gpus = found and found["status"]["allocatable"].get(GPU_RESOURCE)
            return bool(self._takes_pods(node) and gpus == str(node.gpus))

        self._wait_for(f"{node.name} is back", is_there)

    def _node(self, node: Node) -> Any:
        done = self.cluster.run("kubectl", "get", "node", node.name, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def _pod(self, name: str) -> Any:
        return self.cluster.get("-n", self.namespace, "pod", name)

    def _kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def _in_node(self, node: Node, *command: str) -> None:
        done = in_node(self.bed, node, command)
        if done.returncode != 0:
            raise RuntimeError(f"{node.name}: {' '.join(command)}: {done.stderr.strip()}")

    def _wait_for(self, what: str, is_so: Callable[[], object]) -> None:
        def answers() -> object:
            try:
                return is_so()
            except RuntimeError:  # the API server may be down as well
                return None

        self.cluster.wait_for(what, answers, timeout_s=240, every_s=1)


def victim_of(item: Mapping[str, Any]) -> Victim:
    """Read a pod as the API gives it."""
    status, metadata = item["status"], item["metadata"]
    node = item["spec"].get("nodeName", "")
    ids = (each.get("containerID", "") for each in status.get("containerStatuses", ()))
    containers = tuple(each.rpartition("/")[2] for each in ids if each)
    return Victim(metadata["name"], metadata["uid"], node, status.get("podIP", ""), containers)


def _is_there(item: Mapping[str, Any]) -> bool:
    return item["status"]["phase"] not in ("Succeeded", "Failed")


def _leaves(item: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in item["metadata"]


def _gpus(item: Mapping[str, Any]) -> int:
    limits = (c.get("resources", {}).get("limits", {}) for c in item["spec"]["containers"])
    return sum(int(each.get(GPU_RESOURCE, 0)) for each in limits)


def _cgroup(process: Process) -> str:
    """Give the path of its cgroup: the last line's, which every version has."""
    try:
        return Path(f"/proc/{process.pid}/cgroup").read_text().strip().rpartition("\n")[2]
    except (FileNotFoundError, ProcessLookupError):
        return ""
