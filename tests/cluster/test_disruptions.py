"""Every way in which a cluster takes a pod away: each run finishes, once, as it was asked for.

One bed of its own, one sweep, and all of them at the same time: what is waited for is waited for
side by side. Pods of the first node are taken one by one, the second node's together, the third
vanishes and the fourth loses its power; then the whole release is moved.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from tests import needs
from tests.cluster.campaign import ABRUPT, CHOOSERS, CLUSTER_KINDS, POD_KINDS, Campaign, guarded
from tests.cluster.fleets import OurFleet
from tests.cluster.light import NAME, SELECTOR, Account, Light, Shape, account, read_ledger
from tests.cluster.pod_watch import PodWatch
from tests.testbed import lifecycle
from tests.testbed.binaries import MODULES, is_built
from tests.testbed.disrupt import Disruptor
from tests.testbed.layout import bed
from tests.testbed.requirements import BedUnavailable

pytestmark = [pytest.mark.cluster, pytest.mark.trainer, pytest.mark.timeout(3600)]

SMALL = Shape(agents=2, runs=2, iterations=90, save_every=10, requeue_s=30)
SHAPE = Shape(agents=12, runs=40, iterations=120, save_every=10)
"""As much as it takes to train until all is done: what is left then ends in a moment."""
ON_NODES = (("drain", "taint", "preempt", "pressure", "kubelet"), ("vanish",), ("power",))
KINDS = (*POD_KINDS, *itertools.chain(*ON_NODES), *CLUSTER_KINDS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all of it came to."""

    campaign: Campaign
    account: Account
    repeated_by_sigterm: dict[str, int]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An index that failed for good, the run that it had, and what is said and known of both."""

    index: str
    run: str
    status: str
    failed_indexes: str
    account: Account
    hosts: list[str]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Outcome, GivenUp]]:
    """Disrupt a sweep in every way, and beside it have an index of another fail for good."""
    if lacking := [module.name for module in MODULES if not is_built(module, os.environ)]:
        needs.lacks(f"the programs of the test bed are not built yet ({', '.join(lacking)})")
    chosen = bed(f"disrupted-{os.getpid()}", os.environ, nodes=4)
    folder = tmp_path_factory.mktemp
    try:
        cluster = lifecycle.up(chosen, os.environ, say)
        light = Light(cluster, chosen, "disrupted", folder("light"), SHAPE)
        other = Light(cluster, chosen, "given-up", folder("other"), SMALL)
        for each in (light, other):
            each.prepare()
        with ThreadPoolExecutor() as pool:
            failing = pool.submit(given_up, other)
            yield disrupted(light), failing.result()
    except BedUnavailable as problem:
        needs.lacks(problem)
    finally:
        lifecycle.down(chosen, say)


@pytest.fixture(scope="module")
def outcome(told: tuple[Outcome, GivenUp]) -> Outcome:
    return told[0]


def given_up(light: Light) -> GivenUp:
    """Kill the same run's pod once more than its index may fail."""
    # On the node that keeps its power and its pods.
    where = f"nodeSelector.kubernetes\\.io/hostname={light.bed.nodes[0].name}"
    light.install("--set", "backoffLimitPerIndex=1", "--set", where)
    sweep = light.sweep_id()
    act = Disruptor(light.cluster, light.bed, light.namespace, SELECTOR)
    with PodWatch(light.cluster, light.namespace, SELECTOR) as watch:
        ledger = light.volume(f"{NAME}-runs") / "ledger"
        campaign = Campaign(act, watch, ledger, say)
        first = campaign.on_pod("kill", NAME)
        (run,) = first.runs
        second = campaign.on_pod("kill", NAME, run=run)
        hosts = {watch.pods()[uid].host for each in (first, second) for uid in each.pods}

        def failed() -> str:
            (job,) = light.cluster.get("-n", light.namespace, "jobs", "-l", SELECTOR)["items"]
            return str(job["status"].get("failedIndexes", ""))

        indexes = light.cluster.wait_for("an index has failed", failed, every_s=1)
        light.hurry()
        fleet = OurFleet(light)
        light.cluster.wait_for("the Job ends", fleet.is_over, timeout_s=900, every_s=1)
    return GivenUp(
        hosts.pop().rpartition("-")[2] if len(hosts) == 1 else str(hosts),
        run,
        light.sweepctl.answer("status", NAME),
        indexes,
        account(light.volume(f"data-{NAME}-server-0"), ledger, sweep, SMALL.iterations),
        [process["host"] for process in read_ledger(ledger)[run]],
    )


def disrupted(light: Light) -> Outcome:
    light.install()
    sweep = light.sweep_id()
    act = Disruptor(light.cluster, light.bed, light.namespace, SELECTOR)
    with PodWatch(light.cluster, light.namespace, SELECTOR) as watch:
        ledger = light.volume(f"{NAME}-runs") / "ledger"
        campaign = Campaign(act, watch, ledger, say, cut_s=25, off_s=50)
        first, *others = light.bed.nodes
        lanes = [partial(one_by_one, campaign, first.name)]
        for node, kinds in zip(others, ON_NODES, strict=True):
            lanes.append(partial(on_node, campaign, node.name, kinds))
        failed: list[BaseException] = []
        threads = [threading.Thread(target=guarded(lane, failed.append)) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fleet = OurFleet(light)
        for kind in CLUSTER_KINDS:
            again = partial(campaign.trains_at_least, SHAPE.agents // 2)
            light.cluster.wait_for("agents train again", again, timeout_s=600, every_s=1)
            campaign.on_cluster(kind, {NAME: fleet})
        assert not failed, failed
        light.hurry()
        campaign.look_for_orphans()
        light.cluster.wait_for("the Job ends", fleet.is_over, timeout_s=900, every_s=1)
        for _ in range(2):  # the first look notes what has ended
            campaign.look_for_orphans(ended_s=0)
    found = account(light.volume(f"data-{NAME}-server-0"), ledger, sweep, SHAPE.iterations)
    gentle = {
        run: again
        for run, again in found.repeated_of.items()
        if not any(run in s.runs and s.kind in ABRUPT for s in campaign.struck)
    }
    for line in (found, campaign.wrong_exits(NAME), campaign.orphans):
        say(str(line))
    say(f"{len(read_ledger(ledger))} runs in the ledger")
    return Outcome(campaign, found, gentle)


def one_by_one(campaign: Campaign, node: str) -> None:
    cuts = threading.Thread(target=partial(campaign.on_pod, "cut", NAME, node=node))
    cuts.start()
    for kind in POD_KINDS:
        if kind != "cut":
            campaign.on_pod(kind, NAME, node=node)
    cuts.join()


def on_node(campaign: Campaign, name: str, kinds: tuple[str, ...]) -> None:
    node = campaign.disruptor.node(name)
    for kind in kinds:
        for _ in range(3):  # the kubelet or the scheduler may choose a pod that has come meanwhile
            each_of = {NAME} if kind in CHOOSERS else ()
            hit = partial(campaign.trains_on, name, {NAME}, each_of=each_of)
            campaign.disruptor.cluster.wait_for(f"{name} trains", hit, timeout_s=600, every_s=1)
            if any(struck.runs for struck in campaign.on_node(kind, node)):
                break


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_disruption_costs_its_runs_nothing(outcome: Outcome, kind: str) -> None:
    struck = [each for each in outcome.campaign.struck if each.kind == kind]
    assert struck, "it was done"
    assert [each.trouble for each in struck if each.trouble] == []
    runs = {run for each in struck for run in each.runs}
    if kind not in ("kubelet", "api", "server"):
        assert runs, "it hit a training"
    for wrong in (outcome.account.lost, outcome.account.doubled, outcome.account.uneven):
        assert [line for line in wrong if line.partition(":")[0] in runs] == []
    again = {run: outcome.account.repeated_of.get(run, 0) for run in runs}
    hits = {
        run: sum(run in s.runs and s.kind in ABRUPT for s in outcome.campaign.struck)
        for run in runs
    }
    assert {run: n for run, n in again.items() if n > SHAPE.save_every * hits[run]} == {}


def test_every_run_finishes_once_with_its_parameters_and_each_step(outcome: Outcome) -> None:
    found = outcome.account
    assert found.begun >= SHAPE.agents
    assert (found.lost, found.doubled, found.changed, found.uneven) == ([], [], [], [])


def test_a_training_that_was_told_to_leave_repeats_nothing(outcome: Outcome) -> None:
    assert outcome.repeated_by_sigterm == {}


def test_pods_end_with_the_status_that_the_job_counts_on_and_leave_no_process(
    outcome: Outcome,
) -> None:
    assert outcome.campaign.wrong_exits(NAME) == []
    assert outcome.campaign.orphans == []


def test_the_run_of_an_index_that_failed_for_good_is_finished_by_another(
    told: tuple[Outcome, GivenUp],
) -> None:
    found = told[1]
    assert found.failed_indexes == found.index
    assert (found.account.begun, found.account.finished) == (SMALL.runs, SMALL.runs)
    assert (found.account.lost, found.account.doubled, found.account.uneven) == ([], [], [])
    assert found.hosts[-1].rpartition("-")[2] != found.index
    other = found.hosts[-1].rpartition("-")[2]
    line = f"index {found.index} failed; its run {found.run} was finished at agent {other}"
    assert line in found.status
