"""Which keys the history of a run has: by name, nested ones by their dots, each with its types.

A run's row keeps the types, which hardly ever change; the value that a key had last is looked up
when somebody asks. W&B's form of both is `historyKeys`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from sweepctl.server.bounds import spend
from sweepctl.server.json_texts import storable, stored_object

Types = frozenset[tuple[str, str]]
"""Pairs of a key and a type that it had."""

_MAX_KEYS = 20_000
_MAX_DEPTH = 8
_LINES_BACK = 500
"""How far back a key's last value is looked for; from then on the summary tells it."""

_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")
"""Numbers that JSON has no word for, as W&B's client writes them."""


def key_types(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the keys of one line, each with its type."""
    for key, value in _flat(values):
        yield key, _type(value)


def with_types(document: str, seen: Types) -> str | None:
    """Give a run's document of keys with the types that were seen; None when none is new.

    The documents of earlier versions are lists of names, without types.
    """
    stored = json.loads(document)
    known = stored if isinstance(stored, dict) else {name: [] for name in stored}
    has_changed = False
    for key, kind in sorted(seen):
        types = known.get(key)
        if types is None and len(known) < _MAX_KEYS:
            types = known[key] = []
        if types is not None and kind not in types:
            types.append(kind)
            has_changed = True
    return json.dumps(known) if has_changed else None


def wandb_form(
    rows: sqlite3.Connection, run: int, document: str, summary: str, last_step: int
) -> dict[str, Any]:
    """Give the keys of a history in the form of W&B's `historyKeys`."""
    stored = json.loads(document)
    known = stored if isinstance(stored, dict) else {name: [] for name in stored}
    last = _last_values(rows, run, known, summary)
    keys: dict[str, Any] = {}
    for key, types in known.items():
        spend(1, len(key))
        keys[key] = {"typeCounts": [{"type": kind} for kind in types or ["number"]]}
        if key in last:
            keys[key]["previousValue"] = last[key]
    return {"step": max(last_step, 0), "keys": keys, "lastStep": last_step, "sets": []}


def _last_values(
    rows: sqlite3.Connection, run: int, known: Mapping[str, Any], summary: str
) -> dict[str, Any]:
    """Give the value that each key had last: in the newest lines, else in the summary."""
    found: dict[str, Any] = {}
    query = "SELECT text FROM history WHERE run = ? ORDER BY line DESC LIMIT ?"
    for (text,) in rows.execute(query, (run, _LINES_BACK)):
        spend(1, len(text))
        for key, value in _flat(stored_object(text)):
            found.setdefault(key, value)
        if len(found) >= len(known):
            break
    if len(found) < len(known):
        found = {**dict(_flat(stored_object(summary))), **found}
    return {key: value for key, value in found.items() if key in known}


def _flat(values: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Give the values by dotted key; a map that says its own `_type` is one value."""
    for name, value in values.items():
        key = f"{prefix}{storable(name)}"
        is_nested = isinstance(value, Mapping) and "_type" not in value and bool(value)
        if is_nested and depth < _MAX_DEPTH:
            yield from _flat(value, f"{key}.", depth + 1)
        else:
            yield key, value


def _type(value: object) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "number" if value in _NO_NUMBERS else "string"
        case list():
            return "list"
        case {"_type": str(name)}:
            return storable(name)[:100]
    return "map"
