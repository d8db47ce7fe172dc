"""What 100 mixed disruptions cost 20 agents of ours, beside a Job of 8 stock `wandb agent` pods.

On real kubelets (a test bed of three nodes of its own), with W&B's real client and a light trainer
that goes on from its checkpoint; some disruptions hit real Isaac Lab trainings meanwhile. All is
counted from the server's rows, the trainers' ledger and the pods' own statuses. Exit 1 when a run
of ours was lost, doubled, changed or ended with a wrong status. The numbers are this machine's;
`--disruptions 10 --agents 6 --stock-agents 0 --toy 0` is a small campaign of minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cluster.campaign import (
    CHOOSERS,
    CLUSTER_KINDS,
    NODE_KINDS,
    POD_KINDS,
    Campaign,
    Struck,
    guarded,
)
from tests.cluster.fleets import STOCK, Fleets, OurFleet, StockFleet
from tests.cluster.light import NAME, SELECTOR, Account, Light, Shape, account
from tests.cluster.pod_watch import PodWatch
from tests.cluster.toy import TOY, Toy
from tests.testbed import lifecycle
from tests.testbed.cluster import Timeout
from tests.testbed.disrupt import Disruptor
from tests.testbed.layout import Node, bed

SHARES = {
    **{"evict": 22, "delete": 14, "force": 10, "kill": 10, "oom": 8, "cut": 6},
    **{"drain": 3, "taint": 3, "preempt": 4, "pressure": 3, "kubelet": 3, "power": 2, "vanish": 2},
    **{"api": 3, "server": 3, "pause": 1, "scale": 1, "generation": 2},
}
"""How many of each kind there are among a hundred."""
TOY_KINDS = ("evict", "evict", "evict", "evict", "evict", "power", "kill", "delete", "force")
"""What is done to one real training, in this order."""
OURS = (NAME, TOY)
END_LIMIT_S = 900


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disruptions", type=int, default=100)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--stock-agents", type=int, default=8)
    parser.add_argument("--toy", type=int, default=6, help="disruptions of one Isaac Lab run")
    parser.add_argument("--runs-each", type=int, default=6, help="runs for each agent")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--pause", type=float, default=3.0, help="seconds of an iteration")
    parser.add_argument("--save-every", type=int, default=10)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two of a pod")
    parser.add_argument("--cut", type=float, default=60.0, help="seconds without network")
    parser.add_argument("--requeue", type=int, default=60, help="the server's patience in seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--testbed", default=f"disruptions-{os.getpid()}")
    parser.add_argument("--keep", action="store_true", help="leave the test bed up")
    asked = parser.parse_args()
    chosen = bed(asked.testbed, os.environ, nodes=3, gpus_per_node=32)
    cluster = lifecycle.up(chosen, os.environ, say)
    try:
        with tempfile.TemporaryDirectory(prefix="sweepctl-disruptions-") as folder:
            shape = Shape(
                asked.agents,
                runs=asked.agents * asked.runs_each,
                iterations=asked.iterations,
                pause_s=asked.pause,
                save_every=asked.save_every,
                requeue_s=asked.requeue,
            )
            namespace = f"disruptions-{uuid.uuid4().hex[:6]}"
            light = Light(cluster, chosen, namespace, Path(folder), shape)
            return Bench(light, asked).run()
    finally:
        if not asked.keep:
            lifecycle.down(chosen, say)


class Bench:
    """One campaign."""

    def __init__(self, light: Light, asked: argparse.Namespace) -> None:
        self.light = light
        self.asked = asked
        self.chance = random.Random(asked.seed)
        self.fleets: Fleets = {}
        self.toy: Toy | None = None
        self.done = 0
        """How many disruptions of single pods our fleet has had."""
        self.pods_done = threading.Event()

    def run(self) -> int:
        light, asked = self.light, self.asked
        began = time.time()
        light.prepare()
        light.install()
        sweep = light.sweep_id()
        self.fleets = {NAME: OurFleet(light)}
        stock_sweep = ""
        if asked.stock_agents:
            stock_sweep = light.second_sweep(STOCK)
            stock = StockFleet.beside(light, stock_sweep, asked.stock_agents)
            stock.start()
            self.fleets[STOCK] = stock
        if asked.toy:
            self.toy = Toy(light)
            self.toy.install()
        act = Disruptor(light.cluster, light.bed, light.namespace, SELECTOR)
        with PodWatch(light.cluster, light.namespace, SELECTOR) as watch:
            campaign = Campaign(
                act,
                watch,
                light.volume(f"{NAME}-runs") / "ledger",
                say,
                cut_s=asked.cut,
                progress=self.toy.training if self.toy else dict,
            )
            note = self.toy.note_progress if self.toy else int
            with looking(campaign.look_for_orphans), looking(note, 0.3):
                self.disrupt(campaign)
                disrupted_s = time.time() - began
                say(f"all disruptions done after {disrupted_s:.0f} s; now the runs end")
                self.end(campaign)
            time.sleep(16)
            campaign.look_for_orphans()
            return self.report(campaign, sweep, stock_sweep, time.time() - began)

    def disrupt(self, campaign: Campaign) -> None:
        """Do all that is planned: pods, nodes and the rest of the cluster at the same time."""
        wanted = plan(self.asked.disruptions)
        pods = [kind for kind in wanted if kind in POD_KINDS]
        nodes = [kind for kind in wanted if kind in NODE_KINDS]
        rest = [kind for kind in wanted if kind in CLUSTER_KINDS]
        for kinds in (pods, nodes, rest):
            self.chance.shuffle(kinds)
        toy = TOY_KINDS[: self.asked.toy]
        for kind in toy:  # they are among those that were asked for
            for planned in (pods, nodes):
                if kind in planned:
                    planned.remove(kind)
        away = campaign.disruptor.bed.nodes[1:]  # the server is on the first
        lanes = [
            *(partial(self.pods, campaign, pods, fleet) for fleet in self.fleets),
            partial(self.toys, campaign, list(toy)),
            partial(self.rest, campaign, rest, len(pods)),
            *(
                partial(self.nodes, campaign, node, nodes[place :: len(away)])
                for place, node in enumerate(away)
            ),
        ]
        threads = [threading.Thread(target=guarded(lane, early)) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.make_up(campaign)

    def make_up(self, campaign: Campaign) -> None:
        """Evict a pod for each that was left out, came to nothing or hit none of ours."""
        lacking = self.asked.disruptions - len(done_to_ours(campaign))
        for number in range(lacking):
            say(f"{lacking - number} of {self.asked.disruptions} lack: one more pod is evicted")
            self.pod(campaign, "evict", NAME)

    def nodes(self, campaign: Campaign, node: Node, kinds: list[str]) -> None:
        """Do each to the node once it trains, again if it came to nothing or hit none of ours."""
        for kind in kinds:
            for _ in range(3):
                self.await_training(campaign, node)
                if any(is_ours(struck) for struck in campaign.on_node(kind, node)):
                    break
                time.sleep(self.asked.every)
            time.sleep(self.asked.every)

    def await_training(self, campaign: Campaign, node: Node) -> None:
        """Wait until one of ours trains there; once nothing else moves pods, have one go there."""
        # Isaac Lab takes a minute to start, and would never train on nodes that come and go.
        trains = partial(campaign.trains_on, node.name, OURS, each_of={TOY})
        for _ in range(10):
            try:
                self.light.cluster.wait_for(f"{node.name} trains", trains, timeout_s=60, every_s=1)
                return
            except Timeout:
                if self.fleets[NAME].is_over():
                    raise
                if self.pods_done.is_set() and not campaign.is_used(node.name, OURS):
                    say(f"none of ours is on {node.name}: one more pod is evicted, to come there")
                    campaign.on_pod("evict", NAME, limit_s=60)
        raise Timeout(f"{node.name} has not trained for 600 s")

    def rest(self, campaign: Campaign, kinds: list[str], of: int) -> None:
        """Spread what hits everybody evenly among the disruptions of single pods."""
        for number, kind in enumerate(kinds, 1):
            due = of * number // (len(kinds) + 1)
            while not self.pods_done.is_set() and self.done < due:
                time.sleep(1)
            campaign.on_cluster(kind, self.fleets)

    def pods(self, campaign: Campaign, kinds: list[str], fleet: str) -> None:
        cuts = []
        try:
            for kind in kinds:
                if kind == "cut":  # it lasts
                    cuts.append(threading.Thread(target=partial(self.pod, campaign, kind, fleet)))
                    cuts[-1].start()
                else:
                    self.pod(campaign, kind, fleet)
                self.done += fleet == NAME
                time.sleep(self.asked.every)
        finally:
            if fleet == NAME:
                self.pods_done.set()
        for cut in cuts:
            cut.join()

    def pod(self, campaign: Campaign, kind: str, fleet: str) -> None:
        """Do it, again if the API did not answer; what trains no more of the stock is left out."""
        try:
            for _ in range(3):
                limit_s = 240 if fleet == NAME else 30
                if not campaign.on_pod(kind, fleet, limit_s=limit_s).trouble:
                    return
        except Timeout as problem:
            say(f"left out: {problem}")

    def toys(self, campaign: Campaign, kinds: list[str]) -> None:
        """Do all of it to one training of Isaac Lab, the first that is under way."""
        run = ""
        for kind in kinds:
            if kind == "power":
                assert self.toy is not None
                trains = partial(self.toy.node_of, campaign, run)
                node = self.light.cluster.wait_for(
                    "the run of Isaac Lab trains", trains, timeout_s=600
                )
                campaign.on_node(kind, node)
            else:
                try:
                    run = campaign.on_pod(kind, TOY, run=run, limit_s=600).runs[0]
                except Timeout as problem:
                    say(f"left out: {problem}")

    def end(self, campaign: Campaign) -> None:
        """Let the runs end soon, and wait until they have, or nothing has trained for long."""
        self.light.hurry()
        until = time.monotonic() + END_LIMIT_S
        quiet_since = time.monotonic()
        while time.monotonic() < until:
            is_over = all(fleet.is_over() for fleet in self.fleets.values())
            if (is_over and (self.toy is None or self.toy.is_over())) or (
                time.monotonic() - quiet_since > 420
            ):
                return
            if campaign.training():
                quiet_since = time.monotonic()
            time.sleep(2)

    def report(self, campaign: Campaign, sweep: str, stock_sweep: str, took_s: float) -> int:
        """Print what was counted; give the exit code."""
        data = self.light.volume(f"data-{NAME}-server-0")
        ledger, wanted = campaign.ledger, self.light.shape.iterations
        accounts = {"sweepctl": account(data, ledger, sweep, wanted)}
        if stock_sweep:
            accounts["wandb agent"] = account(data, ledger, stock_sweep, wanted)
        instances = {"sweepctl": NAME, "wandb agent": STOCK}
        done = done_to_ours(campaign)
        kinds = dict(Counter(done).most_common())
        print(f"\n{len(done)} disruptions in {took_s:.0f} s, by kind: {kinds}")
        print(f"{'':34}" + "".join(f"{name:>14}" for name in accounts))
        for title, value in ROWS:
            print(f"{title:34}" + "".join(f"{value(a):>14}" for a in accounts.values()))
        for title, count in (
            ("pods hit", campaign.hits),
            ("wrong exit status", lambda name: len(campaign.wrong_exits(name))),
            ("orphan processes", lambda name: len(orphans(campaign, name))),
        ):
            counts = [count(instances[name]) for name in accounts]
            print(f"{title:34}" + "".join(f"{each:>14}" for each in counts))
        shares = [a.repeated_share for a in accounts.values()]
        if len(shares) == 2 and shares[0]:
            print(f"{'training repeated, ratio':34}{shares[1] / shares[0]:>28.1f}")
        is_good = True
        for name, found in accounts.items():
            wrong = campaign.wrong_exits(instances[name])
            left = orphans(campaign, instances[name])
            for what, each in (
                ("lost", found.lost),
                ("doubled", found.doubled),
                ("changed", found.changed),
                ("history", found.uneven),
                ("exit", wrong),
                ("orphan", left),
            ):
                for line in each[:40]:
                    print(f"  {name}: {what}: {line}")
                is_good = is_good and not (each and name == "sweepctl")
        print_repeats(campaign.struck, accounts["sweepctl"])
        if self.toy is not None:
            is_good = self.toy.report(campaign) and is_good
        return 0 if is_good else 1


ROWS: tuple[tuple[str, Callable[[Account], object]], ...] = (
    ("runs begun", lambda a: a.begun),
    ("runs finished", lambda a: a.finished),
    ("lost", lambda a: len(a.lost)),
    ("doubled", lambda a: len(a.doubled)),
    ("parameters changed", lambda a: len(a.changed)),
    ("history not each step once", lambda a: len(a.uneven)),
    ("iterations trained", lambda a: a.trained),
    ("iterations trained again", lambda a: a.repeated),
    ("training repeated, percent", lambda a: f"{100 * a.repeated_share:.2f}"),
)


def plan(count: int) -> list[str]:
    """Give that many kinds in the shares of a hundred, each kind once before any comes twice."""
    kinds = [kind for kind, _ in sorted(SHARES.items(), key=lambda pair: -pair[1])]
    share = {kind: SHARES[kind] * count / 100 for kind in kinds}
    found = [kind for kind in kinds for _ in range(int(share[kind]))]
    lacking = sorted(kinds, key=lambda kind: int(share[kind]) - share[kind])
    return (found + lacking)[:count] if len(found) < count else found[:count]


def print_repeats(struck: list[Struck], found: Account) -> None:
    """Say what was done to the runs of which most was trained again."""
    for run, again in sorted(found.repeated_of.items(), key=lambda pair: -pair[1])[:10]:
        did = ", ".join(each.kind for each in struck if run in each.runs)
        print(f"  run {run}: {again} iterations again; it was hit by: {did or 'nothing noted'}")


def is_ours(struck: Struck) -> bool:
    """Tell whether it was done, and to something of sweepctl's."""
    was_hit = bool(struck.pods) or struck.kind not in CHOOSERS
    return struck.instance in (*OURS, "") and was_hit and not struck.trouble


def done_to_ours(campaign: Campaign) -> list[str]:
    """Give the kind of each disruption that hit something of sweepctl's."""
    # What hits several fleets at once is written down for each.
    return [kind for kind, _ in {(s.kind, s.at) for s in campaign.struck if is_ours(s)}]


def orphans(campaign: Campaign, instance: str) -> list[str]:
    pods = {seen.name for seen in campaign.watch.pods().values() if seen.instance == instance}
    return sorted({line for line in campaign.orphans if line.partition(":")[0] in pods})


@contextmanager
def looking(look: Callable[[], object], every_s: float = 10.0) -> Iterator[None]:
    """Look again and again for as long as the block runs."""
    is_over = threading.Event()

    def loop() -> None:
        while not is_over.wait(every_s):
            try:
                look()
            except (OSError, RuntimeError) as problem:
                say(f"not looked: {problem}")

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def early(problem: BaseException) -> None:
    say(f"a lane ended early: {problem!r}")


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
