"""Runs that have ended badly and are given back: same id, same parameters, to whoever asks next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.engine.sweep_config import SweepError
from tests.unit.server_in_process import GRID, InProcessServer, served

ONE = {"method": "grid", "parameters": {"a": {"value": 1}}}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def ended(server: InProcessServer, spec: dict[str, Any], code: int) -> tuple[Any, str]:
    """Give a sweep whose runs have all ended with this exit code, and its first run."""
    sweep = server.sweep(spec)
    agent = server.agent(sweep)
    commands = server.beat(agent)
    while commands[0]["type"] != "exit":
        server.begin(commands[0])
        server.end(commands[0]["run_id"], code)
        commands = server.beat(agent)
    return sweep, server.runs(sweep)[0].id


def test_a_failed_run_of_a_finished_sweep_is_trained_again_and_the_sweep_ends_again(
    server: InProcessServer,
) -> None:
    sweep, run = ended(server, GRID, 1)
    before = server.params(sweep)
    assert server.state(sweep) == "FINISHED"
    given, is_new = server.sweeps.retry(server.run(run))
    assert (given.state.value, is_new, server.state(sweep)) == ("preempted", True, "RUNNING")
    agent = server.agent(sweep)
    command = server.take(agent)
    assert (command["type"], command["run_id"], command["losses"]) == ("resume", run, 0)
    assert command["args"] == {"a": {"value": 1}}
    server.end(run, 0)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["finished", "failed", "failed"]
    assert server.state(sweep) == "FINISHED"
    assert server.params(sweep) == before


def test_a_run_that_was_lost_too_often_has_all_its_attempts_again(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    for _ in range(server.limits.attempts):
        server.take(server.agent(sweep))
        server.wait(server.limits.agent_timeout_s + 2)
    (lost,) = server.runs(sweep)
    assert (lost.state.value, lost.losses) == ("failed", server.limits.attempts)
    server.sweeps.retry(lost)
    command = server.take(server.agent(sweep))
    assert (command["losses"], command["attempt"]) == (0, server.limits.attempts + 1)
    server.wait(server.limits.agent_timeout_s + 2)
    assert server.states(sweep) == ["crashed"]
    assert server.take(server.agent(sweep))["run_id"] == lost.id


def test_a_run_that_somebody_stopped_is_not_stopped_again(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.intake.ask_stop(server.run(run))
    server.end(run, 143)
    server.beat(agent)
    assert server.states(sweep) == ["killed"]
    server.sweeps.retry(server.run(run))
    again = server.agent(sweep)
    assert server.take(again)["run_id"] == run
    assert server.beat(again, run) == []


def test_asking_twice_is_the_same_as_once(server: InProcessServer) -> None:
    sweep, run = ended(server, ONE, 1)
    assert server.sweeps.retry(server.run(run))[1]
    queued = server.run(run).queued
    server.seconds += 5
    assert not server.sweeps.retry(server.run(run))[1]
    assert server.run(run).queued == queued
    assert server.state(sweep) == "RUNNING"


def test_a_late_word_of_the_attempt_that_failed_changes_nothing(server: InProcessServer) -> None:
    _, run = ended(server, ONE, 1)
    server.sweeps.retry(server.run(run))
    server.end(run, 1, attempt=1)
    assert server.run(run).state.value == "preempted"
    assert server.run(run).queued is not None


def test_what_is_under_way_or_has_finished_is_refused_with_its_state(
    server: InProcessServer,
) -> None:
    _, run = ended(server, ONE, 0)
    with pytest.raises(SweepError, match=f"run {run} is finished"):
        server.sweeps.retry(server.run(run))
    held = server.take(server.agent(server.sweep(ONE)))["run_id"]
    with pytest.raises(SweepError, match=f"run {held} is running, and its agent still has it"):
        server.sweeps.retry(server.run(held))
    server.end(held, 1)
    with pytest.raises(SweepError, match=f"run {held} is failed, and its agent still has it"):
        server.sweeps.retry(server.run(held))


def test_a_sweep_that_would_hand_out_other_runs_as_well_is_to_be_resumed_first(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(GRID)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.set_state(sweep, "FINISHED")
    server.end(run, 1)
    server.beat(agent)
    with pytest.raises(SweepError, match=r"was stopped with runs left.*resume it first"):
        server.sweeps.retry(server.run(run))
    server.set_state(sweep, "RUNNING")
    assert server.sweeps.retry(server.run(run))[1]
    server.set_state(sweep, "CANCELED")
    with pytest.raises(SweepError, match="is CANCELED: it hands out no run any more"):
        server.sweeps.retry(server.run(run))


def test_a_paused_sweep_stays_paused(server: InProcessServer) -> None:
    sweep = server.sweep(GRID)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.end(run, 1)
    server.set_state(sweep, "PAUSED")
    assert server.beat(agent) == []
    server.sweeps.retry(server.run(run))
    assert (server.state(sweep), server.beat(agent)) == ("PAUSED", [])


def test_the_mutation_answers_with_the_run_and_refuses_in_words(server: InProcessServer) -> None:
    _, run = ended(server, ONE, 1)
    api = served(server)
    query = "mutation Retry($id: ID!) { retryRun(input: {id: $id}) { success run { name state } } }"

    def ask(id: str) -> Any:
        body = {"query": query, "variables": {"id": id}}
        return api.post("/graphql", json=body).json()

    node = api.post(
        "/graphql",
        json={
            "query": 'query { project(name: "p", entityName: "local")'
            f' {{ run(name: "{run}") {{ id }} }} }}'
        },
    ).json()["data"]["project"]["run"]["id"]
    payload = ask(node)["data"]["retryRun"]
    assert payload == {"success": True, "run": {"name": run, "state": "preempted"}}
    assert ask(node)["data"]["retryRun"]["success"] is False
    assert "no run has the id" in ask("nobody")["errors"][0]["message"]
