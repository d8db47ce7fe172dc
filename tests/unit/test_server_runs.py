"""Runs between agents and trainers: handed out once, given back, never lost or doubled."""

import threading
from pathlib import Path
from typing import Any

import pytest
from server_rooms import GRID, ServerRooms

from sweepctl.server.engine.dispatch import NotFoundError
from sweepctl.server.lifecycle import Limits
from sweepctl.server.store import run_store

RANDOM = {"method": "random", "run_cap": 4, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


@pytest.fixture
def rooms(tmp_path: Path) -> ServerRooms:
    return ServerRooms(tmp_path)


def test_a_grid_is_handed_out_once_and_the_sweep_finishes(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent = rooms.agent(sweep)
    assert rooms.state(sweep) == "PENDING"
    taken = []
    for _ in range(3):
        command = rooms.take(agent)
        assert rooms.state(sweep) == "RUNNING"
        taken.append(command["args"])
        rooms.end(command["run_id"], 0)
    assert taken == [{"a": {"value": n}} for n in (1, 2, 3)]
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.state(sweep) == "FINISHED"
    assert rooms.states(sweep) == ["finished"] * 3


def test_agents_that_ask_at_the_same_time_get_different_runs(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"values": list(range(40))}}})
    agents = [rooms.agent(sweep, f"h{n}") for n in range(8)]
    taken: list[Any] = []

    def work(agent: Any) -> None:
        while (command := rooms.beat(agent)[0])["type"] == "run":
            taken.append(command["args"]["a"]["value"])
            rooms.end(command["run_id"], 0, attempt=command["attempt"])

    threads = [threading.Thread(target=work, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))
    assert rooms.state(sweep) == "FINISHED"


def test_the_run_cap_counts_runs_and_not_attempts(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({**RANDOM, "run_cap": 2})
    agent = rooms.agent(sweep)
    first = rooms.take(agent)
    rooms.stream(first["run_id"], preempting=True)
    again = rooms.take(agent)
    assert again["run_id"] == first["run_id"]
    rooms.end(again["run_id"], 0)
    rooms.end(rooms.take(agent)["run_id"], 1)
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.states(sweep) == ["finished", "failed"]


def test_random_choices_differ_and_the_same_crash_repeats_them(tmp_path: Path) -> None:
    rooms = ServerRooms(tmp_path)
    sweep = rooms.sweep(RANDOM)
    agent = rooms.agent(sweep)
    with rooms.database.read() as rows:
        chosen = rooms.dispatcher._choose(rows, sweep)
    rooms.restart()
    for _ in range(4):
        rooms.end(rooms.take(agent)["run_id"], 0)
    values = [params["x"] for params in rooms.params(sweep)]
    assert len(set(values)) == 4
    assert chosen is not None
    assert values[0] == chosen["x"]


ENDS: dict[str, tuple[list[dict[str, Any]], str, bool]] = {
    # what the trainer and the agent post; the state at last; whether it is taken again
    "exit code 0": ([{"complete": True, "exitcode": 0}], "finished", False),
    "complete without a code": ([{"complete": True}], "finished", False),
    "exit code 1": ([{"complete": True, "exitcode": 1}], "failed", False),
    "the agent's verdict after the trainer's 0": (
        [{"complete": True, "exitcode": 0}, {"complete": True, "exitcode": 1}],
        "failed",
        False,
    ),
    "the agent's verdict after the trainer's 1": (
        [{"complete": True, "exitcode": 1}, {"complete": True, "exitcode": 0}],
        "finished",
        False,
    ),
    "no word at all": ([], "crashed", True),
    "marked, then SIGTERM": (
        [{"preempting": True}, {"complete": True, "exitcode": 143}],
        "preempted",
        True,
    ),
    "marked, then no word": ([{"preempting": True}], "preempted", True),
    "marked, and finished after all": (
        [{"preempting": True}, {"complete": True, "exitcode": 0}],
        "finished",
        False,
    ),
    "handed back although its trainer had just finished": (
        [{"complete": True, "exitcode": 0}, {"preempting": True}, {"exitcode": 143}],
        "preempted",
        True,
    ),
    "handed back after the trainer's own 255": (
        [{"complete": True, "exitcode": 255}, {"preempting": True}, {"exitcode": 143}],
        "preempted",
        True,
    ),
    "killed from outside, in one post": (
        [{"preempting": True, "complete": True, "exitcode": 137}],
        "preempted",
        True,
    ),
    "killed from outside after the trainer's own 1": (
        [{"complete": True, "exitcode": 1}, {"preempting": True}, {"complete": True}],
        "finished",
        False,
    ),
}


@pytest.mark.parametrize(("posts", "state", "is_again"), ENDS.values(), ids=ENDS)
def test_a_run_ends_as_its_records_say(
    rooms: ServerRooms, posts: list[dict[str, Any]], state: str, is_again: bool
) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1.0}}})
    agent, other = rooms.agent(sweep), rooms.agent(sweep, "other")
    command = rooms.take(agent)
    for post in posts:
        rooms.stream(command["run_id"], attempt=1, **post)
    assert rooms.beat(agent, command["run_id"]) == []
    rooms.set_state(sweep, "PAUSED")
    assert rooms.beat(agent) == []
    assert rooms.states(sweep) == [state]
    rooms.set_state(sweep, "RUNNING")
    (answer,) = rooms.beat(other)
    if is_again:
        assert answer["type"] == "resume"
        assert (answer["run_id"], answer["args"]) == (command["run_id"], command["args"])
        assert answer["attempt"] == 2
    else:
        assert answer == {"type": "exit"}
        assert rooms.state(sweep) == "FINISHED"


def test_a_run_waits_for_its_agent_to_let_go_before_it_is_taken_again(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    first, second = rooms.agent(sweep), rooms.agent(sweep)
    run = rooms.take(first)["run_id"]
    rooms.stream(run, preempting=True)
    rooms.end(run, 143)
    assert rooms.beat(second) == []
    assert rooms.beat(first, run) == []
    assert rooms.beat(second) == []
    rooms.set_state(sweep, "PAUSED")
    rooms.beat(first)
    rooms.set_state(sweep, "RUNNING")
    assert rooms.take(second)["run_id"] == run


def test_a_run_lost_three_times_has_failed(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = rooms.agent(sweep)
    attempts = [rooms.take(agent)["attempt"] for _ in range(3)]
    assert attempts == [1, 2, 3]
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.states(sweep) == ["failed"]
    assert rooms.state(sweep) == "FINISHED"


def test_a_run_handed_back_in_order_may_be_taken_again_any_number_of_times(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = rooms.agent(sweep)
    for attempt in range(1, 8):
        command = rooms.take(agent)
        assert command["attempt"] == attempt
        rooms.stream(command["run_id"], preempting=True)
        rooms.end(command["run_id"], 143)
    rooms.end(rooms.take(agent)["run_id"], 0)
    assert rooms.states(sweep) == ["finished"]


def test_a_trainer_killed_from_outside_is_tried_three_times(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = rooms.agent(sweep)
    for _ in range(3):
        command = rooms.take(agent)
        rooms.stream(command["run_id"], preempting=True, complete=True, exitcode=137)
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.states(sweep) == ["failed"]


def test_a_lost_answer_hands_the_same_run_out_again(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent = rooms.agent(sweep)
    (lost,) = rooms.beat(agent)
    (again,) = rooms.beat(agent)
    assert (again["run_id"], again["args"], again["type"]) == (lost["run_id"], lost["args"], "run")
    assert len(rooms.runs(sweep)) == 1
    for _ in range(8):
        rooms.beat(agent)
    assert rooms.states(sweep) == ["pending"]
    rooms.beat(agent)
    assert rooms.states(sweep) == ["failed", "pending"]


def test_only_the_agent_that_holds_a_run_ends_it_by_its_heartbeat(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    first, second = rooms.agent(sweep), rooms.agent(sweep)
    run = rooms.take(first)["run_id"]
    rooms.take(second)
    assert rooms.run(run).agent == first.pk
    assert rooms.beat(second, run) == [{"type": "stop", "run_id": run}]
    assert rooms.run(run).agent == first.pk
    assert rooms.run(run).state.value == "running"


STALE: dict[str, tuple[dict[str, Any], int | None]] = {
    "exit record of attempt 1": ({"complete": True, "exitcode": 0}, 1),
    "exit record of a client without number, before the new trainer began": (
        {"complete": True, "exitcode": 0},
        None,
    ),
    "preempting mark of attempt 1": ({"preempting": True}, 1),
}


@pytest.mark.parametrize(("post", "attempt"), STALE.values(), ids=STALE)
def test_a_late_record_of_an_earlier_attempt_does_not_end_the_new_one(
    rooms: ServerRooms, post: dict[str, Any], attempt: int | None
) -> None:
    sweep = rooms.sweep()
    agent, other = rooms.agent(sweep), rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.stream(run, preempting=True)
    rooms.set_state(sweep, "PAUSED")
    rooms.beat(agent)
    rooms.set_state(sweep, "RUNNING")
    (command,) = rooms.beat(other)
    assert command["run_id"] == run
    is_stopped = rooms.stream(run, attempt=attempt, **post)
    assert is_stopped == (attempt is not None), "the earlier trainer is told to stop"
    assert rooms.run(run).state.value == "pending"
    assert rooms.run(run).agent == other.pk
    rooms.begin(command)
    rooms.stream(run, attempt=1, complete=True, exitcode=3)
    rooms.stream(run, attempt=1, files={"wandb-history.jsonl": {"offset": 0, "content": ["{}"]}})
    assert rooms.run(run).state.value == "running"
    assert rooms.run(run).last_step == -1
    rooms.end(run, 0, attempt=2)
    assert rooms.run(run).state.value == "finished"


def test_a_run_that_waits_may_still_be_finished_by_its_own_trainer(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.wait(90)
    assert rooms.states(sweep) == ["crashed"]
    rooms.end(run, 1, attempt=1)
    assert rooms.states(sweep) == ["crashed"]
    rooms.end(run, 0, attempt=1)
    assert rooms.states(sweep) == ["finished"]
    rooms.reaper.tick()
    assert rooms.state(sweep) == "FINISHED"
    assert rooms.beat(agent) == [{"type": "exit"}]


def test_a_paused_sweep_hands_out_nothing_and_goes_on_when_resumed(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent, other = rooms.agent(sweep), rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.set_state(sweep, "PAUSED")
    assert rooms.beat(other) == []
    assert rooms.beat(agent, run) == []
    rooms.end(run, 0)
    assert rooms.beat(agent) == []
    rooms.set_state(sweep, "RUNNING")
    assert rooms.beat(agent)[0]["type"] == "run"


def test_a_stopped_sweep_lets_its_runs_end_and_takes_no_new_ones(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent, other = rooms.agent(sweep), rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.set_state(sweep, "FINISHED")
    assert rooms.beat(other) == [{"type": "exit"}]
    assert rooms.beat(agent, run) == []
    rooms.end(run, 0)
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.states(sweep) == ["finished"]


def test_a_cancelled_sweep_stops_its_runs_first_and_lets_the_agent_leave_after(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep()
    agent, gone = rooms.agent(sweep), rooms.agent(sweep)
    waiting = rooms.take(gone)["run_id"]
    run = rooms.take(agent)["run_id"]
    rooms.wait(70, beating=(agent,))
    assert rooms.run(waiting).state.value == "crashed"
    rooms.set_state(sweep, "CANCELED")
    assert rooms.run(waiting).state.value == "killed"
    for _ in range(3):
        assert rooms.beat(agent, run) == [{"type": "stop", "run_id": run}]
    rooms.end(run, 143)
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.run(run).state.value == "killed"
    rooms.set_state(sweep, "RUNNING")
    assert rooms.beat(agent)[0]["args"] == {"a": {"value": 3}}


def test_a_run_that_is_asked_to_stop_is_killed_and_not_taken_again(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    assert rooms.stream(run) is False
    rooms.intake.ask_stop(rooms.run(run))
    assert rooms.stream(run) is True
    assert rooms.beat(agent, run) == [{"type": "stop", "run_id": run}]
    (command,) = rooms.beat(agent)
    assert command["run_id"] != run
    assert rooms.run(run).state.value == "killed"


def test_an_idle_agent_leaves_when_the_others_train_and_live(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent, other = rooms.agent(sweep), rooms.agent(sweep)
    run, others = rooms.take(agent)["run_id"], rooms.take(other)["run_id"]
    rooms.end(run, 0)
    rooms.seconds += 1
    assert rooms.beat(agent) == [], "the other was not heard of since: it may be dead"
    rooms.seconds += 1
    rooms.beat(other, others)
    assert rooms.beat(agent) == [{"type": "exit"}]
    rooms.end(others, 0)
    assert rooms.beat(other) == [{"type": "exit"}]
    assert rooms.state(sweep) == "FINISHED"


def test_the_replacement_of_a_dead_agent_waits_for_its_run(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    dead = rooms.agent(sweep)
    run = rooms.take(dead)["run_id"]
    rooms.seconds += 2
    replacement = rooms.agent(sweep)
    for _ in range(57):
        rooms.wait(1)
        assert rooms.beat(replacement) == []
    rooms.wait(2)
    (command,) = rooms.beat(replacement)
    assert (command["type"], command["run_id"], command["attempt"]) == ("resume", run, 2)


def test_a_run_is_known_by_its_agent_whatever_its_client_calls_the_machine(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep()
    commands = [rooms.take(rooms.agent(sweep, host)) for host in ("desk-0", "desk-1")]
    assert [rooms.run(command["run_id"]).host for command in commands] == ["desk-0", "desk-1"]


def test_a_queued_run_goes_to_the_host_that_had_it_first(rooms: ServerRooms) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agents = {host: rooms.agent(sweep, host) for host in ("job-0", "job-1")}
    runs = {host: rooms.take(agent)["run_id"] for host, agent in agents.items()}
    rooms.set_state(sweep, "PAUSED")
    for host, agent in agents.items():
        rooms.stream(runs[host], preempting=True)
        assert rooms.beat(agent) == []
    rooms.set_state(sweep, "RUNNING")
    for host in ("job-1", "job-0"):
        assert rooms.take(rooms.agent(sweep, host))["run_id"] == runs[host]


def test_an_agent_that_leaves_without_a_last_word_does_not_keep_the_sweep_open(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    rooms.end(rooms.take(rooms.agent(sweep))["run_id"], 0)
    assert rooms.state(sweep) == "RUNNING"
    rooms.reaper.tick()
    assert rooms.state(sweep) == "FINISHED"


def test_a_finished_sweep_runs_again_when_the_last_run_turns_out_to_be_lost(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.end(run, 0, attempt=1)
    rooms.reaper.tick()
    assert rooms.state(sweep) == "FINISHED"
    rooms.stream(run, attempt=1, preempting=True, complete=True, exitcode=137)
    assert rooms.take(agent)["run_id"] == run
    assert rooms.state(sweep) == "RUNNING"
    rooms.set_state(sweep, "FINISHED")
    rooms.stream(run, attempt=2, preempting=True, complete=True, exitcode=137)
    assert rooms.beat(agent) == [{"type": "exit"}], "stopped by a person: nothing goes out"
    assert rooms.state(sweep) == "FINISHED"


def test_an_unknown_agent_and_an_unknown_sweep_are_not_found(rooms: ServerRooms) -> None:
    for agent in (None, 12345):
        with pytest.raises(NotFoundError, match="no such agent"):
            rooms.dispatcher.heartbeat(agent, [])
    with pytest.raises(NotFoundError, match="no sweep 'nope'"):
        rooms.dispatcher.register("nope", "h")


def test_a_changed_grid_goes_on_with_its_new_points(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent = rooms.agent(sweep)
    for _ in range(3):
        rooms.end(rooms.take(agent)["run_id"], 0)
    assert rooms.beat(agent) == [{"type": "exit"}]
    bigger = '{"method": "grid", "parameters": {"a": {"values": [3, 4, 2]}}}'
    rooms.sweeps.upsert({"id": sweep.id, "config": bigger, "state": "RUNNING"})
    assert rooms.take(agent)["args"] == {"a": {"value": 4}}
    assert GRID["parameters"] == {"a": {"values": [1, 2, 3]}}


def test_a_deleted_point_of_a_grid_is_handed_out_again(rooms: ServerRooms) -> None:
    sweep = rooms.sweep()
    agent = rooms.agent(sweep)
    runs = []
    for _ in range(2):
        runs.append(rooms.run(rooms.take(agent)["run_id"]))
        rooms.end(runs[-1].id, 0)
    assert rooms.beat(agent, runs[-1].id) == []
    with rooms.database.write() as tx:
        run_store.delete_run(tx, runs[0].pk)
    taken = [rooms.take(agent)["args"]["a"]["value"] for _ in range(1)]
    assert taken == [1]
    assert rooms.params(sweep) == [{"a": 2}, {"a": 1}]


def test_a_choice_that_was_rolled_back_is_made_again(
    rooms: ServerRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(agent: int) -> None:
        raise OSError("no room")

    sweep = rooms.sweep()
    agent = rooms.agent(sweep)
    rooms.end(rooms.take(agent)["run_id"], 0)
    with monkeypatch.context() as broken:
        broken.setattr(rooms.presence, "mark_busy", fail)
        with pytest.raises(OSError, match="no room"):
            rooms.beat(agent)
    assert len(rooms.params(sweep)) == 1
    assert rooms.take(agent)["args"] == {"a": {"value": 2}}
    assert rooms.params(sweep) == [{"a": 1}, {"a": 2}]


def test_limits_come_in_as_arguments(tmp_path: Path) -> None:
    rooms = ServerRooms(tmp_path, Limits(attempts=1))
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = rooms.agent(sweep)
    rooms.take(agent)
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.states(sweep) == ["failed"]
