"""The scripts of the pages: files of this package, each under an address that names its content.

So a browser keeps a file for good, and asks for another one as soon as it has changed.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from sweepctl.server.errors import NotFoundError
from sweepctl.server.web.requests import takes_gzip

ROUTE = "/static/{name}"
_KINDS = {"js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class _File:
    address: str
    kind: str
    body: bytes
    packed: bytes


@functools.cache
def _files() -> dict[str, _File]:
    found = {}
    for file in sorted(resources.files(__package__).joinpath("static").iterdir(), key=str):
        stem, _, kind = file.name.rpartition(".")
        if kind in _KINDS:
            body = file.read_bytes()
            address = f"{stem}-{hashlib.sha256(body).hexdigest()[:16]}.{kind}"
            packed = gzip.compress(body, 9, mtime=0)
            found[file.name] = _File(address, _KINDS[kind], body, packed)
    return found


def address(name: str) -> str:
    """Give the address of a file by its name."""
    return f"/static/{_files()[name].address}"


async def static_file(request: Request) -> Response:
    """Answer with a file. An address of another version is not found: nothing may keep it."""
    for file in _files().values():
        if file.address == request.path_params["name"]:
            if takes_gzip(request):
                headers = {**_HEADERS, "Content-Encoding": "gzip"}
                return Response(file.packed, 200, headers, file.kind)
            return Response(file.body, 200, _HEADERS, file.kind)
    raise NotFoundError(f"there is nothing at {request.url.path}")
