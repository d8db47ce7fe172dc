"""What W&B's clients ask beyond runs and sweeps, each answered as at W&B or refused in words."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from sweepctl.server.store.api_forms import node_id
from tests.unit.server_in_process import ApiClient, InProcessServer, served


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def executor(told: list[str]) -> Executor:
    return Executor(RESOLVERS, told.append)


@pytest.fixture
def client(server: InProcessServer, executor: Executor) -> ApiClient:
    return served(server, executor)


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
    "createDefaultResourceConfig": "this server has no launch queues",
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


ELSEWHERE = {
    "reports": ('allViews(viewType: "runs") { edges { node { id } } }', "reports"),
    "a launch queue": ('runQueue(name: "q") { id }', "launch queues"),
    "automations": ("triggers { id ... on Trigger { name } }", "automations"),
}


@pytest.mark.parametrize(("field", "what"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_field_for_what_this_server_has_not_is_refused_in_words(
    client: ApiClient, field: str, what: str
) -> None:
    query = f'{{ project(name: "p") {{ name {field} }} }}'
    answer = client.post("/graphql", json={"query": query})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert f"this server has no {what}" in error["message"]


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
    client: ApiClient, told: list[str], query: str, expected: Any
) -> None:
    assert ask(client, query) == {"viewer": expected}
    assert told.count("unknown type Robot of a fragment: ignored") <= 1
    assert "Robot" not in query or "unknown type Robot of a fragment: ignored" in told


KEYS = 'query { project(name: "p") { run(name: "r") { historyKeys } } }'


@pytest.fixture
def run(client: ApiClient) -> str:
    """A run that a trainer has begun, by its id."""
    made = 'mutation { upsertBucket(input: {modelName: "p", name: "r", host: "h"}) { inserted } }'
    ask(client, made)
    return "r"


def log(client: ApiClient, offset: int, *lines: dict[str, Any]) -> None:
    content = [json.dumps({"_step": step, **line}) for step, line in enumerate(lines, offset)]
    body = {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}}
    assert client.post("/files/local/p/r/file_stream", json=body).status_code == 200


def keys_of(client: ApiClient) -> dict[str, tuple[list[str], Any]]:
    """Give the types and the last value of each key but the step."""
    found = ask(client, KEYS)["project"]["run"]["historyKeys"]["keys"]
    return {
        key: (sorted(count["type"] for count in about["typeCounts"]), about.get("previousValue"))
        for key, about in found.items()
        if key != "_step"
    }


LOGGED: dict[str, tuple[list[dict[str, Any]], dict[str, tuple[list[str], Any]]]] = {
    "a number": ([{"loss": 2}, {"loss": 0.5}], {"loss": (["number"], 0.5)}),
    "nested": (
        [{"eval": {"hip": 1, "knee": {"left": 2}}}],
        {"eval.hip": (["number"], 1), "eval.knee.left": (["number"], 2)},
    ),
    "a key of one line alone": (
        [{"a": 1}, {"b": 2}, {"b": 3}],
        {"a": (["number"], 1), "b": (["number"], 3)},
    ),
    "numbers that JSON has no word for": ([{"loss": "NaN"}], {"loss": (["number"], "NaN")}),
    "a text, then a number": ([{"a": "x"}, {"a": 1}], {"a": (["number", "string"], 1)}),
    "true, a list, nothing, an empty map": (
        [{"t": True, "l": [1], "n": None, "m": {}}],
        {"t": (["boolean"], True), "l": (["list"], [1]), "n": (["nil"], None), "m": (["map"], {})},
    ),
    "an image": (
        [{"img": {"_type": "image-file", "path": "i.png"}}],
        {"img": (["image-file"], {"_type": "image-file", "path": "i.png"})},
    ),
}


@pytest.mark.parametrize(("lines", "expected"), LOGGED.values(), ids=LOGGED)
def test_each_key_of_a_history_has_its_types_and_its_last_value(
    client: ApiClient, run: str, lines: list[dict[str, Any]], expected: Any
) -> None:
    log(client, 0, *lines)
    assert keys_of(client) == expected


def test_a_key_that_was_not_logged_for_long_has_its_last_value_from_the_summary(
    client: ApiClient, run: str
) -> None:
    log(client, 0, {"rare": {"x": 7}})
    log(client, 1, *({"often": n} for n in range(600)))
    body = {"files": {"wandb-summary.json": {"offset": 0, "content": ['{"rare": {"x": 7}}']}}}
    client.post("/files/local/p/r/file_stream", json=body)
    assert keys_of(client) == {"rare.x": (["number"], 7), "often": (["number"], 599)}


def test_the_keys_that_an_earlier_version_stored_go_on(
    client: ApiClient, server: InProcessServer, run: str
) -> None:
    with server.database.write() as tx:
        tx.execute("UPDATE runs SET history_keys = ?", ('["_step", "loss", "gone"]',))
    assert keys_of(client) == {"loss": (["number"], None), "gone": (["number"], None)}
    log(client, 0, {"loss": 2, "new": "x"})
    assert keys_of(client) == {
        "loss": (["number"], 2),
        "gone": (["number"], None),
        "new": (["string"], "x"),
    }


@pytest.mark.slow
def test_a_history_names_no_more_keys_than_a_limit(client: ApiClient, run: str) -> None:
    log(client, 0, {f"k{n}": n for n in range(30_000)})
    assert len(keys_of(client)) == 20_000 - 1
    log(client, 1, {"k1": "now a text"})
    assert keys_of(client)["k1"] == (["number", "string"], "now a text")


def ask_as(client: ApiClient, name: str, query: str, key: str = "") -> Any:
    basic = base64.b64encode(f"api:{key}".encode()).decode()
    headers = {"X-WANDB-USERNAME": name, "Authorization": f"Basic {basic}"}
    answer = client.post("/graphql", json={"query": query}, headers=headers)
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


VIEWER = "{ viewer { username entity admin teams { edges { node { name } } } } }"
NAMES = {"anna": "anna", "a.b-c_1": "a.b-c_1", "": "local", "x y": "local", "../x": "local"}


@pytest.mark.parametrize(("given", "known"), NAMES.items(), ids=NAMES)
def test_a_user_is_who_wandb_username_says_and_its_entity_bears_its_name(
    client: ApiClient, given: str, known: str
) -> None:
    assert ask_as(client, given, VIEWER)["viewer"] == {
        "username": known,
        "entity": known,
        "admin": False,
        "teams": {"edges": [{"node": {"name": known}}]},
    }


@pytest.mark.parametrize(
    ("key", "shown"),
    {"anna-" + "k" * 40: ["anna"], "k" * 40: [], "": []}.items(),
    ids=["with a prefix", "without", "none"],
)
def test_of_a_key_only_the_prefix_is_told(client: ApiClient, key: str, shown: list[str]) -> None:
    found = ask_as(client, "", "{ viewer { apiKeys { edges { node { id name } } } } }", key)
    edges = found["viewer"]["apiKeys"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == shown
    assert "kkkk" not in json.dumps(found)


START = 'mutation { upsertBucket(input: {modelName: "p", name: "%s"%s}) { bucket { %s } } }'
OF_PROJECT = "project { entityName } user { username }"


def test_a_run_is_its_users_and_goes_to_their_entity_unless_another_is_named(
    client: ApiClient,
) -> None:
    started = ', host: "h"'
    made = ask_as(client, "anna", START % ("r1", started, OF_PROJECT))["upsertBucket"]["bucket"]
    assert made == {"project": {"entityName": "anna"}, "user": {"username": "anna"}}
    lab = f', entityName: "lab"{started}'
    made = ask_as(client, "anna", START % ("r2", lab, OF_PROJECT))["upsertBucket"]["bucket"]
    assert made == {"project": {"entityName": "lab"}, "user": {"username": "anna"}}
    made = ask(client, START % ("r3", lab, OF_PROJECT))["upsertBucket"]["bucket"]
    assert made["user"] == {"username": "local"}
    tagged = ask_as(client, "ben", START % ("r2", ', entityName: "lab", notes: "n"', OF_PROJECT))
    assert tagged["upsertBucket"]["bucket"]["user"] == {"username": "anna"}, "who tags is not whose"
    query = (
        'query Q($f: JSONString) { project(name: "p", entityName: "lab")'
        " { runs(filters: $f) { edges { node { name } } } } }"
    )
    for names, ids in ((["anna"], ["r2"]), (["local"], ["r3"]), (["ben"], [])):
        found = ask(client, query, f=json.dumps({"username": {"$in": names}}))
        assert [edge["node"]["name"] for edge in found["project"]["runs"]["edges"]] == ids
    users = '{ users { edges { node { username } } } one: users(query: "anna") { totalCount } }'
    found = ask_as(client, "ben", users)
    names = [edge["node"]["username"] for edge in found["users"]["edges"]]
    assert (names, found["one"]["totalCount"]) == (["anna", "ben", "local"], 1)
    team = ask(client, '{ entity(name: "lab") { isTeam members { username accountType } } }')
    assert team["entity"]["members"] == [
        {"username": "anna", "accountType": "USER"},
        {"username": "local", "accountType": "USER"},
    ]


def test_a_sweep_and_a_project_without_entity_are_of_who_makes_them(client: ApiClient) -> None:
    config = '{\\"method\\": \\"random\\", \\"parameters\\": {\\"a\\": {\\"values\\": [1]}}}'
    made = ask_as(
        client,
        "anna",
        f'mutation {{ upsertSweep(input: {{projectName: "p", config: "{config}"}})'
        " { sweep { project { entityName } } }"
        ' upsertModel(input: {name: "q"}) { model { entityName } } }',
    )
    assert made["upsertSweep"]["sweep"]["project"]["entityName"] == "anna"
    assert made["upsertModel"]["model"]["entityName"] == "anna"
    assert ask_as(client, "anna", '{ project(name: "q") { name } }')["project"] == {"name": "q"}
    assert ask(client, '{ project(name: "q") { name } }')["project"] is None


ABSENT = {
    "a project": '{ project(name: "none", entityName: "e") { id runs { totalCount } } }',
    "a project by its old name": '{ model(name: "none") { id bucket(name: "r") { id } } }',
    "an organization": '{ organization(name: "none") { name } }',
    "an entity's organization": '{ entity(name: "e") { organization { name } } }',
}


@pytest.mark.parametrize("query", ABSENT.values(), ids=ABSENT)
def test_what_was_never_made_is_null(client: ApiClient, query: str) -> None:
    (found,) = ask(client, query).values()
    assert found in (None, {"organization": None})


def test_what_is_gone_is_deleted_once_more_without_complaint(client: ApiClient, run: str) -> None:
    id = ask(client, '{ project(name: "p") { run(name: "r") { id } } }')["project"]["run"]["id"]
    delete = "mutation D($i: ID!) { deleteRun(input: {id: $i}) { clientMutationId } }"
    for _ in range(2):
        assert ask(client, delete, i=id) == {"deleteRun": {"clientMutationId": None}}
    assert ask(client, '{ project(name: "p") { run(name: "r") { id } } }')["project"]["run"] is None
    gone = {
        'deleteArtifact(input: {artifactID: "%s"}) { artifact { id } }': "Artifact",
        'deleteArtifactSequence(input: {artifactSequenceID: "%s"})'
        " { artifactCollection { id } }": "ArtifactCollection",
        'deleteFiles(input: {files: ["%s"]}) { success }': "File",
    }
    for mutation, kind in gone.items():
        ask(client, f"mutation {{ {mutation % node_id(kind, 7)} }}")
    for mutation in ('deleteRun(input: {id: "x"}) { clientMutationId }', *gone):
        text = mutation % "x" if "%s" in mutation else mutation
        answer = client.post("/graphql", json={"query": f"mutation {{ {text} }}"}).json()
        assert "deleteFiles" in text or "has the id 'x'" in answer["errors"][0]["message"]


def test_a_file_is_found_by_its_name_as_its_user_wrote_it(
    client: ApiClient, server: InProcessServer, run: str
) -> None:
    with server.database.write() as tx:
        row = (server.run("r").pk, "a b/c.txt", "x", 1, "m", 0.0)
        columns = "run, name, stored, size_bytes, md5, updated"
        tx.execute(f"INSERT INTO files ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
    query = (
        'query Q($n: [String]) { project(name: "p") { run(name: "r")'
        " { files(names: $n) { edges { node { name } } } } } }"
    )
    for name in ("a b/c.txt", "./a b/c.txt", "a b//c.txt", "x/../a b/c.txt"):
        edges = ask(client, query, n=[name])["project"]["run"]["files"]["edges"]
        assert [edge["node"]["name"] for edge in edges] == ["a b/c.txt"], name
    assert ask(client, query, n=["../c.txt"])["project"]["run"]["files"]["edges"] == []


PARQUET = (
    'query Q($k: [String!]!) { project(name: "p") { run(name: "r")'
    " { parquetHistory(liveKeys: $k) { parquetUrls liveData } } } }"
)


def test_no_history_is_exported_to_files_and_the_client_is_told_where_it_begins(
    client: ApiClient, run: str
) -> None:
    def exported(*keys: str) -> Any:
        return ask(client, PARQUET, k=keys)["project"]["run"]["parquetHistory"]

    assert exported("_step") == {"parquetUrls": [], "liveData": []}
    log(client, 3, {"loss": 1})
    assert exported("_step")["liveData"] == [{"_step": 3}]
    log(client, 4, {"loss": 2}, {"acc": 3})
    assert exported("_step", "loss")["liveData"] == [{"_step": 3, "loss": 1}, {"_step": 5}]


SIGNED = "/storage/1/token/a%20file.txt"
PREFLIGHTS: dict[str, tuple[str, str | None, int, str | None]] = {
    "of a page of its own": (SIGNED, "http://server:1234", 204, "http://server:1234"),
    "behind TLS": (SIGNED, "https://server:1234", 204, "https://server:1234"),
    "of an artifact": ("/blobs/x/y", "http://server:1234", 204, "http://server:1234"),
    "of another site": (SIGNED, "http://evil.example", 403, None),
    "of another port": (SIGNED, "http://server:99", 403, None),
    "without origin": (SIGNED, None, 204, None),
    "of the API": ("/graphql", "http://server:1234", 405, None),
}


@pytest.mark.parametrize(
    ("path", "origin", "status", "allowed"), PREFLIGHTS.values(), ids=PREFLIGHTS
)
def test_a_preflight_allows_files_to_pages_of_this_server_alone(
    client: ApiClient, path: str, origin: str | None, status: int, allowed: str | None
) -> None:
    headers = {"Access-Control-Request-Method": "PUT"} | ({"Origin": origin} if origin else {})
    answer = client.request("OPTIONS", path, headers=headers)
    assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (
        status,
        allowed,
    )
    if status == 204:
        assert "PUT" in answer.headers["access-control-allow-methods"]
