"""What clients send wrongly is their error, and breaks no page for good."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.server_in_process import InProcessServer, served


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


NAMES = {
    "plain": ("legs", True),
    "a slash": ("a/b", True),
    "letters of any language": ("Größe 😀", True),
    "HTML": ("<b>x</b>", True),
    "a half": ("a\ud800", True),
    "a newline": ("a\nb", False),
    "a bell": ("a\x07", False),
    "a line separator": ("a\u2028b", False),
    "the folder": (".", False),
    "the folder above": ("..", False),
    "blanks": ("  ", False),
    "too long": ("x" * 129, False),
}


@pytest.mark.parametrize(("name", "is_taken"), NAMES.values(), ids=NAMES)
def test_a_projects_name_can_be_shown_and_reached_or_is_refused(
    server: InProcessServer, name: str, is_taken: bool
) -> None:
    client = served(server)
    query = "mutation M($n: String) { upsertModel(input: {name: $n}) { model { name } } }"
    answer = client.post("/graphql", content=json.dumps({"query": query, "variables": {"n": name}}))
    assert answer.status_code == 200
    if not is_taken:
        assert "is no name of a project" in answer.json()["errors"][0]["message"]
    else:
        kept = answer.json()["data"]["upsertModel"]["model"]["name"]
        assert client.request("GET", f"/local/{_quoted(kept)}").status_code == 200
    assert client.get("/").status_code == 200


def _quoted(name: str) -> str:
    return quote(name, safe="")


HALF = "\\ud800"
TEXTS = {
    "the config": {"config": f'{{"a{HALF}": {{"value": "{HALF}"}}}}'},
    "the summary": {"summaryMetrics": f'{{"loss{HALF}": "{HALF}"}}'},
    "the display name": {"displayName": "\ud800"},
    "a tag": {"tags": ["\udfff"]},
    "the notes": {"notes": "a\ud800b"},
    "HTML": {"displayName": "<script>x</script>", "notes": "</td>"},
    "newlines": {"displayName": "a\nb\r\nc"},
    "depth": {"config": '{"a": ' * 90 + "1" + "}" * 90},
}


@pytest.mark.parametrize("given", TEXTS.values(), ids=TEXTS)
def test_no_text_breaks_a_page(server: InProcessServer, given: dict[str, Any]) -> None:
    client = served(server)
    query = "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
    wanted = {"name": "r", "modelName": "p", **given}
    answer = client.post(
        "/graphql", content=json.dumps({"query": query, "variables": {"i": wanted}})
    )
    assert answer.json()["data"]["upsertBucket"]["bucket"], answer.text
    lines = [f'{{"_step": 0, "loss{HALF}": 1, "b": "{HALF}"}}', "\ud800"]
    files = {
        name: {"offset": 0, "content": lines}
        for name in ("wandb-history.jsonl", "output.log", "wandb-events.jsonl")
    }
    assert (
        client.post(
            "/files/local/p/r/file_stream", content=json.dumps({"files": files})
        ).status_code
        == 200
    )
    for page in ("/", "/local/p", "/local/p/runs/r", "/local/p/runs/r?metric=%ED%A0%80"):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert "<script>" not in answer.text
    asked = '{ project(name: "p") { run(name: "r") { config summaryMetrics history } } }'
    assert "errors" not in client.post("/graphql", json={"query": asked}).json()


SPECS = {
    "keys": ('{"keys": ["loss"], "samples": 10}', None),
    "keys is a number": ('{"keys": 5}', "keys is a list of names"),
    "keys is a map": ('{"keys": {"a": 1}}', "keys is a list of names"),
    "keys of any kind": ('{"keys": [null, {}, 5]}', None),
    "samples is a text": ('{"keys": ["loss"], "samples": "x"}', None),
    "steps are texts": ('{"keys": ["loss"], "minStep": [], "maxStep": "x"}', None),
    "huge steps": ('{"minStep": 1e400, "maxStep": NaN, "samples": -1}', None),
    "a list": ("[]", "specs is not a map"),
    "nothing": ("", "specs is no JSON"),
}


@pytest.mark.parametrize(("spec", "words"), SPECS.values(), ids=SPECS)
def test_odd_specs_are_answered_or_refused(
    server: InProcessServer, spec: str, words: str | None
) -> None:
    client = served(server)
    begin = 'mutation { upsertBucket(input: {name: "r", modelName: "p"}) { bucket { id } } }'
    client.post("/graphql", json={"query": begin})
    named = json.dumps(spec)
    query = f'{{ project(name: "p") {{ run(name: "r") {{ sampledHistory(specs: [{named}]) }} }} }}'
    answer = client.post("/graphql", json={"query": query})
    assert answer.status_code == 200
    errors = answer.json().get("errors")
    assert errors is None if words is None else words in errors[0]["message"]
