"""What W&B's fields of runs and of their files mean here."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from sweepctl.server.graphql.account_fields import user
from sweepctl.server.graphql.context import (
    Fields,
    Info,
    context_of,
    cursor,
    json_map,
    last_seen_at,
    page,
)
from sweepctl.server.graphql.file_fields import run_file
from sweepctl.server.store import file_store, history_keys, lines, run_store, sweep_store
from sweepctl.server.store.api_forms import iso_time, node_id
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import RegisteredAgent, Rows, Sweep
from sweepctl_pod.wandb.states import HELD_RUNS, RunState

_MAX_LOG_LINES = 10_000
_MAX_SAMPLES = 100_000


def _run_read(read: Callable[[Rows, Run], Any]) -> Callable[[Run, Info], Any]:
    def resolve(run: Run, info: Info) -> Any:
        with context_of(info).database.read() as rows:
            return read(rows, run)

    return resolve


def _run_sweep(rows: Rows, run: Run) -> Sweep | None:
    return None if run.sweep is None else sweep_store.sweep_by_pk(rows, run.sweep)


def _run_sweep_name(rows: Rows, run: Run) -> str | None:
    sweep = _run_sweep(rows, run)
    return sweep.id if sweep else None


def _run_agent(rows: Rows, run: Run) -> RegisteredAgent | None:
    pk = run.agent or run.last_agent
    return None if pk is None else sweep_store.find_agent(rows, pk=pk)


def _wandb_config(run: Run, info: Info, keys: list[str] | None = None) -> str:
    with context_of(info).database.read() as rows:
        config = json.loads(run_store.run_document(rows, run.pk, "config"))
    own = config.get("_wandb")
    values = own.get("value") if isinstance(own, Mapping) else None
    if not isinstance(values, Mapping):
        values = {}
    return json.dumps({key: value for key, value in values.items() if not keys or key in keys})


def _system_metrics(rows: Rows, run: Run) -> str:
    tail = lines.line_tail(rows, run.pk, lines.EVENTS, 1)
    return tail[0][1] if tail else "{}"


def _events_tail(rows: Rows, run: Run) -> str:
    return json.dumps([text for _, text in lines.line_tail(rows, run.pk, lines.EVENTS, 1)])


def _history_keys(rows: Rows, run: Run) -> dict[str, Any]:
    known, summary = (
        run_store.run_document(rows, run.pk, name) for name in ("history_keys", "summary")
    )
    return history_keys.wandb_form(rows, run.pk, known, summary, run.last_step)


def _history(
    run: Run,
    info: Info,
    minStep: int | None = None,
    maxStep: int | None = None,
    samples: int | None = None,
) -> list[str]:
    count = min(samples if samples and samples > 0 else 500, _MAX_SAMPLES)
    with context_of(info).database.read() as rows:
        if minStep is None and maxStep is None:
            return lines.spread_history(rows, run.pk, count)
        low, high = lines.step_of(minStep, 0), lines.step_of(maxStep, run.last_step + 1)
        return lines.history_steps(rows, run.pk, low, high, _MAX_SAMPLES)


def _events(run: Run, info: Info, samples: int | None = None) -> list[str]:
    count = min(samples if samples and samples > 0 else 500, _MAX_SAMPLES)
    with context_of(info).database.read() as rows:
        return lines.spread_lines(rows, run.pk, lines.EVENTS, count)


def _sampled_history(run: Run, info: Info, specs: list[str]) -> list[Any]:
    found = []
    with context_of(info).database.read() as rows:
        for text in specs:
            spec = json_map(text, "specs")
            found.append(lines.sampled_history(rows, run.pk, spec))
    return found


def _parquet_history(run: Run, info: Info, liveKeys: list[str]) -> dict[str, Any]:
    """Say that nothing is exported to files: the client then reads the lines, or says so."""
    with context_of(info).database.read() as rows:
        return {"parquetUrls": [], "liveData": lines.live_rows(rows, run.pk, liveKeys)}


def _log_lines(
    run: Run,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    useImprovedPagination: bool | None = None,
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        if last is not None:
            count = max(0, min(last, _MAX_LOG_LINES))
            found, has_next = lines.line_tail(rows, run.pk, lines.CONSOLE, count), False
        else:
            count = min(first if first and first > 0 else 1000, _MAX_LOG_LINES)
            start = cursor(after, -1)
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
    context = context_of(info)
    # The client asks for a file as its user wrote it: ./a, b//c.
    wanted = [posixpath.normpath(name) for name in names or [] if name is not None]
    with context.database.read() as rows:
        return page(
            lambda offset, count: [
                run_file(context, file)
                for file in file_store.files(rows, run.pk, wanted, pattern, offset, count)
            ],
            lambda info: file_store.count_files(rows, run.pk),
            first,
            after,
        )


RUN: Fields = {
    "id": lambda run, info: node_id("Run", run.pk),
    "name": lambda run, info: run.id,
    "displayName": lambda run, info: run.display_name,
    "state": lambda run, info: run.state.value,
    "config": _run_read(lambda rows, run: run_store.run_document(rows, run.pk, "config")),
    "wandbConfig": _wandb_config,
    "summaryMetrics": _run_read(lambda rows, run: run_store.run_document(rows, run.pk, "summary")),
    "systemMetrics": _run_read(_system_metrics),
    "sweepName": _run_read(_run_sweep_name),
    "sweep": _run_read(_run_sweep),
    "agent": _run_read(_run_agent),
    "project": _run_read(lambda rows, run: sweep_store.project_by_pk(rows, run.project)),
    "projectId": lambda run, info: str(run.project),
    "group": lambda run, info: run.group_name,
    "jobType": lambda run, info: run.job_type,
    "commit": lambda run, info: run.commit_hash,
    "tags": lambda run, info: json.loads(run.tags),
    "readOnly": lambda run, info: False,
    "user": lambda run, info: user(run.user_name),
    "createdAt": lambda run, info: iso_time(run.created),
    "updatedAt": lambda run, info: iso_time(run.updated),
    "heartbeatAt": last_seen_at("run"),
    "exitcode": lambda run, info: run.exit_code,
    "shouldStop": lambda run, info: run.is_stop_asked,
    "stopped": lambda run, info: run.is_stop_asked,
    "failed": lambda run, info: run.state in (RunState.FAILED, RunState.CRASHED),
    "running": lambda run, info: run.state in HELD_RUNS,
    "historyLineCount": _run_read(run_store.history_count),
    "eventsLineCount": _run_read(lambda rows, run: lines.line_count(rows, run.pk, lines.EVENTS)),
    "logLineCount": _run_read(lambda rows, run: lines.line_count(rows, run.pk, lines.CONSOLE)),
    "historyTail": _run_read(lambda rows, run: json.dumps(lines.history_tail(rows, run.pk, 1))),
    "eventsTail": _run_read(_events_tail),
    "lastHistoryStep": lambda run, info: run.last_step,
    "historyKeys": _run_read(_history_keys),
    "history": _history,
    "events": _events,
    "sampledHistory": _sampled_history,
    "parquetHistory": _parquet_history,
    "logLines": _log_lines,
    "fileCount": _run_read(lambda rows, run: file_store.count_files(rows, run.pk)),
    "files": _run_files,
}
