"""How W&B's API writes what the rows hold: the id of a row, a time. Pure."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone


def node_id(kind: str, pk: int | str) -> str:
    """Give the opaque id of a row: its kind and its key, or its name, in base64."""
    return base64.b64encode(f"{kind}:{pk}".encode()).decode()


def row_of(kind: str, text: str) -> int | None:
    """Read an opaque id; None when it is none of this kind."""
    try:
        found, _, pk = base64.b64decode(text, validate=True).decode().partition(":")
        return int(pk) if found == kind and pk.isascii() and pk.isdigit() else None
    except (binascii.Error, ValueError):
        return None


def iso_time(seconds: float | None) -> str | None:
    """Write a time as W&B does: UTC, to the second."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
