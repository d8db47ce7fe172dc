"""Images, tables and video that a run has logged: what of them a page can show, and why not.

A run's files are what anybody wrote: an image is shown where its first bytes are those of one, a
table where it can be read, and all else is a link.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl.server.json_texts import JsonTextError, parsed, stored_object
from sweepctl.server.store import file_store, lines
from sweepctl.server.store.file_store import StoredFile
from sweepctl.server.store.sweep_store import Rows

_MOST_LINES = 200
_MOST_SHOWN = 24
_MOST_TABLE_BYTES = 2 << 20
_MOST_ROWS, _MOST_COLUMNS, _MOST_CELL = 50, 30, 200
_MOST_DEEP = 4

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"BM", 0, "image/bmp"),
    (b"WEBP", 8, "image/webp"),
    (b"ftyp", 4, "video/mp4"),
    (b"\x1aE\xdf\xa3", 0, "video/webm"),
    (b"OggS", 0, "video/ogg"),
)


@dataclass(frozen=True, slots=True)
class Logged:
    """One file of media, as a run logged it."""

    key: str
    step: int
    path: str
    caption: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows of it: an image or a video by its address, or a table, or why neither."""

    logged: Logged
    kind: str
    """`image`, `video`, `table`, or `link` where it cannot be shown."""
    address: str
    why: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""


def media_kind(path: Path) -> str:
    """Give the type of an image or video by its first bytes, whatever its name; else ""."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    for mark, at, kind in _BEGINNINGS:
        if head[at : at + len(mark)] == mark:
            return kind
    return ""


def media(
    rows: Rows, run: int, path_of: Callable[[StoredFile], Path], address: Callable[[str], str]
) -> tuple[list[Shown], int]:
    """Give the newest media of a run, and how many more are in what was looked at."""
    found = [
        entry
        for step, text in lines.lines_with_files(rows, run, _MOST_LINES)
        for entry in _media_of(step, stored_object(text))
    ]
    shown = []
    for entry in found[:_MOST_SHOWN]:
        file = file_store.find_file(rows, run, entry.path)
        shown.append(_shown(entry, file, path_of, address))
    return shown, len(found) - len(shown)


def _media_of(
    step: int, values: Mapping[str, Any], above: str = "", deep: int = 0
) -> Iterator[Logged]:
    for name, value in values.items():
        key = f"{above}{name}"
        if not isinstance(value, Mapping):
            continue
        kind = value.get("_type")
        if kind is None and deep < _MOST_DEEP:
            yield from _media_of(step, value, f"{key}.", deep + 1)
            continue
        captions = value.get("captions")
        for at, (path, own) in enumerate(_paths(value)):
            caption = own
            if isinstance(captions, list) and at < len(captions):
                caption = captions[at]
            yield Logged(key, step, path, caption if isinstance(caption, str) else "")


def _paths(value: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    several = value.get("filenames")
    inner = value.get("videos")
    if isinstance(several, list):
        yield from ((path, None) for path in several[:_MOST_SHOWN] if isinstance(path, str))
    elif isinstance(inner, list):
        for each in inner[:_MOST_SHOWN]:
            if isinstance(each, Mapping) and isinstance(each.get("path"), str):
                yield each["path"], each.get("caption")
    elif isinstance(value.get("path"), str):
        yield value["path"], value.get("caption")


def _shown(
    entry: Logged,
    file: StoredFile | None,
    path_of: Callable[[StoredFile], Path],
    address: Callable[[str], str],
) -> Shown:
    if file is None:
        return Shown(entry, "link", "", "it is not uploaded yet")
    at, path = address(entry.path), path_of(file)
    if entry.path.endswith(".table.json"):
        return _table(entry, at, path, file.size_bytes)
    kind = media_kind(path).partition("/")[0]
    if kind:
        return Shown(entry, kind, at)
    is_image = entry.path.startswith("media/images/")
    return Shown(entry, "link", at, "it is no image that a page shows" if is_image else "")


def _table(entry: Logged, at: str, path: Path, size_bytes: int) -> Shown:
    if size_bytes > _MOST_TABLE_BYTES:
        why = f"it has {size_bytes >> 20} MB: a page shows {_MOST_TABLE_BYTES >> 20}"
        return Shown(entry, "link", at, why)
    try:
        document = parsed(path.read_bytes())
    except (OSError, JsonTextError) as error:
        return Shown(entry, "link", at, f"its file cannot be read: {str(error)[:200]}")
    columns = document.get("columns") if isinstance(document, dict) else None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(columns, list) or not isinstance(data, list):
        return Shown(entry, "link", at, "its file is no table: it has no columns and data")
    rows = [row for row in data if isinstance(row, list)]
    notes = []
    if len(rows) < len(data):
        notes.append(f"{len(data) - len(rows)} rows are no lists")
    if len(rows) > _MOST_ROWS:
        notes.append(f"the first {_MOST_ROWS} of {len(rows):,} rows")
    if len(columns) > _MOST_COLUMNS:
        notes.append(f"the first {_MOST_COLUMNS} of {len(columns):,} columns")
    return Shown(
        entry,
        "table",
        at,
        columns=[_cell(name) for name in columns[:_MOST_COLUMNS]],
        rows=[[_cell(cell) for cell in row[:_MOST_COLUMNS]] for row in rows[:_MOST_ROWS]],
        note="; ".join(notes),
    )


def _cell(value: object) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("path"), str):
        return str(value["path"].rpartition("/")[2])[:_MOST_CELL]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_CELL else text[:_MOST_CELL] + "…"
