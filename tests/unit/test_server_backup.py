"""Backups: whole, also beside a server that works, and brought back by unpacking them."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server import backup
from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.backup import STDOUT, write_backup
from sweepctl.server.disk import close_file
from sweepctl.server.runs.files import RunFiles, Upload
from sweepctl.server.store import blob_store, file_store, run_store
from sweepctl.server.store.blob_store import Entry
from sweepctl.server.store.copies import NoSpaceError, copy_database
from sweepctl.server.store.database import DATABASE, Database, read_only
from sweepctl.server.stored_sweeps import StoredSweeps
from sweepctl_pod.errors import SweepctlError, UsageError
from tests import data_folders
from tests.serving import ServerProcess
from tests.unit.server_in_process import InProcessServer
from tests.unit.test_stored_sweeps import everything


class Folder:
    """A data folder with one run, into which files and contents of artifacts come."""

    def __init__(self, folder: Path) -> None:
        self.server = InProcessServer(folder)
        self.path = folder
        self._files = RunFiles(self.server.database, self.server.clock)
        self._blobs = Blobs(self.server.database, self._files, self.server.clock)
        self.sweep = self.server.sweep()
        self.agent = self.server.agent(self.sweep)
        self.run = self.server.run(self.server.take(self.agent)["run_id"])

    def keep(self, name: str, text: str) -> None:
        path = self._files.incoming()
        path.write_text(text)
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        self._files.keep(self.run, name, Upload(path, len(text), digest))

    def log(self, text: str) -> str:
        blob = self._blobs.write(text.encode())
        with self.server.database.write() as tx:
            blob_store.put_entry(tx, Entry(1, text, "", blob, None, len(text)))
        return blob


def unpacked(archive: Path, folder: Path) -> Path:
    """Bring a backup back as the documentation says."""
    folder.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Give the text of every file that the rows of a folder name."""
    with read_only(folder) as rows:
        named = {
            file.name: f"files/{file.stored}"
            for run in run_store.runs(rows)
            for file in file_store.files(rows, run.pk, [], None, 0, -1)
        }
        named |= {blob: f"artifacts/{blob[:2]}/{blob}" for blob in blob_store.all_blobs(rows)}
    return {name: (folder / place).read_text() for name, place in named.items()}


@pytest.mark.parametrize(
    "name", ["backup.tar", pytest.param("backup.tar.gz", marks=pytest.mark.slow)]
)
def test_a_backup_beside_a_server_is_brought_back_with_the_same_answers(
    server: ServerProcess, tmp_path: Path, name: str
) -> None:
    data_folders.fill(server)
    told = data_folders.answers(server)
    made = write_backup(server.data, tmp_path / name)
    assert made.size_bytes == (tmp_path / name).stat().st_size
    assert (made.files, made.missing) == (4, ())
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    restored = unpacked(tmp_path / name, tmp_path / "restored")
    assert contents(restored) == contents(server.data)
    again = ServerProcess(restored)
    try:
        assert data_folders.answers(again) == told
    finally:
        again.stop()
    assert sorted(path.name for path in tmp_path.iterdir() if "tar" in path.name) == [name]


def test_a_backup_holds_one_moment_while_files_come_and_go(tmp_path: Path) -> None:
    data = Folder(tmp_path / "data")
    ending = threading.Event()

    def work() -> None:
        number = 0
        while not ending.is_set():
            number += 1
            data.keep("model.pt", f"model {number}")
            data.log(f"content {number}")
            line = {"wandb-history.jsonl": {"offset": number - 1, "content": ["{}"]}}
            data.server.stream(data.run.id, files=line)

    working = threading.Thread(target=work)
    working.start()
    try:
        for number in range(10):
            made = write_backup(data.path, tmp_path / f"{number}.tar")
            assert made.missing == ()
    finally:
        ending.set()
        working.join()
    for number in range(10):
        restored = unpacked(tmp_path / f"{number}.tar", tmp_path / f"{number}")
        found = contents(restored)
        kept = int(found.pop("model.pt", "model 0").split()[1])
        logged = sorted(int(text.split()[1]) for text in found.values())
        assert logged in ([*range(1, kept)], [*range(1, kept + 1)])
    data.server.database.close()


def test_what_is_replaced_while_it_is_read_is_in_the_backup_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Folder(tmp_path / "data")
    data.keep("model.pt", "old")
    add, texts = backup._add, iter(["newer", "newest"])

    def replacing(tar: tarfile.TarFile, *where: object) -> bool:
        text = next(texts, None)
        if text is not None:
            data.keep("model.pt", text)
        return add(tar, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_add", replacing)
    assert write_backup(data.path, tmp_path / "b.tar").missing == ()
    assert contents(unpacked(tmp_path / "b.tar", tmp_path / "r")) == {"model.pt": "newest"}
    data.server.database.close()


def test_what_is_lost_already_is_told_and_keeps_nothing_else_from_the_backup(
    tmp_path: Path,
) -> None:
    data = Folder(tmp_path / "data")
    data.keep("a", "a")
    data.keep("b", "b")
    shutil.rmtree(next(path for path in (data.path / "files").iterdir() if path.name[0] != "."))
    data.keep("c", "c")
    made = write_backup(data.path, tmp_path / "b.tar")
    assert (made.files, len(made.missing)) == (1, 2)
    data.server.database.close()


@pytest.mark.parametrize("version", data_folders.FORMATS)
def test_a_folder_of_any_format_is_backed_up_in_its_own_format(
    tmp_path: Path, version: int
) -> None:
    data_folders.lay(tmp_path / "data", version)
    write_backup(tmp_path / "data", tmp_path / "b.tar")
    restored = unpacked(tmp_path / "b.tar", tmp_path / "r")
    assert everything(StoredSweeps(restored)) == everything(StoredSweeps(tmp_path / "data"))
    assert f"format {version}" == f"format {_format(restored)}"


def test_a_database_is_copied_again_when_a_server_begins_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Folder(tmp_path / "data")
    data.server.database.close()
    begun: list[Folder] = []

    def copied(source: sqlite3.Connection, target: Path) -> int:
        size = copy_database(source, target)
        if not begun:
            begun.append(Folder(tmp_path / "data"))
        return size

    monkeypatch.setattr(backup, "copy_database", copied)
    write_backup(data.path, tmp_path / "b.tar")
    restored = unpacked(tmp_path / "b.tar", tmp_path / "r")
    assert everything(StoredSweeps(restored)) == everything(StoredSweeps(data.path))
    begun[0].server.database.close()


def test_nothing_with_the_folders_secret_is_ever_open_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: dict[str, int] = {}

    def look(*given: object) -> None:
        for path in tmp_path.rglob("*"):
            if "sqlite" in path.name or ".tar" in path.name:
                modes[path.name] = modes.get(path.name, 0) | path.stat().st_mode & 0o077

    class Looking(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            look()
            return super().execute(sql, *given)

    def connect(place: str | Path, **options: Any) -> sqlite3.Connection:
        return sqlite3_connect(place, **{"factory": Looking, **options})

    sqlite3_connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    data_folders.lay(tmp_path / "old", data_folders.FORMATS[0])
    close_file(tmp_path / "old", DATABASE)
    monkeypatch.setattr(sqlite3, "connect", connect)
    monkeypatch.setattr(tarfile.TarFile, "add", lambda *_, **__: look())
    old = os.umask(0)
    try:
        (tmp_path / "data").mkdir()
        Database(tmp_path / "data").close()
        write_backup(tmp_path / "data", tmp_path / "b.tar")
        Database(tmp_path / "old").close()
        look()
    finally:
        os.umask(old)
    assert {"sweepctl.sqlite", "sweepctl.sqlite-wal", "b.tar"} <= set(modes)
    assert any(".before-" in name for name in modes)
    assert {name for name, mode in modes.items() if mode} == set()


def _format(folder: Path) -> int:
    with read_only(folder) as rows:
        return int(rows.execute("PRAGMA user_version").fetchone()[0])


def test_a_backup_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folders.lay(tmp_path / "data", data_folders.FORMATS[-1])
    (tmp_path / "there.tar").write_text("precious")
    (tmp_path / "empty").mkdir()
    for folder, target, kind, words in (
        ("data", "there.tar", UsageError, "there.tar exists already"),
        ("data", "no/b.tar", UsageError, "no folder"),
        ("data", "b.zip", UsageError, "b.zip: a backup is a tar"),
        ("data", "b", UsageError, r"\.tar, \.tar\.gz, \.tgz"),
        ("data", "b.tar.bz2", UsageError, "b.tar.bz2: a backup is a tar"),
        ("empty", "b.tar", SweepctlError, "no sweeps here"),
        ("nowhere", "b.tar", SweepctlError, "does not exist"),
    ):
        with pytest.raises(kind, match=words):
            write_backup(tmp_path / folder, tmp_path / target)
    for target, whole in (("b.zip", "b.tar"), ("b", "b.tar"), ("b.tar.bz2", "b.tar")):
        with pytest.raises(UsageError) as told:
            write_backup(tmp_path / "data", tmp_path / target)
        assert told.value.hint == f"name it {tmp_path / whole}"
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(NoSpaceError, match=r"the backup needs 0\.\d MiB free in"):
            write_backup(tmp_path / "data", tmp_path / "b.tar")
    monkeypatch.setattr(backup, "_add", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_backup(tmp_path / "data", tmp_path / "b.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "empty", "there.tar"]
    assert (tmp_path / "there.tar").read_text() == "precious"


def test_a_backup_goes_to_stdout_as_well(tmp_path: Path) -> None:
    data_folders.lay(tmp_path / "data", data_folders.FORMATS[-1])
    command = [sys.executable, "-m", "sweepctl", "server", "backup", str(STDOUT)]
    done = subprocess.run([*command, "--data", tmp_path / "data"], capture_output=True, check=True)
    assert b"backup/- written: " in done.stderr
    (tmp_path / "b.tar").write_bytes(done.stdout)
    assert (unpacked(tmp_path / "b.tar", tmp_path / "r") / DATABASE).is_file()
