"""Pages that are kept: written again when something was stored, and else not."""

import json
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.store import summary_store
from sweepctl.server.store.summary_store import metric_number
from sweepctl.server.web.kept_pages import KeptPages
from tests.unit.server_in_process import InProcessServer, served


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def test_a_page_is_written_once_while_nothing_changes() -> None:
    version, seconds = [0], [0.0]
    written: list[int] = []
    pages = KeptPages(lambda: version[0], lambda: seconds[0])

    def write() -> str:
        written.append(len(written))
        return f"page {version[0]}"

    first = pages.written("a", write)
    assert pages.written("a", write) is first
    assert pages.current("b") is None
    version[0] = 1
    second = pages.written("a", write)
    assert (second.body, len(written)) == (b"page 1", 2)
    seconds[0] = 60.0
    third = pages.written("a", write)
    assert len(written) == 3, "it tells how long ago things were"
    assert third.etag == second.etag != first.etag


def test_the_pages_asked_for_last_are_kept_as_far_as_there_is_room() -> None:
    pages = KeptPages(lambda: 0, lambda: 0.0)
    for number in range(50):
        pages.written(number, lambda: "x" * (1 << 20))
        assert pages.current(0) is not None, "it is asked for again and again"
    kept = [number for number in range(50) if pages.current(number) is not None]
    assert kept == [0, *range(20, 50)], "with what each of them takes when it is packed"


@pytest.mark.parametrize(
    ("key", "most"),
    [
        pytest.param(lambda n: ("p", f"made-up-{n}"), (32 << 20) // 1000, id="many-names"),
        pytest.param(lambda n: ("p", (("m", f"{n:>60000}"),)), 560, id="long-metric"),
        pytest.param(lambda n: f"{n:>1000000}", 34, id="one-long-name"),
        pytest.param(lambda n: ("p", "\N{PILE OF POO}" * 250_000 + str(n)), 34, id="wide-letters"),
    ],
)
def test_what_pages_are_kept_under_counts_as_what_they_take(
    key: Callable[[int], Hashable], most: int
) -> None:
    pages = KeptPages(lambda: 0, lambda: 0.0)
    asked = most + most // 5
    for number in range(asked):
        pages.written(key(number), lambda: "")
    kept = sum(pages.current(key(number)) is not None for number in range(asked))
    assert most // 3 < kept <= most


def test_a_browser_that_has_the_page_is_sent_nothing_until_something_changes(
    server: InProcessServer,
) -> None:
    client, sweep = served(server), server.sweep()
    path = f"/local/p/sweeps/{sweep.id}"
    first = client.get(path)
    etag = first.headers["etag"]
    known = {"If-None-Match": f'"other", {etag}'}
    assert "private" in first.headers["cache-control"]
    for _ in range(2):
        again = client.request("GET", path, headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.request("GET", path, headers={"If-None-Match": '"other"'}).status_code == 200
    agent = server.agent(sweep)
    changed = client.request("GET", path, headers=known)
    assert changed.status_code == 200
    assert agent.host in changed.text
    server.take(agent)
    etag = client.get("/").headers["etag"]
    assert client.request("GET", "/", headers={"If-None-Match": etag}).status_code == 304
    missing = client.request("GET", "/local/p/sweeps/none", headers={"Accept": "text/html"})
    assert missing.status_code == 404
    assert "etag" not in missing.headers


SUMMARIES: list[Any] = [
    {},
    {"m": 1.5},
    {"m": -0.0},
    {"m": 3},
    {"m": True},
    {"m": "7.5"},
    {"m": "NaN"},
    {"m": float("inf")},
    {"m": 2**70},
    {"m": {"best": 2.5, "last": 1.0}},
    {"m": {"last": 4}},
    {"m": {"max": 5.0, "min": 1.0}},
    {"m": {"other": 1.0}},
    {"m": [1.0]},
    {"m": None},
    {"m.best": 8.0},
    {"n": {"x": 1.25}},
    {"n.x": 2.25},
    {"n.x": 2.25, "n": {"x": 1.25}},
    {"n": {"x": 1.25}, "n.x": 2.25},
]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("metric", ["m", "n.x"])
def test_the_metrics_of_all_runs_are_those_of_each(
    server: InProcessServer, metric: str, goal: str
) -> None:
    values = [{"value": n} for n in range(len(SUMMARIES))]
    sweep = server.sweep(
        {
            "method": "grid",
            "metric": {"name": metric, "goal": goal},
            "parameters": {"a": {"values": [value["value"] for value in values]}},
        }
    )
    expected = {}
    for summary in SUMMARIES:
        run = server.run(server.take(server.agent(sweep))["run_id"])
        with server.database.write() as tx:
            summary_store.write_summary(tx, run.pk, json.dumps(summary))
        number = metric_number(sweep, summary)
        if number is not None:
            expected[run.pk] = number
    assert len(expected) >= 3
    with server.database.read() as rows:
        assert summary_store.metric_numbers(rows, sweep) == expected
