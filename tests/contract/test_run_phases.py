"""When an agent waited, started, trained and closed, in the records of its runs: real agents."""

import signal
from pathlib import Path
from typing import Any

import pytest

from sweepctl.figures import RunFacts, SweepFacts, fleet_timeline, gpu_hours, tries_of
from sweepctl_pod.run_record import RECORD_FILE, Attempt, RunRecord, read_record
from sweepctl_pod.wandb.client import RunInfo
from sweepctl_pod.wandb.outputs import file_text
from tests.contract.agents import World
from tests.serving import wait_for

GPUS = {"CUDA_VISIBLE_DEVICES": "2,5"}


def record_of(world: World, run: RunInfo) -> RunRecord | None:
    text = file_text(world.client, ("local", "agents", run.id), RECORD_FILE)
    return None if text is None else read_record(text)


def attempts_of(world: World, sweep: Any) -> list[Attempt]:
    """Give the attempts of all runs of a sweep, in the order in which they began."""
    records = [record_of(world, run) for run in world.runs(sweep)]
    found = [each for record in records if record is not None for each in record.attempts]
    return sorted(found, key=lambda each: each.began_at)


def facts_of(world: World, sweep: Any) -> SweepFacts:
    runs = []
    for run in world.runs(sweep):
        record = record_of(world, run)
        runs.append(RunFacts(run.id, run.state, attempts=record.attempts if record else ()))
    return SweepFacts(None, runs)


def phases_of(world: World, sweep: Any) -> list[tuple[str, list[str]]]:
    """Give what became of each attempt, and its phases."""
    tries = sorted(tries_of(facts_of(world, sweep)), key=lambda each: each.began_s)
    return [(each.kind, [span.phase for span in each.spans]) for each in tries]


def are_in_order(attempt: Attempt) -> bool:
    """Say whether all that is known of an attempt's times is in order."""
    times = [
        *(attempt.waited_from, attempt.began_at, attempt.started_at),
        *(attempt.trained_from, attempt.trained_until, attempt.ended_at),
    ]
    known = [each for each in times if each is not None]
    return known == sorted(known)


def told_training(world: World, sweep: Any) -> bool:
    return any(each.trained_from is not None for each in attempts_of(world, sweep))


def test_agent_tells_when_it_waited_started_trained_and_closed(world: World) -> None:
    sweep = world.sweep(world.trainer("progress:0-3", "log"), run_cap=2)
    agent = world.start(sweep, SWEEPCTL_HOST="legs-0", SWEEPCTL_NODE="node-a", **GPUS)
    assert agent.wait() == 0
    first, second = attempts_of(world, sweep)
    for attempt in (first, second):
        assert are_in_order(attempt)
        assert None not in (attempt.started_at, attempt.trained_from, attempt.trained_until)
        assert (attempt.gpus, attempt.node) == (2, "node-a")
    assert first.ended_at == second.waited_from, "no time of the agent is left out"
    facts = facts_of(world, sweep)
    assert {kind for kind, _ in phases_of(world, sweep)} == {"finished"}
    assert not any("not recorded" in note for note in gpu_hours(facts).notes)
    assert not any("not recorded" in note for note in fleet_timeline(facts).notes)


def test_trainer_that_counts_no_iterations_has_no_first_one(world: World) -> None:
    sweep = world.sweep(world.trainer("log"))
    assert world.start(sweep).wait() == 0
    (attempt,) = attempts_of(world, sweep)
    assert are_in_order(attempt)
    assert attempt.trained_from is None
    assert None not in (attempt.waited_from, attempt.started_at, attempt.trained_until)
    assert attempt.gpus is None
    ((kind, phases),) = phases_of(world, sweep)
    assert (kind, "training" in phases) == ("finished", True)


@pytest.mark.parametrize("world", [["--agent-timeout-s", "2"]], indirect=True)
def test_agent_that_was_killed_has_told_when_its_training_began(world: World) -> None:
    sweep = world.sweep(
        world.trainer("note:began", "progress:0-7", "hang-once", "progress:5-9", "log")
    )
    first = world.start(sweep, SWEEPCTL_HOST="legs-0")
    wait_for("the training in the record", lambda: told_training(world, sweep))
    first.send(signal.SIGKILL)
    first.wait()
    second = world.start(sweep, SWEEPCTL_HOST="legs-1", SWEEPCTL_WORK=str(world.folder / "other"))
    assert second.wait() == 0
    lost, good = attempts_of(world, sweep)
    assert are_in_order(lost)
    assert are_in_order(good)
    assert (lost.trained_until, lost.ended_at, lost.ended_by) == (None, None, "silence")
    kinds = [(kind, phases[:2]) for kind, phases in phases_of(world, sweep)]
    assert kinds == [("back", ["starting", "training"]), ("finished", ["starting", "training"])]
    (_, again) = sorted(tries_of(facts_of(world, sweep)), key=lambda each: each.began_s)
    assert again.repeated == pytest.approx(3 / 5)


def test_agent_that_is_told_to_leave_tells_its_closing(world: World) -> None:
    sweep = world.sweep(world.trainer("note:began", "progress:0-1", "hang"))
    agent = world.start(sweep)
    wait_for("the training in the record", lambda: told_training(world, sweep))
    agent.send(signal.SIGTERM)
    assert agent.wait() == 75
    (attempt,) = attempts_of(world, sweep)
    assert are_in_order(attempt)
    assert None not in (attempt.trained_from, attempt.trained_until, attempt.ended_at)
    assert [kind for kind, _ in phases_of(world, sweep)] == ["back"]


@pytest.mark.parametrize(
    ("words", "has_trained"),
    [
        (["progress:5-4", "exit:1"], False),
        (["progress:5-5", "exit:1"], True),
        (["exit:1"], True),
        (["say:Learning iteration 0/9", "exit:1"], True),
    ],
    ids=lambda each: str(each),
)
def test_run_that_failed_before_its_first_iteration_never_trained(
    world: World, words: list[str], has_trained: bool
) -> None:
    sweep = world.sweep(world.trainer(*words))
    world.start(sweep).wait()
    (attempt,) = attempts_of(world, sweep)
    assert are_in_order(attempt)
    assert (attempt.trained_until is not None) == has_trained
    assert (attempt.trained_from is not None) == (has_trained and len(words) > 1)
    ((kind, phases),) = phases_of(world, sweep)
    assert kind == "failed"
    if not has_trained:
        assert phases == ["starting"]


def test_program_that_is_not_there_is_told_as_a_start(world: World, tmp_path: Path) -> None:
    sweep = world.sweep([str(tmp_path / "missing")])
    world.start(sweep).wait()
    (attempt,) = attempts_of(world, sweep)
    assert are_in_order(attempt)
    assert (attempt.started_at, attempt.trained_from) == (None, None)
    assert phases_of(world, sweep) == [("back", ["starting"])]
