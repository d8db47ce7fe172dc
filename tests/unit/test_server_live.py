"""Pages that follow what they show: who hears of what is stored, and the streams of events."""

import gzip
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message

from sweepctl.server.store import lines
from sweepctl.server.store.changes import Key
from sweepctl.server.web.live import Streams
from tests.unit.server_in_process import InProcessServer, served


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def summary(value: float) -> dict[str, object]:
    return {lines.SUMMARY: {"offset": 0, "content": [json.dumps({"reward": value})]}}


def test_who_waits_hears_of_its_own_sweep_and_run_alone(server: InProcessServer) -> None:
    one, other = server.sweep(), server.sweep()
    agent = server.agent(one)
    first = server.take(agent)["run_id"]
    changes, heard = server.database.changes, list[Key]()
    keys: list[Key] = [("sweep", one.pk), ("sweep", other.pk), ("run", server.run(first).pk)]

    def heard_of(act: Callable[[], object]) -> set[str]:
        heard.clear()
        act()
        names = dict(zip(keys, ("sweep", "other sweep", "run"), strict=True))
        return {names[key] for key in heard}

    leave = [changes.await_change(*key, partial(heard.append, key)) for key in keys]
    log = {lines.CONSOLE: {"offset": 0, "content": ["it says something"]}}
    step = {lines.HISTORY: {"offset": 0, "content": ['{"_step": 0, "reward": 1}']}}
    told = {
        "a metric": heard_of(lambda: server.stream(first, files=summary(1.0))),
        "a line of its log": heard_of(lambda: server.stream(first, files=log)),
        "a step": heard_of(lambda: server.stream(first, files=step)),
        "that its agent lives": heard_of(lambda: server.beat(agent, first)),
        "that it was seen": heard_of(lambda: server.wait(30, beating=(agent,))),
        "another agent": heard_of(lambda: server.agent(other)),
        "a state": heard_of(lambda: server.set_state(other, "PAUSED")),
        "its end": heard_of(lambda: server.end(first, 0)),
    }
    assert told == {
        "a metric": {"sweep", "run"},
        "a line of its log": {"run"},
        "a step": {"run"},
        "that its agent lives": set(),
        "that it was seen": set(),
        "another agent": {"other sweep"},
        "a state": {"other sweep"},
        "its end": {"sweep", "run"},
    }
    before = changes.last("sweep", one.pk)
    for each in leave:
        each()
    assert heard_of(lambda: server.delete(first)) == set(), "they have left"
    assert changes.last("sweep", one.pk) > before


class Reader:
    """Reads one stream, as a browser does."""

    def __init__(self, streams: Streams, sweep: int, since: str = "") -> None:
        query = f"since={since}".encode()
        scope = {"type": "http", "method": "GET", "headers": [], "query_string": query}
        self.response = streams.response(Request(scope), "sweep", sweep)
        self.got: list[str] = []
        self.is_over = False
        self._left = anyio.Event()

    async def read(self) -> None:
        await self.response({"type": "http"}, self._receive, self._send)
        self.is_over = True

    def leave(self) -> None:
        self._left.set()

    @property
    def events(self) -> list[str]:
        return re.findall("(?m)^data: (.+)$", "".join(self.got))

    async def await_events(self, count: int) -> None:
        with anyio.fail_after(20):
            while len(self.events) < count:
                await anyio.sleep(0.01)

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.got.append(message.get("body", b"").decode())


def test_a_stream_tells_each_change_once_and_misses_none(server: InProcessServer) -> None:
    sweep = server.sweep()
    streams, shown = Streams(server.database.changes), server.database.changes.shown
    page = shown("sweep", sweep.pk)

    async def follow() -> None:
        up_to_date, late = Reader(streams, sweep.pk, page), Reader(streams, sweep.pk, "older.3")
        async with anyio.create_task_group() as readers:
            readers.start_soon(up_to_date.read)
            readers.start_soon(late.read)
            await late.await_events(1)
            assert up_to_date.events == []
            server.agent(sweep)
            server.agent(sweep)
            await up_to_date.await_events(1)
            await late.await_events(2)
            assert up_to_date.events == late.events[1:] == [shown("sweep", sweep.pk)]
            up_to_date.leave()
            streams.close()
        assert late.is_over
        assert up_to_date.is_over
        over = Reader(streams, sweep.pk).response
        assert (over.status_code, b"the server ends" in bytes(over.body)) == (503, True)

    anyio.run(follow)


def test_there_are_so_many_streams_and_no_more(server: InProcessServer) -> None:
    sweep, streams = server.sweep(), Streams(server.database.changes, 2)

    async def follow() -> None:
        readers = [Reader(streams, sweep.pk) for _ in range(2)]
        async with anyio.create_task_group() as reading:
            for reader in readers:
                reading.start_soon(reader.read)
                await reader.await_events(1)
            refused = Reader(streams, sweep.pk).response
            assert refused.status_code == 503
            assert b"2 pages are followed" in refused.body
            readers[0].leave()
            with anyio.fail_after(20):
                while not readers[0].is_over:
                    await anyio.sleep(0.01)
            assert Reader(streams, sweep.pk).response.status_code == 200
            streams.close()

    anyio.run(follow)


@pytest.mark.parametrize(
    "path", ["/local/p/sweeps/nope/events", "/local/p/runs/nope/events", "/local/q/x/y/events"]
)
def test_what_is_not_there_has_no_stream(server: InProcessServer, path: str) -> None:
    server.sweep()
    assert served(server).get(path).status_code == 404
    keyed = served(server, keys=("a" * 40,))
    assert keyed.get(path).status_code == 401


def test_the_script_is_kept_for_good_and_packed_for_who_takes_that(server: InProcessServer) -> None:
    client, sweep = served(server, keys=("a" * 40,)), server.sweep()
    headers = {"Authorization": f"Bearer {'a' * 40}", "Accept-Encoding": "gzip, br"}
    page = client.request("GET", f"/local/p/sweeps/{sweep.id}", headers=headers)
    assert page.headers["content-encoding"] == "gzip"
    (address,) = re.findall('<script src="(/static/page-[0-9a-f]{16}.js)"', page.text)
    packed = client.request("GET", address, headers={"Accept-Encoding": "gzip"})
    plain = client.request("GET", address, headers={"Accept-Encoding": "gzip;q=0"})
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"].startswith("text/javascript")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == plain.text
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))
    for wrong in ("page.js", "page-0123456789abcdef.js", "..%2fpages.py"):
        assert client.request("GET", f"/static/{wrong}", headers=headers).status_code == 404
