"""Whatever a client sends, no answer is 5xx, and no page breaks: random requests over the SDL."""

import importlib.resources
import json
import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    build_schema,
    get_named_type,
    is_leaf_type,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from tests.unit.server_in_process import GRID, ApiClient, InProcessServer, served

REQUESTS = int(os.environ.get("SWEEPCTL_FUZZ_REQUESTS", "500"))

SCHEMA = build_schema(
    importlib.resources.files("sweepctl.server.graphql").joinpath("schema.graphql").read_text()
)

NAMES = ("p", "r0", "r1", "local", "loss", "a", "created_at", "config.a", "summary_metrics.loss")
ODD = (
    "",
    ".",
    "..",
    "a/b",
    "a\nb",
    "<script>alert(1)</script>",
    "\ud800",
    "a\udc00b",
    "\0",
    "é😀",
    "' OR 1 --",
    "x" * 300,
    "%2e%2e",
    "-1",
    "1e999",
)
JSON_LIKE = (
    "{}",
    "[]",
    "null",
    "{",
    '{"keys": 5}',
    '{"keys": ["loss", null, {}], "samples": 1e300, "minStep": "x"}',
    '{"$or": [{"name": "r0"}, {"tags": "x"}]}',
    '{"name": {"$in": ["r0", null, 1.5, {}]}}',
    '{"a": {"$regex": "(a+)+$"}}',
    '{"a\\ud800": {"value": "\\udfff"}}',
    '{"loss": NaN, "b": Infinity, "big": 1' + "0" * 400 + "}",
    '{"a": ' * 50 + "1" + "}" * 50,
    "method: random\nparameters: {a: {min: 0, max: 1}}",
    '{"method": "grid", "name": "\\ud800", "parameters": {"a": {"values": [1, "<b>"]}}}',
    '{"method": "bayes", "metric": {"name": 5}, "parameters": {"a": {}}}',
)

texts = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(ODD),
    st.sampled_from(JSON_LIKE),
    st.text(st.characters(exclude_categories=()), max_size=20),
)
numbers = st.one_of(st.integers(-3, 20), st.sampled_from((2**31, 2**63, -(2**70), 10**30)))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


Draw = Callable[[st.SearchStrategy[Any]], Any]


class World:
    """A server with a sweep and runs; node ids that exist are among what is sent."""

    def __init__(self, folder: Path) -> None:
        self.server = InProcessServer(folder)
        sweep = self.server.sweep(GRID)
        agent = self.server.agent(sweep)
        for _ in range(2):
            self.server.end(self.server.take(agent)["run_id"], 0)
        self.client: ApiClient = served(self.server, Executor(RESOLVERS, lambda line: None))
        begin = 'upsertBucket(input: {name: "r0", modelName: "p"}) { bucket { id } }'
        self.post(f"mutation {{ {begin} }}")
        found = self.post(
            '{ project(name: "p") { sweeps { edges { node { id name agents { edges { node { id } }'
            " } } } } runs { edges { node { id name } } } } }"
        ).json()
        self.ids = sorted(set(_ids(found)))

    def post(self, query: str, variables: Any = None) -> Any:
        raw = json.dumps({"query": query, "variables": variables})
        return self.client.post("/graphql", content=raw.encode())


def _ids(found: Any) -> Iterator[str]:
    for key, value in found.items() if isinstance(found, dict) else ():
        if key in ("id", "name") and isinstance(value, str):
            yield value
        yield from _ids(value)
    for item in found if isinstance(found, list) else ():
        yield from _ids(item)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("fuzz"))


def _value(draw: Draw, kind: Any, ids: list[str]) -> Any:
    if isinstance(kind, GraphQLNonNull):
        return _value(draw, kind.of_type, ids)
    if isinstance(kind, GraphQLList):
        return [_value(draw, kind.of_type, ids) for _ in range(draw(st.integers(0, 3)))]
    if isinstance(kind, GraphQLInputObjectType):
        return {
            name: _value(draw, field.type, ids)
            for name, field in kind.fields.items()
            if isinstance(field.type, GraphQLNonNull) or draw(st.booleans())
        }
    if draw(st.integers(0, 19)) == 0:
        return draw(anything)
    if kind.name in ("Int", "Int64"):
        return draw(numbers)
    if kind.name == "Boolean":
        return draw(st.booleans())
    if kind.name in ("JSONString", "JSON") and draw(st.booleans()):
        return draw(st.one_of(st.sampled_from(JSON_LIKE), anything.map(json.dumps)))
    if hasattr(kind, "values"):
        return draw(st.sampled_from(sorted(kind.values)))
    return draw(st.one_of(st.sampled_from(ids), texts))


def _selection(
    draw: Draw, kind: Any, depth: int, variables: dict[str, tuple[Any, Any]], ids: list[str]
) -> str:
    named = get_named_type(kind)
    if is_leaf_type(named):
        return ""
    fields: dict[str, GraphQLField] = getattr(named, "fields", {})
    wanted = [n for n, f in fields.items() if depth > 0 or is_leaf_type(get_named_type(f.type))]
    parts = ["__typename"]
    for name in draw(st.lists(st.sampled_from(wanted), max_size=4, unique=True)) if wanted else []:
        parts.append(_field(draw, name, fields[name], depth, variables, ids))
    return " { " + " ".join(parts) + " }"


def _field(
    draw: Draw,
    name: str,
    field: GraphQLField,
    depth: int,
    variables: dict[str, tuple[Any, Any]],
    ids: list[str],
) -> str:
    given = []
    for argument, kind in field.args.items():
        if isinstance(kind.type, GraphQLNonNull) or draw(st.booleans()):
            variable = f"v{len(variables)}"
            variables[variable] = kind.type, _value(draw, kind.type, ids)
            given.append(f"{argument}: ${variable}")
    arguments = f"({', '.join(given)})" if given else ""
    return f"{name}{arguments}{_selection(draw, field.type, depth - 1, variables, ids)}"


def operation(draw: Draw, ids: list[str]) -> tuple[str, dict[str, Any]]:
    root = draw(st.sampled_from(("Query", "Query", "Mutation")))
    kind = SCHEMA.type_map[root]
    assert isinstance(kind, GraphQLObjectType)
    variables: dict[str, tuple[Any, Any]] = {}
    name = draw(st.sampled_from(sorted(kind.fields)))
    body = _field(draw, name, kind.fields[name], draw(st.integers(1, 6)), variables, ids)
    declared = ", ".join(f"${variable}: {type_}" for variable, (type_, _) in variables.items())
    head = f"{root.lower()} Q({declared})" if declared else f"{root.lower()} Q"
    return f"{head} {{ {body} }}", {key: value for key, (_, value) in variables.items()}


def _path(draw: Draw, ids: list[str]) -> str:
    known = st.sampled_from(("local", "p", "r0", "runs", "sweeps", "files", "storage", "1"))
    parts = draw(st.lists(st.one_of(known, st.sampled_from(ids), texts), max_size=6))
    said = "/".join(urllib.parse.quote(part, safe="", errors="replace") for part in parts)
    query = urllib.parse.quote(draw(texts), errors="replace")
    return f"/{said.lstrip('/')}" + (f"?metric={query}" if draw(st.booleans()) else "")


STREAMS = ("wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log", "x")


def _stream(draw: Draw) -> Any:
    names = st.one_of(st.sampled_from(STREAMS), texts)
    block = st.fixed_dictionaries({"offset": numbers, "content": st.lists(texts, max_size=3)})
    files = st.dictionaries(names, st.one_of(block, anything), max_size=3)
    body = {"files": files, "exitcode": numbers, "complete": st.booleans(), "x": anything}
    return draw(st.one_of(anything, st.fixed_dictionaries({}, optional=body)))


PAGES = ("/", "/local/p", "/local/p/runs/r0")


@settings(
    max_examples=REQUESTS // 2,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_no_request_is_answered_with_5xx_and_no_page_breaks(world: World, data: Any) -> None:
    def draw(strategy: st.SearchStrategy[Any]) -> Any:
        return data.draw(strategy)

    match draw(st.integers(0, 3)):
        case 0 | 1:
            query, variables = operation(draw, world.ids)
            answer = world.post(query, variables)
        case 2:
            raw = json.dumps(_stream(draw)).encode()
            answer = world.client.post("/files/local/p/r0/file_stream", content=raw)
        case _:
            method = draw(st.sampled_from(("GET", "GET", "POST", "PUT", "HEAD", "DELETE")))
            path, body = _path(draw, world.ids), draw(st.binary(max_size=20))
            answer = world.client.request(method, path, content=body)
    assert answer.status_code < 500, (answer.text, world.server.log[-30:])
    page = world.client.get(draw(st.sampled_from(PAGES)))
    assert page.status_code < 500, (page.text, world.server.log[-30:])
