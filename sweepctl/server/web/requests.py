"""Reading what clients send and writing what they get: bounded, unpacked, as JSON."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sweepctl.server import json_texts
from sweepctl.server.bounds import BODY_LIMIT_S, MAX_BODY_BYTES, MAX_UPLOAD_BYTES, STALL_LIMIT_S
from sweepctl_pod.errors import SweepctlError

_BIG_BYTES = 1 << 18
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # With none, a browser would hide where the login's form comes from.
    "Referrer-Policy": "same-origin",
}


class BodyError(SweepctlError):
    """The request's body cannot be taken; `status` is the answer's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read a body of bounded size in bounded time, unpacked when it is gzip."""
    unpack = _unpacker(request.headers.get("content-encoding", "identity").strip().lower())
    parts, size = [], 0
    with anyio.move_on_after(BODY_LIMIT_S) as limit:
        async for block in request.stream():
            for part in _unpacked(unpack, block, max_bytes - size, max_bytes):
                size += len(part)
                parts.append(part)
    if limit.cancelled_caught:
        raise BodyError(408, f"the body did not come within {BODY_LIMIT_S:g} s")
    if unpack is not None and not unpack.eof and parts:
        raise BodyError(400, "the gzip body ends too early")
    return b"".join(parts)


async def blocks(request: Request) -> AsyncIterator[bytes]:
    """Give an upload's bytes as they come; a BodyError when nothing comes for a minute."""
    stream, size = request.stream(), 0
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and int(said[:20]) > MAX_UPLOAD_BYTES:
        raise _too_large()
    while True:
        with anyio.move_on_after(STALL_LIMIT_S) as limit:
            try:
                block = await anext(stream)
            except StopAsyncIteration:
                return
        if limit.cancelled_caught:
            raise BodyError(408, f"nothing came for {STALL_LIMIT_S:g} s")
        size += len(block)
        if size > MAX_UPLOAD_BYTES:
            raise _too_large()
        if block:
            yield block


def _too_large() -> BodyError:
    return BodyError(413, f"the file is over {MAX_UPLOAD_BYTES >> 30} GB")


async def read_json(request: Request) -> Any:
    """Read a JSON body; a BodyError names the status of the answer if there is none."""
    raw = await read_body(request)
    return await to_thread.run_sync(_parsed, raw) if len(raw) > _BIG_BYTES else _parsed(raw)


def json_response(
    document: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with JSON; NaN and infinities become W&B's texts: "NaN", "Infinity", "-Infinity"."""
    try:
        text = json.dumps(document, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(document), allow_nan=False)
    return Response(text, status, headers, "application/json")


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Answer with an error, in the forms that W&B's clients look for."""
    document = {"errors": [{"message": message}], "error": message}
    return json_response(document, status, headers)


def page_response(
    text: str | bytes, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with a page, which may run and load what this server has, and nothing else."""
    # What an earlier version stored may hold halves of surrogate pairs, which UTF-8 cannot say.
    body = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return HTMLResponse(body, status, headers={**_PAGE_HEADERS, **(headers or {})})


def takes_gzip(request: Request) -> bool:
    """Say whether a client takes an answer that is packed."""
    given = request.headers.get("accept-encoding", "").replace(" ", "").lower().split(",")
    return any(each == "gzip" or each.startswith("gzip;q=") for each in given) and not any(
        each in ("gzip;q=0", "gzip;q=0.0") for each in given
    )


def _parsed(raw: bytes) -> Any:
    try:
        return json_texts.parsed(raw)
    except json_texts.JsonTextError as error:
        raise BodyError(400, f"the body is no JSON: {error}") from error


def _unpacker(encoding: str) -> Any:
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    raise BodyError(415, f"the content encoding {encoding!r} is not known; send gzip or none")


def _unpacked(unpack: Any, block: bytes, room: int, max_bytes: int) -> list[bytes]:
    try:
        part = block if unpack is None else unpack.decompress(block, room + 1)
    except zlib.error as error:
        raise BodyError(400, f"the body is no gzip: {error}") from error
    if len(part) > room or (unpack is not None and unpack.unconsumed_tail):
        limit = f"{max_bytes >> 20} MB" if max_bytes >= 1 << 20 else f"{max_bytes >> 10} KB"
        raise BodyError(413, f"the body is over {limit}")
    return [part] if part else []


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
