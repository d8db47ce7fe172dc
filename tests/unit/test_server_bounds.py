"""What one request may cost: what is within the limits is answered, what is over them refused."""

import gzip
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server import bounds, json_texts
from sweepctl.server.bounds import TooCostlyError
from sweepctl.server.engine.sweep_config import SweepError, read_config
from sweepctl.server.errors import BadMessageError
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.runs.messages import RunChange
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.web import requests
from tests.unit.server_in_process import GRID, InProcessServer, served

DOCS = Path(__file__).parents[2] / "docs" / "without-wandb.md"


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    made = InProcessServer(tmp_path)
    sweep = made.sweep(GRID)
    agent = made.agent(sweep)
    for _ in range(3):
        made.end(made.take(agent)["run_id"], 0)
    return made


def in_project(fields: str) -> str:
    return f'{{ project(name: "p") {{ {fields} }} }}'


def filtered(document: Any) -> str:
    return in_project(f"runs(filters: {json.dumps(json.dumps(document))}) {{ totalCount }}")


def deep(pairs: int) -> str:
    """Give a query nested four levels a pair, and two more."""
    inner = "id"
    for _ in range(pairs):
        inner = f"sweeps {{ edges {{ node {{ project {{ {inner} }} }} }} }}"
    return in_project(inner)


SMALL_BOMB = "fragment a on Project { id ...b } fragment b on Project { id } "
BOMB = "".join(
    f'fragment f{n} on Project {{ a: sweep(sweepName: "x") {{ project {{ ...f{n + 1} }} }}'
    f' b: sweep(sweepName: "x") {{ project {{ ...f{n + 1} }} }} }} '
    for n in range(9)
)
BOMB += "fragment f9 on Project { id a: id b: id c: id }"

QUERIES = {
    "a short query": (in_project("id"), None),
    "as deep as clients ask": (deep(4), None),
    "too deep": (deep(5), "the query is nested 22 deep, over 20"),
    "many aliases": (in_project(" ".join(f"a{n}: id" for n in range(1900))), None),
    "too many aliases": (
        in_project(" ".join(f"a{n}: id" for n in range(2100))),
        "the query asks for 2101 fields, over 2000",
    ),
    "fragments": (SMALL_BOMB + in_project("...a ...b"), None),
    "fragments that double": (BOMB + in_project("...f0"), "asks for 4093 fields, over 2000"),
    "fragments that spread": (
        f"fragment x on Project {{ {' '.join(f'a{n}: id' for n in range(500))} }} "
        + in_project(" ".join("...x" for _ in range(5))),
        "the query asks for 2501 fields",
    ),
    "a long query": (in_project("id" + " " * 99_000), None),
    "too long a query": (in_project("id" + " " * 100_000), "characters, over 100000"),
    "an expression": (filtered({"name": {"$regex": "^a+(b|c)*$"}}), None),
    "one that backtracks": (filtered({"display_name": {"$regex": "(a+)+$"}}), None),
    "one that looks ahead": (filtered({"name": {"$regex": "(?=a)"}}), "its syntax is RE2's"),
    "a backreference": (filtered({"name": {"$regex": r"(a)\1"}}), "its syntax is RE2's"),
    "half an expression": (filtered({"name": {"$regex": "["}}), "is no regular expression"),
    "an expression that grows": (
        filtered({"name": {"$regex": "((a{100}){100}){100}"}}),
        "is no regular expression",
    ),
    "too long an expression": (filtered({"name": {"$regex": "a" * 1001}}), "over 1000"),
    "1001 ids": (filtered({"name": {"$in": [f"r{n}" for n in range(1001)]}}), None),
    "5000 ids": (filtered({"name": {"$in": [f"r{n}" for n in range(5_000)]}}), None),
    "1001 ids one by one": (filtered({"$or": [{"name": f"r{n}"} for n in range(1001)]}), None),
    "too many conditions": (
        filtered({"$or": [{"summary_metrics.x": n} for n in range(2500)]}),
        "conditions, over 2000: give a list to $in",
    ),
    "tags": (filtered({"tags": {"$in": [f"t{n}" for n in range(1001)]}}), None),
    "none of 1001": (filtered({"state": {"$nin": [f"r{n}" for n in range(1001)]}}), None),
    "odd values in a list": (filtered({"name": {"$in": [None, 1.5, True, "x", 2**70]}}), None),
    "a map in a list": (filtered({"name": {"$in": [{}]}}), "cannot compare with {}"),
    "a condition within others": (filtered({"$and": [{"$or": [{"$nor": [{"name": 1}]}]}]}), None),
    "orders": (in_project('runs(order: "-created_at") { totalCount }'), None),
    "an unknown order": (in_project('runs(order: "x; y") { totalCount }'), "cannot be ordered"),
    "many orders": (
        in_project('runs(order: "' + "state," * 11 + '") { totalCount }'),
        "ordered by 12 fields, over 10",
    ),
}


@pytest.mark.parametrize(("query", "words"), QUERIES.values(), ids=QUERIES)
def test_a_query_is_answered_within_the_limits_and_refused_over_them(
    server: InProcessServer, query: str, words: str | None
) -> None:
    answer = served(server).post("/graphql", json={"query": query})
    assert answer.status_code < 500
    errors = answer.json().get("errors")
    if words is None:
        assert errors is None, errors
    else:
        assert words in errors[0]["message"]
        assert len(errors[0]["message"]) < 500


def test_a_filter_over_the_depth_is_refused(server: InProcessServer) -> None:
    document: dict[str, Any] = {"name": "x"}
    for _ in range(25):
        document = {"$not": document}
    answer = served(server).post("/graphql", json={"query": filtered(document)})
    assert "nested more than 20 deep" in answer.json()["errors"][0]["message"]


SWEEP_FILTERS = {
    "by name": ({"name": "x"}, None),
    "by a column of runs": ({"tags": "x"}, "cannot filter by 'tags'"),
    "by another": ({"sweep": "x"}, "cannot filter by 'sweep'"),
    "by nothing known": ({"a\nb": 1}, "cannot filter by 'a\\nb'"),
}


@pytest.mark.parametrize(("document", "words"), SWEEP_FILTERS.values(), ids=SWEEP_FILTERS)
def test_sweeps_are_filtered_by_their_own_columns_alone(
    server: InProcessServer, document: Any, words: str | None
) -> None:
    text = json.dumps(json.dumps(document))
    query = in_project(f"sweeps(filters: {text}) {{ totalCount }}")
    answer = served(server).post("/graphql", json={"query": query})
    assert answer.status_code == 200
    errors = answer.json().get("errors")
    assert errors is None if words is None else words in errors[0]["message"]


def _json_of(values: int) -> str:
    return "[" + ",".join(["[]"] * values) + "]"


TEXTS = {
    "small": ('{"a": [1, 2]}', None),
    "a long text of commas": (json.dumps("[],:{" * 1_000_000), None),
    "escaped quotes": (json.dumps({"a": '\\"\\' * 300_000, "b": ","}), None),
    "many values": (_json_of(240_000), None),
    "too many values": (_json_of(600_000), "it has more than 500000 values"),
    "too many texts": (json.dumps(["", ""] * 400_000), "it has more than 500000 values"),
    "deep": ("[" * 100 + "]" * 100, None),
    "too deep": ("[" * 110 + "]" * 110, "it is nested more than 100 deep"),
    "far too deep": ("[" * 100_000, "it is nested too deeply"),
    "a half": (r'{"a\ud800": ["\udc00", "\ud83d\ude00"]}', None),
    "broken": ("{", "Expecting property name"),
}


@pytest.mark.parametrize(("text", "words"), TEXTS.values(), ids=TEXTS)
def test_json_is_read_within_the_limits_and_refused_over_them(text: str, words: str | None) -> None:
    if words is not None:
        with pytest.raises(json_texts.JsonTextError, match=re.escape(words)):
            json_texts.parsed(text)
        return
    json.dumps(json_texts.parsed(text), ensure_ascii=False).encode()


BODIES = {
    "a gzip of lists": (lambda: b"[" + b"[]," * 20_000_000 + b"[]]", "500000 values"),
    "a gzip of blanks": (lambda: b" " * (70 << 20), "over 64 MB"),
    "a gzip of a query": (lambda: b'{"query": "{ viewer { id } }"}', None),
}


@pytest.mark.parametrize(("body", "words"), BODIES.values(), ids=BODIES)
def test_a_body_is_measured_before_it_is_read(
    server: InProcessServer, body: Callable[[], bytes], words: str | None
) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    packed = gzip.compress(body())
    answer = served(server).post("/graphql", content=packed, headers=headers)
    assert answer.status_code == (200 if words is None else 413 if "MB" in words else 400)
    assert words is None or words in answer.json()["error"]


CONFIGS = {
    "plain": ("method: random\nparameters: {a: {value: 1}}", None),
    "merged": ("a: &a {x: 1}\nb: {<<: *a, y: 2}", None),
    "a long text": (f"a: {'word ' * 1000}", None),
    "an alias bomb of merges": (
        "a0: &a0 {x: 1}\n"
        + "\n".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)),
        "more than 100000 values",
    ),
    "a number of base 60": ("a: 1" + ":59" * 1000, "a number of 3001 characters"),
    "many values": ("[" + "1," * 110_000 + "1]", "more than 100000 values"),
    "many aliases": ("a: &a 1\nb: [" + "*a ," * 1100 + "1]", "more than 1000 aliases"),
    "deep": ("[" * 60 + "]" * 60, "nested more than 50 deep"),
}


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_is_measured_before_it_is_built(text: str, words: str | None) -> None:
    if words is None:
        assert read_config(text)
        return
    with pytest.raises(SweepError, match=words):
        read_config(text)


def test_an_answer_that_multiplies_is_ended_by_its_account(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = in_project("sweeps { edges { node { project { runs { edges { node { id } } } } } } }")
    client = served(server)
    assert "errors" not in client.post("/graphql", json={"query": query}).json()
    monkeypatch.setattr(bounds.Account.__init__, "__defaults__", _defaults(fields=8))
    answer = client.post("/graphql", json={"query": query})
    assert answer.status_code == 200
    assert "the answer has more than" in answer.json()["errors"][0]["message"]


def _defaults(**changed: int) -> tuple[Any, ...]:
    names = ("fields", "characters")
    old = bounds.Account.__init__.__defaults__
    assert old is not None
    return (*(changed.get(name, value) for name, value in zip(names, old, strict=False)), *old[2:])


def delete_and_count(server: InProcessServer, query: str) -> None:
    with server.database.write() as tx:
        tx.execute("DELETE FROM runs WHERE pk = 1")
        tx.execute(query).fetchone()


def test_sql_that_takes_too_long_is_ended_by_its_account(server: InProcessServer) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with bounds.accounted() as account:
        account.until = time.thread_time()
        with (
            pytest.raises(TooCostlyError, match="s of computing time"),
            server.database.read() as rows,
        ):
            rows.execute(endless).fetchone()
        with pytest.raises(TooCostlyError):
            delete_and_count(server, endless)
    with server.database.read() as rows:
        assert run_store.count_runs(rows) == 3
        assert sweep_store.projects(rows)


SIGNED = {
    "the method it is for": ("PUT", "PUT", 0, 200),
    "another method": ("GET", "PUT", 0, 403),
    "to get": ("GET", "GET", 0, 200),
    "the head of what one may get": ("GET", "HEAD", 0, 200),
    "to get what one may put": ("PUT", "GET", 0, 403),
    "within its time": ("PUT", "PUT", bounds.SIGNED_FOR_S - 1, 200),
    "after its time": ("PUT", "PUT", bounds.SIGNED_FOR_S + 1, 403),
}


@pytest.mark.parametrize(("signed", "method", "after_s", "status"), SIGNED.values(), ids=SIGNED)
def test_a_signed_address_is_for_one_method_and_a_limited_time(
    server: InProcessServer, signed: str, method: str, after_s: float, status: int
) -> None:
    files = RunFiles(server.database, server.clock)
    with server.database.read() as rows:
        run = run_store.runs(rows)[0].pk
    client = served(server)
    assert client.put(files.url("", "PUT", run, "a b/ü"), content=b"abc").status_code == 200
    address = files.url("", signed, run, "a b/ü")
    server.seconds += after_s
    answer = client.request(method, address, content=b"abc" if method == "PUT" else None)
    assert answer.status_code == status
    for wrong in (address.replace("storage/", "storage/9"), address.replace("a%20b", "b")):
        assert client.request(method, wrong).status_code == 403
    for token in ("x", "9.9", "9" * 5000 + ".x", "²."):
        assert client.request(method, f"/storage/{run}/{token}/f").status_code == 403


SIZES = {"small": ("3", 200), "too large": (str(6 << 30), 413), "endless": ("9" * 60, 413)}


@pytest.mark.parametrize(("said", "status"), SIZES.values(), ids=SIZES)
def test_an_upload_has_a_largest_size(
    server: InProcessServer, said: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RunFiles(server.database, server.clock)
    address = files.url("", "PUT", 1, "f")
    client = served(server)
    answer = client.put(address, content=b"abc", headers={"Content-Length": said})
    assert answer.status_code == status
    monkeypatch.setattr(requests, "MAX_UPLOAD_BYTES", 2)
    answer = client.put(address, content=iter_of(b"ab", b"c"))
    assert answer.status_code == 413, "also one that does not say its size"
    assert list((server.folder / "files" / ".incoming").iterdir()) == []


async def iter_of(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


def test_a_runs_configuration_grows_up_to_its_limit_and_one_from_before_may_shrink(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = server.intake.upsert(1, None, "grows", RunChange({}, {}, None, None, "h", False), None)

    def add(name: str, size: int) -> None:
        change = RunChange({}, {name: {"value": "x" * size}}, None, None, None, False)
        server.intake.upsert(1, run, "grows", change, None)

    add("early", 5000)
    monkeypatch.setattr(bounds, "MAX_RUN_CONFIG_CHARACTERS", 2000)
    with pytest.raises(BadMessageError, match="configuration would be larger than"):
        add("late", 1)
    add("early", 4000)
    add("early", 100)
    add("late", 1000)
    with pytest.raises(BadMessageError, match="configuration would be larger than"):
        add("later", 1000)


def test_every_limit_is_in_the_documentation() -> None:
    text = DOCS.read_text("utf-8").replace(",", "")
    stated = {
        name: value
        for name, value in vars(bounds).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int | float)
    }
    assert len(stated) > 20
    table = text[text.index("## What a request may cost") :]
    missing = [name for name, value in stated.items() if _shown(name, value) not in table]
    assert missing == []


def _shown(name: str, value: float) -> str:
    if value >= 1 << 30:
        return f"{value / (1 << 30):g} GB"
    if value >= 1 << 20 and name != "MAX_FIELDS_ANSWERED":
        return f"{value / (1 << 20):g} M"
    if name == "SIGNED_FOR_S":
        return f"{value / 3600:g} h"
    return f"{value:g} s" if name.endswith("_S") else f"| {int(value)} "
