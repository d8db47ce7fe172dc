"""What becomes of versions that are there: used, linked, given aliases and tags, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.versions import (
    ArtifactError,
    check_name,
    check_project,
    find_pk,
)
from sweepctl.server.store import artifact_store, blob_store, sweep_store
from sweepctl.server.store.artifact_store import Artifact, Collection, Membership
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Rows

_LEFT_AFTER_S = 7 * 24 * 3600


class Collections:
    """The collections of one data folder; safe to use from any thread."""

    def __init__(self, database: Database, blobs: Blobs, now: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._now = now

    def use(self, artifact: Artifact, run: Run) -> None:
        """Note that an artifact is an input of a run."""
        with self._database.write() as tx:
            artifact_store.note_run(tx, artifact.pk, run.pk, artifact_store.INPUT)

    def link(
        self, artifact: Artifact, entity: str, project: str, name: str, aliases: Iterable[str]
    ) -> Membership:
        """Make an artifact a version of a portfolio, which is made if it is not there."""
        check_name("collection", name)
        check_project(project)
        now = self._now()
        with self._database.write() as tx:
            current = find_pk(tx, artifact.pk)
            if current is None or current.state != artifact_store.COMMITTED:
                raise ArtifactError("only an artifact that is committed can be linked")
            place = sweep_store.ensure_project(tx, entity, project, now)
            type = artifact_store.collection_by_pk(tx, artifact.collection).type
            found = artifact_store.find_collection(tx, project=place.pk, name=name)
            if found is None:
                values = {"project": place.pk, "name": name, "type": type, "is_portfolio": 1}
                found = artifact_store.create_collection(tx, values, now)
            self._check_target(found, type, name)
            is_new = artifact_store.find_membership(tx, found.pk, artifact.pk) is None
            member = artifact_store.add_member(tx, found, artifact.pk, now)
            for alias in [*aliases, *([artifact_store.LATEST] if is_new else [])]:
                check_name("alias", alias)
                artifact_store.set_alias(tx, member, alias)
        return member

    @staticmethod
    def _check_target(found: Collection, type: str, name: str) -> None:
        if not found.is_portfolio:
            raise ArtifactError(
                f"artifacts are logged to {name!r} itself: link to a collection of another name"
            )
        if found.type != type:
            raise ArtifactError(
                f"the collection {name!r} is of type {found.type!r}, the artifact of {type!r}"
            )

    def unlink(self, artifact: Artifact, collection: Collection) -> None:
        """Take an artifact out of a portfolio."""
        if not collection.is_portfolio:
            raise ArtifactError(
                f"artifacts are logged to {collection.name!r} itself: delete the version instead"
            )
        with self._database.write() as tx:
            member = artifact_store.find_membership(tx, collection.pk, artifact.pk)
            if member is None:
                raise ArtifactError(f"the artifact is not linked to {collection.name!r}")
            artifact_store.remove_member(tx, member.pk)
            artifact_store.renew_latest(tx, collection.pk)

    def change_aliases(
        self,
        artifact: Artifact,
        collection: Collection,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
    ) -> None:
        """Give a version aliases within a collection, or take them away."""
        with self._database.write() as tx:
            member = artifact_store.find_membership(tx, collection.pk, artifact.pk)
            if member is None:
                raise ArtifactError(f"the artifact is no version of {collection.name!r}")
            for alias in add:
                check_name("alias", alias)
                artifact_store.set_alias(tx, member, alias)
            for alias in remove:
                artifact_store.remove_alias(tx, member, alias)

    def set_aliases(self, artifact: Artifact, wanted: Mapping[str, Sequence[str]]) -> None:
        """Give a version exactly these aliases, by the names of its collections."""
        with self._database.write() as tx:
            for member in artifact_store.memberships_of(tx, artifact.pk):
                name = artifact_store.collection_by_pk(tx, member.collection).name
                for old in artifact_store.aliases_of_member(tx, member.pk):
                    if old.alias not in wanted.get(name, ()):
                        artifact_store.remove_alias(tx, member, old.alias)
                for alias in wanted.get(name, ()):
                    check_name("alias", alias)
                    artifact_store.set_alias(tx, member, alias)

    def update(
        self,
        artifact: Artifact,
        values: Mapping[str, Any],
        tags_to_add: Sequence[str] = (),
        tags_to_delete: Sequence[str] = (),
    ) -> Artifact:
        """Change what is written about a version."""
        with self._database.write() as tx:
            if find_pk(tx, artifact.pk) is None:
                raise ArtifactError("the artifact was deleted")
            artifact_store.remove_tags(tx, "artifact", artifact.pk, tags_to_delete)
            artifact_store.add_tags(tx, "artifact", artifact.pk, tags_to_add)
            return artifact_store.update_artifact(tx, artifact.pk, values, self._now())

    def update_collection(self, collection: Collection, values: Mapping[str, Any]) -> Collection:
        """Change a collection: its name, its type, its description."""
        if "name" in values:
            check_name("collection", values["name"])
        if "type" in values:
            check_name("artifact type", values["type"])
        with self._database.write() as tx:
            name = values.get("name", collection.name)
            other = artifact_store.find_collection(tx, project=collection.project, name=name)
            if other is not None and other.pk != collection.pk:
                raise ArtifactError(f"the project has a collection {name!r} already")
            artifact_store.update_collection(tx, collection.pk, values, self._now())
            return artifact_store.collection_by_pk(tx, collection.pk)

    def create_portfolio(
        self, project: int, name: str, type: str, description: str | None
    ) -> Collection:
        """Make a collection for links."""
        check_name("collection", name)
        with self._database.write() as tx:
            found = artifact_store.find_collection(tx, project=project, name=name)
            if found is not None:
                self._check_target(found, type, name)
                return found
            values = {"project": project, "name": name, "type": type, "is_portfolio": 1}
            return artifact_store.create_collection(
                tx, {**values, "description": description}, self._now()
            )

    def tag(
        self, collection: Collection, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> None:
        """Tag a collection, or take tags away."""
        with self._database.write() as tx:
            artifact_store.add_tags(tx, "collection", collection.pk, add)
            artifact_store.remove_tags(tx, "collection", collection.pk, remove)

    def delete(self, artifact: Artifact, *, with_aliases: bool) -> None:
        """Delete a version everywhere; one with aliases of its own only `with_aliases`."""
        with self._database.write() as tx:
            if find_pk(tx, artifact.pk) is None:
                raise ArtifactError("the artifact was deleted")
            aliases = artifact_store.aliases_of_artifact(tx, artifact.pk)
            if aliases and not with_aliases:
                names = ", ".join(sorted({alias.alias for alias in aliases}))
                raise ArtifactError(
                    f"the artifact has the aliases {names}: delete it with delete_aliases=True"
                )
            blobs = self._delete(tx, artifact)
        self._blobs.remove_unused(blobs)

    def delete_collection(self, collection: Collection) -> None:
        """Delete a collection: with all its versions where they were logged to it."""
        blobs: list[str] = []
        with self._database.write() as tx:
            if not collection.is_portfolio:
                for artifact in artifact_store.artifacts_of_sequence(tx, collection.pk):
                    blobs += self._delete(tx, artifact)
            artifact_store.delete_collection(tx, collection.pk)
        self._blobs.remove_unused(blobs)

    def forget_run(self, run: int, *, with_artifacts: bool) -> None:
        """Part a deleted run from its artifacts; delete those that it made `with_artifacts`."""
        blobs: list[str] = []
        with self._database.write() as tx:
            if with_artifacts:
                for artifact in artifact_store.made_by(tx, run):
                    blobs += self._delete(tx, artifact)
            artifact_store.forget_run(tx, run)
        self._blobs.remove_unused(blobs)

    def tidy(self) -> None:
        """Delete what clients began and left, and the contents that nothing has any more.

        A server that is killed between the two steps of a deletion leaves such contents.
        """
        with self._database.write() as tx:
            for artifact in artifact_store.left_pending(tx, self._now() - _LEFT_AFTER_S):
                self._delete(tx, artifact)
            blobs = blob_store.unused_blobs(tx)
        self._blobs.remove_unused(blobs)

    @staticmethod
    def _delete(tx: Rows, artifact: Artifact) -> list[str]:
        """Delete an artifact's rows; give the blobs that it had."""
        blobs = blob_store.blobs_of(tx, artifact.pk)
        collections = [m.collection for m in artifact_store.memberships_of(tx, artifact.pk)]
        artifact_store.delete_artifact(tx, artifact.pk)
        for collection in collections:
            artifact_store.renew_latest(tx, collection)
        return blobs
