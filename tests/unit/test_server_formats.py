"""Keys and ids: never used again after a deletion; files of every earlier format are taken over."""

import errno
import functools
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.errors import GoneError, NotFoundError, StoreUnavailableError
from sweepctl.server.runs.files import RunFiles, Upload
from sweepctl.server.runs.messages import RunChange
from sweepctl.server.store import copies, file_store, formats, run_store, sweep_store
from sweepctl.server.store.copies import NoSpaceError
from sweepctl.server.store.database import DATABASE, Database, before_path
from sweepctl.server.store.formats import OLDER_FORMATS, SCHEMA_VERSION
from sweepctl.server.stored_sweeps import StoredSweeps
from sweepctl_pod.errors import SweepctlError
from tests import data_folders
from tests.unit.server_in_process import InProcessServer, served
from tests.unit.test_stored_sweeps import everything

KILLS = int(os.environ.get("SWEEPCTL_KILLS", "10"))
"""At how many moments an upgrade is killed; `make test-kills` takes more."""


def schema(folder: Path) -> dict[str, Any]:
    """Give the columns and indexes of every table, in no order."""
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master").fetchall():
            columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
            found[name] = (
                sorted((row[1], row[2], row[3], row[4], row[5]) for row in columns),
                ("AUTOINCREMENT" in (sql or "")),
            )
    return found


def answers_of(folder: Path) -> tuple[InProcessServer, Any]:
    """Open a folder as a server does, and give what that answers."""
    server = InProcessServer(folder)
    said = served(server).post("/graphql", json={"query": data_folders.ANSWERS}).json()
    assert "errors" not in said
    return server, said["data"]


def content(path: Path) -> list[str]:
    """Give all that is in a data file, as SQL, and its format."""
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()
        return [*connection.iterdump(), str(version)]


def test_every_format_has_its_fixture_and_todays_is_the_newest() -> None:
    assert [*sorted(OLDER_FORMATS), SCHEMA_VERSION] == data_folders.FORMATS, (
        "write today's: .venv/bin/python -m tests.data_folders"
    )


@pytest.mark.parametrize("version", data_folders.FORMATS)
def test_a_file_of_any_format_serves_the_answers_of_its_own_server(
    tmp_path: Path, version: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    told = data_folders.lay(old, version)
    before = content(old / DATABASE)
    Database(new).close()
    server, said = answers_of(old)
    assert said == told
    assert schema(old) == schema(new)
    kept = before_path(old / DATABASE)
    assert server.database.kept_before == (kept if version < SCHEMA_VERSION else None)
    if version < SCHEMA_VERSION:
        assert content(kept) == before
    server.restart()
    assert server.database.kept_before is None
    with server.database.write() as tx:
        fresh = run_store.create_run(tx, {"project": 1, "state": "running"}, 0.0)
    assert fresh.pk > (5 if version > 5 else 1000), "a key below may have been a deleted run's"
    server.database.close()


@pytest.mark.parametrize("version", data_folders.FORMATS)
def test_whoever_reads_a_file_of_any_format_without_a_server_sees_the_same_and_changes_nothing(
    tmp_path: Path, version: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    data_folders.lay(old, version)
    data_folders.lay(new, version)
    Database(new).close()
    files = {path: path.read_bytes() for path in old.rglob("*")}
    said = everything(StoredSweeps(old))
    assert len(said) == 2
    assert said == everything(StoredSweeps(new))
    assert {path: path.read_bytes() for path in old.rglob("*")} == files


@pytest.mark.parametrize("version", sorted(OLDER_FORMATS))
def test_an_upgrade_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folders.lay(tmp_path, version)
    before = content(tmp_path / DATABASE)
    with monkeypatch.context() as broken:
        last = SCHEMA_VERSION - 1
        broken.setitem(formats._UPGRADES, last, (*formats._UPGRADES[last], "no SQL"))
        with pytest.raises(SweepctlError, match="cannot open"):
            Database(tmp_path)
    assert content(tmp_path / DATABASE) == before
    Database(tmp_path).close()


def test_an_upgrade_whose_copy_does_not_fit_is_refused_and_says_how_much_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folders.lay(tmp_path, 5)
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("UPDATE runs SET notes = ?", ("x" * (2 << 20),))
    connection.close()
    before = content(tmp_path / DATABASE)
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(SweepctlError, match=r"needs 1\d\.\d MiB free .* 1\.0 MiB are free"):
            Database(tmp_path)
        assert everything(StoredSweeps(tmp_path)), "it can be read all the same"
    assert content(tmp_path / DATABASE) == before
    assert not before_path(tmp_path / DATABASE).exists()
    Database(tmp_path).close()


def test_a_copy_that_meets_the_end_of_the_disk_leaves_nothing_and_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folders.lay(tmp_path, 5)
    before = content(tmp_path / DATABASE)
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(copies, "sync", lambda path: (_ for _ in ()).throw(full))
        with pytest.raises(NoSpaceError, match=r"before-.*: the disk is full"):
            Database(tmp_path)
    assert content(tmp_path / DATABASE) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweepctl.lock", DATABASE]
    Database(tmp_path).close()


def test_the_way_back_gives_the_file_from_before_and_the_upgrade_again(tmp_path: Path) -> None:
    told = data_folders.lay(tmp_path, 5)
    before = content(tmp_path / DATABASE)
    server, _ = answers_of(tmp_path)
    server.delete(server.run(told["project"]["runs"]["edges"][0]["node"]["name"]).id)
    server.database.close()
    shutil.copyfile(before_path(tmp_path / DATABASE), tmp_path / DATABASE)
    assert content(tmp_path / DATABASE) == before
    server, said = answers_of(tmp_path)
    server.database.close()
    assert said == told


def test_a_server_ends_with_all_of_its_data_in_the_one_file_whoever_reads_beside_it(
    tmp_path: Path,
) -> None:
    told = data_folders.lay(tmp_path, 5)
    server, _ = answers_of(tmp_path)
    path = tmp_path / DATABASE
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM runs").fetchone() != (0,)
        server.delete(server.run(told["project"]["runs"]["edges"][0]["node"]["name"]).id)
        server.database.close()
        assert path.with_name(f"{DATABASE}-wal").stat().st_size == 0
        shutil.copyfile(before_path(path), tmp_path / "copy")
    assert not path.with_name(f"{DATABASE}-wal").exists()
    assert content(tmp_path / "copy") != content(path)
    with pytest.raises(StoreUnavailableError, match="the server ends"), server.database.read():
        raise AssertionError("a connection of a server that has ended")


def test_a_server_ends_after_the_thread_that_is_ending_has_closed_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    reader_closes, writer_closed = threading.Event(), threading.Event()

    class Watched(sqlite3.Connection):
        def close(self) -> None:
            # At its end a thread is no `current_thread()` any more.
            is_reader = threading.get_ident() == thread.ident
            if is_reader:
                reader_closes.set()
                writer_closed.wait(0.3)  # it must not
            closed.append("reader" if is_reader else "writer")
            super().close()
            if not is_reader:
                writer_closed.set()

    def reads() -> None:
        with database.read() as rows:
            rows.execute("SELECT * FROM runs").fetchall()

    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", functools.partial(connect, factory=Watched))
        thread = threading.Thread(target=reads)
        database = Database(tmp_path)
        closed.clear()
        thread.start()
        assert reader_closes.wait(30)
        database.close()
    thread.join()
    assert closed == ["reader", "writer"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweepctl.lock", DATABASE]


def calls_until_open(folder: Path, killed_at: int | None) -> int:
    """Open a folder in a child that dies at one of the calls it makes; give how many it made."""
    child = os.fork()
    if child == 0:
        made = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal made
            made += event.startswith("c_")
            if made == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        Database(folder)
        sys.setprofile(None)
        (folder / "calls").write_text(str(made))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if killed_at is None:
        assert status == 0
        return int((folder / "calls").read_text())
    (folder / "calls").unlink(missing_ok=True)  # the last calls are not made every time
    return 0


@pytest.mark.parametrize("version", sorted(OLDER_FORMATS))
def test_an_upgrade_that_is_killed_at_any_moment_loses_nothing_and_is_taken_up_again(
    tmp_path: Path, version: int
) -> None:
    told = data_folders.lay(tmp_path / "whole", version)
    before = content(tmp_path / "whole" / DATABASE)
    count = calls_until_open(tmp_path / "whole", None)
    upgraded = content(tmp_path / "whole" / DATABASE)
    found = set()
    for killed_at in (*range(1, count - 4, max(1, count // KILLS)), count - 2):
        folder = tmp_path / str(killed_at)
        data_folders.lay(folder, version)
        calls_until_open(folder, killed_at)
        left = content(folder / DATABASE)
        assert left in (before, upgraded)
        found.add(left == upgraded)
        if left == upgraded:
            assert content(before_path(folder / DATABASE)) == before
        server, said = answers_of(folder)
        server.database.close()
        assert said == told
        assert content(before_path(folder / DATABASE)) == before
        assert sorted(path.name for path in folder.iterdir()) == [
            "files",
            "sweepctl.lock",
            DATABASE,
            before_path(folder / DATABASE).name,
        ]
        shutil.rmtree(folder)
    assert found == {True, False}, "it died before and after"


def test_every_table_with_keys_that_clients_know_counts_them_on(tmp_path: Path) -> None:
    Database(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        keyed = {name: sql for name, sql in made if "INTEGER PRIMARY KEY" in sql}
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    assert set(formats._KEYED) <= keyed.keys()
    assert [name for name, sql in keyed.items() if "AUTOINCREMENT" not in sql] == []
    assert version == SCHEMA_VERSION


@pytest.fixture
def server(tmp_path: Path) -> Iterator[InProcessServer]:
    made = InProcessServer(tmp_path / "data")
    yield made
    made.database.close()


def _project(server: InProcessServer) -> int:
    with server.database.write() as tx:
        return sweep_store.ensure_project(tx, "local", "p", 0.0).pk


def _new_run(server: InProcessServer) -> int:
    with server.database.write() as tx:
        return run_store.create_run(tx, {"project": 1, "state": "running"}, 0.0).pk


def _new_file(server: InProcessServer) -> int:
    with server.database.write() as tx:
        file_store.put_file(tx, 1, "f", {"stored": "s", "size_bytes": 1, "md5": "", "updated": 0.0})
        found = file_store.find_file(tx, 1, "f")
    assert found is not None
    return found.pk


DELETIONS: dict[str, tuple[Callable[[InProcessServer], int], str]] = {
    "a run": (_new_run, "runs"),
    "a file": (_new_file, "files"),
    "a sweep": (lambda server: server.sweep().pk, "sweeps"),
    "an agent": (lambda server: server.agent(server.sweep()).pk, "agents"),
    "a project": (_project, "projects"),
}


@pytest.mark.parametrize(("make", "table"), DELETIONS.values(), ids=DELETIONS)
def test_a_key_is_not_given_again_after_a_deletion_nor_after_a_restart(
    server: InProcessServer, make: Callable[[InProcessServer], int], table: str
) -> None:
    _project(server)
    first = make(server)
    with server.database.write() as tx:
        tx.execute(f"DELETE FROM {table} WHERE pk = ?", (first,))
    server.restart()
    assert make(server) > first


def change(host: str | None) -> RunChange:
    return RunChange({}, {}, None, None, host, False)


def test_the_client_of_a_deleted_run_is_refused_and_writes_into_no_other(
    server: InProcessServer,
) -> None:
    project = _project(server)
    mine = server.intake.upsert(project, None, "mine", change("h"), None)
    client = served(server)
    files = RunFiles(server.database, server.clock)
    address = files.url("", "PUT", mine.pk, "model.pt")
    query = "mutation D($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
    ask = '{ project(name: "p", entityName: "local") { run(name: "mine") { id } } }'
    node = client.post("/graphql", json={"query": ask}).json()["data"]["project"]["run"]["id"]
    client.post("/graphql", json={"query": query, "variables": {"id": node}})
    other = server.intake.upsert(project, None, "other", change("h"), None)
    assert other.pk > mine.pk
    post = {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0}']}}}
    upsert = "mutation B($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { name } } }"

    def asked(**input: str) -> int:
        said = client.post("/graphql", json={"query": upsert, "variables": {"i": input}})
        assert "errors" in said.json()
        return said.status_code

    assert client.post("/files/local/p/mine/file_stream", json=post).status_code == 404
    assert client.put(address, content=b"weights").status_code == 404
    assert asked(name="mine", modelName="p", host="h") == 409
    assert asked(id=node, config="{}") == 200
    with pytest.raises(GoneError, match="run mine was previously created and deleted"):
        server.intake.upsert(project, mine, None, change(None), None)
    with server.database.read() as rows:
        assert [run.id for run in run_store.runs(rows)] == ["other"]
        assert rows.execute("SELECT count(*) FROM history").fetchone() == (0,)
        assert rows.execute("SELECT count(*) FROM files").fetchone() == (0,)


def test_an_upload_that_ends_after_its_runs_deletion_leaves_nothing(
    server: InProcessServer, tmp_path: Path
) -> None:
    files = RunFiles(server.database, server.clock)
    run = server.intake.upsert(_project(server), None, "mine", change("h"), None)

    def upload() -> Upload:
        path = tmp_path / "upload"
        path.write_bytes(b"abc")
        return Upload(path, 3, "md5")

    files.keep(run, "model.pt", upload())
    with server.database.read() as rows:
        first = file_store.find_file(rows, run.pk, "model.pt")
    assert first is not None
    files.keep(run, "model.pt", upload())
    files.remove([first.stored])  # as late as a deletion may do it
    with server.database.read() as rows:
        second = file_store.find_file(rows, run.pk, "model.pt")
    assert second is not None
    assert files.path(second).read_bytes() == b"abc"
    server.delete("mine")
    shutil.rmtree(files.path(second).parent)
    with pytest.raises(NotFoundError, match="the run was deleted"):
        files.keep(run, "model.pt", upload())
    assert [path for path in (server.folder / "files").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("version", [2, 5, 6])
def test_what_earlier_versions_took_nested_deeper_than_is_taken_now_opens_and_goes_on(
    tmp_path: Path, version: int
) -> None:
    data_folders.lay(tmp_path, version)
    deep: Any = 1
    for _ in range(300):
        deep = {"x": [deep]}
    text = json.dumps({"loss": 0.5, "deep": deep})
    spec = {**data_folders.SPEC, "parameters": {"a": {"values": [1, 2]}, "d": {"value": deep}}}
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        config = json.dumps({"deep": {"value": deep}, "a": {"value": 1}})
        connection.execute("UPDATE runs SET summary = ?, config = ?", (text, config))
        connection.execute("UPDATE sweeps SET spec = ?, config_text = ?", (json.dumps(spec),) * 2)
        connection.execute("UPDATE history SET text = ? WHERE line = 1", (text,))
        connection.commit()
    assert everything(StoredSweeps(tmp_path))
    server, said = answers_of(tmp_path)
    client = served(server)
    (sweep,) = said["project"]["sweeps"]["edges"]
    runs = [edge["node"]["name"] for edge in said["project"]["runs"]["edges"]]
    pages = ["", "/local/p", f"/local/p/sweeps/{sweep['node']['name']}"]
    pages += [f"/local/p/runs/{run}" for run in runs]
    for page in pages:
        assert client.get(page or "/").status_code == 200, page
    live = runs[-1]
    line = {"wandb-history.jsonl": {"offset": 3, "content": ['{"_step": 3, "loss": 0.1}']}}
    summary = {"wandb-summary.json": {"offset": 0, "content": ['{"loss": 0.1}']}}
    server.stream(live, files={**line, **summary})
    project = server.run(live).project
    more = RunChange({}, {"b": {"value": 2}}, None, None, None, False)
    server.intake.upsert(project, server.run(live), live, more, None)
    server.end(live, 0)
    assert client.get(f"/local/p/runs/{live}").status_code == 200
    server.database.close()
