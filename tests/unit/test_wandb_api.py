"""What the command line says about a server that is away: by the name that people know it by."""

import base64
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sweepctl.jobs import submission
from sweepctl.server import server_process
from sweepctl.sweeps.api import WandbApi
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import Connection

NAME = "the server 'legs-server' in namespace 'robots'"


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def answering(status: int, body: bytes) -> Callable[[], tuple[HTTPServer, str]]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    def start() -> tuple[HTTPServer, str]:
        server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server, f"http://127.0.0.1:{server.server_address[1]}"

    return start


def test_the_ways_to_a_server_at_a_port_of_ours_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_process.connected(tmp_path, makes=True) as connection:
        assert connection.name == f"the embedded server of {tmp_path}"

    @contextmanager
    def forwarded(cluster: object, address: object) -> Iterator[str]:
        yield "http://127.0.0.1:5"

    monkeypatch.setattr(submission, "forwarded", forwarded)
    cluster: Any = None
    for url, name in (
        ("http://legs-server:8080", NAME),
        ("http://legs-server.robots.svc:8080", NAME),
        ("http://wandb.example", "http://wandb.example"),
    ):
        with submission.open_cluster_api(cluster, url, "robots", None, print, {}) as api:
            assert api.where == name


TROUBLES: dict[str, tuple[int | None, bytes, str]] = {
    "nobody listens": (None, b"", "cannot reach {}: "),
    "a refused key": (401, b"", "{} refused the API key (401)"),
    "no JSON": (200, b"<html>", "the answer of {} is no JSON"),
    "an unknown sweep": (404, b"", "no sweep local/legs/s at {}"),
    "trouble": (500, b"", "{} answered 500"),
}


@pytest.mark.parametrize("name", [None, NAME], ids=["by address", "by name"])
@pytest.mark.parametrize(("status", "body", "words"), TROUBLES.values(), ids=TROUBLES)
def test_a_server_at_a_port_that_we_chose_is_told_by_its_name(
    status: int | None, body: bytes, words: str, name: str | None
) -> None:
    server, url = (None, free_url()) if status is None else answering(status, body)()
    said: list[str] = []
    seconds = iter(range(0, 10_000, 2))
    api = WandbApi(
        Connection(url, "k" * 40, name=name),
        patience_s=5,
        on_wait=said.append,
        sleep=lambda _: None,
        clock=lambda: float(next(seconds)),
    )
    try:
        with pytest.raises(SweepctlError) as caught:
            api.sweep("local", "legs", "s")
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
    where = name or url
    assert words.format(where) in caught.value.message
    told = " ".join([caught.value.message, caught.value.hint or "", *said])
    assert ("127.0.0.1" in told) == (name is None)
    if name:
        assert "WANDB_BASE_URL" not in told
    for line in said:
        assert line.count(where) == 1


def test_a_server_that_has_only_begun_is_asked_again_by_its_key() -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(base64.b64decode(self.headers["Authorization"].split()[1]).decode())
            self.send_response(200 if asked[-1] == f"api:{'b' * 40}" else 401)
            self.end_headers()
            self.wfile.write(b'{"data": {"viewer": {"entity": "local"}}}')

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        for letter, entity in (("b", "local"), ("c", None)):
            asked.clear()
            api = WandbApi(Connection(url, "a" * 40), renew=partial(Connection, url, letter * 40))
            if entity:
                assert api.viewer() == entity
            else:
                with pytest.raises(SweepctlError, match="refused the API key"):
                    api.viewer()
            assert asked == [f"api:{'a' * 40}", f"api:{letter * 40}"]
    finally:
        server.shutdown()
        server.server_close()
