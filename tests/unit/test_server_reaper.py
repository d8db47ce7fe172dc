"""The reaper gives silent agents' runs back; it never counts a time when the server was away."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sweepctl.server.engine.reaper import Reaper, ReaperThread
from sweepctl.server.engine.results import Results
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.early_stop import EarlyStop, EarlyStopThread
from sweepctl.server.store import run_store, sweep_store
from tests.unit.server_in_process import InProcessServer

Thread = ReaperThread | EarlyStopThread
ONE = {"method": "grid", "parameters": {"a": {"value": 1}}}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path, Limits(agent_timeout_s=60, run_timeout_s=300))


WATCHES: dict[str, tuple[type, Callable[[InProcessServer, Callable[[str], None]], Thread]]] = {
    "the reaper": (Reaper, lambda server, log: ReaperThread(server.reaper, log)),
    "early stopping": (
        EarlyStop,
        lambda server, log: EarlyStopThread(
            EarlyStop(server.database, server.intake, Results(), log), log, interval_s=0.001
        ),
    ),
}


@pytest.mark.parametrize(("watch", "begun"), WATCHES.values(), ids=WATCHES)
def test_an_unexpected_error_ends_no_watch_and_is_logged_once(
    server: InProcessServer,
    monkeypatch: pytest.MonkeyPatch,
    watch: type,
    begun: Callable[[InProcessServer, Callable[[str], None]], Thread],
) -> None:
    looks: list[object] = []
    has_looked_again = threading.Event()

    def look(self: object) -> None:
        looks.append(self)
        if len(looks) == 3:
            has_looked_again.set()
        raise TypeError("odd")

    monkeypatch.setattr(watch, "tick", look)
    server.reaper.interval_s = 0.001
    said: list[str] = []
    thread = begun(server, said.append)
    assert has_looked_again.wait(60)
    thread.stop()
    (line,) = said
    assert line.startswith("unexpected error of ")
    assert line.endswith("TypeError: odd")


def test_the_run_of_a_silent_agent_is_taken_by_another(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    dead = server.agent(sweep)
    run = server.take(dead)["run_id"]
    server.wait(59)
    assert server.states(sweep) == ["running"]
    server.wait(2)
    assert server.states(sweep) == ["crashed"]
    with server.database.read() as rows:
        assert sweep_store.agents(rows, sweep.pk)[0].state.value == "CRASHED"
    assert server.take(server.agent(sweep))["run_id"] == run


def test_an_agent_that_beats_keeps_its_run_however_silent_the_trainer_is(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    server.take(agent)
    server.wait(3600, beating=(agent,))
    assert server.states(sweep) == ["running"]


def test_a_trainer_that_outlives_its_agent_keeps_its_run(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    for _ in range(10):
        server.wait(30)
        server.stream(run)
    assert server.states(sweep) == ["running"]
    server.end(run, 0)
    server.wait(61)
    assert server.states(sweep) == ["finished"]
    assert server.state(sweep) == "FINISHED"


@pytest.mark.parametrize(
    ("is_own", "code", "state"),
    [
        pytest.param(True, 143, "crashed", id="told to leave, and the mark of that never came"),
        pytest.param(True, 1, "crashed", id="failed, but perhaps for its node's sake"),
        pytest.param(True, 0, "finished", id="finished"),
        pytest.param(False, 143, "failed", id="as at W&B: its agent judges nothing"),
    ],
)
def test_a_run_whose_trainer_ended_and_whose_agent_died_before_it_judged_that_is_not_lost(
    server: InProcessServer, is_own: bool, code: int, state: str
) -> None:
    sweep = server.sweep(ONE)
    dead = server.agent(sweep, is_own=is_own)
    run = server.take(dead)["run_id"]
    server.end(run, code)
    server.wait(61)
    assert server.states(sweep) == [state]
    assert server.state(sweep) == ("RUNNING" if state == "crashed" else "FINISHED")
    if state == "crashed":
        assert server.take(server.agent(sweep))["run_id"] == run


def test_a_run_that_fails_each_time_before_its_agent_dies_fails_in_the_end(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    for _ in range(Limits().attempts):
        run = server.take(server.agent(sweep))["run_id"]
        server.end(run, 1)
        server.wait(61)
    assert server.states(sweep) == ["failed"]
    assert server.state(sweep) == "FINISHED"


def test_silence_begins_anew_when_the_server_does(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.wait(50)
    server.restart(after_s=3600)
    server.wait(59)
    assert server.states(sweep) == ["running"]
    assert server.beat(agent, run) == []
    server.wait(59)
    assert server.states(sweep) == ["running"]
    server.restart()
    server.wait(61)
    assert server.states(sweep) == ["crashed"]


def test_silence_begins_anew_when_the_server_was_frozen(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    server.take(server.agent(sweep))
    server.wait(10)
    server.wait(120, step_s=120)
    assert server.states(sweep) == ["running"]
    server.wait(61)
    assert server.states(sweep) == ["crashed"]


def test_an_agent_that_comes_back_in_time_goes_on_with_its_run(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    command = server.take(agent)
    server.wait(70)
    assert server.states(sweep) == ["crashed"]
    assert server.beat(agent, command["run_id"]) == []
    assert server.states(sweep) == ["running"]
    server.end(command["run_id"], 0, attempt=command["attempt"])
    assert server.states(sweep) == ["finished"]


def test_an_agent_that_comes_back_too_late_is_told_to_stop(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    late = server.agent(sweep)
    run = server.take(late)["run_id"]
    server.wait(70)
    other = server.agent(sweep)
    again = server.take(other)
    assert server.beat(late, run) == [{"type": "stop", "run_id": run, "is_lost": True}]
    assert server.beat(late) != [], "it leaves, or waits for the other"
    assert server.run(run).agent == other.pk
    server.end(run, 0, attempt=again["attempt"])
    assert server.states(sweep) == ["finished"]


def test_an_agent_that_let_its_run_go_does_not_get_it_back_by_an_old_word(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.set_state(sweep, "PAUSED")
    server.beat(agent)
    assert server.states(sweep) == ["crashed"]
    assert server.beat(agent, run) == [{"type": "stop", "run_id": run, "is_lost": True}]
    assert server.states(sweep) == ["crashed"]


def test_a_silent_run_without_agent_is_crashed_and_revives_when_it_speaks(
    server: InProcessServer,
) -> None:
    with server.database.write() as tx:
        project = sweep_store.ensure_project(tx, "local", "p", 0.0)
        fields = {"project": project.pk, "state": "running", "id": "plain"}
        run_store.create_run(tx, fields, server.seconds)
    server.presence.mark_seen("run", server.run("plain").pk)
    server.wait(299)
    assert server.run("plain").state.value == "running"
    server.wait(2)
    assert server.run("plain").state.value == "crashed"
    server.stream("plain")
    assert server.run("plain").state.value == "running"
    server.end("plain", 0)
    server.wait(600)
    assert server.run("plain").state.value == "finished"


def test_signs_of_life_are_stored_from_time_to_time_for_people_to_see(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.wait(100, beating=(agent,))
    server.stream(run)
    server.reaper.flush()
    heard = server.seconds
    server.restart(after_s=1000)
    assert server.run(run).heartbeat == pytest.approx(heard)
    with server.database.read() as rows:
        assert sweep_store.agents(rows, sweep.pk)[0].heartbeat == pytest.approx(heard)


def test_reaping_and_asking_at_the_same_time_hands_a_run_to_one_agent(tmp_path: Path) -> None:
    server = InProcessServer(tmp_path, Limits(agent_timeout_s=0))
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"values": list(range(20))}}})
    done = threading.Event()

    def reap() -> None:
        while not done.is_set():
            server.reaper.tick()

    reaping = threading.Thread(target=reap)
    reaping.start()
    try:
        finished = []
        agents = [server.agent(sweep) for _ in range(2)]
        while server.state(sweep) != "FINISHED":
            for agent in agents:
                for command in server.beat(agent):
                    if command["type"] in ("run", "resume"):
                        server.end(command["run_id"], 0, attempt=command["attempt"])
                        finished.append(command["run_id"])
    finally:
        done.set()
        reaping.join()
    assert server.states(sweep) == ["finished"] * 20


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        pytest.param([[], [], []], "failed", id="it never logs"),
        pytest.param([[5], [3], [5]], "failed", id="it never comes further"),
        pytest.param([[5], [9], [12], [20], [21]], "crashed", id="it goes on each time"),
        pytest.param([[5], [5], [9], [9], [8]], "failed", id="it went on once"),
    ],
)
def test_run_fails_by_losses_in_a_row_of_which_none_came_further(
    steps: list[list[int]], state: str, server: InProcessServer
) -> None:
    sweep = server.sweep(ONE)
    for number, reached in enumerate(steps, start=1):
        agent = server.agent(sweep)
        command = server.take(agent)
        server.stream(command["run_id"], attempt=command["attempt"])
        for step in reached:
            line = json.dumps({"loss": 1.0, "_step": step})
            files = {"wandb-history.jsonl": {"offset": number * 100, "content": [line]}}
            server.stream(command["run_id"], attempt=command["attempt"], files=files)
        server.wait(70)
    assert server.states(sweep) == [state]


@pytest.mark.parametrize(
    ("attempts", "state"),
    [
        pytest.param(["lost"] * 9, "pending", id="not so often"),
        pytest.param(["lost"] * 10, "failed", id="ten times in a row"),
        pytest.param(["handed back"] * 12 + ["lost"], "pending", id="evicted often, and lost once"),
        pytest.param(["told while it starts"] * 12 + ["lost"], "pending", id="never let begin"),
        pytest.param(["lost"] * 9 + ["handed back", "lost"], "pending", id="it began in between"),
        pytest.param(["handed back"] + ["lost"] * 10, "failed", id="it began once, long ago"),
    ],
)
def test_run_fails_when_it_is_lost_before_it_begins_ten_times_in_a_row(
    attempts: list[str], state: str, server: InProcessServer
) -> None:
    sweep = server.sweep(ONE)
    for what in attempts:
        agent = server.agent(sweep)
        (command,) = server.beat(agent)
        if what == "lost":
            server.wait(server.limits.agent_timeout_s + 2)
            continue
        if what == "handed back":
            server.begin(command)
        server.stream(command["run_id"], attempt=command["attempt"], preempting=True)
        server.end(command["run_id"], 143, attempt=command["attempt"])
        server.beat(agent, "-")
    assert server.states(sweep) == [state]
