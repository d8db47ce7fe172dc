"""The data folder and what streams into it: opened with care, idempotent, nothing half-written."""

import gc
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.errors import BadMessageError, StoreUnavailableError
from sweepctl.server.runs.messages import RunChange, merged_config, read_stream
from sweepctl.server.store import lines, run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import TRUE
from sweepctl.server.store.formats import SCHEMA_VERSION
from sweepctl.server.store.run_store import Run
from sweepctl_pod.errors import SweepctlError
from tests.unit.server_in_process import InProcessServer


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def run(server: InProcessServer) -> Run:
    with server.database.write() as tx:
        project = sweep_store.ensure_project(tx, "local", "p", 0.0)
        return run_store.create_run(
            tx, {"project": project.pk, "state": "running", "id": "r"}, server.seconds
        )


def history(server: InProcessServer, run: Run) -> list[str]:
    with server.database.read() as rows:
        return lines.spread_history(rows, run.pk, 10_000)


def post(offset: int, *content: str, name: str = lines.HISTORY) -> dict[str, Any]:
    return {"files": {name: {"offset": offset, "content": list(content)}}}


def test_two_servers_on_one_folder_are_refused(tmp_path: Path) -> None:
    first = Database(tmp_path)
    other = [sys.executable, "-m", "sweepctl.server", "--data", str(tmp_path)]
    ended = subprocess.run(other, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"is used by another server (process {os.getpid()})" in ended.stderr
    assert "--data DIR" in ended.stderr
    assert "Traceback" not in ended.stderr
    (tmp_path / "sweepctl.lock").unlink()
    for _ in range(2):
        ended = subprocess.run(other, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1, "also when the lock file was deleted"
        assert "is used by another server" in ended.stderr
    first.close()
    Database(tmp_path).close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be read as one" * 100)


def folder(path: Path) -> None:
    path.mkdir()


UNUSABLE = {
    "of a newer version": (newer, "was written by a newer sweepctl", "upgrade sweepctl"),
    "of another program": (foreign, "is not a data file of sweepctl", "--data DIR"),
    "damaged": (damaged, "is damaged: file is not a database", "backup"),
    "a folder": (folder, "cannot open", "read-only"),
}


@pytest.mark.parametrize(("spoil", "message", "hint"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_data_file_that_cannot_be_used_is_refused_and_left_alone(
    tmp_path: Path, spoil: Any, message: str, hint: str
) -> None:
    path = tmp_path / "sweepctl.sqlite"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    for _ in range(2):
        with pytest.raises(SweepctlError) as caught:
            Database(tmp_path)
        assert message in caught.value.message
        assert str(path) in caught.value.message
        assert caught.value.hint is not None
        assert hint in caught.value.hint
    if before is not None:
        assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepctlError) as caught:
        Database(tmp_path / "file" / "data")
    assert "cannot write in the data folder" in caught.value.message


def test_history_posted_twice_late_or_with_a_gap_is_there_once(
    server: InProcessServer, run: Run
) -> None:
    rows = [json.dumps({"_step": n, "loss": n / 7}) for n in range(10)]
    for offset, count in ((0, 3), (0, 3), (6, 4), (3, 3), (2, 5), (9, 1)):
        server.stream("r", **post(offset, *rows[offset : offset + count]))
    assert history(server, run) == rows
    with server.database.read() as reading:
        assert lines.history_count(reading, run.pk) == 10
        assert lines.history_tail(reading, run.pk, 2) == rows[-2:]
        assert lines.history_steps(reading, run.pk, 3, 5, 100) == rows[3:5]
    assert server.run("r").last_step == 9
    assert sorted(json.loads(document(server, run, "history_keys"))) == ["_step", "loss"]


def document(server: InProcessServer, run: Run, name: str) -> str:
    with server.database.read() as rows:
        return run_store.run_document(rows, run.pk, name)


def test_a_console_line_that_is_written_again_leaves_the_later_ones(
    server: InProcessServer, run: Run
) -> None:
    server.stream("r", **post(0, "10%", "next", "last", name=lines.CONSOLE))
    server.stream("r", **post(0, "100%", name=lines.CONSOLE))
    with server.database.read() as rows:
        tail = lines.line_tail(rows, run.pk, lines.CONSOLE, 10)
    assert tail == [(0, "100%"), (1, "next"), (2, "last")]


SAMPLES = {
    "fewer than asked": (3, 10, [0, 1, 2]),
    "both ends": (10, 2, [0, 9]),
    "spread": (9, 3, [0, 4, 8]),
    "one": (9, 1, [8]),
    "none": (9, 0, []),
    "of nothing": (0, 5, []),
}


@pytest.mark.parametrize(("count", "samples", "chosen"), SAMPLES.values(), ids=SAMPLES)
def test_samples_are_spread_over_the_whole(count: int, samples: int, chosen: list[int]) -> None:
    assert list(lines.spread(count, samples)) == chosen


def test_many_samples_are_read_in_order(server: InProcessServer, run: Run) -> None:
    server.stream("r", **post(0, *[f'{{"_step": {n}}}' for n in range(5000)]))
    with server.database.read() as rows:
        found = [json.loads(text)["_step"] for text in lines.spread_history(rows, run.pk, 1500)]
    assert found == list(lines.spread(5000, 1500))


def test_sampled_history_gives_rows_that_hold_every_key(server: InProcessServer, run: Run) -> None:
    texts = ['{"_step": 0, "a": 1}', '{"_step": 1, "a": NaN, "b": 2}', "not json", '{"_step": 3}']
    server.stream("r", **post(0, *texts))
    with server.database.read() as rows:
        found = lines.sampled_history(rows, run.pk, {"keys": ["_step", "a"], "samples": 10})
        assert [row["_step"] for row in found] == [0, 1]
        ranged = {"keys": ["_step"], "minStep": 1, "maxStep": 3.0, "samples": 10}
        assert lines.sampled_history(rows, run.pk, ranged) == [{"_step": 1}, {"_step": 3}]
        assert len(lines.sampled_history(rows, run.pk, {})) == 4


STEPS = {
    "whole float": ("3.0", 3),
    "float": ("0.5", 0),
    "text": ('"x"', 0),
    "huge": ("1e300", 0),
    "beyond 64 bits": ("123456789012345678901234567890", 0),
    "negative": ("-5", -5),
}


@pytest.mark.parametrize(("step", "stored"), STEPS.values(), ids=STEPS)
def test_a_line_of_any_step_is_stored(
    server: InProcessServer, run: Run, step: str, stored: int
) -> None:
    text = f'{{"_step": {step}}}'
    server.stream("r", **post(0, text))
    assert history(server, run) == [text]
    with server.database.read() as rows:
        assert lines.history_steps(rows, run.pk, stored, stored + 1, 10) == [text]


def test_a_summary_is_the_last_one_posted_and_can_be_ordered_by(
    server: InProcessServer, run: Run
) -> None:
    first = '{"loss": 3, "old": 1, "deep": {"a.b": true}, "_wandb": {"runtime": 1}}'
    last = '{"loss": 1e-05, "nan": NaN, "inf": Infinity, "big": 1%s, "s": "\\ud800"}' % ("0" * 30)
    server.stream("r", **post(0, first, name=lines.SUMMARY))
    with server.database.read() as rows:
        stored = dict(rows.execute("SELECT key, value FROM summary_values").fetchall())
    assert stored == {"loss": 3, "old": 1, "deep.a.b": 1}
    server.stream("r", **post(5, "{}", last, name=lines.SUMMARY))
    assert document(server, run, "summary") == last
    with server.database.read() as rows:
        stored = dict(rows.execute("SELECT key, value FROM summary_values").fetchall())
    assert stored == {"loss": 1e-05, "inf": float("inf"), "big": 1e30, "s": "?"}


def change(host: str | None = "h", *, is_resumed: bool = False, **config: Any) -> RunChange:
    return RunChange({}, config or None, None, None, host, is_resumed)


def test_a_trainer_that_begins_anew_empties_the_history_and_one_that_resumes_does_not(
    server: InProcessServer, run: Run
) -> None:
    old = [f'{{"_step": {n}, "old": 1}}' for n in range(3)]
    server.stream("r", **post(0, *old), exitcode=1)
    server.stream("r", **post(0, '{"old": 1}', name=lines.SUMMARY))
    server.intake.upsert(run.project, server.run("r"), "r", change(is_resumed=True), None)
    server.stream("r", **post(3, '{"_step": 3}'))
    assert len(history(server, run)) == 4
    assert server.run("r").state.value == "running"
    server.intake.upsert(run.project, server.run("r"), "r", change(None, a={"value": 1}), None)
    server.stream("r", **post(0, old[0]))
    assert len(history(server, run)) == 4, "a change of the config is no new beginning"
    server.intake.upsert(run.project, server.run("r"), "r", change(), None)
    server.stream("r", **post(0, "{}", name=lines.SUMMARY))
    for _ in range(2):
        server.stream("r", **post(0, '{"_step": 0}'))
    server.stream("r", **post(1, '{"_step": 1}'))
    assert history(server, run) == ['{"_step": 0}', '{"_step": 1}']
    assert server.run("r").last_step == 1
    assert list(json.loads(document(server, run, "history_keys"))) == ["_step"]


def test_two_clients_that_make_the_same_run_at_once_share_it(
    server: InProcessServer, run: Run
) -> None:
    made = [server.intake.upsert(run.project, None, "twice", change(), None) for _ in range(2)]
    assert made[0].pk == made[1].pk


def test_a_run_that_is_named_by_its_key_is_meant_whatever_the_name(
    server: InProcessServer, run: Run
) -> None:
    other = server.intake.upsert(run.project, None, "other", change(), None)
    assert server.intake.upsert(run.project, other, "r", change(None), None).pk == other.pk


def test_an_older_client_that_resumes_without_saying_so_goes_on_behind_the_old_lines(
    server: InProcessServer, run: Run
) -> None:
    server.stream("r", **post(0, '{"_step": 0}', '{"_step": 1}'), exitcode=1)
    server.intake.upsert(run.project, server.run("r"), "r", change(), None)
    server.stream("r", **post(0, "first", name=lines.CONSOLE))
    server.stream("r", **post(2, '{"_step": 2}'))
    assert len(history(server, run)) == 3


def test_a_change_of_the_config_does_not_revive_a_run_that_has_ended(
    server: InProcessServer, run: Run
) -> None:
    server.end("r", 0)
    server.intake.upsert(run.project, server.run("r"), "r", change(None, b={"value": 1}), None)
    assert server.run("r").state.value == "finished"
    assert json.loads(document(server, run, "config")) == {"b": {"value": 1}}


CONFIGS = {
    "a float that came back whole": ({"a": {"value": 1}}, {"a": {"value": 1.0}}),
    "a float that is another": ({"a": {"value": 1.5}}, {"a": {"value": 1.5}}),
    "true is not 1.0": ({"a": {"value": True}}, {"a": {"value": True}}),
    "text is not 1.0": ({"a": {"value": "1"}}, {"a": {"value": "1"}}),
    "what W&B adds is kept": (
        {"a": {"value": 1, "desc": None}, "_wandb": {"value": {"t": 1}}},
        {"a": {"value": 1.0, "desc": None}, "_wandb": {"value": {"t": 1}}},
    ),
    "no map": ({"a": 1}, {"a": 1}),
}


@pytest.mark.parametrize(("sent", "stored"), CONFIGS.values(), ids=CONFIGS)
def test_a_parameter_keeps_the_form_it_was_handed_out_in(sent: Any, stored: Any) -> None:
    merged = merged_config({"a": {"value": 1.0}}, sent, {"a": 1.0})
    assert json.dumps(merged) == json.dumps(stored)


BAD_STREAMS: dict[str, tuple[object, str]] = {
    "a list": ([], "the body is not a map"),
    "files is a list": ({"files": [1]}, "files is not a map"),
    "a file is text": ({"files": {lines.HISTORY: "x"}}, "wandb-history.jsonl is not a map"),
    "negative offset": (post(-1, "{}"), "offset -1 is not a line number"),
    "offset is text": ({"files": {"f": {"offset": "1"}}}, "offset '1' is not a line number"),
    "huge offset": (post(2**60, "{}"), "is not a line number"),
    "content is a number": ({"files": {"f": {"content": 5}}}, "content is not a list of lines"),
    "lines are numbers": ({"files": {"f": {"content": [5]}}}, "content is not a list of lines"),
    "exit code is text": ({"exitcode": "0"}, "exitcode '0' is not a whole number"),
    "exit code is true": ({"exitcode": True}, "exitcode True is not a whole number"),
    "summary is no JSON": (post(0, "{", name=lines.SUMMARY), "the summary is no JSON"),
    "summary is a list": (post(0, "[]", name=lines.SUMMARY), "the summary is not a map"),
}


@pytest.mark.parametrize(("body", "message"), BAD_STREAMS.values(), ids=BAD_STREAMS)
def test_a_bad_stream_message_is_refused_with_what_is_wrong(body: object, message: str) -> None:
    with pytest.raises(BadMessageError) as caught:
        read_stream(body)
    assert message in caught.value.message


def test_a_full_disk_refuses_the_post_whole_and_takes_it_when_there_is_room(
    server: InProcessServer, run: Run
) -> None:
    writer = server.database._writer
    server.stream("r", **post(0, '{"_step": 0}'))
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    big = [json.dumps({"_step": n, "text": "x" * 3000}) for n in range(1, 50)]
    message = {**post(1, *big), "complete": True, "exitcode": 0}
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="disk is full"):
            server.stream("r", **message)
        assert len(history(server, run)) == 1
        assert server.run("r").state.value == "running"
    writer.execute("PRAGMA max_page_count = 1000000")
    server.stream("r", **message)
    assert len(history(server, run)) == 50
    assert server.run("r").state.value == "finished"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by Linux's /proc")
def test_a_thread_that_has_read_and_ended_leaves_no_open_file(server: InProcessServer) -> None:
    def read() -> None:
        with server.database.read() as rows:
            rows.execute("SELECT count(*) FROM runs").fetchone()

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < before + 20, "a server runs for weeks"


def test_what_is_committed_is_written_through_to_the_disk(server: InProcessServer) -> None:
    for connection in (server.database._writer,):
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


CONSOLE_LINES = {
    "plain": ("2026-11-23T03:48:12.253232 hello", "", "2026-11-23T03:48:12.253232", "hello"),
    "stderr": ("ERROR 2026-11-23T03:48:12.25 oh no", "error", "2026-11-23T03:48:12.25", "oh no"),
    "brackets stay": ("2026-11-23T03:48:12 [INFO] x", "", "2026-11-23T03:48:12", "[INFO] x"),
    "no time": ("ERROR in line 3", "", None, "ERROR in line 3"),
    "empty": ("", "", None, ""),
}


@pytest.mark.parametrize(
    ("text", "level", "time", "line"), CONSOLE_LINES.values(), ids=CONSOLE_LINES
)
def test_a_console_line_is_taken_apart(text: str, level: str, time: str | None, line: str) -> None:
    found = lines.console_line(text)
    assert (found["level"], found["timestamp"], found["line"]) == (level, time, line)


def test_sweeps_are_listed_newest_first(server: InProcessServer) -> None:
    made = [server.sweep().id for _ in range(3)]
    with server.database.read() as rows:
        assert [sweep.id for sweep in sweep_store.sweeps(rows, None, TRUE)] == made[::-1]


BAD_SWEEPS = {
    "YAML fault": ("a: [1", "the configuration is no YAML"),
    "a date": (
        "method: grid\nparameters: {a: {value: 2020-01-01}}",
        "the configuration holds what JSON cannot say",
    ),
    "not a number": (
        "method: grid\nparameters: {a: {value: .nan}}",
        "the configuration holds what JSON cannot say",
    ),
    "text": ("just text", "a sweep's configuration is a map, not text ('just text')"),
    "an alias bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "\n".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)
        ),
        "the configuration has more than 100000 values",
    ),
    "one that holds itself": ("a: &a [*a]", "nested more than 50 deep"),
    "too long": ("#" * (5 << 20), "the configuration has 5242880 characters"),
    "unknown state": ('{"method": "random"}', "parameters: expected a map"),
}


@pytest.mark.parametrize(("text", "message"), BAD_SWEEPS.values(), ids=BAD_SWEEPS)
def test_a_bad_sweep_is_refused_and_nothing_is_created(
    server: InProcessServer, text: str, message: str
) -> None:
    with pytest.raises(SweepctlError) as caught:
        server.sweeps.upsert({"config": text, "projectName": "p"})
    assert message in caught.value.message
    with server.database.read() as rows:
        assert sweep_store.projects(rows) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"projectName": "p"}, "a new sweep needs a configuration"),
        ({"id": "nope", "state": "PAUSED"}, "no sweep has the id 'nope'"),
        ({"id": "nope", "state": "ASLEEP"}, "unknown sweep state 'ASLEEP'; known are PENDING"),
    ],
    ids=["no config", "unknown id", "unknown state"],
)
def test_a_change_that_cannot_be_is_refused(
    server: InProcessServer, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(SweepctlError, match=message):
        server.sweeps.upsert(wanted)


def test_held_runs_are_found_by_their_index(server: InProcessServer) -> None:
    query = f"EXPLAIN QUERY PLAN SELECT pk FROM runs WHERE {sweep_store.IS_HELD}"
    with server.database.read() as rows:
        plan = [row[3] for row in rows.execute(query)]
    assert [step for step in plan if "INDEX runs_live" in step], plan
