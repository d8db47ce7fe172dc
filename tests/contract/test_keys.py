"""The key of a data folder, with real servers and clients: found by verbs, given to others."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweepctl.server.access.data_key import data_key
from sweepctl.server.server_process import connection
from sweepctl_pod.wandb.client import WandbClient
from tests.serving import wait_for

CONFIG = '{"method": "grid", "parameters": {"a": {"values": [1, 2]}}}'


class Server:
    """A running `sweepctl server` of a user with a home of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data, self._log = folder / "data of mine", folder / "log"
        hidden = ("WANDB_BASE_URL", "WANDB_API_KEY", "XDG_STATE_HOME", "SWEEPCTL_DATA")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environ = {**kept, "HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1,localhost"}
        command = [sys.executable, "-m", "sweepctl", "server", "--data", str(self.data)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0", *options],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def url(self) -> str:
        """Wait until it listens; give its address."""
        wait_for("an address", lambda: "listening on" in self.said and self.said.endswith("\n"))
        return self.said.partition("listening on ")[2].split()[0]

    def run(self, *command: str, **environ: str) -> tuple[int, str]:
        done = subprocess.run(
            command, env={**self.environ, **environ}, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "home").mkdir()
    server = Server(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


def status_of(url: str, authorization: str | None = None) -> int:
    headers = {"Authorization": authorization} if authorization else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_server_asks_for_its_folders_key_which_verbs_find_and_stock_clients_are_told(
    mine: Server,
) -> None:
    url = mine.url()
    key = data_key(mine.data)
    assert key is not None
    assert key not in mine.said
    assert mine.data.stat().st_mode & 0o077 == 0, "nobody else looks into the folder"
    assert status_of(url) == 401
    assert status_of(f"{url}/files/local/p/r/f", "Bearer local_server_on_loopback") == 401
    client = WandbClient(connection(url, {}, data=mine.data))
    sweep = client.create_sweep("local", "legs", CONFIG)
    for address in (url, url.replace("127.0.0.1", "localhost")):
        by_option = mine.run(sys.executable, "-m", "sweepctl", "status", "--server", address)
        assert by_option[0] == 0, by_option
        assert sweep.id in by_option[1]
    of_wandb = mine.run(
        *(sys.executable, "-m", "sweepctl", "pause", f"local/legs/{sweep.id}"),
        WANDB_BASE_URL=url,
        WANDB_API_KEY="w" * 40,
    )
    assert of_wandb[0] == 0, of_wandb
    (export,) = [line for line in mine.said.splitlines() if line.startswith("export ")]
    stock = "import wandb; print(wandb.Api().sweep('local/legs/" + sweep.id + "').state)"
    code, said = mine.run("sh", "-c", f'{export}; exec "$0" -c "$1"', sys.executable, stock)
    assert code == 0, said
    assert "PAUSED" in said.splitlines()[-1]


def test_another_home_finds_no_key(mine: Server, tmp_path: Path) -> None:
    url = mine.url()
    status = (sys.executable, "-m", "sweepctl", "status", "--server", url)
    code, said = mine.run(*status, HOME=str(tmp_path), SWEEPCTL_PATIENCE_S="0")
    assert code == 1
    assert "refused the API key (401)" in said
    assert str(data_key(mine.data)) not in said


def test_keys_with_names_are_taken_and_revoked_by_a_running_server(mine: Server) -> None:
    url = mine.url()
    keys = (sys.executable, "-m", "sweepctl", "server", "key")
    here = ("--data", str(mine.data))
    added = subprocess.run(
        [*keys, "add", "alice", *here], env=mine.environ, capture_output=True, text=True
    )
    assert added.returncode == 0, added.stderr
    key = added.stdout.strip()
    assert len(key) == 40
    assert key not in added.stderr
    assert status_of(url, f"Bearer {key}") == 200
    code, said = mine.run(*keys, "add", "alice", *here)
    assert code == 1
    assert "there is a key named 'alice' already" in said
    assert mine.run(*keys, "add", "bob", *here)[0] == 0
    names = [each["name"] for each in json.loads(mine.run(*keys, "list", *here, "-o", "json")[1])]
    assert names == ["alice", "bob"]
    assert mine.run(*keys, "revoke", "alice", *here) == (0, "key/alice revoked\n")
    assert status_of(url, f"Bearer {key}") == 401
    code, said = mine.run(*keys, "revoke", "alice", *here)
    assert code == 1
    assert "there are: bob" in said
    kept = (mine.data / "keys.json").read_text() + mine.said
    assert key not in kept
    code, said = mine.run(*keys, "add", "a b", *here)
    assert code == 2
    nowhere = mine.data / "none"
    assert mine.run(*keys, "revoke", "alice", "--data", str(nowhere))[0] == 1
    assert not nowhere.exists()
