"""The rows of what artifacts hold: blobs by their content, entries, manifests.

A blob is bytes under the hexadecimal MD5 that W&B's manifests name them by. It is there once,
however many artifacts have it, and goes with the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweepctl.server.store.sweep_store import Rows, columns, insert


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of an artifact: a file, whose bytes are a blob, or a reference, without one."""

    artifact: int
    name: str
    digest: str
    blob: str | None
    ref: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that a client sent or is to send."""

    pk: int
    artifact: int
    kind: str
    base: int | None
    blob: str | None


_ENTRY = columns(Entry, "artifact_entries")
_MANIFEST = columns(Manifest, "artifact_manifests")
_IS_UNUSED = (
    "NOT EXISTS (SELECT 1 FROM artifact_entries WHERE artifact_entries.blob = blobs.blob)"
    " AND NOT EXISTS (SELECT 1 FROM artifact_manifests WHERE artifact_manifests.blob = blobs.blob)"
    " AND NOT EXISTS (SELECT 1 FROM artifacts WHERE artifacts.manifest = blobs.blob)"
)


def has_blob(rows: Rows, blob: str) -> bool:
    """Say whether a blob is there."""
    return rows.execute("SELECT 1 FROM blobs WHERE blob = ?", (blob,)).fetchone() is not None


def is_wanted(rows: Rows, artifact: int, blob: str) -> bool:
    """Say whether an artifact has or is to have an entry with this content."""
    query = "SELECT 1 FROM artifact_entries WHERE artifact = ? AND blob = ? LIMIT 1"
    return rows.execute(query, (artifact, blob)).fetchone() is not None


def put_blob(tx: Rows, blob: str, size_bytes: int, now: float) -> None:
    """Store that a blob is there."""
    tx.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (blob, size_bytes, now))


def blobs_of(rows: Rows, artifact: int) -> list[str]:
    """List the blobs that an artifact has: of its entries and of its manifests."""
    query = (
        "SELECT blob FROM artifact_entries WHERE artifact = ?1 AND blob IS NOT NULL"
        " UNION SELECT blob FROM artifact_manifests WHERE artifact = ?1 AND blob IS NOT NULL"
        " UNION SELECT manifest FROM artifacts WHERE pk = ?1 AND manifest IS NOT NULL"
    )
    return [row[0] for row in rows.execute(query, (artifact,))]


def all_blobs(rows: Rows) -> list[str]:
    """List all blobs."""
    return [row[0] for row in rows.execute("SELECT blob FROM blobs")]


def total_bytes(rows: Rows) -> int:
    """Give how much all blobs are."""
    return int(rows.execute("SELECT coalesce(sum(size_bytes), 0) FROM blobs").fetchone()[0])


def unused_blobs(rows: Rows) -> list[str]:
    """List the blobs that nothing has any more."""
    return [row[0] for row in rows.execute(f"SELECT blob FROM blobs WHERE {_IS_UNUSED}")]


def take_unused(tx: Rows, blobs: Iterable[str]) -> list[str]:
    """Delete the rows of those of the blobs that nothing has any more, and name them."""
    query = f"DELETE FROM blobs WHERE blob = ? AND {_IS_UNUSED}"
    return [blob for blob in blobs if tx.execute(query, (blob,)).rowcount]


def put_entry(tx: Rows, entry: Entry) -> None:
    """Store that an artifact has or is to have an entry."""
    values = (
        entry.artifact,
        entry.name,
        entry.digest,
        entry.blob,
        entry.ref,
        entry.size_bytes,
    )
    tx.execute("INSERT OR REPLACE INTO artifact_entries VALUES (?, ?, ?, ?, ?, ?)", values)


def put_entries(tx: Rows, artifact: int, entries: Iterable[Entry]) -> None:
    """Store exactly these entries of an artifact."""
    tx.execute("DELETE FROM artifact_entries WHERE artifact = ?", (artifact,))
    for entry in entries:
        put_entry(tx, entry)


def missing_blobs(rows: Rows, artifact: int, limit: int) -> list[str]:
    """List the entries of an artifact whose bytes never came, at most `limit` of them."""
    query = (
        "SELECT name FROM artifact_entries WHERE artifact = ? AND blob IS NOT NULL"
        " AND blob NOT IN (SELECT blob FROM blobs) ORDER BY name LIMIT ?"
    )
    return [row[0] for row in rows.execute(query, (artifact, limit))]


def find_entry(rows: Rows, artifact: int, name: str) -> Entry | None:
    """Find an entry of an artifact by its path."""
    query = f"SELECT {_ENTRY} FROM artifact_entries WHERE artifact = ? AND name = ?"
    row = rows.execute(query, (artifact, name)).fetchone()
    return Entry(*row) if row else None


def entries(
    rows: Rows, artifact: int, names: Sequence[str] | None, offset: int, count: int
) -> list[Entry]:
    """List the entries of an artifact by path: all, or those named."""
    if names is not None:
        found = (find_entry(rows, artifact, name) for name in sorted(set(names)))
        named = [entry for entry in found if entry is not None]
        return named[offset:][: None if count < 0 else count]
    query = (
        f"SELECT {_ENTRY} FROM artifact_entries WHERE artifact = ?"
        f" ORDER BY name LIMIT {count:d} OFFSET {offset:d}"
    )
    return [Entry(*row) for row in rows.execute(query, (artifact,))]


def count_entries(rows: Rows, artifact: int, names: Sequence[str] | None) -> int:
    """Count the entries of an artifact: all, or those named."""
    if names is not None:
        return len(entries(rows, artifact, names, 0, -1))
    query = "SELECT count(*) FROM artifact_entries WHERE artifact = ?"
    return int(rows.execute(query, (artifact,)).fetchone()[0])


def create_manifest(tx: Rows, artifact: int, kind: str, base: int | None) -> Manifest:
    """Store that a client is to send a manifest."""
    values = {"artifact": artifact, "kind": kind, "base": base}
    return Manifest(insert(tx, "artifact_manifests", values), artifact, kind, base, None)


def find_manifest(rows: Rows, pk: int) -> Manifest | None:
    """Find a manifest by its key."""
    query = f"SELECT {_MANIFEST} FROM artifact_manifests WHERE pk = ?"
    row = rows.execute(query, (pk,)).fetchone()
    return Manifest(*row) if row else None


def fill_manifest(tx: Rows, pk: int, blob: str) -> None:
    """Store that a manifest's bytes came."""
    tx.execute("UPDATE artifact_manifests SET blob = ? WHERE pk = ?", (blob, pk))


def manifests_of(rows: Rows, artifact: int) -> list[Manifest]:
    """List the manifests of an artifact whose bytes came, in the order of their creation."""
    query = (
        f"SELECT {_MANIFEST} FROM artifact_manifests WHERE artifact = ? AND blob IS NOT NULL"
        " ORDER BY pk"
    )
    return [Manifest(*row) for row in rows.execute(query, (artifact,))]
