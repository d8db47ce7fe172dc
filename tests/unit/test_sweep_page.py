"""A sweep's page as its address wants it: sorted, filtered, put together; and whatever is wrong."""

import html
import json
import math
import random
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepctl.figures import RunFacts, SweepFacts
from sweepctl.figures.trends import mean_interval
from sweepctl.search.metric import Metric
from sweepctl.server.bounds import EndingError
from sweepctl.server.store import lines, run_store, sweep_store
from sweepctl.server.web.measuring import Measuring
from sweepctl.server.web.sweep_figures import FIGURES
from sweepctl.server.web.table_query import Condition, Range, TableQuery, read_query
from tests.unit.server_in_process import ApiClient, InProcessServer, served
from tests.unit.test_server_pages import EVIL, Strict

SPEC: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "reward", "goal": "maximize"},
    "parameters": {
        "lr": {"values": [0.001, 0.01, 0.1]},
        "act": {"values": ["elu", "relu"]},
        "state": {"values": ["wide"]},
        "seed": {"values": [1, 2]},
    },
}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def train(
    server: InProcessServer, spec: dict[str, Any], results: list[dict[str, Any]], code: int = 0
) -> str:
    """Have a sweep whose runs log and end so; give the address of its page."""
    sweep = server.sweep(spec)
    agent = server.agent(sweep, "h")
    for number, summary in enumerate(results):
        run = server.take(agent)["run_id"]
        content = {lines.SUMMARY: [json.dumps(summary)]}
        if "reward" in summary and number % 2 == 0:
            content[lines.HISTORY] = [json.dumps({"_step": 0, "_runtime": 1.0, **summary})]
        files = {name: {"offset": 0, "content": some} for name, some in content.items()}
        server.stream(run, files=files)
        server.end(run, code)
    return f"/local/p/sweeps/{sweep.id}"


@pytest.fixture
def trained(server: InProcessServer) -> str:
    """Have the twelve runs of the grid, their rewards 0 to 11, and one that has none."""
    return train(server, SPEC, [{"reward": n} if n != 7 else {} for n in range(12)])


def rows(page: str) -> list[list[str]]:
    """Give the cells of the table of runs."""
    table = page.partition('id="table"')[2].partition("</table>")[0]
    found = []
    for row in re.findall("<tr.*?</tr>", table, re.DOTALL):
        cells = re.findall("<t[hd].*?</t[hd]>", row, re.DOTALL)
        found.append([html.unescape(re.sub("<.*?>", "", cell)).strip() for cell in cells])
    return found


def column(page: str, name: str) -> list[str]:
    head, *body = rows(page)
    return [row[head.index(name)] for row in body]


def problems(page: str) -> list[str]:
    found = re.findall('<p class="why" role="alert">(.*?)</p>', page)
    return [html.unescape(each) for each in found]


def best_first(*without: int) -> list[str]:
    return [str(n) for n in range(11, -1, -1) if n not in (7, *without)]


ASKED: dict[str, tuple[str, str, list[str]]] = {
    "as it is": ("", "reward", [*best_first(), ""]),
    "the lowest first": ("sort=reward", "reward", [*best_first()[::-1], ""]),
    "by a number": ("sort=-lr&where=seed=1 act=elu", "lr", ["0.1", "0.01", "0.001"]),
    "by a text": ("sort=act&where=seed=1 lr=0.1", "act", ["elu", "relu"]),
    "a number": ("where=reward>=10", "reward", ["11", "10"]),
    "with spaces and a word": ("where=reward > 3 and reward < 6", "reward", ["5", "4"]),
    "one of several": ("where=reward=1,3,99", "reward", ["3", "1"]),
    "not one": ("where=reward!=11 reward>9", "reward", ["10"]),
    "a part of a text": ("where=act~REL reward>9", "act", ["relu", "relu"]),
    "quoted": ('where="act"="relu" reward>9', "act", ["relu", "relu"]),
    "no such run": ("where=reward>99", "reward", []),
    "a state": ("where=state=failed", "reward", []),
    "a parameter called like a column": ("where=param.state=wide reward>10", "reward", ["11"]),
    "a stretch": ("range=reward:3..4.5", "reward", ["4", "3"]),
    "a stretch of names": ("range=act:elu..elu&range=reward:0..2", "act", ["elu", "elu"]),
    "a stretch of few numbers": ("range=lr:0.01..0.01&range=seed:2..2", "lr", ["0.01"]),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_runs_are_those_that_were_asked_for(
    server: InProcessServer, trained: str, name: str
) -> None:
    query, shown, expected = ASKED[name]
    page = served(server).get(f"{trained}?{query}".replace(" ", "%20").replace('"', "%22")).text
    Strict(page)
    assert problems(page) == []
    got = column(page, shown) if expected else rows(page)
    if name == "a stretch of few numbers":
        assert set(got) == {"0.01"}
    elif name == "a stretch of names":
        assert set(got) == {"elu"}
    else:
        assert got == expected


WRONG = {
    "where=nope=1": "where: there is no column 'nope': there are run, state, reward",
    "where=rewrd>1": "where: there is no column 'rewrd': did you mean reward?",
    "where=reward>>1": "where: '>1' is no number, and > compares numbers",
    "where=>1": "where is not understood from '>1' on: a condition is NAME OP VALUE",
    "where=reward": "where is not understood from 'reward' on",
    "where=reward<many": "where: 'many' is no number, and < compares numbers",
    "where=" + "a=1 " * 120: "where has more than 100 conditions: give fewer",
    "where=" + "a" * 9000: "where is longer than 8000 characters: it is left out",
    "where=%00%1b=1": "where is not understood from '=1' on",
    "sort=-nope": "sort: there is no column 'nope'",
    "over=reward": "over: there is no column 'reward': there are",
    "column=nope": "column: there is no column 'nope'",
    "range=lr": "range 'lr' is left out: it is NAME:LOW..HIGH",
    "range=reward:a..b": "range reward:a..b is left out: its ends are numbers",
    "range=act:a..b": "range act:a..b is left out: act is one of elu, relu",
    "range=host:1..2": "range: there is no column 'host'",
    "range=param.state:1..2": "is left out: all runs have the same value",
    "page=0": "page '0' is none: it is a number from 1 on",
    "page=x&sort=reward": "page 'x' is none",
    "x=moon": "x 'moon' is none of step, iteration, time",
    "smooth=2": "smooth '2' is no number from 0 to below 1",
    f"where={EVIL}=1": "where is not understood from",
}


@pytest.mark.parametrize("query", WRONG)
def test_what_is_wrong_in_an_address_is_told_in_a_sentence(
    server: InProcessServer, trained: str, query: str
) -> None:
    answer = served(server).get(f"{trained}?{query}".replace(" ", "%20"))
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    Strict(answer.text)
    told = problems(answer.text)
    assert len(told) == 1, told
    assert WRONG[query] in told[0]
    assert len(rows(answer.text)) > 1, "the runs are there all the same"


def test_runs_that_differ_by_their_seed_alone_stand_together_with_mean_and_interval(
    server: InProcessServer, trained: str
) -> None:
    page = served(server).get(f"{trained}?over=seed").text
    head, *groups = rows(page)
    assert head[-7:] == ["Mean reward", "Runs", "Finished", "±", "From", "To", "Best"]
    assert [group[head.index("Mean reward")] for group in groups][:2] == ["10.5", "8.5"]
    by_lr = served(server).get(f"{trained}?over=seed&sort=-lr").text
    assert column(by_lr, "lr") == ["0.1", "0.1", "0.01", "0.01", "0.001", "0.001"]
    lowest = served(server).get(f"{trained}?over=seed&sort=reward").text
    assert column(lowest, "Mean reward")[0] == "0.5"
    finished = [group[head.index("Finished")] for group in groups]
    assert sorted(finished) == ["1", "2", "2", "2", "2", "2"]
    assert re.search(r'<option value="">\(each run\)</option><option value="seed"', page)
    alone = next(group for group in groups if group[head.index("Finished")] == "1")
    assert alone[head.index("±")] == "", "one run has no interval"
    table = page.partition('id="table"')[2]
    (link,) = re.findall(r'<a href="(\?where=[^"]+)"', table)[:1]
    again = served(server).get(f"{trained}{html.unescape(link)}").text
    assert column(again, "reward") == ["11", "10"], "a group leads to its runs"


def test_a_link_keeps_all_that_was_chosen(server: InProcessServer, trained: str) -> None:
    query = "?sort=-lr&where=reward%3E1&range=lr%3A0.001..0.1&column=lr&column=reward&x=time&log=1"
    page = served(server).get(f"{trained}{query}").text
    assert rows(page)[0] == ["Run", "reward", "lr"]
    (link,) = re.findall(r'<th[^>]*><a href="([^"]+)" data-in-place>reward</a>', page)
    kept = read_query(parse_qsl(html.unescape(link)[1:]))
    assert (kept.sort, kept.is_descending, kept.x, kept.is_log) == ("reward", True, "time", True)
    assert kept.columns == ("lr", "reward")
    assert "over=time" not in page
    assert f'data-part="{trained}/figures/metric-over-steps?x=time&amp;log=1"' in page


@pytest.mark.parametrize(
    "query",
    [
        TableQuery(),
        TableQuery("reward", True, page=7),
        TableQuery(over="seed", columns=("a b", "c&d"), x="time", smooth=0.9, is_log=True),
        TableQuery(
            where='"a b"="c d" e!=1',
            conditions=(Condition("a b", "=", "c d"), Condition("e", "!=", "1")),
            ranges=(Range("x:y", "-1", "2.5"),),
        ),
    ],
)
def test_a_query_reads_back_from_its_address(query: TableQuery) -> None:
    assert read_query(parse_qsl(query.address()[1:])) == query


WORDS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet='ab"\\ =<>!~:.,-1e', max_size=30),
    st.sampled_from(["1", "-reward", "a=1 b~c", "lr:1..2", "time", "nan", "inf", "1e999"]),
)
NAMES = ["sort", "where", "range", "over", "column", "page", "x", "smooth", "log", "other"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), WORDS), max_size=8))
def test_any_address_is_read_and_reads_back(pairs: list[tuple[str, str]]) -> None:
    query = read_query(pairs)
    again = read_query(parse_qsl(query.address()[1:]))
    assert again == query
    assert len(query.problems) <= len(pairs)


def many(names: int) -> dict[str, Any]:
    found = {f"p{n}": {"values": [n, n + 1]} for n in range(names)}
    return {**SPEC, "method": "random", "parameters": found}


TROUBLE: dict[str, tuple[dict[str, Any], list[dict[str, Any]], int]] = {
    "no run": (SPEC, [], 0),
    "no finished run": (SPEC, [{"reward": 1.0}] * 3, 1),
    "one run": (SPEC, [{"reward": 1.0}], 0),
    "a constant metric": (SPEC, [{"reward": 1.0}] * 6, 0),
    "one parameter": ({**SPEC, "parameters": {"a": {"values": list(range(9))}}}, [
        {"reward": float(n)} for n in range(9)
    ], 0),
    "no parameter varies": ({**SPEC, "method": "random", "parameters": {"a": {"value": 1}}}, [
        {"reward": 1.0}, {"reward": 2.0}
    ], 0),
    "sixty parameters": (many(60), [{"reward": float(n)} for n in range(5)], 0),
    "NaN and infinities": (SPEC, [{"reward": x} for x in (math.nan, math.inf, -math.inf, 1.0)], 0),
    "a metric that some lack": (SPEC, [{"reward": 1.0}, {}, {"other": 2.0}, {"reward": "x"}], 0),
    "huge numbers": (SPEC, [{"reward": 1e308}, {"reward": -1e308}, {"reward": 10**400}], 0),
    "no metric": ({k: v for k, v in SPEC.items() if k != "metric"}, [{"reward": 1.0}] * 2, 0),
    "markup in names": (
        {
            **SPEC,
            "name": EVIL,
            "metric": {"name": EVIL, "goal": "minimize"},
            "parameters": {EVIL: {"values": [EVIL, "b"]}, "c": {"values": [1, 2]}},
        },
        [{EVIL: float(n)} for n in range(4)],
        0,
    ),
}  # fmt: skip


def asked(client: ApiClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.text)
    assert "Traceback" not in answer.text
    return answer.text


@pytest.mark.parametrize("name", TROUBLE)
def test_whatever_a_sweep_is_like_its_page_and_figures_say_something(
    server: InProcessServer, name: str
) -> None:
    spec, results, code = TROUBLE[name]
    address, client = train(server, spec, results, code), served(server)
    for query in ("", "?over=seed", "?sort=reward", "?sort=nope&x=iteration&log=1&smooth=0.9"):
        page = asked(client, address + query)
        assert "<script>alert" not in page
        Strict(page)
    for figure in FIGURES:
        if figure == "importance" and name not in ("no run", "no finished run"):
            continue  # a process apart; it is tried once
        drawn = asked(client, f"{address}/figures/{figure}")
        assert "<script>alert" not in drawn
        says = re.search(r"<figcaption>.+?</figcaption><p>(.+?)</p>", drawn)
        assert says is not None, (figure, drawn)
        picture = client.get(f"{address}/figures/{figure}.svg")
        assert picture.headers["content-type"].startswith("image/svg+xml")
        assert "<svg" in picture.text
        assert "<script>alert" not in picture.text


def test_what_matters_is_measured_apart_and_told(server: InProcessServer) -> None:
    spec = {**SPEC, "parameters": {"a": {"values": list(range(12))}, "b": {"values": [1, 2]}}}
    address = train(server, spec, [{"reward": float(n // 2)} for n in range(24)])
    assert "a matters most" in asked(served(server), f"{address}/figures/importance")


@pytest.mark.parametrize("figure", ["nope", "importance.png", "", EVIL])
def test_a_figure_that_is_none_is_not_found(server: InProcessServer, figure: str) -> None:
    address = train(server, SPEC, [])
    answer = served(server).get(f"{address}/figures/{figure.replace('/', '%2F')}")
    assert answer.status_code == 404


def test_a_figure_is_drawn_once_until_its_own_sweep_changes(server: InProcessServer) -> None:
    one, client = train(server, SPEC, [{"reward": 1.0}]), served(server)
    first = client.get(f"{one}/figures/best-so-far")
    train(server, SPEC, [{"reward": 5.0}])
    again = client.request(
        "GET", f"{one}/figures/best-so-far", headers={"If-None-Match": first.headers["etag"]}
    )
    assert again.status_code == 304
    assert (
        client.get(f"{one}/figures/best-so-far?smooth=0.9").headers["etag"]
        == (first.headers["etag"])
    ), "what does not change it makes no other one"


def test_what_is_kept_of_the_runs_is_what_there_is(server: InProcessServer) -> None:
    early = train(server, SPEC, [{"reward": 50.0}])
    address, client = train(server, SPEC, [{"reward": 1.0}, {"reward": 2.0}]), served(server)

    def shown() -> list[tuple[str, ...]]:
        page = client.get(f"{address}?column=reward&column=lr&column=seed").text
        return [tuple(row[1:]) for row in rows(page)[1:]]

    assert shown() == [("2", "0.001", "2"), ("1", "0.001", "1")]
    with server.database.write() as tx:
        (one,) = run_store.runs(tx, sweep=_pk(server, early))
        run_store.count_as_prior(tx, _pk(server, address), [one])
    assert shown()[0] == ("50", "0.001", "1"), "an older run that another sweep handed out"
    assert shown()[0] == ("50", "0.001", "1")
    agent = server.dispatcher.register(address.rpartition("/")[2], "h", is_own=True)
    run = server.take(agent)["run_id"]
    assert shown()[-1] == ("", "0.01", "1")
    server.stream(run, files={lines.SUMMARY: {"offset": 0, "content": ['{"reward": 3.0}']}})
    assert shown()[1] == ("3", "0.01", "1")
    server.delete(run)
    assert len(shown()) == 3


def _pk(server: InProcessServer, address: str) -> int:
    with server.database.read() as rows:
        sweep = sweep_store.find_sweep(rows, id=address.rpartition("/")[2])
    assert sweep is not None
    return sweep.pk


def test_what_is_being_measured_does_not_hold_up_the_end_of_the_server() -> None:
    draw = random.Random(1)
    names = [f"p{n}" for n in range(40)]
    runs = [
        RunFacts(f"r{n}", "finished", draw.random(), {name: draw.random() for name in names})
        for n in range(400)
    ]
    facts = SweepFacts(Metric("reward", "maximize"), runs, names)

    async def ended() -> None:
        measuring = Measuring()
        async with anyio.create_task_group() as both:
            both.start_soon(_ends_with, measuring, facts)
            await anyio.sleep(0.3)
            measuring.close()
        await _ends_with(measuring, facts)

    anyio.run(ended)


async def _ends_with(measuring: Measuring, facts: SweepFacts) -> None:
    with pytest.raises(EndingError):
        await measuring.measured(facts)


@pytest.mark.parametrize(
    ("values", "half"),
    [([1.0, 2.0], 6.353), ([1.0, 2.0, 3.0], 2.484), ([1.0, 2.0, 3.0, 4.0], 2.054)],
)
def test_few_seeds_have_a_wide_interval(values: list[float], half: float) -> None:
    mean, low, high = mean_interval(values)
    assert (high - low) / 2 == pytest.approx(half, abs=0.002)
    assert (high + low) / 2 == pytest.approx(mean)


def test_the_interval_of_many_is_the_normal_ones() -> None:
    values = [float(n % 2) for n in range(4000)]
    _, low, high = mean_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / 4000**0.5, rel=1e-3)
