"""The HTTP routes of artifacts' bytes: signed addresses, and W&B's own with the key."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from sweepctl.server.artifacts.blobs import Blobs, is_blob
from sweepctl.server.errors import NotFoundError
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.web.answers import segments
from sweepctl.server.web.requests import BodyError, blocks


class ArtifactRoutes:
    """Takes and gives the bytes of artifacts."""

    def __init__(self, blobs: Blobs, files: RunFiles) -> None:
        self._blobs = blobs
        self._files = files

    async def put(self, request: Request) -> Response:
        """Take a file or a manifest at a signed address."""
        kind, parts = self._signed(request)
        match kind, parts:
            case "file", [artifact, blob] if artifact.isdigit() and is_blob(blob):
                upload = await self._files.receive(blocks(request))
                await to_thread.run_sync(self._blobs.keep_file, int(artifact), blob, upload)
            case "manifest", [manifest] if manifest.isdigit():
                upload = await self._files.receive(blocks(request))
                await to_thread.run_sync(self._blobs.keep_manifest, int(manifest), upload)
            case _:
                raise NotFoundError("nothing can be put at this address")
        return Response(status_code=200)

    async def get(self, request: Request) -> Response:
        """Give a file at a signed address."""
        kind, parts = self._signed(request)
        if kind != "file" or len(parts) != 2:
            raise NotFoundError("there is nothing at this address")
        return self._answer(parts[1], segments(request)[-1])

    async def by_digest(self, request: Request) -> Response:
        """Give a file at the address that W&B's client makes itself, from the digest."""
        parts = segments(request)[1:]
        # /artifacts/ENTITY/DIGEST, and /artifactsV2/…/DIGEST/NAME
        found = [part for part in parts[-2:] if is_blob(part)]
        if not found:
            raise NotFoundError("the address names no file of an artifact")
        return self._answer(found[0], parts[-1])

    def _answer(self, blob: str, name: str) -> Response:
        path = self._blobs.path(blob)
        if not is_blob(blob) or not path.is_file():
            raise NotFoundError("this server has no such file")
        # What was uploaded is never shown as a page of this server's.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return FileResponse(path, headers=headers, filename=name)

    def _signed(self, request: Request) -> tuple[str, list[str]]:
        """Read /wandb_artifacts/ARTIFACT/BLOB/UNTIL/TOKEN[/NAME] or /blobs/KIND/…, and check it."""
        parts = segments(request)
        start = 1 if parts[0] == "wandb_artifacts" else 2
        kind = "file" if start == 1 else parts[1] if len(parts) > 1 else ""
        end = start + {"file": 2, "manifest": 1}.get(kind, len(parts))
        if len(parts) < end + 2:
            raise NotFoundError("there is nothing at this address")
        place, (until, token) = "/".join(parts[:end]), parts[end : end + 2]
        if not self._blobs.is_signed(request.method, place, until, token):
            raise BodyError(403, "the address is not signed by this server, or no longer valid")
        return kind, parts[start:end]
