"""What W&B's mutations of artifacts and their collections do here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from graphql import GraphQLError

from sweepctl.server.artifacts.versions import FULL, FileSpec, NewArtifact
from sweepctl.server.graphql.artifact_fields import (
    TTL_INHERITED,
    ArtifactType,
    artifact_of,
    file_place,
    find_artifact,
    find_collection,
    manifest_form,
    type_of_id,
)
from sweepctl.server.graphql.context import Context, Fields, Info, context_of, json_map
from sweepctl.server.graphql.file_fields import ServedFile
from sweepctl.server.store import artifact_store, blob_store, run_store, sweep_store
from sweepctl.server.store.api_forms import node_id, row_of
from sweepctl.server.store.artifact_store import Artifact, Collection
from sweepctl.server.store.run_store import Run

_MAX_FILES = 10_000

Input = Mapping[str, Any]


def _metadata(input: Input) -> dict[str, Any]:
    """Give the columns that a version's texts and numbers go to, those alone that were sent."""
    fields: dict[str, Any] = {}
    if input.get("description") is not None:
        fields["description"] = input["description"]
    if input.get("metadata") is not None:
        fields["metadata"] = json.dumps(json_map(input["metadata"], "metadata"))
    if input.get("historyStep") is not None:
        fields["history_step"] = _number(input["historyStep"], "historyStep")
    if input.get("ttlDurationSeconds") is not None:
        ttl = _number(input["ttlDurationSeconds"], "ttlDurationSeconds")
        fields["ttl_s"] = None if ttl == TTL_INHERITED else ttl
    return fields


def _number(value: Any, what: str) -> int:
    if type(value) is int and abs(value) < 2**62:
        return value
    if isinstance(value, str) and value.lstrip("-").isdigit() and len(value) < 19:
        return int(value)
    raise GraphQLError(f"{what}: {str(value)[:40]!r} is no whole number")


def _tag_names(tags: Sequence[Input] | None) -> list[str]:
    names = [str(tag["tagName"]) for tag in tags or ()]
    for name in names:
        if not name.strip() or len(name) > 128:
            raise GraphQLError(f"{name[:80]!r} is no tag: 1 to 128 characters")
    return names


def _create_type(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    with context.database.write() as tx:
        project = sweep_store.ensure_project(
            tx, input["entityName"], input["projectName"], context.now()
        )
    return {"artifactType": ArtifactType(project, input["name"], context.now())}


def _create(root: object, info: Info, input: Input) -> dict[str, Any]:
    names = input.get("artifactCollectionNames") or []
    name = input.get("artifactCollectionName") or (names[0] if names else None)
    if not name:
        raise GraphQLError("an artifact needs a name: artifactCollectionName")
    region = input.get("storageRegion") or "default"
    if region != "default":
        raise GraphQLError(f"invalid storageRegion {region[:80]!r}: this server has no regions")
    new = NewArtifact(
        entity=input["entityName"],
        project=input["projectName"],
        collection=name,
        type=input["artifactTypeName"],
        digest=input["digest"],
        run=input.get("runName") or None,
        aliases=[alias["alias"] for alias in input.get("aliases") or ()],
        tags=_tag_names(input.get("tags")),
        client_id=input.get("clientID"),
        distributed_id=input.get("distributedID") or None,
        is_deduplicated=bool(input.get("enableDigestDeduplication")),
        fields=_metadata(input),
    )
    return {"artifact": context_of(info).artifacts.create(new)}


def _create_manifest(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    artifact = artifact_of(info, input["artifactID"])
    base = row_of("Artifact", input["baseArtifactID"]) if input.get("baseArtifactID") else None
    kind = input.get("type") or FULL
    manifest = context.artifacts.begin_manifest(artifact, kind, base)
    return {"artifactManifest": manifest_form(context, manifest)}


def _update_manifest(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    pk = row_of("ArtifactManifest", input["artifactManifestID"])
    with context.database.read() as rows:
        found = None if pk is None else blob_store.find_manifest(rows, pk)
    if found is None:
        raise GraphQLError(f"no manifest has the id {input['artifactManifestID'][:80]!r}")
    return {"artifactManifest": manifest_form(context, found)}


def _create_files(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    given = input["artifactFiles"]
    if len(given) > _MAX_FILES:
        raise GraphQLError(f"{len(given)} files at once: give at most {_MAX_FILES}")
    artifacts = {id: artifact_of(info, id) for id in {spec["artifactID"] for spec in given}}
    specs = [FileSpec(artifacts[s["artifactID"]].pk, s["name"], s["md5"]) for s in given]
    files: list[dict[str, Any]] = []
    for spec, (entry, is_needed) in zip(given, context.artifacts.begin_files(specs), strict=True):
        place = file_place(entry)
        file = ServedFile(
            id=node_id("ArtifactUpload", entry.artifact),
            name=entry.name,
            size_bytes=0,
            digest=entry.digest,
            storage_path=place,
            artifact=artifacts[spec["artifactID"]],
            upload_url=context.blobs.url(context.base_url, "PUT", place) if is_needed else None,
        )
        files.append({"node": file, "cursor": str(len(files) + 1)})
    page = {"endCursor": None, "hasNextPage": False}
    return {"files": {"edges": files, "pageInfo": page, "totalCount": len(files)}}


def _complete_multipart(root: object, info: Info, input: Input) -> dict[str, Any]:
    raise GraphQLError("this server takes a file in one piece: it gave no addresses for parts")


def _commit(root: object, info: Info, input: Input) -> dict[str, Any]:
    artifact = artifact_of(info, input["artifactID"])
    return {"artifact": context_of(info).artifacts.commit(artifact)}


def _update(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    artifact = artifact_of(info, input["artifactID"])
    if input.get("aliases") is not None:
        wanted: dict[str, list[str]] = {}
        for alias in input["aliases"]:
            wanted.setdefault(alias["artifactCollectionName"], []).append(alias["alias"])
        context.collections.set_aliases(artifact, wanted)
    changed = context.collections.update(
        artifact,
        _metadata(input),
        _tag_names(input.get("tagsToAdd")),
        _tag_names(input.get("tagsToDelete")),
    )
    return {"artifact": changed}


def _delete(root: object, info: Info, input: Input) -> dict[str, Any] | None:
    is_ours = row_of("Artifact", input["artifactID"]) is not None
    if is_ours and find_artifact(context_of(info), input["artifactID"]) is None:
        return None  # it is gone already
    artifact = artifact_of(info, input["artifactID"])
    with_aliases = bool(input.get("deleteAliases"))
    context_of(info).collections.delete(artifact, with_aliases=with_aliases)
    return {"artifact": replace(artifact, state="DELETED"), "success": True}


def _use(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    artifact = artifact_of(info, input["artifactID"])
    names = (input["entityName"], input["projectName"], input["runName"])
    with context.database.read() as rows:
        run: Run | None = run_store.find_run_by_path(rows, *names)
    if run is None:
        raise GraphQLError(f"no run {'/'.join(names)}")
    context.collections.use(artifact, run)
    return {"artifact": artifact}


def _named_collection(context: Context, input: Input) -> Collection:
    entity, project, name = (
        input["entityName"],
        input["projectName"],
        input["artifactCollectionName"],
    )
    with context.database.read() as rows:
        place = sweep_store.find_project(rows, entity, project)
        found = (
            None
            if place is None
            else artifact_store.find_collection(rows, project=place.pk, name=name)
        )
    if found is None:
        raise GraphQLError(f"no artifact collection {entity}/{project}/{name}")
    return found


def _change_aliases(
    change: Literal["add", "remove"], root: object, info: Info, input: Input
) -> dict[str, Any]:
    context = context_of(info)
    artifact = artifact_of(info, input["artifactID"])
    for alias in input["aliases"]:
        collection = _named_collection(context, alias)
        context.collections.change_aliases(artifact, collection, **{change: [alias["alias"]]})
    return {"success": True}


def _link(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    artifact = _linked(context, input)
    entity, project = input.get("entityName") or context.user, input.get("projectName")
    name = input.get("artifactPortfolioName")
    if input.get("artifactPortfolioID"):
        portfolio = _collection_of(info, input["artifactPortfolioID"])
        with context.database.read() as rows:
            place = sweep_store.project_by_pk(rows, portfolio.project)
        entity, project, name = place.entity, place.name, portfolio.name
    if not name or not project:
        raise GraphQLError("a link needs the project and the name of a collection")
    aliases = [alias["alias"] for alias in input.get("aliases") or ()]
    member = context.collections.link(artifact, entity, project, name, aliases)
    return {"versionIndex": member.version, "artifactMembership": member}


def _linked(context: Context, input: Input) -> Artifact:
    found = None
    if input.get("artifactID"):
        found = find_artifact(context, input["artifactID"])
    elif input.get("clientID"):
        with context.database.read() as rows:
            found = artifact_store.of_client(rows, input["clientID"])
    if found is None:
        raise GraphQLError("the artifact to link is not there")
    return found


def _collection_of(info: Info, id: str) -> Collection:
    found = find_collection(info, id)
    if found is None:
        raise GraphQLError(f"no artifact collection has the id {id[:80]!r}")
    return found


def _unlink(root: object, info: Info, input: Input) -> dict[str, Any]:
    artifact = artifact_of(info, input["artifactID"])
    portfolio = _collection_of(info, input["artifactPortfolioID"])
    context_of(info).collections.unlink(artifact, portfolio)
    return {"success": True}


def _create_portfolio(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    type = type_of_id(input["artifactTypeID"])
    if type is None:
        raise GraphQLError(f"{input['artifactTypeID'][:80]!r} is the id of no artifact type")
    with context.database.write() as tx:
        project = sweep_store.ensure_project(
            tx, input["entityName"], input["projectName"], context.now()
        )
    made = context.collections.create_portfolio(
        project.pk, input["name"], type[1], input.get("description")
    )
    return {"artifactCollection": made}


def _update_collection(id_name: str) -> Any:
    def resolve(root: object, info: Info, input: Input) -> dict[str, Any]:
        collection = _collection_of(info, input[id_name])
        values = {name: input[name] for name in ("name", "description") if input.get(name)}
        if input.get("description") == "":
            values["description"] = ""
        if input.get("destinationArtifactTypeName"):
            values["type"] = input["destinationArtifactTypeName"]
        changed = context_of(info).collections.update_collection(collection, values)
        return {"artifactCollection": changed}

    return resolve


def _delete_collection(id_name: str) -> Any:
    def resolve(root: object, info: Info, input: Input) -> dict[str, Any] | None:
        if row_of("ArtifactCollection", input[id_name]) is None:
            return {"artifactCollection": _collection_of(info, input[id_name])}  # an error
        collection = find_collection(info, input[id_name])
        if collection is None:
            return None  # it is gone already
        context_of(info).collections.delete_collection(collection)
        return {"artifactCollection": collection}

    return resolve


def _tag_collection(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    collection = _named_collection(context, input)
    context.collections.tag(collection, add=_tag_names(input["tags"]))
    with context.database.read() as rows:
        return {"tags": artifact_store.tags(rows, "collection", collection.pk)}


def _untag_collection(root: object, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    context.collections.tag(_named_collection(context, input), remove=_tag_names(input["tags"]))
    return {"success": True}


ARTIFACT_MUTATIONS: Fields = {
    "createArtifactType": _create_type,
    "createArtifact": _create,
    "createArtifactManifest": _create_manifest,
    "updateArtifactManifest": _update_manifest,
    "createArtifactFiles": _create_files,
    "completeMultipartUploadArtifact": _complete_multipart,
    "commitArtifact": _commit,
    "updateArtifact": _update,
    "deleteArtifact": _delete,
    "useArtifact": _use,
    "addAliases": partial(_change_aliases, "add"),
    "deleteAliases": partial(_change_aliases, "remove"),
    "linkArtifact": _link,
    "unlinkArtifact": _unlink,
    "createArtifactPortfolio": _create_portfolio,
    "updateArtifactSequence": _update_collection("artifactSequenceID"),
    "updateArtifactPortfolio": _update_collection("artifactPortfolioID"),
    "moveArtifactSequence": _update_collection("artifactSequenceID"),
    "moveArtifactCollection": _update_collection("artifactSequenceID"),
    "deleteArtifactSequence": _delete_collection("artifactSequenceID"),
    "deleteArtifactPortfolio": _delete_collection("artifactPortfolioID"),
    "createArtifactCollectionTagAssignments": _tag_collection,
    "deleteArtifactCollectionTagAssignments": _untag_collection,
}
