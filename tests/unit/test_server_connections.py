"""Connections: how many, how long each may do nothing; the end of the server in any case."""

import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sweepctl.server.app import _listener
from sweepctl.server.web.connections import bounded_protocol, raise_file_limit
from tests.serving import ServerProcess, wait_for

BIG = b"x" * (32 << 20)


async def application(scope: Any, receive: Any, send: Any) -> None:
    body = BIG if scope["path"] == "/big" else b"ok"
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def listening(limit: int, head_s: float, stall_s: float) -> Iterator[tuple[int, uvicorn.Server]]:
    """Serve on a free port with these limits."""
    config = uvicorn.Config(
        application,
        http=bounded_protocol(limit, head_s, stall_s),
        lifespan="off",
        log_config=None,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            wait_for("the server", lambda: server.started)
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer(connection: socket.socket, head: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
    """Send, and read an answer; b"" where the other side has ended the connection."""
    got = b""
    try:
        connection.sendall(head)
        while not got.endswith(b"ok"):
            block = connection.recv(65536)
            if not block:
                return b""
            got += block
    except ConnectionError:
        return b""
    return got


BEGINNINGS = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost:",
    "a head that never ends": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100,
}


@pytest.mark.parametrize("sent", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("is_second", [False, True], ids=["first", "after a request"])
def test_a_head_that_does_not_come_ends_the_connection(sent: bytes, is_second: bool) -> None:
    if is_second and not sent:
        return  # an idle one: uvicorn's own timeout
    with listening(10, 0.3, 60.0) as (port, _), connected(port) as connection:
        if is_second:
            assert b"ok" in answer(connection)
        assert answer(connection, sent) == b""


def test_a_connection_that_is_used_again_outlives_the_time_of_a_head() -> None:
    with listening(10, 5.0, 60.0) as (port, _), connected(port) as connection:
        for _ in range(20):
            assert b"200 OK" in answer(connection)


def test_newcomers_take_the_place_of_those_that_wait_longest() -> None:
    with listening(5, 600.0, 60.0) as (port, server), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(port)) for _ in range(5)]
        wait_for("all five", lambda: len(server.server_state.connections) == 5)
        assert b"ok" in answer(idle[0]), "it was used last: it waits the shortest"
        for _ in range(3):
            assert b"ok" in answer(stack.enter_context(connected(port)))
        assert b"ok" in answer(idle[0])
        assert [answer(connection) for connection in idle[1:4]] == [b""] * 3


def test_an_answer_that_nobody_reads_ends_the_connection() -> None:
    with listening(10, 60.0, 0.3) as (port, server), connected(port) as deaf:
        deaf.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        with connected(port) as reader:
            assert b"ok" in answer(reader), "others are served meanwhile"
            wait_for("its end", lambda: len(server.server_state.connections) == 1)
            reader.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            got = 0
            while got < len(BIG):
                got += len(reader.recv(1 << 20))


def test_small_answers_are_sent_at_once() -> None:
    found: list[int] = []

    class Noting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            found.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def serve(listener: socket.socket) -> None:
        server = await asyncio.get_running_loop().create_server(Noting, sock=listener)
        async with server:
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            await reader.read()
            writer.close()

    for host in ("127.0.0.1", "localhost"):
        with _listener(host, 0) as listener:
            asyncio.run(serve(listener))
    assert found == [1, 1]


FILE_LIMITS = {
    "low and fixed": (300, 300, 300, 44),
    "low": (256, 2000, 2000, 1744),
    "high": (20_000, 20_000, 20_000, 10_000),
    "very low": (64, 64, 64, 16),
}


@pytest.mark.parametrize(("soft", "hard", "then", "count"), FILE_LIMITS.values(), ids=FILE_LIMITS)
def test_the_file_limit_is_raised_and_decides_how_many_connections_there_are(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, then: int, count: int
) -> None:
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: limits.__setitem__(slice(2), new))
    assert raise_file_limit() == count
    assert limits[0] == then


def test_a_thousand_idle_connections_stop_nobody(tmp_path: Path) -> None:
    command = ("bash", "-c", 'ulimit -Hn 1024; ulimit -Sn 256; exec "$0" "$@"')
    server = ServerProcess(tmp_path / "data", wrapper=command)
    try:
        port = int(server.url.rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            for _ in range(1200):
                stack.enter_context(connected(port))
            assert server.request("GET", "/healthz")[0] == 200
            assert server.stop() == 0
    finally:
        server.kill()


STUCK = """
import sys, threading
from pathlib import Path
from sweepctl.server import app, bounds
app.END_LIMIT_S = 0.5
held = threading.Event()
def stuck(self):
    print("stuck", flush=True)
    held.wait()
app.Pages.sweeps = stuck
app.serve(
    Path(sys.argv[1]), "127.0.0.1", 0, key_rule=app.KeyRule.NONE,
    on_listening=lambda url: print(url, flush=True),
)
"""


def test_sigterm_ends_a_server_whose_request_never_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(STUCK), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        try:
            assert p.stdout is not None
            assert p.stderr is not None
            port = int(p.stdout.readline().rpartition(":")[2])
            with connected(port) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert p.stdout.readline() == "stuck\n"
                p.terminate()
                assert p.wait(60) == 0
            assert "with requests under way" in p.stderr.read()
        finally:
            p.kill()
