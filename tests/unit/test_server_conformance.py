"""What W&B's clients ask beyond runs and sweeps, each answered as at W&B or refused in words."""

from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from tests.unit.server_in_process import ApiClient, InProcessServer, served


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def client(server: InProcessServer) -> ApiClient:
    return served(server, Executor(RESOLVERS, server.log.append))


def ask(client: ApiClient, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


UNKNOWN_MUTATIONS = {
    "upsertView": "this server has no reports and saved views",
    "createRunQueue": "this server has no launch queues",
    "pushToRunQueueByName": "this server has no launch queues",
    "createFilterTrigger": "this server has no automations",
    "createInvite": "this server has no accounts, teams or organizations",
    "generateApiKey": "this server has no accounts, teams or organizations",
    "createCustomChart": "this server has no custom charts",
    "deleteRegistryMembers": "this server has no registries",
    "paintTheShed": "this server does not know what it is to do",
}


@pytest.mark.parametrize(("name", "why"), UNKNOWN_MUTATIONS.items(), ids=UNKNOWN_MUTATIONS)
def test_an_unknown_mutation_is_refused_by_its_name(client: ApiClient, name: str, why: str) -> None:
    query = f"mutation M($i: SomeInput!) {{ done: {name}(input: $i) {{ id thing {{ x }} }} }}"
    for _ in range(2):
        answer = client.post("/graphql", json={"query": query, "variables": {"i": {"a": 1}}})
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert error["message"] == f"no mutation {name!r}: {why}"


def test_an_unknown_mutation_beside_a_known_one_keeps_both_from_being_done(
    client: ApiClient,
) -> None:
    query = 'mutation { upsertModel(input: {name: "p1"}) { model { name } } shine }'
    assert client.post("/graphql", json={"query": query}).status_code == 400
    assert ask(client, "{ models { edges { node { name } } } }") == {"models": {"edges": []}}


FRAGMENTS: dict[str, tuple[str, Any]] = {
    "inline": ("{ viewer { username ... on Robot { legs } } }", {"username": "local"}),
    "named": (
        "{ viewer { username ...R } } fragment R on Robot { legs }",
        {"username": "local"},
    ),
    "named within a named one": (
        "{ viewer { ...U } } fragment U on User { username ...R } fragment R on Robot { a { b } }",
        {"username": "local"},
    ),
    "without a type": ("{ viewer { ... { username } } }", {"username": "local"}),
    "on a known type beside it": (
        "{ viewer { ... on Robot { legs } ... on User { username } } }",
        {"username": "local"},
    ),
}


@pytest.mark.parametrize(("query", "expected"), FRAGMENTS.values(), ids=FRAGMENTS)
def test_a_fragment_on_a_type_that_is_not_here_matches_nothing(
    client: ApiClient, server: InProcessServer, query: str, expected: Any
) -> None:
    assert ask(client, query) == {"viewer": expected}
    told = ["unknown type Robot of a fragment: ignored"] if "Robot" in query else []
    assert [line for line in server.log if "unknown" in line] == told
