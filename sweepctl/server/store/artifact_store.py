"""The rows of artifacts: collections, their versions, who is a member of which, aliases, tags.

A *sequence* is the collection that an artifact was logged to; a *portfolio* collects versions of
others by link. A version has its number as a member of a collection, from its commit on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweepctl.server.store.filters import TRUE, Sql
from sweepctl.server.store.run_store import Run, runs
from sweepctl.server.store.sweep_store import Rows, columns, insert, update

LATEST = "latest"
"""The alias that the newest version of a collection has."""

COMMITTED = "COMMITTED"
PENDING = "PENDING"
INPUT = "input"
OUTPUT = "output"

NEWEST_FIRST = Sql("memberships.version DESC")

_VERSION = re.compile(r"v(\d{1,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Collection:
    """A sequence or a portfolio of a project."""

    pk: int
    project: int
    name: str
    is_portfolio: bool
    type: str
    description: str | None
    next_version: int
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of a sequence, or one that is still being uploaded."""

    pk: int
    collection: int
    state: str
    digest: str
    description: str | None
    metadata: str | None
    run: int | None
    history_step: int | None
    ttl_s: int | None
    distributed_id: str | None
    manifest: str | None
    """The blob of its manifest."""
    size_bytes: int
    file_count: int
    aliases_asked: str
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class Membership:
    """An artifact as a version of a collection."""

    pk: int
    collection: int
    artifact: int
    version: int
    created: float


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of a version within its collection."""

    pk: int
    collection: int
    membership: int
    alias: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of an artifact or of a collection."""

    pk: int
    name: str


_COLLECTION = columns(Collection, "collections")
_ARTIFACT = columns(Artifact, "artifacts")
_MEMBERSHIP = columns(Membership, "memberships")
_ALIAS = columns(Alias, "aliases")
_TAG = columns(Tag, "tags")


def _collection(row: Sequence[Any]) -> Collection:
    return replace(Collection(*row), is_portfolio=bool(row[3]))


def create_collection(tx: Rows, values: Mapping[str, Any], now: float) -> Collection:
    """Store a new collection."""
    pk = insert(tx, "collections", {**values, "created": now, "updated": now})
    found = find_collection(tx, pk=pk)
    assert found is not None
    return found


def find_collection(
    rows: Rows, *, pk: int | None = None, project: int | None = None, name: str | None = None
) -> Collection | None:
    """Find a collection by its key, or by its project and name."""
    query = f"SELECT {_COLLECTION} FROM collections WHERE pk = ? OR (project = ? AND name = ?)"
    row = rows.execute(query, (pk, project, name)).fetchone()
    return _collection(row) if row else None


def collection_by_pk(rows: Rows, pk: int) -> Collection:
    """Give the collection with this key, which is there."""
    query = f"SELECT {_COLLECTION} FROM collections WHERE pk = ?"
    return _collection(rows.execute(query, (pk,)).fetchone())


def collections(
    rows: Rows, project: int, where: Sql, order: Sql, offset: int = 0, count: int = -1
) -> list[Collection]:
    """List the collections of a project."""
    query = (
        f"SELECT {_COLLECTION} FROM collections WHERE project = ? AND {where.text}"
        f" ORDER BY {order.text} LIMIT {count:d} OFFSET {offset:d}"
    )
    found = rows.execute(query, (project, *where.arguments, *order.arguments))
    return [_collection(row) for row in found]


def count_collections(rows: Rows, project: int, where: Sql) -> int:
    """Count the collections of a project."""
    query = f"SELECT count(*) FROM collections WHERE project = ? AND {where.text}"
    return int(rows.execute(query, (project, *where.arguments)).fetchone()[0])


def types(rows: Rows, project: int) -> dict[str, float]:
    """Give the types of a project's artifacts, each with the time of its first collection."""
    query = "SELECT type, min(created) FROM collections WHERE project = ? GROUP BY type ORDER BY 2"
    return dict(rows.execute(query, (project,)).fetchall())


def update_collection(tx: Rows, pk: int, values: Mapping[str, Any], now: float) -> None:
    """Change a collection."""
    update(tx, "collections", pk, {**values, "updated": now})


def delete_collection(tx: Rows, pk: int) -> None:
    """Delete a collection; its own artifacts are gone before."""
    tx.execute("DELETE FROM aliases WHERE collection = ?", (pk,))
    tx.execute("DELETE FROM memberships WHERE collection = ?", (pk,))
    tx.execute("DELETE FROM tags WHERE kind = 'collection' AND owner = ?", (pk,))
    tx.execute("DELETE FROM collections WHERE pk = ?", (pk,))


def create_artifact(tx: Rows, values: Mapping[str, Any], now: float) -> Artifact:
    """Store a new artifact, whose upload begins."""
    own = {"state": PENDING, "created": now, "updated": now}
    return artifact_by_pk(tx, insert(tx, "artifacts", {**values, **own}))


def artifact_by_pk(rows: Rows, pk: int) -> Artifact:
    """Give the artifact with this key, which is there."""
    query = f"SELECT {_ARTIFACT} FROM artifacts WHERE pk = ?"
    return Artifact(*rows.execute(query, (pk,)).fetchone())


def find_artifact(rows: Rows, where: Sql) -> Artifact | None:
    """Find the newest artifact that meets a condition."""
    query = f"SELECT {_ARTIFACT} FROM artifacts WHERE {where.text} ORDER BY pk DESC LIMIT 1"
    row = rows.execute(query, where.arguments).fetchone()
    return Artifact(*row) if row else None


def artifacts_of_sequence(rows: Rows, collection: int) -> list[Artifact]:
    """List the artifacts that were logged to a sequence, also those still being uploaded."""
    query = f"SELECT {_ARTIFACT} FROM artifacts WHERE collection = ? ORDER BY pk"
    return [Artifact(*row) for row in rows.execute(query, (collection,))]


def update_artifact(tx: Rows, pk: int, values: Mapping[str, Any], now: float) -> Artifact:
    """Change an artifact."""
    update(tx, "artifacts", pk, {**values, "updated": now})
    return artifact_by_pk(tx, pk)


def delete_artifact(tx: Rows, pk: int) -> None:
    """Delete an artifact with everything that hangs on it; blobs are the caller's."""
    tx.execute(
        "DELETE FROM aliases WHERE membership IN (SELECT pk FROM memberships WHERE artifact = ?)",
        (pk,),
    )
    for table in (
        "memberships",
        "artifact_clients",
        "artifact_runs",
        "artifact_manifests",
        "artifact_entries",
    ):
        tx.execute(f"DELETE FROM {table} WHERE artifact = ?", (pk,))
    tx.execute("DELETE FROM tags WHERE kind = 'artifact' AND owner = ?", (pk,))
    tx.execute("DELETE FROM artifacts WHERE pk = ?", (pk,))


def name_by_client(tx: Rows, client_id: str, artifact: int) -> None:
    """Note the id by which a client knows an artifact."""
    tx.execute("INSERT OR REPLACE INTO artifact_clients VALUES (?, ?)", (client_id, artifact))


def of_client(rows: Rows, client_id: str) -> Artifact | None:
    """Find an artifact by the id that its client gave it."""
    query = "SELECT artifact FROM artifact_clients WHERE client_id = ?"
    row = rows.execute(query, (client_id,)).fetchone()
    return artifact_by_pk(rows, row[0]) if row else None


def add_member(tx: Rows, collection: Collection, artifact: int, now: float) -> Membership:
    """Make an artifact the next version of a collection, unless it is one of its versions."""
    found = find_membership(tx, collection.pk, artifact)
    if found is not None:
        return found
    version = collection_by_pk(tx, collection.pk).next_version
    values = {"collection": collection.pk, "artifact": artifact, "version": version, "created": now}
    pk = insert(tx, "memberships", values)
    update_collection(tx, collection.pk, {"next_version": version + 1}, now)
    return Membership(pk, collection.pk, artifact, version, now)


def find_membership(rows: Rows, collection: int, artifact: int) -> Membership | None:
    """Find an artifact among the members of a collection."""
    query = f"SELECT {_MEMBERSHIP} FROM memberships WHERE collection = ? AND artifact = ?"
    row = rows.execute(query, (collection, artifact)).fetchone()
    return Membership(*row) if row else None


def named_member(rows: Rows, collection: int, name: str) -> Membership | None:
    """Find a version of a collection by its alias, or by `v` and its number."""
    query = (
        f"SELECT {_MEMBERSHIP} FROM aliases JOIN memberships ON memberships.pk = aliases.membership"
        " WHERE aliases.collection = ? AND aliases.alias = ?"
    )
    row = rows.execute(query, (collection, name)).fetchone()
    number = _VERSION.fullmatch(name)
    if row is None and number is not None:
        query = f"SELECT {_MEMBERSHIP} FROM memberships WHERE collection = ? AND version = ?"
        row = rows.execute(query, (collection, int(number[1]))).fetchone()
    return Membership(*row) if row else None


def members(
    rows: Rows,
    collection: int,
    where: Sql = TRUE,
    order: Sql = NEWEST_FIRST,
    offset: int = 0,
    count: int = -1,
) -> list[Membership]:
    """List the versions of a collection; conditions may name `artifacts`."""
    query = (
        f"SELECT {_MEMBERSHIP} FROM memberships"
        " JOIN artifacts ON artifacts.pk = memberships.artifact"
        f" WHERE memberships.collection = ? AND {where.text}"
        f" ORDER BY {order.text} LIMIT {count:d} OFFSET {offset:d}"
    )
    found = rows.execute(query, (collection, *where.arguments, *order.arguments))
    return [Membership(*row) for row in found]


def count_members(rows: Rows, collection: int, where: Sql = TRUE) -> int:
    """Count the versions of a collection."""
    query = (
        "SELECT count(*) FROM memberships JOIN artifacts ON artifacts.pk = memberships.artifact"
        f" WHERE memberships.collection = ? AND {where.text}"
    )
    return int(rows.execute(query, (collection, *where.arguments)).fetchone()[0])


def memberships_of(rows: Rows, artifact: int) -> list[Membership]:
    """List where an artifact is a version, its own sequence first."""
    query = f"SELECT {_MEMBERSHIP} FROM memberships WHERE artifact = ? ORDER BY pk"
    return [Membership(*row) for row in rows.execute(query, (artifact,))]


def remove_member(tx: Rows, membership: int) -> None:
    """Take a version out of a collection."""
    tx.execute("DELETE FROM aliases WHERE membership = ?", (membership,))
    tx.execute("DELETE FROM memberships WHERE pk = ?", (membership,))


def set_alias(tx: Rows, member: Membership, alias: str) -> None:
    """Give a version an alias, which moves there from another version of the collection."""
    key = (member.collection, alias)
    query = "SELECT membership FROM aliases WHERE collection = ? AND alias = ?"
    row = tx.execute(query, key).fetchone()
    if row is not None and row[0] == member.pk:
        return
    tx.execute("DELETE FROM aliases WHERE collection = ? AND alias = ?", key)
    values = {"collection": member.collection, "membership": member.pk, "alias": alias}
    insert(tx, "aliases", values)


def remove_alias(tx: Rows, member: Membership, alias: str) -> None:
    """Take an alias from a version."""
    tx.execute("DELETE FROM aliases WHERE membership = ? AND alias = ?", (member.pk, alias))


def renew_latest(tx: Rows, collection: int) -> None:
    """Give `latest` to the newest version where no version has it any more."""
    if named_member(tx, collection, LATEST) is None:
        newest = members(tx, collection, count=1)
        if newest:
            set_alias(tx, newest[0], LATEST)


def version_alias(member: Membership) -> Alias:
    """Give the alias that a version has by its number, which is no row."""
    return Alias(-member.pk, member.collection, member.pk, f"v{member.version}")


def aliases_of_member(rows: Rows, membership: int) -> list[Alias]:
    """List the aliases of a version."""
    query = f"SELECT {_ALIAS} FROM aliases WHERE membership = ? ORDER BY pk"
    return [Alias(*row) for row in rows.execute(query, (membership,))]


def aliases_of_collection(rows: Rows, collection: int) -> list[Alias]:
    """List the aliases of all versions of a collection."""
    query = f"SELECT {_ALIAS} FROM aliases WHERE collection = ? ORDER BY pk"
    return [Alias(*row) for row in rows.execute(query, (collection,))]


def aliases_of_artifact(rows: Rows, artifact: int) -> list[Alias]:
    """List the aliases of an artifact in all its collections."""
    query = (
        f"SELECT {_ALIAS} FROM aliases JOIN memberships ON memberships.pk = aliases.membership"
        " WHERE memberships.artifact = ? ORDER BY aliases.pk"
    )
    return [Alias(*row) for row in rows.execute(query, (artifact,))]


def add_tags(tx: Rows, kind: str, owner: int, names: Iterable[str]) -> None:
    """Tag an "artifact" or a "collection"."""
    query = "INSERT OR IGNORE INTO tags (kind, owner, name) VALUES (?, ?, ?)"
    tx.executemany(query, [(kind, owner, name) for name in names])


def remove_tags(tx: Rows, kind: str, owner: int, names: Iterable[str]) -> None:
    """Take tags away."""
    query = "DELETE FROM tags WHERE kind = ? AND owner = ? AND name = ?"
    tx.executemany(query, [(kind, owner, name) for name in names])


def tags(rows: Rows, kind: str, owner: int) -> list[Tag]:
    """List the tags of an "artifact" or a "collection"."""
    query = f"SELECT {_TAG} FROM tags WHERE kind = ? AND owner = ? ORDER BY pk"
    return [Tag(*row) for row in rows.execute(query, (kind, owner))]


def note_run(tx: Rows, artifact: int, run: int, role: str) -> None:
    """Note that an artifact is an input or an output of a run."""
    query = "INSERT OR IGNORE INTO artifact_runs (run, role, artifact) VALUES (?, ?, ?)"
    tx.execute(query, (run, role, artifact))


def artifacts_of_run(rows: Rows, run: int, role: str) -> list[Artifact]:
    """List the committed inputs or outputs of a run."""
    query = (
        f"SELECT {_ARTIFACT} FROM artifact_runs JOIN artifacts ON artifacts.pk = artifact"
        " WHERE artifact_runs.run = ? AND role = ? AND state = ? ORDER BY artifacts.pk"
    )
    return [Artifact(*row) for row in rows.execute(query, (run, role, COMMITTED))]


def users(rows: Rows, artifact: int) -> list[Run]:
    """List the runs that an artifact is an input of."""
    query = "runs.pk IN (SELECT run FROM artifact_runs WHERE artifact = ? AND role = ?)"
    return runs(rows, where=Sql(query, (artifact, INPUT)))


def made_by(rows: Rows, run: int) -> list[Artifact]:
    """List the artifacts that a run made, committed or not."""
    query = f"SELECT {_ARTIFACT} FROM artifacts WHERE run = ? ORDER BY pk"
    return [Artifact(*row) for row in rows.execute(query, (run,))]


def left_pending(rows: Rows, before: float) -> list[Artifact]:
    """List the artifacts whose upload began, or went on, before a time and never ended."""
    query = f"SELECT {_ARTIFACT} FROM artifacts WHERE state = ? AND updated < ?"
    return [Artifact(*row) for row in rows.execute(query, (PENDING, before))]


def forget_run(tx: Rows, run: int) -> None:
    """Remove a deleted run from the artifacts that it made or used."""
    tx.execute("DELETE FROM artifact_runs WHERE run = ?", (run,))
    tx.execute("UPDATE artifacts SET run = NULL WHERE run = ?", (run,))


def aliases_asked(artifact: Artifact) -> list[str]:
    """Give the aliases that an artifact is to have from its commit on."""
    return [str(alias) for alias in json.loads(artifact.aliases_asked)]
