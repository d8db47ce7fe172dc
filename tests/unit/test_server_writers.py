"""Several processes that write into one run, as W&B's client does in shared mode."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.errors import BadMessageError
from sweepctl.server.runs.messages import read_stream
from sweepctl.server.store import lines, run_store
from tests.unit.server_in_process import InProcessServer, served

SHARED = {"X-WANDB-USE-ASYNC-FILESTREAM": "true"}


class Shared:
    """A run that several processes write to, by the server's routes."""

    def __init__(self, folder: Path) -> None:
        self.server = InProcessServer(folder)
        self.client = served(self.server)
        self.sweep = self.server.sweep()
        self.id = self.server.take(self.server.agent(self.sweep))["run_id"]

    def join_alone(self) -> None:
        self.join(headers={})

    def join(
        self,
        config: Mapping[str, Any] = {},
        attempt: int = 1,
        headers: Mapping[str, str] = SHARED,
    ) -> None:
        query = (
            "mutation($n: String, $c: JSONString) { upsertBucket(input: {name: $n, config: $c,"
            ' modelName: "p", host: "h"}) { bucket { id } } }'
        )
        asked = {"query": query, "variables": {"n": self.id, "c": json.dumps(config)}}
        sent = {**headers, "X-Sweepctl-Attempt": str(attempt)}
        answer = self.client.post("/graphql", json=asked, headers=sent)
        assert "errors" not in answer.json(), answer.text

    def post(
        self, writer: str | None, offset: int = 0, attempt: int | None = None, **files: Any
    ) -> None:
        names = {"history": lines.HISTORY, "console": lines.CONSOLE, "summary": lines.SUMMARY}
        blocks = {
            names[kind]: {"offset": offset, "content": _texts(kind, content)}
            for kind, content in files.items()
        }
        headers = {**SHARED, "X-WANDB-ASYNC-CLIENT-ID": writer} if writer else {}
        if attempt is not None:
            headers["X-Sweepctl-Attempt"] = str(attempt)
        path = f"/files/local/p/{self.id}/file_stream"
        answer = self.client.post(path, json={"files": blocks}, headers=headers)
        assert answer.status_code == 200, answer.text

    def history(self) -> list[dict[str, Any]]:
        with self.server.database.read() as rows:
            texts = lines.history_tail(rows, self.server.run(self.id).pk, 100)
        return [json.loads(text) for text in texts]

    def console(self) -> list[str]:
        with self.server.database.read() as rows:
            found = lines.line_tail(rows, self.server.run(self.id).pk, lines.CONSOLE, 100)
        return [text for _, text in found]

    def document(self, name: str) -> dict[str, Any]:
        with self.server.database.read() as rows:
            text = run_store.run_document(rows, self.server.run(self.id).pk, name)
        return dict(json.loads(text))


def _texts(kind: str, content: Sequence[Any]) -> list[str]:
    return list(content) if kind == "console" else [json.dumps(line) for line in content]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    made = Shared(tmp_path)
    yield made
    made.server.database.close()


def test_each_writer_keeps_its_lines_and_the_server_counts_the_steps(shared: Shared) -> None:
    shared.post("a", history=[{"a": 0}, {"a": 1}])
    shared.post("b", history=[{"b": 0}])
    shared.post("a", 2, history=[{"a": 2}])
    shared.post("b", 1, history=[{"b": 1}, {"b": 2}])
    found = shared.history()
    assert [line["_step"] for line in found] == [0, 1, 2, 3, 4, 5]
    for name in "ab":
        assert [line[name] for line in found if name in line] == [0, 1, 2]
    assert shared.server.run(shared.id).last_step == 5


def test_a_post_that_comes_twice_or_late_changes_nothing(shared: Shared) -> None:
    shared.post("a", history=[{"a": 0}], console=["a 0"])
    shared.post("b", history=[{"b": 0}], console=["b 0"])
    before = shared.history(), shared.console()
    for name in "ba":
        shared.post(name, history=[{name: 0}], console=[f"{name} 0"])
    assert (shared.history(), shared.console()) == before
    shared.server.restart()
    shared.client = served(shared.server)
    shared.post("b", 0, history=[{"b": 0}, {"b": 1}])
    assert shared.history() == [{"a": 0, "_step": 0}, {"b": 0, "_step": 1}, {"b": 1, "_step": 2}]


def test_a_line_of_the_console_is_changed_by_its_writer_alone(shared: Shared) -> None:
    shared.post("a", console=["a: 10 %"])
    shared.post("b", console=["b: 10 %"])
    shared.post("a", console=["a: 100 %", "a: done"])
    assert shared.console() == ["a: 100 %", "b: 10 %", "a: done"]


def test_the_summary_holds_the_newest_that_any_writer_changed(shared: Shared) -> None:
    shared.post("a", history=[{"loss": 3.0}], summary=[{"loss": 3.0, "a": 1, "_step": 0}])
    shared.post("b", history=[{"loss": 2.0}], summary=[{"loss": 2.0, "b": 1, "_step": 0}])
    shared.post("a", summary=[{"loss": 3.0, "a": 2, "_step": 0}])
    assert shared.document("summary") == {"loss": 2.0, "a": 2, "b": 1, "_step": 1}
    shared.post("b", summary=[{"loss": 2.0, "_step": 0}])
    assert shared.document("summary") == {"loss": 2.0, "a": 2, "_step": 1}


def test_the_environment_of_each_writer_stays_in_the_config(shared: Shared) -> None:
    for name in "ab":
        shared.join({name: {"value": 1}, "_wandb": {"value": {"e": {name: {"host": name}}}}})
    config = shared.document("config")
    assert config["_wandb"]["value"]["e"] == {"a": {"host": "a"}, "b": {"host": "b"}}
    assert {"a", "b"} <= config.keys()
    shared.join({"_wandb": {"value": "odd"}})
    assert shared.document("config")["_wandb"] == {"value": "odd"}


def test_a_writer_that_joins_late_empties_nothing(shared: Shared) -> None:
    shared.post("a", history=[{"a": 0}])
    shared.join()
    shared.post("b", history=[{"b": 0}])
    assert len(shared.history()) == 2


def test_a_new_attempt_empties_the_run_once_whoever_of_it_joins_first(shared: Shared) -> None:
    shared.post("a", history=[{"a": 0}], console=["a"], attempt=1)
    shared.server.wait(100)
    command = shared.server.beat(shared.server.agent(shared.sweep, "other"))[0]
    assert (command["run_id"], command["attempt"]) == (shared.id, 2)
    shared.join(attempt=2)
    shared.post("c", history=[{"c": 0}], attempt=2)
    shared.join(attempt=2)
    shared.post("d", history=[{"d": 0}], attempt=2)
    assert shared.history() == [{"c": 0, "_step": 0}, {"d": 0, "_step": 1}]


def test_lines_of_a_deleted_run_leave_no_writer_behind(shared: Shared) -> None:
    shared.post("a", history=[{"a": 0}])
    shared.server.delete(shared.id)
    with shared.server.database.read() as rows:
        for table in ("writers", "written"):
            assert rows.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_a_writer_without_a_sensible_name_is_refused(name: str) -> None:
    with pytest.raises(BadMessageError, match="the writer"):
        read_stream({}, name)


def test_processes_without_a_name_keep_their_lines_as_well(shared: Shared) -> None:
    shared.join_alone()
    shared.join_alone()
    stamp = "2026-01-01T10:00:00.00000"
    for name in "ab":
        shared.post(None, history=[{name: n, "_step": n} for n in range(2)])
        shared.post(None, console=[f"{stamp}{name} {name} 0"])
        shared.post(None, summary=[{name: 1}])
    shared.post(None, 2, history=[{"a": 2, "_step": 2}])
    shared.post(None, 2, history=[{"b": 2, "_step": 2}, {"b": 3, "_step": 3}])
    shared.post(None, console=[f"{stamp}b b 100 %"])
    for name in "ab":  # again, as a client does whose answer was lost
        shared.post(None, history=[{name: n, "_step": n} for n in range(2)])
    found = shared.history()
    assert sorted(line["a"] for line in found if "a" in line) == [0, 1, 2]
    assert sorted(line["b"] for line in found if "b" in line) == [0, 1, 2, 3]
    assert shared.console() == [f"{stamp}a a 0", f"{stamp}b b 100 %"]
    assert shared.document("summary") == {"a": 1, "b": 1}


def test_a_process_alone_may_change_a_line_of_its_console_whatever_its_time(
    shared: Shared,
) -> None:
    shared.post(None, console=["2026-01-01T10:00:00.000000 10 %"])
    shared.post(None, console=["2026-01-01T10:00:01.000000 20 %"])
    assert shared.console() == ["2026-01-01T10:00:01.000000 20 %"]
