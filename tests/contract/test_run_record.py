"""What the record of a run, `sweepctl.json`, says of its attempts: real agents, a real server."""

import signal
import threading
from typing import Any

import pytest

from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record
from sweepctl_pod.wandb.client import RunInfo
from sweepctl_pod.wandb.outputs import file_text
from tests.contract.agents import World, freeze, thaw
from tests.contract.faulty_proxy import FaultyProxy, Instead
from tests.serving import wait_for


def record_of(world: World, run: RunInfo) -> RunRecord | None:
    text = file_text(world.client, ("local", "agents", run.id), RECORD_FILE)
    return None if text is None else read_record(text)


def begun(world: World, sweep: Any, number: int) -> RunRecord:
    """Wait until the record says that an attempt has begun."""

    def look() -> RunRecord | None:
        record = record_of(world, world.run(sweep))
        return record if record is not None and len(record.attempts) >= number else None

    return wait_for(f"attempt {number} in the record", look)


@pytest.mark.parametrize("world", [["--agent-timeout-s", "2"]], indirect=True)
def test_record_tells_each_attempt_what_ended_it_and_where(world: World) -> None:
    sweep = world.sweep(world.trainer("note:began", "hang-once", "log"))
    first = world.start(sweep, SWEEPCTL_HOST="job-0", SWEEPCTL_NODE="node-a")
    world.wait_noted("began")
    begun(world, sweep, 1)
    first.send(signal.SIGKILL)
    first.wait()
    second = world.start(sweep, SWEEPCTL_HOST="job-1", SWEEPCTL_NODE="node-b")
    assert second.wait() == 0
    record = record_of(world, world.run(sweep))
    assert record is not None
    told = [(each.number, each.host, each.node, each.ended_by) for each in record.attempts]
    assert told == [(1, "job-0", "node-a", "silence"), (2, "job-1", "node-b", "finished")]
    assert record.attempts[0].ended_at is None
    assert (record.attempts[1].ended_at or 0) > record.attempts[1].began_at > 0
    assert record.attempts[0].agent != record.attempts[1].agent
    assert (record.host, record.attempt, record.losses) == ("job-1", 2, 1)
    assert record.parameters == world.run(sweep).config
    world.nothing_is_left()


def test_record_names_the_signal_that_took_the_agent_away(world: World) -> None:
    sweep = world.sweep(world.trainer("note:began", "hang"))
    agent = world.start(sweep)
    world.wait_noted("began")
    begun(world, sweep, 1)
    agent.send(signal.SIGTERM)
    assert agent.wait() == 75
    record = record_of(world, world.run(sweep))
    assert record is not None
    assert [each.ended_by for each in record.attempts] == ["SIGTERM"]


def test_record_counts_the_kills_of_a_trainer(world: World) -> None:
    sweep = world.sweep(world.trainer("note:began", f"signal:{signal.SIGKILL.value}"))
    agent = world.start(sweep)
    agent.wait()
    record = record_of(world, world.run(sweep))
    assert record is not None
    assert [each.ended_by for each in record.attempts] == ["SIGKILL"] * 3
    assert len(world.noted("began")) == 3


@pytest.mark.parametrize("world", [["--agent-timeout-s", "2"]], indirect=True)
def test_record_tells_how_far_each_attempt_came_also_one_that_died_without_a_word(
    world: World,
) -> None:
    sweep = world.sweep(
        world.trainer("note:began", "progress:0-7", "hang-once", "progress:5-9", "log")
    )
    first = world.start(sweep)
    world.wait_noted("began")

    def knows_the_first() -> bool:
        record = record_of(world, world.run(sweep))
        return record is not None and record.attempts[0].first == 0

    wait_for("the first iteration in the record", knows_the_first)
    first.send(signal.SIGKILL)
    first.wait()
    second = world.start(sweep, SWEEPCTL_WORK=str(world.folder / "another-node"))
    assert second.wait() == 0
    record = record_of(world, world.run(sweep))
    assert record is not None
    assert [(each.first, each.last) for each in record.attempts] == [(0, 7), (5, 9)]
    assert record.iterations_repeated == 3


HUNG = ("bear-all", "note:began", "beat-once", "log", "note:ended")


@pytest.mark.parametrize("world", [["--agent-timeout-s", "3"]], indirect=True)
def test_agent_that_slept_while_its_run_went_to_another_tells_nothing_of_it(world: World) -> None:
    sweep = world.sweep(world.trainer(*HUNG))
    first = world.start(sweep, SWEEPCTL_HOST="job-0", SWEEPCTL_WORK=str(world.folder / "first"))
    world.wait_noted("began")
    begun(world, sweep, 1)
    frozen = freeze(first)
    second = world.start(sweep, SWEEPCTL_HOST="job-1")
    second.says("finished: loss = 1.5")
    thaw(frozen)
    assert first.wait() == 0
    assert second.wait() == 0
    left_without_a_word(world, sweep, first.said)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("world", [["--agent-timeout-s", "3"]], indirect=True)
def test_agent_that_was_cut_off_while_its_run_went_to_another_tells_nothing_of_it(
    world: World, dies: bool
) -> None:
    is_cut = threading.Event()
    network = FaultyProxy(
        world.server.url, before=lambda path, body: Instead(503, b"") if is_cut.is_set() else None
    )
    sweep = world.sweep(world.trainer(*HUNG[dies:]))
    first = world.start(
        sweep,
        SWEEPCTL_HOST="job-0",
        WANDB_BASE_URL=network.url,
        SWEEPCTL_WORK=str(world.folder / "first"),
    )
    world.wait_noted("began")
    begun(world, sweep, 1)
    is_cut.set()
    second = world.start(sweep, SWEEPCTL_HOST="job-1")
    second.says("finished: loss = 1.5")
    is_cut.clear()
    assert first.wait() == 0
    assert second.wait() == 0
    left_without_a_word(world, sweep, first.said)
    network.close()


def left_without_a_word(world: World, sweep: Any, said: str) -> None:
    assert "left to another agent: " in said
    run = world.run(sweep)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert "sweepctl/reason" not in run.summary
    assert len(world.noted("ended")) == 1
    record = record_of(world, run)
    assert record is not None
    assert [each.ended_by for each in record.attempts] == ["silence", "finished"]
    assert record.claims == (), "the server itself says whose a run is"
    world.nothing_is_left()
