"""Pruning: what nothing needs goes, what a run may need stays; also beside a server."""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sweepctl.cli import app as cli
from sweepctl.server.prune import Freed, Pruned, prune
from sweepctl.server.store.database import DATABASE
from sweepctl_pod.errors import SweepctlError
from tests import data_folders
from tests.unit.server_in_process import InProcessServer
from tests.unit.test_server_backup import Folder, contents

DAY_S = 86400.0
LATER = 1e12
"""A time at which everything is old."""


def pruned(
    data: Path, *, dry_run: bool = False, older_than_s: float = DAY_S, checkpoints: bool = False
) -> Pruned:
    return prune(
        data,
        older_than_s=older_than_s,
        with_checkpoints=checkpoints,
        dry_run=dry_run,
        now=lambda: LATER,
    )


def counts(done: Pruned) -> dict[str, int]:
    return {freed.kind: freed.count for freed in done.freed}


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    """Give a folder with a live run, and with something left over of every kind."""
    made = Folder(tmp_path / "data")
    made.keep("model.pt", "in use")
    made.keep("sweepctl/checkpoints/2.pt", "goes on from this")
    made.log("content in use")
    files, artifacts = made.path / "files", made.path / "artifacts"
    (files / "7-gone").mkdir()
    (files / "7-gone" / "a-model.pt").write_text("of a deleted run")
    (files / ".incoming" / "upload").write_text("under way")
    (artifacts / "ab").mkdir(exist_ok=True)
    (artifacts / "ab" / ("ab" * 16)).write_text("of no artifact")
    (made.path / f"{DATABASE}.before-7").write_text("before")
    (made.path / "logs").mkdir()
    (made.path / "logs" / "agent-1.log").write_text("printed")
    with made.server.database.write() as tx:
        tx.execute("INSERT INTO history VALUES (99, 0, 0, '{}')")
        tx.execute("INSERT INTO lines VALUES (98, 'output.log', 0, 'x')")
    return made


def free_pages(data: Folder) -> None:
    """Have the database hold free pages: a run with much history is deleted."""
    with data.server.database.write() as tx:
        for line in range(300):
            tx.execute("INSERT INTO history VALUES (97, ?, 0, ?)", (line, "x" * 4000))
    with data.server.database.write() as tx:
        tx.execute("DELETE FROM history WHERE run = 97")


BESIDE = {
    "deleted runs with data left": 2,
    "files of no run": 1,
    "copies from before an upgrade": 1,
}
ALONE = {**BESIDE, "contents of no artifact": 1, "the database's free part": 1}


def test_beside_a_server_what_no_request_can_bring_back_goes_and_the_rest_is_named(
    data: Folder,
) -> None:
    free_pages(data)
    before = contents(data.path)
    tried = pruned(data.path, dry_run=True)
    assert counts(tried) == BESIDE
    assert "MiB, which new data takes first" in tried.left[0]
    done = pruned(data.path)
    assert (done.freed, done.left) == (tried.freed, tried.left), "a dry run says what is done"
    assert done.said[-1].endswith("MiB freed")
    assert tried.said[-1].endswith("would be freed (dry run)")
    assert contents(data.path) == before
    assert not list(data.path.rglob("a-model.pt"))
    assert (data.path / "files" / ".incoming" / "upload").exists()
    assert (data.path / "artifacts" / "ab" / ("ab" * 16)).exists()
    assert pruned(data.path).freed == []
    data.server.stream(data.run.id, complete=True, exitcode=0)
    assert data.server.run(data.run.id).state.value == "finished"
    data.server.database.close()


def test_alone_everything_goes_that_nothing_needs(data: Folder) -> None:
    free_pages(data)
    before = contents(data.path)
    data.server.database.close()
    size_bytes = (data.path / DATABASE).stat().st_size
    tried = pruned(data.path, dry_run=True)
    assert (data.path / DATABASE).stat().st_size == size_bytes
    done = pruned(data.path)
    assert counts(tried) == ALONE
    assert counts(done) == ALONE
    assert done.left == []
    assert size_bytes - (data.path / DATABASE).stat().st_size > 1 << 20
    assert contents(data.path) == before
    assert (data.path / "logs" / "agent-1.log").exists()
    again = InProcessServer(data.path)
    assert [run.state.value for run in again.runs(data.sweep)] == ["running"]
    again.database.close()


def test_what_is_younger_than_asked_for_stays_and_beside_a_server_an_hour_at_least(
    data: Folder,
) -> None:
    def left(older_than_s: float, now: float) -> dict[str, int]:
        tried = prune(
            data.path,
            older_than_s=older_than_s,
            with_checkpoints=False,
            dry_run=True,
            now=lambda: now,
        )
        return counts(tried)

    for path in data.path.rglob("*"):
        os.utime(path, (1000.0, 1000.0))
    of_any_age = {"deleted runs with data left": 2}
    assert left(DAY_S, 1000.0 + DAY_S - 1) == of_any_age
    assert left(DAY_S, 1001.0 + DAY_S) == BESIDE
    assert left(0.0, 1000.0 + 3599) == of_any_age
    assert left(0.0, 1001.0 + 3600) == BESIDE
    data.server.database.close()
    assert left(0.0, 1001.0).keys() >= BESIDE.keys()


@pytest.mark.parametrize(
    ("code", "is_gone"), [(0, True), (1, False), (None, False)], ids=["finished", "failed", "live"]
)
def test_checkpoints_go_when_asked_for_and_of_finished_runs_alone(
    data: Folder, code: int | None, is_gone: bool
) -> None:
    if code is not None:
        data.server.stream(data.run.id, complete=True, exitcode=code)
        data.server.beat(data.agent)
        data.server.beat(data.agent)
    assert "sweepctl/checkpoints/2.pt" in contents(data.path)
    pruned(data.path)
    assert "sweepctl/checkpoints/2.pt" in contents(data.path), "nobody asked for it"
    freed = pruned(data.path, checkpoints=True).freed
    assert freed == ([Freed("checkpoints of finished runs", 1, 17)] if is_gone else [])
    assert ("sweepctl/checkpoints/2.pt" in contents(data.path)) != is_gone
    assert contents(data.path)["model.pt"] == "in use"
    data.server.database.close()


def test_a_folder_of_an_older_format_is_left_as_it_is(tmp_path: Path) -> None:
    data_folders.lay(tmp_path, 5)
    with pytest.raises(SweepctlError, match="is of an older format") as refused:
        pruned(tmp_path)
    assert "sweepctl server --data" in (refused.value.hint or "")
    with closing(sqlite3.connect(tmp_path / DATABASE)) as rows:
        assert rows.execute("PRAGMA user_version").fetchone() == (5,)


def test_a_file_of_something_else_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database at all" * 100)
    with pytest.raises(SweepctlError, match="is damaged: file is not a database"):
        pruned(tmp_path)


def test_the_verb_says_what_it_frees_and_as_data_too(
    data: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> tuple[str, str]:
        words = ["sweepctl", "server", "prune", "--data", str(data.path), *more]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr()

    out, err = run("--dry-run", "--older-than", "0s")
    assert out == "deleted runs with data left: 2, 0.0 MiB\n0.0 MiB would be freed (dry run)\n"
    assert err.startswith("left: contents of artifacts, and the database's free part (0.0 MiB")
    said = json.loads(run("-o", "json")[0])
    assert said["freed"][0]["kind"] == "deleted runs with data left"
    assert run()[0] == "0.0 MiB freed\n"
    data.server.database.close()
