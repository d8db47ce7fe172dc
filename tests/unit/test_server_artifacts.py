"""Artifacts at the edges of the wire: what is refused, what is kept once, what goes and stays."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.collections import Collections
from sweepctl.server.runs.files import RunFiles
from tests.unit.server_in_process import ApiClient, InProcessServer, served

CREATE = (
    "mutation M($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id state } } }"
)
MANIFEST = """
mutation M($i: CreateArtifactManifestInput!) {
  createArtifactManifest(input: $i) { artifactManifest { id file { uploadUrl } } } }
"""
FILES = """
mutation M($i: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $i) { files { edges { node { uploadUrl } } } } }
"""
COMMIT = """
mutation M($i: CommitArtifactInput!) {
  commitArtifact(input: $i) { artifact { id state versionIndex aliases { alias } } } }
"""
DELETE = "mutation M($i: DeleteArtifactInput!) { deleteArtifact(input: $i) { artifact { state } } }"
READ = """
query Q($name: String!) { project(name: "p", entityName: "local") { artifact(name: $name) {
  id versionIndex files { totalCount edges { node { name directUrl } } } } } }
"""
PLACE = {"entityName": "local", "projectName": "p"}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def client(server: InProcessServer) -> ApiClient:
    return served(server)


def ask(client: ApiClient, query: str, **variables: Any) -> tuple[Any, str]:
    """Ask one operation; give its data and its first error."""
    answer = client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return document["data"], (document.get("errors") or [{"message": ""}])[0]["message"]


def md5(text: str) -> str:
    return base64.b64encode(hashlib.md5(text.encode()).digest()).decode()


def create(client: ApiClient, digest: str = "d", **given: Any) -> str:
    wanted = {
        **PLACE,
        "artifactTypeName": "dataset",
        "artifactCollectionName": "data",
        "digest": digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "enableDigestDeduplication": True,
        **given,
    }
    data, error = ask(client, CREATE, i=wanted)
    assert not error, error
    return str(data["createArtifact"]["artifact"]["id"])


def upload_url(client: ApiClient, artifact: str, name: str, text: str) -> str | None:
    spec = {"artifactID": artifact, "name": name, "md5": md5(text)}
    data, error = ask(client, FILES, i={"artifactFiles": [spec]})
    assert not error, error
    (edge,) = data["createArtifactFiles"]["files"]["edges"]
    return None if edge["node"]["uploadUrl"] is None else str(edge["node"]["uploadUrl"])


def send_manifest(client: ApiClient, artifact: str, kind: str = "FULL", **files: str) -> int:
    contents = {name: {"digest": md5(text), "size": len(text)} for name, text in files.items()}
    manifest = json.dumps({"version": 1, "contents": contents})
    wanted = {**PLACE, "artifactID": artifact, "name": "m", "digest": "", "runName": "r"}
    data, error = ask(client, MANIFEST, i={**wanted, "type": kind})
    assert not error, error
    url = data["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    return client.put(url, content=manifest.encode()).status_code


def commit(client: ApiClient, artifact: str) -> tuple[Any, str]:
    return ask(client, COMMIT, i={"artifactID": artifact})


def log(client: ApiClient, digest: str, **files: str) -> str:
    """Log an artifact as a client does."""
    artifact = create(client, digest)
    for name, text in files.items():
        url = upload_url(client, artifact, name, text)
        if url is not None:
            assert client.put(url, content=text.encode()).status_code == 200
    assert send_manifest(client, artifact, **files) == 200
    _, error = commit(client, artifact)
    assert not error, error
    return artifact


def contents(server: InProcessServer) -> list[str]:
    folder = server.folder / "artifacts"
    return sorted(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_content_is_asked_for_once_and_lies_on_the_disk_until_its_last_version_goes(
    server: InProcessServer, client: ApiClient
) -> None:
    first = log(client, "1", a="shared", b="one")
    begun = create(client, "2")
    assert upload_url(client, begun, "a", "shared") is None
    second = log(client, "2", a="shared", b="two")
    texts = [text for text in contents(server) if "contents" not in text]
    assert texts == ["one", "shared", "two"]
    steps: tuple[tuple[str, list[str]], ...] = (
        (first, ["shared", "two"]),
        (second, ["shared"]),
        (begun, []),
    )
    for artifact, left in steps:
        _, error = ask(client, DELETE, i={"artifactID": artifact, "deleteAliases": True})
        assert not error, error
        assert [text for text in contents(server) if "contents" not in text] == left
    data, _ = ask(client, READ, name="data:latest")
    assert data["project"]["artifact"] is None
    again = log(client, "1", a="shared")
    data, _ = ask(client, READ, name="data:latest")
    assert data["project"]["artifact"]["id"] == again
    assert data["project"]["artifact"]["versionIndex"] == 2, "a number is never used twice"


def test_a_create_that_is_sent_again_gives_the_same_artifact(client: ApiClient) -> None:
    first = create(client, "1", clientID="c1")
    assert create(client, "1", clientID="c1") == first
    assert create(client, "1", clientID="c2") != first
    done = log(client, "2", a="text")
    assert create(client, "2", clientID="c3") == done


def test_an_upload_that_is_another_content_or_comes_to_another_address_is_refused(
    server: InProcessServer, client: ApiClient
) -> None:
    artifact = create(client)
    url = upload_url(client, artifact, "a", "right")
    assert url is not None
    assert client.put(url, content=b"wrong").status_code == 400
    assert client.put(url[:-1] + "0x", content=b"right").status_code == 403
    assert client.get(url).status_code == 403, "an address is for one method"
    server.seconds += 25 * 3600
    assert client.put(url, content=b"right").status_code == 403, "and for a day"
    assert contents(server) == []
    assert not list((server.folder / "files" / ".incoming").iterdir())


def test_an_artifact_whose_files_or_manifest_never_came_is_not_committed(
    client: ApiClient,
) -> None:
    artifact = create(client)
    assert "manifest never came" in commit(client, artifact)[1]
    assert send_manifest(client, artifact, a="never sent") == 200
    assert "files of the artifact never came: a" in commit(client, artifact)[1]
    data, _ = ask(client, READ, name="data:latest")
    assert data["project"]["artifact"] is None


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a name with a slash": ({"artifactCollectionName": "a/b"}, "'a/b' is no name of an artifact"),
    "a name with a colon": ({"artifactCollectionName": "a:b"}, "'a:b' is no name of an artifact"),
    "no name": ({"artifactCollectionName": ""}, "needs a name"),
    "an alias with a colon": (
        {"aliases": [{"artifactCollectionName": "data", "alias": "a:b"}]},
        "'a:b' is no name of an alias",
    ),
    "a registry": ({"projectName": "wandb-registry-model"}, "has no registries"),
    "metadata that is no JSON": ({"metadata": "{"}, "metadata is no JSON"),
    "metadata that is no map": ({"metadata": "[1]"}, "metadata is not a map"),
    "a region": ({"storageRegion": "moon"}, "invalid storageRegion 'moon'"),
    "an empty tag": ({"tags": [{"tagName": " "}]}, "is no tag"),
    "another type": ({"artifactTypeName": "model"}, "has the type 'dataset', and 'model'"),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_logged_is_told_with_its_value(
    client: ApiClient, given: dict[str, Any], message: str
) -> None:
    create(client, "first")
    wanted = {
        **PLACE,
        "artifactTypeName": "dataset",
        "artifactCollectionName": "data",
        "digest": "d",
        "digestAlgorithm": "MANIFEST_MD5",
        **given,
    }
    _, error = ask(client, CREATE, i=wanted)
    assert message in error


def test_a_manifest_that_is_none_is_told_at_the_commit(client: ApiClient) -> None:
    artifact = create(client)
    wanted = {**PLACE, "artifactID": artifact, "name": "m", "digest": "", "runName": "r"}
    data, _ = ask(client, MANIFEST, i=wanted)
    url = data["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
    for text in (b"no JSON", b"[]", b'{"contents": []}', b'{"contents": {"a": {"digest": 1}}}'):
        assert client.put(url, content=text).status_code == 200
        assert "manifest" in commit(client, artifact)[1]


def test_a_file_of_an_artifact_is_no_page_and_needs_its_signature(client: ApiClient) -> None:
    log(client, "1", **{"page.html": "<script>alert(1)</script>"})
    data, _ = ask(client, READ, name="data:v0")
    files = data["project"]["artifact"]["files"]
    assert files["totalCount"] == 1
    url = files["edges"][0]["node"]["directUrl"]
    answer = client.get(url)
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert client.put(url, content=b"other").status_code == 403
    assert client.get(url.replace("/wandb_artifacts/1/", "/wandb_artifacts/2/")).status_code == 403
    for path in ("/wandb_artifacts/1", "/blobs/file/1", "/blobs/x/1/2/3/4", "/blobs"):
        assert client.get(path).status_code == 404
    digest = hashlib.md5(b"<script>alert(1)</script>").hexdigest()
    assert client.get(f"/artifacts/local/{digest}").status_code == 200
    assert client.get(f"/artifactsV2/default/local/p/data/x/{digest}/page.html").status_code == 200
    assert client.get("/artifacts/local/..%2f..%2fsweepctl.sqlite").status_code == 404


def test_an_upload_that_was_left_is_removed_after_a_week_and_nothing_else(
    server: InProcessServer, client: ApiClient
) -> None:
    log(client, "1", a="kept")
    left = create(client, "2")
    url = upload_url(client, left, "b", "left")
    assert url is not None
    assert client.put(url, content=b"left").status_code == 200
    for days, texts in ((6, ["kept", "left"]), (2, ["kept"])):
        server.seconds += days * 24 * 3600
        files = RunFiles(server.database, server.clock)
        blobs = Blobs(server.database, files, server.clock)
        Collections(server.database, blobs, server.clock).tidy()
        assert [text for text in contents(server) if "contents" not in text] == texts
    assert "no artifact has the id" in commit(client, left)[1]


RUN = """
mutation M($name: String) { upsertBucket(input: {
  name: $name, modelName: "p", entityName: "local" }) { bucket { id } } }
"""
DELETE_RUN = """
mutation M($id: ID!, $with: Boolean) { deleteRun(input: {id: $id, deleteArtifacts: $with}) {
  clientMutationId } }
"""


@pytest.mark.parametrize(("with_artifacts", "left"), [(False, ["text"]), (True, [])])
def test_a_deleted_run_takes_its_artifacts_along_only_if_asked(
    server: InProcessServer, client: ApiClient, with_artifacts: bool, left: list[str]
) -> None:
    data, _ = ask(client, RUN, name="r")
    artifact = create(client, "1", runName="r")
    url = upload_url(client, artifact, "a", "text")
    assert url is not None
    assert client.put(url, content=b"text").status_code == 200
    assert send_manifest(client, artifact, a="text") == 200
    assert not commit(client, artifact)[1]
    run = data["upsertBucket"]["bucket"]["id"]
    _, error = ask(client, DELETE_RUN, **{"id": run, "with": with_artifacts})
    assert not error, error
    assert [text for text in contents(server) if "contents" not in text] == left
    found, _ = ask(client, READ, name="data:v0")
    assert (found["project"]["artifact"] is None) == with_artifacts


def test_parts_that_several_writers_send_become_one_version(client: ApiClient) -> None:
    artifacts = [create(client, f"{n}", distributedID="many") for n in range(2)]
    assert artifacts[0] == artifacts[1]
    for name in ("a", "b"):
        url = upload_url(client, artifacts[0], name, name)
        assert url is not None
        assert client.put(url, content=name.encode()).status_code == 200
        assert send_manifest(client, artifacts[0], "PATCH", **{name: name}) == 200
    assert not commit(client, artifacts[0])[1]
    data, _ = ask(client, READ, name="data:v0")
    edges = data["project"]["artifact"]["files"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == ["a", "b"]
