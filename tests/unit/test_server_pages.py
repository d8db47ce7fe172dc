"""The pages for people: what they show, that they escape it, and where their plots' parts stand."""

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sweepctl.figures.axes import axis_over
from sweepctl.server.engine.results import Results
from sweepctl.server.errors import NotFoundError
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store import file_store, lines, summary_store, sweep_store
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.wording import short
from sweepctl_pod.run_record import RECORD_FILE, Attempt, RunRecord
from sweepctl_pod.wandb.summary import REASON_KEY
from tests.unit.server_in_process import GRID, InProcessServer

EVIL = "<script>alert('x')</script>"

SPEC: dict[str, Any] = {
    "method": "random",
    "name": EVIL,
    "run_cap": 4,
    "metric": {"name": "Metrics/error", "goal": "minimize"},
    "parameters": {
        "env.gain": {"min": 0.5, "max": 2.0},
        "net": {"parameters": {"width": {"values": [64, 128]}}},
        "path": {"value": EVIL},
    },
}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def pages(server: InProcessServer) -> Pages:
    files = RunFiles(server.database, server.clock)
    return Pages(server.database, server.presence, files, server.clock, server.limits)


class Strict(HTMLParser):
    """Collects texts and links, and checks that every element is closed."""

    VOID = frozenset({"meta", "link", "line", "circle", "polyline", "br", "img", "input", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1:] != ["style"]:
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def trained(server: InProcessServer) -> tuple[str, list[str]]:
    """Have a sweep with a finished, a failed and a running run; give its id and theirs."""
    sweep = server.sweep(SPEC)
    agent = server.agent(sweep, "node-0")
    names = []
    for error, code in ((0.5, 0), (0.25, 0), (0.125, 1), (math.nan, None)):
        run = server.take(agent)["run_id"]
        history = [json.dumps({"_step": n, "Metrics/error": error + n}) for n in (3, 2, 1, 0)]
        content = {
            lines.HISTORY: history,
            lines.SUMMARY: [json.dumps({"Metrics/error": error, "note": EVIL})],
            lines.CONSOLE: ["2026-01-01T00:00:00 fine", f"ERROR 2026-01-01T00:00:00 {EVIL}"],
        }
        files = {name: {"offset": 0, "content": some} for name, some in content.items()}
        server.stream(run, files=files)
        if code is not None:
            server.end(run, code)
        names.append(run)
    return sweep.id, names


def test_an_empty_server_says_how_to_begin(pages: Pages) -> None:
    assert "No sweeps yet. Create one with sweepctl local sweep.yaml" in Strict(pages.sweeps()).text


def test_the_pages_show_a_sweep_and_lead_to_its_runs(server: InProcessServer, pages: Pages) -> None:
    sweep, runs = trained(server)
    listing = Strict(pages.sweeps())
    assert f"/local/p/sweeps/{sweep}" in listing.links
    assert "4 / 4" in listing.text
    assert "0.25" in listing.text, "the best of those that finished"
    page = Strict(pages.sweep("local", "p", sweep))
    assert "minimize Metrics/error" in page.text
    assert "finished 2" in page.text
    assert "failed 1" in page.text
    assert "running 1" in page.text
    assert {f"/local/p/runs/{run}" for run in runs} <= set(page.links)
    assert page.tags.count("circle") == 2, "only what has finished with a number is drawn"
    assert "env.gain between min 0.5, max 2.0" in page.text
    assert "net.width one of [64, 128]" in page.text
    assert re.search(r"best finished 0\.25", page.text)


def test_the_page_of_a_run_shows_its_metric_config_and_log(
    server: InProcessServer, pages: Pages
) -> None:
    _, (first, *_) = trained(server)
    page = Strict(pages.run("local", "p", first, None))
    for part in (
        "Metrics/error",
        "host node-0",
        "exit code 0",
        "attempt 1",
        "fine",
        EVIL,
        "env.gain",
    ):
        assert part in page.text
    assert "3.5 at step 3; from 0.5 to 3.5." in page.text
    assert "svg" in page.tags
    assert "Nothing was logged" in Strict(pages.run("local", "p", first, "no such key")).text


def agent_states(server: InProcessServer, pages: Pages, sweep: str) -> list[str]:
    """Read the states of the agents of a sweep off its page, the oldest agent first."""
    table = pages.sweep("local", "p", sweep).partition("<h2>Agents</h2>")[2]
    return re.findall(r'class="state \w+">(\w+)<', table.partition("<h2>")[0])[::-1]


def test_an_agent_that_has_ended_is_not_shown_as_running(
    server: InProcessServer, pages: Pages
) -> None:
    sweep = server.sweep({"method": "random", "parameters": {"a": {"min": 0.0, "max": 1.0}}})
    training, leaving, idle, counted, lost = (server.agent(sweep, f"n{n}") for n in range(5))
    server.take(training)
    given = server.take(leaving)["run_id"]
    server.end(given, 0)
    server.end(server.take(counted)["run_id"], 0)
    server.take(lost)
    server.set_state(sweep, "PAUSED")
    server.beat(leaving)
    server.beat(idle)
    assert agent_states(server, pages, sweep.id) == ["running"] * 5
    server.wait(server.limits.agent_timeout_s + 1, beating=(training, idle))
    gone = ["finished", "crashed"]
    assert agent_states(server, pages, sweep.id) == ["running", "gone", "running", *gone]
    server.beat(leaving)
    assert agent_states(server, pages, sweep.id) == ["running", "running", "running", *gone]
    server.set_state(sweep, "FINISHED")
    assert agent_states(server, pages, sweep.id) == ["running", "finished", "finished", *gone]


def test_an_agent_of_yesterday_is_not_running_when_the_server_comes_back(
    server: InProcessServer,
) -> None:
    sweep = server.sweep()
    server.set_state(sweep, "PAUSED")
    agent = server.agent(sweep)
    server.beat(agent)
    server.restart(after_s=86400)
    files = RunFiles(server.database, server.clock)
    pages = Pages(server.database, server.presence, files, server.clock, server.limits)
    assert agent_states(server, pages, sweep.id) == ["gone"]
    server.beat(agent)
    assert agent_states(server, pages, sweep.id) == ["running"]


def test_the_parts_of_a_scaled_dictionary_are_no_parameters(
    server: InProcessServer, pages: Pages
) -> None:
    sweep = server.sweep(
        {
            "method": "random",
            "run_cap": 1,
            "parameters": {
                "gain": {"distribution": "uniform", "min": 0.5, "max": 2.0},
                "gain_cli_path": {"value": "env.legs.stiffness"},
                "gain_base_dict": {"value": '{".*_knee": 200.0}'},
                "agent.rate": {"value": 1.0},
                "agent.rate_type": {"value": "float"},
                "engine_type": {"value": "gas"},
                "orphan_base_dict": {"value": "{}"},
            },
        }
    )
    run = server.take(server.agent(sweep))["run_id"]
    for page in (
        Strict(pages.sweep("local", "p", sweep.id)),
        Strict(pages.run("local", "p", run, None)),
    ):
        for part in ("gain_cli_path", "gain_base_dict", "agent.rate_type"):
            assert part not in page.text
        for whole in ("agent.rate 1.0", "engine_type gas", "orphan_base_dict {}"):
            assert whole in page.text
        assert re.search(r"gain (uniform )?\S+.*?; scales env\.legs\.stiffness: ", page.text)
        assert '{".*_knee": 200.0}' in page.text


def test_a_run_that_did_not_finish_says_why(server: InProcessServer, pages: Pages) -> None:
    sweep = server.sweep({"method": "grid", "parameters": {"a": {"values": [1, 2, 3, 4]}}})

    def why(run: str) -> tuple[str, str]:
        line = pages.sweep("local", "p", sweep.id).partition(f"/runs/{run}")[2].partition("</tr>")
        found = re.search(r'<p class="why">(.*?)</p>', pages.run("local", "p", run, None))
        listed = re.search(r'<span class="why">(.*?)</span>', line[0])
        return found[1] if found else "", listed[1] if listed else ""

    agent = server.agent(sweep, "node-0")
    failed = server.take(agent)["run_id"]
    assert why(failed) == ("", "")
    console = {"offset": 0, "content": ["2026-01-01T00:00:00 ValueError: gain"]}
    server.stream(failed, files={lines.CONSOLE: console})
    server.end(failed, 139)
    words = "the trainer ended with exit code 139 (SIGSEGV)"
    assert why(failed) == (f"{words}; its last line: ValueError: gain", words)

    silent = server.take(agent)["run_id"]
    server.wait(server.limits.agent_timeout_s + 1)
    assert why(silent)[1] == "its agent fell silent; it waits to be taken again"
    for _ in range(server.limits.attempts - 1):
        assert server.take(server.agent(sweep))["run_id"] == silent
        server.wait(server.limits.agent_timeout_s + 1)
    assert why(silent)[1] == "given up after 3 attempts that were lost"

    for _ in range(server.limits.false_starts):
        (unborn,) = server.beat(server.agent(sweep))
        server.wait(server.limits.agent_timeout_s + 1)
    words = "given up: lost 10 times in a row before its trainer began"
    assert why(unborn["run_id"])[1] == words

    stopped = server.take(server.agent(sweep))["run_id"]
    server.set_state(sweep, "CANCELED")
    server.wait(server.limits.agent_timeout_s + 1)
    assert why(stopped)[1] == "it was stopped, alone or with its sweep"


def test_nothing_of_what_clients_sent_becomes_markup(server: InProcessServer, pages: Pages) -> None:
    sweep, runs = trained(server)
    for page in (
        pages.sweeps(),
        pages.sweeps("local", "p"),
        pages.sweep("local", "p", sweep),
        pages.run("local", "p", runs[0], None),
        pages.run("local", "p", runs[0], EVIL),
    ):
        parsed = Strict(page)
        assert parsed.tags.count("script") == page.count('<script src="/static/') > 0
        assert EVIL in parsed.text
        assert all(link.startswith(("/", "?", "data:,")) for link in parsed.links)


def test_a_page_comes_again_while_something_runs(server: InProcessServer, pages: Pages) -> None:
    sweep, runs = trained(server)
    refresh = '<meta http-equiv="refresh" content="5">'
    assert refresh in pages.sweeps()
    assert refresh in pages.sweep("local", "p", sweep)
    assert refresh in pages.run("local", "p", runs[3], None)
    assert refresh not in pages.run("local", "p", runs[0], None)
    server.end(runs[3], 0)
    server.reaper.tick()
    assert refresh not in pages.sweep("local", "p", sweep)
    assert refresh not in pages.sweeps()


def test_what_is_not_there_is_not_found(server: InProcessServer, pages: Pages) -> None:
    sweep, _ = trained(server)
    asked: tuple[Callable[[], str], ...] = (
        lambda: pages.sweeps("local", "q"),
        lambda: pages.sweep("local", "q", sweep),
        lambda: pages.sweep("local", "p", "nope"),
        lambda: pages.run("local", "p", "nope", None),
    )
    for ask in asked:
        with pytest.raises(NotFoundError):
            ask()


PLOTS: dict[str, list[tuple[float, float]]] = {
    "one": [(5, 1.0)],
    "flat": [(1, 0.0), (2, 0.0)],
    "huge": [(1, -1e308), (2, 1e308)],
    "tiny": [(0, 1e-300), (1, 2e-300)],
    "negative steps": [(-10, 1), (10, 2)],
    "many": [(n, math.sin(n)) for n in range(1000)],
    "some not finite": [(0, math.nan), (1, math.inf), (2, 3.0), (3, 4.0)],
}


@pytest.mark.parametrize("points", PLOTS.values(), ids=PLOTS)
def test_every_part_of_a_plot_stands_inside_it(points: list[tuple[float, float]]) -> None:
    shown = [(x, y) for x, y in points if math.isfinite(y)]
    for values in zip(*shown, strict=True):
        axis = axis_over(values, "step")
        ticks = axis.ticks(6)
        # What is beyond the largest of an axis stands just outside its frame, in the picture.
        edge = 0.05 if max(map(abs, values)) > 1e300 else 0.0
        assert all(-edge <= axis.place(value) <= 1 + edge for value in values)
        assert 1 <= len(ticks) <= 20
        assert all(0 <= at <= 1 for at, _ in ticks)
        assert len({label for _, label in ticks}) == len(ticks)


def test_numbers_for_people_are_short() -> None:
    numbers = (1.0, 0.00012345678, 1e-9, 123456.7)
    assert [short(v) for v in numbers] == ["1", "0.000123457", "1e-09", "123457"]


STRANGE: list[tuple[dict[str, Any], str]] = [
    ({"Metrics/error": math.nan}, "NaN"),
    ({"Metrics/error": "Infinity"}, "Infinity"),
    ({"Metrics/error": -math.inf}, "-Infinity"),
    ({"Metrics/error": "0.01"}, '"0.01"'),
    ({"Metrics/error": False}, "false"),
    ({"Metrics/error": {"min": 0.75, "max": 9.0}}, "0.75"),
]


def strange(server: InProcessServer) -> tuple[str, list[str]]:
    """Have a sweep whose runs all finished, most with a metric that is no number."""
    sweep = server.sweep({**SPEC, "run_cap": len(STRANGE)})
    agent = server.agent(sweep, "node-0")
    names = []
    for summary, _ in STRANGE:
        run = server.take(agent)["run_id"]
        content = [json.dumps({**summary, "_step": 3, "_runtime": 200})]
        server.stream(run, files={lines.SUMMARY: {"offset": 0, "content": content}})
        server.end(run, 0)
        names.append(run)
    return sweep.id, names


def test_the_pages_tell_a_metric_that_is_no_number_as_what_it_is(
    server: InProcessServer, pages: Pages
) -> None:
    sweep, runs = strange(server)
    texts = Strict(pages.sweep("local", "p", sweep)).texts
    for _, shown in STRANGE:
        assert shown in texts
    assert texts.count("3 min 20 s") == len(runs)
    assert "0.75" in Strict(pages.sweeps()).texts
    said = [Strict(pages.run("local", "p", run, None)).text for run in runs]
    assert "metric Metrics/error is NaN at step 3" in said[0]
    assert 'is the text "0.01" at step 3, no number' in said[3]
    assert "no number" not in said[5]


def test_of_equally_good_runs_the_best_one_stands_first(
    server: InProcessServer, pages: Pages
) -> None:
    sweep = server.sweep({**SPEC, "run_cap": 4})
    agent = server.agent(sweep, "node-0")
    runs = []
    for error in (2.0, 1.0, 1.0, 3.0):
        run = server.take(agent)["run_id"]
        content = [json.dumps({"Metrics/error": error})]
        server.stream(run, files={lines.SUMMARY: {"offset": 0, "content": content}})
        server.end(run, 0)
        runs.append(run)
    page = Strict(pages.sweep("local", "p", sweep.id))
    table = [link.rpartition("/")[2] for link in page.links if "/runs/" in link][-4:]
    assert table == [runs[place] for place in (1, 2, 0, 3)]


def test_the_search_takes_nothing_else_for_a_number(server: InProcessServer) -> None:
    sweep, runs = strange(server)
    with server.database.read() as rows:
        found = sweep_store.find_sweep(rows, id=sweep)
        assert found is not None
        told = {run["name"]: run["summary_metrics"] for run in Results().brief(rows, found)}
        assert summary_store.best_loss(rows, found) == 0.75
    assert [told[run] for run in runs] == [{}] * 5 + [{"Metrics/error": 0.75}]


@pytest.mark.parametrize(
    ("goal", "values", "best"),
    [
        ("maximize", [{"last": 3, "max": 9}, {"last": 5, "max": 6}, 4], 5.0),
        ("minimize", [{"last": 3, "min": 1}, {"last": 5, "min": 0}, "-9"], 3.0),
        ("minimize", [math.inf, -math.inf, math.nan, True], None),
        ("maximize", [{"max": 7, "min": 0}, {"max": 8, "min": -1}], 8.0),
    ],
    ids=str,
)
def test_best_value_of_a_sweep_is_the_best_of_its_runs_metrics(
    goal: str, values: list[Any], best: float | None, server: InProcessServer
) -> None:
    sweep = server.sweep({**SPEC, "metric": {"name": "m.error", "goal": goal}, "run_cap": 9})
    agent = server.agent(sweep, "node-0")
    for value in values:
        run = server.take(agent)["run_id"]
        content = [json.dumps({"m": {"error": value}})]
        server.stream(run, files={lines.SUMMARY: {"offset": 0, "content": content}})
        server.end(run, 0)
    with server.database.read() as rows:
        found = sweep_store.find_sweep(rows, id=sweep.id)
        assert found is not None
        assert summary_store.best_loss(rows, found) == best


def test_a_runs_page_gives_its_agents_reason_first(server: InProcessServer, pages: Pages) -> None:
    sweep, runs = trained(server)
    content = [json.dumps({"Metrics/error": 1.0, REASON_KEY: "no such task: <Legs>"})]
    server.stream(runs[2], files={lines.SUMMARY: {"offset": 0, "content": content}})
    page = Strict(pages.run("local", "p", runs[2], None))
    assert "no such task: <Legs>" in page.texts
    assert REASON_KEY not in page.text
    assert "no such task: <Legs>" in Strict(pages.sweep("local", "p", sweep)).texts


def test_nested_metric_is_plotted_and_counted_from_the_history(
    server: InProcessServer, pages: Pages
) -> None:
    sweep = server.sweep({**SPEC, "metric": {"name": "m.error", "goal": "minimize"}})
    run = server.take(server.agent(sweep, "node-0"))["run_id"]
    values: list[Any] = [2.0, math.nan, "1.0", 3.0]
    history = [json.dumps({"_step": n, "m": {"error": v}}) for n, v in enumerate(values)]
    server.stream(run, files={lines.HISTORY: {"offset": 0, "content": history}})
    with server.database.read() as rows:
        found = sweep_store.find_sweep(rows, id=sweep.id)
        assert found is not None
        (told,) = Results().logged(rows, found)
    assert list(told.values) == [2.0, 3.0]
    shown = Strict(pages.run("local", "p", run, None)).text
    assert "3 at step 3; from 2 to 3." in shown
    assert "1 value without a finite number: not shown." in shown


def test_the_pages_tell_the_attempts_of_a_disturbed_run(
    server: InProcessServer, pages: Pages
) -> None:
    sweep = server.sweep(GRID)
    run = server.run(server.take(server.agent(sweep, "legs-0"))["run_id"])
    assert "Ended by" not in pages.sweep("local", "p", sweep.id)
    attempts = (
        Attempt(1, "legs-0", "node-1", "", server.clock(), None, "SIGTERM", 0, 41),
        Attempt(2, "legs-1<", "node-2", "", server.clock(), first=40),
    )
    record = RunRecord(("x",), "literal", "legs-1", 2, attempts=attempts)
    path = server.folder / "files" / "record"
    path.parent.mkdir(exist_ok=True)
    path.write_text(record.text())
    values = {"stored": "record", "size_bytes": 1, "md5": "", "updated": 1.0}
    with server.database.write() as tx:
        file_store.put_file(tx, run.pk, RECORD_FILE, values)
    listed = Strict(pages.sweep("local", "p", sweep.id)).text
    assert "Created Ended by Repeated" in listed
    assert "SIGTERM 2" in listed
    own = Strict(pages.run("local", "p", run.id, None)).text
    assert "iterations trained again 2" in own
    assert "1 SIGTERM 0 to 41 legs-0 node-1 0 s ago" in own
    assert "2 40 to … legs-1< node-2 0 s ago" in own
    path.unlink()  # replaced in this moment
    assert "Ended by" not in pages.sweep("local", "p", sweep.id)
