"""What a run leaves at W&B: its summary, its last values, its console log, single small files.

Every function is one attempt.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod.wandb.client import ApiError, RunInfo, SweepInfo, WandbClient

CONSOLE = "output.log"
"""The name of a run's console log, among its files and in its stream."""

_PAGE_LINES = 5000
_SAMPLES = 500
_SMALL_FILE_BYTES = 1 << 20

Place = tuple[str, str, str]
"""Entity, project, run."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that a run uploaded."""

    name: str
    url: str
    size_bytes: int


def replace_summary(
    client: WandbClient, run: RunInfo, summary: Mapping[str, Any], attempt: int | None = None
) -> None:
    """Replace a run's summary; its state stays as it is.

    A post to the run's stream would do it too, but at W&B it wakes a run that has ended.
    """
    client.graphql(
        "mutation UpsertBucket($id: String, $summaryMetrics: JSONString) { upsertBucket(input:"
        " {id: $id, summaryMetrics: $summaryMetrics}) { bucket { id } } }",
        {"id": run.node_id, "summaryMetrics": json.dumps(dict(summary))},
        attempt,
    )


def last_logged(client: WandbClient, place: Place, name: str) -> object:
    """Give the last value that a run's history has under a name; None when there is none.

    The API gives a sample of the rows, so the question goes on behind its last one.
    """
    found: object = None
    step: float = 0
    while True:
        spec = {"keys": ["_step", name], "samples": _SAMPLES, "minStep": step}
        asked = "sampledHistory(specs: $specs)"
        answer = _run(client, place, asked, {"specs": [json.dumps(spec)]})
        samples = _list(client, answer, "sampledHistory")
        rows = _list(client, {"rows": samples[0] if samples else None}, "rows")
        known = [row for row in rows if _step(row) >= step and row.get(name) is not None]
        if not known:
            return found
        last = max(known, key=_step)
        found, step = last[name], _step(last) + 1


def sampled_histories(
    client: WandbClient, sweep: SweepInfo, runs: Sequence[str], spec: str
) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of several runs' histories that W&B samples for a spec, by the run's id."""
    names = {f"r{at}": run for at, run in enumerate(runs)}
    variables = "".join(f", ${alias}: String!" for alias in names)
    asked = "".join(
        f" {alias}: run(name: ${alias}) {{ sampledHistory(specs: $specs) }}" for alias in names
    )
    answer = client.graphql(
        f"query Histories($project: String!, $entity: String!, $specs: [JSONString!]!{variables})"
        f" {{ project(name: $project, entityName: $entity) {{{asked} }} }}",
        {"project": sweep.project, "entity": sweep.entity, "specs": [spec], **names},
    )
    project = client.transport.within(answer, "project")
    found = {}
    for alias, run in names.items():
        node = client.transport.within({"run": project.get(alias)}, "run")
        samples = _list(client, node, "sampledHistory")
        rows = _list(client, {"rows": samples[0] if samples else None}, "rows")
        found[run] = [row for row in rows if isinstance(row, dict)]
    return found


def console_count(client: WandbClient, place: Place) -> int:
    """Give the number of the next line of a run's console log."""
    return _count(client, _run(client, place, "logLineCount", {}), "logLineCount")


def console_lines(client: WandbClient, place: Place) -> list[str]:
    """Give the lines of a run's console log, as far as they were streamed, oldest first."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = (
            "logLines(first: $first, after: $after)"
            " { edges { node { line } } pageInfo { endCursor hasNextPage } }"
        )
        variables = {"first": _PAGE_LINES, "after": cursor}
        lines = client.transport.within(_run(client, place, asked, variables), "logLines")
        for edge in _list(client, lines, "edges"):
            node = client.transport.within({"edge": edge}, "edge", "node")
            found.append(str(node.get("line") or ""))
        page = client.transport.within(lines, "pageInfo")
        if not page.get("hasNextPage") or page.get("endCursor") in (None, cursor):
            return found
        cursor = page["endCursor"]


def end_body(
    exit_code: int, offset: int = 0, console: Sequence[str] | None = None
) -> dict[str, Any]:
    """Give the body for file_stream that ends a run, with lines for its console log.

    Exit code 0 finishes the run; another one fails it, or hands it back where it is preempting.
    `offset` is the number of the first line."""
    body: dict[str, Any] = {"complete": True, "exitcode": exit_code}
    if console:
        body["files"] = {CONSOLE: {"offset": offset, "content": list(console)}}
    return body


def upload_file(client: WandbClient, place: Place, name: str, content: bytes) -> None:
    """Store a file with a run; its state stays as it is."""
    with client.transport.open(upload_request(client, place, name, content)):
        pass


def upload_request(
    client: WandbClient, place: Place, name: str, content: bytes | None
) -> urllib.request.Request:
    """Ask W&B where a run's file is to go, and give the request that brings it there."""
    entity, project, run = place
    answer = client.graphql(
        "mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files:"
        " [String!]!) { createRunFiles(input: {entityName: $entity, projectName: $project,"
        " runName: $run, files: $files}) { runID uploadHeaders files { name uploadUrl } } }",
        {"entity": entity, "project": project, "run": run, "files": [name]},
    )
    created = client.transport.within(answer, "createRunFiles")
    file = next(iter(_list(client, created, "files")), None)
    address = client.transport.within({"file": file}, "file").get("uploadUrl")
    if not address:
        raise ApiError(f"{client.transport.where} gave no place for {name}", status=502)
    lines = [str(line).partition(":") for line in _list(client, created, "uploadHeaders")]
    headers = {key: value.strip() for key, _, value in lines}
    url = urllib.parse.urljoin(client.connection.base_url, str(address))
    return client.transport.request("PUT", url, content, headers)


def download_file(client: WandbClient, file: FileInfo, path: Path) -> None:
    """Fetch a run's file; `path` appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    request = client.transport.request(
        "GET", urllib.parse.urljoin(client.connection.base_url, file.url)
    )
    with client.transport.open(request) as answer, part.open("wb") as out:
        try:
            while block := answer.read(1 << 20):
                out.write(block)
        except (http.client.HTTPException, OSError) as error:
            raise ApiError(f"fetching {file.name} broke off: {error}") from error
        if answer.length:  # http.client does not raise this for a body that is read in pieces
            raise ApiError(f"fetching {file.name} broke off, {answer.length} bytes too early")
    os.replace(part, path)


def find_file(client: WandbClient, place: Place, name: str) -> FileInfo | None:
    """Find a run's file by its name."""
    asked = "files(names: [$file]) { edges { node { name url sizeBytes } } }"
    files = client.transport.within(_run(client, place, asked, {"file": name}), "files")
    for edge in _list(client, files, "edges"):
        node = client.transport.within({"edge": edge}, "edge", "node")
        if node.get("name") == name and node.get("url"):
            url = urllib.parse.urljoin(client.connection.base_url, str(node["url"]))
            return FileInfo(name, url, _count(client, node, "sizeBytes"))
    return None


def file_text(client: WandbClient, place: Place, name: str) -> str | None:
    """Give the text of a small file of a run; None when it has none of that name."""
    file = find_file(client, place, name)
    if file is None:
        return None
    url = urllib.parse.urljoin(client.connection.base_url, file.url)
    with client.transport.open(client.transport.request("GET", url)) as answer:
        try:
            content = answer.read(_SMALL_FILE_BYTES)
        except (http.client.HTTPException, OSError) as error:
            raise ApiError(f"fetching {name} broke off: {error}") from error
    return bytes(content).decode("utf-8", "replace")


def last_step(client: WandbClient, place: Place) -> int | None:
    """Give the last step of a run's history; None when it has none."""
    step = _run(client, place, "lastHistoryStep", {}).get("lastHistoryStep")
    return step if isinstance(step, int) and step >= 0 else None


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
    return client.transport.within(answer, "project", "run")


def _list(client: WandbClient, answer: Mapping[str, Any], key: str) -> list[Any]:
    found = answer.get(key) or []
    if not isinstance(found, list):
        raise client.transport.unexpected(f"{found!r:.80} for {key}")
    return found


def _count(client: WandbClient, answer: Mapping[str, Any], key: str) -> int:
    """Read a whole number, which some servers send as text."""
    found = answer.get(key) or 0
    try:
        return int(found)
    except (TypeError, ValueError, OverflowError):
        raise client.transport.unexpected(f"{found!r:.80} for {key}") from None
