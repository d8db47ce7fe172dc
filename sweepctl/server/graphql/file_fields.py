"""What W&B's type `File` means here: the files of runs and those of artifacts."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import Any

from sweepctl.server.graphql.context import Context, Fields
from sweepctl.server.store.api_forms import iso_time, node_id
from sweepctl.server.store.file_store import StoredFile


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file as the client sees it."""

    id: str
    name: str
    size_bytes: int
    url: str | None = None
    """Where it is downloaded."""
    put_url: str | None = None
    """Where another content of it may be put."""
    updated: float | None = None
    digest: str | None = None
    upload_url: str | None = None
    """Where its bytes are to go; None when the server has them."""
    storage_path: str | None = None
    artifact: Any = None


def run_file(context: Context, file: StoredFile) -> ServedFile:
    """Give a run's file as the client sees it."""
    get, put = (
        context.files.url(context.base_url, method, file.run, file.name)
        for method in ("GET", "PUT")
    )
    return ServedFile(
        node_id("File", file.pk),
        file.name,
        file.size_bytes,
        url=get,
        put_url=put,
        updated=file.updated,
    )


FILE: Fields = {
    "displayName": lambda file, info: file.name,
    "url": lambda file, info, upload=None: (file.put_url if upload else None) or file.url,
    "directUrl": lambda file, info: file.url,
    "sizeBytes": lambda file, info: file.size_bytes,
    "mimetype": lambda file, info: mimetypes.guess_type(file.name)[0],
    "updatedAt": lambda file, info: iso_time(file.updated),
    "storagePath": lambda file, info: file.storage_path,
    "uploadUrl": lambda file, info: file.upload_url,
    "uploadHeaders": lambda file, info: [],
    "uploadMultipartUrls": lambda file, info: None,
}
