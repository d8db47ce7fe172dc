"""The key of a data folder, with real servers and clients: found by verbs, given to others."""

import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sweepctl.manifest.pod_code import MOUNT_PATH
from sweepctl.manifest.pod_code import script as start_script
from sweepctl.server.access.data_key import data_key
from sweepctl.server.server_process import connection
from sweepctl_pod.wandb.client import Connection, WandbClient
from tests import needs
from tests.contract.agents import World
from tests.old_release import lay_out_old_code
from tests.serving import wait_for

TRAINER = """
import pathlib, sys, time, wandb
run, end, lines = wandb.init(), pathlib.Path(sys.argv[1]), 0
while not end.exists():
    run.log({"line": lines, "loss": 1.0})
    lines += 1
    time.sleep(0.1)
run.finish()
end.with_suffix(".lines").write_text(str(lines))
"""
HISTORY = (
    'query H($run: String!) { project(name: "agents", entityName: "local") {'
    " run(name: $run) { state history(samples: 100000) } } }"
)
SWEEPCTL = (sys.executable, "-m", "sweepctl")
EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_legs" / "sweep.yaml"
CONFIG = '{"method": "grid", "parameters": {"a": {"values": [1, 2]}}}'


class Server:
    """A running `sweepctl server` of a user with a home of its own."""

    def __init__(
        self, folder: Path, *options: str, data: Path | None = None, port: int | None = 0
    ) -> None:
        self.data, self._log = data or folder / "data of mine", folder / "log"
        hidden = ("WANDB_BASE_URL", "WANDB_API_KEY", "XDG_STATE_HOME", "SWEEPCTL_DATA")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environ = {**kept, "HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1,localhost"}
        command = [sys.executable, "-m", "sweepctl", "server", "--data", str(self.data)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", f"127.0.0.1:{port}", *options],
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
        wait_for("an address", lambda: "export WANDB_BASE_URL" in self.said)
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
    secret = list(mine.data.glob("sweepctl.sqlite*"))
    assert secret
    assert all(path.stat().st_mode & 0o077 == 0 for path in secret), "also in an open folder"
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
    assert f"there is a key named 'alice' in {mine.data} already" in said
    assert f"revoke alice --data {shlex.quote(str(mine.data))}" in said
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


def test_a_training_of_the_version_before_goes_on_over_the_change_and_loses_no_line(
    world: World, tmp_path: Path
) -> None:
    old = needs.got(lay_out_old_code, tmp_path / "before")
    script, end = tmp_path / "train.py", tmp_path / "end"
    script.write_text(TRAINER)
    sweep = world.sweep([sys.executable, str(script), str(end)])
    name = f"local/agents/{sweep.id}"
    agent = world.start_command(
        ["/bin/sh", "-c", start_script("start.sh").replace(MOUNT_PATH, str(old))],
        **{"SWEEPCTL_PYTHON": sys.executable, "SWEEPCTL_SWEEP": name},
    )

    def lines(client: WandbClient) -> list[int]:
        runs = list(client.runs("local", "agents", sweep.id))
        found = client.graphql(HISTORY, {"run": runs[0].id})["project"]["run"] if runs else None
        return [json.loads(line)["line"] for line in (found or {}).get("history") or []]

    wait_for("a training", lambda: len(lines(world.client)) > 10 or agent.process.poll())
    assert agent.process.poll() is None, agent.said
    data, port = world.server.data, urlsplit(world.server.url).port
    world.server.stop()

    (tmp_path / "home").mkdir()
    refused = Server(tmp_path, data=data, port=port)
    assert refused.process.wait(60) == 2
    assert "1 run is under way" in refused.said
    assert f"sweepctl server --data {data} --keyless" in refused.said
    verbs = (
        [*SWEEPCTL, "pause", name],
        [*SWEEPCTL, "local", str(EXAMPLE), "--preflight-gpu", "off"],
    )
    for verb in verbs:
        code, said = refused.run(*verb, "--data", str(data))
        assert code != 0
        assert "1 run is under way" in said
        assert "--keyless" in said
    assert data_key(data) is None, "the folder is as it was"

    server = Server(tmp_path, "--keyless", data=data, port=port)
    try:
        url = server.url()
        key = data_key(data)
        assert key is not None
        keyed = WandbClient(Connection(url, key, "local"))
        before = len(lines(keyed))
        wait_for("more lines", lambda: len(lines(keyed)) > before + 20 or agent.process.poll())
        assert status_of(url, None) == 200, "nobody is asked for a key meanwhile"
        end.touch()
        assert agent.wait() == 0, agent.said
        sent = int(end.with_suffix(".lines").read_text())
        assert lines(keyed) == list(range(sent))
        assert (
            keyed.graphql(HISTORY, {"run": world_run(keyed, sweep.id)})["project"]["run"]["state"]
            == "finished"
        )
    finally:
        server.process.terminate()
        server.process.wait(30)
    after = Server(tmp_path, data=data, port=port)
    try:
        assert status_of(after.url()) == 401
    finally:
        after.process.kill()
        after.process.wait()


def world_run(client: WandbClient, sweep: str) -> str:
    """Give the id of the sweep's only run."""
    (run,) = client.runs("local", "agents", sweep)
    return run.id
