"""JSON from clients: of bounded size and depth, and without what no store and no page can hold."""

from __future__ import annotations

import json
from typing import Any

from sweepctl.server.bounds import MAX_JSON_DEPTH, MAX_JSON_VALUES

_BEFORE_A_VALUE = ",:[{"


class JsonTextError(ValueError):
    """It is no JSON, or more of it than is taken."""


def parsed(text: str | bytes, *, is_stored: bool = False) -> Any:
    """Read JSON; a JsonTextError says what is wrong with it.

    What `is_stored` may be nested deeper than is taken now: earlier versions took it.
    Half of a surrogate pair becomes a question mark: JSON may hold one, UTF-8 and SQLite may not.
    """
    if isinstance(text, bytes):
        text = _decoded(text)
    if len(text) > MAX_JSON_VALUES:
        _check_count(text)
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise JsonTextError("it is nested too deeply") from error
    except ValueError as error:
        raise JsonTextError(str(error)) from error
    if not is_stored and text.count("[") + text.count("{") > MAX_JSON_DEPTH:
        _check_depth(document)
    # A text of UTF-8 can hold a half only as an escape.
    return _storable(document) if "\\ud" in text or "\\uD" in text else document


def stored_object(text: str) -> dict[str, Any]:
    """Read a row that was stored as an object; what is none has nothing."""
    try:
        values = parsed(text, is_stored=True)
    except JsonTextError:
        return {}
    return values if isinstance(values, dict) else {}


def checked(document: Any) -> Any:
    """Give a value back that came as part of a larger one, under the same rules."""
    _check_depth(document)
    return _storable(document)


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonTextError(f"it is no UTF-8: {error}") from error


def storable(text: str) -> str:
    """Give a text that SQLite and a page take: without halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _check_count(text: str) -> None:
    """Refuse what would become millions of objects, before it does."""
    if sum(map(text.count, _BEFORE_A_VALUE)) < MAX_JSON_VALUES:
        return
    # Texts may hold any number of commas: only what stands outside of them counts.
    bare = text.replace("\\\\", "").replace('\\"', "")
    if bare.count('"') <= 4 * MAX_JSON_VALUES:
        outside = "".join(bare.split('"')[::2])
        if sum(map(outside.count, _BEFORE_A_VALUE)) < MAX_JSON_VALUES:
            return
    raise JsonTextError(f"it has more than {MAX_JSON_VALUES} values")


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_JSON_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    raise JsonTextError(f"it is nested more than {MAX_JSON_DEPTH} deep")


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable(item) for key, item in value.items()}
    return value
