"""Disruptions of a fleet of agents under way, each written down with the runs that it hit.

Kinds of one pod choose a pod that trains, on whose index least was done so far; kinds of a node hit
all that is on it; kinds of the cluster hit everybody, or nobody. What becomes of the runs is
counted afterwards (light.py), and what became of the pods is in the watch (pod_watch.py).
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.light import trained_since, training_since
from tests.cluster.pod_watch import PodWatch, Seen, wrong_exit
from tests.testbed.cluster import Timeout
from tests.testbed.disrupt import Disruptor, Victim, victim_of
from tests.testbed.layout import Node

POD_KINDS = ("evict", "delete", "force", "kill", "oom", "cut")
NODE_KINDS = ("drain", "taint", "preempt", "pressure", "kubelet", "power", "vanish")
CLUSTER_KINDS = ("api", "server", "pause", "scale", "generation")
COUNTED = ("kill", "power", "pressure")
"""Kinds that may count as a failure of the pod's index."""
ABRUPT = ("force", "kill", "oom", "cut", "pressure", "power", "vanish")
"""Kinds that leave a trainer no time to save."""
MOST_COUNTED = 5
CHOOSERS = {"preempt": "PreemptionByScheduler", "pressure": "TerminationByKubelet"}
"""Kinds for which the scheduler or the kubelet chooses the pods, and how it says so.

They choose the youngest, which may still be starting.
"""
TROUBLES = (Timeout, RuntimeError, AssertionError, OSError, subprocess.SubprocessError)
"""What a disruption that does not come off may raise: `kubectl` has limits of its own."""
_LOST_NODE = {None, 75, 137, 255}
_ALLOWED: Mapping[str, set[int | None]] = {
    "force": _LOST_NODE,
    "kill": {137},
    "pressure": {75, 137},
    "power": _LOST_NODE,
    "vanish": _LOST_NODE,
}
"""Exit codes of a pod besides 0 and, of one that was told to leave, 75."""


class Fleet(Protocol):
    """Agents of one Job, and what can be done to them together."""

    @property
    def instance(self) -> str:
        """The value of the label that their pods have."""

    @property
    def agents(self) -> int:
        """How many its Job is to have."""

    def pause(self) -> None:
        """Have all pods leave."""

    def resume(self) -> None:
        """Have them come again."""

    def scale(self, agents: int) -> None:
        """Have that many."""

    def renew(self) -> None:
        """Have a new Job in place of this one, on the same sweep."""

    def is_over(self) -> bool:
        """Tell whether its Job has ended."""


@dataclass
class Struck:
    """One disruption, and whom of one fleet it hit; those of several fleets have one time."""

    kind: str
    instance: str
    at: float
    pods: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    took_s: float = 0.0
    trouble: str = ""


@dataclass
class Campaign:
    """Disrupts fleets that share a bed, a namespace and a volume."""

    disruptor: Disruptor
    watch: PodWatch
    ledger: Path
    say: Callable[[str], None]
    cut_s: float = 30.0
    off_s: float = 60.0
    progress: Callable[[], dict[str, tuple[str, float]]] = dict
    """What hosts train that write no ledger, as `training_since` gives it."""
    struck: list[Struck] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended_at: dict[str, float] = field(default_factory=dict)

    def on_pod(
        self, kind: str, fleet: str, *, node: str = "", run: str = "", limit_s: float = 600
    ) -> Struck:
        """Do it to a pod that trains: one of that node, or the one that has that run."""
        deadline_s = time.monotonic() + limit_s
        while (chosen := self._choose(kind, fleet, node, run)) is None:
            if time.monotonic() > deadline_s:
                raise Timeout(f"no pod of {fleet} trains that {kind} may hit")
            time.sleep(0.5)
        seen, struck = chosen
        self._perform([struck], lambda: self._one(kind, victim_of(seen.item)))
        self._tell(struck)
        return struck

    def on_node(self, kind: str, node: Node) -> list[Struck]:
        """Do it to a node, and to whatever is on it."""
        # With its power cut, not even those that are told to leave get to do so.
        present = self._present() if kind in ("power", "vanish") else self._there()
        there = [seen for seen in present if _node_of(seen) == node.name]
        hit = [seen for seen in there if seen.is_running or seen.is_leaving]
        struck = self._note(kind, hit, tuple({seen.instance for seen in there}))
        if kind in CHOOSERS:
            for each in struck:
                each.pods, each.runs = (), ()
        self._perform(struck, lambda: self._whole(kind, node))
        for each in struck:
            self._find_hit(each, node)
        self._tell(struck[0])
        return struck

    def on_cluster(self, kind: str, fleets: Mapping[str, Fleet]) -> list[Struck]:
        """Do it to all fleets at once."""
        moves = kind in ("pause", "scale", "generation")
        struck = self._note(kind, self._running() if moves else [], tuple(fleets))
        self._perform(struck, lambda: self._everywhere(kind, tuple(fleets.values())))
        self._tell(struck[0])
        return struck

    def wrong_exits(self, instance: str) -> list[str]:
        """Say which pods ended with a status that they should not have."""
        found = []
        for uid, seen in self.watch.pods().items():
            if seen.instance == instance and (wrong := wrong_exit(seen, self._allowed(uid))):
                did = [f"{s.kind}@{s.at:.0f}" for s in self.struck if uid in s.pods]
                found.append(f"{wrong}; {', '.join(did) or 'nothing was done to it'}")
        return found

    def look_for_orphans(self, ended_s: float = 15.0) -> None:
        """Note processes of containers that ended some time ago, and second trainers of a pod."""
        processes = self.disruptor.by_container()
        for seen in self.watch.pods().values():
            victim = victim_of(seen.item)
            left = [p for each in victim.containers for p in processes.get(each, ())]
            if not seen.has_ended:
                continue
            since = self._ended_at.setdefault(victim.uid, time.monotonic())
            if left and time.monotonic() - since > ended_s:
                commands = {" ".join(p.command[:3]) for p in left}
                self.orphans.append(f"{seen.name}: {sorted(commands)}")

    def hits(self, fleet: str) -> int:
        """Count the pods of a fleet that something was done to."""
        return sum(len(s.pods) for s in self.struck if s.instance == fleet)

    def training(self) -> dict[str, tuple[str, float]]:
        """Give what each host trains now, and since when."""
        return {**training_since(self.ledger), **self.progress()}

    def trains_on(self, node: str, fleets: Container[str], *, each_of: Container[str] = ()) -> bool:
        """Tell whether a pod of these fleets trains on the node, and there each of `each_of`."""
        training = self.training()
        there = [seen for seen in self._there() if _node_of(seen) == node]
        trains = {
            seen.name: seen.host in training and training[seen.host][1] < seen.age_s
            for seen in there
        }
        some = any(trains[seen.name] for seen in there if seen.instance in fleets)
        return some and all(trains[seen.name] for seen in there if seen.instance in each_of)

    def is_used(self, node: str, fleets: Container[str]) -> bool:
        """Tell whether a pod of these fleets is on the node, or about to be."""
        return any(_node_of(seen) == node and seen.instance in fleets for seen in self._there())

    def trains_at_least(self, count: int) -> bool:
        """Tell whether that many running pods train."""
        training = self.training()
        return sum(seen.host in training for seen in self._running()) >= count

    # how each is done

    def _one(self, kind: str, victim: Victim) -> None:
        act = self.disruptor
        if kind == "oom":
            act.hog(victim, "light_trainer.py")
        elif kind == "cut":
            act.cut(victim, self.cut_s)
        else:
            {"evict": act.evict, "delete": act.delete, "force": act.force, "kill": act.kill}[kind](
                victim
            )

    def _whole(self, kind: str, node: Node) -> None:
        act = self.disruptor
        if kind == "power":
            act.power(node, self.off_s)
        elif kind == "kubelet":
            act.restart_kubelet(node)
        else:
            {
                "drain": act.drain,
                "taint": act.taint,
                "preempt": act.preempt,
                "pressure": act.pressure,
                "vanish": act.vanish,
            }[kind](node)

    def _everywhere(self, kind: str, fleets: tuple[Fleet, ...]) -> None:
        if kind == "api":
            self.disruptor.restart_api()
        elif kind == "server":
            pod = ("-n", self.disruptor.namespace, "pod", f"{fleets[0].instance}-server-0")
            delete = partial(self.disruptor.cluster.run, "kubectl", "delete", *pod, "--wait=false")
            self._until("the server's pod is deleted", lambda: delete().returncode == 0)
        elif kind == "pause":
            for fleet in fleets:
                fleet.pause()
            names = {fleet.instance for fleet in fleets}
            try:
                # Told to leave is not gone: a kubelet may be slow to hear of it, and whoever still
                # trains when the others end hands its run back to nobody.
                self._until(
                    "all pods have left",
                    lambda: not any(seen.instance in names for seen in self._present()),
                )
            finally:
                for fleet in fleets:
                    fleet.resume()
        elif kind == "scale":
            fewer = {fleet.instance: max(1, fleet.agents * 3 // 4) for fleet in fleets}
            for fleet in fleets:
                fleet.scale(fewer[fleet.instance])
            most = sum(fewer.values())
            self._until("pods have left", lambda: len(self._running_of(set(fewer))) <= most)
            for fleet in fleets:
                fleet.scale(fleet.agents)
        elif kind == "generation":
            for fleet in fleets:
                fleet.renew()
        else:
            raise ValueError(kind)

    # whom it hits

    def _choose(self, kind: str, fleet: str, node: str, run: str) -> tuple[Seen, Struck] | None:
        with self._lock:
            training = self.training()
            done = Counter(host for s in self.struck for host in self._hosts(s.pods))
            counted = Counter(
                host for s in self.struck if s.kind in COUNTED for host in self._hosts(s.pods)
            )
            abrupt = Counter(run for s in self.struck if s.kind in ABRUPT for run in s.runs)
            fit = [
                seen
                for seen in self._running()
                if seen.instance == fleet
                and training.get(seen.host, ("", 0.0))[1] > 5
                and (not node or _node_of(seen) == node)
                and run in ("", training[seen.host][0])
                and (kind not in COUNTED or counted[_index(seen.host)] < MOST_COUNTED)
                # A run whose trainer is killed three times has failed, and rightly so.
                and (kind not in ABRUPT or abrupt[training[seen.host][0]] < 2)
                and not self._is_hit_now(seen)
            ]
            if not fit:
                return None
            seen = min(fit, key=lambda s: (done[_index(s.host)], s.host))
            (struck,) = self._note_now(kind, [seen], (fleet,), training)
            return seen, struck

    def _is_hit_now(self, seen: Seen) -> bool:
        uid = seen.item["metadata"]["uid"]
        return any(uid in s.pods and time.time() - s.at < 30 for s in self.struck[-40:])

    def _hosts(self, pods: tuple[str, ...]) -> set[str]:
        known = self.watch.pods()
        return {_index(known[uid].host) for uid in pods if uid in known}

    def _there(self) -> list[Seen]:
        return [seen for seen in self.watch.pods().values() if seen.is_running or seen.is_coming]

    def _running(self) -> list[Seen]:
        return [seen for seen in self.watch.pods().values() if seen.is_running]

    def _running_of(self, names: set[str]) -> list[Seen]:
        return [seen for seen in self._running() if seen.instance in names]

    def _present(self) -> list[Seen]:
        """Give the pods whose containers may run, those that are told to leave included."""
        return [seen for seen in self.watch.pods().values() if not seen.has_ended]

    def _note(self, kind: str, hit: list[Seen], fleets: tuple[str, ...] = ()) -> list[Struck]:
        with self._lock:
            return self._note_now(kind, hit, fleets, self.training())

    def _note_now(
        self,
        kind: str,
        hit: list[Seen],
        fleets: tuple[str, ...],
        training: Mapping[str, tuple[str, float]],
    ) -> list[Struck]:
        named = sorted({*fleets, *(seen.instance for seen in hit)}) or [""]
        noted = []
        at = time.time()
        for name in named:
            own = [seen for seen in hit if seen.instance == name]
            there = [seen for seen in own if seen.host in training and not seen.is_leaving]
            runs = tuple(training[seen.host][0] for seen in there)
            pods = tuple(str(seen.item["metadata"]["uid"]) for seen in own)
            noted.append(Struck(kind, name, at, pods, runs))
        self.struck += noted
        return noted

    def _find_hit(self, struck: Struck, node: Node) -> None:
        """Add the pods that were taken from the node meanwhile, and what they trained."""
        wanted = CHOOSERS.get(struck.kind)
        for uid, seen in self.watch.pods().items():
            at = seen.taken_at
            if (
                uid not in struck.pods
                and seen.instance == struck.instance
                and _node_of(seen) == node.name
                and at is not None
                and at > struck.at - 1  # the API's times are whole seconds
                and wanted in (None, seen.disruption)
            ):
                struck.pods += (uid,)
                struck.runs += trained_since(self.ledger, seen.host, struck.at)

    def _perform(self, struck: list[Struck], do: Callable[[], None]) -> None:
        trouble = ""
        try:
            do()
        except TROUBLES as problem:
            trouble = str(problem)[:300]
        for each in struck:
            each.trouble, each.took_s = trouble, time.time() - each.at

    def _tell(self, struck: Struck) -> None:
        trouble = f", in trouble: {struck.trouble}" if struck.trouble else ""
        self.say(
            f"{struck.kind:10} {struck.instance} {len(struck.pods)} pods, runs"
            f" {' '.join(struck.runs)[:60]}, {struck.took_s:.1f} s{trouble}"
        )

    def _allowed(self, uid: str) -> set[int | None]:
        found: set[int | None] = set()
        for struck in self.struck:
            if uid in struck.pods:
                found |= _ALLOWED.get(struck.kind, set())
        return found

    def _until(self, what: str, is_so: Callable[[], Any]) -> None:
        self.disruptor.cluster.wait_for(what, is_so, timeout_s=600, every_s=1)


def guarded(
    lane: Callable[[], object], fails: Callable[[BaseException], object]
) -> Callable[[], None]:
    """Give what runs a lane in a thread, and tells what ended it early."""

    def run() -> None:
        try:
            lane()
        except TROUBLES as problem:
            fails(problem)

    return run


def _node_of(seen: Seen) -> str:
    return str(seen.item["spec"].get("nodeName", ""))


def _index(host: str) -> str:
    """Give the name of an index whatever Job it is of: the release's name and the number."""
    return f"{host.split('-')[0]}-{host.rpartition('-')[2]}"
