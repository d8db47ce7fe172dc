"""What W&B's fields of projects, sweeps and agents mean here, and the whole table of resolvers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphql import GraphQLError

from sweepctl.server.graphql.account_fields import ENTITY, QUERY_ACCOUNTS, entity, user
from sweepctl.server.graphql.artifact_mutations import ARTIFACT_MUTATIONS
from sweepctl.server.graphql.collection_fields import (
    ARTIFACT_TYPES,
    PROJECT_ARTIFACTS,
    QUERY_ARTIFACTS,
    RUN_ARTIFACTS,
)
from sweepctl.server.graphql.context import (
    Fields,
    Info,
    context_of,
    last_seen_at,
    page,
    runs_page,
)
from sweepctl.server.graphql.file_fields import FILE
from sweepctl.server.graphql.mutations import MUTATION
from sweepctl.server.graphql.run_fields import RUN
from sweepctl.server.store import record_store, run_store, summary_store, sweep_store
from sweepctl.server.store.api_forms import iso_time, node_id, row_of
from sweepctl.server.store.filters import run_filter, sweep_filter
from sweepctl.server.store.run_store import LOCAL_USER, Run
from sweepctl.server.store.sweep_store import Project, RegisteredAgent, Rows, Sweep

_FEATURES = (
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_TAGS",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "CLIENT_IDS",
    "FILESTREAM_GZIP",
    "MARK_RUN_FILES_UPLOADED",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "SWEEPS_QUERY_FILTERING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)


def _project(
    root: object, info: Info, name: str | None = None, entityName: str | None = None
) -> Project | None:
    """Find a project; None if nothing was ever written to it, as at W&B."""
    if not name:
        return None
    context = context_of(info)
    with context.database.read() as rows:
        return sweep_store.find_project(rows, entityName or context.user, name)


def _server_info(root: object, info: Info) -> dict[str, Any]:
    return {
        "features": [{"name": name, "isEnabled": True} for name in _FEATURES],
        # Clients up to 0.29 look keys up in it before they log a table or an image.
        "cliVersionInfo": {"max_cli_version": "99.0.0", "min_cli_version": "0.0.0"},
        "latestLocalVersionInfo": {
            "outOfDate": False,
            "latestVersionString": "0.81.4",
            "versionOnThisInstanceString": "0.81.4",
        },
    }


QUERY: Fields = {
    "serverInfo": _server_info,
    "project": _project,
    "model": _project,
    "models": lambda root, info, entityName=None, first=None, after=None, **_: _projects_page(
        info, entityName, first, after
    ),
}


def _projects_page(
    info: Info, entity: str | None, first: int | None, after: str | None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        found = sweep_store.projects(rows, entity)
    return page(lambda o, n: found[o : o + n], lambda info: len(found), first, after)


def _bucket(project: Project, info: Info, name: str, missingOk: bool = False) -> Run | None:
    with context_of(info).database.read() as rows:
        run = run_store.find_run(rows, project=project.pk, id=name)
    if run is None and not missingOk:
        raise GraphQLError(f"no run {project.entity}/{project.name}/{name}")
    return run


def _project_run(project: Project, info: Info, name: str) -> Run | None:
    return _bucket(project, info, name, missingOk=True)


def _project_sweep(project: Project, info: Info, sweepName: str) -> Sweep | None:
    with context_of(info).database.read() as rows:
        return sweep_store.find_sweep(rows, id=sweepName, project=project.pk)


def _project_sweeps(
    project: Project,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
) -> dict[str, Any]:
    where = sweep_filter(filters)
    with context_of(info).database.read() as rows:
        return page(
            lambda offset, count: sweep_store.sweeps(rows, project.pk, where, offset, count),
            lambda info: sweep_store.count_sweeps(rows, project.pk, where),
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
    return runs_page(
        info, first=first, after=after, order=order, filters=filters, project=project.pk
    )


def _project_run_count(project: Project, info: Info, filters: str | None = None) -> int:
    with context_of(info).database.read() as rows:
        return run_store.count_runs(rows, project=project.pk, where=run_filter(filters))


def _total_sweeps(project: Project, info: Info) -> int:
    with context_of(info).database.read() as rows:
        return sweep_store.count_sweeps(rows, project.pk, sweep_filter(None))


PROJECT: Fields = {
    "id": lambda project, info: node_id("Project", project.pk),
    "internalId": lambda project, info: str(project.pk),
    "entityName": lambda project, info: project.entity,
    "entity": lambda project, info: entity(project.entity),
    "readOnly": lambda project, info: False,
    "isBenchmark": lambda project, info: False,
    "createdAt": lambda project, info: iso_time(project.created),
    "user": lambda project, info: user(LOCAL_USER),
    "runCount": _project_run_count,
    "totalSweeps": _total_sweeps,
    "run": _project_run,
    "bucket": _bucket,
    "runs": _project_runs,
    "sweep": _project_sweep,
    "sweeps": _project_sweeps,
}


def _sweep_read(read: Callable[[Rows, Sweep], Any]) -> Callable[[Sweep, Info], Any]:
    def resolve(sweep: Sweep, info: Info) -> Any:
        with context_of(info).database.read() as rows:
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
    return runs_page(info, first=first, after=after, order=order, filters=filters, sweep=sweep.pk)


def _prior_runs(
    sweep: Sweep, info: Info, first: int | None = None, after: str | None = None, **_: Any
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        found = run_store.prior_runs(rows, sweep.pk)
    return page(lambda o, n: found[o : o + n], lambda info: len(found), first, after)


def _sweep_agent(sweep: Sweep, info: Info, agentName: str) -> RegisteredAgent | None:
    pk = row_of("Agent", agentName)
    with context_of(info).database.read() as rows:
        found = sweep_store.find_agent(rows, pk=pk, id=agentName)
    return found if found and found.sweep == sweep.pk else None


def _sweep_agents(
    sweep: Sweep, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        found = sweep_store.agents(rows, sweep.pk)
    return page(lambda o, n: found[o : o + n], lambda info: len(found), first or len(found), after)


def _records(sweep: Sweep, info: Info) -> str:
    """Give the records of all its runs, without their commands: what became of each attempt."""
    database = context_of(info).database
    with database.read() as rows:
        found = record_store.named_records(rows, database.folder, sweep.pk)
    forms = {run: json.loads(replace(record, argv=()).text()) for run, record in found.items()}
    return json.dumps(forms)


SWEEP: Fields = {
    "id": lambda sweep, info: node_id("Sweep", sweep.pk),
    "name": lambda sweep, info: sweep.id,
    "displayName": lambda sweep, info: sweep.display_name,
    "description": _sweep_read(sweep_store.sweep_description),
    "state": lambda sweep, info: sweep.state.value,
    "config": _sweep_read(lambda rows, sweep: sweep_store.sweep_text(rows, sweep.pk)),
    "createdAt": lambda sweep, info: iso_time(sweep.created),
    "updatedAt": lambda sweep, info: iso_time(sweep.updated),
    "heartbeatAt": lambda sweep, info: iso_time(sweep.updated),
    "earlyStopJobRunning": lambda sweep, info: False,
    "bestLoss": _sweep_read(summary_store.best_loss),
    "runCount": _sweep_read(lambda rows, sweep: run_store.count_runs(rows, sweep=sweep.pk)),
    "runCountExpected": lambda sweep, info: sweep.run_count_expected,
    "project": _sweep_read(lambda rows, sweep: sweep_store.project_by_pk(rows, sweep.project)),
    "user": lambda sweep, info: user(LOCAL_USER),
    "runs": _sweep_runs,
    "priorRuns": _prior_runs,
    "agent": _sweep_agent,
    "agents": _sweep_agents,
    "sweepctlRecords": _records,
}


def _agent_runs(
    agent: RegisteredAgent,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    return runs_page(info, first=first, after=after, order=order, last_agent=agent.pk)


def _total_runs(agent: RegisteredAgent, info: Info) -> int:
    with context_of(info).database.read() as rows:
        return run_store.count_runs(rows, last_agent=agent.pk)


AGENT: Fields = {
    # W&B's heartbeat names an agent by this id.
    "id": lambda agent, info: node_id("Agent", agent.pk),
    "name": lambda agent, info: agent.id,
    "state": lambda agent, info: agent.state.value,
    "totalRuns": _total_runs,
    "createdAt": lambda agent, info: iso_time(agent.created),
    "heartbeatAt": last_seen_at("agent"),
    "runs": _agent_runs,
}


RESOLVERS: dict[str, Fields] = {
    "Query": {**QUERY, **QUERY_ACCOUNTS, **QUERY_ARTIFACTS},
    "Mutation": {**MUTATION, **ARTIFACT_MUTATIONS},
    "Project": {**PROJECT, **PROJECT_ARTIFACTS},
    "Entity": ENTITY,
    "Sweep": SWEEP,
    "Agent": AGENT,
    "Run": {**RUN, **RUN_ARTIFACTS},
    "File": FILE,
    **ARTIFACT_TYPES,
}
