"""Chosen runs side by side: their curves in one picture, what differs marked; or why not."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.figures import Curve, RunFacts, side_by_side
from sweepctl.server.store import lines
from sweepctl.server.web.compare_page import read_names
from tests.unit.server_in_process import ApiClient, InProcessServer, served
from tests.unit.test_server_pages import EVIL, SPEC, Strict


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def client(server: InProcessServer) -> ApiClient:
    return served(server)


def trained(server: InProcessServer, count: int) -> list[str]:
    """Have runs with a curve each; one logs nothing, one NaN alone."""
    sweep = server.sweep({**SPEC, "run_cap": 40})
    agents = [server.agent(sweep, f"node-{n}") for n in range(count)]
    names = [server.take(agent)["run_id"] for agent in agents]
    for at, run in enumerate(names):
        value: Any = {1: None, 2: "NaN"}.get(at, at)
        row = {"Metrics/error": value, "note": EVIL} if value is not None else {}
        history = [json.dumps({"_step": n, **row}) for n in range(3)]
        content = {lines.HISTORY: history, lines.SUMMARY: [json.dumps(row)]}
        server.stream(run, files={n: {"offset": 0, "content": c} for n, c in content.items()})
    return names


def test_chosen_runs_stand_side_by_side(server: InProcessServer, client: ApiClient) -> None:
    runs = trained(server, 4)
    answer = client.get("/local/p/compare?runs=" + ",".join(runs))
    page = Strict(answer.text)
    assert {f"/local/p/runs/{run}" for run in runs} <= set(page.links)
    assert "2 runs by their numbers." in page.text
    assert "Run 2 has logged none. Run 3 has logged none." in page.text
    assert "mark" in page.tags, "the drawn parameters differ"
    assert "net.width" in page.text
    assert "alert('x')" in page.text
    assert "script>alert" not in answer.text
    again = client.get("/local/p/compare?" + "&".join(f"runs={run}" for run in runs))
    assert Strict(again.text).text == page.text


@pytest.mark.parametrize(
    ("query", "count", "said"),
    [
        ("", 0, "No runs are chosen: mark two or more in the table of a sweep."),
        ("runs=,,", 0, "No runs are chosen"),
        ("runs={0}", 1, "One run alone has nothing to be compared with"),
        ("runs={0},nobody", 1, "This project has no run nobody."),
        ("runs=a,b,c,d,e,f,g", 0, "This project has no run a, b, c, d, e and 2 more."),
        ("runs=%3Cscript%3E,%00,%ff", 0, "This project has no run <script>"),
        ("runs={0},{1}&metric=no such", 2, "None of these runs has logged no such as a number."),
        ("runs={0},{0}", 1, "One run alone"),
    ],
    ids=["none", "commas", "one", "bad", "many bad", "markup", "no metric", "twice"],
)
def test_what_cannot_be_compared_is_told(
    server: InProcessServer, client: ApiClient, query: str, count: int, said: str
) -> None:
    runs = trained(server, 2)
    answer = client.get("/local/p/compare?" + query.format(*runs))
    assert answer.status_code == 200
    page = Strict(answer.text)
    assert said in page.text
    assert sum(link.startswith("/local/p/runs/") for link in page.links) == count


def test_of_too_many_runs_the_first_are_shown_and_it_says_so(
    server: InProcessServer, client: ApiClient
) -> None:
    runs = trained(server, 12)
    page = Strict(client.get("/local/p/compare?runs=" + ",".join(runs)).text)
    assert "12 runs are chosen: the first 10 are shown." in page.text
    hundred = ",".join([*runs, *(f"x{n}" for n in range(88))])
    assert "100 runs are chosen" in Strict(client.get(f"/local/p/compare?runs={hundred}").text).text
    assert client.get("/local/nothing/compare?runs=a").status_code == 404


def test_runs_are_marked_in_the_table_of_their_sweep_by_a_plain_form(
    server: InProcessServer, client: ApiClient
) -> None:
    runs = trained(server, 3)
    with server.database.read() as rows:
        (sweep,) = [row[0] for row in rows.execute("SELECT id FROM sweeps")]
    text = client.get(f"/local/p/sweeps/{sweep}").text
    assert 'action="/local/p/compare"' in text
    for run in runs:
        assert f'name="runs" value="{run}" form="compare"' in text


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([("runs", "a,b")], ["a", "b"]),
        ([("runs", "a"), ("x", "c"), ("runs", " b ")], ["a", "b"]),
        ([("runs", ",")], []),
        ([], []),
    ],
)
def test_runs_are_named_in_either_way(given: list[tuple[str, str]], names: list[str]) -> None:
    assert read_names(given) == names


def test_the_numbers_of_the_lines_are_those_of_the_table() -> None:
    runs = [RunFacts(f"r{n}", "finished", name=EVIL) for n in range(12)]
    curves = {run.id: Curve([1.0, float(n)], [0, 1]) for n, run in enumerate(runs)}
    figure = side_by_side("m", runs, curves)
    assert [row[0] for row in figure.rows] == list(range(1, 11))
    assert "The first 10 of 12 runs are drawn." in figure.notes
    assert "<script>" not in figure.html()
    assert "run-10" in figure.svg
