"""What a run leaves at W&B: its summary, its last values, its console log, single small files.

Ring 0: standard library only. As in `wandb_http`, every function is one attempt.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from sweepctl.wandb_http import FileInfo, RunInfo, WandbClient

CONSOLE = "output.log"
"""The name of a run's console log, among its files and in its stream."""

_PAGE_LINES = 5000
_SAMPLES = 500

Place = tuple[str, str, str]
"""Entity, project, run."""


def replace_summary(client: WandbClient, run: RunInfo, summary: Mapping[str, Any]) -> None:
    """Put another summary in the place of a run's own; its state stays as it is.

    A post to the run's stream would do it too, but at W&B wakes a run that has ended.
    """
    client.graphql(
        "mutation UpsertBucket($id: String, $summaryMetrics: JSONString) { upsertBucket(input:"
        " {id: $id, summaryMetrics: $summaryMetrics}) { bucket { id } } }",
        {"id": run.node_id, "summaryMetrics": json.dumps(dict(summary))},
    )


def last_logged(client: WandbClient, place: Place, name: str) -> object:
    """Give what a run logged last under a name, by its history; None when it logged nothing.

    The API gives a sample of the rows: behind its last one it is asked on.
    """
    found: object = None
    step: float = 0
    while True:
        spec = {"keys": ["_step", name], "samples": _SAMPLES, "minStep": step}
        asked = "sampledHistory(specs: $specs)"
        answer = _run(client, place, asked, {"specs": [json.dumps(spec)]}).get("sampledHistory")
        rows = answer[0] if isinstance(answer, list) and answer else None
        known = [row for row in rows or [] if _step(row) >= step and row.get(name) is not None]
        if not known:
            return found
        last = max(known, key=_step)
        found, step = last[name], _step(last) + 1


def console_count(client: WandbClient, place: Place) -> int:
    """Give the number of the next line of a run's console log."""
    run = _run(client, place, "logLineCount", {})
    return int(run.get("logLineCount") or 0)


def console_lines(client: WandbClient, place: Place) -> list[str]:
    """Give the lines of a run's console log as far as they were streamed, oldest first."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = (
            "logLines(first: $first, after: $after)"
            " { edges { node { line } } pageInfo { endCursor hasNextPage } }"
        )
        variables = {"first": _PAGE_LINES, "after": cursor}
        lines = _run(client, place, asked, variables).get("logLines") or {}
        edges = lines.get("edges") or []
        found += [str((edge.get("node") or {}).get("line") or "") for edge in edges]
        page = lines.get("pageInfo") or {}
        if not page.get("hasNextPage") or page.get("endCursor") in (None, cursor):
            return found
        cursor = page["endCursor"]


def end_body(
    exit_code: int, offset: int = 0, console: Sequence[str] | None = None
) -> dict[str, Any]:
    """Give the body of file_stream that ends a run, with lines for its console log if there are."""
    body: dict[str, Any] = {"complete": True, "exitcode": exit_code}
    if console:
        body["files"] = {CONSOLE: {"offset": offset, "content": list(console)}}
    return body


def find_file(client: WandbClient, place: Place, name: str) -> FileInfo | None:
    """Find a run's file by its name."""
    asked = "files(names: [$file]) { edges { node { name url sizeBytes } } }"
    files = _run(client, place, asked, {"file": name}).get("files") or {}
    for edge in files.get("edges") or []:
        node = edge.get("node") or {}
        if node.get("name") == name and node.get("url"):
            size_bytes = int(node.get("sizeBytes") or 0)
            url = urllib.parse.urljoin(client.connection.base_url, str(node["url"]))
            return FileInfo(name, url, size_bytes)
    return None


_TYPES = {"first": "Int", "after": "String", "file": "String!", "specs": "[JSONString!]!"}


def _step(row: object) -> float:
    step = row.get("_step") if isinstance(row, dict) else None
    return step if isinstance(step, (int, float)) else -1


def _run(
    client: WandbClient, place: Place, fields: str, variables: Mapping[str, Any]
) -> dict[str, Any]:
    entity, project, run = place
    declared = "".join(f", ${name}: {_TYPES[name]}" for name in variables)
    answer = client.graphql(
        f"query Run($entity: String!, $project: String!, $name: String!{declared})"
        " { project(name: $project, entityName: $entity) { run(name: $name) { " + fields + " } } }",
        {"entity": entity, "project": project, "name": run, **variables},
    )
    found = (answer.get("project") or {}).get("run")
    return found if isinstance(found, dict) else {}
