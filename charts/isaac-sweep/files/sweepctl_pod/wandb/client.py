"""W&B's operations that sweepctl uses: sweeps, agents, runs and their streams.

Shared by the pod and the command line. Every method is one attempt; the caller decides whether to
try again. W&B documents no interface below its own client, so these are that client's operations:
https://github.com/wandb/wandb/blob/main/wandb/apis/public/sweeps.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl_pod.wandb.connection import (
    ApiError,
    Connection,
    Transport,
    app_url,
    connection_from_environ,
    how_to_log_in,
    run_url,
    sweep_url,
    url_path,
)
from sweepctl_pod.wandb.states import RunState, SweepState

__all__ = [
    "ATTEMPT_HEADER",
    "ApiError",
    "Connection",
    "RunInfo",
    "SweepInfo",
    "WandbClient",
    "app_url",
    "connection_from_environ",
    "run_info",
    "run_url",
    "sweep_url",
    "unwrap_config",
]

ATTEMPT_HEADER = "X-Sweepctl-Attempt"
_PAGE_SIZE = 50
_SWEEP_FIELDS = (
    "id name displayName method state description config createdAt runCount runCountExpected"
)
_RUN_FIELDS = "id name displayName sweepName state config createdAt heartbeatAt summaryMetrics"


@dataclass(frozen=True, slots=True)
class SweepInfo:
    """A sweep as the API gives it; `config_text` is YAML (JSON when sweepctl wrote it)."""

    entity: str
    project: str
    id: str
    node_id: str
    state: str
    method: str | None
    config_text: str
    description: str | None
    display_name: str | None
    created_at: str | None
    run_count: int | None
    run_count_expected: int | None

    @property
    def full_name(self) -> str:
        """Write its whole name: ENTITY/PROJECT/ID."""
        return f"{self.entity}/{self.project}/{self.id}"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as the API gives it; `config` is unwrapped to plain values, without W&B's own part."""

    id: str
    node_id: str
    state: str
    display_name: str | None
    config: dict[str, Any]
    summary: dict[str, Any]
    created_at: str | None
    heartbeat_at: str | None
    sweep_id: str | None
    is_started: bool
    """Whether a trainer has ever called `wandb.init` for it (the SDK's mark is in its config)."""
    host: str | None = None
    exit_code: int | None = None


class WandbClient:
    """W&B's operations over one connection; safe to use from several threads at once."""

    def __init__(self, connection: Connection, *, timeout_s: float = 30) -> None:
        self.connection = connection
        self.timeout_s = timeout_s
        self.transport = Transport(connection, timeout_s=timeout_s)
        # Not in the schema of every server: asked for until one refuses to know them.
        self._run_extras = "host exitcode"

    def graphql(
        self, query: str, variables: Mapping[str, Any], attempt: int | None = None
    ) -> dict[str, Any]:
        """Send one GraphQL operation and give its `data`; `attempt` as for `post_file_stream`."""
        headers = {} if attempt is None else {ATTEMPT_HEADER: str(attempt)}
        return self.transport.graphql(query, variables, headers)

    def viewer_entity(self) -> str:
        """Give the entity that the key's owner uses by default."""
        answer = self.graphql("query Viewer { viewer { id entity username } }", {})
        viewer = self.transport.within(answer, "viewer")
        if not viewer:
            raise ApiError(
                f"{self.transport.where} knows nobody by this key",
                how_to_log_in(self.connection.base_url),
                status=401,
            )
        return str(viewer.get("entity") or viewer.get("username") or "")

    def create_sweep(
        self,
        entity: str | None,
        project: str,
        config_text: str,
        description: str | None = None,
        display_name: str | None = None,
    ) -> SweepInfo:
        """Create a sweep. Not idempotent: W&B has no key for that, so retry only after a look."""
        answer = self.graphql(
            "mutation UpsertSweep($config: String, $description: String, $entityName: String,"
            " $projectName: String, $displayName: String) { upsertSweep(input: {config: $config,"
            " description: $description, entityName: $entityName, projectName: $projectName,"
            " displayName: $displayName}) { sweep { "
            + _SWEEP_FIELDS
            + " project { name entity { name } } } configValidationWarnings } }",
            {
                "config": config_text,
                "description": description,
                "entityName": entity,
                "projectName": project,
                "displayName": display_name,
            },
        )
        node = self.transport.within(answer, "upsertSweep", "sweep")
        if not node:
            raise ApiError(
                f"{self.transport.where} created no sweep and gave no reason", status=502
            )
        owner = self.transport.within(node, "project")
        found_entity = self.transport.within(owner, "entity").get("name") or entity or ""
        return _sweep_info(node, found_entity, owner.get("name") or project)

    def sweeps(self, entity: str, project: str) -> list[SweepInfo]:
        """List a project's sweeps; none when there is no such project yet."""
        query = (
            "query GetSweeps($project: String!, $entity: String!, $cursor: String, $perPage: Int)"
            " { project(name: $project, entityName: $entity) { sweeps(after: $cursor, first:"
            " $perPage) { pageInfo { endCursor hasNextPage } edges { node { "
            + _SWEEP_FIELDS
            + " } } } } }"
        )
        variables = {"project": project, "entity": entity}
        return [
            _sweep_info(node, entity, project)
            for node in self._pages(query, variables, ("project", "sweeps"))
        ]

    def sweep(self, entity: str, project: str, sweep_id: str) -> SweepInfo:
        """Give one sweep; an ApiError that `is_missing` when there is none."""
        answer = self.graphql(
            "query GetSweep($name: String!, $project: String, $entity: String) { project(name:"
            " $project, entityName: $entity) { sweep(sweepName: $name) { "
            + _SWEEP_FIELDS
            + " } } }",
            {"name": sweep_id, "project": project, "entity": entity},
        )
        node = self.transport.within(answer, "project", "sweep")
        if not node:
            raise ApiError(
                f"no sweep {entity}/{project}/{sweep_id} at {self.transport.where}",
                "check entity, project and id: they stand in the sweep's address",
                status=404,
                is_the_apis=True,
            )
        return _sweep_info(node, entity, project)

    def set_sweep_state(self, sweep: SweepInfo, state: str) -> None:
        """Set RUNNING, PAUSED, FINISHED (no new runs) or CANCELED (runs under way are killed)."""
        self.graphql(
            "mutation UpsertSweep($id: ID, $state: String, $entityName: String, $projectName:"
            " String) { upsertSweep(input: {id: $id, state: $state, entityName: $entityName,"
            " projectName: $projectName}) { sweep { name } } }",
            {
                "id": sweep.node_id,
                "state": state,
                "entityName": sweep.entity,
                "projectName": sweep.project,
            },
        )

    def set_sweep_description(self, sweep: SweepInfo, description: str) -> None:
        """Give a sweep another description; nothing else of it changes."""
        self.graphql(
            "mutation UpsertSweep($id: ID, $description: String, $entityName: String,"
            " $projectName: String) { upsertSweep(input: {id: $id, description: $description,"
            " entityName: $entityName, projectName: $projectName}) { sweep { name } } }",
            {
                **{"id": sweep.node_id, "entityName": sweep.entity, "projectName": sweep.project},
                "description": description,
            },
        )

    def register_agent(self, entity: str, project: str, sweep_id: str, host: str) -> str:
        """Register an agent of a sweep and give its id."""
        answer = self.graphql(
            "mutation CreateAgent($host: String!, $projectName: String, $entityName: String,"
            " $sweep: String!) { createAgent(input: {host: $host, projectName: $projectName,"
            " entityName: $entityName, sweep: $sweep}) { agent { id } } }",
            {"host": host, "projectName": project, "entityName": entity, "sweep": sweep_id},
        )
        agent = self.transport.within(answer, "createAgent", "agent")
        if not agent.get("id"):
            raise ApiError(
                f"{self.transport.where} registered no agent and gave no reason", status=502
            )
        return str(agent["id"])

    def heartbeat(
        self,
        agent_id: str,
        run_ids: Sequence[str],
        metrics: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Say that the agent lives and which runs it has; give W&B's commands for it."""
        answer = self.graphql(
            "mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {"
            " agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState})"
            " { agent { id } commands } }",
            {
                "id": agent_id,
                "metrics": json.dumps(dict(metrics or {})),
                "runState": json.dumps({run_id: True for run_id in run_ids}),
            },
        )
        commands = _parsed(self.transport.within(answer, "agentHeartbeat").get("commands"), [])
        if not isinstance(commands, list):
            raise self.transport.unexpected(f"{commands!r:.80} for commands")
        return [command for command in commands if isinstance(command, dict)]

    def run(self, entity: str, project: str, run_id: str) -> RunInfo | None:
        """Give one run, or None when there is none of that id."""
        answer = self._run_query(
            "query Run($project: String!, $entity: String!, $name: String!) { project(name:"
            " $project, entityName: $entity) { run(name: $name) { FIELDS } } }",
            {"project": project, "entity": entity, "name": run_id},
        )
        node = self.transport.within(answer, "project", "run")
        return run_info(node) if node else None

    def runs(
        self,
        entity: str,
        project: str,
        sweep_id: str,
        host: str | None = None,
        states: Sequence[str] = (),
    ) -> Iterator[RunInfo]:
        """Give the runs of a sweep, or of one host or of some states, oldest first."""
        query = (
            "query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int,"
            " $order: String, $filters: JSONString) { project(name: $project, entityName: $entity)"
            " { runs(filters: $filters, after: $cursor, first: $perPage, order: $order)"
            " { edges { node { FIELDS } cursor } pageInfo { endCursor hasNextPage } } } }"
        )
        wanted: list[dict[str, Any]] = [{"sweep": sweep_id}, *([{"host": host}] if host else [])]
        if states:
            wanted.append({"$or": [{"state": state} for state in states]})
        variables = {
            "project": project,
            "entity": entity,
            "order": "+created_at",
            "filters": json.dumps({"$and": wanted}),
        }
        for node in self._pages(query, variables, ("project", "runs")):
            yield run_info(node)

    def post_file_stream(
        self,
        entity: str,
        project: str,
        run_id: str,
        body: Mapping[str, Any],
        attempt: int | None = None,
    ) -> dict[str, Any]:
        """Post to a run's stream of history, summary, log and state.

        `attempt` is the number that the embedded server gave with the run: by it the server knows a
        late post of an earlier attempt. W&B gives none.
        """
        place = f"files/{url_path(entity, project, run_id)}/file_stream"
        url = f"{self.connection.base_url}/{place}"
        headers = {} if attempt is None else {ATTEMPT_HEADER: str(attempt)}
        answer = self.transport.json("POST", url, json.dumps(dict(body)).encode(), headers)
        return answer if isinstance(answer, dict) else {}

    def mark_preempting(
        self, entity: str, project: str, run_id: str, attempt: int | None = None
    ) -> None:
        """Say that the run will end early and that an agent should take it again."""
        self.post_file_stream(entity, project, run_id, {"preempting": True}, attempt)

    def _run_query(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for runs with the optional fields as well, as long as the server knows them."""
        try:
            return self.graphql(
                query.replace("FIELDS", f"{_RUN_FIELDS} {self._run_extras}"), variables
            )
        except ApiError as error:
            if not self._run_extras or "Cannot query field" not in error.message:
                raise
        self._run_extras = ""
        return self.graphql(query.replace("FIELDS", _RUN_FIELDS), variables)

    def _pages(
        self, query: str, variables: Mapping[str, Any], place: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            found: Any = self._run_query(
                query, {**variables, "cursor": cursor, "perPage": _PAGE_SIZE}
            )
            found = self.transport.within(found, *place)
            if not found:
                return
            edges = found.get("edges") or []
            if not isinstance(edges, list):
                raise self.transport.unexpected(f"{edges!r:.80} for edges")
            for edge in edges:
                if edge and (node := self.transport.within({"edge": edge}, "edge", "node")):
                    yield node
            page = self.transport.within(found, "pageInfo")
            if not page.get("hasNextPage") or page.get("endCursor") in (None, cursor):
                return
            cursor = page["endCursor"]


def _sweep_info(node: Mapping[str, Any], entity: str, project: str) -> SweepInfo:
    return SweepInfo(
        entity=entity,
        project=project,
        id=_text(node, "name"),
        node_id=_text(node, "id"),
        state=str(node.get("state") or SweepState.PENDING.value).upper(),
        method=node.get("method"),
        config_text=str(node.get("config") or ""),
        description=node.get("description"),
        display_name=node.get("displayName"),
        created_at=node.get("createdAt"),
        run_count=node.get("runCount"),
        run_count_expected=node.get("runCountExpected"),
    )


def run_info(node: Mapping[str, Any]) -> RunInfo:
    """Read a run as the API sends it."""
    wrapped = _parsed(node.get("config"), {})
    summary = _parsed(node.get("summaryMetrics"), {})
    return RunInfo(
        id=_text(node, "name"),
        node_id=_text(node, "id"),
        state=str(node.get("state") or RunState.PENDING.value).lower(),
        display_name=node.get("displayName"),
        config=unwrap_config(wrapped if isinstance(wrapped, dict) else {}),
        summary=summary if isinstance(summary, dict) else {},
        created_at=node.get("createdAt"),
        heartbeat_at=node.get("heartbeatAt"),
        sweep_id=node.get("sweepName"),
        is_started=isinstance(wrapped, dict) and "_wandb" in wrapped,
        host=node.get("host"),
        exit_code=node.get("exitcode"),
    )


def unwrap_config(wrapped: Mapping[str, Any]) -> dict[str, Any]:
    """Turn W&B's {name: {"value": v}} into {name: v}, without its own key `_wandb`."""
    return {
        name: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for name, entry in wrapped.items()
        if name != "_wandb"
    }


def _text(node: Mapping[str, Any], key: str) -> str:
    """Read what every sweep and run has; ApiError, as of a server in trouble, without it."""
    value = node.get(key)
    if not isinstance(value, str):
        raise ApiError(f"the API answered without {key}", status=502)
    return value


def _parsed(value: Any, default: Any) -> Any:
    """Read a JSONString, which some servers send parsed."""
    if value is None or value == "":
        return default
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the API sent broken JSON: {value[:100]!r}", status=502) from error
