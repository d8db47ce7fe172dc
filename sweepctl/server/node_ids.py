"""W&B's opaque ids of things: which kind it is and which row, in base64."""

from __future__ import annotations

import base64
import binascii


def node_id(kind: str, pk: int) -> str:
    """Give the opaque id of a row."""
    return base64.b64encode(f"{kind}:{pk}".encode()).decode()


def row_of(kind: str, text: str) -> int | None:
    """Read an opaque id; None when it is none of this kind."""
    try:
        found, _, pk = base64.b64decode(text, validate=True).decode().partition(":")
        return int(pk) if found == kind and pk.isascii() and pk.isdigit() else None
    except (binascii.Error, ValueError):
        return None
