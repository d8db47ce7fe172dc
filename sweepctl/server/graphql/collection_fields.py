"""What W&B's fields of artifact collections, types and aliases mean here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweepctl.server.graphql.artifact_fields import (
    ARTIFACT,
    ArtifactType,
    artifact_files,
    collection_type,
    find_artifact,
    find_collection,
    list_page,
)
from sweepctl.server.graphql.context import Fields, Info, context_of, page
from sweepctl.server.store import artifact_store, sweep_store
from sweepctl.server.store.api_forms import iso_time, node_id
from sweepctl.server.store.artifact_filters import (
    collection_filter,
    collection_order,
    version_filter,
    version_order,
)
from sweepctl.server.store.artifact_store import Artifact, Collection, Membership
from sweepctl.server.store.filters import TRUE, Sql
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Project, Rows


def _collection_read(read: Callable[[Rows, Collection], Any]) -> Callable[..., Any]:
    def resolve(collection: Collection, info: Info) -> Any:
        with context_of(info).database.read() as rows:
            return read(rows, collection)

    return resolve


def _collection_tags(
    collection: Collection, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        return list_page(artifact_store.tags(rows, "collection", collection.pk), first, after)


def _collection_aliases(
    collection: Collection, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        return list_page(artifact_store.aliases_of_collection(rows, collection.pk), first, after)


def _members_page(
    collection: Collection,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    filters: str | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    where, by = version_filter(filters), version_order(order)
    with context_of(info).database.read() as rows:
        return page(
            lambda offset, count: artifact_store.members(
                rows, collection.pk, where, by, offset, count
            ),
            lambda info: artifact_store.count_members(rows, collection.pk, where),
            first,
            after,
        )


def _versions_page(collection: Collection, info: Info, **given: Any) -> dict[str, Any]:
    found = _members_page(collection, info, **given)
    with context_of(info).database.read() as rows:
        for edge in found["edges"]:
            member: Membership = edge["node"]
            edge["version"] = f"v{member.version}"
            edge["node"] = artifact_store.artifact_by_pk(rows, member.artifact)
    return found


def _named_member(collection: Collection, info: Info, aliasName: str) -> Membership | None:
    with context_of(info).database.read() as rows:
        return artifact_store.named_member(rows, collection.pk, aliasName)


def _collection_state(rows: Rows, collection: Collection) -> str:
    is_there = artifact_store.find_collection(rows, pk=collection.pk) is not None
    return "READY" if is_there else "DELETED"


def _latest(rows: Rows, collection: Collection) -> Artifact | None:
    member = artifact_store.named_member(rows, collection.pk, artifact_store.LATEST)
    return None if member is None else artifact_store.artifact_by_pk(rows, member.artifact)


COLLECTION: Fields = {
    "id": lambda collection, info: node_id("ArtifactCollection", collection.pk),
    "state": _collection_read(_collection_state),
    "createdAt": lambda collection, info: iso_time(collection.created),
    "updatedAt": lambda collection, info: iso_time(collection.updated),
    "project": _collection_read(lambda rows, c: sweep_store.project_by_pk(rows, c.project)),
    "defaultArtifactType": _collection_read(collection_type),
    "tags": _collection_tags,
    "aliases": _collection_aliases,
    "artifacts": _versions_page,
    "artifactMemberships": _members_page,
    "artifactMembership": _named_member,
}


def _member_read(read: Callable[[Rows, Membership], Any]) -> Callable[..., Any]:
    def resolve(member: Membership, info: Info) -> Any:
        with context_of(info).database.read() as rows:
            return read(rows, member)

    return resolve


def _member_files(member: Membership, info: Info, **given: Any) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        artifact = artifact_store.artifact_by_pk(rows, member.artifact)
    return artifact_files(artifact, info, **given)


MEMBERSHIP: Fields = {
    "id": lambda member, info: node_id("ArtifactCollectionMembership", member.pk),
    "versionIndex": lambda member, info: member.version,
    "createdAt": lambda member, info: iso_time(member.created),
    "aliases": _member_read(
        lambda rows, m: [
            artifact_store.version_alias(m),
            *artifact_store.aliases_of_member(rows, m.pk),
        ]
    ),
    "artifactCollection": _member_read(
        lambda rows, m: artifact_store.collection_by_pk(rows, m.collection)
    ),
    "artifact": _member_read(lambda rows, m: artifact_store.artifact_by_pk(rows, m.artifact)),
    "files": _member_files,
}


def _alias_collection(alias: artifact_store.Alias, info: Info) -> Collection:
    with context_of(info).database.read() as rows:
        return artifact_store.collection_by_pk(rows, alias.collection)


ALIAS: Fields = {
    "id": lambda alias, info: node_id("ArtifactAlias", alias.pk),
    "artifactCollection": _alias_collection,
    "artifactCollectionName": lambda alias, info: _alias_collection(alias, info).name,
}
TAG: Fields = {"id": lambda tag, info: node_id("Tag", tag.pk)}


def _type_collections(
    type: ArtifactType,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    filters: str | None = None,
    order: str | None = None,
    collectionTypes: list[str] | None = None,
) -> dict[str, Any]:
    is_type = Sql("collections.type = ?", (type.name,))
    if collectionTypes is not None and len(set(collectionTypes)) == 1:
        is_type = Sql(
            f"{is_type.text} AND is_portfolio = ?",
            (type.name, int(collectionTypes[0] == "PORTFOLIO")),
        )
    return _collections_page(type.project, info, is_type, first, after, filters, order)


def _type_sequences(
    type: ArtifactType, info: Info, first: int | None = None, after: str | None = None
) -> dict[str, Any]:
    return _type_collections(type, info, first, after, collectionTypes=["SEQUENCE"])


def _collections_page(
    project: Project,
    info: Info,
    only: Sql,
    first: int | None,
    after: str | None,
    filters: str | None,
    order: str | None,
) -> dict[str, Any]:
    asked, by = collection_filter(filters), collection_order(order)
    where = Sql(f"{only.text} AND {asked.text}", (*only.arguments, *asked.arguments))
    with context_of(info).database.read() as rows:
        return page(
            lambda offset, count: artifact_store.collections(
                rows, project.pk, where, by, offset, count
            ),
            lambda info: artifact_store.count_collections(rows, project.pk, where),
            first,
            after,
        )


def _type_collection(type: ArtifactType, info: Info, name: str) -> Collection | None:
    found = _project_collection(type.project, info, name)
    return found if found is not None and found.type == type.name else None


def _type_sequence(type: ArtifactType, info: Info, name: str) -> Collection | None:
    found = _type_collection(type, info, name)
    return found if found is not None and not found.is_portfolio else None


TYPE: Fields = {
    "id": lambda type, info: type.id,
    "createdAt": lambda type, info: iso_time(type.created),
    "artifactCollection": _type_collection,
    "artifactCollections": _type_collections,
    "artifactSequence": _type_sequence,
    "artifactSequences": _type_sequences,
    "artifact": lambda type, info, name: _project_artifact(type.project, info, name),
}


def _project_collection(project: Project, info: Info, name: str) -> Collection | None:
    with context_of(info).database.read() as rows:
        return artifact_store.find_collection(rows, project=project.pk, name=name)


def _project_member(project: Project, info: Info, name: str) -> Membership | None:
    """Find `collection:alias`; without an alias the latest is meant."""
    collection_name, _, alias = name.partition(":")
    collection = _project_collection(project, info, collection_name)
    if collection is None:
        return None
    return _named_member(collection, info, alias or artifact_store.LATEST)


def _project_artifact(
    project: Project, info: Info, name: str, enableTracking: bool | None = None
) -> Artifact | None:
    member = _project_member(project, info, name)
    if member is None:
        return None
    with context_of(info).database.read() as rows:
        return artifact_store.artifact_by_pk(rows, member.artifact)


def _project_types(
    project: Project, info: Info, first: int | None = None, after: str | None = None, **_: Any
) -> dict[str, Any]:
    with context_of(info).database.read() as rows:
        found = artifact_store.types(rows, project.pk)
    types = [ArtifactType(project, name, created) for name, created in found.items()]
    return list_page(types, first, after)


def _project_type(project: Project, info: Info, name: str) -> ArtifactType | None:
    with context_of(info).database.read() as rows:
        created = artifact_store.types(rows, project.pk).get(name)
    return None if created is None else ArtifactType(project, name, created)


PROJECT_ARTIFACTS: Fields = {
    "artifact": _project_artifact,
    "artifactType": _project_type,
    "artifactTypes": _project_types,
    "artifactCollection": _project_collection,
    "artifactCollections": lambda project, info, first=None, after=None, filters=None, order=None: (
        _collections_page(project, info, TRUE, first, after, filters, order)
    ),
    "artifactCollectionMembership": _project_member,
}


def _run_artifacts(role: str) -> Callable[..., dict[str, Any]]:
    def resolve(
        run: Run, info: Info, first: int | None = None, after: str | None = None, **_: Any
    ) -> dict[str, Any]:
        with context_of(info).database.read() as rows:
            return list_page(artifact_store.artifacts_of_run(rows, run.pk, role), first, after)

    return resolve


RUN_ARTIFACTS: Fields = {
    "inputArtifacts": _run_artifacts(artifact_store.INPUT),
    "outputArtifacts": _run_artifacts(artifact_store.OUTPUT),
}


def _client_mapping(root: object, info: Info, clientID: str) -> dict[str, Any] | None:
    with context_of(info).database.read() as rows:
        found = artifact_store.of_client(rows, clientID)
    return None if found is None else {"serverID": node_id("Artifact", found.pk)}


QUERY_ARTIFACTS: Fields = {
    "artifact": lambda root, info, id: find_artifact(context_of(info), id),
    "artifactCollection": lambda root, info, id: find_collection(info, id),
    "clientIDMapping": _client_mapping,
}


def _kind_of_collection(collection: Collection, info: Info, kind: Any) -> str:
    return "ArtifactPortfolio" if collection.is_portfolio else "ArtifactSequence"


ARTIFACT_TYPES: dict[str, Fields] = {
    "Artifact": ARTIFACT,
    "ArtifactCollection": {"__typename": _kind_of_collection},
    "ArtifactSequence": {**COLLECTION, "latestArtifact": _collection_read(_latest)},
    "ArtifactPortfolio": COLLECTION,
    "ArtifactCollectionMembership": MEMBERSHIP,
    "ArtifactAlias": ALIAS,
    "ArtifactType": TYPE,
    "ArtifactCreator": {"__typename": lambda it, info, _: "Run" if isinstance(it, Run) else "User"},
    "Tag": TAG,
}
