"""What W&B's mutations do here: they check what a client sent and hand it to the right service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError

from sweepctl.server.graphql.context import Context, Fields, Info, context_of, json_map
from sweepctl.server.runs.files import checked_name
from sweepctl.server.runs.messages import RunChange
from sweepctl.server.store import file_store, lines, run_store, sweep_store
from sweepctl.server.store.api_forms import node_id, row_of
from sweepctl.server.store.run_store import LOCAL_USER, Run
from sweepctl_pod.wandb.states import RunState


def _upsert_sweep(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    wanted = {**input, "entityName": input.get("entityName") or context.user}
    sweep, warnings = context.sweeps.upsert(wanted)
    return {"sweep": sweep, "configValidationWarnings": warnings}


def _create_agent(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    agent = context.dispatcher.register(input["sweep"], input["host"], is_own=context.is_own_client)
    return {"agent": agent}


def _agent_heartbeat(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    reported = json_map(input.get("runState") or "{}", "runState")
    pk = row_of("Agent", input["id"])
    agent, commands = context.dispatcher.heartbeat(pk, [run for run in reported if reported[run]])
    # This server gives back what its agents lose: no agent need wait for a run that may be lost.
    final = [{**c, "is_final": True} if c["type"] == "exit" else c for c in commands]
    return {"agent": agent, "commands": json.dumps(final)}


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
    context = context_of(info)
    run, project = _upsert_target(context, input)
    fields: dict[str, Any] = {
        column: input[name] for name, column in _RUN_FIELDS.items() if input.get(name) is not None
    }
    if input.get("tags") is not None:
        fields["tags"] = json.dumps(input["tags"])
    if context.user != LOCAL_USER and (run is None or input.get("host")):
        fields["user_name"] = context.user
    if run is None and input.get("sweep"):
        with context.database.read() as rows:
            sweep = sweep_store.find_sweep(rows, id=input["sweep"], project=project)
        if sweep is not None:
            fields["sweep"] = sweep.pk
    config, summary = input.get("config"), input.get("summaryMetrics")
    change = RunChange(
        fields=fields,
        config=json_map(config, "config") if config else None,
        summary=json.dumps(json_map(summary, "summaryMetrics")) if summary else None,
        state=_run_state(input.get("state")),
        host=input.get("host") or None,
        is_resumed=bool(input.get("id")),
        is_shared=context.is_shared,
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
            run = run_store.find_run(rows, pk=pk) if pk is not None else None
        if run is None:
            raise GraphQLError(f"no run has the id {input['id']!r}")
        return run, run.project
    name = input.get("name")
    if name is not None:
        _check_run_id(name)
    entity = input.get("entityName") or context.user
    project_name = input.get("modelName") or "uncategorized"
    with context.database.read() as rows:
        project = sweep_store.find_project(rows, entity, project_name)
        if project is not None:
            run = run_store.find_run(rows, project=project.pk, id=name) if name else None
            return run, project.pk
    with context.database.write() as tx:
        made = sweep_store.ensure_project(tx, entity, project_name, context.now())
    return None, made.pk


def _check_run_id(name: str) -> None:
    is_visible = bool(name.strip(" .")) and name.isprintable()
    if not is_visible or len(name) > 128 or any(c in "/\\#?%:" for c in name):
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
    context = context_of(info)
    if not input.get("name"):
        raise GraphQLError("a project needs a name")
    with context.database.write() as tx:
        entity = input.get("entityName") or context.user
        project = sweep_store.ensure_project(tx, entity, input["name"], context.now())
    return {"model": project, "project": project, "inserted": True}


def _create_run_files(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    run = _named_run(context, input)
    uploads = [
        {
            "name": name,
            "uploadUrl": context.files.url(context.base_url, "PUT", run.pk, checked_name(name)),
        }
        for name in input["files"]
    ]
    return {"runID": node_id("Run", run.pk), "uploadHeaders": [], "files": uploads}


def _named_run(context: Context, input: Mapping[str, Any]) -> Run:
    names = (input["entityName"], input["projectName"], input["runName"])
    with context.database.read() as rows:
        run = run_store.find_run_by_path(rows, *names)
    if run is None:
        raise GraphQLError(f"no run {'/'.join(names)}")
    return run


def _delete_files(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    pks = [pk for pk in (row_of("File", id) for id in input["files"]) if pk is not None]
    with context.database.write() as tx:
        stored = file_store.delete_files(tx, pks)
    context.files.remove(stored)
    return {"success": True}


def _stop_run(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context_of(info).intake.ask_stop(_run_of(info, input["id"]))
    return {"success": True}


def _delete_run(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    """Delete a run; one that is gone already is no error."""
    context = context_of(info)
    pk = row_of("Run", input["id"])
    if pk is None:
        raise GraphQLError(f"no run has the id {input['id'][:80]!r}")
    with context.database.write() as tx:
        stored = run_store.delete_run(tx, pk)
    context.files.remove(stored)
    context.collections.forget_run(pk, with_artifacts=bool(input.get("deleteArtifacts")))
    return {}


def _rewind_run(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context = context_of(info)
    if input["metricName"] != "_step":
        raise GraphQLError(f"a run is rewound to a _step, not to a {input['metricName'][:80]!r}")
    entity = input.get("entityName") or context.user
    names = (entity, input.get("projectName") or "uncategorized", input["runName"])
    with context.database.read() as rows:
        run = run_store.find_run_by_path(rows, *names)
    if run is None:
        raise GraphQLError(f"no run {'/'.join(names)[:200]}")
    return {"rewoundRun": context.intake.rewind(run, lines.step_of(input["metricValue"], -1))}


def _retry_run(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    run, is_queued = context_of(info).sweeps.retry(_run_of(info, input["id"]))
    return {"run": run, "success": is_queued}


def _run_of(info: Info, id: str) -> Run:
    pk = row_of("Run", id)
    with context_of(info).database.read() as rows:
        run = run_store.find_run(rows, pk=pk) if pk is not None else None
    if run is None:
        raise GraphQLError(f"no run has the id {id!r}")
    return run


def _alert(root: object, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    context_of(info).dispatcher.log(f"alert of run {input['runName']}: {input['title']}")
    return {"success": True}


MUTATION: Fields = {
    "upsertSweep": _upsert_sweep,
    "createAgent": _create_agent,
    "agentHeartbeat": _agent_heartbeat,
    "upsertBucket": _upsert_bucket,
    "upsertModel": _upsert_model,
    "createRunFiles": _create_run_files,
    # A file is recorded when its bytes arrive, so there is nothing left to do.
    "markRunFilesUploaded": lambda root, info, input: {"success": True},
    "deleteFiles": _delete_files,
    "stopRun": _stop_run,
    "deleteRun": _delete_run,
    "rewindRun": _rewind_run,
    "retryRun": _retry_run,
    "notifyScriptableRunAlert": _alert,
}
