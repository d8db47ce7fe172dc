"""Runs between agents and trainers: handed out once, given back, never lost or doubled."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.errors import NotFoundError
from sweepctl.server.lifecycle import Limits
from sweepctl.server.store import run_store
from tests.unit.server_in_process import GRID, InProcessServer

RANDOM = {"method": "random", "run_cap": 4, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def test_a_grid_is_handed_out_once_and_the_sweep_finishes(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    assert server.state(sweep) == "PENDING"
    taken = []
    for _ in range(3):
        command = server.take(agent)
        assert server.state(sweep) == "RUNNING"
        taken.append(command["args"])
        server.end(command["run_id"], 0)
    assert taken == [{"a": {"value": n}} for n in (1, 2, 3)]
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.state(sweep) == "FINISHED"
    assert server.states(sweep) == ["finished"] * 3


def test_agents_that_ask_at_the_same_time_get_different_runs(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"values": list(range(40))}}})
    agents = [server.agent(sweep, f"h{n}") for n in range(8)]
    taken: list[Any] = []

    def work(agent: Any) -> None:
        while (command := server.beat(agent)[0])["type"] == "run":
            taken.append(command["args"]["a"]["value"])
            server.end(command["run_id"], 0, attempt=command["attempt"])

    threads = [threading.Thread(target=work, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(40))
    assert server.state(sweep) == "FINISHED"


def test_the_run_cap_counts_runs_and_not_attempts(server: InProcessServer) -> None:
    sweep = server.sweep({**RANDOM, "run_cap": 2})
    agent = server.agent(sweep)
    first = server.take(agent)
    server.stream(first["run_id"], preempting=True)
    again = server.take(agent)
    assert again["run_id"] == first["run_id"]
    server.end(again["run_id"], 0)
    server.end(server.take(agent)["run_id"], 1)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["finished", "failed"]


def test_random_choices_differ_and_the_same_crash_repeats_them(tmp_path: Path) -> None:
    server = InProcessServer(tmp_path)
    sweep = server.sweep(RANDOM)
    agent = server.agent(sweep)
    with server.database.read() as rows:
        chosen = server.dispatcher._choose(rows, sweep)
    server.restart()
    for _ in range(4):
        server.end(server.take(agent)["run_id"], 0)
    values = [params["x"] for params in server.params(sweep)]
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
    server: InProcessServer, posts: list[dict[str, Any]], state: str, is_again: bool
) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1.0}}})
    agent, other = server.agent(sweep), server.agent(sweep, "other")
    command = server.take(agent)
    for post in posts:
        server.stream(command["run_id"], attempt=1, **post)
    assert server.beat(agent, command["run_id"]) == []
    server.set_state(sweep, "PAUSED")
    assert server.beat(agent) == []
    assert server.states(sweep) == [state]
    server.set_state(sweep, "RUNNING")
    (answer,) = server.beat(other)
    if is_again:
        assert answer["type"] == "resume"
        assert (answer["run_id"], answer["args"]) == (command["run_id"], command["args"])
        assert answer["attempt"] == 2
    else:
        assert answer == {"type": "exit"}
        assert server.state(sweep) == "FINISHED"


def test_a_trainer_that_opens_its_run_after_the_order_to_leave_hands_it_back(
    server: InProcessServer,
) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    command = server.take(agent)
    run = command["run_id"]
    server.stream(run, preempting=True)
    server.begin(command)
    assert server.run(run).state == "preempting"
    server.end(run, 143)
    assert server.run(run).state == "preempted"
    again = server.take(agent)
    assert again["run_id"] == run
    server.begin(again, is_resumed=True)
    assert server.run(run).state == "running"


def test_a_run_waits_for_its_agent_to_let_go_before_it_is_taken_again(
    server: InProcessServer,
) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    first, second = server.agent(sweep), server.agent(sweep)
    run = server.take(first)["run_id"]
    server.stream(run, preempting=True)
    server.end(run, 143)
    assert server.beat(second) == []
    assert server.beat(first, run) == []
    assert server.beat(second) == []
    server.set_state(sweep, "PAUSED")
    server.beat(first)
    server.set_state(sweep, "RUNNING")
    assert server.take(second)["run_id"] == run


def test_a_run_lost_three_times_has_failed(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    attempts = [server.take(agent)["attempt"] for _ in range(3)]
    assert attempts == [1, 2, 3]
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["failed"]
    assert server.state(sweep) == "FINISHED"


def test_a_run_handed_back_in_order_may_be_taken_again_any_number_of_times(
    server: InProcessServer,
) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    for attempt in range(1, 8):
        command = server.take(agent)
        assert command["attempt"] == attempt
        server.stream(command["run_id"], preempting=True)
        server.end(command["run_id"], 143)
    server.end(server.take(agent)["run_id"], 0)
    assert server.states(sweep) == ["finished"]


def test_a_trainer_killed_from_outside_is_tried_three_times(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    for _ in range(3):
        command = server.take(agent)
        server.stream(command["run_id"], preempting=True, complete=True, exitcode=137)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["failed"]


def test_a_lost_answer_hands_the_same_run_out_again(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    (lost,) = server.beat(agent)
    (again,) = server.beat(agent)
    assert (again["run_id"], again["args"], again["type"]) == (lost["run_id"], lost["args"], "run")
    assert len(server.runs(sweep)) == 1
    for _ in range(8):
        server.beat(agent)
    assert server.states(sweep) == ["pending"]
    server.beat(agent)
    assert server.states(sweep) == ["failed", "pending"]


def test_only_the_agent_that_holds_a_run_ends_it_by_its_heartbeat(server: InProcessServer) -> None:
    sweep = server.sweep()
    first, second = server.agent(sweep), server.agent(sweep)
    run = server.take(first)["run_id"]
    server.take(second)
    assert server.run(run).agent == first.pk
    assert server.beat(second, run) == [{"type": "stop", "run_id": run, "is_lost": True}]
    assert server.run(run).agent == first.pk
    assert server.run(run).state.value == "running"


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
    server: InProcessServer, post: dict[str, Any], attempt: int | None
) -> None:
    sweep = server.sweep()
    agent, other = server.agent(sweep), server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.stream(run, preempting=True)
    server.set_state(sweep, "PAUSED")
    server.beat(agent)
    server.set_state(sweep, "RUNNING")
    (command,) = server.beat(other)
    assert command["run_id"] == run
    is_stopped = server.stream(run, attempt=attempt, **post)
    assert is_stopped == (attempt is not None), "the earlier trainer is told to stop"
    assert server.run(run).state.value == "pending"
    assert server.run(run).agent == other.pk
    server.begin(command)
    server.stream(run, attempt=1, complete=True, exitcode=3)
    server.stream(run, attempt=1, files={"wandb-history.jsonl": {"offset": 0, "content": ["{}"]}})
    assert server.run(run).state.value == "running"
    assert server.run(run).last_step == -1
    server.end(run, 0, attempt=2)
    assert server.run(run).state.value == "finished"


def test_a_run_that_waits_may_still_be_finished_by_its_own_trainer(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.wait(90)
    assert server.states(sweep) == ["crashed"]
    server.end(run, 1, attempt=1)
    assert server.states(sweep) == ["crashed"]
    server.end(run, 0, attempt=1)
    assert server.states(sweep) == ["finished"]
    server.reaper.tick()
    assert server.state(sweep) == "FINISHED"
    assert server.beat(agent) == [{"type": "exit"}]


def test_a_paused_sweep_hands_out_nothing_and_goes_on_when_resumed(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent, other = server.agent(sweep), server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.set_state(sweep, "PAUSED")
    assert server.beat(other) == []
    assert server.beat(agent, run) == []
    server.end(run, 0)
    assert server.beat(agent) == []
    server.set_state(sweep, "RUNNING")
    assert server.beat(agent)[0]["type"] == "run"


def test_a_stopped_sweep_lets_its_runs_end_and_takes_no_new_ones(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent, other = server.agent(sweep), server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.set_state(sweep, "FINISHED")
    assert server.beat(other) == [{"type": "exit"}]
    assert server.beat(agent, run) == []
    server.end(run, 0)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["finished"]


def test_a_cancelled_sweep_stops_its_runs_first_and_lets_the_agent_leave_after(
    server: InProcessServer,
) -> None:
    sweep = server.sweep()
    agent, gone = server.agent(sweep), server.agent(sweep)
    waiting = server.take(gone)["run_id"]
    run = server.take(agent)["run_id"]
    server.wait(70, beating=(agent,))
    assert server.run(waiting).state.value == "crashed"
    server.set_state(sweep, "CANCELED")
    assert server.run(waiting).state.value == "killed"
    for _ in range(3):
        assert server.beat(agent, run) == [{"type": "stop", "run_id": run}]
    server.end(run, 143)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.run(run).state.value == "killed"
    server.set_state(sweep, "RUNNING")
    assert server.beat(agent)[0]["args"] == {"a": {"value": 3}}


def test_a_run_that_is_asked_to_stop_is_killed_and_not_taken_again(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    assert server.stream(run) is False
    server.intake.ask_stop(server.run(run))
    assert server.stream(run) is True
    assert server.beat(agent, run) == [{"type": "stop", "run_id": run}]
    (command,) = server.beat(agent)
    assert command["run_id"] != run
    assert server.run(run).state.value == "killed"


def test_an_idle_agent_leaves_when_the_others_train_and_live(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agent, other = server.agent(sweep), server.agent(sweep)
    run, others = server.take(agent)["run_id"], server.take(other)["run_id"]
    server.end(run, 0)
    server.seconds += 1
    assert server.beat(agent) == [], "the other was not heard of since: it may be dead"
    server.seconds += 1
    server.beat(other, others)
    assert server.beat(agent) == [{"type": "exit"}]
    server.end(others, 0)
    assert server.beat(other) == [{"type": "exit"}]
    assert server.state(sweep) == "FINISHED"


def test_the_replacement_of_a_dead_agent_waits_for_its_run(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    dead = server.agent(sweep)
    run = server.take(dead)["run_id"]
    server.seconds += 2
    replacement = server.agent(sweep)
    for _ in range(57):
        server.wait(1)
        assert server.beat(replacement) == []
    server.wait(2)
    (command,) = server.beat(replacement)
    assert (command["type"], command["run_id"], command["attempt"]) == ("resume", run, 2)


def test_a_run_is_known_by_its_agent_whatever_its_client_calls_the_machine(
    server: InProcessServer,
) -> None:
    sweep = server.sweep()
    commands = [server.take(server.agent(sweep, host)) for host in ("desk-0", "desk-1")]
    assert [server.run(command["run_id"]).host for command in commands] == ["desk-0", "desk-1"]


def test_a_queued_run_goes_to_the_host_that_had_it_first(server: InProcessServer) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    agents = {host: server.agent(sweep, host) for host in ("job-0", "job-1")}
    runs = {host: server.take(agent)["run_id"] for host, agent in agents.items()}
    server.set_state(sweep, "PAUSED")
    for host, agent in agents.items():
        server.stream(runs[host], preempting=True)
        assert server.beat(agent) == []
    server.set_state(sweep, "RUNNING")
    for host in ("job-1", "job-0"):
        assert server.take(server.agent(sweep, host))["run_id"] == runs[host]


def test_an_agent_that_leaves_without_a_last_word_does_not_keep_the_sweep_open(
    server: InProcessServer,
) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    server.end(server.take(server.agent(sweep))["run_id"], 0)
    assert server.state(sweep) == "RUNNING"
    server.reaper.tick()
    assert server.state(sweep) == "FINISHED"


def test_a_finished_sweep_runs_again_when_the_last_run_turns_out_to_be_lost(
    server: InProcessServer,
) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.end(run, 0, attempt=1)
    server.reaper.tick()
    assert server.state(sweep) == "FINISHED"
    server.stream(run, attempt=1, preempting=True, complete=True, exitcode=137)
    assert server.take(agent)["run_id"] == run
    assert server.state(sweep) == "RUNNING"
    server.set_state(sweep, "FINISHED")
    server.stream(run, attempt=2, preempting=True, complete=True, exitcode=137)
    assert server.beat(agent) == [{"type": "exit"}], "stopped by a person: nothing goes out"
    assert server.state(sweep) == "FINISHED"


def test_an_unknown_agent_and_an_unknown_sweep_are_not_found(server: InProcessServer) -> None:
    for agent in (None, 12345):
        with pytest.raises(NotFoundError, match="no such agent"):
            server.dispatcher.heartbeat(agent, [])
    with pytest.raises(NotFoundError, match="no sweep 'nope'"):
        server.dispatcher.register("nope", "h")


def test_a_changed_grid_goes_on_with_its_new_points(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    for _ in range(3):
        server.end(server.take(agent)["run_id"], 0)
    assert server.beat(agent) == [{"type": "exit"}]
    bigger = '{"method": "grid", "parameters": {"a": {"values": [3, 4, 2]}}}'
    server.sweeps.upsert({"id": sweep.id, "config": bigger, "state": "RUNNING"})
    assert server.take(agent)["args"] == {"a": {"value": 4}}
    assert GRID["parameters"] == {"a": {"values": [1, 2, 3]}}


def test_a_deleted_point_of_a_grid_is_handed_out_again(server: InProcessServer) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    runs = []
    for _ in range(2):
        runs.append(server.run(server.take(agent)["run_id"]))
        server.end(runs[-1].id, 0)
    assert server.beat(agent, runs[-1].id) == []
    with server.database.write() as tx:
        run_store.delete_run(tx, runs[0].pk)
    taken = [server.take(agent)["args"]["a"]["value"] for _ in range(1)]
    assert taken == [1]
    assert server.params(sweep) == [{"a": 2}, {"a": 1}]


def test_a_choice_that_was_rolled_back_is_made_again(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(agent: int) -> None:
        raise OSError("no room")

    sweep = server.sweep()
    agent = server.agent(sweep)
    server.end(server.take(agent)["run_id"], 0)
    with monkeypatch.context() as broken:
        broken.setattr(server.presence, "mark_busy", fail)
        with pytest.raises(OSError, match="no room"):
            server.beat(agent)
    assert len(server.params(sweep)) == 1
    assert server.take(agent)["args"] == {"a": {"value": 2}}
    assert server.params(sweep) == [{"a": 1}, {"a": 2}]


def test_limits_come_in_as_arguments(tmp_path: Path) -> None:
    server = InProcessServer(tmp_path, Limits(attempts=1))
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"value": 1}}})
    agent = server.agent(sweep)
    server.take(agent)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["failed"]
