"""The least that answers a sweep's agents and trainers: in memory, no disk, no checks, no pages.

What `make bench-server` puts beside the embedded server: the same wire, the same libraries, nothing
kept. `python benchmarks/in_memory_server.py` prints its address.
"""

from __future__ import annotations

import gzip
import json
import random
import socket
import time
from typing import Any

import uvicorn
from graphql import DocumentNode, build_schema, execute_sync, parse, validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SCHEMA = build_schema("""
scalar JSONString
type Sweep { id: ID! name: String! }
type Agent { id: ID! name: String! }
type Run { id: ID! name: String! }
input UpsertSweepInput { config: String projectName: String entityName: String }
input CreateAgentInput { host: String! sweep: String! }
input AgentHeartbeatInput { id: ID! metrics: JSONString runState: JSONString }
input UpsertBucketInput { name: String modelName: String entityName: String host: String
  config: JSONString }
type SweepPayload { sweep: Sweep }
type AgentPayload { agent: Agent }
type HeartbeatPayload { agent: Agent commands: JSONString }
type BucketPayload { bucket: Run }
type Query { nothing: String }
type Mutation {
  upsertSweep(input: UpsertSweepInput!): SweepPayload
  createAgent(input: CreateAgentInput!): AgentPayload
  agentHeartbeat(input: AgentHeartbeatInput!): HeartbeatPayload
  upsertBucket(input: UpsertBucketInput!): BucketPayload
}
""")

agents: dict[str, dict[str, Any]] = {}
runs: dict[str, dict[str, Any]] = {}
documents: dict[str, DocumentNode] = {}


def upsert_sweep(root: Any, info: Any, input: Any) -> Any:
    return {"sweep": {"id": "s", "name": "s"}}


def create_agent(root: Any, info: Any, input: Any) -> Any:
    name = f"a{len(agents)}"
    agents[name] = {"id": name, "name": name, "last": 0.0, "run": None}
    return {"agent": agents[name]}


def heartbeat(root: Any, info: Any, input: Any) -> Any:
    agent = agents[input["id"]]
    agent["last"] = time.monotonic()
    commands = []
    if not json.loads(input.get("runState") or "{}"):
        name = f"r{len(runs)}"
        runs[name] = {"id": name, "name": name, "history": [], "summary": {}}
        args = {"x": {"value": random.random()}}
        commands = [{"id": name, "type": "run", "run_id": name, "args": args, "attempt": 1}]
    return {"agent": agent, "commands": json.dumps(commands)}


def upsert_bucket(root: Any, info: Any, input: Any) -> Any:
    return {"bucket": runs[input["name"]]}


async def graphql(request: Request) -> Response:
    body = json.loads(await request.body())
    query = body["query"]
    if query not in documents:
        documents[query] = parse(query)
        assert not validate(SCHEMA, documents[query])
    result = execute_sync(SCHEMA, documents[query], variable_values=body.get("variables"))
    assert not result.errors, result.errors
    return JSONResponse({"data": result.data})


async def file_stream(request: Request) -> Response:
    raw = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        raw = gzip.decompress(raw)
    run = runs[request.path_params["run"]]
    for name, sent in json.loads(raw).get("files", {}).items():
        if name == "wandb-history.jsonl":
            del run["history"][sent["offset"] :]
            run["history"].extend(json.loads(line) for line in sent["content"])
        elif name == "wandb-summary.json":
            run["summary"] = json.loads(sent["content"][-1])
    return JSONResponse({"exitcode": None, "limits": {}})


def main() -> None:
    fields = SCHEMA.type_map["Mutation"].fields  # type: ignore[attr-defined] # an object type
    for name, resolver in {
        "upsertSweep": upsert_sweep,
        "createAgent": create_agent,
        "agentHeartbeat": heartbeat,
        "upsertBucket": upsert_bucket,
    }.items():
        fields[name].resolve = resolver
    stream = "/files/{entity}/{project}/{run}/file_stream"
    app = Starlette(
        routes=[
            Route("/graphql", graphql, methods=["POST"]),
            Route(stream, file_stream, methods=["POST"]),
        ]
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
