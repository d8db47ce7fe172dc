"""What clients ask: leniency towards the unknown, filters and orders, bodies, keys, addresses."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb.sdk.lib.wbauth.validation import check_api_key

from sweepctl.jobs.secret import random_key
from sweepctl.server.access.allowed import ApiKeys, check_listen
from sweepctl.server.bounds import MAX_BODY_BYTES
from sweepctl.server.errors import FileNameError
from sweepctl.server.graphql.executor import DocumentError, Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from sweepctl.server.runs.files import RunFiles, checked_name
from sweepctl.server.store import run_store, summary_store, sweep_store
from sweepctl.server.store.api_forms import node_id, row_of
from sweepctl.server.store.filters import FilterError, config_value, run_filter, run_order
from sweepctl.server.web import requests
from sweepctl_pod.errors import UsageError
from tests.unit.server_in_process import ApiClient, InProcessServer, served

KEY = "k" * 40


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture(scope="module")
def engine() -> Executor:
    return Executor(RESOLVERS, lambda line: None)


@pytest.fixture
def client(server: InProcessServer, engine: Executor) -> ApiClient:
    return served(server, engine)


def ask(client: ApiClient, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


LENIENT: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "unknown field": (
        "{ viewer { username shoeSize } }",
        {},
        {"viewer": {"username": "local", "shoeSize": None}},
        "field User.shoeSize",
    ),
    "unknown field with alias, arguments and fields": (
        'query Q($a: Int) { viewer { x: pets(first: $a, kind: "cat") { edges { id } } } }',
        {"a": 1},
        {"viewer": {"x": None}},
        "field User.pets",
    ),
    "unknown argument": (
        "{ viewer(realm: 1) { username } }",
        {},
        {"viewer": {"username": "local"}},
        "argument realm on a field of Query",
    ),
    "unknown type of a variable": (
        "query Q($a: Zoo!) { viewer(zoo: $a) { username } }",
        {"a": {"b": 1}},
        {"viewer": {"username": "local"}},
        "type of the variable $a",
    ),
    "fields of what has none here": (
        "{ viewer { username { first } } }",
        {},
        {"viewer": {"username": None}},
        "fields of User.username",
    ),
    "unknown directive": (
        "{ viewer { username @wink } }",
        {},
        {"viewer": {"username": "local"}},
        "directive @wink",
    ),
    "unknown field in a fragment": (
        "{ viewer { ...F } } fragment F on User { id mood }",
        {},
        {"viewer": {"id": node_id("User", "local"), "mood": None}},
        "field User.mood",
    ),
    "unknown input field in the query": (
        'mutation { upsertModel(input: {name: "p", colour: "red"}) { model { name } } }',
        {},
        {"upsertModel": {"model": {"name": "p"}}},
        "input field colour",
    ),
    "unknown input field in a variable": (
        "mutation M($i: UpsertModelInput!) { upsertModel(input: $i) { model { name } } }",
        {"i": {"name": "p", "colour": "red"}},
        {"upsertModel": {"model": {"name": "p"}}},
        "input field UpsertModelInput.colour",
    ),
}


@pytest.mark.parametrize(("query", "variables", "expected", "noted"), LENIENT.values(), ids=LENIENT)
def test_what_is_unknown_is_null_and_told_once(
    server: InProcessServer, query: str, variables: dict[str, Any], expected: Any, noted: str
) -> None:
    client = served(server, Executor(RESOLVERS, server.log.append))
    for _ in range(2):
        assert ask(client, query, **variables) == expected
    assert [line for line in server.log if "unknown" in line] == [f"unknown {noted}: ignored"]


def test_the_empty_operation_name_of_the_python_client_means_the_only_one(
    client: ApiClient,
) -> None:
    for name in ("", None, "Viewer"):
        body = {"query": "query Viewer { viewer { id } }", "operationName": name}
        assert client.post("/graphql", json=body).json()["data"]["viewer"]["id"]


def make_project(client: ApiClient) -> None:
    ask(client, 'mutation { upsertModel(input: {name: "p"}) { inserted } }')


def test_json_in_place_of_its_text_is_taken(client: ApiClient) -> None:
    make_project(client)
    query = 'query Q($f: JSONString) { project(name: "p") { runCount(filters: $f) } }'
    assert ask(client, query, f={"state": "finished"}) == {"project": {"runCount": 0}}
    answer = client.post("/graphql", json={"query": query, "variables": {"f": 5}})
    assert "a filter is a map" in answer.json()["errors"][0]["message"]


def test_introspection_tells_older_clients_what_there_is(client: ApiClient) -> None:
    found = ask(
        client,
        '{ q: __type(name: "Query") { fields { name args { name } } }'
        ' i: __type(name: "UpsertBucketInput") { inputFields { name } } }',
    )
    assert {"project", "model", "viewer"} <= {field["name"] for field in found["q"]["fields"]}
    assert {"summaryMetrics", "sweep"} <= {field["name"] for field in found["i"]["inputFields"]}


BAD_DOCUMENTS = {
    "no GraphQL": ("{", "Syntax Error"),
    "empty": ("", "Syntax Error"),
    "fragments in a circle": (
        "{ viewer { ...A } } fragment A on User { ...B } fragment B on User { ...A }",
        "Cannot spread fragment",
    ),
    "unknown fragment": ("{ viewer { ...A } }", "Unknown fragment"),
    "undefined variable": (
        "{ project(name: $x) { id } }",
        "Variable '$x' is not defined",
    ),
    "lacking argument": ("mutation { createAgent { agent { id } } }", "is required"),
    "a hundred thousand words": ("{ " + "me " * 30_000 + "}", "token"),
    "nested without end": ("{ viewer " * 5000 + "}" * 5000, ""),
}


@pytest.mark.parametrize(("query", "message"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_a_document_that_cannot_be_executed_is_refused(
    engine: Executor, client: ApiClient, query: str, message: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        engine.execute(query, {}, None, None)
    assert message in str(caught.value)
    answer = client.post("/graphql", json={"query": query})
    assert answer.status_code == 400
    assert answer.json()["errors"]


BAD_BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "empty": (b"", {}, 400, "the body is no JSON"),
    "no JSON": (b"{", {}, 400, "the body is no JSON"),
    "not UTF-8": (b'{"query": "\xff"}', {}, 400, "the body is no JSON"),
    "a list": (b"[]", {}, 400, "a GraphQL request is a map"),
    "query is a number": (b'{"query": 5}', {}, 400, "with the text `query`"),
    "variables is a list": (b'{"query": "{a}", "variables": [1]}', {}, 400, "`variables` is a map"),
    "operation name is a map": (
        b'{"query": "{a}", "operationName": {}}',
        {},
        400,
        "`operationName` a text",
    ),
    "nested deeply": (b"[" * 100_000, {}, 400, "nested too deeply"),
    "endless number": (b'{"query": ' + b"1" * 10_000 + b"}", {}, 400, "the body is no JSON"),
    "no gzip": (b"{}", {"Content-Encoding": "gzip"}, 400, "the body is no gzip"),
    "half of a gzip": (
        gzip.compress(b'{"query": "{ viewer { id } }"}')[:20],
        {"Content-Encoding": "gzip"},
        400,
        "the gzip body ends too early",
    ),
    "a gzip bomb": (
        gzip.compress(b" " * (MAX_BODY_BYTES + 10)),
        {"Content-Encoding": "gzip"},
        413,
        "the body is over 64 MB",
    ),
    "too big": (b" " * (MAX_BODY_BYTES + 1), {}, 413, "the body is over 64 MB"),
    "unknown encoding": (b"{}", {"Content-Encoding": "br"}, 415, "send gzip or none"),
}


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"), BAD_BODIES.values(), ids=BAD_BODIES
)
def test_a_bad_body_is_refused_with_what_is_wrong(
    client: ApiClient, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    answer = client.post("/graphql", content=body, headers=headers)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_gzip_body_is_unpacked(client: ApiClient) -> None:
    body = gzip.compress(b'{"query": "{ viewer { username } }"}')
    answer = client.post("/graphql", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.json()["data"]["viewer"]["username"] == "local"


BAD_INPUTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "wrong type": (
        "query Q($n: Int) { project(name: $n) { id } }",
        {"n": "x"},
        "Int cannot represent",
    ),
    "run state": (
        'mutation { upsertBucket(input: {name: "r", state: "asleep"}) { bucket { id } } }',
        {},
        "unknown run state 'asleep'; known are pending, running",
    ),
    "config is no JSON": (
        'mutation { upsertBucket(input: {name: "r", config: "{"}) { bucket { id } } }',
        {},
        "config is no JSON",
    ),
    "config is a list": (
        'mutation { upsertBucket(input: {name: "r", config: "[]"}) { bucket { id } } }',
        {},
        "config is not a map",
    ),
    "run id with a slash": (
        'mutation { upsertBucket(input: {name: "a/b"}) { bucket { id } } }',
        {},
        "'a/b' is no run id",
    ),
    "unknown node id": (
        'mutation { upsertBucket(input: {id: "x"}) { bucket { id } } }',
        {},
        "no run has the id 'x'",
    ),
    "stop of an unknown run": ('mutation { stopRun(input: {id: "x"}) { success } }', {}, "no run"),
    "early stopping": (
        "mutation M($c: String) { upsertSweep(input: {config: $c}) { sweep { id } } }",
        {
            "c": '{"method": "random", "metric": {"name": "l"}, "parameters": {"a": {"values":'
            ' [1]}}, "early_terminate": {"type": "median"}}'
        },
        "early_terminate.type: write hyperband, the only one; found 'median'",
    ),
    "a seed that is none": (
        "mutation M($c: String) { upsertSweep(input: {config: $c}) { sweep { id } } }",
        {
            "c": '{"method": "random", "description": "sweepctl-seed: x7",'
            ' "parameters": {"a": {"values": [1]}}}'
        },
        "sweepctl-seed: expected a whole number from 0",
    ),
    "filter": (
        'query Q($f: JSONString) { project(name: "p") { runs(filters: $f) { totalCount } } }',
        {"f": '{"shoe": 1}'},
        "cannot filter by 'shoe'",
    ),
    "whole number beyond 64 bits": (
        'query Q($f: JSONString) { project(name: "p") { runs(filters: $f) { totalCount } } }',
        {"f": '{"name": 1%s}' % ("0" * 30)},
        "a value cannot be stored",
    ),
    "missing bucket": (
        '{ project(name: "p") { bucket(name: "r") { id } } }',
        {},
        "no run local/p/r",
    ),
    "files of an unknown run": (
        'mutation { createRunFiles(input: {entityName: "e", projectName: "p", runName: "r",'
        ' files: ["f"]}) { runID } }',
        {},
        "no run e/p/r",
    ),
}


@pytest.mark.parametrize(("query", "variables", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_a_bad_input_is_an_error_that_says_what_is_wrong(
    client: ApiClient, query: str, variables: dict[str, Any], message: str
) -> None:
    make_project(client)
    answer = client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200
    assert message in answer.json()["errors"][0]["message"]


def test_a_heartbeat_of_an_unknown_agent_is_404_as_for_a_deleted_sweep(client: ApiClient) -> None:
    query = "mutation H($id: ID!) { agentHeartbeat(input: {id: $id}) { commands } }"
    for id in ("x", node_id("Agent", 99), node_id("Run", 1)):
        body = {"query": query, "variables": {"id": id}}
        assert client.post("/graphql", json=body).status_code == 404


NOWHERE: dict[str, tuple[str, str, bool]] = {
    "a browser, no such address": ("/a/b/c", "text/html,application/xhtml+xml,*/*;q=0.8", True),
    "a browser, no such sweep": ("/local/p/sweeps/nope", "text/html", True),
    "a browser, no such run": ("/local/p/runs/%3Cb%3E", "text/html", True),
    "a browser, no such file": ("/files/local/p/r/x", "text/html", False),
    "a client": ("/a/b/c", "*/*", False),
    "a client that wants JSON": ("/local/p/sweeps/nope", "application/json", False),
}


@pytest.mark.parametrize(("path", "accept", "is_page"), NOWHERE.values(), ids=NOWHERE)
def test_a_browser_that_asks_for_what_is_not_there_gets_a_page_that_leads_home(
    client: ApiClient, path: str, accept: str, is_page: bool
) -> None:
    answer = client.request("GET", path, headers={"Accept": accept})
    assert answer.status_code == 404
    if is_page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert '<a href="/">' in answer.text
        assert "<b>" not in answer.text
    else:
        assert answer.json()["error"]


def test_telemetry_is_answered_404_so_that_the_client_switches_it_off(client: ApiClient) -> None:
    for path in ("/sdk/otel/v1/metrics", "/sdk/otel/v1/logs", "/"):
        assert client.post(path, content=b"").status_code == 404


def test_an_unexpected_error_is_told_in_the_log_alone(
    client: ApiClient, server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(sweep_store, "find_project", broken)
    answer = client.post("/graphql", json={"query": '{ project(name: "p") { id } }'})
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert any("secret detail" in line for line in server.log)


RUNS: list[dict[str, Any]] = [
    {"id": "r0", "state": "finished", "tags": '["a", "b"]', "commit_hash": "c0ffee"},
    {"id": "r1", "state": "failed", "display_name": "foot-1", "exit_code": 3},
    {"id": "r2", "state": "running", "group_name": "g", "program": "train.py"},
    {"id": "r3", "state": "finished", "display_name": "food-2"},
]
SUMMARIES = [
    '{"loss": 2, "deep": {"x": 1}, "_runtime": 90}',
    '{"loss": 0.5, "_runtime": 12.5, "Metrics/a.b": 3}',
    '{"loss": "text"}',
    "{}",
]
CONFIG_DOCUMENTS: list[dict[str, Any]] = [
    {"env.a.b": {"value": 1.5}},
    {"env.a.b": {"value": 2}, "n": {"value": {"x": {"y": 7}}}},
    {"ok": {"value": True}, "name": {"value": "z"}},
    {},
]


@pytest.fixture
def listed(server: InProcessServer) -> Callable[[str | None, str | None], list[str]]:
    """Give the function that lists the four runs above by filter and order."""
    with server.database.write() as tx:
        project = sweep_store.ensure_project(tx, "local", "p", 0.0).pk
        for fields, summary, config in zip(RUNS, SUMMARIES, CONFIG_DOCUMENTS, strict=True):
            values = {"project": project, "config": json.dumps(config), **fields}
            run = run_store.create_run(tx, values, 1.7e9 + project)
            summary_store.write_summary(tx, run.pk, summary)

    def listing(filters: str | None, order: str | None) -> list[str]:
        with server.database.read() as rows:
            where, by = run_filter(filters), run_order(order)
            return [run.id for run in run_store.runs(rows, where=where, order=by)]

    return listing


FILTERS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "r0 r1 r2 r3"),
    "empty": ("{}", "r0 r1 r2 r3"),
    "null": ("null", "r0 r1 r2 r3"),
    "equal": ({"state": "finished"}, "r0 r3"),
    "and": ({"$and": [{"state": "finished"}, {"name": "r3"}]}, "r3"),
    "or": ({"$or": [{"name": "r1"}, {"name": "r2"}]}, "r1 r2"),
    "empty or": ({"$or": []}, ""),
    "nor": ({"$nor": [{"name": "r1"}, {"name": "r2"}]}, "r0 r3"),
    "not": ({"state": {"$not": {"$eq": "finished"}}}, "r1 r2"),
    "in": ({"name": {"$in": ["r1", "rx"]}}, "r1"),
    "in nothing": ({"name": {"$in": []}}, ""),
    "not in": ({"name": {"$nin": ["r1", "r0"]}}, "r2 r3"),
    "not equal, missing counts": ({"group": {"$ne": "g"}}, "r0 r1 r3"),
    "is null": ({"group": None}, "r0 r1 r3"),
    "regex": ({"display_name": {"$regex": "^foo"}}, "r1 r3"),
    "exists": ({"group": {"$exists": True}}, "r2"),
    "summary below; text is no number": ({"summary_metrics.loss": {"$lt": 1}}, "r1"),
    "summary range": ({"summary_metrics.loss": {"$gte": 0.5, "$lte": 2}}, "r0 r1"),
    "summary text": ({"summary_metrics.loss": "text"}, "r2"),
    "summary with dots": ({"summary_metrics.Metrics/a.b": 3}, "r1"),
    "summary nested": ({"summary_metrics.deep.x": 1}, "r0"),
    "config by a name with dots": ({"config.env.a.b.value": {"$gt": 1.5}}, "r1"),
    "config without .value": ({"config.env.a.b": 1.5}, "r0"),
    "config nested": ({"config.n.x.y": 7}, "r1"),
    "config nested with .value": ({"config.n.value.x.y": 7}, "r1"),
    "config of true": ({"config.ok": True}, "r2"),
    "tag": ({"tags": "a"}, "r0"),
    "tags in": ({"tags": {"$in": ["x", "b"]}}, "r0"),
    "tags not": ({"tags": {"$ne": "a"}}, "r1 r2 r3"),
    "no tags": ({"tags": None}, "r1 r2 r3"),
    "some tags": ({"tags": {"$ne": None}}, "r0"),
    "tags exist": ({"tags": {"$exists": True}}, "r0"),
    "no tags exist": ({"tags": {"$exists": False}}, "r1 r2 r3"),
    "all tags": ({"tags": {"$all": ["b", "a"]}}, "r0"),
    "all tags, one is missing": ({"tags": {"$all": ["a", "c"]}}, ""),
    "all of no tags": ({"tags": {"$all": []}}, ""),
    "tags, two conditions": ({"tags": {"$in": ["a"], "$nin": ["b"]}}, ""),
    "not all tags": ({"tags": {"$not": {"$all": ["a", "b"]}}}, "r1 r2 r3"),
    "a tag like": ({"tags": {"$regex": "^[ax]$"}}, "r0"),
    "longer than": ({"duration": {"$gt": 12}}, "r0 r1"),
    "about as long": ({"duration": {"$gte": 12.5, "$lt": 90}}, "r1"),
    "never logged": ({"duration": 0}, "r2 r3"),
    "the only user": ({"username": "local"}, "r0 r1 r2 r3"),
    "another user": ({"username": {"$in": ["anna", "ben"]}}, ""),
    "not the user": ({"$not": {"user": "local"}}, ""),
    "commit": ({"commit": {"$regex": "^c0ff"}}, "r0"),
    "program": ({"program": "train.py"}, "r2"),
    "exit code": ({"exitCode": {"$gte": 1}}, "r1"),
    "no exit code": ({"exitcode": None}, "r0 r2 r3"),
    "time": ({"created_at": {"$gt": "2023-01-01"}}, "r0 r1 r2 r3"),
    "another sweep's": ({"$and": [{"sweep": "abc"}]}, ""),
}


@pytest.mark.parametrize(("filters", "expected"), FILTERS.values(), ids=FILTERS)
def test_runs_are_filtered_as_wandb_does(
    listed: Callable[..., list[str]], filters: Any, expected: str
) -> None:
    text = filters if filters is None or isinstance(filters, str) else json.dumps(filters)
    assert listed(text, None) == expected.split()


BAD_FILTERS: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "the filters are no JSON"),
    "a list": ("[]", "a filter is a map"),
    "and of a map": ('{"$and": {}}', "$and needs a list of filters"),
    "unknown field": ('{"foo": 1}', "cannot filter by 'foo'"),
    "unknown operator": ('{"name": {"$near": 1}}', "name: unknown operator '$near'"),
    "list as a value": ('{"name": ["a"]}', "name: cannot compare with"),
    "regex": ('{"name": {"$regex": "("}}', "name: '(' is no regular expression"),
    "in a text": ('{"name": {"$in": "ab"}}', "name: $in needs a list"),
    "tags": ('{"tags": 5}', 'tags: cannot filter by {"$eq": 5}'),
    "all tags of a number": ('{"tags": {"$all": [1]}}', 'tags: cannot filter by {"$all": [1]}'),
    "tags by an unknown operator": ('{"tags": {"$size": 1}}', 'cannot filter by {"$size": 1}'),
    "a tag like nothing": ('{"tags": {"$regex": "("}}', "tags: '(' is no regular expression"),
    "duration of a list": ('{"duration": [1]}', "duration: cannot compare with"),
    "deep": ('{"$and": [' * 3000 + "]}" * 3000, "nested too deeply"),
}


@pytest.mark.parametrize(("text", "message"), BAD_FILTERS.values(), ids=BAD_FILTERS)
def test_a_filter_that_is_not_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        run_filter(text)
    assert message in caught.value.message or "no JSON" in caught.value.message


ORDERS = {
    "none": (None, "r0 r1 r2 r3"),
    "oldest first": ("+created_at", "r0 r1 r2 r3"),
    "newest first": ("-created_at", "r3 r2 r1 r0"),
    "least first, missing last": ("+summary_metrics.loss", "r1 r0 r2 r3"),
    "most first, missing last": ("-summary_metrics.loss", "r2 r0 r1 r3"),
    "by a parameter": ("-config.env.a.b.value", "r1 r0 r2 r3"),
    "by several": ("+state,-created_at", "r1 r3 r0 r2"),
    "by name": ("-name", "r3 r2 r1 r0"),
    "longest first": ("-duration", "r0 r1 r2 r3"),
}


@pytest.mark.parametrize(("order", "expected"), ORDERS.values(), ids=ORDERS)
def test_runs_are_ordered_as_wandb_does(
    listed: Callable[..., list[str]], order: str | None, expected: str
) -> None:
    assert listed(None, order) == expected.split()


def test_a_cursor_that_is_none_of_ours_begins_at_the_start(
    client: ApiClient, listed: object
) -> None:
    query = 'query Q($a: String) { project(name: "p") { runs(after: $a) { edges { cursor } } } }'
    for after in ("x", "", "-1", "9" * 30, "\u00b2"):
        assert len(ask(client, query, a=after)["project"]["runs"]["edges"]) == 4


def test_an_order_that_is_not_known_is_refused() -> None:
    with pytest.raises(FilterError, match="runs cannot be ordered by 'shoe'"):
        run_order("+shoe")


def test_a_config_that_is_no_map_has_no_values() -> None:
    assert config_value("[]", "a") is None


def test_pages_follow_each_other_without_gap(client: ApiClient, listed: object) -> None:
    query = (
        'query Q($after: String) { project(name: "p") { runCount runs(first: 3, after: $after)'
        " { edges { node { name } cursor } pageInfo { endCursor hasNextPage } totalCount } } }"
    )
    names, after = [], None
    while True:
        project = ask(client, query, after=after)["project"]
        assert project["runCount"] == project["runs"]["totalCount"] == 4
        names += [edge["node"]["name"] for edge in project["runs"]["edges"]]
        after = project["runs"]["pageInfo"]["endCursor"]
        if not project["runs"]["pageInfo"]["hasNextPage"]:
            break
    assert names == ["r0", "r1", "r2", "r3"]


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"api:{key}".encode()).decode()


ACCESS: dict[str, tuple[str | None, bool]] = {
    "right": (basic(KEY), True),
    "bearer": (f"Bearer {KEY}", True),
    "wrong": (basic("x" * 40), False),
    "none": (None, False),
    "empty": ("", False),
    "no base64": ("Basic ???", False),
    "no colon": ("Basic " + base64.b64encode(KEY.encode()).decode(), False),
    "not ASCII": ("Basic \u00fc", False),
}


@pytest.mark.parametrize(("header", "is_allowed"), ACCESS.values(), ids=ACCESS)
def test_only_a_right_key_is_let_in(header: str | None, is_allowed: bool) -> None:
    for is_write in (True, False):
        assert ApiKeys(["a" * 40, KEY]).allows(header, is_write=is_write) is is_allowed
        assert ApiKeys([]).allows(header, is_write=is_write)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("POST", "/graphql", 401),
        ("POST", "/files/e/p/r/file_stream", 401),
        ("GET", "/files/e/p/r/f", 401),
        ("GET", "/", 401),
        ("POST", "/sdk/otel/v1/metrics", 404),
        ("PUT", f"/storage/1/{'0' * 40}/f", 403),
        ("GET", f"/storage/1/{'0' * 40}/f", 403),
    ],
)
def test_every_route_but_health_wants_a_key_or_a_signature(
    server: InProcessServer, engine: Executor, method: str, path: str, status: int
) -> None:
    answer = served(server, engine, (KEY,)).request(method, path)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic")


LISTENS: dict[str, tuple[str, bool, bool]] = {
    "loopback": ("127.0.0.1", True, True),
    "another loopback": ("127.1.2.3", True, True),
    "localhost": ("localhost", True, True),
    "loopback by IPv6": ("::1", True, True),
    "everywhere": ("0.0.0.0", True, False),
    "everywhere with a key": ("0.0.0.0", False, True),
    "by name": ("example.com", True, False),
    "nothing": ("", True, False),
}


@pytest.mark.parametrize(("host", "is_keyless", "is_fine"), LISTENS.values(), ids=LISTENS)
def test_a_key_is_wanted_beyond_loopback(host: str, is_keyless: bool, is_fine: bool) -> None:
    if is_fine:
        check_listen(host, is_keyless=is_keyless)
    else:
        with pytest.raises(UsageError, match="without a key"):
            check_listen(host, is_keyless=is_keyless)


KEYS = {
    "too short": ("short", "with 5 characters: at least 40"),
    "long, but not after its dash": ("local0123456789-" + "a" * 30, "with 30 characters after its"),
    "no word": ("a" * 39 + "!", "other characters"),
    "forty digits": ("0" * 40, None),
    "with a prefix": ("local-" + "a" * 40, None),
    "with a dash": ("a-" + "b" * 20 + "-" + "c" * 20, None),
}


@pytest.mark.parametrize(("key", "problem"), KEYS.values(), ids=KEYS)
def test_a_key_that_the_wandb_client_would_refuse_is_refused_without_telling_it(
    key: str, problem: str | None
) -> None:
    assert (check_api_key(key) is None) == (problem is None)
    if problem is None:
        ApiKeys([key])
        return
    with pytest.raises(UsageError, match=problem) as caught:
        ApiKeys([key])
    assert key not in caught.value.message


def test_made_keys_are_taken_by_the_wandb_client() -> None:
    for _ in range(200):
        key = random_key()
        assert check_api_key(key) is None
        assert key.isalnum()


def test_a_file_goes_up_and_down_by_its_signed_address(
    client: ApiClient, server: InProcessServer
) -> None:
    ask(client, 'mutation { upsertBucket(input: {name: "r", modelName: "p"}) { bucket { id } } }')
    name = "a folder/ünï 😀?#%.txt"
    created = ask(
        client,
        "mutation M($f: [String!]!) { createRunFiles(input: {entityName: "
        '"local", projectName: "p", runName: "r", files: $f}) { files { name uploadUrl } } }',
        f=[name],
    )["createRunFiles"]["files"]
    assert created[0]["name"] == name
    url = created[0]["uploadUrl"]
    assert url.startswith("http://server:1234/storage/")
    for content in (b"first", b"", b"x" * 3_000_000):
        assert client.put(url, content=content).status_code == 200
        listing = ask(
            client,
            '{ project(name: "p") { run(name: "r") { fileCount files { edges { node'
            " { name url sizeBytes md5 } } } } } }",
        )["project"]["run"]
        (edge,) = listing["files"]["edges"]
        assert (listing["fileCount"], edge["node"]["name"]) == (1, name)
        assert edge["node"]["sizeBytes"] == len(content)
        assert client.get(edge["node"]["url"]).content == content
    on_disk = [path for path in (server.folder / "files").rglob("*") if path.is_file()]
    assert len(on_disk) == 1, "an older content is gone"
    assert client.put(url.replace("folder", "fodder"), content=b"").status_code == 403
    assert client.get(url.replace(".txt", ".text")).status_code == 403


def test_a_download_by_path_needs_no_signature(client: ApiClient, server: InProcessServer) -> None:
    ask(client, 'mutation { upsertBucket(input: {name: "r", modelName: "a b"}) { bucket { id } } }')
    files = RunFiles(server.database, server.clock)
    client.put(files.url("http://server:1234", "PUT", server.run("r").pk, "x.html"), content=b"<b>")
    answer = client.get("/files/local/a%20b/r/x.html")
    assert answer.content == b"<b>"
    assert "attachment" in answer.headers["content-disposition"]
    assert client.get("/files/local/a%20b/r/y").status_code == 404
    assert client.get("/files/local/a%20b/r/..%2F..%2Fx.html").status_code == 404


NAMES = {
    "plain": ("a.txt", True),
    "nested": ("a/b/c", True),
    "dots inside": ("a..b/...", True),
    "upward": ("../a", False),
    "upward inside": ("a/../b", False),
    "absolute": ("/etc/passwd", False),
    "double slash": ("a//b", False),
    "here": ("./a", False),
    "empty": ("", False),
    "NUL": ("a\0b", False),
    "endless": ("a" * 2000, False),
}


@pytest.mark.parametrize(("name", "is_fine"), NAMES.values(), ids=NAMES)
def test_a_file_name_goes_nowhere_upward(name: str, is_fine: bool) -> None:
    if is_fine:
        assert checked_name(name) == name
    else:
        with pytest.raises(FileNameError):
            checked_name(name)


def test_node_ids_are_read_back_by_kind_only() -> None:
    assert row_of("Run", node_id("Run", 5)) == 5
    for text in (node_id("Sweep", 5), "", "x", "====", node_id("Run", -1), "\u00fc"):
        assert row_of("Run", text) is None


def test_half_a_surrogate_pair_is_stored_as_a_question_mark(client: ApiClient) -> None:
    query = "mutation M($n: String) { upsertBucket(input: {name: "
    query += '"r", displayName: $n}) { bucket { displayName } } }'
    body = json.dumps({"query": query, "variables": {"n": "NAME"}})
    body = body.replace("NAME", "a\\ud800b\\ud83d\\ude00")
    answer = client.post("/graphql", content=body.encode())
    assert answer.json()["data"]["upsertBucket"]["bucket"]["displayName"] == "a?b\U0001f600"


def test_numbers_that_json_has_no_word_for_go_as_text() -> None:
    answer = requests.json_response({"a": [float("nan"), float("inf"), -float("inf"), 1.0]})
    assert json.loads(bytes(answer.body)) == {"a": ["NaN", "Infinity", "-Infinity", 1.0]}
