"""What people read on the pages: consoles without codes, large values whole, pages held still."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.web.console import plain
from tests.unit.server_in_process import InProcessServer, served
from tests.unit.test_server_pages import Strict

PRINTED = {
    "colours": ("\x1b[1m\x1b[38;5;208mWarning\x1b[0m: no GPU", "Warning: no GPU"),
    "true colours": ("\x1b[38:2:255:0:0mred\x1b[m", "red"),
    "the cursor": ("\x1b[2K\x1b[1Aepoch 3\x1b[?25h", "epoch 3"),
    "a title": ("\x1b]0;train.py\x07started", "started"),
    "a link": ("\x1b]8;;http://x/y\x1b\\docs\x1b]8;;\x1b\\ here", "docs here"),
    "a character set": ("\x1b(Bplain\x1b(0", "plain"),
    "an image": ("\x1bPq#0;2;0;0;0\x1b\\after", "after"),
    "eight bits": ("\x9b31mred\x9b0m", "red"),
    "broken off": ("loss 0.5\x1b[3", "loss 0.5"),
    "broken off at once": ("loss 0.5\x1b", "loss 0.5"),
    "a title that never ends": ("\x1b]0;title", ""),
    "a progress bar": ("10%|#   \r 50%|##  \r100%|####\r", "100%|####"),
    "controls": ("a\x00b\x08c\x7fd", "abcd"),
    "nothing special": ("\tgains[hip] = [1.5, 2.0]  µ 😀", "\tgains[hip] = [1.5, 2.0]  µ 😀"),
}


@pytest.mark.parametrize(("line", "text"), PRINTED.values(), ids=PRINTED)
def test_a_line_is_shown_as_a_terminal_would(line: str, text: str) -> None:
    assert plain(line) == text


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def begin(server: InProcessServer, **config: Any) -> str:
    spec = {
        "method": "random",
        "metric": {"name": "loss"},
        "parameters": {
            "gain": {"min": 0.5, "max": 2.0},
            "gain_cli_path": {"value": "env.scene.robot.actuators.legs.stiffness"},
            "gain_base_dict": {"value": json.dumps({f"joint_{n}": float(n) for n in range(90)})},
        },
    }
    sweep = server.sweep(spec)
    run = str(server.take(server.agent(sweep))["run_id"])
    asked = {"name": run, "modelName": "p", "config": json.dumps(config)}
    query = "mutation B($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
    served(server).post("/graphql", json={"query": query, "variables": {"i": asked}})
    return run


def page(server: InProcessServer, path: str) -> str:
    answer = served(server).get(path)
    assert answer.status_code == 200, answer.text
    Strict(answer.text)
    return answer.text


def test_the_console_of_a_page_has_no_codes_and_the_clients_have_them(
    server: InProcessServer,
) -> None:
    run = begin(server)
    content = ["2026-01-01T00:00:00.000000 \x1b[31mred\x1b[0m", "ERROR 10%\r90%\x1b[K", "\x1b[0m"]
    server.stream(run, files={"output.log": {"offset": 0, "content": content}})
    server.end(run, 1)
    texts = Strict(page(server, f"/local/p/runs/{run}")).texts
    assert "red" in texts
    assert "90%" in " ".join(texts)
    assert not [text for text in texts if "\x1b" in text or "[31m" in text]
    query = '{ project(name: "p") { run(name: "%s") { logLines { edges { node { line } } } } } }'
    answer = served(server).post("/graphql", json={"query": query % run})
    assert "\x1b[31m" in json.dumps(answer.json(), ensure_ascii=False).replace("\\u001b", "\x1b")


def test_a_large_value_can_be_read_whole(server: InProcessServer) -> None:
    env_cfg = {f"section_{n}": {"stiffness": [float(n), 1e-05], "name": "<b>"} for n in range(200)}
    notes = "word " * 400
    run = begin(server, env_cfg={"value": env_cfg}, small={"value": [1, 2]}, notes={"value": notes})
    server.stream(
        run,
        files={
            "wandb-summary.json": {
                "offset": 0,
                "content": [json.dumps({"loss": 1, "big": env_cfg})],
            }
        },
    )
    shown = Strict(page(server, f"/local/p/runs/{run}"))
    assert shown.texts.count(json.dumps(env_cfg, indent=2)) == 2, "in the config and the summary"
    assert notes.strip() in shown.texts
    assert "[1, 2]" in shown.texts
    table = json.dumps({f"joint_{n}": float(n) for n in range(90)})
    assert [text for text in shown.texts if text.endswith(table)], "the scaled dictionary"
    assert shown.tags.count("details") == 5
    own = [link for link in shown.links if link.startswith("/static/")]
    assert shown.tags.count("script") == len(own), "the scripts of the page alone"


def test_a_sweeps_parameters_can_be_read_whole(server: InProcessServer) -> None:
    run = begin(server)
    sweep = next(
        part for part in page(server, f"/local/p/runs/{run}").split('"') if "/sweeps/" in part
    )
    texts = Strict(page(server, sweep)).texts
    assert [text for text in texts if '"joint_89": 89.0}' in text]


def test_a_page_that_renews_itself_can_be_held(server: InProcessServer) -> None:
    run = begin(server)
    content = [json.dumps({"_step": 0, "loss": 1.0, "a/b c": 2.0})]
    server.stream(run, files={"wandb-history.jsonl": {"offset": 0, "content": content}})
    live = page(server, f"/local/p/runs/{run}?metric=a%2Fb+c")
    assert 'http-equiv="refresh"' in live
    assert 'href="?metric=a/b%20c&amp;hold"' in live
    held = page(server, f"/local/p/runs/{run}?metric=a%2Fb%20c&hold")
    assert 'http-equiv="refresh"' not in held
    assert 'href="?metric=a/b%20c&amp;"' in held
    server.end(run, 0)
    ended = page(server, f"/local/p/runs/{run}")
    assert "hold" not in Strict(ended).texts
    assert "refresh" not in ended
