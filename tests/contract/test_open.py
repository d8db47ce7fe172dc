"""`sweepctl open`: a page that is there while somebody looks, whoever serves it."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin

import pytest

from sweepctl.jobs import cluster_sweep
from sweepctl.jobs.secret import SecretKey
from sweepctl.server import server_process
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl_pod.wandb.client import Connection, WandbClient
from tests.serving import ServerProcess, wait_for

CONFIG = '{"method": "grid", "parameters": {"a": {"values": [1, 2]}}}'


class Visit:
    """A running `sweepctl open`."""

    def __init__(self, folder: Path, *options: str, **environ: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sweepctl", "open", *options],
                env={**without_display(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def said(self) -> str:
        return self._err.read_text()

    def address(self) -> str:
        """Wait for the page's address, the only thing on stdout."""
        wait_for("an address", lambda: "\n" in self._out.read_text(), limit_s=90)
        return self._out.read_text().strip()

    def ends(self, signum: int | None = None) -> int:
        if signum is not None:
            wait_for("the visit", lambda: "press Ctrl-C" in self.said, limit_s=60)
            self.process.send_signal(signum)
        return self.process.wait(60)


def without_display() -> dict[str, str]:
    hidden = {
        *("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WANDB_BASE_URL", "WANDB_API_KEY"),
        "PYTHONUNBUFFERED",
    }
    return {name: value for name, value in os.environ.items() if name not in hidden}


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def start(*options: str, **environ: str) -> Visit:
        folder = tmp_path / f"visit-{len(visits)}"
        folder.mkdir()
        visits.append(Visit(folder, *options, **environ))
        return visits[-1]

    yield start
    for each in visits:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def data(tmp_path: Path, start_server: Callable[..., ServerProcess]) -> tuple[Path, str]:
    """Give a folder with two sweeps that no server serves, and the newest one's name."""
    folder = tmp_path / "sweeps of 2026"
    server = start_server(data=folder)
    client = WandbClient(server_process.connection(server.url))
    client.create_sweep("local", "legs", CONFIG)
    newest = client.create_sweep("local", "legs", CONFIG)
    server.stop()
    return folder, f"local/legs/{newest.id}"


def read(address: str) -> str:
    """Read a page as a browser does: log in by the link, go on to the page with the cookie."""
    visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with visitor.open(address, timeout=30) as landed:
        place = re.search(r'content="0; url=([^"]*)"', landed.read().decode())
    assert place is not None
    with visitor.open(urljoin(address, place[1]), timeout=30) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_pages_are_there_until_the_visit_ends(
    data: tuple[Path, str], visit: Callable[..., Visit], signum: int
) -> None:
    folder, newest = data
    first = visit("--data", str(folder))
    address = first.address()
    page, _, token = address.partition("?login=")
    assert page.endswith(f"/local/legs/sweeps/{newest.rpartition('/')[2]}")
    assert len(token) > 20
    assert "No agent has taken a run yet" in read(address)
    assert "logs in the first who opens it within 60 s" in first.said
    assert f"served from {folder}" in first.said
    with pytest.raises(HTTPError, match="401"):
        read(address)
    second = visit(newest, "--data", str(folder))
    assert second.address().startswith(f"{page}?login=")
    assert "No agent has taken a run yet" in read(second.address())
    assert second.ends() == 0, "it needs no server of its own"
    assert f"a server of {folder} runs already" in second.said
    assert first.ends(signum) == 0
    assert server_process.live_url(folder) is None
    assert not server_process.is_listening(address)


def test_a_visit_listens_where_it_is_told_and_answers_to_the_names_it_is_told(
    data: tuple[Path, str], visit: Callable[..., Visit]
) -> None:
    folder, newest = data
    port = server_process._free_port()
    options = ("--listen", f"127.0.0.1:{port}", "--allowed-host", "box.lan")
    address = visit(newest, "--data", str(folder), *options).address()
    assert address.startswith(f"http://127.0.0.1:{port}/")
    request = urllib.request.Request(address, headers={"Host": "box.lan"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert "logged in" in answer.read().decode()


def test_a_browser_is_opened_where_there_is_one(
    data: tuple[Path, str], visit: Callable[..., Visit], tmp_path: Path
) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >>"{opened}"\n')
    browser.chmod(0o755)
    folder, _ = data
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    visit("--data", str(folder), "--no-browser", BROWSER=str(browser), **home).address()
    open_one = visit("--data", str(folder), BROWSER=str(browser), **home)
    assert open_one.ends() == 0
    wait_for("the browser", lambda: opened.exists() and opened.read_text())
    (given,) = opened.read_text().splitlines()
    assert "login=" not in given, "everybody sees a command line"
    leading = Path(given.removeprefix("file://"))
    assert leading.stat().st_mode & 0o077 == 0
    assert f'url={open_one.address()}"' in leading.read_text()


def test_the_page_at_a_server_is_only_named(
    server: ServerProcess, visit: Callable[..., Visit]
) -> None:
    client = WandbClient(server_process.connection(server.url))
    sweep = client.create_sweep("local", "legs", CONFIG)
    named = visit(f"local/legs/{sweep.id}", "--server", server.url)
    assert named.ends() == 0
    assert named.address() == f"{server.url}/local/legs/sweeps/{sweep.id}"
    assert named.said == ""
    as_data = visit(f"local/legs/{sweep.id}", "--server", server.url, "-o", "json")
    assert as_data.ends() == 0
    assert json.loads(as_data.address()) == {
        "sweep": f"local/legs/{sweep.id}",
        "url": named.address(),
    }


def test_in_a_pod_no_link_is_printed(data: tuple[Path, str], visit: Callable[..., Visit]) -> None:
    folder, newest = data
    address = visit("--data", str(folder), KUBERNETES_SERVICE_HOST="10.96.0.1").address()
    assert address.endswith(f"/local/legs/sweeps/{newest.rpartition('/')[2]}")


def test_a_link_leads_through_a_port_forward_to_a_clusters_server(
    start_server: Callable[..., ServerProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port-forward itself is tried on a real cluster: here the address is another port."""
    keys = tmp_path / "keys"
    keys.write_text("k" * 40)
    server = start_server("--api-keys", str(keys))
    connection = Connection(server.url, "k" * 40, name="the server 'legs-server'")
    sweep = WandbClient(connection).create_sweep("local", "legs", CONFIG)
    key = SecretKey("wandb", "apiKey")
    inside = SimpleNamespace(
        api_url="http://legs-server.robots:8080", secret_key=key, namespace="robots"
    )

    @contextmanager
    def forwarded(*arguments: object) -> Iterator[WandbApi]:
        yield WandbApi(connection)

    monkeypatch.setattr(cluster_sweep, "get_submission", lambda *arguments: inside)
    monkeypatch.setattr(cluster_sweep, "open_submission_api", forwarded)
    name = SweepName("local", "legs", sweep.id)
    monkeypatch.setattr(cluster_sweep, "sweep_name", lambda *arguments: name)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    cluster: Any = None
    handle = cluster_sweep.ClusterSweep(cluster, "legs", "robots", print)
    for _ in range(2):
        with handle.page("127.0.0.1:0", ()) as page:
            assert page.address.startswith(f"{server.url}/local/legs/sweeps/{sweep.id}?login=")
            assert "No agent has taken a run yet" in read(page.address)
            assert any("port-forward" in note for note in page.notes)
            assert not any("password" in note for note in page.notes)
            assert page.await_end is not None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    with handle.page("127.0.0.1:0", ()) as page:
        assert page.address == f"{server.url}/local/legs/sweeps/{sweep.id}"
        assert any("password" in note for note in page.notes)


def test_what_cannot_be_opened_is_told(
    data: tuple[Path, str], visit: Callable[..., Visit], tmp_path: Path
) -> None:
    folder, _ = data
    beyond = visit("--data", str(folder), "--listen", "0.0.0.0:8080")
    assert beyond.ends() == 2
    assert "sweepctl server --data" in beyond.said
    empty = visit("--data", str(tmp_path / "nothing"))
    assert empty.ends() == 1
    assert "does not exist" in empty.said
    assert not (tmp_path / "nothing").exists()
    unknown = visit("local/legs/nothing0", "--data", str(folder))
    assert unknown.ends() == 1
    assert "nothing0" in unknown.said
    assert server_process.live_url(folder) is None
