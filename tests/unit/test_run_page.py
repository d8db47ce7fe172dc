"""The page of a run and its parts: all that was logged, shown as it is or with the reason why not.

What runs log is what anybody wrote: none of it is markup, and none of it breaks a page.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.runs.files import RunFiles, Upload
from sweepctl.server.store import lines
from sweepctl.server.web.console import Piece, styled
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.run_metrics import FIGURES_A_PAGE, groups_of
from sweepctl.server.web.run_origin import command_of, differing, provenance, scaled_from_base
from sweepctl.server.web.run_parts import PartQuery, read_part_query
from sweepctl_pod.checkpoint import FileDigest, Manifest
from sweepctl_pod.run_record import RECORD_FILE, RunRecord
from tests.unit.server_in_process import InProcessServer, served
from tests.unit.test_server_pages import EVIL, SPEC, Strict

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def files(server: InProcessServer) -> RunFiles:
    return RunFiles(server.database, server.clock)


@pytest.fixture
def pages(server: InProcessServer, files: RunFiles) -> Pages:
    return Pages(server.database, server.presence, files, server.clock, server.limits)


@pytest.fixture
def run(server: InProcessServer) -> str:
    """Give a run that has begun."""
    return str(server.take(server.agent(server.sweep(SPEC), "node-0"))["run_id"])


def stream(server: InProcessServer, run: str, name: str, rows: list[Any]) -> None:
    content = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    server.stream(run, files={name: {"offset": 0, "content": content}})


def keep(server: InProcessServer, files: RunFiles, run: str, name: str, body: bytes) -> None:
    path = files.incoming()
    path.write_bytes(body)
    files.keep(server.run(run), name, Upload(path, len(body), "0"))


@pytest.mark.parametrize(
    ("length", "read"),
    [
        pytest.param(0, 40, id="short: as many as were asked for"),
        pytest.param(900, 20, id="long: about as many characters"),
        pytest.param(50_000, 10, id="huge: never fewer than ten"),
    ],
)
def test_of_long_lines_fewer_are_read_for_a_curve(
    server: InProcessServer, run: str, length: int, read: int
) -> None:
    rows = [{"_step": n, "reward": n, "much": "x" * length} for n in range(100)]
    stream(server, run, lines.HISTORY, rows)
    with server.database.read() as read_rows:
        pk = server.run(run).pk
        found = lines.metric_curve(read_rows, pk, "reward", 40, characters=20_000)
    assert len(found) == pytest.approx(read, abs=2)
    assert [found[0][:2], found[-1][:2]] == [(0, 0), (99, 99)]


@pytest.mark.parametrize("told", [True, "soon", None, 1e300, float("nan"), [1]])
def test_a_point_of_a_curve_has_no_time_where_none_is_told(
    server: InProcessServer, run: str, told: object
) -> None:
    stream(server, run, lines.HISTORY, [{"_step": 0, "reward": 1, "_runtime": told}])
    with server.database.read() as rows:
        points = lines.metric_curve(rows, server.run(run).pk, "reward", 40, characters=20_000)
    [(value, step, time_s)] = points
    assert (value, step) == (1, 0)
    assert math.isnan(time_s)


def test_every_metric_is_drawn_group_by_group(
    server: InProcessServer, pages: Pages, run: str
) -> None:
    names = ["Train/reward", "Train/length", "Loss/value", "entropy", "Metrics/error"]
    stream(server, run, lines.HISTORY, [{"_step": n, **dict.fromkeys(names, n)} for n in range(5)])
    page = Strict(pages.run("local", "p", run, None))
    for said in ("Train: 2", "Loss: 1", "without a group: 1"):
        assert said in page.text
    assert page.text.index("Metrics: 1") < page.text.index("Loss: 1"), "the sweep's metric first"
    part = Strict(pages.run_parts.metrics("local", "p", run, PartQuery(group="Train")))
    assert part.tags.count("svg") == 2
    assert "Train/length 4 at step 4; from 0 to 4." in part.text
    assert "Loss/value" not in part.text
    assert "figure-logged-Train-length" in pages.run_parts.metrics(
        "local", "p", run, PartQuery(group="Train")
    ), "each has a name of its own on the page"
    found = Strict(pages.run_parts.metrics("local", "p", run, PartQuery(find="ENTR")))
    assert found.tags.count("svg") == 1


def test_ten_thousand_metrics_are_a_page_of_figures_at_a_time(
    server: InProcessServer, pages: Pages, run: str
) -> None:
    rows = [{"_step": step, **{f"g{n % 90}/m{n}": n for n in range(10_000)}} for step in range(2)]
    stream(server, run, lines.HISTORY, rows)
    page = pages.run("local", "p", run, None)
    assert len(page) < 150_000
    assert "The first 40 of 90 groups" in Strict(page).text
    part = Strict(pages.run_parts.metrics("local", "p", run, PartQuery(page=999)))
    assert 0 < part.tags.count("svg") <= FIGURES_A_PAGE
    assert f"/local/p/runs/{run}/metrics?page=417" not in part.links, "it is this one"
    assert f"/local/p/runs/{run}/metrics?page=416" in part.links


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "No metric is logged yet."),
        ([{"_step": 0, "m": "NaN"}, {"_step": 1, "m": "Infinity"}], "No finite value was logged."),
        ([{"_step": 0, "m": 1}, {"_step": 1, "m": "-Infinity"}], "1 value without a finite"),
        ([{"_step": 0, EVIL: 1}], EVIL),
        ([{"_step": 0, "a\nb": 1}], "a b"),
        (['{"_step": 0, "half \\ud800": 1}'], "half ?"),
        ([{"_step": 10**400, "m": 10**400}, {"_step": 1, "m": 2}], "1 value without a finite"),
        (["no JSON at all", {"_step": 1, "m": 2}], "2 at step 1."),
    ],
    ids=["none", "none finite", "one infinite", "markup", "newline", "surrogate", "huge", "broken"],
)
def test_whatever_was_logged_is_drawn_or_told(
    server: InProcessServer, pages: Pages, run: str, rows: list[Any], said: str
) -> None:
    if rows:
        stream(server, run, lines.HISTORY, rows)
    assert said in Strict(pages.run("local", "p", run, None)).text
    Strict(pages.run_parts.metrics("local", "p", run, PartQuery(group="")))


def test_what_the_client_measured_of_its_machine_is_drawn_over_time(
    server: InProcessServer, pages: Pages, run: str
) -> None:
    rows = [{"_runtime": 60 * n, "system.cpu": n, "system.gpu.0.temp": 50} for n in range(4)]
    stream(server, run, lines.EVENTS, rows)
    assert "What the W&B client measured" in Strict(pages.run("local", "p", run, None)).text
    part = Strict(pages.run_parts.system("local", "p", run, PartQuery()))
    assert part.tags.count("svg") == 2
    assert "system.cpu 3 after 0.05 hours" in part.text


def media(path: str, kind: str = "image-file", **more: Any) -> dict[str, Any]:
    return {"_step": 3, "seen": {"_type": kind, "path": path, **more}}


TABLE = json.dumps({"columns": ["name", EVIL], "data": [["x", EVIL], [1, None], "no row"]})


@pytest.mark.parametrize(
    ("row", "body", "tags", "said"),
    [
        (media("media/images/a.png"), PNG, ["img"], "seen at step 3"),
        (media("media/images/a.png", caption=EVIL), PNG, ["img"], EVIL),
        (media("media/images/a.png"), b"<html>", [], "it is no image that a page shows"),
        (media("media/images/a.svg"), b"<svg onload=x>", [], "it is no image that a page shows"),
        (media("media/images/a.png"), None, [], "it is not uploaded yet"),
        (media("media/videos/a.mp4", "video-file"), b"\0\0\0 ftypisom", ["video"], "seen"),
        (media("media/table/a.table.json", "table-file"), TABLE.encode(), ["td"], "1 rows are no"),
        (media("media/table/a.table.json", "table-file"), b"{", [], "its file cannot be read"),
        (media("media/table/a.table.json", "table-file"), b"[]", [], "its file is no table"),
        (
            {"_step": 3, "a": {"b": media("media/images/a.png")["seen"]}},
            *(PNG, ["img"], "a.b at step 3"),
        ),
        (
            {
                "_step": 3,
                "many": {
                    "_type": "images/separated",
                    "filenames": ["media/images/a.png", 7, "media/images/b.png"],
                    "captions": ["one", "two"],
                },
            },
            *(PNG, ["img"], "many at step 3: one"),
        ),
        ({"_step": 3, "odd": {"_type": 4, "path": ["media/"]}}, PNG, [], "has logged no images"),
    ],
    ids=[
        *("image", "caption", "no image", "svg", "not there", "video", "table", "broken", "list"),
        *("nested", "several", "odd"),
    ],
)
def test_media_are_shown_or_the_page_says_why_not(
    server: InProcessServer,
    pages: Pages,
    files: RunFiles,
    run: str,
    row: dict[str, Any],
    body: bytes | None,
    tags: list[str],
    said: str,
) -> None:
    stream(server, run, lines.HISTORY, [row])
    place = next((p for p in json.dumps(row).split('"') if p.startswith("media/") and p[6:]), "x")
    if body is not None:
        keep(server, files, run, place, body)
    has_any = body is not None and place != "x"
    assert has_any == ("Images, tables, video" in Strict(pages.run("local", "p", run, None)).text)
    page = Strict(pages.run_parts.media("local", "p", run))
    assert {"img", "video", "td"} & set(page.tags) == set(tags)
    assert said in page.text
    assert "script" not in page.tags


def test_a_picture_keeps_its_address_for_hours_and_is_never_a_page_of_the_server(
    server: InProcessServer, pages: Pages, files: RunFiles, run: str
) -> None:
    stream(server, run, lines.HISTORY, [media("media/images/a.png")])
    keep(server, files, run, "media/images/a.png", PNG)

    def address() -> str:
        page = Strict(pages.run_parts.media("local", "p", run))
        return next(link for link in page.links if "/storage/" in link)

    before = address()
    server.seconds += 600
    assert address() == before
    answer = served(server).get(before)
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("plain", [("plain", "")]),
        ("\x1b[31mred\x1b[0m not", [("red", "red"), (" not", "")]),
        ("\x1b[1;92mgo\x1b[22m on", [("go", "green bold"), (" on", "green")]),
        ("\x1b[38;5;196mx\x1b[38;2;0;0;250my", [("x", "red"), ("y", "blue")]),
        ("\x1b[38;5mx\x1b[38;2;1my\x1b[999;;mz", [("xyz", "")]),
        (" 1%\r 50%\r\x1b[32m100%\r", [("100%", "green")]),
        ("\x1b[36m 1%\r 50%", [(" 50%", "cyan")]),
        ("\x1b]0;title\x07\x1b[2Kx\x08\x00", [("x", "")]),
        (EVIL, [(EVIL, "")]),
        ("", []),
    ],
    ids=["plain", "red", "bold", "many", "broken", "bar", "bar's colour", "codes", "markup", "no"],
)
def test_a_line_has_the_colours_of_a_terminal(line: str, pieces: list[tuple[str, str]]) -> None:
    assert styled(line) == tuple(Piece(*piece) for piece in pieces)


@pytest.mark.parametrize(
    "line", ["x" * 1_000_000, "\x1b[31mx\x1b[32my" * 50_000, "\x1b[" * 100_000, "\r" * 100_000]
)
def test_a_huge_line_shows_its_beginning(line: str) -> None:
    pieces = styled(line)
    assert len(pieces) <= 201
    assert sum(len(piece.text) for piece in pieces) < 4100


def test_the_whole_log_is_there_page_by_page(
    server: InProcessServer, pages: Pages, run: str
) -> None:
    rows = [f"2026-01-01T00:00:00 line {n} \x1b[31m{EVIL}" for n in range(2500)]
    stream(server, run, lines.CONSOLE, rows)
    page = Strict(pages.run("local", "p", run, None))
    assert "The last 200 of 2500 lines." in page.text
    assert f"/local/p/runs/{run}/log" in page.links
    first = Strict(pages.run_parts.log("local", "p", run, PartQuery(page=1))).text
    assert "line 0 " in first
    assert "line 1000 " not in first
    assert "line 2499 " in Strict(pages.run_parts.log("local", "p", run, PartQuery(page=9))).text


def test_the_command_is_the_one_that_ran_or_says_that_it_is_not_recorded(
    server: InProcessServer, pages: Pages, files: RunFiles, run: str
) -> None:
    before = Strict(pages.run("local", "p", run, None)).text
    assert "not recorded" in before.partition("Command")[2].partition("Configuration")[0]
    record = RunRecord(("python", "train.py", "a=it's <b>"), "hydra", "node-0", 1)
    keep(server, files, run, RECORD_FILE, record.text().encode())
    page = Strict(pages.run("local", "p", run, None)).text
    assert "As it ran, completed by its agent." in page
    assert 'python train.py "a=it\'s <b>"' in page


def test_a_command_that_nobody_recorded_is_resolved_as_its_agent_would() -> None:
    spec = {
        "command": ["python", "-m", "isaaclab", "train", "${overrides}"],
        "parameters": {"f": {"min": 1, "max": 3}, "f_cli_path": {"value": "env.gains"}},
    }
    params = {"f": 2.0, "f_cli_path": "env.gains", "f_base_dict": {"arm": 10}}
    command = command_of(None, spec, params, ("local", "legs", "r1"))
    assert command is not None
    assert "env.gains={'arm':20.0}" in command.line
    assert "legs" in command.line
    assert list(command.overrides) == [("env.gains", '{"arm": 20.0}')]
    assert command_of(None, None, params, ("local", "legs", "r1")) is None


def test_the_newest_checkpoint_is_one_whose_files_are_all_there(
    server: InProcessServer, pages: Pages, files: RunFiles, run: str
) -> None:
    assert "None among the run's files" in Strict(pages.run("local", "p", run, None)).text
    for iteration, size in ((5, 10), (9, 10), (12, 3)):
        name = f"{iteration}-model.pt"
        manifest = Manifest(iteration, {name: FileDigest(10, "0")}, name, of=20)
        folder = "sweepctl/checkpoints"
        keep(server, files, run, f"{folder}/{iteration}.json", manifest.text().encode())
        keep(server, files, run, f"{folder}/{name}", bytes(size))
    keep(server, files, run, f"{folder}/15.json", b"half a manifes")
    assert "after iteration 9 of 20" in Strict(pages.run("local", "p", run, None)).text


def test_a_setting_that_other_runs_have_otherwise_is_told(
    server: InProcessServer, pages: Pages
) -> None:
    sweep = server.sweep(SPEC)
    first, second = (server.take(server.agent(sweep, "h"))["run_id"] for _ in range(2))
    assert first != second
    page = Strict(pages.run_parts.settings("local", "p", first)).text
    assert "The trainer's defaults are not recorded." in page
    assert "the last 1 of the sweep's other runs" in page


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        ({"a": {"value": 1}}, [{"a": {"value": 1}}], []),
        ({"a": {"value": {"b": 1, "c": 2}}}, [{"a": {"value": {"b": 1, "c": 3}}}], [("a.c", "2")]),
        ({"a": {"value": 1}}, [{}], [("a", "1")]),
        ({}, [{"a": {"value": 1}}], [("a", "not set")]),
        ({"_wandb": {"value": 1}}, [{}], []),
        ({"a": 1, "b": {"value": []}}, [{"a": 2, "b": {"value": {}}}], [("a", "1"), ("b", "[]")]),
    ],
)
def test_settings_are_compared_one_by_one(
    own: dict[str, Any], others: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    found, _ = differing(own, others)
    assert [(item.name, item.own) for item in found] == expected


def test_a_scaled_dictionary_stands_beside_its_base() -> None:
    params = {"f": 2.0, "f_cli_path": "env.gains", "f_base_dict": {"arm": 10, "leg": "x"}}
    (item,) = scaled_from_base(params)
    assert (item.name, item.own, item.others) == ("env.gains.arm", "20", "10")
    assert scaled_from_base({"f": True, "f_base_dict": {"arm": 1}, "g": 1, "g_base_dict": 3}) == []


@pytest.mark.parametrize("metadata", [{}, {"git": 3, "gpu": []}, {"git": {"commit": "abc"}}])
def test_what_nobody_recorded_says_so(metadata: dict[str, Any]) -> None:
    told = dict(provenance(metadata, {"_wandb": 3}, None, None, None))
    is_known = bool(metadata.get("git")) and metadata["git"] != 3
    assert told["git commit"] == ("abc" if is_known else "not recorded")
    assert told["image"] == "not recorded"


@pytest.mark.parametrize(
    ("given", "page"),
    [({}, 1), ({"page": "7"}, 7), ({"page": "x"}, 1), ({"page": "9" * 99}, 1_000_000)],
)
def test_a_page_number_that_is_none_is_the_first(given: dict[str, str], page: int) -> None:
    assert read_part_query(given).page == page


def test_groups_are_by_the_first_part_of_a_name_the_metrics_own_first() -> None:
    groups = groups_of(["a/x", "b/y", "b/z", "plain"], "b/z")
    assert [(group.name, list(group.keys)) for group in groups] == [
        ("b", ["b/z", "b/y"]),
        ("a", ["a/x"]),
        ("", ["plain"]),
    ]


@pytest.mark.parametrize("part", ["metrics", "system", "media", "settings", "log"])
def test_each_part_has_an_address_that_says_what_is_not_there(
    server: InProcessServer, run: str, part: str
) -> None:
    client = served(server)
    assert client.get(f"/local/p/runs/{run}/{part}").status_code == 200
    assert client.get(f"/local/p/runs/nobody/{part}").status_code == 404
    assert client.get(f"/local/p/runs/{run}/{part}?page=-1&group=%00&find=%ff").status_code == 200
