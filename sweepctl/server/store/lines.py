"""The lines that a run streams: history, system events, console log; all SQL for them is here.

The key of a line is its number in the stream, so a post that comes twice, late or with a gap
changes no other line. Nothing here loads a whole history to count it.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.server.bounds import spend
from sweepctl.server.errors import BadMessageError
from sweepctl.server.json_texts import stored_object
from sweepctl.server.store.changes import note_run
from sweepctl.server.store.history_keys import Types, key_types
from sweepctl_pod.wandb.summary import read_metric, value_at

EVENTS = "wandb-events.jsonl"
HISTORY = "wandb-history.jsonl"
SUMMARY = "wandb-summary.json"
CONSOLE = "output.log"
STREAMS = (HISTORY, EVENTS, CONSOLE)
"""What a run streams line by line."""

_MAX_STEP = 2**53
_MOST_SECONDS = 1e12
"""What says that it ran longer has told no time."""
_FEWEST_OF_A_CURVE = 10
_CONSOLE_LINE = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+Z?) (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HistoryChange:
    """What a block of history changes in the row of its run."""

    last_step: int
    key_types: Types


def write_history(
    tx: sqlite3.Connection, run: int, block: Mapping[int, str], *, is_shared: bool = False
) -> HistoryChange:
    """Store history lines by their number, in place of any that are there.

    A line without a whole number as its `_step` gets its line number as step, and in a run with
    several writers, each of which counts for itself, every line has its number as step.
    """
    rows, last_step = [], -1
    seen: set[tuple[str, str]] = set()
    for line, text in block.items():
        values = stored_object(text)
        if is_shared:
            values["_step"] = line
            text = json.dumps(values)
        seen.update(key_types(values))
        step = values.get("_step")
        if type(step) is float and step.is_integer():
            step = int(step)
        if type(step) is not int or abs(step) > _MAX_STEP:
            step = line
        last_step = max(last_step, step)
        rows.append((run, line, step, text))
    tx.executemany("INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?)", rows)
    return HistoryChange(last_step, frozenset(seen))


def write_lines(tx: sqlite3.Connection, run: int, stream: str, block: Mapping[int, str]) -> None:
    """Store lines of events or console by their number, in place of any that are there."""
    rows = [(run, stream, line, text) for line, text in block.items()]
    tx.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)", rows)
    note_run(tx, run)


def clear(tx: sqlite3.Connection, run: int) -> None:
    """Delete every line of a run, which starts again."""
    tx.execute("DELETE FROM history WHERE run = ?", (run,))
    tx.execute("DELETE FROM lines WHERE run = ?", (run,))


def history_count(rows: sqlite3.Connection, run: int) -> int:
    """Give the number of the next history line."""
    found = rows.execute("SELECT max(line) FROM history WHERE run = ?", (run,)).fetchone()[0]
    return 0 if found is None else int(found) + 1


def line_count(rows: sqlite3.Connection, run: int, stream: str) -> int:
    """Give the number of the next line of events or console."""
    query = "SELECT max(line) FROM lines WHERE run = ? AND stream = ?"
    found = rows.execute(query, (run, stream)).fetchone()[0]
    return 0 if found is None else int(found) + 1


def count(rows: sqlite3.Connection, run: int, stream: str) -> int:
    """Give the number of the next line of any stream."""
    return history_count(rows, run) if stream == HISTORY else line_count(rows, run, stream)


def texts_at(rows: sqlite3.Connection, run: int, stream: str, numbers: range) -> dict[int, str]:
    """Give the lines of any stream that have these numbers."""
    table, own = ("history", "") if stream == HISTORY else ("lines", " AND stream = ?")
    query = f"SELECT line, text FROM {table} WHERE run = ?{own} AND line BETWEEN ? AND ?"
    named = () if stream == HISTORY else (stream,)
    return dict(rows.execute(query, (run, *named, numbers[0], numbers[-1])).fetchall())


def number_of(rows: sqlite3.Connection, run: int, stream: str, text: str) -> int | None:
    """Find a line of any stream by what it says; of the console by its time, which stays."""
    if stream == HISTORY:
        # One without a step has its number as step, which is not known here.
        query = "SELECT line FROM history WHERE run = ? AND (step = ? OR ? < 0) AND text = ?"
        step = step_in(text)
        found = rows.execute(query, (run, step, step, text)).fetchone()
    else:
        stamp = console_stamp(text) if stream == CONSOLE else text
        query = "SELECT line FROM lines WHERE run = ? AND stream = ? AND substr(text, 1, ?) = ?"
        found = rows.execute(query, (run, stream, len(stamp), stamp)).fetchone()
    return int(found[0]) if found else None


def console_stamp(text: str) -> str:
    """Give how a line of output.log begins, which W&B's client keeps when it changes the line."""
    start = text.partition("T")[0]
    return text[: len(start) + len("T10:15:30.000000")]


def history_tail(rows: sqlite3.Connection, run: int, count: int) -> list[str]:
    """Give the last lines of the history, oldest first."""
    query = "SELECT text FROM history WHERE run = ? ORDER BY line DESC LIMIT ?"
    return _texts(rows, query, (run, count))[::-1]


def line_tail(rows: sqlite3.Connection, run: int, stream: str, count: int) -> list[tuple[int, str]]:
    """Give the last lines of events or console with their numbers, oldest first."""
    query = "SELECT line, text FROM lines WHERE run = ? AND stream = ? ORDER BY line DESC LIMIT ?"
    return _numbers_and_texts(rows, query, (run, stream, count))[::-1]


def line_page(
    rows: sqlite3.Connection, run: int, stream: str, after: int, count: int
) -> list[tuple[int, str]]:
    """Give lines of events or console after line `after` with their numbers."""
    query = (
        "SELECT line, text FROM lines WHERE run = ? AND stream = ? AND line > ?"
        " ORDER BY line LIMIT ?"
    )
    return _numbers_and_texts(rows, query, (run, stream, after, count))


def history_steps(
    rows: sqlite3.Connection, run: int, min_step: int, max_step: int, count: int
) -> list[str]:
    """Give the history lines of the steps from `min_step` up to, not including, `max_step`."""
    query = (
        "SELECT text FROM history WHERE run = ? AND step >= ? AND step < ?"
        " ORDER BY step, line LIMIT ?"
    )
    return _texts(rows, query, (run, min_step, max_step, count))


def live_rows(rows: sqlite3.Connection, run: int, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Give the first and the last line of a history with some of their keys.

    W&B tells by such rows where the history goes on that is in no exported file yet: here, all.
    """
    query = (
        "SELECT step, text FROM history WHERE run = ?1 AND line IN"
        " ((SELECT min(line) FROM history WHERE run = ?1),"
        " (SELECT max(line) FROM history WHERE run = ?1)) ORDER BY line"
    )
    found = []
    for step, text in rows.execute(query, (run,)).fetchall():
        values = {**stored_object(text), "_step": step}
        found.append({key: values[key] for key in keys if key in values})
    return found


def spread_history(rows: sqlite3.Connection, run: int, samples: int) -> list[str]:
    """Give at most `samples` history lines, spread evenly, first and last among them."""
    wanted = spread(history_count(rows, run), samples)
    return _numbered(rows, "SELECT text FROM history WHERE run = ? AND line", (run,), wanted)


def spread_lines(rows: sqlite3.Connection, run: int, stream: str, samples: int) -> list[str]:
    """Give at most `samples` lines of a stream, spread evenly."""
    wanted = spread(line_count(rows, run, stream), samples)
    query = "SELECT text FROM lines WHERE run = ? AND stream = ? AND line"
    return _numbered(rows, query, (run, stream), wanted)


def sampled_history(rows: sqlite3.Connection, run: int, spec: Mapping[str, Any]) -> list[Any]:
    """Give the rows that hold all of the asked keys, as W&B samples them.

    `spec` is {"keys": [...], "samples": n, "minStep": a, "maxStep": b}; both steps are inclusive.
    """
    named = spec.get("keys") or []
    if not isinstance(named, list):
        raise BadMessageError(f"specs: keys is a list of names, not {str(named)[:100]}")
    keys = [str(key) for key in named]
    samples = _bounded(spec.get("samples"), 500)
    low, high = step_of(spec.get("minStep"), -_MAX_STEP), step_of(spec.get("maxStep"), _MAX_STEP)
    query = "SELECT text FROM history WHERE run = ? AND step BETWEEN ? AND ? ORDER BY step, line"
    found = []
    for (text,) in rows.execute(query, (run, low, high)):
        spend(1, len(text))
        found += rows_with([text], keys)
    return [found[number] for number in spread(len(found), samples)]


def rows_with(texts: Iterable[str], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Give the history lines that hold all of the keys, with these alone; all, if none is asked."""
    found = []
    for text in texts:
        values = stored_object(text)
        chosen = {key: value_at(values, key) for key in keys}
        if None not in chosen.values():
            found.append(chosen if keys else values)
    return found


def metric_curve(
    rows: sqlite3.Connection, run: int, metric: str, most: int, *, characters: int
) -> list[tuple[float, float, float]]:
    """Give (value, step, seconds since the run began) of one metric, of at most `most` lines.

    Of lines so long that they would have more than about `characters`, fewer are read. A time
    that is not told is not a number.
    """
    _, length = stream_length(rows, run, HISTORY)
    most = lines_within(characters, length, most=most, fewest=_FEWEST_OF_A_CURVE)
    points = []
    for text in spread_history(rows, run, most):
        values = stored_object(text)
        step, value = values.get("_step"), read_metric(values, metric).number
        if type(step) is int and value is not None:
            time = read_metric(values, "_runtime").number
            if time is None or abs(time) >= _MOST_SECONDS:
                time = math.nan
            points.append((value, float(step), time))
    return points


def stream_length(rows: sqlite3.Connection, run: int, stream: str) -> tuple[int, float]:
    """Give how many lines any stream has, and about how long one is."""
    table, own = ("history", "") if stream == HISTORY else ("lines", " AND stream = ?")
    named = () if stream == HISTORY else (stream,)
    query = (
        f"SELECT avg(length(text)) FROM (SELECT text FROM {table} WHERE run = ?{own}"
        " ORDER BY line DESC LIMIT 20)"
    )
    found = rows.execute(query, (run, *named)).fetchone()[0]
    return count(rows, run, stream), float(found or 0.0)


def lines_within(characters: int, length: float, *, most: int, fewest: int) -> int:
    """Give how many lines of about that length to read, so that they have so many characters."""
    return max(fewest, min(most, int(characters / max(length, 1.0))))


def lines_with_files(rows: sqlite3.Connection, run: int, samples: int) -> list[tuple[int, str]]:
    """Give (step, text) of the newest history lines that name a file of media, newest first."""
    query = (
        "SELECT step, text FROM history WHERE run = ? AND instr(text, '\"media/')"
        " ORDER BY line DESC LIMIT ?"
    )
    return _numbers_and_texts(rows, query, (run, samples))


def metric_values(
    rows: sqlite3.Connection, run: int, metric: str, first_line: int
) -> Iterator[float]:
    """Give the numbers of one metric from a line of the history on, in the order of the lines."""
    query = "SELECT text FROM history WHERE run = ? AND line >= ? AND instr(text, ?) ORDER BY line"
    name = json.dumps(metric.rpartition(".")[2], ensure_ascii=False)[1:]  # flat or nested
    for (text,) in rows.execute(query, (run, first_line, name)):
        value = read_metric(stored_object(text), metric).number
        if value is not None:
            yield value


def spread(count: int, samples: int) -> Sequence[int]:
    """Choose at most `samples` of `count` numbers, spread evenly, both ends among them."""
    if count <= samples:
        return range(count)
    if samples <= 1:
        return range(count - 1, count) if samples == 1 else range(0)
    return [number * (count - 1) // (samples - 1) for number in range(samples)]


def _numbered(
    rows: sqlite3.Connection, query: str, place: tuple[int | str, ...], wanted: Sequence[int]
) -> list[str]:
    if isinstance(wanted, range):
        ordered = f"{query} >= 0 ORDER BY line"
        return _texts(rows, ordered, place)
    texts: list[str] = []
    for start in range(0, len(wanted), 500):
        block = wanted[start : start + 500]
        marks = ", ".join("?" * len(block))
        ordered = f"{query} IN ({marks}) ORDER BY line"
        texts += _texts(rows, ordered, (*place, *block))
    return texts


def _texts(rows: sqlite3.Connection, query: str, arguments: tuple[int | str, ...]) -> list[str]:
    """Read one column of text, as long as the request may cost it."""
    found = []
    for (text,) in rows.execute(query, arguments):
        spend(1, len(text))
        found.append(text)
    return found


def _numbers_and_texts(
    rows: sqlite3.Connection, query: str, arguments: tuple[int | str, ...]
) -> list[tuple[int, str]]:
    found = []
    for number, text in rows.execute(query, arguments):
        spend(1, len(text))
        found.append((number, text))
    return found


def _bounded(value: object, default: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 1:
        return default
    return min(value, 100_000)


def step_of(value: object, default: int) -> int:
    """Read a step that a client sent; anything but a number gives the default."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return default
    return int(max(-_MAX_STEP, min(_MAX_STEP, value)))


def step_in(text: str) -> int:
    """Give the step of a history line; -1 if it names none."""
    return step_of(stored_object(text).get("_step"), -1)


def console_line(text: str) -> dict[str, Any]:
    """Take apart a line of output.log: `[ERROR ]2023-04-05T10:15:30.000000 text`.

    https://github.com/wandb/wandb/blob/main/core/internal/runconsolelogs/filestreamwriter.go
    """
    level, rest = ("error", text[6:]) if text.startswith("ERROR ") else ("", text)
    found = _CONSOLE_LINE.match(rest)
    if found is None:
        return {"level": "", "timestamp": None, "label": "", "line": text}
    time, line = found.groups()
    return {"level": level, "timestamp": time, "label": "", "line": line}
