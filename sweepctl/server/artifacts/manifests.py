"""Manifests of artifacts as W&B's client writes them: read, checked, laid over each other. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sweepctl.server.errors import BadMessageError
from sweepctl.server.json_texts import JsonTextError, parsed

Content = Mapping[str, Any]


def read_manifest(text: bytes) -> dict[str, Any]:
    """Check a manifest; a BadMessageError says what is wrong with it."""
    try:
        manifest = parsed(text)
    except JsonTextError as error:
        raise BadMessageError(f"the manifest is no JSON: {error}") from error
    contents = manifest.get("contents") if isinstance(manifest, dict) else None
    if not isinstance(contents, dict):
        raise BadMessageError("the manifest has no map `contents`")
    for name, entry in contents.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
            raise BadMessageError(f"the manifest's entry {name[:80]!r} has no digest")
        if type(entry.get("size", 0)) is not int or not 0 <= entry.get("size", 0) < 2**63:
            raise BadMessageError(f"the size of the manifest's entry {name[:80]!r} is no number")
        if not isinstance(entry.get("ref", ""), str):
            raise BadMessageError(f"the reference of the entry {name[:80]!r} is no text")
    return dict(manifest)


def merged(manifests: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Lay manifests over each other: of entries under one path the last one counts."""
    whole: dict[str, Any] = {}
    for manifest in manifests:
        whole = {**manifest, "contents": {**whole.get("contents", {}), **manifest["contents"]}}
    return whole


def text_of(manifest: Mapping[str, Any]) -> bytes:
    """Write a manifest as the client does."""
    return json.dumps(manifest, sort_keys=True, indent=4).encode()
