"""What W&B's fields mean here: reads from `store` and `lines`, writes through `dispatch`, `intake`.

A resolver gets the row above it and the request's context. It checks what a client sent; it stores
nothing itself but sweeps, which have no other room.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from graphql import GraphQLError, GraphQLResolveInfo

from sweepctl.server import lines, store
from sweepctl.server.database import Database
from sweepctl.server.dispatch import Dispatcher
from sweepctl.server.files import RunFiles, checked_name
from sweepctl.server.filters import iso_time, run_filter, run_order, sweep_filter
from sweepctl.server.intake import Intake, RunChange
from sweepctl.server.lifecycle import LIVE, RunState
from sweepctl.server.node_ids import node_id, row_of
from sweepctl.server.presence import Presence
from sweepctl.server.store import Agent, Project, Run, StoredFile, Sweep
from sweepctl.server.sweeps import Sweeps

_FEATURES = ("FILESTREAM_GZIP", "MARK_RUN_FILES_UPLOADED", "SWEEPS_QUERY_FILTERING")
_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 5_000
_MAX_LOG_LINES = 10_000
_MAX_SAMPLES = 100_000

Node = TypeVar("Node")


@dataclass(frozen=True, slots=True)
class Context:
    """What a request's resolvers work with."""

    database: Database
    presence: Presence
    dispatcher: Dispatcher
    intake: Intake
    sweeps: Sweeps
    files: RunFiles
    now: Callable[[], float]
    base_url: str
    attempt: int | None


Info = GraphQLResolveInfo


def _context(info: Info) -> Context:
    context: Context = info.context
    return context


def _page(
    items: Callable[[int, int], Sequence[Node]],
    total: Callable[[], int],
    first: int | None,
    after: str | None,
    limit: int = _MAX_PAGE_SIZE,
) -> dict[str, Any]:
    """Give one page of a connection; a cursor is the number of items up to it."""
    size = min(first if first and first > 0 else _PAGE_SIZE, limit)
    offset = int(after) if after and after.isascii() and after.isdigit() else 0
    found = items(offset, size + 1)
    nodes = found[:size]
    edges = [{"node": node, "cursor": str(offset + n)} for n, node in enumerate(nodes, 1)]
    page = {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": len(found) > size}
    return {"edges": edges, "pageInfo": page, "totalCount": total}


def _runs_page(
    info: Info,
    *,
    first: int | None,
    after: str | None,
    order: str | None = None,
    filters: str | None = None,
    **of: int,
) -> dict[str, Any]:
    where, by = run_filter(filters), run_order(order)
    with _context(info).database.read() as rows:
        return _page(
            lambda offset, count: store.runs(
                rows, where=where, order=by, offset=offset, count=count, **of
            ),
            lambda: store.count_runs(rows, where=where, **of),
            first,
            after,
        )


def _user() -> dict[str, Any]:
    return {
        "id": node_id("User", 1),
        "name": "local",
        "username": "local",
        "email": "",
        "admin": True,
        "flags": "{}",
        "entity": "local",
        "teams": {"edges": [{"node": _entity("local")}]},
        "apiKeys": {"edges": []},
    }


def _entity(name: str) -> dict[str, Any]:
    return {
        "id": node_id("Entity", 1),
        "name": name,
        "xxhashDigestsEnabled": False,
        "isTeam": False,
        "readOnly": False,
    }


def _project(
    root: object, info: Info, name: str | None = None, entityName: str | None = None
) -> Project | None:
    """Find a project; one that was never written to is there and empty, as W&B's client expects."""
    if not name:
        return None
    context = _context(info)
    entity = entityName or "local"
    with context.database.read() as rows:
        found = store.find_project(rows, entity, name)
    return found or Project(0, entity, name, context.now())


def _server_info(root: object, info: Info) -> dict[str, Any]:
    return {
        "features": [{"name": name, "isEnabled": True} for name in _FEATURES],
        "cliVersionInfo": json.dumps({"max_cli_version": "99.0.0", "min_cli_version": "0.0.0"}),
        "latestLocalVersionInfo": {
            "outOfDate": False,
            "latestVersionString": "0.81.4",
            "versionOnThisInstanceString": "0.81.4",
        },
    }


QUERY: dict[str, Callable[..., Any]] = {
    "viewer": lambda root, info: _user(),
    "serverInfo": _server_info,
    "entity": lambda root, info, name=None: _entity(name or "local"),
    "organization": lambda root, info, name: {"name": name, "featureFlags": []},
    "project": _project,
    "model": _project,
    "models": lambda root, info, entityName=None, first=None, after=None, **_: _projects_page(
        info, entityName, first, after
    ),
}


def _projects_page(
    info: Info, entity: str | None, first: int | None, after: str | None
) -> dict[str, Any]:
    with _context(info).database.read() as rows:
        found = store.projects(rows, entity)
    return _page(lambda o, n: found[o : o + n], lambda: len(found), first, after)


def _bucket(project: Project, info: Info, name: str, missingOk: bool = False) -> Run | None:
    with _context(info).database.read() as rows:
        run = store.find_run(rows, project=project.pk, id=name)
    if run is None and not missingOk:
        raise GraphQLError(f"no run {project.entity}/{project.name}/{name}")
    return run


def _project_run(project: Project, info: Info, name: str) -> Run | None:
    return _bucket(project, info, name, missingOk=True)


def _project_sweep(project: Project, info: Info, sweepName: str) -> Sweep | None:
    with _context(info).database.read() as rows:
        return store.find_sweep(rows, id=sweepName, project=project.pk)


def _project_sweeps(
    project: Project,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
) -> dict[str, Any]:
    where = sweep_filter(filters)
    with _context(info).database.read() as rows:
        return _page(
            lambda offset, count: store.sweeps(rows, project.pk, where, offset, count),
            lambda: store.count_sweeps(rows, project.pk, where),
            first,
            after,
        )


def _project_runs(
    project: Project,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    return _runs_page(
        info, first=first, after=after, order=order, filters=filters, project=project.pk
    )


def _project_run_count(project: Project, info: Info, filters: str | None = None) -> int:
    with _context(info).database.read() as rows:
        return store.count_runs(rows, project=project.pk, where=run_filter(filters))


def _total_sweeps(project: Project, info: Info) -> int:
    with _context(info).database.read() as rows:
        return store.count_sweeps(rows, project.pk, sweep_filter(None))


PROJECT: dict[str, Callable[..., Any]] = {
    "id": lambda project, info: node_id("Project", project.pk),
    "internalId": lambda project, info: str(project.pk),
    "entityName": lambda project, info: project.entity,
    "entity": lambda project, info: _entity(project.entity),
    "readOnly": lambda project, info: False,
    "isBenchmark": lambda project, info: False,
    "createdAt": lambda project, info: iso_time(project.created),
    "user": lambda project, info: _user(),
    "runCount": _project_run_count,
    "totalSweeps": _total_sweeps,
    "run": _project_run,
    "bucket": _bucket,
    "runs": _project_runs,
    "sweep": _project_sweep,
    "sweeps": _project_sweeps,
}


def _sweep_read(read: Callable[[store.Rows, Sweep], Any]) -> Callable[[Sweep, Info], Any]:
    def resolve(sweep: Sweep, info: Info) -> Any:
        with _context(info).database.read() as rows:
            return read(rows, sweep)

    return resolve


def _sweep_runs(
    sweep: Sweep,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    filters: str | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    return _runs_page(info, first=first, after=after, order=order, filters=filters, sweep=sweep.pk)


def _sweep_agent(sweep: Sweep, info: Info, agentName: str) -> Agent | None:
    pk = row_of("Agent", agentName)
    with _context(info).database.read() as rows:
        found = store.find_agent(rows, pk=pk, id=agentName)
    return found if found and found.sweep == sweep.pk else None


def _sweep_agents(
    sweep: Sweep, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with _context(info).database.read() as rows:
        found = store.agents(rows, sweep.pk)
    return _page(lambda o, n: found[o : o + n], lambda: len(found), first or len(found), after)


SWEEP: dict[str, Callable[..., Any]] = {
    "id": lambda sweep, info: node_id("Sweep", sweep.pk),
    "name": lambda sweep, info: sweep.id,
    "displayName": lambda sweep, info: sweep.display_name,
    "state": lambda sweep, info: sweep.state.value,
    "config": _sweep_read(lambda rows, sweep: store.sweep_text(rows, sweep.pk)),
    "createdAt": lambda sweep, info: iso_time(sweep.created),
    "updatedAt": lambda sweep, info: iso_time(sweep.updated),
    "heartbeatAt": lambda sweep, info: iso_time(sweep.updated),
    "earlyStopJobRunning": lambda sweep, info: False,
    "bestLoss": _sweep_read(store.best_loss),
    "runCount": _sweep_read(lambda rows, sweep: store.count_runs(rows, sweep=sweep.pk)),
    "runCountExpected": lambda sweep, info: sweep.run_count_expected,
    "project": _sweep_read(lambda rows, sweep: store.project_by_pk(rows, sweep.project)),
    "user": lambda sweep, info: _user(),
    "runs": _sweep_runs,
    "agent": _sweep_agent,
    "agents": _sweep_agents,
}


def _agent_runs(
    agent: Agent,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    return _runs_page(info, first=first, after=after, order=order, last_agent=agent.pk)


def _total_runs(agent: Agent, info: Info) -> int:
    with _context(info).database.read() as rows:
        return store.count_runs(rows, last_agent=agent.pk)


def _heard(kind: str) -> Callable[[Any, Info], str | None]:
    def resolve(thing: Any, info: Info) -> str | None:
        context = _context(info)
        ago = context.presence.seconds_ago(kind, thing.pk)
        return iso_time(thing.heartbeat if ago is None else context.now() - ago)

    return resolve


AGENT: dict[str, Callable[..., Any]] = {
    # W&B's heartbeat names an agent by this id.
    "id": lambda agent, info: node_id("Agent", agent.pk),
    "name": lambda agent, info: agent.id,
    "state": lambda agent, info: agent.state.value,
    "totalRuns": _total_runs,
    "createdAt": lambda agent, info: iso_time(agent.created),
    "heartbeatAt": _heard("agent"),
    "runs": _agent_runs,
}


def _run_read(read: Callable[[store.Rows, Run], Any]) -> Callable[[Run, Info], Any]:
    def resolve(run: Run, info: Info) -> Any:
        with _context(info).database.read() as rows:
            return read(rows, run)

    return resolve


def _run_sweep(rows: store.Rows, run: Run) -> Sweep | None:
    return None if run.sweep is None else store.sweep_by_pk(rows, run.sweep)


def _run_sweep_name(rows: store.Rows, run: Run) -> str | None:
    sweep = _run_sweep(rows, run)
    return sweep.id if sweep else None


def _run_agent(rows: store.Rows, run: Run) -> Agent | None:
    pk = run.agent or run.last_agent
    return None if pk is None else store.find_agent(rows, pk=pk)


def _wandb_config(run: Run, info: Info, keys: list[str] | None = None) -> str:
    with _context(info).database.read() as rows:
        config = json.loads(store.run_document(rows, run.pk, "config"))
    own = config.get("_wandb")
    values = own.get("value") if isinstance(own, Mapping) else None
    if not isinstance(values, Mapping):
        values = {}
    return json.dumps({key: value for key, value in values.items() if not keys or key in keys})


def _system_metrics(rows: store.Rows, run: Run) -> str:
    tail = lines.line_tail(rows, run.pk, lines.EVENTS, 1)
    return tail[0][1] if tail else "{}"


def _events_tail(rows: store.Rows, run: Run) -> str:
    return json.dumps([text for _, text in lines.line_tail(rows, run.pk, lines.EVENTS, 1)])


def _history_keys(rows: store.Rows, run: Run) -> dict[str, Any]:
    known = json.loads(store.run_document(rows, run.pk, "history_keys"))
    return lines.history_keys(known, run.last_step)


def _history(
    run: Run,
    info: Info,
    minStep: int | None = None,
    maxStep: int | None = None,
    samples: int | None = None,
) -> list[str]:
    count = min(samples if samples and samples > 0 else 500, _MAX_SAMPLES)
    with _context(info).database.read() as rows:
        if minStep is None and maxStep is None:
            return lines.spread_history(rows, run.pk, count)
        low, high = minStep or 0, run.last_step + 1 if maxStep is None else maxStep
        return lines.history_steps(rows, run.pk, low, high, _MAX_SAMPLES)


def _events(run: Run, info: Info, samples: int | None = None) -> list[str]:
    count = min(samples if samples and samples > 0 else 500, _MAX_SAMPLES)
    with _context(info).database.read() as rows:
        return lines.spread_lines(rows, run.pk, lines.EVENTS, count)


def _sampled_history(run: Run, info: Info, specs: list[str]) -> list[Any]:
    found = []
    with _context(info).database.read() as rows:
        for text in specs:
            spec = _json_map(text, "specs")
            found.append(lines.sampled_history(rows, run.pk, spec))
    return found


def _log_lines(
    run: Run,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    useImprovedPagination: bool | None = None,
) -> dict[str, Any]:
    with _context(info).database.read() as rows:
        if last is not None:
            count = max(0, min(last, _MAX_LOG_LINES))
            found, has_next = lines.line_tail(rows, run.pk, lines.CONSOLE, count), False
        else:
            count = min(first if first and first > 0 else 1000, _MAX_LOG_LINES)
            start = int(after) if after and after.isascii() and after.isdigit() else -1
            found = lines.line_page(rows, run.pk, lines.CONSOLE, start, count + 1)
            has_next = len(found) > count
            found = found[:count]
    nodes = [{"node": {"number": number, **lines.console_line(text)}} for number, text in found]
    end = str(found[-1][0]) if found else None
    return {"edges": nodes, "pageInfo": {"endCursor": end, "hasNextPage": has_next}}


def _run_files(
    run: Run,
    info: Info,
    names: list[str | None] | None = None,
    pattern: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, Any]:
    wanted = [name for name in names or [] if name is not None]
    with _context(info).database.read() as rows:
        return _page(
            lambda offset, count: store.files(rows, run.pk, wanted, pattern, offset, count),
            lambda: store.count_files(rows, run.pk),
            first,
            after,
        )


RUN: dict[str, Callable[..., Any]] = {
    "id": lambda run, info: node_id("Run", run.pk),
    "name": lambda run, info: run.id,
    "displayName": lambda run, info: run.display_name,
    "state": lambda run, info: run.state.value,
    "config": _run_read(lambda rows, run: store.run_document(rows, run.pk, "config")),
    "wandbConfig": _wandb_config,
    "summaryMetrics": _run_read(lambda rows, run: store.run_document(rows, run.pk, "summary")),
    "systemMetrics": _run_read(_system_metrics),
    "sweepName": _run_read(_run_sweep_name),
    "sweep": _run_read(_run_sweep),
    "agent": _run_read(_run_agent),
    "project": _run_read(lambda rows, run: store.project_by_pk(rows, run.project)),
    "projectId": lambda run, info: str(run.project),
    "group": lambda run, info: run.group_name,
    "jobType": lambda run, info: run.job_type,
    "commit": lambda run, info: run.commit_hash,
    "tags": lambda run, info: json.loads(run.tags),
    "readOnly": lambda run, info: False,
    "user": lambda run, info: _user(),
    "createdAt": lambda run, info: iso_time(run.created),
    "updatedAt": lambda run, info: iso_time(run.updated),
    "heartbeatAt": _heard("run"),
    "exitcode": lambda run, info: run.exit_code,
    "shouldStop": lambda run, info: run.is_stop_asked,
    "stopped": lambda run, info: run.is_stop_asked,
    "failed": lambda run, info: run.state in (RunState.FAILED, RunState.CRASHED),
    "running": lambda run, info: run.state in LIVE,
    "historyLineCount": _run_read(lambda rows, run: lines.history_count(rows, run.pk)),
    "eventsLineCount": _run_read(lambda rows, run: lines.line_count(rows, run.pk, lines.EVENTS)),
    "logLineCount": _run_read(lambda rows, run: lines.line_count(rows, run.pk, lines.CONSOLE)),
    "historyTail": _run_read(lambda rows, run: json.dumps(lines.history_tail(rows, run.pk, 1))),
    "eventsTail": _run_read(_events_tail),
    "lastHistoryStep": lambda run, info: run.last_step,
    "historyKeys": _run_read(_history_keys),
    "history": _history,
    "events": _events,
    "sampledHistory": _sampled_history,
    "parquetHistory": lambda run, info, liveKeys: {"parquetUrls": [], "liveData": []},
    "logLines": _log_lines,
    "fileCount": _run_read(lambda rows, run: store.count_files(rows, run.pk)),
    "files": _run_files,
}


def _file_url(file: StoredFile, info: Info, upload: bool | None = None) -> str:
    context = _context(info)
    return context.files.url(context.base_url, file.run, file.name)


FILE: dict[str, Callable[..., Any]] = {
    "id": lambda file, info: node_id("File", file.pk),
    "url": _file_url,
    "directUrl": _file_url,
    "sizeBytes": lambda file, info: file.size_bytes,
    "mimetype": lambda file, info: mimetypes.guess_type(file.name)[0],
    "updatedAt": lambda file, info: iso_time(file.updated),
}


def _upsert_sweep(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    sweep, warnings = _context(info).sweeps.upsert(input)
    return {"sweep": sweep, "configValidationWarnings": warnings}


def _create_agent(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    return {"agent": _context(info).dispatcher.register(input["sweep"], input["host"])}


def _agent_heartbeat(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = _context(info)
    reported = _json_map(input.get("runState") or "{}", "runState")
    pk = row_of("Agent", input["id"])
    agent, commands = context.dispatcher.heartbeat(pk, [run for run in reported if reported[run]])
    return {"agent": agent, "commands": json.dumps(commands)}


_RUN_FIELDS = {
    "displayName": "display_name",
    "groupName": "group_name",
    "jobType": "job_type",
    "notes": "notes",
    "description": "description",
    "commit": "commit_hash",
    "jobProgram": "program",
}


def _upsert_bucket(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = _context(info)
    run, project = _upsert_target(context, input)
    fields: dict[str, Any] = {
        column: input[name] for name, column in _RUN_FIELDS.items() if input.get(name) is not None
    }
    if input.get("tags") is not None:
        fields["tags"] = json.dumps(input["tags"])
    if run is None and input.get("sweep"):
        with context.database.read() as rows:
            sweep = store.find_sweep(rows, id=input["sweep"], project=project)
        if sweep is not None:
            fields["sweep"] = sweep.pk
    config, summary = input.get("config"), input.get("summaryMetrics")
    change = RunChange(
        fields=fields,
        config=_json_map(config, "config") if config else None,
        summary=json.dumps(_json_map(summary, "summaryMetrics")) if summary else None,
        state=_run_state(input.get("state")),
        host=input.get("host") or None,
        is_resumed=bool(input.get("id")),
    )
    changed = context.intake.upsert(project, run, input.get("name"), change, context.attempt)
    inserted = run is None or (not run.is_started and change.host is not None)
    return {
        "bucket": changed,
        "inserted": inserted,
        "serverSettings": {"serverMessages": []},
    }


def _upsert_target(context: Context, input: Mapping[str, Any]) -> tuple[Run | None, int]:
    """Find the run that is meant, and the project that it is or will be in."""
    if input.get("id"):
        with context.database.read() as rows:
            pk = row_of("Run", input["id"])
            run = store.find_run(rows, pk=pk) if pk is not None else None
        if run is None:
            raise GraphQLError(f"no run has the id {input['id']!r}")
        return run, run.project
    name = input.get("name")
    if name is not None:
        _check_run_id(name)
    entity, project_name = input.get("entityName") or "local", input.get("modelName")
    with context.database.read() as rows:
        project = store.find_project(rows, entity, project_name or "uncategorized")
        if project is not None:
            run = store.find_run(rows, project=project.pk, id=name) if name else None
            return run, project.pk
    with context.database.write() as tx:
        made = store.ensure_project(tx, entity, project_name or "uncategorized", context.now())
    return None, made.pk


def _check_run_id(name: str) -> None:
    if not name.strip() or len(name) > 128 or any(c in "/\\#?%:" or c < " " for c in name):
        raise GraphQLError(
            f"{name[:80]!r} is no run id: 1 to 128 characters, none of them / \\ # ? % :"
        )


def _run_state(text: str | None) -> RunState | None:
    if text is None:
        return None
    try:
        return RunState(text.lower())
    except ValueError as error:
        known = ", ".join(state.value for state in RunState)
        raise GraphQLError(f"unknown run state {text!r}; known are {known}") from error


def _upsert_model(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = _context(info)
    if not input.get("name"):
        raise GraphQLError("a project needs a name")
    with context.database.write() as tx:
        entity = input.get("entityName") or "local"
        project = store.ensure_project(tx, entity, input["name"], context.now())
    return {"model": project, "project": project, "inserted": True}


def _create_run_files(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = _context(info)
    run = _named_run(context, input)
    uploads = [
        {
            "name": name,
            "uploadUrl": context.files.url(context.base_url, run.pk, checked_name(name)),
        }
        for name in input["files"]
    ]
    return {"runID": node_id("Run", run.pk), "uploadHeaders": [], "files": uploads}


def _named_run(context: Context, input: Mapping[str, Any]) -> Run:
    names = (input["entityName"], input["projectName"], input["runName"])
    with context.database.read() as rows:
        run = store.find_run_by_path(rows, *names)
    if run is None:
        raise GraphQLError(f"no run {'/'.join(names)}")
    return run


def _delete_files(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = _context(info)
    pks = [pk for pk in (row_of("File", id) for id in input["files"]) if pk is not None]
    with context.database.write() as tx:
        stored = store.delete_files(tx, pks)
    context.files.forget(stored)
    return {"success": True}


def _stop_run(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    _context(info).intake.ask_stop(_run_of(info, input["id"]))
    return {"success": True}


def _delete_run(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = _context(info)
    run = _run_of(info, input["id"])
    with context.database.write() as tx:
        stored = store.delete_run(tx, run.pk)
    context.files.forget(stored)
    return {}


def _run_of(info: Info, id: str) -> Run:
    pk = row_of("Run", id)
    with _context(info).database.read() as rows:
        run = store.find_run(rows, pk=pk) if pk is not None else None
    if run is None:
        raise GraphQLError(f"no run has the id {id!r}")
    return run


def _alert(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    _context(info).dispatcher.log(f"alert of run {input['runName']}: {input['title']}")
    return {"success": True}


MUTATION: dict[str, Callable[..., Any]] = {
    "upsertSweep": _upsert_sweep,
    "createAgent": _create_agent,
    "agentHeartbeat": _agent_heartbeat,
    "upsertBucket": _upsert_bucket,
    "upsertModel": _upsert_model,
    "createRunFiles": _create_run_files,
    # A file is told of when its bytes have come, so there is nothing left to do.
    "markRunFilesUploaded": lambda root, info, input: {"success": True},
    "deleteFiles": _delete_files,
    "stopRun": _stop_run,
    "deleteRun": _delete_run,
    "notifyScriptableRunAlert": _alert,
}


def _json_map(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GraphQLError(f"{what} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise GraphQLError(f"{what} is not a map: {text[:100]}")
    return value


RESOLVERS: dict[str, dict[str, Callable[..., Any]]] = {
    "Query": QUERY,
    "Mutation": MUTATION,
    "Project": PROJECT,
    "Sweep": SWEEP,
    "Agent": AGENT,
    "Run": RUN,
    "File": FILE,
}
