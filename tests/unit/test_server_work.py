"""The work of a sweep: runs that never began or are handed on, its end, runs from before it."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.search.next_params import wrapped
from sweepctl.server.engine.sweep_config import SweepError
from tests.unit.server_in_process import GRID, InProcessServer, served

ONE = {"method": "grid", "parameters": {"a": {"value": 1}}}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def test_a_run_that_fails_before_it_begins_is_handed_out_once_by_wandbs_agent(
    server: InProcessServer,
) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep, is_own=False)
    (first,) = server.beat(agent)
    (second,) = server.beat(agent)
    assert second["run_id"] != first["run_id"]
    assert server.beat(agent, second["run_id"]) == []
    (third,) = server.beat(agent)
    server.begin(third)
    server.end(third["run_id"], 0)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["failed", "failed", "finished"]
    assert server.state(sweep) == "FINISHED"
    assert [run.attempt for run in server.runs(sweep)] == [1, 1, 1]


def test_an_answer_that_was_lost_with_the_server_is_given_again_to_wandbs_agent(
    server: InProcessServer,
) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep, is_own=False)
    (lost,) = server.beat(agent)
    server.restart()
    (again,) = server.beat(agent)
    assert again["run_id"] == lost["run_id"]


def test_a_run_whose_agent_vanished_before_it_began_is_handed_on(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    lost = server.beat(server.agent(sweep, is_own=False))[0]["run_id"]
    server.wait(server.limits.agent_timeout_s + 2)
    assert server.beat(server.agent(sweep, is_own=False))[0]["run_id"] == lost


def test_a_run_that_was_taken_again_and_does_not_begin_has_failed(server: InProcessServer) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep, is_own=False)
    run = server.take(agent)["run_id"]
    server.stream(run, preempting=True, complete=True, exitcode=143)
    assert server.beat(agent)[0]["type"] == "resume"
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.states(sweep) == ["failed"]


@pytest.mark.parametrize("code", [143, 1, 137])
def test_a_run_that_its_trainer_handed_back_is_handed_on_at_once(
    server: InProcessServer, code: int
) -> None:
    sweep = server.sweep(ONE)
    leaving, other = server.agent(sweep, is_own=False), server.agent(sweep)
    run = server.take(leaving)["run_id"]
    server.stream(run, preempting=True)
    assert server.beat(other) == [], "its trainer has not ended"
    server.end(run, code)
    (command,) = server.beat(other)
    assert (command["run_id"], command["type"]) == (run, "resume")
    assert server.beat(leaving, run) == [{"type": "stop", "run_id": run, "is_lost": True}]


def test_an_agent_that_stays_is_not_told_to_stop_a_trainer_that_is_about_to_end(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep, is_own=False)
    run = server.take(agent)["run_id"]
    server.stream(run, preempting=True, complete=True, exitcode=143)
    assert server.beat(agent, run) == []
    assert server.beat(agent)[0]["run_id"] == run


def test_a_trainer_that_always_hands_back_with_an_error_is_given_up(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    for _ in range(server.limits.attempts):
        run = server.take(server.agent(sweep, is_own=False))["run_id"]
        server.stream(run, preempting=True, complete=True, exitcode=1)
    assert server.states(sweep) == ["failed"]
    assert server.beat(server.agent(sweep, is_own=False)) == [{"type": "exit"}]


@pytest.mark.parametrize(("user_agent", "is_own"), [("sweepctl", True), ("wandb-core", False)])
def test_who_an_agent_is_is_told_by_its_client(
    server: InProcessServer, user_agent: str, is_own: bool
) -> None:
    sweep = server.sweep()
    query = "mutation A($i: CreateAgentInput!) { createAgent(input: $i) { agent { id } } }"
    asked = {"query": query, "variables": {"i": {"host": "h", "sweep": sweep.id}}}
    answer = served(server).post("/graphql", json=asked, headers={"user-agent": user_agent})
    beat = "mutation H($i: AgentHeartbeatInput!) { agentHeartbeat(input: $i) { commands } }"
    agent = answer.json()["data"]["createAgent"]["agent"]["id"]
    ids = []
    for _ in range(2):
        asked = {"query": beat, "variables": {"i": {"id": agent, "runState": "{}"}}}
        found = served(server).post("/graphql", json=asked).json()["data"]["agentHeartbeat"]
        ids.append(json.loads(found["commands"])[0]["run_id"])
    assert (ids[0] == ids[1]) == is_own


def finished(server: InProcessServer, spec: dict[str, Any]) -> Any:
    sweep = server.sweep(spec)
    agent = server.agent(sweep)
    while (command := server.beat(agent)[0])["type"] != "exit":
        server.begin(command)
        server.end(command["run_id"], 0)
    assert server.state(sweep) == "FINISHED"
    return sweep


CAPPED = {"method": "random", "run_cap": 2, "parameters": {"a": {"min": 0.0, "max": 1.0}}}


@pytest.mark.parametrize("spec", [GRID, CAPPED], ids=["grid", "random with a cap"])
def test_a_sweep_that_has_ended_is_not_paused_and_goes_on_only_with_something_left(
    server: InProcessServer, spec: dict[str, Any]
) -> None:
    sweep = finished(server, spec)
    with pytest.raises(SweepError, match=r"^Cannot pause finished sweep\.$"):
        server.set_state(sweep, "PAUSED")
    with pytest.raises(SweepError, match=r"stays FINISHED: it has had its \d runs and has none"):
        server.set_state(sweep, "RUNNING")
    assert server.state(sweep) == "FINISHED"


def test_a_canceled_sweep_is_not_paused(server: InProcessServer) -> None:
    sweep = server.sweep()
    server.set_state(sweep, "CANCELED")
    with pytest.raises(SweepError, match="Cannot pause canceled sweep"):
        server.set_state(sweep, "PAUSED")


MORE: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "a raised run_cap": (CAPPED, {**CAPPED, "run_cap": 3}, True),
    "no run_cap": (CAPPED, {k: v for k, v in CAPPED.items() if k != "run_cap"}, True),
    "another value": (GRID, {**GRID, "parameters": {"a": {"values": [1, 2, 3, 4]}}}, True),
    "another parameter": (ONE, {**ONE, "parameters": {"a": {"value": 1}, "b": {"value": 2}}}, True),
    "another method": (ONE, {**CAPPED, "run_cap": 9}, True),
    "a lower run_cap": (CAPPED, {**CAPPED, "run_cap": 1}, False),
    "fewer values": (GRID, {**GRID, "parameters": {"a": {"values": [1]}}}, False),
    "another name": (GRID, {**GRID, "name": "new"}, False),
}


@pytest.mark.parametrize(("spec", "changed", "is_opened"), MORE.values(), ids=MORE)
def test_a_changed_configuration_opens_a_finished_sweep_when_something_is_left(
    server: InProcessServer, spec: dict[str, Any], changed: dict[str, Any], is_opened: bool
) -> None:
    sweep = finished(server, spec)
    server.sweeps.upsert({"id": sweep.id, "config": json.dumps(changed)})
    assert server.state(sweep) == ("RUNNING" if is_opened else "FINISHED")
    (command,) = server.beat(server.agent(sweep))
    assert command["type"] == ("run" if is_opened else "exit")


def test_a_sweep_that_a_person_stopped_is_opened_by_a_person_alone(server: InProcessServer) -> None:
    sweep = server.sweep(CAPPED)
    server.set_state(sweep, "FINISHED")
    changed = json.dumps({**CAPPED, "run_cap": 5})
    server.sweeps.upsert({"id": sweep.id, "config": changed})
    assert server.state(sweep) == "FINISHED"
    server.set_state(sweep, "RUNNING")
    assert server.state(sweep) == "RUNNING"


def test_a_paused_sweep_that_had_its_last_run_meanwhile_is_finished_when_it_goes_on(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(ONE)
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    server.set_state(sweep, "PAUSED")
    server.end(run, 0)
    assert server.beat(agent) == []
    assert server.state(sweep) == "PAUSED"
    server.set_state(sweep, "RUNNING")
    assert server.state(sweep) == "FINISHED"


def prior(server: InProcessServer, id: str, loss: float, **config: Any) -> None:
    """Train a run that is of no sweep."""
    asked = {"name": id, "modelName": "p", "config": json.dumps(wrapped(config)), "host": "h"}
    query = "mutation B($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
    served(server).post("/graphql", json={"query": query, "variables": {"i": asked}})
    summary = {"offset": 0, "content": [json.dumps({"loss": loss})]}
    server.stream(id, files={"wandb-summary.json": summary}, complete=True, exitcode=0)


def with_prior(server: InProcessServer, spec: dict[str, Any], *ids: str) -> tuple[Any, list[str]]:
    filters = json.dumps({"$or": [{"name": id} for id in ids]})
    wanted = {"config": json.dumps(spec), "projectName": "p", "priorRunsFilters": filters}
    return server.sweeps.upsert(wanted)


def test_runs_from_before_count_in_the_list_of_a_sweep(server: InProcessServer) -> None:
    prior(server, "r1", 3.0, a=1)
    prior(server, "r2", 1.0, a=7)
    prior(server, "other", 0.0, a=2)
    spec = {**GRID, "metric": {"name": "loss", "goal": "minimize"}}
    sweep, warnings = with_prior(server, spec, "r1", "r2", "r2")
    assert warnings == []
    query = """query Q($s: String!, $f: JSONString) { project(name: "p") {
      sweep(sweepName: $s) { runCount bestLoss runs { edges { node { name } } totalCount }
        priorRuns { edges { node { name } } } }
      runs(filters: $f) { edges { node { name } } } runCount(filters: $f) } }"""
    asked = {"s": sweep.id, "f": json.dumps({"$and": [{"sweep": sweep.id}]})}
    answer = served(server).post("/graphql", json={"query": query, "variables": asked})
    project = answer.json()["data"]["project"]
    names = [{"node": {"name": "r1"}}, {"node": {"name": "r2"}}]
    assert project == {
        "sweep": {
            "runCount": 2,
            "bestLoss": 1.0,
            "runs": {"edges": names, "totalCount": 2},
            "priorRuns": {"edges": names},
        },
        "runs": {"edges": names},
        "runCount": 2,
    }


def test_a_grid_does_not_repeat_runs_from_before(server: InProcessServer) -> None:
    prior(server, "r1", 3.0, a=2, lr=1e-3)
    prior(server, "beside", 3.0, a=9)
    prior(server, "without", 3.0)
    sweep, _ = with_prior(server, GRID, "r1", "beside", "without")
    agent, tried = server.agent(sweep), []
    while (command := server.beat(agent)[0])["type"] != "exit":
        tried.append(command["args"]["a"]["value"])
        server.begin(command)
        server.end(command["run_id"], 0)
    assert tried == [1, 3]
    assert server.state(sweep) == "FINISHED"


def test_runs_from_before_count_against_the_run_cap(server: InProcessServer) -> None:
    prior(server, "r1", 3.0, a=0.5)
    sweep, _ = with_prior(server, CAPPED, "r1")
    agent = server.agent(sweep)
    server.end(server.take(agent)["run_id"], 0)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.state(sweep) == "FINISHED"


def test_a_sweep_that_runs_from_before_fill_is_finished(server: InProcessServer) -> None:
    prior(server, "r1", 3.0, a=1)
    sweep, _ = with_prior(server, ONE, "r1")
    server.reaper.tick()
    assert server.state(sweep) == "FINISHED"


def test_runs_of_another_sweep_count_in_both(server: InProcessServer) -> None:
    before = finished(server, GRID)
    ids = [run.id for run in server.runs(before)]
    sweep, _ = with_prior(server, {**GRID, "parameters": {"a": {"values": [3, 4]}}}, *ids)
    assert server.beat(server.agent(sweep))[0]["args"]["a"]["value"] == 4
    assert [run.id for run in server.runs(before)] == ids
    assert [run.id for run in server.runs(sweep)][:3] == ids


def test_a_run_from_before_that_is_not_there_is_told(server: InProcessServer) -> None:
    prior(server, "r1", 3.0, a=1)
    _, warnings = with_prior(server, GRID, "r1", "r9")
    assert warnings == ["prior run 'r9': this project has none such"]


def test_the_engine_is_told_of_runs_from_before_that_have_every_parameter(
    server: InProcessServer,
) -> None:
    prior(server, "r1", 3.0, a=1, net={"width": 8}, other=5)
    prior(server, "r2", 1.0, a=7)
    prior(server, "r3", 1.0, a=7, net={"depth": 1})
    spec = {
        "method": "random",
        "metric": {"name": "loss"},
        "parameters": {
            "a": {"values": [1, 2]},
            "net": {"parameters": {"width": {"values": [4, 8]}}},
        },
    }
    sweep, _ = with_prior(server, spec, "r1", "r2", "r3")
    with server.database.read() as rows:
        (told,) = server.results.brief(rows, sweep)
    assert told["config"] == {"a": {"value": 1}, "net": {"value": {"width": 8}}}
    assert told["summary_metrics"] == {"loss": 3.0}


def test_a_deleted_run_counts_in_no_sweep(server: InProcessServer) -> None:
    prior(server, "r1", 3.0, a=1)
    sweep, _ = with_prior(server, ONE, "r1")
    server.delete("r1")
    assert server.runs(sweep) == []
    assert server.beat(server.agent(sweep))[0]["type"] == "run"
