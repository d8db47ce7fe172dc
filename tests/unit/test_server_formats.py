"""Keys and ids: never used again after a deletion; files of every earlier format are taken over."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.errors import GoneError, NotFoundError
from sweepctl.server.runs.files import RunFiles, Upload
from sweepctl.server.runs.messages import RunChange
from sweepctl.server.store import file_store, formats, run_store, sweep_store
from sweepctl.server.store.database import DATABASE, Database
from sweepctl.server.store.filters import TRUE
from sweepctl.server.store.formats import OLDER_FORMATS, SCHEMA_VERSION
from sweepctl_pod.errors import SweepctlError
from tests.unit.server_in_process import InProcessServer, served

DUMPS = {
    version: Path(__file__).parents[1] / "data" / f"format-{version}.sql" for version in (5, 6)
}

LOST = {
    4: ("ALTER TABLE runs DROP COLUMN lost_step",),
    3: ("DROP TABLE prior_runs", "ALTER TABLE agents DROP COLUMN is_own"),
    2: ("ALTER TABLE runs DROP COLUMN is_restarted",),
}
"""What a file of the format above loses to become one of this format."""


def old_file(folder: Path, version: int) -> None:
    """Write a data file of an older format: a sweep with runs 1 and 2; 3 was deleted."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript(DUMPS[max(version, min(DUMPS))].read_text())
        for step in range(4, version - 1, -1):
            for statement in LOST[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


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


@pytest.mark.parametrize("version", sorted(OLDER_FORMATS))
def test_a_file_of_an_older_format_becomes_one_of_todays_with_all_that_is_in_it(
    tmp_path: Path, version: int
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    old_file(old, version)
    Database(new).close()
    server = InProcessServer(old)
    server.database.close()
    assert schema(old) == schema(new)
    server = InProcessServer(old)
    with server.database.read() as rows:
        (sweep,) = sweep_store.sweeps(rows, None, TRUE)
        runs = run_store.runs(rows, sweep=sweep.pk)
        assert [(run.pk, run.display_name, run.state.value) for run in runs] == [
            (1, "legs-1", "finished"),
            (2, "legs-2", "finished"),
        ]
        assert [file_store.find_file(rows, pk, "config.yaml") for pk in (1, 2)].count(None) == 0
        assert json.loads(run_store.run_document(rows, 2, "summary")) == {"loss": 0.4}
        assert sweep_store.find_agent(rows, pk=1) is not None
    command = server.take(server.agent(sweep))
    server.end(command["run_id"], 0)
    assert server.run(command["run_id"]).pk > 1000, "key 3 belonged to a run that was deleted"
    server.restart()
    assert server.states(sweep) == ["finished"] * 3


@pytest.mark.parametrize("version", sorted(OLDER_FORMATS))
def test_an_upgrade_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(tmp_path, version)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        before = list(connection.iterdump())
    with monkeypatch.context() as broken:
        last = SCHEMA_VERSION - 1
        broken.setitem(formats._UPGRADES, last, (*formats._UPGRADES[last], "no SQL"))
        with pytest.raises(SweepctlError, match="cannot open"):
            Database(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        assert list(connection.iterdump()) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
    Database(tmp_path).close()


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
