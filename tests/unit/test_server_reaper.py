"""The reaper gives silent agents' runs back; it never counts a time when the server was away."""

import threading
from pathlib import Path

import pytest
from server_rooms import ServerRooms

from sweepctl.server.lifecycle import Limits
from sweepctl.server.store import run_store
from sweepctl.server.store import sweep_store as store

ONE = {"method": "grid", "parameters": {"a": {"value": 1}}}


@pytest.fixture
def rooms(tmp_path: Path) -> ServerRooms:
    return ServerRooms(tmp_path, Limits(agent_timeout_s=60, run_timeout_s=300))


def test_the_run_of_a_silent_agent_is_taken_by_another(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    dead = rooms.agent(sweep)
    run = rooms.take(dead)["run_id"]
    rooms.wait(59)
    assert rooms.states(sweep) == ["running"]
    rooms.wait(2)
    assert rooms.states(sweep) == ["crashed"]
    with rooms.database.read() as rows:
        assert store.agents(rows, sweep.pk)[0].state.value == "CRASHED"
    assert rooms.take(rooms.agent(sweep))["run_id"] == run


def test_an_agent_that_beats_keeps_its_run_however_silent_the_trainer_is(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep(ONE)
    agent = rooms.agent(sweep)
    rooms.take(agent)
    rooms.wait(3600, beating=(agent,))
    assert rooms.states(sweep) == ["running"]


def test_a_trainer_that_outlives_its_agent_keeps_its_run(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    for _ in range(10):
        rooms.wait(30)
        rooms.stream(run)
    assert rooms.states(sweep) == ["running"]
    rooms.end(run, 0)
    rooms.wait(61)
    assert rooms.states(sweep) == ["finished"]
    assert rooms.state(sweep) == "FINISHED"


def test_silence_begins_anew_when_the_server_does(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.wait(50)
    rooms.restart(after_s=3600)
    rooms.wait(59)
    assert rooms.states(sweep) == ["running"]
    assert rooms.beat(agent, run) == []
    rooms.wait(59)
    assert rooms.states(sweep) == ["running"]
    rooms.restart()
    rooms.wait(61)
    assert rooms.states(sweep) == ["crashed"]


def test_silence_begins_anew_when_the_server_was_frozen(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    rooms.take(rooms.agent(sweep))
    rooms.wait(10)
    rooms.wait(120, step_s=120)
    assert rooms.states(sweep) == ["running"]
    rooms.wait(61)
    assert rooms.states(sweep) == ["crashed"]


def test_an_agent_that_comes_back_in_time_goes_on_with_its_run(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    agent = rooms.agent(sweep)
    command = rooms.take(agent)
    rooms.wait(70)
    assert rooms.states(sweep) == ["crashed"]
    assert rooms.beat(agent, command["run_id"]) == []
    assert rooms.states(sweep) == ["running"]
    rooms.end(command["run_id"], 0, attempt=command["attempt"])
    assert rooms.states(sweep) == ["finished"]


def test_an_agent_that_comes_back_too_late_is_told_to_stop(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    late = rooms.agent(sweep)
    run = rooms.take(late)["run_id"]
    rooms.wait(70)
    other = rooms.agent(sweep)
    again = rooms.take(other)
    assert rooms.beat(late, run) == [{"type": "stop", "run_id": run}]
    assert rooms.beat(late) != [], "it leaves, or waits for the other"
    assert rooms.run(run).agent == other.pk
    rooms.end(run, 0, attempt=again["attempt"])
    assert rooms.states(sweep) == ["finished"]


def test_an_agent_that_let_its_run_go_does_not_get_it_back_by_an_old_word(
    rooms: ServerRooms,
) -> None:
    sweep = rooms.sweep(ONE)
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.set_state(sweep, "PAUSED")
    rooms.beat(agent)
    assert rooms.states(sweep) == ["crashed"]
    assert rooms.beat(agent, run) == [{"type": "stop", "run_id": run}]
    assert rooms.states(sweep) == ["crashed"]


def test_a_silent_run_without_agent_is_crashed_and_revives_when_it_speaks(
    rooms: ServerRooms,
) -> None:
    with rooms.database.write() as tx:
        project = store.ensure_project(tx, "local", "p", 0.0)
        fields = {"project": project.pk, "state": "running", "id": "plain"}
        run_store.create_run(tx, fields, rooms.seconds)
    rooms.presence.hear("run", rooms.run("plain").pk)
    rooms.wait(299)
    assert rooms.run("plain").state.value == "running"
    rooms.wait(2)
    assert rooms.run("plain").state.value == "crashed"
    rooms.stream("plain")
    assert rooms.run("plain").state.value == "running"
    rooms.end("plain", 0)
    rooms.wait(600)
    assert rooms.run("plain").state.value == "finished"


def test_signs_of_life_are_stored_from_time_to_time_for_people_to_see(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(ONE)
    agent = rooms.agent(sweep)
    run = rooms.take(agent)["run_id"]
    rooms.wait(100, beating=(agent,))
    rooms.stream(run)
    rooms.reaper.flush()
    heard = rooms.seconds
    rooms.restart(after_s=1000)
    assert rooms.run(run).heartbeat == pytest.approx(heard)
    with rooms.database.read() as rows:
        assert store.agents(rows, sweep.pk)[0].heartbeat == pytest.approx(heard)


def test_reaping_and_asking_at_the_same_time_hands_a_run_to_one_agent(tmp_path: Path) -> None:
    rooms = ServerRooms(tmp_path, Limits(agent_timeout_s=0))
    sweep = rooms.sweep({"method": "grid", "parameters": {"a": {"values": list(range(20))}}})
    done = threading.Event()

    def reap() -> None:
        while not done.is_set():
            rooms.reaper.tick()

    reaping = threading.Thread(target=reap)
    reaping.start()
    try:
        finished = []
        agents = [rooms.agent(sweep) for _ in range(2)]
        while rooms.state(sweep) != "FINISHED":
            for agent in agents:
                for command in rooms.beat(agent):
                    if command["type"] in ("run", "resume"):
                        rooms.end(command["run_id"], 0, attempt=command["attempt"])
                        finished.append(command["run_id"])
    finally:
        done.set()
        reaping.join()
    assert rooms.states(sweep) == ["finished"] * 20
