"""The load of a sweep on its server: agents that heartbeat, trainers that post, all by themselves.

Every request has the moment at which it is due, and its latency counts from there: a server that
falls behind cannot make itself look better by being asked less.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HEARTBEAT = (
    "mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {"
    " agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState})"
    " { agent { id } commands } }"
)
_SWEEP = (
    'mutation Sweep($config: String) { upsertSweep(input: {config: $config, entityName: "local",'
    ' projectName: "bench"}) { sweep { name } } }'
)
_JOIN = (
    "mutation Join($host: String!, $sweep: String!) {"
    " createAgent(input: {host: $host, sweep: $sweep}) { agent { id } } }"
)
_BEGIN = (
    "mutation Begin($name: String, $host: String, $config: JSONString) { upsertBucket(input:"
    ' {name: $name, entityName: "local", modelName: "bench", host: $host, config: $config})'
    " { bucket { id } } }"
)
_CONFIG = """\
method: random
metric: {name: reward, goal: maximize}
parameters: {a: {min: 0.0, max: 1.0}, b: {min: 0.0, max: 1.0}, c: {min: 0.0, max: 1.0}}
"""
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Load:
    """How many of whom, and how often they ask."""

    agents: int
    posters: int
    heartbeat_s: float = 5.0
    post_s: float = 15.0
    lines: int = 5
    metrics: int = 50


@dataclass(slots=True)
class Outcome:
    """What was measured: seconds of each request, and of all joining."""

    join_s: float = 0.0
    heartbeats: list[float] = field(default_factory=list)
    posts: list[float] = field(default_factory=list)
    failures: int = 0
    unanswered: int = 0


class Client:
    """Sends requests to one address: over a new connection each, or over one that is kept."""

    def __init__(self, host: str, port: int, api_key: str) -> None:
        self._host = host
        self._port = port
        self._token = base64.b64encode(f"api:{api_key}".encode()).decode()
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, path: str, body: bytes, *, is_kept: bool = False, encoding: str = "identity"
    ) -> tuple[int, bytes]:
        if self._kept is None:
            self._kept = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._kept
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            "Content-Type: application/json\r\nUser-Agent: sweepctl/bench\r\n"
            f"Authorization: Basic {self._token}\r\n"
            f"Content-Encoding: {encoding}\r\n"
            f"Connection: {'keep-alive' if is_kept else 'close'}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            found = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            answer = await reader.readexactly(int(found or 0))
        except BaseException:
            self._close()
            raise
        if not is_kept:
            self._close()
        return status, answer

    async def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        status, answer = await self.post("/graphql", body)
        assert status == 200, answer
        found = json.loads(answer)
        assert not found.get("errors"), found
        return dict(found["data"])

    def _close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None


async def _bounded(limit: asyncio.Semaphore, work: Any) -> Any:
    async with limit:
        return await work


async def measure(
    url: str, load: Load, seconds: float, api_key: str, at_begin: Callable[[], None]
) -> Outcome:
    """Have all join and take a run, then ask for so many seconds."""
    host, _, port = url.removeprefix("http://").partition(":")
    outcome = Outcome()

    def client() -> Client:
        return Client(host, int(port), api_key)

    sweep = (await client().graphql(_SWEEP, {"config": _CONFIG}))["upsertSweep"]["sweep"]["name"]

    async def join(number: int) -> tuple[str, str]:
        name = f"host-{number}"
        joined = await client().graphql(_JOIN, {"host": name, "sweep": sweep})
        agent = joined["createAgent"]["agent"]["id"]
        given = await client().graphql(HEARTBEAT, {"id": agent, "runState": "{}"})
        (command,) = json.loads(given["agentHeartbeat"]["commands"])
        return agent, command["run_id"]

    began = time.perf_counter()
    limit = asyncio.Semaphore(_AT_ONCE)
    joined = await asyncio.gather(*(_bounded(limit, join(n)) for n in range(load.agents)))
    outcome.join_s = time.perf_counter() - began
    config = json.dumps({"_wandb": {"value": {"t": {}}}})
    for number, (_, run) in enumerate(joined[: load.posters]):
        begun = {"name": run, "host": f"host-{number}", "config": config}
        await client().graphql(_BEGIN, begun)

    at_begin()
    begin = time.perf_counter() + 1.0
    end = begin + seconds
    asking = [
        *(_beat(client(), agent, run, load, begin, end, outcome) for agent, run in joined),
        *(_post(client(), run, load, begin, end, outcome) for _, run in joined[: load.posters]),
    ]
    tasks = [asyncio.create_task(one) for one in asking]
    _, late = await asyncio.wait(tasks, timeout=end - time.perf_counter() + 30)
    for task in late:
        task.cancel()
    outcome.unanswered = len(late)
    for task in tasks:
        if task not in late and task.exception() is not None:
            outcome.failures += 1
    return outcome


async def _beat(
    client: Client, agent: str, run: str, load: Load, begin: float, end: float, outcome: Outcome
) -> None:
    variables = {"id": agent, "metrics": "{}", "runState": json.dumps({run: True})}
    body = json.dumps({"query": HEARTBEAT, "variables": variables}).encode()
    due = begin + random.uniform(0, load.heartbeat_s)
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        status, _ = await client.post("/graphql", body)
        outcome.heartbeats.append(time.perf_counter() - due)
        outcome.failures += status != 200
        due += load.heartbeat_s


async def _post(
    client: Client, run: str, load: Load, begin: float, end: float, outcome: Outcome
) -> None:
    due = begin + random.uniform(0, load.post_s)
    offset = 0
    while due < end:
        body = gzip.compress(_lines(load, offset), 1)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        path = f"/files/local/bench/{run}/file_stream"
        status, _ = await client.post(path, body, is_kept=True, encoding="gzip")
        outcome.posts.append(time.perf_counter() - due)
        outcome.failures += status != 200
        offset += load.lines
        due += load.post_s


def _lines(load: Load, offset: int) -> bytes:
    lines = [
        json.dumps(
            {
                **{f"metrics/number_{m}": random.random() for m in range(load.metrics - 1)},
                "reward": random.random(),
                "_step": step,
            }
        )
        for step in range(offset, offset + load.lines)
    ]
    return json.dumps(
        {
            "files": {
                "wandb-history.jsonl": {"offset": offset, "content": lines},
                "wandb-summary.json": {"offset": 0, "content": lines[-1:]},
            }
        }
    ).encode()
