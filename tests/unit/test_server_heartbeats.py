"""The short way of a heartbeat answers as the long way does, or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.store.api_forms import node_id
from sweepctl.server.web.heartbeats import heartbeat_answer
from tests.unit.server_in_process import InProcessServer, served

OURS = (
    "mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {"
    " agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState})"
    " { agent { id } commands } }"
)
WANDBS = """
        mutation Heartbeat(
            $id: ID!,
            $metrics: JSONString,
            $runState: JSONString
        ) {
            agentHeartbeat(input: {
                id: $id,
                metrics: $metrics,
                runState: $runState
            }) {
                agent {
                    id
                }
                commands
            }
        }
"""
LONG_WAY = {
    "an alias": OURS.replace("commands }", "c: commands }"),
    "another field": OURS.replace("{ id }", "{ id name }"),
    "a directive": OURS.replace("commands }", "commands @skip(if: true) }"),
    "a fragment": OURS.replace("{ id }", "{ ...F }") + " fragment F on Agent { id }",
    "a constant": OURS.replace("metrics: $metrics", 'metrics: "{}"'),
    "a default": OURS.replace("$metrics: JSONString", '$metrics: JSONString = "{}"'),
    "two mutations": OURS.replace("commands } }", "commands } } mutation Other { x }"),
    "no reports": OURS.replace(", runState: $runState", ""),
    "another order": OURS.replace("{ agent { id } commands }", "{ commands agent { id } }"),
    "no GraphQL": "mutation { agentHeartbeat(",
}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def asked(server: InProcessServer, query: str, **variables: Any) -> Any:
    return served(server).post("/graphql", json={"query": query, "variables": variables}).json()


@pytest.mark.parametrize("query", [OURS, WANDBS], ids=["sweepctl", "wandb"])
def test_both_ways_answer_the_same(server: InProcessServer, query: str) -> None:
    agent = server.agent(server.sweep())
    run = server.take(agent)["run_id"]
    given = {"id": node_id("Agent", agent.pk), "runState": json.dumps({run: True})}
    longer = query.replace("commands", "commands __typename")
    answers = []
    for _ in range(2):
        short = heartbeat_answer(server.dispatcher, query, given, None)
        assert short is not None
        assert asked(server, query, **given) == short
        answer = asked(server, longer, **given)
        assert answer["data"]["agentHeartbeat"].pop("__typename")
        assert answer == short
        answers.append(json.loads(short["data"]["agentHeartbeat"]["commands"]))
        server.intake.ask_stop(server.run(run))
    assert answers == [[], [{"type": "stop", "run_id": run}]]


def test_a_heartbeat_by_the_short_way_is_a_sign_of_life(server: InProcessServer) -> None:
    agent = server.agent(server.sweep())
    run = server.take(agent)["run_id"]
    given = {"id": node_id("Agent", agent.pk), "runState": json.dumps({run: True})}
    for _ in range(10):
        server.wait(20)
        assert heartbeat_answer(server.dispatcher, OURS, given, "Heartbeat") is not None
    assert [held.id for held in server.held(agent)] == [run]


@pytest.mark.parametrize("query", LONG_WAY.values(), ids=LONG_WAY)
def test_any_other_query_goes_the_long_way(server: InProcessServer, query: str) -> None:
    agent = server.agent(server.sweep())
    given = {"id": node_id("Agent", agent.pk), "runState": json.dumps({"r": True})}
    assert heartbeat_answer(server.dispatcher, query, given, None) is None


ODD = {
    "no such agent": {"id": node_id("Agent", 999)},
    "no id": {"id": 5},
    "another row": {"id": node_id("Run", 1)},
    "a run of nobody": {"runState": '{"nobody": true}'},
    "no run": {"runState": "{}"},
    "a run that is not reported": {"runState": '{"RUN": false}'},
    "no JSON": {"runState": "{"},
    "a list": {"runState": "[]"},
    "nested without end": {"runState": "[" * 4000},
    "a number": {"runState": 7},
    "odd metrics": {"metrics": {"a": 1}},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_odd_variables_go_the_long_way(server: InProcessServer, change: dict[str, Any]) -> None:
    agent = server.agent(server.sweep())
    run = server.take(agent)["run_id"]
    given = {"id": node_id("Agent", agent.pk), "runState": json.dumps({run: True}), **change}
    if isinstance(given["runState"], str):
        given["runState"] = given["runState"].replace("RUN", run)
    assert heartbeat_answer(server.dispatcher, OURS, given, None) is None
    assert heartbeat_answer(server.dispatcher, OURS, given, "Other") is None
