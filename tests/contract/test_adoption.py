"""Runs that W&B gives back to nobody, taken up by agents themselves: real agents, light trainers.

The server is the embedded one, shown as W&B proper by a proxy; all limits are a hundredth.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sweepctl_pod.errors import SIGTERM_CODE
from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.wandb.client import Connection, RunInfo, SweepInfo, WandbClient
from sweepctl_pod.wandb.outputs import end_body, file_text
from tests.contract.agents import Agent, World, freeze, thaw
from tests.contract.faulty_proxy import FaultyProxy, Instead
from tests.contract.wandb_proper import ProperProxy
from tests.serving import API_KEY, wait_for

NEVER = ["--agent-timeout-s", "100000", "--run-timeout-s", "100000"]
"""W&B hands nothing out again that died without a word."""


class Proper(World):
    """A world around W&B proper."""

    def __init__(self, world: World, proxy: ProperProxy) -> None:
        super().__init__(world.server, world.folder)
        self.proxy = proxy
        self.client_of_proxy = WandbClient(Connection(proxy.url, API_KEY, "local"))
        self.environ |= {"WANDB_BASE_URL": proxy.url, "SWEEPCTL_ADOPT_AFTER_S": "6"}

    def pod(self, sweep: SweepInfo, host: str, **environ: str) -> Agent:
        """Start an agent as a pod of a Job would."""
        index = host.rpartition("-")[2]
        release = {"SWEEPCTL_NAMESPACE": "robots", "SWEEPCTL_NAME": "legs"}
        words = {"JOB_COMPLETION_INDEX": index, **release}
        return self.agent(sweep, host, **{**words, **environ})

    def agent(self, sweep: SweepInfo, host: str, **environ: str) -> Agent:
        """Start an agent on a machine of its own."""
        work = {"SWEEPCTL_WORK": str(self.folder / f"work-{len(self.agents)}")}
        return self.start(sweep, **{"SWEEPCTL_HOST": host, **work, **environ})

    def record(self, run: RunInfo) -> RunRecord | None:
        text = file_text(self.client, ("local", "agents", run.id), RECORD_FILE)
        return None if text is None else read_record(text)

    def silent_s(self, sweep: SweepInfo) -> float:
        """Give the seconds since the only run was heard of."""
        heard = read_time(self.run(sweep).heartbeat_at)
        return time.time() - heard.timestamp() if heard else 0.0

    def claimed(self, sweep: SweepInfo, count: int = 1) -> RunRecord:
        """Wait until the record of the only run has so many attempts and a claim."""

        def look() -> RunRecord | None:
            record = self.record(self.run(sweep))
            is_there = record is not None and len(record.attempts) >= count and record.claims
            return record if is_there else None

        return wait_for("a claim in the record", look)

    def went_well(self, sweep: SweepInfo) -> None:
        """Check that the only run was trained to its end once, with its first parameters."""
        run = self.run(sweep)
        assert run.state == "finished"
        assert len(self.noted("ended")) == 1
        assert [code for code in self.proxy.exits(run.id) if code == 0] == [0]
        assert len({tuple(words) for words in self.noted("began")}) == 1, "other parameters"
        assert not any("sweepctl" in name for name in [*run.config, *run.summary])
        self.nothing_is_left()


@pytest.fixture
def proper(world: World) -> Iterator[Proper]:
    proxy = ProperProxy(world.server.url)
    proper = Proper(world, proxy)
    yield proper
    proper.end()
    proxy.close()


pytestmark = pytest.mark.parametrize("world", [NEVER], indirect=True)


def once(proper: Proper, *words: str) -> list[str]:
    """Give a trainer that trains for ever at first, and comes to its end the second time."""
    words = ("note:began", "beat-once", *words, "log", "note:ended")
    return proper.trainer(*words, "${args_no_hyphens}")


def begun(proper: Proper, sweep: SweepInfo, host: str) -> Agent:
    """Have a pod begin the run of a sweep, with its claim in the record."""
    pod = proper.pod(sweep, host)
    proper.wait_noted("began")
    proper.claimed(sweep)
    return pod


def begun_and_killed(proper: Proper, sweep: SweepInfo, host: str) -> None:
    """Have a pod begin the run of a sweep, and die without a word, for good."""
    pod = begun(proper, sweep, host)
    pod.send(signal.SIGKILL)
    pod.wait()


def test_replaced_pod_takes_up_at_once_what_the_pod_before_it_had(proper: Proper) -> None:
    proper.environ["SWEEPCTL_ADOPT_AFTER_S"] = "600"
    sweep = proper.sweep(once(proper))
    begun_and_killed(proper, sweep, "job-a-0")
    second = proper.pod(sweep, "job-a-0")
    second.says("claiming it")
    proper.proxy.is_over = True
    assert second.wait() == 0
    proper.went_well(sweep)
    record = proper.claimed(sweep)
    told = [(each.number, each.ended_by) for each in record.attempts]
    assert told == [(1, "silence"), (2, "finished")]
    assert [claim.fence for claim in record.claims] == [2]


@pytest.mark.parametrize("is_told_to_exit", [False, True])
def test_run_of_an_index_that_is_gone_for_good_is_taken_up_by_an_agent_without_work(
    is_told_to_exit: bool, proper: Proper
) -> None:
    sweep = proper.sweep(once(proper))
    begun_and_killed(proper, sweep, "job-a-7")
    # Who is told to exit waits for no run that was heard of a moment ago.
    wait_for("a silent run", lambda: proper.silent_s(sweep) > 2)
    proper.proxy.is_over = is_told_to_exit
    other = proper.pod(sweep, "job-b-0")  # as of a Job that helm upgrade made
    other.says("claiming it")
    proper.proxy.is_over = True
    assert other.wait() == 0
    proper.went_well(sweep)
    record = proper.claimed(sweep)
    assert [each.host for each in record.attempts] == ["job-a-7", "job-b-0"]


@pytest.mark.parametrize(
    ("dies", "other"),
    [
        ("a laptop", "a pod"),
        ("a pod", "a laptop"),
        ("a laptop", "another laptop"),
        ("a pod of another release", "a pod"),
    ],
)
def test_run_of_somebody_elses_agent_is_left_alone(dies: str, other: str, proper: Proper) -> None:
    def begin(what: str) -> Agent:
        if "laptop" in what:
            return proper.agent(sweep, what.replace(" ", "-"))
        more = {"SWEEPCTL_NAME": "arms"} if "release" in what else {}
        return proper.pod(sweep, "job-b-0", **more)

    sweep = proper.sweep(once(proper))
    lost = begin(dies)
    proper.wait_noted("began")
    proper.claimed(sweep)
    lost.send(signal.SIGKILL)
    lost.wait()
    proper.proxy.is_over = True
    second = begin(other)
    assert second.wait() == 0
    assert "claiming it" not in second.said
    assert len(proper.noted("began")) == 1


@pytest.mark.parametrize("host", ["job-a-0", "job-b-0"])
def test_run_that_the_trainers_client_called_failed_is_taken_up_where_its_agent_said_nothing(
    host: str, proper: Proper
) -> None:
    """As when a trainer that was told to leave ended before the mark came, and its node died."""
    sweep = proper.sweep(once(proper))
    pod = begun(proper, sweep, "job-a-0")
    frozen = freeze(pod)
    run = proper.run(sweep)
    place = (sweep.entity, sweep.project, run.id)
    proper.client_of_proxy.post_file_stream(*place, end_body(SIGTERM_CODE))
    assert proper.run(sweep).state == "failed"
    for pid in frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    pod.wait()
    # Who is told to exit, as the run has ended, waits for none that was heard of a moment ago.
    wait_for("a silent run", lambda: proper.silent_s(sweep) > 2)
    second = proper.pod(sweep, host)
    second.says("claiming it")
    proper.proxy.is_over = True
    assert second.wait() == 0
    proper.went_well(sweep)
    told = [(each.number, each.ended_by) for each in proper.claimed(sweep).attempts]
    assert told == [(1, "silence"), (2, "finished")]


def test_run_that_its_agent_called_failed_is_left_alone(proper: Proper) -> None:
    sweep = proper.sweep(proper.trainer("note:began", "exit:3", "${args_no_hyphens}"))
    first = proper.pod(sweep, "job-a-0", SWEEPCTL_MAX_INITIAL_FAILURES="0")
    first.says("exit code 3")
    proper.proxy.is_over = True
    assert first.wait() == 0
    wait_for("a silent run", lambda: proper.silent_s(sweep) > 7)
    second = proper.pod(sweep, "job-a-0")
    assert second.wait() == 0
    assert "claiming it" not in second.said
    assert len(proper.noted("began")) == 1
    assert proper.run(sweep).state == "failed"


def test_run_of_a_laptop_is_taken_up_by_its_own_next_agent(proper: Proper) -> None:
    sweep = proper.sweep(once(proper))
    lost = proper.agent(sweep, "laptop")
    proper.wait_noted("began")
    proper.claimed(sweep)
    lost.send(signal.SIGKILL)
    lost.wait()
    second = proper.agent(sweep, "laptop")
    second.says("claiming it")
    proper.proxy.is_over = True
    assert second.wait() == 0
    proper.went_well(sweep)


def test_of_two_agents_that_claim_a_run_at_the_same_moment_one_trains_it(proper: Proper) -> None:
    sweep = proper.sweep(once(proper))
    begun_and_killed(proper, sweep, "job-a-7")
    proper.proxy.together = threading.Barrier(2)
    pods = [proper.pod(sweep, host) for host in ("job-b-1", "job-b-0")]
    for pod in pods:
        pod.says("claiming it")
    proper.wait_noted("ended")
    proper.proxy.is_over = True
    assert [pod.wait() for pod in pods] == [0, 0]
    assert ["another agent takes it up" in pod.said for pod in pods] == [True, False]
    assert ["starts" in pod.said for pod in pods] == [False, True], "the lowest name wins"
    proper.went_well(sweep)


def test_agent_that_comes_back_after_its_run_was_taken_up_kills_its_trainer_and_tells_nothing(
    proper: Proper,
) -> None:
    sweep = proper.sweep(once(proper))
    first = begun(proper, sweep, "job-a-0")
    frozen = freeze(first)
    other = proper.pod(sweep, "job-a-1")
    other.says("finished: loss = 1.5")
    before = len(proper.proxy.posts)
    proper.proxy.is_over = True
    thaw(frozen)
    first.says("left to another agent")
    assert first.wait() == 0
    assert other.wait() == 0
    assert "another agent has taken it over" in first.said
    said = [body for _, body in proper.proxy.posts[before:] if body]
    assert said == [], "its trainer's signs of life may come, and no word of the agent"
    proper.went_well(sweep)
    record = proper.claimed(sweep)
    assert [each.ended_by for each in record.attempts] == ["silence", "finished"]


@pytest.mark.parametrize("trainer", ["lives-on", "dies-of-it"])
def test_agent_that_was_cut_off_leaves_the_run_to_who_took_it_up(
    trainer: str, proper: Proper
) -> None:
    is_cut = threading.Event()
    network = FaultyProxy(
        proper.proxy.url, before=lambda path, body: Instead(503, b"") if is_cut.is_set() else None
    )
    words = ["bear-all"] if trainer == "lives-on" else []
    sweep = proper.sweep(proper.trainer(*words, *once(proper)[4:]))
    first = proper.pod(sweep, "job-a-0", WANDB_BASE_URL=network.url)
    proper.wait_noted("began")
    proper.claimed(sweep)
    is_cut.set()
    other = proper.pod(sweep, "job-a-1")
    other.says("finished: loss = 1.5")
    proper.proxy.is_over = True
    is_cut.clear()
    assert first.wait() == 0
    assert other.wait() == 0
    assert "left to another agent" in first.said
    proper.went_well(sweep)
    network.close()


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_clock_of_a_node_that_is_wrong_takes_no_run_from_who_trains_it(
    ahead_s: int, proper: Proper
) -> None:
    sweep = proper.sweep(once(proper))
    begun_and_killed(proper, sweep, "job-a-7")
    proper.environ["SWEEPCTL_ADOPT_AFTER_S"] = "8"
    shifted = (
        f"import time, runpy; real = time.time; time.time = lambda: real() + {ahead_s};"
        "runpy.run_module('sweepctl_pod', run_name='__main__')"
    )
    name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    release = {"SWEEPCTL_NAMESPACE": "robots", "SWEEPCTL_NAME": "legs", "SWEEPCTL_HOST": "job-b-0"}
    command = [sys.executable, "-S", "-c", shifted, "--sweep", name]
    other = proper.start_command(command, JOB_COMPLETION_INDEX="0", **release)
    other.says("claiming it")
    silent_s = re.search(r"nothing was heard of it for (\d+) s", other.said)
    assert silent_s is not None
    assert 7 <= int(silent_s[1]) < 600, "by the API's clock"
    proper.proxy.is_over = True
    assert other.wait() == 0
    proper.went_well(sweep)


def test_run_that_was_handed_back_in_good_order_is_left_to_wandb(proper: Proper) -> None:
    sweep = proper.sweep(once(proper))
    first = begun(proper, sweep, "job-a-0")
    first.send(signal.SIGTERM)
    assert first.wait() == 75
    second = proper.pod(sweep, "job-a-0")
    second.says("finished: loss = 1.5")
    proper.proxy.is_over = True
    assert second.wait() == 0
    assert "claiming it" not in second.said
    proper.went_well(sweep)
    record = proper.claimed(sweep)
    assert [each.ended_by for each in record.attempts] == ["SIGTERM", "finished"]
    assert [claim.fence for claim in record.claims] == [2]


def test_what_a_trainer_stores_as_config_takes_nothing_from_the_next_attempt(
    proper: Proper,
) -> None:
    sweep = proper.sweep(once(proper))
    begun_and_killed(proper, sweep, "job-a-0")
    run = proper.run(sweep)
    proper.client_of_proxy.graphql(
        "mutation UpsertBucket($name: String, $project: String, $entity: String, $config:"
        " JSONString) { upsertBucket(input: {name: $name, modelName: $project, entityName:"
        " $entity, config: $config}) { bucket { id } } }",
        {
            **{"name": run.id, "project": "agents", "entity": "local"},
            "config": json.dumps({"_wandb": {"value": {}}, "env.gain": {"value": 77}}),
        },
    )
    second = proper.pod(sweep, "job-a-0")
    second.says("finished: loss = 1.5")
    proper.proxy.is_over = True
    assert second.wait() == 0
    proper.went_well(sweep)


def test_cancelled_sweep_has_no_run_taken_up(proper: Proper) -> None:
    sweep = proper.sweep(once(proper))
    begun_and_killed(proper, sweep, "job-a-0")
    proper.client.set_sweep_state(sweep, "CANCELED")
    second = proper.pod(sweep, "job-a-0")
    assert second.wait() == 0
    assert "claiming it" not in second.said
    assert len(proper.noted("began")) == 1


def test_claims_cost_a_training_agent_and_an_idle_one_few_requests(proper: Proper) -> None:
    """Count them over a time in which an agent may look ten times; heartbeats are every 5 s."""
    sweep = proper.sweep(
        proper.trainer("note:began", "beat-until:" + str(proper.folder / "end"), "log")
    )
    trains = proper.pod(sweep, "job-a-0", SWEEPCTL_ADOPT_AFTER_S="20")
    proper.wait_noted("began")
    proper.claimed(sweep)
    idle = proper.pod(sweep, "job-a-1", SWEEPCTL_ADOPT_AFTER_S="20")
    idle.says("overrides")
    before, began = proper.proxy.counts(), time.monotonic()
    wait_for("20 s of looks", lambda: time.monotonic() - began > 20)
    asked = proper.proxy.counts() - before
    print(f"in {time.monotonic() - began:.0f} s, a look due every 2 s: {dict(asked)}")
    (proper.folder / "end").touch()
    proper.proxy.is_over = True
    assert (trains.wait(), idle.wait()) == (0, 0)
    # In a real minute both numbers are a tenth of these: a look is due after 60 s, not 2.
    assert 3 <= asked["Run"] <= 14, asked
    assert asked["Runs"] <= 5, asked
    assert asked["CreateRunFiles"] <= 3, asked
