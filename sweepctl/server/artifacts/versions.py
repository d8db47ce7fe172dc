"""What becomes of artifacts: logged, committed as a version, used, linked, named, deleted.

An artifact is PENDING until its client commits it; only then does it get its number and its
aliases, so that nobody sees half of one. The same content logged again is the version that is
there. A number is never used twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.server.artifacts.blobs import Blobs, blob_of
from sweepctl.server.artifacts.manifests import merged, read_manifest, text_of
from sweepctl.server.errors import BadMessageError
from sweepctl.server.store import artifact_store, blob_store, run_store, sweep_store
from sweepctl.server.store.artifact_store import Artifact, Collection, Membership
from sweepctl.server.store.blob_store import Entry, Manifest
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import Sql
from sweepctl.server.store.sweep_store import Project, Rows
from sweepctl_pod.errors import SweepctlError

_MAX_NAME = 128
_MAX_TAGS = 200
_BAD_NAME = re.compile(r"[/:\x00-\x1f]")
_REGISTRY = "wandb-registry-"

FULL, INCREMENTAL, PATCH = "FULL", "INCREMENTAL", "PATCH"


class ArtifactError(SweepctlError):
    """The artifact cannot be what the request asks for."""


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """What a client logs: the fields of `createArtifact`, checked."""

    entity: str
    project: str
    collection: str
    type: str
    digest: str
    run: str | None
    aliases: Sequence[str]
    tags: Sequence[str]
    client_id: str | None
    distributed_id: str | None
    is_deduplicated: bool
    fields: Mapping[str, Any]
    """Description, metadata, history step and time to live, by their columns."""


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file that a client has for an artifact."""

    artifact: int
    name: str
    digest: str


class Artifacts:
    """The artifacts of one data folder; safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        now: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._now = now
        self._log = log

    def create(self, new: NewArtifact) -> Artifact:
        """Begin an artifact, or give the version that has its content already.

        A client that asks again, since the answer was lost, gets the same one.
        """
        check_project(new.project)
        check_name("artifact", new.collection)
        check_name("artifact type", new.type)
        for alias in new.aliases:
            check_name("alias", alias)
        now = self._now()
        with self._database.write() as tx:
            project = sweep_store.ensure_project(tx, new.entity, new.project, now)
            run = None
            if new.run is not None:
                run = run_store.find_run(tx, project=project.pk, id=new.run)
            collection = self._sequence(tx, project, new)
            found = self._known(tx, collection, new)
            if found is None:
                values = {
                    "collection": collection.pk,
                    "digest": new.digest,
                    "run": None if run is None else run.pk,
                    "distributed_id": new.distributed_id,
                    "aliases_asked": json.dumps(list(new.aliases)),
                    **new.fields,
                }
                found = artifact_store.create_artifact(tx, values, now)
                artifact_store.add_tags(tx, "artifact", found.pk, new.tags)
            elif found.state == artifact_store.COMMITTED:
                self._name(tx, found, collection, new.aliases)
                artifact_store.add_tags(tx, "artifact", found.pk, new.tags)
            if new.client_id:
                artifact_store.name_by_client(tx, new.client_id, found.pk)
            if run is not None:
                artifact_store.note_run(tx, found.pk, run.pk, artifact_store.OUTPUT)
        return found

    def _sequence(self, tx: Rows, project: Project, new: NewArtifact) -> Collection:
        found = artifact_store.find_collection(tx, project=project.pk, name=new.collection)
        if found is None:
            values = {"project": project.pk, "name": new.collection, "type": new.type}
            return artifact_store.create_collection(tx, values, self._now())
        if found.is_portfolio:
            raise ArtifactError(
                f"{new.collection!r} is a collection of linked artifacts: log to another name"
            )
        if found.type != new.type:
            raise ArtifactError(
                f"the artifact {new.collection!r} has the type {found.type!r}, and {new.type!r}"
                " was given"
            )
        return found

    @staticmethod
    def _known(tx: Rows, collection: Collection, new: NewArtifact) -> Artifact | None:
        if new.client_id:
            of_client = artifact_store.of_client(tx, new.client_id)
            if of_client is not None and of_client.collection == collection.pk:
                return of_client
        if new.distributed_id:
            where = Sql(
                "collection = ? AND distributed_id = ? AND state = ?",
                (collection.pk, new.distributed_id, artifact_store.PENDING),
            )
            found = artifact_store.find_artifact(tx, where)
            if found is not None:
                return found
        if new.is_deduplicated:
            where = Sql(
                "collection = ? AND digest = ? AND state = ?",
                (collection.pk, new.digest, artifact_store.COMMITTED),
            )
            return artifact_store.find_artifact(tx, where)
        return None

    def begin_manifest(self, artifact: Artifact, kind: str, base: int | None) -> Manifest:
        """Note that the client is to send a manifest."""
        with self._database.write() as tx:
            return blob_store.create_manifest(tx, artifact.pk, kind, base)

    def begin_files(self, specs: Iterable[FileSpec]) -> list[tuple[Entry, bool]]:
        """Note files that artifacts are to have; say of each whether its bytes must come."""
        made = []
        with self._database.write() as tx:
            for spec in specs:
                blob = blob_of(spec.digest)
                current = find_pk(tx, spec.artifact)
                if current is None or current.state != artifact_store.PENDING:
                    raise ArtifactError("the artifact takes no more files")
                entry = Entry(spec.artifact, spec.name, spec.digest, blob, None, 0)
                blob_store.put_entry(tx, entry)
                made.append((entry, not blob_store.has_blob(tx, blob)))
            for artifact in {entry.artifact for entry, _ in made}:
                artifact_store.update_artifact(tx, artifact, {}, self._now())
        return made

    def commit(self, artifact: Artifact) -> Artifact:
        """Make an uploaded artifact a version of its sequence."""
        if artifact.state == artifact_store.COMMITTED:
            return artifact
        with self._database.read() as rows:
            sent = blob_store.manifests_of(rows, artifact.pk)
            before = blob_store.blobs_of(rows, artifact.pk)
            blob, manifest = self._whole(rows, artifact, sent)
        entries = [_entry(artifact.pk, *item) for item in manifest["contents"].items()]
        now = self._now()
        with self._database.write() as tx:
            current = find_pk(tx, artifact.pk)
            if current is None:
                raise ArtifactError("the artifact was deleted")
            if current.state == artifact_store.COMMITTED:
                return current
            blob_store.put_entries(tx, artifact.pk, entries)
            missing = blob_store.missing_blobs(tx, artifact.pk, 3)
            if missing:
                raise ArtifactError(f"files of the artifact never came: {', '.join(missing)}")
            values = {
                "state": artifact_store.COMMITTED,
                "manifest": blob,
                "size_bytes": sum(entry.size_bytes for entry in entries),
                "file_count": len(entries),
            }
            done = artifact_store.update_artifact(tx, artifact.pk, values, now)
            collection = artifact_store.collection_by_pk(tx, artifact.collection)
            self._name(
                tx, done, collection, [*artifact_store.aliases_asked(done), artifact_store.LATEST]
            )
        self._blobs.remove_unused(before)
        self._log(f"artifact {collection.name} has a new version of {len(entries)} files")
        return done

    def _whole(
        self, rows: Rows, artifact: Artifact, sent: Sequence[Manifest]
    ) -> tuple[str, dict[str, Any]]:
        """Give the manifest that an artifact ends up with: of several, all laid over each other."""
        full = [manifest for manifest in sent if manifest.kind == FULL]
        parts = full[-1:] or list(sent)
        if not parts:
            raise ArtifactError("the artifact's manifest never came")
        read = [read_manifest(self._blobs.read(str(part.blob))) for part in parts]
        base = parts[0].base
        if not full and base is not None and any(p.kind == INCREMENTAL for p in parts):
            old = find_pk(rows, base)
            if old is not None and old.manifest is not None:
                read.insert(0, read_manifest(self._blobs.read(old.manifest)))
        if len(read) == 1:
            return str(parts[0].blob), read[0]
        whole = merged(read)
        return self._blobs.write(text_of(whole)), whole

    def _name(
        self, tx: Rows, artifact: Artifact, collection: Collection, aliases: Iterable[str]
    ) -> Membership:
        member = artifact_store.add_member(tx, collection, artifact.pk, self._now())
        for alias in aliases:
            artifact_store.set_alias(tx, member, alias)
        return member


def find_pk(rows: Rows, pk: int) -> Artifact | None:
    """Find an artifact by its key."""
    return artifact_store.find_artifact(rows, Sql("pk = ?", (pk,)))


def _entry(artifact: int, name: str, content: Mapping[str, Any]) -> Entry:
    ref = content.get("ref") or None
    blob = None if ref else blob_of(content["digest"])
    return Entry(artifact, name, content["digest"], blob, ref, int(content.get("size", 0)))


def check_project(name: str) -> None:
    """Refuse a project that is a registry at W&B: a registry belongs to an organization."""
    if name.startswith(_REGISTRY):
        raise ArtifactError(
            f"{name!r}: this server has no registries; link to a collection of a project"
        )


def check_name(what: str, name: str) -> None:
    """Refuse a name that could not stand in `entity/project/name:alias`."""
    if not name or len(name) > _MAX_NAME or _BAD_NAME.search(name):
        raise BadMessageError(
            f"{name[:80]!r} is no name of an {what}: 1 to {_MAX_NAME} characters, none of them"
            " / or :"
        )
