"""Who gets in: the key of a data folder, where it is found, and clients that know no key."""

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweepctl.server.access.addresses import folder_at, forget_address, note_address
from sweepctl.server.access.data_key import KEY_FILE, data_key, make_key
from sweepctl.server.access.keyless import (
    QUIET_S,
    KeylessClients,
    is_from_before_keys,
    refuse_keyless_runs,
)
from sweepctl.server.disk import close_file, close_folders, make_folder
from sweepctl.server.server_process import (
    LOOPBACK_API_KEY,
    announce,
    connection,
    live_url,
    stock_clients,
    withdraw,
)
from sweepctl.server.store.database import Database
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import Place, server_of
from sweepctl_pod.errors import SweepctlError, UsageError
from tests.serving import ServerProcess

URL = "http://127.0.0.1:40123"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "my data"
    folder.mkdir()
    return folder


def test_a_key_is_made_once_and_is_for_its_owner_alone(data: Path) -> None:
    assert data_key(data) is None
    old = os.umask(0)
    try:
        key = make_key(data)
    finally:
        os.umask(old)
    assert len(key) == 40
    assert int(key, 16) > 0
    assert (data / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert make_key(data) == data_key(data) == key
    assert [path.name for path in data.iterdir()] == [KEY_FILE]


def test_a_key_that_others_may_read_is_closed_to_them(data: Path) -> None:
    key = make_key(data)
    (data / KEY_FILE).chmod(0o644)
    assert make_key(data) == key
    assert (data / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_the_data_file_of_an_earlier_version_is_closed_to_others(data: Path) -> None:
    for name in ("sweepctl.sqlite", "sweepctl.sqlite-wal", "other"):
        (data / name).touch()
        (data / name).chmod(0o644)
    close_file(data, "sweepctl.sqlite")
    modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    assert modes == {"sweepctl.sqlite": 0o600, "sweepctl.sqlite-wal": 0o600, "other": 0o644}


def test_the_folders_of_an_earlier_version_are_closed_to_others_and_that_is_told_once(
    data: Path, tmp_path: Path
) -> None:
    for name in ("files", "logs", "artifacts", "other"):
        (data / name).mkdir()
        (data / name).chmod(0o755)
    (data / "work").symlink_to(tmp_path)
    tmp_path.chmod(0o755)
    data.chmod(0o755)
    assert close_folders(data) == ["artifacts/", "files/", "logs/"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    closed = {"artifacts": 0o700, "files": 0o700, "logs": 0o700}
    assert modes == {**closed, "other": 0o755, "work": 0o755}, "what a link leads to is not ours"
    assert data.stat().st_mode & 0o777 == 0o755, "it may be a folder of more than this"
    assert close_folders(data) == []


def test_a_new_folder_is_its_owners_alone_and_one_that_is_there_stays_as_it_is(
    tmp_path: Path,
) -> None:
    old = os.umask(0)
    try:
        folder = make_folder(tmp_path / "new" / "data", "files")
        assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (
            0o700,
            0o700,
        )
        folder.chmod(0o750)
        assert make_folder(tmp_path / "new" / "data", "files").stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(old)


@pytest.mark.parametrize("text", ["", "abc\n", "g" * 40, "a" * 41, "\u00fc" * 40])
def test_a_file_that_holds_no_key_is_told_as_that_without_its_text(data: Path, text: str) -> None:
    (data / KEY_FILE).write_text(text)
    assert data_key(data) is None
    with pytest.raises(SweepctlError, match="holds no key") as told:
        make_key(data)
    assert not text.strip() or text.strip() not in str(told.value.message)


@pytest.mark.parametrize(
    "url", [URL, "http://localhost:40123", "http://[::1]:40123/", "http://127.0.0.1:40123/local/p"]
)
def test_the_key_of_an_address_is_that_of_the_folder_served_there(data: Path, url: str) -> None:
    key = make_key(data)
    served = Database(data)
    announce(data, URL)
    assert connection(url, {}).api_key == key
    assert connection(url, {"WANDB_API_KEY": "w" * 40}).api_key == key, "not the key of W&B"
    name = SweepName(None, None, None)
    for environ in ({}, {"WANDB_API_KEY": "w" * 40}):
        found = server_of(Place(server=url), name, environ)
        assert found is not None
        assert found.api_key == key
    named = server_of(Place(), name, {"WANDB_BASE_URL": url})
    assert named is not None
    assert named.api_key == key
    served.close()
    assert connection(url, {}).api_key == LOOPBACK_API_KEY, "nobody serves the folder"
    withdraw(data)
    assert folder_at(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:40124",
        "http://192.168.1.7:40123",
        "http://example.com:40123",
        "https://127.0.0.1:40123",
        "http://127.0.0.1.nip.io:40123",
        "http://localhost:99999",
    ],
)
def test_the_key_goes_to_no_other_address(data: Path, url: str) -> None:
    make_key(data)
    announce(data, URL)
    assert folder_at(url) is None


def test_the_key_goes_to_nobody_when_the_server_is_gone(data: Path, tmp_path: Path) -> None:
    make_key(data)
    child = os.fork()
    if child == 0:
        note_address(URL, data)
        os._exit(0)
    os.waitpid(child, 0)
    assert folder_at(URL) is None
    another = "http://127.0.0.1:40124"
    note_address(another, data)
    notes = list((tmp_path / "home").rglob("*.json"))
    assert [note.name for note in notes] == ["40124.json"], "what a killed server left is removed"
    note_address(URL, data)
    assert folder_at(URL) == data
    forget_address(URL)
    assert folder_at(URL) is None


def test_a_home_that_cannot_be_written_costs_the_way_by_address_alone(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file")
    make_key(data)
    announce(data, URL)
    assert folder_at(URL) is None
    assert connection(URL, {}, data=data).api_key == data_key(data)


def test_what_stock_clients_need_is_said_without_the_key(data: Path) -> None:
    assert stock_clients(data, URL, {}) == []
    key = make_key(data)
    (line,) = stock_clients(data, URL, {})
    assert line == f"export WANDB_BASE_URL={URL} WANDB_API_KEY=$(cat '{data}/key')"
    assert key not in line
    assert stock_clients(data, URL, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == []


class Old:
    """Clients of an earlier version, with a clock and runs that the test moves."""

    def __init__(self, data: Path) -> None:
        self.seconds = 1000.0
        self.is_live = True
        self.log: list[str] = []
        self.clients = KeylessClients(
            data, lambda: self.is_live, lambda: self.seconds, self.log.append
        )

    def after(self, seconds: float) -> bool:
        self.seconds += seconds
        return self.clients.tick()


def test_clients_without_a_key_are_let_in_until_their_runs_have_ended_and_they_are_silent(
    data: Path,
) -> None:
    old = Old(data)
    make_key(data)
    assert is_from_before_keys(data), "also after the next start"
    assert not old.after(10 * QUIET_S), "a run is under way"
    assert old.clients.lets_in(True)
    old.is_live = False
    assert not old.after(QUIET_S - 1), "its client still writes"
    assert old.clients.lets_in(False)
    assert old.after(1), "who only reads does not count"
    assert not old.clients.lets_in(False)
    assert not old.clients.lets_in(True)
    old.is_live = True
    assert old.after(1), "it does not begin again"
    (line,) = old.log
    assert "from now on" in line
    assert not is_from_before_keys(data)


def test_who_listens_where_a_server_has_died_gets_no_key(
    data: Path, start_server: Callable[..., ServerProcess]
) -> None:
    another = start_server()
    make_key(data)
    announce(data, another.url)
    assert live_url(data) is None
    assert connection(another.url, {}).api_key == LOOPBACK_API_KEY


NOT_ITS_SERVER: dict[str, dict[str, object]] = {
    "another server has the folder and does not listen yet": {"pid": 1},
    "the server is on another machine that shares the folder": {"boot": "another"},
    "nobody says who wrote it": {"pid": None},
}


@pytest.mark.parametrize("told", NOT_ITS_SERVER.values(), ids=NOT_ITS_SERVER)
def test_the_key_goes_nowhere_that_the_folders_own_server_has_not_told(
    data: Path,
    tmp_path: Path,
    start_server: Callable[..., ServerProcess],
    told: dict[str, object],
) -> None:
    stranger = start_server()
    key = make_key(data)
    served = Database(data)
    announce(data, stranger.url)
    notes = [data / "server.json", *(tmp_path / "home").rglob("servers/**/*.json")]
    assert len(notes) == 2
    assert live_url(data) == stranger.url
    assert connection(stranger.url, {}).api_key == key
    for note in notes:
        note.write_text(json.dumps({**json.loads(note.read_text()), **told}))
    assert live_url(data) is None
    assert connection(stranger.url, {}).api_key == LOOPBACK_API_KEY
    served.close()


def test_machines_with_one_home_keep_their_own_notes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_address(URL, data)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "node", lambda: "another")
        assert folder_at(URL) is None
        note_address(URL, data / "another")
    assert folder_at(URL) == data


def test_who_looks_whether_a_folder_is_served_keeps_no_server_from_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database(data).close()
    with (data / "sweepctl.lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        Database(data).close()


@pytest.mark.parametrize(
    ("told", "listen"),
    [
        ('{"url": "http://127.0.0.1:40123", "pid": 1}', "--listen 127.0.0.1:40123 "),
        (None, ""),
        ("[]", ""),
    ],
)
def test_the_refusal_tells_the_command_that_serves_the_runs_under_way(
    data: Path, told: str | None, listen: str
) -> None:
    if told is not None:
        (data / "server.json").write_text(told)
    with pytest.raises(UsageError, match="2 runs are under way") as refused:
        refuse_keyless_runs(data, 2)
    assert f"sweepctl server --data '{data}' {listen}--keyless" in str(refused.value.hint)
