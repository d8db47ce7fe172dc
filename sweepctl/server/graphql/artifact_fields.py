"""What W&B's fields of artifacts and their collections mean here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError

from sweepctl.server.artifacts.versions import find_pk
from sweepctl.server.graphql.account_fields import user
from sweepctl.server.graphql.context import Context, Fields, Info, context_of, page
from sweepctl.server.graphql.file_fields import ServedFile
from sweepctl.server.store import artifact_store, blob_store, run_store, sweep_store
from sweepctl.server.store.api_forms import iso_time, node_id, row_of
from sweepctl.server.store.artifact_store import Alias, Artifact, Collection
from sweepctl.server.store.blob_store import Entry, Manifest
from sweepctl.server.store.run_store import LOCAL_USER, Run
from sweepctl.server.store.sweep_store import Project, Rows

_MAX_ENTRIES = 10_000
MANIFEST_NAME = "wandb_manifest.json"
TTL_INHERITED = -1
"""W&B's number for the time to live of the artifact's team; -2 stands for no end."""


@dataclass(frozen=True, slots=True)
class ArtifactType:
    """A type of artifacts in a project: a word that collections share."""

    project: Project
    name: str
    created: float

    @property
    def id(self) -> str:
        """The opaque id of the type."""
        return base64.b64encode(f"ArtifactType:{self.project.pk}:{self.name}".encode()).decode()


def type_of_id(text: str) -> tuple[int, str] | None:
    """Read the id of an artifact type: its project's key and its name."""
    try:
        kind, _, rest = base64.b64decode(text, validate=True).decode().partition(":")
        pk, _, name = rest.partition(":")
        return (int(pk), name) if kind == "ArtifactType" and pk.isdigit() and name else None
    except (binascii.Error, ValueError):
        return None


def find_artifact(context: Context, id: str) -> Artifact | None:
    """Find an artifact by its opaque id."""
    pk = row_of("Artifact", id)
    with context.database.read() as rows:
        return None if pk is None else find_pk(rows, pk)


def artifact_of(info: Info, id: str) -> Artifact:
    """Give the artifact with an opaque id; a GraphQLError if there is none."""
    found = find_artifact(context_of(info), id)
    if found is None:
        raise GraphQLError(f"no artifact has the id {id[:80]!r}")
    return found


def find_collection(info: Info, id: str) -> Collection | None:
    """Find a collection by its opaque id."""
    pk = row_of("ArtifactCollection", id)
    with context_of(info).database.read() as rows:
        return None if pk is None else artifact_store.find_collection(rows, pk=pk)


def file_place(entry: Entry) -> str:
    """Give where an artifact's file lies, as W&B names such places."""
    return f"wandb_artifacts/{entry.artifact}/{entry.blob}"


def artifact_file(context: Context, entry: Entry) -> ServedFile:
    """Give an entry of an artifact as the client sees it; a reference lies where it points."""
    place = file_place(entry)
    return ServedFile(
        id=base64.b64encode(f"ArtifactFile:{entry.artifact}:{entry.name}".encode()).decode(),
        name=entry.name,
        size_bytes=entry.size_bytes,
        url=entry.ref or context.blobs.url(context.base_url, "GET", place, entry.name),
        digest=entry.digest,
        storage_path=place,
    )


def _artifact_read(read: Callable[[Rows, Artifact], Any]) -> Callable[[Artifact, Info], Any]:
    def resolve(artifact: Artifact, info: Info) -> Any:
        with context_of(info).database.read() as rows:
            return read(rows, artifact)

    return resolve


def _sequence_of(rows: Rows, artifact: Artifact) -> Collection:
    return artifact_store.collection_by_pk(rows, artifact.collection)


def _type_of(rows: Rows, artifact: Artifact) -> ArtifactType:
    return collection_type(rows, _sequence_of(rows, artifact))


def collection_type(rows: Rows, collection: Collection) -> ArtifactType:
    """Give the type of a collection."""
    project = sweep_store.project_by_pk(rows, collection.project)
    return ArtifactType(project, collection.type, collection.created)


def _aliases(rows: Rows, artifact: Artifact) -> list[Alias]:
    """List its aliases; clients up to 0.16 learn its version from the alias of its number."""
    members = artifact_store.memberships_of(rows, artifact.pk)
    numbers = [artifact_store.version_alias(member) for member in members]
    return [*numbers, *artifact_store.aliases_of_artifact(rows, artifact.pk)]


def _version_index(rows: Rows, artifact: Artifact) -> int | None:
    member = artifact_store.find_membership(rows, artifact.collection, artifact.pk)
    return None if member is None else member.version


def _current_manifest(artifact: Artifact, info: Info) -> dict[str, Any] | None:
    if artifact.manifest is None:
        return None
    context = context_of(info)
    place = f"blobs/file/{artifact.pk}/{artifact.manifest}"
    url = context.blobs.url(context.base_url, "GET", place, MANIFEST_NAME)
    file = ServedFile(node_id("ManifestFile", artifact.pk), MANIFEST_NAME, 0, url=url)
    return {
        "id": node_id("CurrentManifest", artifact.pk),
        "type": "FULL",
        "digest": artifact.manifest,
        "file": file,
    }


def manifest_form(context: Context, manifest: Manifest) -> dict[str, Any]:
    """Give a manifest that a client is to send, with the address to send it to."""
    url = context.blobs.url(context.base_url, "PUT", f"blobs/manifest/{manifest.pk}")
    file = ServedFile(node_id("ManifestFile", manifest.pk), MANIFEST_NAME, 0, upload_url=url)
    return {
        "id": node_id("ArtifactManifest", manifest.pk),
        "type": manifest.kind,
        "digest": "",
        "file": file,
    }


def artifact_files(
    artifact: Artifact,
    info: Info,
    names: list[str] | None = None,
    first: int | None = None,
    after: str | None = None,
) -> dict[str, Any]:
    """Give one page of an artifact's files."""
    context = context_of(info)
    with context.database.read() as rows:
        return page(
            lambda offset, count: [
                artifact_file(context, entry)
                for entry in blob_store.entries(rows, artifact.pk, names, offset, count)
            ],
            lambda info: blob_store.count_entries(rows, artifact.pk, names),
            first,
            after,
            limit=_MAX_ENTRIES,
        )


def _files_by_entries(
    artifact: Artifact, info: Info, entries: list[dict[str, Any]] | None = None, **_: Any
) -> dict[str, Any]:
    context = context_of(info)
    with context.database.read() as rows:
        named = (blob_store.find_entry(rows, artifact.pk, e["name"]) for e in entries or ())
        found = [artifact_file(context, e) for e in named if e is not None and e.blob is not None]
    edges = [{"node": file, "cursor": str(n)} for n, file in enumerate(found, 1)]
    return {
        "edges": edges,
        "pageInfo": {"endCursor": None, "hasNextPage": False},
        "totalCount": len(edges),
    }


def _created_by(artifact: Artifact, info: Info) -> Run | dict[str, Any]:
    with context_of(info).database.read() as rows:
        run = run_store.find_run(rows, pk=artifact.run) if artifact.run is not None else None
    return run or user(LOCAL_USER)


def list_page(found: list[Any], first: int | None, after: str | None) -> dict[str, Any]:
    """Give one page of a connection whose items are at hand."""
    return page(lambda o, n: found[o : o + n], lambda info: len(found), first, after)


def _used_by(
    artifact: Artifact, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        return list_page(artifact_store.users(rows, artifact.pk), first, after)


def _collections_of(
    artifact: Artifact, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        members = artifact_store.memberships_of(rows, artifact.pk)
        found = [artifact_store.collection_by_pk(rows, m.collection) for m in members]
    return list_page(found, first, after)


def _memberships_of(
    artifact: Artifact, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        return list_page(artifact_store.memberships_of(rows, artifact.pk), first, after)


ARTIFACT: Fields = {
    "id": lambda artifact, info: node_id("Artifact", artifact.pk),
    "artifactSequence": _artifact_read(_sequence_of),
    "artifactType": _artifact_read(_type_of),
    "versionIndex": _artifact_read(_version_index),
    "ttlDurationSeconds": lambda artifact, info: (
        TTL_INHERITED if artifact.ttl_s is None else artifact.ttl_s
    ),
    "ttlIsInherited": lambda artifact, info: artifact.ttl_s is None,
    "tags": _artifact_read(lambda rows, a: artifact_store.tags(rows, "artifact", a.pk)),
    "historyStep": lambda artifact, info: artifact.history_step,
    "labels": lambda artifact, info: None,
    "size": lambda artifact, info: artifact.size_bytes,
    "storageBytes": lambda artifact, info: artifact.size_bytes,
    "digestAlgorithm": lambda artifact, info: "MANIFEST_MD5",
    "commitHash": lambda artifact, info: artifact.digest,
    "fileCount": lambda artifact, info: artifact.file_count,
    "createdAt": lambda artifact, info: iso_time(artifact.created),
    "updatedAt": lambda artifact, info: iso_time(artifact.updated),
    "aliases": _artifact_read(_aliases),
    "artifactCollections": _collections_of,
    "artifactMemberships": _memberships_of,
    "currentManifest": _current_manifest,
    "files": artifact_files,
    "filesByManifestEntries": _files_by_entries,
    "usedBy": _used_by,
    "createdBy": _created_by,
}
