"""W&B's filters and orders of artifact collections and versions, turned into SQL. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sweepctl.server.store.filters import FilterError, Sql, filter_by

_COLLECTION_COLUMNS = {
    "name": "collections.name",
    "type": "collections.type",
    "description": "collections.description",
    "created_at": "iso_time(collections.created)",
    "createdAt": "iso_time(collections.created)",
    "updated_at": "iso_time(collections.updated)",
    "updatedAt": "iso_time(collections.updated)",
}
_VERSION_COLUMNS = {
    "state": "artifacts.state",
    "digest": "artifacts.digest",
    "description": "artifacts.description",
    "version_index": "memberships.version",
    "versionIndex": "memberships.version",
    "version": "memberships.version",
    "size": "artifacts.size_bytes",
    "created_at": "iso_time(artifacts.created)",
    "createdAt": "iso_time(artifacts.created)",
    "updated_at": "iso_time(artifacts.updated)",
    "updatedAt": "iso_time(artifacts.updated)",
}
_ORDERS = {
    "collections.created": ("created_at", "createdAt"),
    "collections.updated": ("updated_at", "updatedAt"),
    "collections.name": ("name",),
}
_VERSION_ORDERS = {
    "memberships.version": ("created_at", "createdAt", "version_index", "versionIndex", "version"),
    "artifacts.updated": ("updated_at", "updatedAt"),
    "artifacts.size_bytes": ("size",),
}


def collection_filter(text: object) -> Sql:
    """Turn the filters of an `artifactCollections` field into a condition on `collections`."""
    return filter_by(text, lambda name: _place(_COLLECTION_COLUMNS, name))


def version_filter(text: object) -> Sql:
    """Turn the filters of an `artifacts` field into a condition on members and `artifacts`."""
    return filter_by(text, _version_place)


def collection_order(text: str | None) -> Sql:
    """Turn "-created_at" into an ORDER BY of collections; the newest come first without one."""
    return _order(text, _ORDERS, "collections.pk", "DESC")


def version_order(text: str | None) -> Sql:
    """Turn "-created_at" into an ORDER BY of versions; the newest come first without one."""
    return _order(text, _VERSION_ORDERS, "memberships.version", "DESC")


def _version_place(name: str) -> Sql | None:
    if name.startswith("metadata."):
        parts = name.removeprefix("metadata.").replace('"', "").split(".")
        path = "".join(f'."{part}"' for part in parts)
        value = "json_extract(artifacts.metadata, ?)"
        return Sql(f"iif(json_valid(artifacts.metadata), {value}, NULL)", (f"${path}",))
    return _place(_VERSION_COLUMNS, name)


def _place(columns: Mapping[str, str], name: str) -> Sql | None:
    return Sql(columns[name]) if name in columns else None


def _order(text: str | None, orders: Mapping[str, tuple[str, ...]], pk: str, default: str) -> Sql:
    if not text:
        return Sql(f"{pk} {default}")
    parts = []
    for item in text.split(","):
        key = item.strip().lstrip("+-")
        column = next((column for column, names in orders.items() if key in names), None)
        if column is None:
            raise FilterError(f"artifacts cannot be ordered by {key!r}")
        parts.append(f"{column} {'DESC' if item.strip().startswith('-') else 'ASC'}")
    last = "DESC" if parts[-1].endswith("DESC") else "ASC"
    return Sql(", ".join([*parts, f"{pk} {last}"]))
