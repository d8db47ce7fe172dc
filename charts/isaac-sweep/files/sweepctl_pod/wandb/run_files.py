"""The files of a run at W&B that may be large: listed by their folder, sent, fetched, deleted.

Every function is one attempt, and looks at each block whether it may go on: a call that nobody
waits for any more must not take the network from those that matter.
"""

from __future__ import annotations

import http.client
import os
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod.wandb.client import ApiError, WandbClient
from sweepctl_pod.wandb.outputs import Place, upload_request

BLOCK_BYTES = 256 << 10
_PAGE_FILES = 100
_MAX_PAGES = 50

Look = Callable[[int], None]
"""Called with the size of each block; it may wait, and ends the call by raising."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of a run, as W&B lists it."""

    node_id: str
    name: str
    url: str
    size_bytes: int


def list_folder(client: WandbClient, place: Place, folder: str) -> list[RunFile]:
    """List the files of a run below a folder."""
    found: list[RunFile] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        answer = client.graphql(
            "query RunFiles($entity: String!, $project: String!, $name: String!, $pattern: String,"
            " $first: Int, $after: String) { project(name: $project, entityName: $entity)"
            " { run(name: $name) { files(pattern: $pattern, first: $first, after: $after)"
            " { edges { node { id name url sizeBytes } }"
            " pageInfo { endCursor hasNextPage } } } } }",
            {
                **dict(zip(("entity", "project", "name"), place, strict=True)),
                **{"pattern": f"{folder}/%", "first": _PAGE_FILES, "after": cursor},
            },
        )
        files = client.transport.within(answer, "project", "run", "files")
        edges = files.get("edges") or []
        if not isinstance(edges, list):
            raise client.transport.unexpected(f"{edges!r:.80} for edges")
        nodes = [client.transport.within({"edge": edge}, "edge", "node") for edge in edges]
        found += [_file(client, node) for node in nodes if _is_below(node, folder)]
        page = client.transport.within(files, "pageInfo")
        if not page.get("hasNextPage") or page.get("endCursor") in (None, cursor):
            break
        cursor = page["endCursor"]
    return found


def send_file(client: WandbClient, place: Place, name: str, path: Path, look: Look) -> None:
    """Store a file with a run; there is nothing of it at W&B before it is there whole."""
    request = upload_request(client, place, name, None)
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        request.data = _blocks(file.read, look)
        # After the data, which drops a length that was given before it. Without one, it would be
        # sent in HTTP's chunks, which S3 does not take (501 NotImplemented).
        request.add_header("Content-Length", str(size_bytes))
        with client.transport.open(request):
            pass


def fetch_file(client: WandbClient, file: RunFile, path: Path, look: Look) -> None:
    """Fetch a file of a run; `path` appears only when it is there whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        client.transport.open(client.transport.request("GET", file.url)) as answer,
        whole_or_none(path) as part,
    ):

        def read(size_bytes: int) -> bytes:
            try:
                # What has come so far: a trickle cannot hold up the look.
                return bytes(answer.read1(size_bytes))
            except (http.client.HTTPException, OSError) as error:
                raise ApiError(f"fetching {file.name} broke off: {error}") from error

        with part.open("wb") as out:
            for block in _blocks(read, look):
                out.write(block)
        if answer.length:  # http.client does not raise this for a body that is read in pieces
            raise ApiError(f"fetching {file.name} broke off, {answer.length} bytes too early")
        look(0)


@contextmanager
def whole_or_none(path: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` at the end; an error leaves nothing of it.

    A disk that was full would stay so, by the half of a file that nobody looks for any more.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def read_small(client: WandbClient, file: RunFile, most_bytes: int) -> str:
    """Give the text of a file of a run, or its beginning where it is larger."""
    with client.transport.open(client.transport.request("GET", file.url)) as answer:
        try:
            return bytes(answer.read(most_bytes)).decode("utf-8", "replace")
        except (http.client.HTTPException, OSError) as error:
            raise ApiError(f"fetching {file.name} broke off: {error}") from error


def delete_files(client: WandbClient, files: Sequence[RunFile]) -> None:
    """Delete files of a run."""
    if files:
        client.graphql(
            "mutation DeleteFiles($files: [ID!]!) { deleteFiles(input: {files: $files})"
            " { success } }",
            {"files": [file.node_id for file in files]},
        )


def _blocks(read: Callable[[int], bytes], look: Look) -> Iterator[bytes]:
    while block := read(BLOCK_BYTES):
        look(len(block))
        yield block


def _is_below(node: dict[str, Any], folder: str) -> bool:
    """Say whether W&B listed a file of the folder: one that knows no pattern lists all."""
    return str(node.get("name") or "").startswith(f"{folder}/") and bool(node.get("url"))


def _file(client: WandbClient, node: dict[str, Any]) -> RunFile:
    try:
        size_bytes = int(node.get("sizeBytes") or 0)
    except (TypeError, ValueError, OverflowError):
        size_bytes = 0
    url = urllib.parse.urljoin(client.connection.base_url, str(node["url"]))
    return RunFile(str(node.get("id") or ""), str(node["name"]), url, size_bytes)
